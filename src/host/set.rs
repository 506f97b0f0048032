//! What the host's admin sets in `/etc/sysctr/NAME.toml`, and the configuration rendered with it.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use anyhow::{Context as _, Result, bail, ensure};
use camino::Utf8Path;
use serde_json::Value;
use sysctr_core::exports::late::{self, Kept};
use sysctr_core::name::ContainerName;
use sysctr_core::record;

use crate::active::Active;

/// Where admins set values.
const DIRECTORY: &str = "/etc/sysctr";
/// The host's own number (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// The configuration as of now, if it is another than the bundle's: the image's template rendered again with the admin's
/// values and what only the host knows. Warnings go to stderr.
///
/// # Errors
/// When the admin's file, the template or what it becomes can't be understood.
pub fn rendered(active: &Active) -> Result<Option<Value>> {
    let name = &active.record.name;
    let path = Utf8Path::new(DIRECTORY).join(format!("{name}.toml"));
    let admin = read(&path)?;
    if !active.record.files.contains_key(late::VALUES_FILE) {
        if !admin.is_empty() {
            eprintln!("sysctr: {path}: `set` has no effect: container {name} has no template for it");
        }
        return Ok(None);
    }
    let file = |file: &str| {
        let path = active.bundle.join(file);
        std::fs::read(&path).with_context(|| format!("reading {path}"))
    };
    let kept: Kept = record::from_json(&file(late::VALUES_FILE)?, late::VALUES_FILE)?;
    if !kept.must_render(&admin) {
        return Ok(None);
    }
    let uuid = if kept.late.is_empty() { String::new() } else { uuid(Utf8Path::new(MACHINE_ID), name)? };
    let template = file(late::TEMPLATE_FILE)?;
    let settled = late::render(&template, &kept, &admin, &uuid);
    let settled = settled.with_context(|| format!("rendering container {name} with {path}"))?;
    // The others were told when the host image was composed.
    for warning in settled.warnings.iter().filter(|warning| warning.starts_with("set.")) {
        eprintln!("sysctr: {path}: {warning}");
    }
    Ok(Some(settled.value))
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
