//! What a target will embed, as far as it is known before an image is read.

use std::collections::BTreeMap;

use super::{Ground, Planner};
use crate::digest::Digest;
use crate::name::{ContainerName, GroupName};
use crate::record::{self, Embedded, VERSION};

/// A container that will be embedded.
#[derive(Debug, Clone, Copy)]
pub struct Foreseen<'a> {
    /// Its name.
    pub name: &'a ContainerName,
    /// The group that will own it.
    pub group: &'a GroupName,
    /// See [`crate::record::EmbeddedContainer::inputs`].
    pub inputs: Digest,
}

impl<G: Ground> Planner<'_, G> {
    /// Whether a host made from this very target embeds what this one will embed, by the index of that host: these
    /// containers, those that stay, and the launcher. Equal inputs on an equal target give equal bytes, so it is the same
    /// host then. Asked before anything is embedded or removed.
    pub fn comes_to<'c>(&self, made: &Embedded, chosen: impl Iterator<Item = Foreseen<'c>>) -> bool {
        let chosen: BTreeMap<_, _> = chosen.map(|it| (it.name, (it.group, it.inputs))).collect();
        let stays = |name: &ContainerName| !self.leaving.contains(name) && !chosen.contains_key(name);
        let staying = self.next.containers.keys().filter(|name| stays(name));
        let mut wanted = staying.chain(chosen.keys().copied());
        (made.version, made.launcher) == (VERSION, self.next.launcher)
            && made.tool == record::tool()
            && wanted.all(|name| made.containers.contains_key(name))
            && made.containers.iter().all(|(name, entry)| match chosen.get(name) {
                Some(&(group, inputs)) => (&entry.group, entry.inputs) == (group, inputs),
                None => stays(name) && self.next.containers.get(name) == Some(entry),
            })
    }
}
