//! Older schemas brought up to date (A§5, A§8 row 92): each change is told with its field, and what can't be translated is
//! refused by name. What is unknown stays.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::settings::Capability;

/// What we write, and what runc 1.0 and crun read.
const VERSION: &str = "1.0.2";

/// Brings a configuration up to date in place.
///
/// # Errors
/// When a field has no counterpart today or contradicts the one it became.
pub fn upgrade(config: &mut Value, warnings: &mut Vec<String>) -> Result<()> {
    let Some(config) = config.as_object_mut() else { return Ok(()) };
    drop_nulls("", config, warnings);
    version(config, warnings)?;
    if let Some(platform) = config.remove("platform") {
        if platform.get("os").is_some_and(|os| os != "linux") {
            bail!("platform.os is {}, not \"linux\"", platform["os"]);
        }
        warnings.push("platform is of an old schema: it has no effect".into());
    }
    for (from, to) in [
        ("linux.capabilities", "process.capabilities"),
        ("linux.rlimits", "process.rlimits"),
        ("linux.apparmorProfile", "process.apparmorProfile"),
        ("linux.selinuxProcessLabel", "process.selinuxLabel"),
        ("linux.resources.oomScoreAdj", "process.oomScoreAdj"),
        ("linux.resources.disableOOMKiller", "linux.resources.memory.disableOOMKiller"),
    ] {
        rename(config, from, to, warnings)?;
    }
    capabilities(config, warnings)?;
    seccomp(config, warnings)?;
    devices(config, warnings);
    mounts(config, warnings);
    if let Some(process) = config.get_mut("process").and_then(Value::as_object_mut) {
        if !process.contains_key("user") {
            warnings.push("process.user is missing: uid 0 and gid 0 are used".into());
            process.insert("user".into(), json!({}));
        }
        if let Some(user) = process.get_mut("user").and_then(Value::as_object_mut) {
            for field in ["uid", "gid"] {
                user.entry(field).or_insert(json!(0));
            }
        }
    }
    Ok(())
}

/// Objects whose fields are looked at.
const OBJECTS: [&str; 14] = [
    "process",
    "root",
    "linux",
    "resources",
    "user",
    "capabilities",
    "hooks",
    "consoleSize",
    "blockIO",
    "cpu",
    "memory",
    "network",
    "pids",
    "seccomp",
];

/// Go's `null` is absence; the schema knows none. Unknown objects, annotations and lists' elements are left alone.
fn drop_nulls(place: &str, object: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    object.retain(|field, value| {
        if value.is_null() {
            warnings.push(format!("{place}{field} is null: it is taken as absent"));
        }
        !value.is_null()
    });
    for field in OBJECTS {
        if let Some(inner) = object.get_mut(field).and_then(Value::as_object_mut) {
            drop_nulls(&format!("{place}{field}."), inner, warnings);
        }
    }
    for field in ["mounts", "rlimits", "namespaces", "devices"] {
        let list = object.get_mut(field).and_then(Value::as_array_mut);
        for (index, element) in list.into_iter().flatten().enumerate() {
            if let Some(element) = element.as_object_mut() {
                drop_nulls(&format!("{place}{field}[{index}]."), element, warnings);
            }
        }
    }
}

fn version(config: &mut Map<String, Value>, warnings: &mut Vec<String>) -> Result<()> {
    match config.get("ociVersion") {
        Some(Value::String(version)) => {
            let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
            match (numbers.next(), numbers.next()) {
                (Some(1), Some(_)) if !version.contains("-rc") => return Ok(()),
                (Some(0 | 1), Some(_)) => {
                    warnings.push(format!("ociVersion {version} is an old schema: it is read as {VERSION}"));
                }
                _ => bail!("ociVersion {version:?} is no version that sysctr knows; known are 0.x and 1.x"),
            }
        }
        None => warnings.push(format!("ociVersion is missing: {VERSION} is used")),
        Some(other) => bail!("ociVersion is {other}, not a text"),
    }
    config.insert("ociVersion".into(), json!(VERSION));
    Ok(())
}

