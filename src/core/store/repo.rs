//! The directories of a repository: objects are made in a staging directory of their own and moved to their places
//! when the caller says that everything was right.
//!
//! Staging is `tmp/sysctr-N`, locked (flock(2)) while its writer lives. One that nobody locks was cut off; the next
//! writer removes it. libostree keeps its hands off it for a day (`tmp-expiry-secs`).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::newborn::Newborn;
use super::object::ObjectKind;
use crate::digest::Digest;

/// How a repository keeps file objects. `bare-user-only` and `bare-split-xattrs` are not among them: the first has
/// other checksums and loses owners, the second can't be read by every libostree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoMode {
    /// Compressed, metadata in the file.
    Archive,
    /// As they are checked out: needs the right to set owners.
    Bare,
    /// Content as it is, metadata in the attribute `user.ostreemeta`.
    BareUser,
}

/// A repository being written to. Dropped without [`Objects::publish`], nothing of it is left behind.
#[derive(Debug)]
pub struct Objects {
    pub(super) mode: RepoMode,
    pub(super) objects: OwnedFd,
    pub(super) staging: OwnedFd,
    /// The repository's directory.
    pub(super) repo: OwnedFd,
    pub(super) newborn: Newborn,
    tmp: OwnedFd,
    name: String,
}

/// What was moved into the repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Objects that the repository did not have.
    pub objects: u64,
    /// Their bytes as stored.
    pub bytes: u64,
}

/// Whether what is published must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Contents reach the disk before their names (`core.fsync`, the default).
    Synced,
    /// The repository's configuration has `fsync=false`.
    Unsynced,
}

/// A loose object's path below `objects`.
pub(super) fn loose_path(mode: RepoMode, checksum: &Digest, kind: ObjectKind) -> String {
    let extension = match (kind, mode) {
        (ObjectKind::File, RepoMode::Archive) => "filez",
        (ObjectKind::File, _) => "file",
        (ObjectKind::DirTree, _) => "dirtree",
        (ObjectKind::DirMeta, _) => "dirmeta",
        (ObjectKind::Commit, _) => "commit",
    };
    let hex = checksum.hex();
    format!("{}/{}.{extension}", &hex[..2], &hex[2..])
}

pub(super) fn exists(dir: &OwnedFd, path: &str) -> Result<bool> {
    match rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("looking for object {path}")),
    }
}

fn open_dir(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).with_context(|| format!("opening directory {name}"))
}

