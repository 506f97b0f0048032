//! A placement looked at on the target as it is: what becomes an operation, what is there already, what is refused.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FileType, OFlags};
use sysctr_core::place;
use sysctr_core::placement::{Change, Placement};

use super::beneath::{self, Stamp};
use super::journal::{Journal, Kind, Operation, Touched};
use super::marks::{self, Mark};

/// What to do, and what to make for it.
pub(super) struct Plan<'a> {
    /// What is written before it is done.
    pub journal: Journal,
    /// The changes behind the journal's operations, by number.
    pub changes: Vec<&'a Change>,
}

/// Decides.
///
/// # Errors
/// When something stands where it must not, with the path and what it is.
pub(super) fn plan<'a>(
    root: &OwnedFd,
    before: &[Mark],
    epoch: i64,
    placement: &'a Placement,
) -> Result<Plan<'a>> {
    let mut plan = Plan { journal: Journal::new(epoch, before.to_vec()), changes: Vec::new() };
    let mut last = Vec::new();
    for (path, change) in &placement.changes {
        if matches!(change, Change::RemoveDirectory) && marks::chain().any(|dir| dir == path) {
            last.push(path.as_path());
        } else if let Some(kind) = kind(root, before, path, change)? {
            plan.journal.operations.push(Operation { path: path.clone(), kind, forward: false });
            plan.changes.push(change);
        }
    }
    touched(root, before, &mut plan.journal)?;
    after(root, before, &last, &mut plan.journal)?;
    Ok(plan)
}

/// What lies at `path`; `None` if nothing does or a parent is missing.
fn found(root: &OwnedFd, path: &Utf8Path) -> Result<Option<FileType>> {
    let (parent, name) = beneath::split(path)?;
    let Some(parent) = beneath::open(root, parent, OFlags::PATH | OFlags::DIRECTORY)? else {
        return Ok(None);
    };
    let stat = beneath::stat(parent, name).with_context(|| format!("looking at {path}"))?;
    Ok(stat.map(|stat| FileType::from_raw_mode(stat.st_mode)))
}

fn kind(root: &OwnedFd, before: &[Mark], path: &Utf8Path, change: &Change) -> Result<Option<Kind>> {
    if path.starts_with(place::STAGING_DIR) {
        bail!("changing {path}: it is where the change is prepared");
    }
    let in_embedded = path.parent() == Some(Utf8Path::new(place::EMBEDDED_DIR));
    let there = found(root, path)?;
    let kind = match (change, there) {
        (Change::MakeDirectory(_), None) => Kind::MakeDirectory,
        (Change::MakeDirectory(_), Some(FileType::Directory)) if is_made(before, path) => return Ok(None),
        (Change::Put(_), None | Some(FileType::RegularFile | FileType::Symlink)) => Kind::Put,
        (Change::AdoptBundle(_), _) => {
            bail!("putting a bundle at {path}: a root can't take one from a commit")
        }
        (Change::PutBundle(_), _) if !in_embedded => {
            bail!("putting a bundle at {path}: bundles lie in {}", place::EMBEDDED_DIR)
        }
        (Change::PutBundle(_), None | Some(FileType::Directory)) => Kind::Put,
        (Change::Remove, Some(FileType::RegularFile | FileType::Symlink)) => Kind::Remove,
        (Change::Remove, Some(FileType::Directory)) if in_embedded => Kind::Remove,
        (Change::RemoveDirectory, Some(FileType::Directory)) => Kind::RemoveDirectory,
        // What is gone already, or something else's by now, needs no removing.
        (Change::Remove, None) | (Change::RemoveDirectory, _) => return Ok(None),
        (Change::Remove, Some(other)) => bail!("removing {path}: it is {}, not ours", name_of(other)),
        (_, Some(other)) => bail!("putting {path}: {} is there already", name_of(other)),
    };
    Ok(Some(kind))
}

/// Whether [`super::staging`] made the directory on the way to its own.
fn is_made(before: &[Mark], path: &Utf8Path) -> bool {
    let below = |mark: &Mark| mark.made && path.starts_with(&mark.path) && path != mark.path;
    marks::chain().any(|dir| dir == path) && before.iter().any(below)
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

/// Notes the time stamps of all directories whose entries change, but the embedded directory's, which is ours.
fn touched(root: &OwnedFd, before: &[Mark], journal: &mut Journal) -> Result<()> {
    let embedded = beneath::open_dir(root, place::EMBEDDED_DIR.into())?;
    let embedded = embedded.as_ref().map(rustix::fs::fstat).transpose()?;
    let mut parents: Vec<Utf8PathBuf> = Vec::new();
    for operation in &journal.operations {
        let (parent, _) = beneath::split(&operation.path)?;
        if !parents.iter().any(|known| known == parent) {
            parents.push(parent.to_owned());
        }
    }
    for path in parents {
        let Some(dir) = beneath::open_dir(root, &path)? else { continue };
        let own = rustix::fs::fstat(&dir)?;
        if !embedded.as_ref().is_some_and(|embedded| marks::same(embedded, &own)) {
            let mtime = marks::original(&dir, root, before)?;
            journal.directories.push(Touched { path, mtime });
        }
    }
    Ok(())
}

/// What the way to the embedded directory gets at the end. `last` are the directories on it that go away if they are
/// empty; that can only be seen, and done, when staging is gone.
fn after(root: &OwnedFd, before: &[Mark], last: &[&Utf8Path], journal: &mut Journal) -> Result<()> {
    journal.after = before.iter().filter(|mark| mark.path != place::EMBEDDED_DIR).cloned().collect();
    let mtime = Stamp(journal.epoch, 0);
    journal.after.push(Mark { path: place::EMBEDDED_DIR.into(), mtime, made: false });
    let Some(top) = marks::chain().take_while(|dir| last.contains(dir)).last() else { return Ok(()) };
    let above = top.parent().unwrap_or(Utf8Path::new(""));
    if let Some(mark) = journal.after.iter_mut().find(|mark| mark.path == above) {
        mark.made = true;
        return Ok(());
    }
    if let Some(dir) = beneath::open_dir(root, above)? {
        let mtime = marks::original(&dir, root, before)?;
        journal.after.push(Mark { path: above.to_owned(), mtime, made: true });
    }
    Ok(())
}
