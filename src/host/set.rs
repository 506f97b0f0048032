//! What the host's admin sets in `/etc/sysctr/NAME.toml`, and the configuration rendered with it.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use anyhow::{Context as _, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sysctr_core::exports::config::Settled;
use sysctr_core::exports::late::{self, Kept};
use sysctr_core::name::ContainerName;
use sysctr_core::record;

use crate::active::Active;

/// Where admins set values.
pub const DIRECTORY: &str = "/etc/sysctr";
/// The host's own number (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// What the admin sets for one container, and what its image's template makes of it.
struct Admin {
    path: Utf8PathBuf,
    values: BTreeMap<String, String>,
    /// What is needed to render; none without a template.
    kept: Option<Kept>,
}

impl Admin {
    fn of(active: &Active) -> Result<Self> {
        let path = path(&active.record.name);
        let values = read(&path)?;
        let has_template = active.record.files.contains_key(late::VALUES_FILE);
        let kept =
            has_template.then(|| record::from_json(&file(active, late::VALUES_FILE)?, late::VALUES_FILE));
        Ok(Self { path, values, kept: kept.transpose()? })
    }

    fn must_render(&self) -> Option<&Kept> {
        self.kept.as_ref().filter(|kept| kept.must_render(&self.values))
    }

    fn render(&self, active: &Active, kept: &Kept) -> Result<Settled> {
        let name = &active.record.name;
        let uuid = if kept.late.is_empty() { String::new() } else { uuid(Utf8Path::new(MACHINE_ID), name)? };
        let settled = late::render(&file(active, late::TEMPLATE_FILE)?, kept, &self.values, &uuid);
        settled.with_context(|| format!("rendering container {name} with {}", self.path))
    }
}

/// Where the admin sets values of a container.
pub fn path(name: &ContainerName) -> Utf8PathBuf {
    Utf8Path::new(DIRECTORY).join(format!("{name}.toml"))
}

fn file(active: &Active, file: &str) -> Result<Vec<u8>> {
    let path = active.bundle.join(file);
    std::fs::read(&path).with_context(|| format!("reading {path}"))
}

/// The configuration as of now, if it is another than the bundle's: the image's template rendered again with the admin's
/// values and what only the host knows. Warnings go to stderr.
///
/// # Errors
/// When the admin's file, the template or what it becomes can't be understood.
pub fn rendered(active: &Active) -> Result<Option<Value>> {
    let admin = Admin::of(active)?;
    if admin.kept.is_none() && !admin.values.is_empty() {
        let (path, name) = (&admin.path, &active.record.name);
        eprintln!("sysctr: {path}: `set` has no effect: container {name} has no template for it");
    }
    let Some(kept) = admin.must_render() else { return Ok(None) };
    let settled = admin.render(active, kept)?;
    // The others were told when the host image was composed.
    for warning in admins(&settled) {
        eprintln!("sysctr: {}: {warning}", admin.path);
    }
    Ok(Some(settled.value))
}

fn admins(settled: &Settled) -> impl Iterator<Item = &String> {
    settled.warnings.iter().filter(|warning| warning.starts_with("set."))
}

/// The admin's values that reach what the next start runs.
///
/// # Errors
/// When the admin's file or what the bundle keeps can't be understood.
pub fn in_effect(active: &Active) -> Result<BTreeMap<String, String>> {
    let Admin { values, kept, .. } = Admin::of(active)?;
    let Some(kept) = kept else { return Ok(BTreeMap::new()) };
    Ok(values.into_iter().filter(|(name, _)| kept.takes(name)).collect())
}

/// What is wrong with the admin's values, although a start would go on.
#[derive(Debug, PartialEq, Eq)]
pub struct Doubts {
    /// Values that the container does not know.
    pub unknown: Vec<String>,
    /// What else the launcher would warn of.
    pub others: Vec<String>,
}

/// Does what a start would do with the admin's values.
///
/// # Errors
/// When a start would fail with them.
pub fn check(active: &Active) -> Result<Doubts> {
    let admin = Admin::of(active)?;
    let (mut unknown, mut others) = (Vec::new(), Vec::new());
    for name in admin.values.keys() {
        if !admin.kept.as_ref().is_some_and(|kept| kept.knows(name)) {
            unknown.push(name.clone());
        }
    }
    if let Some(kept) = admin.must_render() {
        let settled = admin.render(active, kept)?;
        let about =
            |warning: &&String| unknown.iter().any(|name| warning.starts_with(&format!("set.{name} ")));
        others.extend(admins(&settled).filter(|warning| !about(warning)).cloned());
    }
    Ok(Doubts { unknown, others })
}

/// The admin's values; none without a file.
fn read(path: &Utf8Path) -> Result<BTreeMap<String, String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(error).with_context(|| format!("reading {path}")),
    };
    parse(&text).with_context(|| format!("reading {path}"))
}

fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
        anyhow::anyhow!("line {}: {}", before.matches('\n').count() + 1, error.message().replace('\n', " "))
    })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let toml::Value::Table(set) = value else {
            bail!("{key} is not known here; write `set = {{ NAME = \"value\" }}`");
        };
        ensure!(key == "set", "{key} is not known here; write `set = {{ NAME = \"value\" }}`");
        for (name, value) in set {
            let toml::Value::String(text) = value else {
                bail!("set.{name} is no text; put it into quotes");
            };
            values.insert(name, text);
        }
    }
    Ok(values)
}

fn uuid(machine_id: &Utf8Path, name: &ContainerName) -> Result<String> {
    let text = std::fs::read_to_string(machine_id).with_context(|| format!("reading {machine_id}"))?;
    let id = text.trim();
    ensure!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "reading {machine_id}: it has no machine-id yet, which the container's UUID is made from"
    );
    Ok(late::uuid(id, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_admin_may_say() {
        for (text, expected) in [
            ("", Ok("{}")),
            ("# nothing\n", Ok("{}")),
            ("set = { A = \"1\", B = 'x y' }", Ok("{\"A\": \"1\", \"B\": \"x y\"}")),
            ("[set]\nA = \"\"\"\na\nb\"\"\"\n", Ok("{\"A\": \"a\\nb\"}")),
            ("[set]\nA = 1\n", Err("set.A is no text; put it into quotes")),
            ("A = \"1\"", Err("A is not known here; write `set = { NAME = \"value\" }`")),
            ("[run]\n", Err("run is not known here; write `set = { NAME = \"value\" }`")),
        ] {
            let parsed = parse(text).map(|values| format!("{values:?}")).map_err(|error| error.to_string());
            assert_eq!(
                parsed.as_deref(),
                expected.map_err(str::to_owned).as_ref().map(|text| *text),
                "{text}"
            );
        }
        let error = parse("[set]\nA = \"1\"\nA = \"2\"\n").unwrap_err().to_string();
        assert!(error.starts_with("line 3: "), "{error}");
    }

    #[test]
    fn a_host_without_a_number_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("machine-id");
        let name = "web".parse().unwrap();
        std::fs::write(&path, "uninitialized\n").unwrap();
        let error = uuid(&path, &name).unwrap_err().to_string();
        assert!(
            error.ends_with("it has no machine-id yet, which the container's UUID is made from"),
            "{error}"
        );
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(uuid(&path, &name).unwrap().len(), 36);
    }
}
