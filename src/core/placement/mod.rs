//! Which bytes go where in a target.
//!
//! A placement is a list of changes in the order in which they are made. It is computed by [`Planner`] from what a
//! target embeds ([`Present`]) and what it shall embed; the target does nothing that does not stand in it.

mod etc;
pub mod label_rule;
mod planner;
mod policy;
mod present;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

pub use etc::Etc;
pub use planner::{Clash, Draft, Foreseen, Planned, Planner, Root, boot_clashes, check_group};
pub use policy::Policy;
pub use present::Present;

use crate::digest::Digest;
use crate::exports::host_files::Lies;
use crate::name::ContainerName;
use crate::place;
use crate::record::{Metadata, Placed};
use crate::tree::{ContentId, ImageTree, Mtime, Stat};

/// What lies at a path of the target, itself not followed if it is a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or a parent is missing.
    Nothing,
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Permission bits.
        mode: u16,
        /// Length in bytes.
        size: u64,
        /// Its modification time.
        mtime: Mtime,
    },
    /// A symbolic link with this text.
    Link(String),
    /// A device, FIFO or socket.
    Special,
}

impl From<Found> for Lies {
    fn from(found: Found) -> Self {
        match found {
            Found::Nothing => Self::Nothing,
            Found::Directory => Self::Directory,
            Found::File { .. } => Self::File,
            Found::Link(text) => Self::Link(text),
            Found::Special => Self::Other,
        }
    }
}

/// The questions that a placement has about its target. Paths are relative to the target's root; links in their
/// parents are followed beneath it.
pub trait Ground {
    /// What lies at `path`.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn probe(&self, path: &Utf8Path) -> Result<Found>;

    /// The bytes of the regular file at `path`; `None` if there is nothing.
    ///
    /// # Errors
    /// When it can't be read, is no regular file or is larger than `max` bytes.
    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>>;

    /// The first `length` bytes of the regular file at `path`, or all if it has fewer; `None` if there is nothing.
    ///
    /// # Errors
    /// When it can't be read, or is no regular file.
    fn head(&self, path: &Utf8Path, length: usize) -> Result<Option<Vec<u8>>> {
        let mut bytes = self.read(path, u64::MAX)?;
        bytes.iter_mut().for_each(|bytes| bytes.truncate(length));
        Ok(bytes)
    }

    /// Modification time of what lies at `path`, itself not followed; `None` where the target keeps none.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn mtime(&self, _: &Utf8Path) -> Result<Option<Mtime>> {
        Ok(None)
    }
}

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
    /// A file or link that the image brings for the host.
    Brought(Box<Brought>),
}

/// A file or link with the owner, mode and attributes that the image gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// Its metadata; without a time stamp it gets the compose's epoch.
    pub stat: Stat,
    /// What it is.
    pub body: Body,
}

/// What an image brings at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A file with the bytes of a file of the image, which were staged.
    Content {
        /// Whose image.
        container: ContainerName,
        /// Which content.
        id: ContentId,
        /// Length in bytes.
        size: u64,
        /// Digest of the bytes.
        digest: Digest,
    },
    /// A link with this text.
    Link(String),
}

/// A bundle directory: mode 0700 root, its `rootfs` and the files beside that.
#[derive(Debug)]
pub struct Bundle {
    /// The container; the staged contents of its image are known by it.
    pub name: ContainerName,
    /// `rootfs`, mount targets included; none when the container's root lies elsewhere on the host.
    pub tree: Option<ImageTree>,
    /// Everything else in the directory, by single names.
    pub files: BTreeMap<String, PlacedLeaf>,
}

/// The metadata of a container's bundle directory. Not open to users: what lies in it may be setuid.
pub fn bundle_stat(name: &ContainerName) -> Stat {
    let component = place::component(name).into_bytes();
    let attribute = (place::COMPONENT.as_bytes().into(), component.into());
    Stat { xattrs: Some(Box::new([attribute].into())), ..Stat::implied(0o700) }
}

/// A bundle directory as [`Bundle`] has it, `rootfs` taken from a commit.
#[derive(Debug)]
pub struct Adopted {
    /// The container.
    pub name: ContainerName,
    /// Checksum of the commit. Its `rootfs` lies at the same path.
    pub commit: String,
    /// Everything else in the directory, by single names.
    pub files: BTreeMap<String, PlacedLeaf>,
}

/// One change at one path, relative to the target's root. Parents of what is put exist by then.
#[derive(Debug)]
pub enum Change {
    /// Makes a directory where nothing is.
    MakeDirectory(Stat),
    /// Puts a file or link there; a file or link that is there goes away.
    Put(PlacedLeaf),
    /// Puts a bundle there; a bundle that is there goes away.
    PutBundle(Box<Bundle>),
    /// Puts a bundle there whose `rootfs` another commit has already; a bundle that is there goes away. Only for commits of
    /// one repository: nothing of the `rootfs` is read or written.
    AdoptBundle(Box<Adopted>),
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
    /// Those of the paths above where something stands before.
    pub over: BTreeSet<Utf8PathBuf>,
    /// What the user should know about the target, one sentence each.
    pub warnings: Vec<String>,
}

impl PlacedLeaf {
    /// A file of root, 0644, with the compose's epoch.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self::File(PlacedFile { bytes, mode: 0o644, mtime: None })
    }

    /// Length of a file's bytes; a link has none.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File(file) => file.bytes.len() as u64,
            Self::Link(_) => 0,
            Self::Brought(brought) => match &brought.body {
                Body::Bytes(bytes) => bytes.len() as u64,
                Body::Content { size, .. } => *size,
                Body::Link(_) => 0,
            },
        }
    }

    /// Digest of a file's bytes or of a link's text.
    fn digest(&self) -> Digest {
        match self {
            Self::File(file) => Digest::of(&file.bytes),
            Self::Link(text) => Digest::of(text.as_bytes()),
            Self::Brought(brought) => match &brought.body {
                Body::Bytes(bytes) => Digest::of(bytes),
                Body::Content { digest, .. } => *digest,
                Body::Link(text) => Digest::of(text.as_bytes()),
            },
        }
    }

    /// As the record of its container has it.
    pub fn record(&self, replaced: Option<&Self>) -> Placed {
        let metadata = match self {
            Self::Brought(brought) => Some(Metadata::from(&brought.stat)),
            Self::File(_) | Self::Link(_) => None,
        };
        match self.link() {
            None => Placed::File { digest: self.digest(), metadata },
            Some(text) => {
                let replaced = replaced.and_then(Self::link).map(str::to_owned);
                Placed::Link { target: text.to_owned(), replaced, metadata }
            }
        }
    }

    /// A link's text.
    fn link(&self) -> Option<&str> {
        match self {
            Self::Link(text) => Some(text),
            Self::File(_) => None,
            Self::Brought(brought) => match &brought.body {
                Body::Link(text) => Some(text),
                Body::Bytes(_) | Body::Content { .. } => None,
            },
        }
    }
}

impl Adopted {
    /// Bytes in the files beside `rootfs`.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(PlacedLeaf::bytes).sum()
    }
}

impl Bundle {
    /// Bytes in regular files of the whole directory; hard links count once.
    pub fn bytes(&self) -> u64 {
        self.tree.as_ref().map_or(0, ImageTree::file_bytes)
            + self.files.values().map(PlacedLeaf::bytes).sum::<u64>()
    }
}
