//! Removing a directory with everything in it.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A directory that is being emptied.
struct Level {
    dir: OwnedFd,
    /// What is left in it.
    names: Vec<(CString, FileType)>,
    name: CString,
}

impl Level {
    /// Never through a link and never into another mount.
    fn open(parent: impl AsFd, name: CString) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let dir = rustix::fs::openat2(parent, &name, flags, Mode::empty(), resolve)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push((entry.file_name().to_owned(), entry.file_type()));
            }
        }
        Ok(Self { dir, names, name })
    }
}

fn unlink(dir: impl AsFd, name: &CString, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Removes `name` in `parent`, whatever it is. Nothing there is fine.
///
/// # Errors
/// When something can't be removed; the rest of it then stays.
pub(super) fn erase(parent: impl AsFd, name: &str) -> Result<()> {
    let parent = parent.as_fd();
    let top = CString::new(name).context("a name has a NUL byte")?;
    erase_bytes(parent, top).with_context(|| format!("removing {name}"))
}

fn erase_bytes(parent: rustix::fd::BorrowedFd<'_>, top: CString) -> Result<(), Errno> {
    let mut levels = match Level::open(parent, top.clone()) {
        Ok(level) => vec![level],
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return unlink(parent, &top, AtFlags::empty()),
        Err(error) => return Err(error),
    };
    while let Some(level) = levels.last_mut() {
        match level.names.pop() {
            Some((name, FileType::Directory)) => {
                let inner = Level::open(&level.dir, name)?;
                levels.push(inner);
            }
            Some((name, FileType::Unknown)) => match Level::open(&level.dir, name.clone()) {
                Ok(inner) => levels.push(inner),
                Err(Errno::NOTDIR | Errno::LOOP) => unlink(&level.dir, &name, AtFlags::empty())?,
                Err(error) => return Err(error),
            },
            Some((name, _)) => unlink(&level.dir, &name, AtFlags::empty())?,
            None => {
                let Some(Level { name, .. }) = levels.pop() else { break };
                let above = levels.last().map_or(parent, |level| level.dir.as_fd());
                unlink(above, &name, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(())
}
