//! What stands at a path already: the host's, another container's, or the container's own from an earlier compose.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::super::{Body, Brought, Change, Found, Ground, PlacedFile, PlacedLeaf};
use super::{Clash, MAX_UNIT_BYTES, Planner};
use crate::digest::Digest;
use crate::name::ContainerName;
use crate::place;
use crate::record::{Metadata, Placed, Record};
use crate::tree::Stat;

/// Something that another container has placed, or places, just so.
pub(super) struct Shared {
    /// What of the host it took the place of.
    pub aside: Option<PlacedLeaf>,
}

/// Refuses a container that places two things at one path: the last one would win, and the record would know only it.
///
/// # Errors
/// When it does.
pub(super) fn once(
    name: &ContainerName,
    directories: &[(Utf8PathBuf, Stat)],
    placed: &[(Utf8PathBuf, PlacedLeaf)],
) -> Result<()> {
    let mut taken = BTreeSet::new();
    let paths = directories.iter().map(|it| &it.0).chain(placed.iter().map(|it| &it.0));
    for path in paths {
        if !taken.insert(path) {
            bail!("placing container {name}: it has two things for /{path}; rename or leave out one of them");
        }
    }
    Ok(())
}

impl<G: Ground> Planner<'_, G> {
    /// The other containers that have something at `path`, and what.
    fn others<'s, 'q>(
        &'s self,
        name: &'q ContainerName,
        path: &'q Utf8Path,
    ) -> impl Iterator<Item = (&'s ContainerName, &'s Placed)> {
        let others = self.records.iter().filter(move |(other, _)| *other != name);
        others.filter_map(move |(other, record)| Some((other, record.placed.get(path)?)))
    }

    /// The other container that has something at `path` and stays.
    fn of_another(&self, name: &ContainerName, path: &Utf8Path) -> Option<(&ContainerName, &Placed)> {
        self.others(name, path).find(|(other, _)| !self.leaving.contains(*other))
    }

    /// The container that has something at `path` and goes: it hands that over, as when a container is renamed.
    fn of_leaving(&self, name: &ContainerName, path: &Utf8Path) -> Option<(&ContainerName, &Placed)> {
        self.others(name, path).find(|(other, _)| self.leaving.contains(*other))
    }

    /// Whether another container brings `leaf` too and the manifest allows that; then both have it, and what was put
    /// aside for the other one is put aside for this one as well.
    pub(super) fn shared(
        &self,
        name: &ContainerName,
        path: &Utf8Path,
        leaf: &PlacedLeaf,
        allowed: &BTreeSet<Utf8PathBuf>,
    ) -> Result<Option<Shared>> {
        let Some((other, theirs)) = self.of_another(name, path).filter(|_| allowed.contains(path)) else {
            return Ok(None);
        };
        let same = match (theirs, leaf.record(None)) {
            (Placed::Link { target, metadata, .. }, Placed::Link { target: text, metadata: own, .. }) => {
                *target == text && *metadata == own
            }
            (theirs, own) => *theirs == own,
        };
        if !same {
            bail!("placing container {name}: /{path} belongs to container {other} already, and differs");
        }
        let was = self.present.records.get(other).and_then(|record| record.placed.get(path));
        let aside = match (was, self.ground.probe(path)?) {
            (Some(was), _) => self.put_aside(other, path, was)?,
            // The other one is placed by the same compose, so the host's own is still there.
            (None, Found::Nothing) => None,
            (None, _) => self.replaced(other, path, Clash::PutAside, allowed)?,
        };
        Ok(Some(Shared { aside }))
    }

    /// What of the host stands at `path`, to be put aside; `None` if nothing does or it is the container's own.
    pub(super) fn replaced(
        &self,
        name: &ContainerName,
        path: &Utf8Path,
        clash: Clash,
        allowed: &BTreeSet<Utf8PathBuf>,
    ) -> Result<Option<PlacedLeaf>> {
        if let Some((other, _)) = self.of_another(name, path) {
            bail!("placing container {name}: /{path} belongs to container {other} already");
        }
        if let Some(was) = self.present.records.get(name).and_then(|old| old.placed.get(path)) {
            return self.put_aside(name, path, was);
        }
        if let Some((leaving, was)) = self.of_leaving(name, path) {
            return self.put_aside(leaving, path, was);
        }
        let found = self.ground.probe(path)?;
        let clash = if allowed.contains(path) { Clash::PutAside } else { clash };
        let unit = place::unit(name);
        let ours_to_move = allowed.contains(path) || *path == unit || path.starts_with(place::UNIT_DIR);
        match (found, clash) {
            (Found::Nothing, _) => Ok(None),
            (Found::File { mode, mtime, .. }, Clash::PutAside) if *path == unit || allowed.contains(path) => {
                let bytes = self.ground.read(path, MAX_UNIT_BYTES)?.unwrap_or_default();
                Ok(Some(PlacedLeaf::File(PlacedFile { bytes, mode, mtime: Some(mtime) })))
            }
            (Found::Link(text), Clash::PutAside) if ours_to_move => self.link_aside(path, text).map(Some),
            _ => bail!(
                "placing container {name}: /{path} exists in the target; choose another name{}",
                if ours_to_move { ", or set `unit.replace = true` to put it aside" } else { "" }
            ),
        }
    }

    /// A link of the host with the time stamp that the one at `path` has.
    fn link_aside(&self, path: &Utf8Path, text: String) -> Result<PlacedLeaf> {
        let Some(mtime) = self.ground.mtime(path)? else { return Ok(PlacedLeaf::Link(text)) };
        let stat = Stat { mtime: Some(mtime), ..Stat::implied(0o777) };
        Ok(PlacedLeaf::Brought(Box::new(Brought { stat, body: Body::Link(text) })))
    }

    /// What the container's earlier compose put aside at `path`.
    fn put_aside(&self, name: &ContainerName, path: &Utf8Path, was: &Placed) -> Result<Option<PlacedLeaf>> {
        let aside = place::bundle(name).join(place::put_aside(name, path));
        match self.ground.probe(&aside)? {
            Found::File { mode, mtime, .. } => {
                let bytes = self.ground.read(&aside, MAX_UNIT_BYTES)?.unwrap_or_default();
                Ok(Some(PlacedLeaf::File(PlacedFile { bytes, mode, mtime: Some(mtime) })))
            }
            Found::Link(text) => self.link_aside(&aside, text).map(Some),
            Found::Nothing | Found::Directory | Found::Special => match was {
                Placed::Link { replaced: Some(text), .. } => Ok(Some(PlacedLeaf::Link(text.clone()))),
                _ => Ok(None),
            },
        }
    }

    /// Takes the container's own thing away and puts back what it put aside.
    pub(super) fn take_away(&mut self, name: &ContainerName, path: &Utf8Path, was: &Placed) -> Result<()> {
        // Directories go with the last thing in them, and what another container has too stays for it.
        if matches!(was, Placed::Directory { .. }) || self.others(name, path).next().is_some() {
            return Ok(());
        }
        self.over.insert(path.to_owned());
        let change = match self.put_aside(name, path, was)? {
            Some(leaf) => Change::Put(leaf),
            None => Change::Remove,
        };
        self.removals.push((path.to_owned(), change));
        Ok(())
    }

    /// Puts a directory of host files on the list of what is made, unless it stands there.
    pub(super) fn directory(&mut self, record: &mut Record, path: Utf8PathBuf, stat: Stat) -> Result<()> {
        let name = record.name.clone();
        let placed = Placed::Directory { metadata: Metadata::from(&stat) };
        for (other, theirs) in self.records.iter().filter(|(other, _)| **other != name) {
            if theirs.placed.get(&path).is_some_and(|theirs| *theirs != placed) {
                bail!("placing container {name}: /{path} belongs to container {other} already, and differs");
            }
        }
        let old = self.present.records.get(&name).and_then(|old| old.placed.get(&path));
        match (self.ground.probe(&path)?, old) {
            (Found::Nothing, _) => {
                self.need_parents(&path)?;
                self.directories.insert(path.clone(), stat);
            }
            (Found::Directory, None) => {}
            (Found::Directory, Some(old)) if *old == placed => {}
            _ => bail!(
                "placing container {name}: the directory /{path} has another owner or mode than before, or takes the \
                 place of a file; remove the container first"
            ),
        }
        record.placed.insert(path, placed);
        Ok(())
    }

    /// Whether `leaf` lies at `path` already; time stamps aside. `known` is what the record says of it.
    pub(super) fn lies_at(&self, path: &Utf8Path, leaf: &PlacedLeaf, known: Option<&Placed>) -> Result<bool> {
        Ok(match (self.ground.probe(path)?, leaf) {
            (found, PlacedLeaf::Brought(_)) => {
                let same = match (known, leaf.record(None)) {
                    (
                        Some(Placed::File { digest, metadata }),
                        Placed::File { digest: wanted, metadata: other },
                    ) => *digest == wanted && *metadata == other,
                    (
                        Some(Placed::Link { target, metadata, .. }),
                        Placed::Link { target: text, metadata: other, .. },
                    ) => *target == text && *metadata == other,
                    _ => false,
                };
                same && match found {
                    Found::Link(text) => leaf.link() == Some(&text),
                    Found::File { size, .. } if size == leaf.bytes() => {
                        self.ground.read(path, size)?.is_some_and(|bytes| Digest::of(&bytes) == leaf.digest())
                    }
                    _ => false,
                }
            }
            (Found::Link(text), PlacedLeaf::Link(target)) => text == *target,
            (Found::File { mode, size, .. }, PlacedLeaf::File(file)) => {
                mode == file.mode
                    && size == file.bytes.len() as u64
                    && self.ground.read(path, size)?.is_some_and(|bytes| bytes == file.bytes)
            }
            _ => false,
        })
    }
}