/// Does `make` in `dir`; if the directory of `path` is missing, makes that first.
pub(super) fn with_parent<T>(
    dir: &OwnedFd,
    path: &str,
    make: impl Fn() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match make() {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    match rustix::fs::mkdirat(dir, &path[..2], Mode::from_raw_mode(0o775)) {
        Ok(()) | Err(Errno::EXIST) => make(),
        Err(error) => Err(error),
    }
}

impl Objects {
    /// Makes a staging directory in the repository whose directory is `repo`, and removes those of writers that
    /// were cut off.
    ///
    /// # Errors
    /// When the repository can't be written.
    pub fn begin(repo: impl AsFd, mode: RepoMode) -> Result<Self> {
        let objects = open_dir(&repo, "objects")?;
        let repo = repo.as_fd().try_clone_to_owned().context("opening its directory again")?;
        let tmp = open_dir(&repo, "tmp")?;
        sweep(&tmp)?;
        for number in 0_u32.. {
            let name = format!("{PREFIX}{number}");
            match rustix::fs::mkdirat(&tmp, &*name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error).context("making a staging directory in its tmp"),
            }
            let staging = open_dir(&tmp, &name)?;
            // Another writer may have taken it for one that was cut off.
            if lock(&staging)? && exists(&tmp, &name)? {
                let newborn = Newborn::of(&staging)?;
                return Ok(Self { mode, objects, staging, repo, newborn, tmp, name });
            }
        }
        bail!("making a staging directory in its tmp: no name is free")
    }

    /// How the repository keeps files.
    pub fn mode(&self) -> RepoMode {
        self.mode
    }

    /// A new directory for what is no object; it goes away with staging.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn scratch(&self, name: &str) -> Result<OwnedFd> {
        let make = rustix::fs::mkdirat(&self.staging, name, Mode::from_raw_mode(0o700));
        make.with_context(|| format!("making directory {name} in staging"))?;
        open_dir(&self.staging, name)
    }

    /// Makes a file that is no object in staging, or makes it anew.
    pub(super) fn stage(
        &self,
        name: &str,
        fill: impl FnOnce(&mut std::fs::File) -> Result<()>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.staging, name, flags, Mode::from_raw_mode(0o600));
        let mut file = std::fs::File::from(file.with_context(|| format!("making {name} in staging"))?);
        fill(&mut file)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
        Ok(())
    }

    /// The bytes of such a file.
    pub(super) fn staged(&self, name: &str) -> Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.staging, name, flags, Mode::empty())?;
        let mut bytes = Vec::new();
        std::fs::File::from(file).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the object is in the repository or staged. Objects of a parent repository are not looked for.
    ///
    /// # Errors
    /// When the repository can't be looked at.
    pub fn has(&self, checksum: &Digest, kind: ObjectKind) -> Result<bool> {
        let path = loose_path(self.mode, checksum, kind);
        Ok(exists(&self.objects, &path)? || exists(&self.staging, &path)?)
    }

    /// Whether the object is in the repository.
    pub(super) fn is_published(&self, checksum: &Digest, kind: ObjectKind) -> Result<bool> {
        exists(&self.objects, &loose_path(self.mode, checksum, kind))
    }

    /// Stages a directory's object and tells its checksum.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_metadata(&self, kind: ObjectKind, bytes: &[u8]) -> Result<Digest> {
        let checksum = Digest::of(bytes);
        let path = loose_path(self.mode, &checksum, kind);
        // Whether it is staged the creation tells.
        if exists(&self.objects, &path)? {
            return Ok(checksum);
        }
        let write = || {
            let Some(file) = self.create(&path, OBJECT_MODE)? else { return Ok(()) };
            let mut file = std::fs::File::from(file);
            file.write_all(bytes)?;
            self.newborn.change_mode(&file, OBJECT_MODE, OBJECT_MODE)?;
            anyhow::Ok(())
        };
        write().with_context(|| format!("writing object {path}"))?;
        Ok(checksum)
    }

    /// Creates a staged object, as far as can be with this mode; `None` if it is staged already.
    pub(super) fn create(&self, path: &str, mode: u32) -> Result<Option<OwnedFd>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.staging, path, flags, Mode::from_raw_mode(mode));
        match with_parent(&self.staging, path, open) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The content of a regular file's object.
    ///
    /// # Errors
    /// When there is no such object here, or it can't be read.
    pub fn content(&self, checksum: &Digest) -> Result<Box<dyn Read>> {
        let path = loose_path(self.mode, checksum, ObjectKind::File);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |dir: &OwnedFd| rustix::fs::openat(dir, &*path, flags, Mode::empty());
        let file = match open(&self.staging) {
            Err(Errno::NOENT) => open(&self.objects),
            other => other,
        };
        let mut file = std::fs::File::from(file.with_context(|| format!("reading object {path}"))?);
        if self.mode != RepoMode::Archive {
            return Ok(Box::new(file));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).with_context(|| format!("reading object {path}"))?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let skipped = std::io::copy(&mut Read::by_ref(&mut file).take(length.into()), &mut std::io::sink())
            .with_context(|| format!("reading object {path}"))?;
        if skipped != u64::from(length) {
            bail!("reading object {path}: its header is cut off");
        }
        Ok(Box::new(flate2::read::DeflateDecoder::new(file)))
    }

    /// Moves these objects into the repository. What else was staged goes away with staging.
    ///
    /// The caller holds the repository's lock, so that nobody prunes what is here and not yet reachable. A cut in
    /// between leaves whole objects that nothing refers to.
    ///
    /// # Errors
    /// When an object was never written, or can't be moved.
    pub fn publish(
        &self,
        needed: &BTreeSet<(Digest, ObjectKind)>,
        durability: Durability,
    ) -> Result<Published> {
        if durability == Durability::Synced {
            rustix::fs::syncfs(&self.staging).context("flushing the repository's file system")?;
        }
        let mut published = Published::default();
        for (checksum, kind) in needed {
            let path = loose_path(self.mode, checksum, *kind);
            let moved = self.publish_one(&path).with_context(|| format!("publishing object {path}"))?;
            if let Some(bytes) = moved {
                published.objects += 1;
                published.bytes += bytes;
            }
        }
        Ok(published)
    }

    /// Bytes of the object that was moved; `None` if the repository had it.
    fn publish_one(&self, path: &str) -> Result<Option<u64>> {
        let stat = match rustix::fs::statat(&self.staging, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if exists(&self.objects, path)? => return Ok(None),
            Err(Errno::NOENT) => bail!("it was not written"),
            Err(error) => return Err(error.into()),
        };
        let (from, to) = (&self.staging, &self.objects);
        let rename = || rustix::fs::renameat_with(from, path, to, path, RenameFlags::NOREPLACE);
        let moved = match with_parent(to, path, rename) {
            // Not every file system knows the flag.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::linkat(from, path, to, path, AtFlags::empty()),
            other => other,
        };
        match moved {
            Ok(()) => Ok(Some(u64::try_from(stat.st_size)?)),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // There is nobody to tell; what is left is swept by the next writer.
        remove(&self.tmp, &self.name).unwrap_or_default();
    }
}

const PREFIX: &str = "sysctr-";
/// Of an object that keeps its metadata elsewhere.
pub(super) const OBJECT_MODE: u32 = 0o644;

/// Whether the lock was free.
fn lock(dir: &OwnedFd) -> Result<bool> {
    match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error).context("locking a staging directory"),
    }
}

/// Removes the staging directories that nobody locks, and lock files of libostree whose directory is gone.
fn sweep(tmp: &OwnedFd) -> Result<()> {
    for name in names(tmp)? {
        if let Some(staging) = name.strip_suffix("-lock")
            && staging.starts_with("staging-")
            && !exists(tmp, staging)?
        {
            // libostree makes its staging directory before this file and removes it before: this one is forgotten.
            match rustix::fs::unlinkat(tmp, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(error) => return Err(error).with_context(|| format!("removing {name}")),
            }
        }
        if !name.starts_with(PREFIX) {
            continue;
        }
        let Ok(dir) = open_dir(tmp, &name) else { continue };
        if lock(&dir)? {
            remove(tmp, &name).with_context(|| format!("removing {name}, which a writer left"))?;
        }
    }
    Ok(())
}

pub(super) fn names(dir: &OwnedFd) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        // A name of ours is ASCII.
        let name = entry.file_name().to_string_lossy().into_owned();
        if !matches!(&*name, "." | "..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes a staging directory.
fn remove(tmp: &OwnedFd, name: &str) -> Result<()> {
    empty(&open_dir(tmp, name)?)?;
    rustix::fs::unlinkat(tmp, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Removes everything in a directory of ours, which is a few levels deep at most.
fn empty(dir: &OwnedFd) -> Result<()> {
    for inner in names(dir)? {
        match rustix::fs::unlinkat(dir, &*inner, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            // Linux says the first for a directory, POSIX the second.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        empty(&open_dir(dir, &inner)?)?;
        rustix::fs::unlinkat(dir, &*inner, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "repo_tests.rs"]
mod tests;
