//! Roots that stand beside the repository, with the listings of their layers: contents are copied from there instead of being
//! fetched. Nothing of them is believed that has not the digest that the listing says.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags};

use super::listing::Listing;
use crate::digest::Digest;
use crate::image::flatten::ReadLayer;
use crate::interrupt::Interrupt;
use crate::tree::{ImageTree, Leaf, Node, TreePath};

/// One root.
#[derive(Debug)]
pub struct ShippedRoot {
    root: OwnedFd,
    listing: Listing,
    /// Where a content is.
    files: BTreeMap<Digest, TreePath>,
}

/// Several of them.
#[derive(Debug)]
pub struct Shipped {
    roots: Vec<ShippedRoot>,
    interrupt: Interrupt,
}

impl ShippedRoot {
    /// The root in the directory `root`, of which it is said that `tree` is there.
    pub fn new(root: OwnedFd, listing: Listing, tree: &ImageTree) -> Self {
        let mut files = BTreeMap::new();
        for (path, node) in tree.walk() {
            if let Node::Leaf(id) = node
                && let Leaf::File { size: 1.., digest, .. } = tree.leaf(*id)
            {
                files.entry(*digest).or_insert(path);
            }
        }
        Self { root, listing, files }
    }
}

impl Shipped {
    /// These; copying from them ends when the user interrupts.
    pub fn new(roots: Vec<ShippedRoot>, interrupt: Interrupt) -> Self {
        Self { roots, interrupt }
    }

    /// The user's wish to stop.
    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// What a layer does, if a listing has it.
    pub(super) fn layer(&self, layer: u16, diff_id: &Digest) -> Option<ReadLayer> {
        self.roots.iter().find_map(|root| root.listing.layer(layer, diff_id))
    }

    /// Files that are said to have this content.
    pub(super) fn files<'a>(&'a self, digest: &'a Digest) -> impl Iterator<Item = (&'a TreePath, File)> + 'a {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.roots.iter().filter_map(move |root| {
            let path = root.files.get(digest)?;
            let name = OsStr::from_bytes(path.as_bytes());
            let file = rustix::fs::openat(&root.root, name, flags, Mode::empty()).ok()?;
            Some((path, file.into()))
        })
    }
}

#[cfg(test)]
#[path = "shipped_tests.rs"]
mod tests;
