//! What a configuration's fields must be (OCI runtime specification 1.0.2, as far as runc and crun read them). Fields that
//! are not listed pass.

use anyhow::{Result, bail};
use serde_json::Value;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Texts,
    Flag,
    /// 0 to 2³²-1.
    Id,
    Ids,
    /// Any whole number.
    Whole,
    Object,
    Objects,
    TextMap,
    /// Also the recursive forms, which the schema lacks and runtimes know.
    Propagation,
}

const PROPAGATIONS: [&str; 8] =
    ["private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable"];

/// Paths of fields, `[]` for every element; a `!` in front: the field must be there.
const SHAPES: &[(&str, Kind)] = &[
    ("!ociVersion", Kind::Text),
    ("hostname", Kind::Text),
    ("annotations", Kind::TextMap),
    ("!root", Kind::Object),
    ("!root.path", Kind::Text),
    ("root.readonly", Kind::Flag),
    ("!process", Kind::Object),
    ("!process.args", Kind::Texts),
    ("!process.cwd", Kind::Text),
    ("process.env", Kind::Texts),
    ("process.terminal", Kind::Flag),
    ("!process.user", Kind::Object),
    ("process.user.uid", Kind::Id),
    ("process.user.gid", Kind::Id),
    ("process.user.umask", Kind::Id),
    ("process.user.additionalGids", Kind::Ids),
    ("process.capabilities", Kind::Object),
    ("process.capabilities.bounding", Kind::Texts),
    ("process.capabilities.effective", Kind::Texts),
    ("process.capabilities.inheritable", Kind::Texts),
    ("process.capabilities.permitted", Kind::Texts),
    ("process.capabilities.ambient", Kind::Texts),
    ("process.rlimits", Kind::Objects),
    ("!process.rlimits[].type", Kind::Text),
    ("!process.rlimits[].hard", Kind::Whole),
    ("!process.rlimits[].soft", Kind::Whole),
    ("process.noNewPrivileges", Kind::Flag),
    ("process.apparmorProfile", Kind::Text),
    ("process.selinuxLabel", Kind::Text),
    ("process.oomScoreAdj", Kind::Whole),
    ("mounts", Kind::Objects),
    ("!mounts[].destination", Kind::Text),
    ("mounts[].type", Kind::Text),
    ("mounts[].source", Kind::Text),
    ("mounts[].options", Kind::Texts),
    ("hooks", Kind::Object),
    ("!linux", Kind::Object),
    ("linux.namespaces", Kind::Objects),
    ("!linux.namespaces[].type", Kind::Text),
    ("linux.namespaces[].path", Kind::Text),
    ("linux.uidMappings", Kind::Objects),
    ("linux.gidMappings", Kind::Objects),
    ("linux.devices", Kind::Objects),
    ("!linux.devices[].type", Kind::Text),
    ("!linux.devices[].path", Kind::Text),
    ("linux.devices[].major", Kind::Whole),
    ("linux.devices[].minor", Kind::Whole),
    ("linux.devices[].fileMode", Kind::Id),
    ("linux.devices[].uid", Kind::Id),
    ("linux.devices[].gid", Kind::Id),
    ("linux.resources", Kind::Object),
    ("linux.resources.devices", Kind::Objects),
    ("!linux.resources.devices[].allow", Kind::Flag),
    ("linux.resources.devices[].access", Kind::Text),
    ("linux.rootfsPropagation", Kind::Propagation),
    ("linux.maskedPaths", Kind::Texts),
    ("linux.readonlyPaths", Kind::Texts),
    ("linux.mountLabel", Kind::Text),
    ("linux.sysctl", Kind::TextMap),
    ("linux.seccomp", Kind::Object),
];

/// Checks all fields, and that there is a program to run.
///
/// # Errors
/// When a field is missing or of another type; the message has its path.
pub fn check(config: &Value) -> Result<()> {
    for (path, kind) in SHAPES {
        let (path, required) = path.strip_prefix('!').map_or((*path, false), |path| (path, true));
        let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
        for (place, object) in at(config, parent) {
            let place = if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") };
            match object.get(field) {
                Some(value) if !fits(value, *kind) => bail!("{place} is not {}", expected(*kind)),
                None if required => bail!("it has no {place}"),
                _ => {}
            }
        }
    }
    if config["process"]["args"] == Value::Array(Vec::new()) {
        bail!("process.args is empty, so there is no program to run");
    }
    Ok(())
}

/// Every value at `path` with the path it was found at.
fn at<'a>(config: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    let mut found = vec![(String::new(), config)];
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let (field, each) = step.strip_suffix("[]").map_or((step, false), |field| (field, true));
        let mut next = Vec::new();
        for (place, value) in found {
            let place = if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") };
            match value.get(field) {
                Some(Value::Array(list)) if each => {
                    next.extend(
                        list.iter().enumerate().map(|(index, value)| (format!("{place}[{index}]"), value)),
                    );
                }
                Some(value) if !each => next.push((place, value)),
                _ => {}
            }
        }
        found = next;
    }
    found
}

fn fits(value: &Value, kind: Kind) -> bool {
    let id = |value: &Value| value.as_u64().is_some_and(|number| u32::try_from(number).is_ok());
    let all = |fit: fn(&Value) -> bool| value.as_array().is_some_and(|list| list.iter().all(fit));
    match kind {
        Kind::Text => value.is_string(),
        Kind::Texts => all(Value::is_string),
        Kind::Flag => value.is_boolean(),
        Kind::Id => id(value),
        Kind::Ids => value.as_array().is_some_and(|list| list.iter().all(id)),
        Kind::Whole => value.is_u64() || value.is_i64(),
        Kind::Object => value.is_object(),
        Kind::Objects => all(Value::is_object),
        Kind::Propagation => value.as_str().is_some_and(|text| PROPAGATIONS.contains(&text)),
        Kind::TextMap => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text",
        Kind::Texts => "a list of texts",
        Kind::Flag => "true or false",
        Kind::Id => "a whole number from 0 to 4294967295",
        Kind::Ids => "a list of whole numbers from 0 to 4294967295",
        Kind::Whole => "a whole number",
        Kind::Object => "an object",
        Kind::Objects => "a list of objects",
        Kind::TextMap => "an object of texts",
        Kind::Propagation => "a mount propagation such as rslave",
    }
}
