//! A root file system as a value: names, metadata and the digests of contents, but no contents.
//!
//! Nothing here reads or writes. [`diff`] says how a layer changes a tree, [`dump`] spells a tree as text.

pub mod compare;
pub mod diff;
pub mod dump;
pub mod lookup;
pub mod path;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
pub use diff::{Builder, Built, Entry, LayerDiff};
pub use lookup::Found;
pub use path::{FileName, TreePath};

/// A point in time with nanoseconds, as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// 0 ≤ nanoseconds < 10⁹, added to `seconds`.
    pub nanoseconds: u32,
}

/// Extended attributes: full name (`security.capability`) → value. Both are bytes, as for the kernel.
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// The metadata of one inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Numeric owner, as in the image.
    pub uid: u32,
    /// Numeric group, as in the image.
    pub gid: u32,
    /// Permission bits with setuid, setgid and sticky: `0..=0o7777`, no file type.
    pub mode: u16,
    /// `None`: the image does not name this entry (an implied parent) or we made it; it gets the compose's epoch.
    pub mtime: Option<Mtime>,
    /// `None` when there are none, which is nearly always: one word instead of three.
    pub xattrs: Option<Box<Xattrs>>,
}

impl Stat {
    /// Root's, with `mode`, without time stamp or attributes: what implied parents (0755) and mount targets get.
    pub fn implied(mode: u16) -> Self {
        Self { uid: 0, gid: 0, mode, mtime: None, xattrs: None }
    }
}

/// Where a regular file's bytes come from: the `ordinal`-th entry of the image's layer number `layer` (both from 0).
///
/// It is the identity of contents between the reader of layers and the target's staging area; equal identity
/// means the same bytes, and different identities may still hold equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId {
    /// Index into the image's layers, from the base upwards.
    pub layer: u16,
    /// Position of the entry in the layer's tar stream.
    pub ordinal: u32,
}

/// An entry that no host image can carry. It never is in a tree; what it would be is told beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpecialKind {
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket (no standard tar type; some writers have one).
    Socket,
}

/// What is not a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// A regular file.
    File {
        /// Its metadata.
        stat: Stat,
        /// Length in bytes, holes included.
        size: u64,
        /// SHA-256 of the content.
        digest: Digest,
        /// Where the bytes are; `None` for an empty file.
        content: Option<ContentId>,
    },
    /// A symbolic link. Its target is bytes, never resolved here.
    Symlink {
        /// Its metadata; the mode is 0777.
        stat: Stat,
        /// The link's text.
        target: Box<[u8]>,
    },
}

impl Leaf {
    /// The inode's metadata.
    pub fn stat(&self) -> &Stat {
        match self {
            Self::File { stat, .. } | Self::Symlink { stat, .. } => stat,
        }
    }

    /// The same, to change it.
    pub fn stat_mut(&mut self) -> &mut Stat {
        match self {
            Self::File { stat, .. } | Self::Symlink { stat, .. } => stat,
        }
    }
}

/// Index of a leaf in its [`ImageTree`]. Two names with one `LeafId` are hard links of one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafId(u32);

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory, owned by this name alone.
    Dir(Box<Dir>),
    /// A name of a leaf.
    Leaf(LeafId),
}

/// A directory: metadata and sorted names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dir {
    /// Its metadata.
    pub stat: Stat,
    /// Names in byte order.
    pub children: BTreeMap<FileName, Node>,
}

impl Dir {
    /// An empty directory.
    pub fn empty(stat: Stat) -> Self {
        Self { stat, children: BTreeMap::new() }
    }
}

/// A flattened root file system. Every parent exists, a hard link *is* two names for one leaf, and there are no
/// whiteouts, devices, FIFOs or sockets.
#[derive(Debug, Clone)]
pub struct ImageTree {
    /// The root directory.
    pub root: Dir,
    leaves: Vec<Leaf>,
}

impl ImageTree {
    /// A tree with an empty root directory (0755 root, implied).
    pub fn new() -> Self {
        Self { root: Dir::empty(Stat::implied(0o755)), leaves: Vec::new() }
    }

