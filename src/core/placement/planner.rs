//! From what is embedded and what shall be to the list of changes.

mod amend;
mod boot;
mod foreseen;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

pub use boot::boot_clashes;
pub use foreseen::Foreseen;

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Body, Brought, Change, Found, Ground, PlacedFile, PlacedLeaf, Placement, Policy, Present, label_rule,
};
use crate::digest::Digest;
use crate::name::{ContainerName, GroupName};
use crate::place;
use crate::record::{self, Embedded, EmbeddedContainer, Record};
use crate::tree::{ImageTree, Stat};

/// A unit is text of people; one above this is none.
const MAX_UNIT_BYTES: u64 = 16 << 20;

/// One container as it shall be, before its record knows what lies outside the bundle.
#[derive(Debug)]
pub struct Draft {
    /// Its record, `files` and `placed` still empty.
    pub record: Record,
    /// See [`EmbeddedContainer::inputs`].
    pub inputs: Digest,
    /// `rootfs`, mount targets included; empty when it lies elsewhere.
    pub tree: ImageTree,
    /// How that comes into the target.
    pub root: Root,
    /// Files of the bundle directory.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Metadata of those that are not root's with 0644.
    pub stats: BTreeMap<String, Stat>,
    /// Directories outside that the target lacks, parents before what they hold.
    pub directories: Vec<(Utf8PathBuf, Stat)>,
    /// What lies outside, in the order in which it is put there.
    pub placed: Vec<(Utf8PathBuf, PlacedLeaf)>,
    /// What happens when a unit of the host stands in its way.
    pub clash: Clash,
    /// Paths at which a file or link of the host is put aside, whatever `clash` says, and at which another container may have
    /// the same.
    pub allowed: BTreeSet<Utf8PathBuf>,
}

/// How the root file system of a container comes into the target.
#[derive(Debug)]
pub enum Root {
    /// It is made, from the contents of the image that were staged.
    Made,
    /// It stands in the container's bundle, made with the same epoch; these changes, in order and by paths relative to
    /// `rootfs`, make it the tree.
    Stands(Vec<(Utf8PathBuf, Change)>),
    /// This commit of the target's repository has it in the container's bundle.
    Adopted(String),
    /// It does not: another directory of the host is the root, and the bundle has none.
    Elsewhere,
}

/// `unit.replace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// It is an error.
    Refuse,
    /// The host's unit and its links are put aside.
    PutAside,
}

/// What a compose comes to.
#[derive(Debug)]
pub struct Planned {
    /// The changes; none when nothing is to be done.
    pub placement: Placement,
    /// The records of all containers that are embedded then.
    pub records: BTreeMap<ContainerName, Record>,
}

/// Collects decisions about containers and turns them into a [`Placement`]. Refuses what clashes with the target,
/// with another container or with another group.
pub struct Planner<'a, G> {
    ground: &'a G,
    present: &'a Present,
    next: Embedded,
    records: BTreeMap<ContainerName, Record>,
    bundles: Vec<(Utf8PathBuf, Change)>,
    puts: Vec<(Utf8PathBuf, Change)>,
    removals: Vec<(Utf8PathBuf, Change)>,
    directories: BTreeMap<Utf8PathBuf, Stat>,
    over: BTreeSet<Utf8PathBuf>,
    leaving: BTreeSet<ContainerName>,
    warnings: Vec<String>,
}

impl<'a, G: Ground> Planner<'a, G> {
    /// Begins with everything kept as it is.
    pub fn new(ground: &'a G, present: &'a Present) -> Self {
        Self {
            ground,
            present,
            next: present.embedded.clone(),
            records: present.records.clone(),
            bundles: Vec::new(),
            puts: Vec::new(),
            removals: Vec::new(),
            directories: BTreeMap::new(),
            over: BTreeSet::new(),
            leaving: BTreeSet::new(),
            warnings: Vec::new(),
        }
    }

    /// Looks whether a container can be embedded, before its image is read.
    ///
    /// # Errors
    /// When another group has the name, or a unit of the host stands in its way.
    pub fn foresee(&self, name: &ContainerName, group: &GroupName, clash: Clash) -> Result<()> {
        check_group(&self.present.embedded, name, group)?;
        self.replaced(name, &place::unit(name), clash, &BTreeSet::new()).map(drop)
    }

