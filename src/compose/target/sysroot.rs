//! A root directory of a system that is not booted.

use anyhow::{Result, bail};
use camino::Utf8Path;
use sysctr_core::digest::Digest;
use sysctr_core::epoch::Epoch;
use sysctr_core::image::flatten::{ContentStore, ContentWriter};
use sysctr_core::name::ContainerName;
use sysctr_core::placement::Placement;
use sysctr_core::tree::{ContentId, Mtime, TreePath};

use crate::interrupt::Interrupt;

/// What a program wants to do with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look only. A compose that was cut off is an error.
    Read,
    /// Change it. A compose that was cut off is finished or undone first.
    Write,
}

/// A target root, open and locked (shared for reading, exclusive for writing).
#[derive(Debug)]
pub struct Sysroot {}

/// What lies at a path, itself not followed if it is a link.
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

impl Sysroot {
    /// Opens the root directory at `path`.
    ///
    /// # Errors
    /// When it is no directory, is a physical ostree sysroot, the running host's root, read-only or without the right
    /// to set owners (for [`Access::Write`]), locked by another program, or cut off (for [`Access::Read`]).
    pub fn open(path: &Utf8Path, access: Access) -> Result<Self> {
        let _ = access;
        bail!("opening root {path}: not built yet")
    }

    /// What lies at `path`, relative to the root. Links in its parents are followed beneath the root.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn probe(&self, path: &Utf8Path) -> Result<Found> {
        bail!("looking at {path}: not built yet")
    }

    /// The bytes of the regular file at `path`, links followed beneath the root; `None` if there is nothing. At most
    /// `max` bytes.
    ///
    /// # Errors
    /// When it can't be read, is no regular file or is larger than `max`.
    pub fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        let _ = max;
        bail!("reading {path}: not built yet")
    }

    /// Begins a change: makes the staging directory.
    ///
    /// # Errors
    /// When it can't be made. Nothing is left behind then.
    pub fn begin(&self, epoch: Epoch) -> Result<Staging<'_>> {
        let _ = epoch;
        bail!("beginning: not built yet")
    }
}

/// A change under way. Dropped without [`Staging::commit`], nothing of it is left behind.
#[derive(Debug)]
pub struct Staging<'a> {
    root: &'a Sysroot,
}

impl Staging<'_> {
    /// Where the contents of a container's image go.
    ///
    /// # Errors
    /// When their directory can't be made.
    pub fn contents(&self, name: &ContainerName) -> Result<StagedContents> {
        bail!("staging contents of {name} in {:?}: not built yet", self.root)
    }

    /// Reads back a staged content of at most `max` bytes.
    ///
    /// # Errors
    /// When it can't be read or is larger.
    pub fn content(&self, name: &ContainerName, id: ContentId, max: u64) -> Result<Vec<u8>> {
        bail!("reading content {id:?} of {name}, at most {max} bytes: not built yet")
    }

    /// Makes all changes of `placement`, in its order, or none.
    ///
    /// # Errors
    /// When something fails or the user interrupts before the last change was made: the target is as it was.
    pub fn commit(self, placement: &Placement, interrupt: &Interrupt) -> Result<()> {
        let _ = (placement, interrupt);
        bail!("committing: not built yet")
    }
}

/// The staged contents of one image, by [`ContentId`].
#[derive(Debug)]
pub struct StagedContents {}

/// A staged content being written.
#[derive(Debug)]
pub struct StagedWriter {}

impl ContentStore for StagedContents {
    type Writer<'a> = StagedWriter;

    fn begin<'a>(&'a self, id: ContentId, path: &TreePath, size: u64) -> Result<Self::Writer<'a>> {
        bail!("staging {path} ({id:?}, {size} bytes): not built yet")
    }

    fn discard(&self, id: ContentId) -> Result<()> {
        bail!("discarding {id:?}: not built yet")
    }
}

impl ContentWriter for StagedWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        bail!("writing {} bytes: not built yet", bytes.len())
    }

    fn hole(&mut self, bytes: u64) -> Result<()> {
        bail!("leaving a hole of {bytes} bytes: not built yet")
    }

    fn finish(self, digest: &Digest) -> Result<()> {
        bail!("finishing {digest}: not built yet")
    }
}