    /// Adds a leaf without a name and tells its id.
    ///
    /// # Panics
    /// Above 2³² leaves; limits on entries refuse such an image long before.
    pub fn add_leaf(&mut self, leaf: Leaf) -> LeafId {
        let id = u32::try_from(self.leaves.len()).expect("an image has fewer than 2^32 leaves");
        self.leaves.push(leaf);
        LeafId(id)
    }

    /// The leaf of an id that this tree gave out.
    pub fn leaf(&self, id: LeafId) -> &Leaf {
        &self.leaves[id.0 as usize]
    }

    /// The same, to change it.
    pub fn leaf_mut(&mut self, id: LeafId) -> &mut Leaf {
        &mut self.leaves[id.0 as usize]
    }

    /// What lies at `path`, no symlink followed; `None` if nothing does, or if a parent is not a directory.
    /// The root itself is not a node and gives `None`.
    pub fn node(&self, path: &TreePath) -> Option<&Node> {
        let (parents, name) = path.split_last()?;
        let mut dir = &self.root;
        for parent in parents {
            match dir.children.get(&parent)? {
                Node::Dir(inner) => dir = inner,
                Node::Leaf(_) => return None,
            }
        }
        dir.children.get(&name)
    }

    /// Where the contents of its files are, once for each file.
    pub fn contents(&self) -> impl Iterator<Item = ContentId> + '_ {
        self.leaves.iter().filter_map(|leaf| match leaf {
            Leaf::File { content, .. } => *content,
            Leaf::Symlink { .. } => None,
        })
    }

    /// Number of entries, the root not counted; each name of a hard link counts.
    pub fn entries(&self) -> u64 {
        self.walk().count() as u64
    }

    /// Bytes in regular files, holes included; hard links count once.
    pub fn file_bytes(&self) -> u64 {
        let mut seen = vec![false; self.leaves.len()];
        let mut bytes = 0;
        for (_, node) in self.walk() {
            if let Node::Leaf(id) = node
                && !std::mem::replace(&mut seen[id.0 as usize], true)
                && let Leaf::File { size, .. } = self.leaf(*id)
            {
                bytes += size;
            }
        }
        bytes
    }

    /// The tree as a commit keeps it: without time stamps, and every name has a leaf of its own.
    pub fn as_committed(&self) -> Self {
        let mut kept = Self::new();
        kept.root = self.committed(&self.root, &mut kept.leaves);
        kept
    }

    fn committed(&self, dir: &Dir, leaves: &mut Vec<Leaf>) -> Dir {
        let children = dir.children.iter().map(|(name, node)| {
            let node = match node {
                Node::Dir(inner) => Node::Dir(Box::new(self.committed(inner, leaves))),
                Node::Leaf(id) => {
                    let mut leaf = self.leaf(*id).clone();
                    leaf.stat_mut().mtime = None;
                    leaves.push(leaf);
                    // As many as a tree's names fit: a leaf has at least one.
                    Node::Leaf(LeafId(u32::try_from(leaves.len() - 1).unwrap_or(u32::MAX)))
                }
            };
            (name.clone(), node)
        });
        let children = children.collect();
        Dir { stat: Stat { mtime: None, ..dir.stat.clone() }, children }
    }

    /// Every name with its node in path order: a directory stands before what it holds. The root is not among them.
    pub fn walk(&self) -> Walk<'_> {
        Walk { stack: vec![self.root.children.iter()], path: TreePath::root() }
    }
}

impl Default for ImageTree {
    fn default() -> Self {
        Self::new()
    }
}

/// Iterator of [`ImageTree::walk`].
pub struct Walk<'a> {
    stack: Vec<std::collections::btree_map::Iter<'a, FileName, Node>>,
    path: TreePath,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (TreePath, &'a Node);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((name, node)) = self.stack.last_mut()?.next() else {
                self.stack.pop();
                self.path.pop();
                continue;
            };
            let path = self.path.join(name);
            if let Node::Dir(dir) = node {
                self.stack.push(dir.children.iter());
                self.path = path.clone();
            }
            return Some((path, node));
        }
    }
}
