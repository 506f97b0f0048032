//! Which bytes go where in a target.
//!
//! A placement is a list of changes in the order in which they are made. It is computed; the target does nothing that
//! does not stand in it.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;

use crate::name::ContainerName;
use crate::tree::{ImageTree, Mtime};

/// A regular file of root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Permission bits, `0..=0o7777`.
    pub mode: u16,
    /// `None`: the compose's epoch.
    pub mtime: Option<Mtime>,
}

/// A regular file or a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacedLeaf {
    /// A file of root.
    File(PlacedFile),
    /// A link of root with this text.
    Link(String),
}

/// A bundle directory: mode 0700 root, its `rootfs` and the files beside that.
#[derive(Debug)]
pub struct Bundle {
    /// The container; the staged contents of its image are known by it.
    pub name: ContainerName,
    /// `rootfs`, mount targets included.
    pub tree: ImageTree,
    /// Everything else in the directory, by single names.
    pub files: BTreeMap<String, PlacedLeaf>,
}

/// One change at one path, relative to the target's root. Parents of what is put exist by then.
#[derive(Debug)]
pub enum Change {
    /// Makes a directory of root, mode 0755, where nothing is.
    MakeDirectory,
    /// Puts a file or link there; a file or link that is there goes away.
    Put(PlacedLeaf),
    /// Puts a bundle there; a bundle that is there goes away.
    PutBundle(Box<Bundle>),
    /// Takes away the file, link or bundle directory there.
    Remove,
    /// Takes away a directory that is empty by then; one that is not stays.
    RemoveDirectory,
}

/// All changes of a compose, in order.
#[derive(Debug, Default)]
pub struct Placement {
    /// Path relative to the target's root, and what happens there. A path stands here once.
    pub changes: Vec<(Utf8PathBuf, Change)>,
}
