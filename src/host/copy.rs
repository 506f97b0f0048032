//! A tree, or one file or link, copied with everything that it is: owner, mode, attributes, times, hard links, symbolic links.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::fs::{Gid, Uid};
use sysctr_core::tree::Xattrs;

/// Fills the empty directory `target` with what `source` holds, and gives it the metadata of `source`.
///
/// # Errors
/// At the first entry that can't be copied; the message has its path.
pub fn tree(source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let mut copy = Copy { top: target.as_fd(), linked: BTreeMap::new() };
    copy.directory(source.as_fd(), target.as_fd(), Path::new(""))
}

/// Makes `to`, where nothing is, a copy of the file or link `from`. Nothing is flushed.
///
/// # Errors
/// When it can't be made; what was made of it by then is left.
pub fn one(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    let doing = || format!("copying {from} to {to}");
    let parent = |path: &Utf8Path| crate::durable::open_dir(path.parent().unwrap_or(path));
    let name = |path: &Utf8Path| CString::new(path.file_name().unwrap_or_default());
    let (source, target) = (parent(from).with_context(doing)?, parent(to).with_context(doing)?);
    let (from_name, to_name) = (name(from).with_context(doing)?, name(to).with_context(doing)?);
    let stat = rustix::fs::statat(&source, &from_name, AtFlags::SYMLINK_NOFOLLOW).with_context(doing)?;
    let (source, target) = ((source.as_fd(), &*from_name), (target.as_fd(), &*to_name));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => file(source, target, &stat).with_context(doing),
        FileType::Symlink => link(source, target, &stat).with_context(doing),
        other => bail!("{}: it is a {other:?}", doing()),
    }
}

struct Copy<'a> {
    top: BorrowedFd<'a>,
    /// Device and inode of the files with more than one name → where the first was copied to, from the top.
    linked: BTreeMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    fn directory(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, path: &Path) -> Result<()> {
        let doing = || format!("copying /{} of the image", path.display());
        for name in names(source).with_context(doing)? {
            self.entry(source, target, &name, &path.join(OsStr::from_bytes(name.to_bytes())))?;
        }
        directory_metadata(source, target).with_context(doing)
    }

    fn entry(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
    ) -> Result<()> {
        let doing = || format!("copying /{} of the image", path.display());
        let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW).with_context(doing)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                return rustix::fs::linkat(self.top, first, target, name, AtFlags::empty())
                    .with_context(doing);
            }
            self.linked.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(target, name, Mode::RWXU).with_context(doing)?;
                let flags = OFlags::DIRECTORY | OFlags::RDONLY;
                let (from, to) = (open(source, name, flags), open(target, name, flags));
                self.directory(from.with_context(doing)?.as_fd(), to.with_context(doing)?.as_fd(), path)
            }
            FileType::RegularFile => file((source, name), (target, name), &stat).with_context(doing),
            FileType::Symlink => link((source, name), (target, name), &stat).with_context(doing),
            other => bail!("{}: it is a {other:?}, which no image on a host has", doing()),
        }
    }
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn open(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?)
}

/// A name in a directory.
type At<'a> = (BorrowedFd<'a>, &'a CStr);

fn file(source: At<'_>, target: At<'_>, stat: &Stat) -> Result<()> {
    let mut from = File::from(open(source.0, source.1, OFlags::RDONLY)?);
    let mut to = File::from(open(target.0, target.1, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?);
    std::io::copy(&mut from, &mut to)?;
    // A change of owner clears setuid and capabilities, so it goes first; any change sets times, so they go last.
    rustix::fs::fchown(&to, owner(stat), group(stat))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode))?;
    attributes(&by_fd(source), &by_fd(target))?;
    Ok(rustix::fs::futimens(&to, &times(stat))?)
}

fn directory_metadata(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let stat = rustix::fs::fstat(source)?;
    rustix::fs::fchown(target, owner(&stat), group(&stat))?;
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode))?;
    attributes(&by_fd((source, c".")), &by_fd((target, c".")))?;
    Ok(rustix::fs::futimens(target, &times(&stat))?)
}

fn link(source: At<'_>, target: At<'_>, stat: &Stat) -> Result<()> {
    let text = rustix::fs::readlinkat(source.0, source.1, Vec::new())?;
    rustix::fs::symlinkat(&text, target.0, target.1)?;
    rustix::fs::chownat(target.0, target.1, owner(stat), group(stat), AtFlags::SYMLINK_NOFOLLOW)?;
    attributes(&by_fd(source), &by_fd(target))?;
    Ok(rustix::fs::utimensat(target.0, target.1, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Attributes have no calls that take a directory and a name (before Linux 6.13), so the way leads over /proc.
fn by_fd((directory, name): At<'_>) -> PathBuf {
    let directory = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    directory.join(OsStr::from_bytes(name.to_bytes()))
}

fn attributes(source: &Path, target: &Path) -> Result<()> {
    for (name, value) in read_attributes(source)? {
        rustix::fs::lsetxattr(target, &*name, &value, XattrFlags::CREATE)
            .with_context(|| format!("keeping the attribute {}", String::from_utf8_lossy(&name)))?;
    }
    Ok(())
}

/// The attributes of an inode that a copy keeps. A link is not followed.
///
/// # Errors
/// When one can't be read.
pub fn read_attributes(path: &Path) -> Result<Xattrs> {
    let mut list = vec![0; rustix::fs::llistxattr_query(path)?];
    let length = rustix::fs::llistxattr(path, &mut list[..])?;
    let mut all = Xattrs::new();
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty() && is_kept(name)) {
        let doing = || format!("reading the attribute {}", String::from_utf8_lossy(name));
        let mut value = vec![0; rustix::fs::lgetxattr_query(path, name).with_context(doing)?];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).with_context(doing)?;
        value.truncate(length);
        all.insert(name.into(), value.into());
    }
    Ok(all)
}

/// Labels are the host policy's business, and an EVM signature is only good for the inode that it was made for.
fn is_kept(name: &[u8]) -> bool {
    !matches!(name, b"security.selinux" | b"security.evm")
}

fn owner(stat: &Stat) -> Option<Uid> {
    Some(Uid::from_raw(stat.st_uid))
}

fn group(stat: &Stat) -> Option<Gid> {
    Some(Gid::from_raw(stat.st_gid))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
