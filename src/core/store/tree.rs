//! An image's tree as objects: its contents are staged, what is left are links, empty files and directories.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use super::contents::ObjectContents;
use super::object::{DirRef, DirTree, FileKind, ObjectKind, dirmeta, labelled};
use super::repo::Objects;
use crate::digest::Digest;
use crate::tree::{Dir, FileName, ImageTree, Leaf, LeafId, Node, Stat, TreePath};

/// A staged tree.
#[derive(Debug)]
pub struct StagedTree {
    /// Its root directory.
    pub root: DirRef,
    /// All its objects; the repository may have some of them already.
    pub objects: BTreeSet<(Digest, ObjectKind)>,
}

/// Stages everything of `tree`, whose contents are in `contents`, which is settled. All of it gets this SELinux label. `go_on`
/// is asked before each directory.
///
/// # Errors
/// When a content was not staged, a name or a link's text is no UTF-8, an object can't be written, or `go_on` fails.
pub fn stage(
    tree: &ImageTree,
    contents: &ObjectContents,
    label: Option<&[u8]>,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<StagedTree> {
    let (known, needed) = (BTreeMap::new(), BTreeSet::new());
    let mut staging = Staging { objects: contents.objects(), contents, tree, label, go_on, known, needed };
    let root = staging.dir(&tree.root, &TreePath::root())?;
    Ok(StagedTree { root, objects: staging.needed })
}

struct Staging<'a> {
    objects: &'a Objects,
    contents: &'a ObjectContents,
    tree: &'a ImageTree,
    label: Option<&'a [u8]>,
    go_on: &'a dyn Fn() -> Result<()>,
    /// Checksums of leaves: a hard link is one object.
    known: BTreeMap<LeafId, Digest>,
    needed: BTreeSet<(Digest, ObjectKind)>,
}

impl Staging<'_> {
    fn dir(&mut self, dir: &Dir, path: &TreePath) -> Result<DirRef> {
        (self.go_on)()?;
        let mut names = DirTree::default();
        for (name, node) in &dir.children {
            let making = || format!("making {} of the image", path.join(name));
            match node {
                Node::Dir(inner) => {
                    let inner = self.dir(inner, &path.join(name))?;
                    names.dirs.insert(spelled(name)?, inner);
                }
                Node::Leaf(id) => {
                    let checksum = match self.known.get(id) {
                        Some(checksum) => *checksum,
                        None => self.leaf(self.tree.leaf(*id)).with_context(making)?,
                    };
                    self.known.insert(*id, checksum);
                    names.files.insert(spelled(name)?, checksum);
                }
            }
        }
        let tree = self.metadata(ObjectKind::DirTree, &names.to_bytes())?;
        let meta = self.metadata(ObjectKind::DirMeta, &dirmeta(&self.labelled(&dir.stat)))?;
        Ok(DirRef { tree, meta })
    }

    fn labelled(&self, stat: &Stat) -> Stat {
        labelled(stat, self.label)
    }

    fn leaf(&mut self, leaf: &Leaf) -> Result<Digest> {
        let checksum = match leaf {
            Leaf::Symlink { stat, target } => {
                let target = std::str::from_utf8(target).context("its text is not UTF-8")?;
                self.objects.write_file(&self.labelled(stat), FileKind::Symlink(target), b"")?
            }
            Leaf::File { stat, size: 0, .. } => {
                self.objects.write_file(&self.labelled(stat), FileKind::Regular, b"")?
            }
            Leaf::File { content: None, .. } => bail!("its content was not staged"),
            Leaf::File { stat, content: Some(id), .. } => self.contents.object(*id, stat)?,
        };
        self.needed.insert((checksum, ObjectKind::File));
        Ok(checksum)
    }

    fn metadata(&mut self, kind: ObjectKind, bytes: &[u8]) -> Result<Digest> {
        let checksum = self.objects.write_metadata(kind, bytes)?;
        self.needed.insert((checksum, kind));
        Ok(checksum)
    }
}

fn spelled(name: &FileName) -> Result<String> {
    Ok(std::str::from_utf8(name.as_bytes()).context("a name is not UTF-8")?.to_owned())
}
