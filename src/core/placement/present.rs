//! What a target embeds already.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use camino::Utf8PathBuf;

use super::{Etc, Found, Ground};
use crate::digest::Digest;
use crate::name::ContainerName;
use crate::place;
use crate::record::{Embedded, Record, from_json};

/// No record of ours is larger, by far.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// What a target embeds: the index and every container's record, each matching the index's digest.
#[derive(Debug)]
pub struct Present {
    /// `embedded.json`, or an empty one.
    pub embedded: Embedded,
    /// The records, by name, everything where it lies now ([`Etc`]).
    pub records: BTreeMap<ContainerName, Record>,
    /// Those parents of the containers' directories, and that directory itself, which the target lacks.
    pub missing_homes: Vec<Utf8PathBuf>,
}

impl Present {
    /// Reads index and records.
    ///
    /// # Errors
    /// When one can't be read, is of a newer version, the way to them is no directory, or a record is not the one that the index names.
    pub fn read(ground: &dyn Ground) -> Result<Self> {
        let index = ground.read(place::EMBEDDED_JSON.as_ref(), MAX_RECORD_BYTES)?;
        let mut embedded: Embedded = match index {
            Some(bytes) => from_json(&bytes, place::EMBEDDED_JSON)?,
            None => Embedded::nothing(),
        };
        let etc = Etc::of(ground)?;
        embedded.directories = embedded.directories.iter().map(|path| etc.place(path)).collect();
        let mut records = BTreeMap::new();
        for (name, entry) in &embedded.containers {
            records.insert(name.clone(), etc.relocate(record(ground, name, &entry.record)?));
        }
        let home = Utf8PathBuf::from(place::EMBEDDED_DIR);
        let mut missing_homes = Vec::new();
        for path in home.ancestors().filter(|path| !path.as_str().is_empty()) {
            match ground.probe(path)? {
                Found::Nothing => missing_homes.push(path.to_owned()),
                Found::Directory | Found::Link(_) => {}
                Found::File { .. } | Found::Special => {
                    bail!("reading what is embedded: /{path} of the target is not a directory")
                }
            }
        }
        Ok(Self { embedded, records, missing_homes })
    }
}

fn record(ground: &dyn Ground, name: &ContainerName, digest: &Digest) -> Result<Record> {
    let path = place::bundle(name).join(place::RECORD_JSON);
    let bytes = ground.read(&path, MAX_RECORD_BYTES)?.with_context(|| {
        format!("reading the record of container {name}: {path} is missing; `verify` tells what else is")
    })?;
    if Digest::of(&bytes) != *digest {
        bail!(
            "reading the record of container {name}: {path} is not the one that embedded.json names; \
             it was changed after the compose"
        );
    }
    from_json(&bytes, path.as_str())
}
