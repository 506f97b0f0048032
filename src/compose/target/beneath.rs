//! Handles beneath a root. Links in parents may say what they like: the kernel resolves them as if the root were `/`
//! (openat2(2), `RESOLVE_IN_ROOT`), and the last component is only ever used as a single name on its parent's handle.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use camino::{Utf8Component, Utf8Path};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sysctr_core::tree::Mtime;

/// A time stamp as it is stored: seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp(pub i64, pub u32);

impl Stamp {
    /// The modification time in `stat`.
    pub(super) fn of(stat: &Stat) -> Self {
        // Nanoseconds are below 10⁹ by the kernel's promise.
        Self(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
    }

    /// Both time stamps of something that we make.
    pub(super) fn for_ours(self) -> Timestamps {
        Timestamps { last_access: self.timespec(), last_modification: self.timespec() }
    }

    /// The modification time of something that we only touch.
    pub(super) fn for_theirs(self) -> Timestamps {
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        Timestamps { last_access, last_modification: self.timespec() }
    }

    fn timespec(self) -> Timespec {
        Timespec { tv_sec: self.0, tv_nsec: self.1.into() }
    }
}

impl From<Mtime> for Stamp {
    fn from(mtime: Mtime) -> Self {
        Self(mtime.seconds, mtime.nanoseconds)
    }
}

impl From<Stamp> for Mtime {
    fn from(stamp: Stamp) -> Self {
        Self { seconds: stamp.0, nanoseconds: stamp.1 }
    }
}

/// Opens what `path` leads to beneath `root`; `None` if there is nothing or a parent is no directory.
pub(super) fn open(root: impl AsFd, path: &Utf8Path, flags: OFlags) -> Result<Option<OwnedFd>> {
    let text = if path.as_str().is_empty() { "." } else { path.as_str() };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&root, text, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(fd) => return Ok(Some(fd)),
            // The kernel could not rule out a rename elsewhere while it followed `..`.
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("opening {path}")),
        }
    }
}

/// Opens the directory at `path` for reading.
pub(super) fn open_dir(root: impl AsFd, path: &Utf8Path) -> Result<Option<OwnedFd>> {
    open(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// The parent's path and the last name.
///
/// # Errors
/// When the path is absolute or has `.` or `..`: no path that we decide on has.
pub(super) fn split(path: &Utf8Path) -> Result<(&Utf8Path, &str)> {
    let plain = path.components().all(|component| matches!(component, Utf8Component::Normal(_)));
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if plain => Ok((parent, name)),
        _ => bail!("path {path:?} is not relative to the root and free of `..`"),
    }
}

/// What lies at `name` in `dir`, not followed; `None` for nothing.
pub(super) fn stat(dir: impl AsFd, name: &str) -> Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("looking at {name}")),
    }
}

/// Whether `stat` is of a directory.
pub(super) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether the directory holds nothing.
pub(super) fn is_empty(dir: impl AsFd) -> Result<bool> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes the directory `name`, exactly of root and of `mode`, and opens it.
pub(super) fn make_dir(parent: impl AsFd, name: &str, mode: u32) -> Result<OwnedFd> {
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))
        .with_context(|| format!("making directory {name}"))?;
    let dir = enter(parent, name)?;
    let (root, wheel) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    rustix::fs::fchown(&dir, Some(root), Some(wheel))
        .and_then(|()| rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode)))
        .with_context(|| format!("setting owner and mode of directory {name}"))?;
    Ok(dir)
}

/// Opens the directory `name`, which is no link.
pub(super) fn enter(parent: impl AsFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
        .with_context(|| format!("opening directory {name}"))
}