    /// Embeds a container in the place of one of its name, if there is one.
    ///
    /// # Errors
    /// When another group has the name, or something else stands where it puts things.
    pub fn embed(&mut self, draft: Draft) -> Result<()> {
        let Draft { mut record, inputs, tree, root, files, mut stats, directories, placed, clash, allowed } =
            draft;
        let name = record.name.clone();
        check_group(&self.present.embedded, &name, &record.group)?;
        standing::once(&name, &directories, &placed)?;
        self.boot_paths(&record, &allowed)?;
        let old = self.present.records.get(&name);
        let files = files.into_iter().map(|(file, bytes)| {
            let leaf = match stats.remove(&file) {
                Some(stat) => PlacedLeaf::Brought(Box::new(Brought { stat, body: Body::Bytes(bytes) })),
                None => PlacedLeaf::of(bytes),
            };
            (file, leaf)
        });
        let mut files: BTreeMap<_, _> = files.collect();
        for (path, stat) in directories {
            self.directory(&mut record, path, stat)?;
        }
        let mut shared = BTreeSet::new();
        for (path, leaf) in &placed {
            let replaced = match self.shared(&name, path, leaf, &allowed)? {
                Some(both) => {
                    shared.insert(path.clone());
                    both.aside
                }
                None => self.replaced(&name, path, clash, &allowed)?,
            };
            record.placed.insert(path.clone(), leaf.record(replaced.as_ref()));
            if let Some(aside) = replaced {
                files.insert(place::put_aside(&name, path), aside);
            }
        }
        // With another epoch an equal file still gets another time stamp.
        let comparable = old.is_some_and(|old| old.tree.epoch == record.tree.epoch);
        for (path, leaf) in placed.into_iter().filter(|(path, _)| !shared.contains(path)) {
            let known = old.and_then(|old| old.placed.get(&path));
            if !comparable || !self.lies_at(&path, &leaf, known)? {
                self.put(path, leaf)?;
            }
        }
        if let Some(old) = old {
            let gone = old.placed.iter().filter(|(path, _)| !record.placed.contains_key(*path));
            for (path, was) in gone {
                self.take_away(&name, path, was)?;
            }
        }
        record.files = files.iter().map(|(file, leaf)| (file.clone(), leaf.digest())).collect();
        let json = record::to_json(&record);
        let entry = EmbeddedContainer {
            group: record.group.clone(),
            image: record.image.source.clone(),
            config: record.image.config,
            inputs,
            origin: record.origin,
            record: Digest::of(&json),
        };
        files.insert(place::RECORD_JSON.to_owned(), PlacedLeaf::of(json));
        self.bring(&name, root, tree, files)?;
        self.next.containers.insert(name.clone(), entry);
        self.records.insert(name, record);
        Ok(())
    }

    /// Removes a container with everything that belongs to it.
    ///
    /// # Errors
    /// When no such container is embedded, or what it put aside can't be read.
    pub fn remove(&mut self, name: &ContainerName) -> Result<()> {
        let Some(old) = self.present.records.get(name) else {
            let known: Vec<_> = self.present.records.keys().map(ContainerName::as_str).collect();
            let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
            bail!("removing container {name}: it is not embedded; embedded is {known}");
        };
        for (path, was) in old.placed.iter().rev() {
            self.take_away(name, path, was)?;
        }
        let bundle = place::bundle(name);
        self.over.insert(bundle.clone());
        self.removals.push((bundle, Change::Remove));
        self.next.containers.remove(name);
        self.records.remove(name);
        Ok(())
    }

    /// Puts a launcher and its generator link there.
    ///
    /// # Errors
    /// When a file that we did not record stands there.
    pub fn put_launcher(&mut self, bytes: Vec<u8>) -> Result<()> {
        let digest = Digest::of(&bytes);
        if self.present.embedded.launcher == Some(digest) {
            return Ok(());
        }
        let launcher = Utf8Path::new(place::LAUNCHER);
        if self.present.embedded.launcher.is_none() {
            for path in [launcher, Utf8Path::new(place::GENERATOR)] {
                if self.ground.probe(path)? != Found::Nothing {
                    bail!(
                        "adding the launcher: /{path} exists in the target and is not ours; \
                         leave out --add-launcher to use it, or remove it"
                    );
                }
            }
        }
        self.put(launcher.to_owned(), PlacedLeaf::File(PlacedFile { bytes, mode: 0o755, mtime: None }))?;
        if self.present.embedded.launcher.is_none() {
            self.put(place::GENERATOR.into(), PlacedLeaf::Link(place::GENERATOR_TARGET.to_owned()))?;
        }
        self.next.launcher = Some(digest);
        Ok(())
    }

    /// Whether the launcher was, or will be, another than the target has.
    pub fn changes_launcher(&self) -> bool {
        self.next.launcher != self.present.embedded.launcher
    }

    /// Removes the launcher that a compose added.
    ///
    /// # Errors
    /// When none was added, or containers that need it stay.
    pub fn remove_launcher(&mut self) -> Result<()> {
        if self.next.launcher.is_none() {
            bail!("removing the launcher: no compose added it");
        }
        if !self.next.containers.is_empty() {
            let names: Vec<_> = self.next.containers.keys().map(ContainerName::as_str).collect();
            bail!(
                "removing the launcher: {} can't start without it; remove containers first",
                names.join(", ")
            );
        }
        for path in [place::GENERATOR, place::LAUNCHER] {
            self.over.insert(path.into());
            self.removals.push((path.into(), Change::Remove));
        }
        self.next.launcher = None;
        Ok(())
    }

