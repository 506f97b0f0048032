//! `sysctr list`: what the host has. Reads the index and names only, so any user may ask.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sysctr_core::generation::{Generation, GenerationName};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{self, Embedded, EmbeddedContainer};

use crate::active;
use crate::active::decision::{Link, Why};
use crate::active::host::Host;

/// What there is by a name.
#[derive(Debug, Default)]
pub struct Listed {
    /// What the host embeds.
    embedded: Option<EmbeddedContainer>,
    /// What was switched to.
    generation: Option<(GenerationName, Option<Generation>)>,
}

/// All containers of this host.
#[derive(Debug)]
pub struct List {
    tool: String,
    containers: BTreeMap<ContainerName, Listed>,
}

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

/// What the host embeds and what was switched to.
///
/// # Errors
/// When one of the two can't be read.
pub fn list() -> Result<List> {
    let host = Host::this();
    let embedded = embedded()?;
    let mut containers: BTreeMap<ContainerName, Listed> = BTreeMap::new();
    for (name, container) in embedded.containers {
        containers.entry(name).or_default().embedded = Some(container);
    }
    for name in host.switched()? {
        if let Link::To(number) = host.link(&name) {
            let generation = GenerationName::new(&name, number);
            let described = host.described(&generation).ok().map(|(described, _)| described);
            containers.entry(name).or_default().generation = Some((generation, described));
        }
    }
    Ok(List { tool: embedded.tool, containers })
}

/// The names of all containers.
///
/// # Errors
/// When they can't be read.
pub fn names() -> Result<Vec<ContainerName>> {
    Ok(list()?.containers.into_keys().collect())
}

/// The containers that say where their updates come from.
///
/// # Errors
/// When what there is can't be read.
pub fn updatable() -> Result<Vec<ContainerName>> {
    let says = |name: &ContainerName| match active::of(name) {
        Ok(active) if active.why == Why::Held => {
            eprintln!("sysctr: container {name} is held, so it is not updated");
            false
        }
        Ok(active) => active.record.update.is_some() || active.record.image.source.starts_with("docker://"),
        // The update says what is wrong with it.
        Err(_) => true,
    };
    Ok(names()?.into_iter().filter(says).collect())
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(list: &List) -> Value {
    let container = |(name, listed): (&ContainerName, &Listed)| {
        let embedded = listed.embedded.as_ref();
        let generation = listed.generation.as_ref();
        let described = generation.and_then(|(_, described)| described.as_ref());
        json!({
            "name": name,
            "group": embedded.map(|it| &it.group),
            "image": described.map(|it| &it.image).or(embedded.map(|it| &it.image)),
            "config": described.map(|it| it.config).or(embedded.map(|it| it.config)),
            "generation": generation.map(|(name, _)| name.number),
            "unit": name.unit(),
        })
    };
    json!({ "format": 1, "tool": list.tool, "containers": list.containers.iter().map(container).collect::<Value>() })
}

/// For people.
pub fn text(list: &List) -> String {
    if list.containers.is_empty() {
        return "no containers are embedded or installed\n".to_owned();
    }
    let mut text = format!("{:24} {:16} IMAGE\n", "NAME", "GROUP");
    for (name, Listed { embedded, generation }) in &list.containers {
        let group = embedded.as_ref().map_or("-", |it| it.group.as_str());
        let embedded = embedded.as_ref().map(|it| it.image.as_str());
        let image = generation.as_ref().and_then(|(_, described)| Some(described.as_ref()?.image.as_str()));
        writeln!(text, "{name:24} {group:16} {}", image.or(embedded).unwrap_or("-")).unwrap_or_default();
    }
    text
}