/// Moves a field to where it is today. An empty one goes away.
fn rename(config: &mut Map<String, Value>, from: &str, to: &str, warnings: &mut Vec<String>) -> Result<()> {
    let Some(value) = remove(config, from) else { return Ok(()) };
    let empty = match &value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if empty {
        warnings.push(format!("{from} is of an old schema and empty: it has no effect"));
        return Ok(());
    }
    let mut object = config;
    let mut steps: Vec<&str> = to.split('.').collect();
    let field = steps.pop().unwrap_or(to);
    for step in steps {
        let inner = object.entry(step).or_insert_with(|| json!({}));
        let Some(inner) = inner.as_object_mut() else {
            bail!("{from} can't become {to}: {step} is no object")
        };
        object = inner;
    }
    if object.get(field).is_some_and(|there| *there != value) {
        bail!("{from} is of an old schema and contradicts {to}; take one of them out");
    }
    warnings.push(format!("{from} is of an old schema: it became {to}"));
    object.insert(field.to_owned(), value);
    Ok(())
}

fn remove(config: &mut Map<String, Value>, path: &str) -> Option<Value> {
    match path.split_once('.') {
        None => config.remove(path),
        Some((step, rest)) => remove(config.get_mut(step)?.as_object_mut()?, rest),
    }
}

/// Once a list: bounding, permitted and effective set. Names may lack `CAP_`.
fn capabilities(config: &mut Map<String, Value>, warnings: &mut Vec<String>) -> Result<()> {
    let Some(process) = config.get_mut("process").and_then(Value::as_object_mut) else { return Ok(()) };
    if let Some(Value::Array(list)) = process.get("capabilities") {
        let list = list.clone();
        warnings.push(
            "process.capabilities is a list, as in an old schema: it became the bounding, effective and permitted set"
                .into(),
        );
        process
            .insert("capabilities".into(), json!({ "bounding": list, "effective": list, "permitted": list }));
    }
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else { return Ok(()) };
    for (set, names) in sets {
        for name in names.as_array_mut().into_iter().flatten() {
            let Some(text) = name.as_str() else { continue };
            let known =
                Capability::try_from(text.to_owned()).ok().filter(|known| known.as_str().starts_with("CAP_"));
            let Some(known) = known else {
                bail!("process.capabilities.{set}: {text:?} is no capability of capabilities(7)");
            };
            if known.as_str() != text {
                warnings.push(format!("process.capabilities.{set}: {text} became {known}"));
                *name = json!(known.as_str());
            }
        }
    }
    Ok(())
}

/// Once one `name` a rule.
fn seccomp(config: &mut Map<String, Value>, warnings: &mut Vec<String>) -> Result<()> {
    let rules = config.get_mut("linux").and_then(|linux| linux.pointer_mut("/seccomp/syscalls"));
    let mut changed = false;
    for (index, rule) in rules.and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
        let Some(rule) = rule.as_object_mut() else { continue };
        if rule.get("args").is_some_and(Value::is_null) {
            rule.remove("args");
            changed = true;
        }
        if let Some(name) = rule.remove("name") {
            if rule.contains_key("names") {
                bail!("linux.seccomp.syscalls[{index}] has both name and names; take one out");
            }
            rule.insert("names".into(), json!([name]));
            changed = true;
        }
    }
    if changed {
        warnings.push("linux.seccomp.syscalls is of an old schema: each name became names".into());
    }
    Ok(())
}

/// Modes once came with the file's type.
fn devices(config: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    let devices =
        config.get_mut("linux").and_then(|linux| linux.get_mut("devices")).and_then(Value::as_array_mut);
    for (index, device) in devices.into_iter().flatten().enumerate() {
        let Some(mode) = device.get("fileMode").and_then(Value::as_u64).filter(|mode| *mode > 0o777) else {
            continue;
        };
        warnings.push(format!(
            "linux.devices[{index}].fileMode {mode} has more than permission bits: {} is used",
            mode & 0o777
        ));
        device["fileMode"] = json!(mode & 0o777);
    }
}

/// `rbind` is an option, no type; destinations are absolute.
fn mounts(config: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
    for (index, mount) in mounts.into_iter().flatten().enumerate() {
        if mount.get("type").is_some_and(|kind| kind == "rbind") {
            warnings
                .push(format!("mounts[{index}].type is \"rbind\": \"bind\" with the option rbind is used"));
            mount["type"] = json!("bind");
            let options =
                mount.as_object_mut().map(|mount| mount.entry("options").or_insert_with(|| json!([])));
            if let Some(options) = options.and_then(Value::as_array_mut)
                && !options.iter().any(|option| option == "rbind")
            {
                options.push(json!("rbind"));
            }
        }
        let destination = mount.get("destination").and_then(Value::as_str);
        if let Some(relative) = destination.filter(|path| !path.starts_with('/')).map(str::to_owned) {
            warnings
                .push(format!("mounts[{index}].destination {relative:?} is relative: /{relative} is used"));
            mount["destination"] = json!(format!("/{relative}"));
        }
    }
}
