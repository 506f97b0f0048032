//! The root of a container that the target embeds already, as the source of its image's tree and small contents.
//!
//! Nothing of it is believed that was not held against the record: the dump by the record's digest, contents by the
//! dump's. What is not needed is not looked at and stays as it is; the record tells what it was, so `verify` finds what
//! was changed there, as before.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::container::{needed, shown};
use sysctr_core::digest::Digest;
use sysctr_core::exports::host_files::Lies;
use sysctr_core::exports::{HOST_FILES, brought};
use sysctr_core::image::flatten::{ContentStore, ContentWriter as _};
use sysctr_core::place;
use sysctr_core::placement::{Change, PlacedLeaf};
use sysctr_core::prepare::{Content, HostNode, HostPlaced, MountTarget, MountTargetKind, Target};
use sysctr_core::record::Record;
use sysctr_core::tree::{ContentId, ImageTree, Leaf, Node, Stat, TreePath, dump};

/// The contents that stand have numbers of this layer, which no image has.
const LAYER: u16 = u16::MAX;

/// What stands in the target can't be used: it is not what its record says.
#[derive(Debug, thiserror::Error)]
#[error("/{path} {what}")]
pub(super) struct Unfit {
    path: Utf8PathBuf,
    what: String,
}

impl Unfit {
    fn new(path: &Utf8Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into() }
    }
}

/// A content of the root that stands.
#[derive(Debug, Clone)]
struct Held {
    path: TreePath,
    size: u64,
    digest: Digest,
}

/// A root that stands.
pub(super) struct Standing<'a> {
    target: &'a dyn Target,
    rootfs: Utf8PathBuf,
    /// The image's: without mount targets.
    tree: ImageTree,
    /// The mount targets that were made for it, parents before what they hold.
    made: BTreeMap<TreePath, MountTargetKind>,
    /// What may be asked for.
    held: BTreeMap<ContentId, Held>,
    /// The listing of the image's layers.
    layers: Vec<u8>,
}

impl<'a> Standing<'a> {
    /// Reads the tree of an embedded container.
    ///
    /// # Errors
    /// [`Unfit`] when its bundle is not what the record says; what an image may not have is an error too.
    pub(super) fn open(record: &Record, target: &'a dyn Target) -> Result<Self> {
        let bundle = place::bundle(&record.name);
        let rootfs = bundle.join(place::ROOTFS);
        if target.lies(&rootfs)? != Lies::Directory {
            return Err(Unfit::new(&rootfs, "is no directory").into());
        }
        for file in record.files.keys().map(|file| bundle.join(file)) {
            if matches!(target.lies(&file)?, Lies::Directory | Lies::Other) {
                return Err(Unfit::new(&file, "is no file").into());
            }
        }
        let dump = bundle.join(place::TREE_DUMP);
        let mut tree = read_dump(record, target, &dump)?;
        let Some(made) = take_out(&mut tree, &record.tree.mount_targets) else {
            return Err(Unfit::new(&dump, "does not have the mount targets of its record").into());
        };
        number_contents(&mut tree);
        let held = held(&tree, &needed(&tree)?.into_iter().collect());
        let layers = read_layers(record, target, &bundle.join(place::LAYERS))?;
        Ok(Self { target, rootfs, tree, made, held, layers })
    }

    /// The image's tree: mount targets are not in it.
    pub(super) fn tree(&self) -> &ImageTree {
        &self.tree
    }

    /// The same, given away, and the listing of the image's layers.
    pub(super) fn into_parts(self) -> (ImageTree, Vec<u8>) {
        (self.tree, self.layers)
    }

    /// A content of at most `max` bytes.
    ///
    /// # Errors
    /// [`Unfit`] when it is not there as the dump says; an error when it is larger.
    pub(super) fn read(&self, id: ContentId, max: u64) -> Result<Vec<u8>> {
        let held = self.held.get(&id).context("it is none of the files that preparing a container reads")?;
        if held.size > max {
            bail!("it has {} bytes, more than {max}", held.size);
        }
        let Some(path) = utf8(&held.path) else {
            let what = format!("has {}, whose name is not UTF-8", shown(held.path.as_bytes()));
            return Err(Unfit::new(&self.rootfs, what).into());
        };
        let path = self.rootfs.join(path);
        match self.target.read(&path, held.size) {
            Ok(Some(bytes)) if Digest::of(&bytes) == held.digest => Ok(bytes),
            Ok(Some(_)) => Err(Unfit::new(&path, "was changed after the compose").into()),
            Ok(None) => Err(Unfit::new(&path, "is missing").into()),
            Err(error) => Err(Unfit::new(&path, format!("can't be read ({error:#})")).into()),
        }
    }

