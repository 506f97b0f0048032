//! Making the changes of a journal by renaming, undoing them, and what only goes forward.
//!
//! An operation's state is told by staging alone: `new/N` is gone once it stands in its place, `old/N` is there once
//! what stood in the place was moved out. So every step can be repeated after a kill at any instant.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use camino::Utf8Path;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::beneath::{self, Stamp};
use super::erase::erase;
use super::journal::{Journal, Kind, Operation};
use sysctr_core::interrupt::Interrupt;

/// The root and the two sides of the changes.
pub(super) struct Swap<'a> {
    root: &'a OwnedFd,
    new: OwnedFd,
    old: OwnedFd,
}

impl<'a> Swap<'a> {
    /// Makes both sides.
    pub(super) fn create(root: &'a OwnedFd, staging: &OwnedFd) -> Result<Self> {
        let new = beneath::make_dir(staging, "new", 0o700)?;
        let old = beneath::make_dir(staging, "old", 0o700)?;
        Ok(Self { root, new, old })
    }

    /// Opens both sides; a journal was written after they were made.
    pub(super) fn open(root: &'a OwnedFd, staging: &OwnedFd) -> Result<Self> {
        Ok(Self { root, new: beneath::enter(staging, "new")?, old: beneath::enter(staging, "old")? })
    }

    /// Where things are made.
    pub(super) fn new_side(&self) -> &OwnedFd {
        &self.new
    }

    /// Makes all changes that can be undone; notes those that can't.
    ///
    /// # Errors
    /// When one can't be made or the user interrupts: [`Swap::undo`] is due then.
    pub(super) fn make(&self, journal: &mut Journal, interrupt: &Interrupt) -> Result<()> {
        for number in 0..journal.operations.len() {
            interrupt.check()?;
            let emptied_later = journal.operations[..number]
                .iter()
                .any(|earlier| earlier.forward && earlier.kind == Kind::RemoveDirectory);
            let operation = &mut journal.operations[number];
            let forward = self
                .make_one(number, operation, emptied_later)
                .with_context(|| format!("changing {}", operation.path))?;
            operation.forward = forward;
        }
        restore(self.root, journal)?;
        for made in journal.operations.iter().filter(|operation| operation.kind == Kind::MakeDirectory) {
            stamp(self.root, &made.path, Stamp(journal.epoch, 0))?;
        }
        Ok(())
    }

    /// Whether the operation can only go forward.
    fn make_one(&self, number: usize, operation: &Operation, emptied_later: bool) -> Result<bool> {
        let (parent, name) = beneath::split(&operation.path)?;
        let number = number.to_string();
        let Some(dir) = beneath::open_dir(self.root, parent)? else {
            anyhow::bail!("its directory {parent} is not there");
        };
        if operation.kind == Kind::RemoveDirectory && !self.is_empty(&operation.path)? {
            // A directory in it that waits for the commit may be all that is in it.
            return Ok(emptied_later);
        }
        if operation.kind != Kind::MakeDirectory
            && let Some(stat) = beneath::stat(&dir, name)?
        {
            match rustix::fs::renameat(&dir, name, &self.old, &number) {
                Ok(()) => {}
                Err(Errno::XDEV) if beneath::is_dir(&stat) => return Ok(true),
                Err(error) => return Err(moving(error)).context("moving what is there out of the way"),
            }
        }
        if matches!(operation.kind, Kind::MakeDirectory | Kind::Put) {
            rustix::fs::renameat(&self.new, &number, &dir, name)
                .map_err(moving)
                .context("moving the new into its place")?;
        }
        Ok(false)
    }

    fn is_empty(&self, path: &Utf8Path) -> Result<bool> {
        beneath::open_dir(self.root, path)?.map_or(Ok(false), beneath::is_empty)
    }

    /// Takes all changes back, from the last to the first, time stamps included. Can be repeated, and cut off.
    ///
    /// # Errors
    /// When the file system refuses; the journal stays, so that it can be tried again.
    pub(super) fn undo(&self, journal: &Journal) -> Result<()> {
        for (number, operation) in journal.operations.iter().enumerate().rev() {
            self.undo_one(number, operation).with_context(|| format!("undoing {}", operation.path))?;
        }
        restore(self.root, journal)
    }

    fn undo_one(&self, number: usize, operation: &Operation) -> Result<()> {
        let (parent, name) = beneath::split(&operation.path)?;
        let number = number.to_string();
        let puts = matches!(operation.kind, Kind::MakeDirectory | Kind::Put);
        let placed = puts && beneath::stat(&self.new, &number)?.is_none();
        let moved = beneath::stat(&self.old, &number)?.is_some();
        if !placed && !moved {
            return Ok(());
        }
        let Some(dir) = beneath::open_dir(self.root, parent)? else {
            anyhow::bail!("its directory {parent} is not there");
        };
        if placed {
            rustix::fs::renameat(&dir, name, &self.new, &number).context("moving the new back")?;
        }
        if moved {
            rustix::fs::renameat(&self.old, &number, &dir, name).context("moving the old back")?;
        }
        Ok(())
    }
}

/// Why something could not be renamed.
fn moving(error: Errno) -> anyhow::Error {
    match error {
        Errno::XDEV => anyhow::anyhow!(
            "it is on another file system than {}; compose before that is mounted",
            sysctr_core::place::EMBEDDED_DIR
        ),
        error => error.into(),
    }
}

/// Does what can't be undone: the journal is committed. `new` may be gone if all of it was done. Can be repeated, and
/// cut off.
///
/// # Errors
/// When the file system refuses; the journal stays, so that it can be tried again.
pub(super) fn forward(root: &OwnedFd, new: &OwnedFd, journal: &Journal) -> Result<()> {
    let mut any = false;
    for (number, operation) in journal.operations.iter().enumerate().filter(|(_, each)| each.forward) {
        any = true;
        forward_one(root, new, number, operation).with_context(|| format!("changing {}", operation.path))?;
    }
    if any { restore(root, journal) } else { Ok(()) }
}

fn forward_one(root: &OwnedFd, new: &OwnedFd, number: usize, operation: &Operation) -> Result<()> {
    let (parent, name) = beneath::split(&operation.path)?;
    let number = number.to_string();
    let Some(dir) = beneath::open_dir(root, parent)? else { return Ok(()) };
    match operation.kind {
        Kind::RemoveDirectory => match rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(error).context("removing the directory"),
        },
        Kind::Remove => erase(&dir, name),
        Kind::Put | Kind::MakeDirectory => {
            if beneath::stat(new, &number)?.is_some() {
                erase(&dir, name)?;
                rustix::fs::renameat(new, &number, &dir, name).context("moving the new into its place")?;
            }
            Ok(())
        }
    }
}

/// Gives the directories that stood there before their time stamps back.
fn restore(root: &OwnedFd, journal: &Journal) -> Result<()> {
    journal.directories.iter().try_for_each(|touched| stamp(root, &touched.path, touched.mtime))
}

fn stamp(root: &OwnedFd, path: &Utf8Path, mtime: Stamp) -> Result<()> {
    // A directory that was removed needs none.
    let Some(dir) = beneath::open_dir(root, path)? else { return Ok(()) };
    rustix::fs::futimens(&dir, &mtime.for_theirs())
        .with_context(|| format!("restoring the time stamp of {path}"))
}
