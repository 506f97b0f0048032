//! What a directory of the target must get back, remembered on the directory itself.
//!
//! Making `.staging` changes its parent's time stamp before there is a journal, and removing it does so after the
//! journal is gone. An extended attribute can be set without touching the time stamp, so it spans both gaps. On a file
//! system that takes neither `user.` nor `trusted.` attributes only a kill within those gaps loses the time stamp.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sysctr_core::place;

use super::beneath::{self, Stamp};

const ATTRIBUTES: [&str; 2] = ["user.sysctr.mtime", "trusted.sysctr.mtime"];

/// A directory on the way to the embedded one, and what it must get back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// [`place::EMBEDDED_DIR`] or one of its parents.
    pub path: Utf8PathBuf,
    /// Its modification time.
    pub mtime: Stamp,
    /// Whether the directories from here to the embedded one go away if they are empty.
    pub made: bool,
}

/// The directories that can have a mark, the deepest first.
pub(super) fn chain() -> impl DoubleEndedIterator<Item = &'static Utf8Path> {
    let mut chain: Vec<_> = Utf8Path::new(place::EMBEDDED_DIR).ancestors().collect();
    // The root itself: a root has `usr` before we touch it.
    chain.pop();
    chain.into_iter()
}

impl Mark {
    /// Sets the mark on its directory.
    ///
    /// # Errors
    /// When it can't be set for another reason than that the file system takes no such attributes.
    pub(super) fn set(&self, dir: &OwnedFd) -> Result<()> {
        let text = format!("{}.{:09}{}", self.mtime.0, self.mtime.1, if self.made { " made" } else { "" });
        for name in ATTRIBUTES {
            match rustix::fs::fsetxattr(dir, name, text.as_bytes(), XattrFlags::empty()) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {}
                Err(error) => return Err(error).with_context(|| format!("marking directory {}", self.path)),
            }
        }
        Ok(())
    }

    /// The mark on the directory at `path`, if there is one.
    fn find(dir: &OwnedFd, path: &Utf8Path) -> Option<Self> {
        let mut value = [0; 64];
        let length = ATTRIBUTES.iter().find_map(|name| rustix::fs::fgetxattr(dir, *name, &mut value).ok())?;
        let text = std::str::from_utf8(&value[..length]).ok()?;
        let (text, made) = text.strip_suffix(" made").map_or((text, false), |text| (text, true));
        let (seconds, nanoseconds) = text.split_once('.')?;
        let mtime = Stamp(seconds.parse().ok()?, nanoseconds.parse().ok()?);
        Some(Self { path: path.to_owned(), mtime, made })
    }

    /// Gives the directory back what the mark says, and takes the mark away. Can be repeated.
    fn apply(&self, root: &OwnedFd) -> Result<()> {
        let Some(dir) = beneath::open_dir(root, &self.path)? else { return Ok(()) };
        if self.made {
            self.remove_below(root)?;
        }
        rustix::fs::futimens(&dir, &self.mtime.for_theirs())
            .with_context(|| format!("restoring the time stamp of {}", self.path))?;
        for name in ATTRIBUTES {
            match rustix::fs::fremovexattr(&dir, name) {
                Ok(())
                | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {}
                Err(error) => return Err(error).with_context(|| format!("unmarking {}", self.path)),
            }
        }
        Ok(())
    }

    /// Removes the directories between this one and the embedded one, that one included, as far as they are empty.
    fn remove_below(&self, root: &OwnedFd) -> Result<()> {
        for path in chain().take_while(|path| *path != self.path) {
            let (parent, name) = beneath::split(path)?;
            let Some(parent) = beneath::open_dir(root, parent)? else { continue };
            match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => break,
                Err(error) => return Err(error).with_context(|| format!("removing directory {path}")),
            }
        }
        Ok(())
    }
}

/// Applies all marks: those on disk, and of `known` those that the file system could not keep.
pub(super) fn apply_all(root: &OwnedFd, known: &[Mark]) -> Result<()> {
    for path in chain() {
        let Some(dir) = beneath::open_dir(root, path)? else { continue };
        let known = || known.iter().rfind(|mark| mark.path == path).cloned();
        if let Some(mark) = Mark::find(&dir, path).or_else(known) {
            drop(dir);
            mark.apply(root)?;
        }
    }
    Ok(())
}

/// The time stamp that `dir` had before we touched it.
pub(super) fn original(dir: &OwnedFd, root: &OwnedFd, marks: &[Mark]) -> Result<Stamp> {
    let own = rustix::fs::fstat(dir)?;
    for mark in marks {
        if let Some(marked) = beneath::open_dir(root, &mark.path)?
            && same(&own, &rustix::fs::fstat(marked.as_fd())?)
        {
            return Ok(mark.mtime);
        }
    }
    Ok(Stamp::of(&own))
}

/// Whether both are of one inode.
pub(super) fn same(one: &rustix::fs::Stat, other: &rustix::fs::Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}
