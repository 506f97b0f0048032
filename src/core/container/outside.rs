//! What a container puts outside its bundle, in the order in which it is put there.

use std::collections::BTreeSet;

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
    let own = mounts.clone().map(|unit| (Utf8Path::new(&unit.name), &unit.text));
    let drop_ins = mounts.clone().filter_map(|unit| unit.drop_in.as_ref());
    let texts = own.chain(drop_ins.map(|(path, text)| (path.as_path(), text)));
    placed.extend(texts.map(|(path, text)| (units.join(path), PlacedLeaf::of(text.clone().into_bytes()))));
    let links = mounts.flat_map(|unit| unit.links.iter()).chain(&prepared.links);
    placed.extend(links.map(|(path, text)| (units.join(path), PlacedLeaf::Link(text.clone()))));
    placed
}

/// Where the manifest lets other things stand: at its host files, wherever they come to lie, and at what is there only for
/// them.
fn allowed(settings: &Settings, prepared: &Prepared) -> BTreeSet<Utf8PathBuf> {
    let allows = |path: &str| settings.allow_conflicts.iter().any(|allowed| allowed.as_str() == path);
    let placed = prepared.host.iter().filter(|placed| allows(&placed.file.path));
    let mut allowed: BTreeSet<_> = placed.map(|placed| placed.at.clone()).collect();
    let made = prepared
        .made
        .iter()
        .filter(|(path, made)| allows(path) || made.host_file.as_deref().is_some_and(allows));
    allowed.extend(made.map(|(path, _)| Utf8PathBuf::from(path.trim_start_matches('/'))));
    let units = Utf8Path::new(place::UNIT_DIR);
    for mount in prepared.mounts.iter().filter(|mount| allows(&mount.host_file)) {
        allowed.insert(units.join(&mount.name));
        allowed.extend(mount.links.iter().map(|(path, _)| units.join(path)));
    }
    allowed
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
        prepared: &Prepared,
    ) -> Result<Self> {
        let mut files = Self { allowed: allowed(settings, prepared), ..Self::default() };
        for HostPlaced { at, file } in &prepared.host {
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
                    let bytes = prepared.contents.get(&file.path).cloned().unwrap_or_default();
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
