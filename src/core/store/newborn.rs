//! What the kernel gives a file that is created in a directory, so that nothing is set which it has already: setting owner or
//! mode is a change of the file system's journal, and an image has tens of thousands of files.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags};

/// Its owner, and the permission bits that it may have from the beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newborn {
    owner: (u32, u32),
    /// What umask and a default access list leave.
    kept: u32,
}

const NAME: &str = "newborn";

impl Newborn {
    /// Asks by creating a file in `dir`, whose owner is this process. The process doesn't change its umask.
    pub(super) fn of(dir: &OwnedFd) -> Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, NAME, flags, Mode::from_raw_mode(0o777));
        let file = file.context("making a file in a staging directory")?;
        let stat = rustix::fs::fstat(&file)?;
        rustix::fs::unlinkat(dir, NAME, AtFlags::empty())?;
        Ok(Self { owner: (stat.st_uid, stat.st_gid), kept: stat.st_mode & 0o777 })
    }

    /// Whether a new file has this owner.
    pub(super) fn is_owned_by(self, uid: u32, gid: u32) -> bool {
        self.owner == (uid, gid)
    }

    /// Gives a file that was created with one mode another, or the same where umask or access list took some of it.
    pub(super) fn change_mode(self, file: impl AsFd, created: u32, mode: u32) -> rustix::io::Result<()> {
        if created == mode && mode & !self.kept == 0 {
            return Ok(());
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
    }
}
