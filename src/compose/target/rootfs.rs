//! An image's tree as objects of a new commit.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use sysctr_core::digest::Digest;
use sysctr_core::store::contents::ObjectContents;
use sysctr_core::store::object::{DirRef, DirTree, FileKind, ObjectKind, labelled};
use sysctr_core::tree::{Dir, FileName, ImageTree, Leaf, LeafId, Node, Stat, TreePath};

use super::composing::New;
use super::labels::Labels;

/// An image's tree while its objects are staged.
pub(super) struct Rootfs<'a> {
    contents: ObjectContents,
    tree: &'a ImageTree,
    /// Of everything in it.
    label: Option<Vec<u8>>,
    /// Checksums of leaves: a hard link is one object.
    known: BTreeMap<LeafId, Digest>,
}

impl<'a> Rootfs<'a> {
    /// `contents` has the contents of its files.
    pub(super) fn new(contents: ObjectContents, tree: &'a ImageTree) -> Self {
        Self { contents, tree, label: None, known: BTreeMap::new() }
    }

    /// Stages all of it, labelled as the new commit's policy wants roots of containers.
    pub(super) fn write(mut self, new: &mut New<'_>) -> Result<DirRef> {
        self.label = new.labels.as_ref().map(|labels| Labels::roots(labels).to_vec());
        self.dir(new, &self.tree.root, &TreePath::root())
    }

    fn dir(&mut self, new: &mut New<'_>, dir: &Dir, path: &TreePath) -> Result<DirRef> {
        new.interrupt.check()?;
        let mut names = DirTree::default();
        for (name, node) in &dir.children {
            let making = || format!("making {} of the image", path.join(name));
            match node {
                Node::Dir(inner) => {
                    let inner = self.dir(new, inner, &path.join(name))?;
                    names.dirs.insert(spelled(name)?, inner);
                }
                Node::Leaf(id) => {
                    let checksum = match self.known.get(id) {
                        Some(checksum) => *checksum,
                        None => self.leaf(new, self.tree.leaf(*id)).with_context(making)?,
                    };
                    self.known.insert(*id, checksum);
                    names.files.insert(spelled(name)?, checksum);
                }
            }
        }
        Ok(DirRef { tree: new.names(&names)?, meta: new.metadata(&self.labelled(&dir.stat))? })
    }

    fn labelled(&self, stat: &Stat) -> Stat {
        labelled(stat, self.label.as_deref())
    }

    fn leaf(&self, new: &mut New<'_>, leaf: &Leaf) -> Result<Digest> {
        match leaf {
            Leaf::Symlink { stat, target } => {
                let target = std::str::from_utf8(target).context("its text is not UTF-8")?;
                new.file(&self.labelled(stat), FileKind::Symlink(target), b"")
            }
            Leaf::File { stat, size: 0, .. } => new.file(&self.labelled(stat), FileKind::Regular, b""),
            Leaf::File { content: None, .. } => bail!("its content was not staged"),
            Leaf::File { stat, content: Some(id), .. } => {
                let checksum = self.contents.object(*id, stat)?;
                new.needed.insert((checksum, ObjectKind::File));
                Ok(checksum)
            }
        }
    }
}

fn spelled(name: &FileName) -> Result<String> {
    Ok(std::str::from_utf8(name.as_bytes()).context("a name is not UTF-8")?.to_owned())
}
