//! What a container puts outside its bundle, in the order in which it is put there.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::ContainerName;
use crate::place;
use crate::placement::{Body, Brought, PlacedLeaf};
use crate::prepare::{Content, HostNode, HostPlaced, Prepared};
use crate::settings::Settings;
use crate::tree::{ImageTree, Leaf, Stat};
use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

/// tmpfiles, host files, units, links.
pub fn leaves(
    name: &ContainerName,
    prepared: &Prepared,
    host: Vec<(Utf8PathBuf, PlacedLeaf)>,
) -> Vec<(Utf8PathBuf, PlacedLeaf)> {
    let mut placed = Vec::new();
    if let Some(tmpfiles) = &prepared.tmpfiles {
        placed.push((place::tmpfiles(name), PlacedLeaf::of(tmpfiles.clone())));
    }
    placed.extend(host);
    if !prepared.unit.is_empty() {
        placed.push((place::unit(name), PlacedLeaf::of(prepared.unit.clone())));
        placed.push((place::preset(name), PlacedLeaf::of(prepared.preset.clone())));
    }
    let units = Utf8Path::new(place::UNIT_DIR);
    let mounts = prepared.mounts.iter();
    placed.extend(
        mounts.clone().map(|unit| (units.join(&unit.name), PlacedLeaf::of(unit.text.clone().into_bytes()))),
    );
    let links = mounts.flat_map(|unit| unit.links.iter()).chain(&prepared.links);
    placed.extend(links.map(|(path, text)| (units.join(path), PlacedLeaf::Link(text.clone()))));
    placed
}

/// The image's host files that the host image carries.
#[derive(Debug, Default)]
pub struct HostFiles {
    /// That the target lacks.
    pub directories: Vec<(Utf8PathBuf, Stat)>,
    /// Files and links.
    pub leaves: Vec<(Utf8PathBuf, PlacedLeaf)>,
    /// Where something of the target may be put aside.
    pub allowed: BTreeSet<Utf8PathBuf>,
}

impl HostFiles {
    /// Decides them.
    ///
    /// # Errors
    /// When a link's text is no UTF-8.
    pub fn of(
        name: &ContainerName,
        tree: &ImageTree,
        settings: &Settings,
        placed: &[HostPlaced],
        contents: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self> {
        let mut files = Self::default();
        for HostPlaced { at, file } in placed {
            if settings.allow_conflicts.iter().any(|path| path.as_str() == file.path) {
                files.allowed.insert(at.clone());
            }
            let brought = match &file.node {
                HostNode::Directory(stat) => {
                    files.directories.push((at.clone(), Stat { mtime: None, ..stat.clone() }));
                    continue;
                }
                HostNode::Symlink(stat, text) => {
                    let text = std::str::from_utf8(text)
                        .with_context(|| format!("placing host file {}: its target", file.path))?;
                    Brought { stat: stat.clone(), body: Body::Link(text.to_owned()) }
                }
                HostNode::File { stat, content: Content::Template, .. } => {
                    let bytes = contents.get(&file.path).cloned().unwrap_or_default();
                    Brought { stat: Stat { mtime: None, ..stat.clone() }, body: Body::Bytes(bytes) }
                }
                HostNode::File { stat, leaf, content: Content::AsItIs } => {
                    let body = match tree.leaf(*leaf) {
                        Leaf::File { content: Some(id), size, digest, .. } => {
                            Body::Content { container: name.clone(), id: *id, size: *size, digest: *digest }
                        }
                        Leaf::File { .. } | Leaf::Symlink { .. } => Body::Bytes(Vec::new()),
                    };
                    Brought { stat: stat.clone(), body }
                }
            };
            files.leaves.push((at.clone(), PlacedLeaf::Brought(Box::new(brought))));
        }
        Ok(files)
    }
}
