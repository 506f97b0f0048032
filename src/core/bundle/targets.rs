//! What a read-only root needs beyond the image: a directory or file wherever something is mounted, and the working
//! directory, since runtimes make both and can't here.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::mounts::{Mount, Place};
use super::process::Cwd;
use crate::tree::lookup::{Found, NotInserted};
use crate::tree::{ImageTree, Leaf, Node, Stat, TreePath};

/// A path to be made in the root because a mount needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountTarget {
    /// Where.
    pub path: TreePath,
    /// What.
    pub kind: MountTargetKind,
}

/// What a mount target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountTargetKind {
    /// A directory, root's, 0755.
    Directory,
    /// A directory that all may write to, root's, 1777: runc 1.1 gives a tmpfs the mode of what it is mounted on, over
    /// the mount's own option.
    StickyDirectory,
    /// An empty file, root's, 0644.
    File,
}

impl MountTargetKind {
    /// Its permission bits.
    pub fn mode(self) -> u16 {
        match self {
            Self::Directory => 0o755,
            Self::StickyDirectory => 0o1777,
            Self::File => 0o644,
        }
    }
}

impl MountTarget {
    /// What `tree` has at `path`, if that can be a mount target of ours: root's, of one of our modes, without time stamp or
    /// attributes; a file is empty.
    pub fn at(tree: &ImageTree, path: &TreePath) -> Option<Self> {
        use MountTargetKind::{Directory, File, StickyDirectory};
        let is = |stat: &Stat, kind: &MountTargetKind| *stat == Stat::implied(kind.mode());
        let kind = match tree.node(path)? {
            Node::Dir(dir) => [Directory, StickyDirectory].into_iter().find(|kind| is(&dir.stat, kind)),
            Node::Leaf(id) => match tree.leaf(*id) {
                Leaf::File { stat, size: 0, .. } => Some(File).filter(|kind| is(stat, kind)),
                Leaf::File { .. } | Leaf::Symlink { .. } => None,
            },
        };
        kind.map(|kind| Self { path: path.clone(), kind })
    }

    /// Takes out of `tree` what [`Self::insert`] made; whether it could. What holds something stays.
    pub fn remove(&self, tree: &mut ImageTree) -> bool {
        let Some((parent, name)) = self.path.parent().zip(self.path.file_name()) else { return false };
        let Some(parent) = tree.dir_mut(&parent) else { return false };
        let holds = matches!(parent.children.get(&name), Some(Node::Dir(dir)) if !dir.children.is_empty());
        !holds && parent.children.remove(&name).is_some()
    }

    /// Makes it in `tree`. In the order of `missing`, parents are there.
    ///
    /// # Errors
    /// When something is there, or no parent is; the tree is as it was then.
    pub fn insert(&self, tree: &mut ImageTree) -> Result<(), NotInserted> {
        match self.kind {
            MountTargetKind::File => return tree.insert_file(&self.path),
            MountTargetKind::Directory | MountTargetKind::StickyDirectory => {
                tree.insert_directory(&self.path)?
            }
        }
        if self.kind == MountTargetKind::StickyDirectory {
            let mut dir = &mut tree.root;
            for name in self.path.components() {
                match dir.children.get_mut(&name) {
                    Some(Node::Dir(inner)) => dir = inner,
                    _ => return Err(NotInserted::NoParent(self.path.clone())),
                }
            }
            dir.stat.mode = self.kind.mode();
        }
        Ok(())
    }
}

/// What `tree` lacks, parents before children. What lies below another mount is made there, by the runtime.
///
/// # Errors
/// When the image has a file where a directory is needed, or the reverse.
pub fn missing(tree: &ImageTree, mounts: &BTreeMap<TreePath, Mount>, cwd: &Cwd) -> Result<Vec<MountTarget>> {
    let mut targets = BTreeMap::new();
    let below_another = |path: &TreePath| mounts.keys().any(|place| path != place && path.starts_with(place));
    for (path, mount) in mounts.iter().filter(|(path, _)| !below_another(path)) {
        let (kind, must) = match mount.place {
            Place::Only(kind) => (kind, true),
            Place::Else(kind) => (kind, false),
        };
        add(tree, path, kind, must, &mut targets).with_context(|| mount.label.clone())?;
    }
    if !mounts.contains_key(&cwd.path) && !below_another(&cwd.path) {
        add(tree, &cwd.path, MountTargetKind::Directory, true, &mut targets)
            .with_context(|| cwd.label.to_owned())?;
    }
    Ok(targets.into_iter().map(|(path, kind)| MountTarget { path, kind }).collect())
}

fn add(
    tree: &ImageTree,
    path: &TreePath,
    kind: MountTargetKind,
    must: bool,
    targets: &mut BTreeMap<TreePath, MountTargetKind>,
) -> Result<()> {
    match (tree.resolve(path.as_bytes())?.found, kind) {
        (Found::Dir(_), MountTargetKind::File) if must => {
            bail!("{path} is a directory in the image, not a file")
        }
        (Found::File(_), MountTargetKind::Directory | MountTargetKind::StickyDirectory) if must => {
            bail!("{path} is a file in the image, not a directory")
        }
        (Found::Dir(_) | Found::File(_), _) => return Ok(()),
        (Found::Missing, _) => {}
    }
    targets.insert(path.clone(), kind);
    let mut parent = path.parent();
    while let Some(path) = parent.filter(|path| !path.is_root() && tree.node(path).is_none()) {
        targets.insert(path.clone(), MountTargetKind::Directory);
        parent = path.parent();
    }
    Ok(())
}
