//! Owner, mode, attributes and time stamp of what is made, in the one order that keeps them all: the owner before the
//! mode (chown clears setuid), the mode before the attributes (both clear file capabilities), all of them before a
//! further link is made (a file with two names may be refused every change), and the time stamp last.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use sysctr_core::place;
use sysctr_core::scan::link_path;
use sysctr_core::tree::path::quoted;
use sysctr_core::tree::{Stat, Xattrs};

use super::beneath::Stamp;

/// Sets metadata. Knows what new files have already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners {
    /// Of new files; staging directories are never set-group-ID.
    created: (u32, u32),
    epoch: Stamp,
}

/// What kind of name gets metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// A regular file.
    File,
    /// A symbolic link, which has no mode.
    Link,
}

impl Owners {
    pub(super) fn new(epoch: Stamp) -> Self {
        let created = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self { created, epoch }
    }

    fn stamp(&self, stat: &Stat) -> Stamp {
        stat.mtime.map_or(self.epoch, Stamp::from)
    }

    /// Sets everything of the file or link `name` in `dir`.
    ///
    /// # Errors
    /// When the file system can't keep it; the message says which of it.
    pub(super) fn leaf(&self, dir: BorrowedFd<'_>, name: &[u8], made: Made, stat: &Stat) -> Result<()> {
        if (stat.uid, stat.gid) != self.created {
            let (uid, gid) = (Uid::from_raw(stat.uid), Gid::from_raw(stat.gid));
            rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .with_context(|| format!("setting owner {}:{}", stat.uid, stat.gid))?;
        }
        if made == Made::File {
            rustix::fs::chmodat(dir, name, Mode::from_raw_mode(stat.mode.into()), AtFlags::empty())
                .with_context(|| format!("setting mode {:04o}", stat.mode))?;
        }
        if let Some(xattrs) = &stat.xattrs {
            match made {
                Made::File => {
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let file = rustix::fs::openat(dir, name, flags, Mode::empty())
                        .context("opening it to set attributes")?;
                    set_all(&file, xattrs)?;
                }
                Made::Link => link_attributes(dir, name, xattrs)?,
            }
        }
        rustix::fs::utimensat(dir, name, &self.stamp(stat).for_ours(), AtFlags::SYMLINK_NOFOLLOW)
            .context("setting its time stamp")
    }

    /// Sets everything of an open directory, whose entries are complete.
    ///
    /// # Errors
    /// When the file system can't keep it; the message says which of it.
    pub(super) fn directory(&self, dir: &OwnedFd, stat: &Stat) -> Result<()> {
        if (stat.uid, stat.gid) != self.created {
            rustix::fs::fchown(dir, Some(Uid::from_raw(stat.uid)), Some(Gid::from_raw(stat.gid)))
                .with_context(|| format!("setting owner {}:{}", stat.uid, stat.gid))?;
        }
        rustix::fs::fchmod(dir, Mode::from_raw_mode(stat.mode.into()))
            .with_context(|| format!("setting mode {:04o}", stat.mode))?;
        if let Some(xattrs) = &stat.xattrs {
            set_all(dir, xattrs)?;
        }
        rustix::fs::futimens(dir, &self.stamp(stat).for_ours()).context("setting its time stamp")
    }
}

impl Owners {
    /// Tells whoever cuts the root into layers what the open directory belongs to, where the file system can keep that.
    ///
    /// # Errors
    /// When it can and does not.
    pub(super) fn hint(self, dir: &OwnedFd, component: &str) -> Result<()> {
        match rustix::fs::fsetxattr(dir, place::COMPONENT, component.as_bytes(), XattrFlags::empty()) {
            // rofiles-fuse keeps no attributes at all, and a container that runs does not need this one.
            Ok(()) | Err(Errno::NOTSUP) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("setting attribute {}", place::COMPONENT)),
        }
    }
}

fn set_all(fd: impl AsFd, xattrs: &Xattrs) -> Result<()> {
    for (name, value) in xattrs {
        rustix::fs::fsetxattr(&fd, &**name, value, XattrFlags::empty())
            .with_context(|| format!("setting attribute {}", quoted(name)))?;
    }
    Ok(())
}

/// A link can't be opened for this; its directory's handle keeps the way to it short and certain.
fn link_attributes(dir: BorrowedFd<'_>, name: &[u8], xattrs: &Xattrs) -> Result<()> {
    let path = link_path(dir, name);
    for (attribute, value) in xattrs {
        rustix::fs::lsetxattr(&*path, &**attribute, value, XattrFlags::empty())
            .with_context(|| format!("setting attribute {}", quoted(attribute)))?;
    }
    Ok(())
}
