//! A commit of our own repository as a directory: every file is a hard link to its object, so a checkout costs names only.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::object::{DirRef, ObjectKind, read_dirmeta};
use super::own_repo::OwnRepo;
use super::repo::{RepoMode, loose_path};
use crate::digest::Digest;
use crate::tree::Stat;
use crate::tree::path::quoted;

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

impl OwnRepo {
    /// Makes the directory `name` in `parent`, which lies on the repository's file system, with everything in `root`. Time
    /// stamps are 0, as objects have them. Nothing is flushed.
    ///
    /// # Errors
    /// When an object is missing or broken, or something can't be made. What was made by then is left.
    pub fn check_out(&self, root: DirRef, parent: &OwnedFd, name: &str) -> Result<()> {
        let objects = rustix::fs::openat(self.dir(), "objects", directory_flags(), Mode::empty())
            .with_context(|| format!("opening objects of the store {}", self.path()))?;
        self.directory(&objects, root, parent, name)
    }

    fn directory(&self, objects: &OwnedFd, dir: DirRef, parent: &OwnedFd, name: &str) -> Result<()> {
        let stat = read_dirmeta(&self.needed(&dir.meta, ObjectKind::DirMeta)?)?;
        let names = self.dirtree(&dir.tree)?;
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))
            .with_context(|| format!("making directory {name}"))?;
        let made = rustix::fs::openat(parent, name, directory_flags(), Mode::empty())?;
        for (file, checksum) in &names.files {
            link(objects, checksum, &made, file).with_context(|| format!("making {file}"))?;
        }
        for (inner, dir) in &names.dirs {
            self.directory(objects, *dir, &made, inner)?;
        }
        complete(&made, &stat).with_context(|| format!("setting owner, mode and attributes of {name}"))
    }
}

/// Owner before mode before attributes, since each clears what follows it; the time stamp last.
fn complete(dir: &OwnedFd, stat: &Stat) -> Result<()> {
    rustix::fs::fchown(dir, Some(Uid::from_raw(stat.uid)), Some(Gid::from_raw(stat.gid)))?;
    rustix::fs::fchmod(dir, Mode::from_raw_mode(stat.mode.into()))?;
    for (name, value) in stat.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
        rustix::fs::fsetxattr(dir, &**name, value, XattrFlags::empty())
            .with_context(|| format!("setting attribute {}", quoted(name)))?;
    }
    rustix::fs::futimens(dir, &epoch())?;
    Ok(())
}

fn epoch() -> Timestamps {
    let kept = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access: kept, last_modification: Timespec { tv_sec: 0, tv_nsec: 0 } }
}

fn link(objects: &OwnedFd, checksum: &Digest, dir: &OwnedFd, name: &str) -> Result<()> {
    let path = loose_path(RepoMode::Bare, checksum, ObjectKind::File);
    match rustix::fs::linkat(objects, &*path, dir, name, AtFlags::empty()) {
        Ok(()) => Ok(()),
        // So many files are the same (an empty one, say) that the file system holds no more links to it.
        Err(Errno::MLINK) => copy(objects, &path, dir, name),
        Err(error) => Err(error).with_context(|| format!("linking object {path}")),
    }
}

fn copy(objects: &OwnedFd, path: &str, dir: &OwnedFd, name: &str) -> Result<()> {
    let found = rustix::fs::statat(objects, path, AtFlags::SYMLINK_NOFOLLOW)?;
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
        let target = rustix::fs::readlinkat(objects, path, Vec::new())?;
        rustix::fs::symlinkat(target, dir, name)?;
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    } else {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = std::fs::File::from(rustix::fs::openat(objects, path, flags, Mode::empty())?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut to = std::fs::File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?);
        std::io::copy(&mut from, &mut to)?;
        rustix::fs::fchown(&to, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&to, Mode::from_raw_mode(found.st_mode & 0o7777))?;
    }
    // A link can't be opened for this; the directories' handles keep the way to it short and certain.
    let here = |dir: &OwnedFd, name: &str| format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    let (from, to) = (here(objects, path), here(dir, name));
    for attribute in attributes(&from)? {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(&*from, &*attribute, &mut value)?;
        rustix::fs::lsetxattr(&*to, &*attribute, &value[..length], XattrFlags::empty())?;
    }
    rustix::fs::utimensat(dir, name, &epoch(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn attributes(path: &str) -> Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}