    /// All changes in their order.
    ///
    /// # Errors
    /// When the target can't be looked at.
    pub fn finish(mut self) -> Result<Planned> {
        let changed = self.next.containers != self.present.embedded.containers || self.changes_launcher();
        if !changed {
            return Ok(Planned { placement: Placement::default(), records: self.records });
        }
        let empty = self.next.containers.is_empty() && self.next.launcher.is_none();
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(self.settle_labels()?);
        let vanishing = self.settle_directories(empty);
        let index = if empty {
            Change::Remove
        } else {
            self.next.tool = record::tool();
            Change::Put(PlacedLeaf::of(record::to_json(&self.next)))
        };
        let index_path = Utf8PathBuf::from(place::EMBEDDED_JSON);
        let stood = self.ground.probe(&index_path)? != Found::Nothing;
        if stood {
            self.over.insert(index_path.clone());
        }
        let made = self.directories.into_iter().map(|(path, stat)| (path, Change::MakeDirectory(stat)));
        let mut changes: Vec<_> = made.collect();
        changes.extend(self.bundles);
        changes.extend(self.puts);
        changes.extend(self.removals);
        if stood || !empty {
            changes.push((index_path, index));
        }
        changes.extend(vanishing.into_iter().map(|path| (path, Change::RemoveDirectory)));
        Ok(Planned { placement: Placement { changes, over: self.over, warnings }, records: self.records })
    }

    /// Keeps the rule about the roots of containers in the target's policy as long as there are containers; tells what
    /// the user should know about that policy.
    fn settle_labels(&mut self) -> Result<Vec<String>> {
        let policy = if self.next.containers.is_empty() { None } else { Policy::read(self.ground)? };
        let settled = label_rule::settle(self.ground, policy.as_ref(), self.next.label_rule.as_ref())?;
        for (path, change, found) in settled.changes {
            if found != Found::Nothing {
                self.over.insert(path.clone());
            }
            match change {
                Change::Remove => self.removals.push((path, change)),
                _ => self.puts.push((path, change)),
            }
        }
        self.next.label_rule = settled.rule;
        Ok(policy.and_then(|policy| policy.warning()).into_iter().collect())
    }

    /// Updates the list of directories that are ours; tells those that nothing needs any more, the deepest first.
    fn settle_directories(&mut self, empty: bool) -> Vec<Utf8PathBuf> {
        let mut ours: BTreeSet<_> = self.next.directories.iter().cloned().collect();
        ours.extend(self.directories.keys().cloned());
        ours.extend(self.present.missing_homes.iter().cloned());
        let mut needed: BTreeSet<Utf8PathBuf> =
            self.records.values().flat_map(|record| record.placed.keys().cloned()).collect();
        if self.next.launcher.is_some() {
            needed.extend([place::LAUNCHER, place::GENERATOR].map(Utf8PathBuf::from));
        }
        if !empty {
            needed.insert(place::EMBEDDED_JSON.into());
        }
        let (stay, vanish): (Vec<_>, Vec<_>) =
            ours.into_iter().partition(|dir| needed.iter().any(|path| path.starts_with(dir)));
        self.next.directories = stay;
        vanish.into_iter().rev().collect()
    }

    fn put(&mut self, path: Utf8PathBuf, leaf: PlacedLeaf) -> Result<()> {
        let found = self.ground.probe(&path)?;
        if found == Found::Nothing {
            self.need_parents(&path)?;
        } else {
            self.over.insert(path.clone());
        }
        self.puts.push((path, Change::Put(leaf)));
        Ok(())
    }

    fn put_bundle(&mut self, name: &ContainerName, change: Change) -> Result<()> {
        let path = place::bundle(name);
        if self.present.records.contains_key(name) {
            self.over.insert(path.clone());
        } else if self.ground.probe(&path)? != Found::Nothing {
            bail!(
                "placing container {name}: /{path} exists in the target, but embedded.json does not list it; remove it"
            );
        }
        self.bundles.push((path, change));
        Ok(())
    }

    fn need_parents(&mut self, path: &Utf8Path) -> Result<()> {
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_str().is_empty()) {
            match self.ground.probe(parent)? {
                Found::Nothing => {
                    self.directories.entry(parent.to_owned()).or_insert_with(|| Stat::implied(0o755));
                }
                Found::Directory | Found::Link(_) => break,
                Found::File { .. } | Found::Special => {
                    bail!("placing /{path}: /{parent} of the target is not a directory")
                }
            }
        }
        Ok(())
    }
}

/// A container belongs to one group; another group's name is not taken over.
///
/// # Errors
/// When `name` is embedded and belongs to another group than `group`.
pub fn check_group(embedded: &Embedded, name: &ContainerName, group: &GroupName) -> Result<()> {
    match embedded.containers.get(name) {
        Some(entry) if entry.group != *group => bail!(
            "placing container {name} of group {group}: the name belongs to group {}; \
             choose another name, or remove that container first",
            entry.group
        ),
        _ => Ok(()),
    }
}
