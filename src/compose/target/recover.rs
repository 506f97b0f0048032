//! The three ends of a change: given up, undone, or completed. The same code ends one that was cut off.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use camino::Utf8Path;
use sysctr_core::place;

use super::beneath;
use super::erase::erase;
use super::journal::{Journal, State, is_journal, sync_dir};
use super::marks::{self, Mark};
use super::swap::{self, Swap};

/// The staging directory's own name.
pub(super) const STAGING: &str = ".staging";

/// Whether a compose is under way or was cut off.
pub(super) fn is_cut_off(root: &OwnedFd) -> Result<bool> {
    Ok(beneath::open(root, Utf8Path::new(place::STAGING_DIR), rustix::fs::OFlags::PATH)?.is_some())
}

/// Ends whatever was cut off: afterwards the target is as it was, or as it was to become.
///
/// # Errors
/// When that can't be done; it can be tried again.
pub(super) fn recover(root: &OwnedFd) -> Result<()> {
    end(root, &[]).map(drop).context("ending a compose that was cut off")
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As if it had never begun.
    Undone,
    /// All of it was made.
    Completed,
}

/// Ends a change of this program: undoes it unless it is committed.
///
/// # Errors
/// When that can't be done; the next compose tries again.
pub(super) fn end(root: &OwnedFd, known: &[Mark]) -> Result<End> {
    let mut end = End::Undone;
    let Some(embedded) = beneath::open_dir(root, place::EMBEDDED_DIR.into())? else {
        return marks::apply_all(root, known).map(|()| end);
    };
    let mut marks = known.to_vec();
    if beneath::stat(&embedded, STAGING)?.is_some() {
        let staging = beneath::enter(&embedded, STAGING)?;
        if let Some(journal) = Journal::read(&staging)? {
            marks = match journal.state {
                State::Prepared => undo(root, &staging, journal)?,
                State::Committed => {
                    end = End::Completed;
                    complete(root, &staging, journal)?
                }
            };
        }
        clear(&embedded, &staging)?;
    }
    marks::apply_all(root, &marks)?;
    sync_dir(&embedded)?;
    Ok(end)
}

fn undo(root: &OwnedFd, staging: &OwnedFd, journal: Journal) -> Result<Vec<Mark>> {
    Swap::open(root, staging)?.undo(&journal)?;
    rustix::fs::syncfs(staging).context("flushing the file system")?;
    // Without `new/` the journal would read as if everything stood in its place.
    Journal::remove(staging)?;
    Ok(journal.before)
}

/// Everything of a committed journal but what needs staging gone. What was moved out goes first: it gives the space
/// back that going forward may need.
fn complete(root: &OwnedFd, staging: &OwnedFd, journal: Journal) -> Result<Vec<Mark>> {
    for name in ["old", "contents", "waiting"] {
        erase(staging, name)?;
    }
    if beneath::stat(staging, "new")?.is_some() {
        swap::forward(root, &beneath::enter(staging, "new")?, &journal)?;
    }
    for mark in &journal.after {
        if let Some(dir) = beneath::open_dir(root, &mark.path)? {
            mark.set(&dir)?;
        }
    }
    Ok(journal.after)
}

/// Removes staging, the journal last.
fn clear(embedded: &OwnedFd, staging: &OwnedFd) -> Result<()> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(staging)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") && !is_journal(name) {
            // All names in staging are ours.
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    for name in names {
        erase(staging, &name)?;
    }
    erase(embedded, STAGING)
}