    /// What has to be changed below `rootfs` for these mount targets, parents before what they hold; `None` when one of
    /// them becomes another kind, for which no change exists.
    ///
    /// # Errors
    /// [`Unfit`] when something stands in the way, or what shall go away is not what was made.
    pub(super) fn changes(&self, wanted: &[MountTarget]) -> Result<Option<Vec<(Utf8PathBuf, Change)>>> {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|target| (&target.path, target.kind)).collect();
        if self.made.iter().any(|(path, kind)| wanted.get(path).is_some_and(|wanted| wanted != kind)) {
            return Ok(None);
        }
        let mut changes = Vec::new();
        let gone: BTreeMap<_, _> = self.made.iter().filter(|(path, _)| !wanted.contains_key(path)).collect();
        for (path, kind) in gone.iter().rev() {
            let Some(path) = utf8(path) else { return Ok(None) };
            changes.push((path.to_owned(), self.take_away(path, **kind, &gone)?));
        }
        for (path, kind) in wanted.iter().filter(|(path, _)| !self.made.contains_key(path)) {
            let Some(at) = utf8(path) else { return Ok(None) };
            self.expect_way(path, &wanted)?;
            self.expect(at, Lies::Nothing, "stands where a mount target is to be made")?;
            let change = match kind {
                MountTargetKind::File => Change::Put(PlacedLeaf::of(Vec::new())),
                kind => Change::MakeDirectory(Stat::implied(kind.mode())),
            };
            changes.push((at.to_owned(), change));
        }
        Ok(Some(changes))
    }

    fn take_away(
        &self,
        path: &Utf8Path,
        kind: MountTargetKind,
        gone: &BTreeMap<&TreePath, &MountTargetKind>,
    ) -> Result<Change> {
        let as_made = "is not the mount target that was made there";
        if kind == MountTargetKind::File {
            self.expect(path, Lies::File, as_made)?;
            return Ok(Change::Remove);
        }
        self.expect(path, Lies::Directory, as_made)?;
        let inside = self.target.names(&self.rootfs.join(path))?;
        let expected = |name: &String| {
            TreePath::parse(path.join(name).as_str().as_bytes()).is_ok_and(|path| gone.contains_key(&path))
        };
        match inside.iter().find(|name| !expected(name)) {
            Some(name) => Err(Unfit::new(&self.rootfs.join(path).join(name), "is not of the image").into()),
            None => Ok(Change::RemoveDirectory),
        }
    }

    /// The directories on the way to `path`, but those that are to be made, are directories and no links.
    fn expect_way(&self, path: &TreePath, wanted: &BTreeMap<&TreePath, MountTargetKind>) -> Result<()> {
        let mut parent = path.parent();
        while let Some(dir) = parent.filter(|dir| !dir.is_root()) {
            let stands = !wanted.contains_key(&dir) || self.made.contains_key(&dir);
            if let (true, Some(dir)) = (stands, utf8(&dir)) {
                self.expect(dir, Lies::Directory, "is no directory any more")?;
            }
            parent = dir.parent();
        }
        Ok(())
    }

    fn expect(&self, path: &Utf8Path, expected: Lies, else_it: &str) -> Result<()> {
        let path = self.rootfs.join(path);
        match self.target.lies(&path)? == expected {
            true => Ok(()),
            false => Err(Unfit::new(&path, else_it).into()),
        }
    }

    /// Hands the contents of host files to a store, as the reading of a layer would.
    ///
    /// # Errors
    /// [`Unfit`] when one is not there as the dump says; else when it can't be stored.
    pub(super) fn stage<S: ContentStore>(
        &self,
        host: &[HostPlaced],
        store: impl FnOnce() -> Result<S>,
    ) -> Result<()> {
        let mut wanted = BTreeMap::new();
        for placed in host {
            if let HostNode::File { stat, leaf, content: Content::AsItIs } = &placed.file.node
                && let Leaf::File { content: Some(id), .. } = self.tree.leaf(*leaf)
            {
                wanted.insert(*id, stat);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let store = store()?;
        for (id, stat) in wanted {
            let bytes = self.read(id, u64::MAX)?;
            let held = self.held.get(&id).context("a host file's content was not found")?;
            let mut writer = store.begin(id, &held.path, held.size, stat)?;
            writer.write(&bytes)?;
            writer.finish(&held.digest)?;
        }
        Ok(())
    }
}

/// A path that a target can be asked about.
fn utf8(path: &TreePath) -> Option<&Utf8Path> {
    std::str::from_utf8(path.as_bytes()).ok().map(Utf8Path::new)
}

fn read_dump(record: &Record, target: &dyn Target, path: &Utf8Path) -> Result<ImageTree> {
    let compressed = read_bundled(target, path)?;
    let read = dump::unpack(&compressed, &record.tree.digest);
    read.map_err(|_| Unfit::new(path, "is not the dump that the record names").into())
}

fn read_bundled(target: &dyn Target, path: &Utf8Path) -> Result<Vec<u8>> {
    let found = target.read(path, dump::MAX_BYTES);
    let found = found.map_err(|error| Unfit::new(path, format!("{error:#}")))?;
    Ok(found.ok_or_else(|| Unfit::new(path, "is missing"))?)
}

/// The listing of the image's layers.
fn read_layers(record: &Record, target: &dyn Target, path: &Utf8Path) -> Result<Vec<u8>> {
    let listing = read_bundled(target, path)?;
    match record.files.get(place::LAYERS) == Some(&Digest::of(&listing)) {
        true => Ok(listing),
        false => Err(Unfit::new(path, "is not the listing that the record names").into()),
    }
}

/// Takes the mount targets, which the record shows as text, out of the tree; `None` when it has others, or what can't be
/// one.
fn take_out(tree: &mut ImageTree, recorded: &[String]) -> Option<BTreeMap<TreePath, MountTargetKind>> {
    let recorded: BTreeSet<_> = recorded.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    if !recorded.is_empty() {
        let paths = tree.walk().map(|(path, _)| path);
        let paths: Vec<_> = paths.filter(|path| recorded.contains(shown(path.as_bytes()).as_str())).collect();
        found = paths.iter().map(|path| MountTarget::at(tree, path)).collect::<Option<_>>()?;
    }
    // Two names may be shown as one text.
    let all = found.len() == recorded.len() && found.iter().rev().all(|target| target.remove(tree));
    all.then(|| found.into_iter().map(|target| (target.path, target.kind)).collect())
}

/// Gives every content a number, as layers give them.
fn number_contents(tree: &mut ImageTree) {
    let leaves = tree.walk().filter_map(|(_, node)| match node {
        Node::Leaf(id) => Some(*id),
        Node::Dir(_) => None,
    });
    let leaves: BTreeSet<_> = leaves.collect();
    for (ordinal, leaf) in (0..).zip(leaves) {
        if let Leaf::File { content, size: 1.., .. } = tree.leaf_mut(leaf) {
            *content = Some(ContentId { layer: LAYER, ordinal });
        }
    }
}

/// Where the contents of `needed` are, and those of everything in `/exports`: host files may be large.
fn held(tree: &ImageTree, needed: &BTreeSet<ContentId>) -> BTreeMap<ContentId, Held> {
    let exports = [brought::DIRECTORY, HOST_FILES].map(|path| tree.resolve(path.as_bytes()));
    let exports: Vec<_> = exports.into_iter().flatten().map(|resolved| resolved.path).collect();
    let held = tree.walk().filter_map(|(path, node)| {
        let Node::Leaf(leaf) = node else { return None };
        let Leaf::File { size, digest, content: Some(id), .. } = tree.leaf(*leaf) else { return None };
        let asked = needed.contains(id) || exports.iter().any(|exports| path.starts_with(exports));
        asked.then_some((*id, Held { path, size: *size, digest: *digest }))
    });
    held.collect()
}
