//! `sysctr list`: what the host embeds. Reads the index only, so any user may ask.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sysctr_core::place;
use sysctr_core::record::{self, Embedded};

/// The index of what is embedded; of a host without one, nothing.
///
/// # Errors
/// When it can't be read or is newer than this program.
pub fn embedded() -> Result<Embedded> {
    let path = format!("/{}", place::EMBEDDED_JSON);
    match std::fs::read(&path) {
        Ok(bytes) => record::from_json(&bytes, &path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Embedded::nothing()),
        Err(error) => Err(error).with_context(|| format!("reading {path}")),
    }
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(embedded: &Embedded) -> Value {
    let container = |(name, container): (_, &record::EmbeddedContainer)| {
        json!({
            "name": name, "group": container.group, "image": container.image, "config": container.config,
            "unit": sysctr_core::name::ContainerName::unit(name),
        })
    };
    json!({ "format": 1, "tool": embedded.tool, "containers": embedded.containers.iter().map(container).collect::<Value>() })
}

/// For people.
pub fn text(embedded: &Embedded) -> String {
    if embedded.containers.is_empty() {
        return "no containers are embedded\n".to_owned();
    }
    let mut text = format!("{:24} {:16} IMAGE\n", "NAME", "GROUP");
    for (name, container) in &embedded.containers {
        writeln!(text, "{name:24} {:16} {}", container.group, container.image).unwrap_or_default();
    }
    text
}
