//! What our own repository holds: which objects a commit needs, how large they are, and whether they are what their names say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::checkout::attributes;
use super::object::{DirTree, FileKind, ObjectKind, file_header, read_commit};
use super::own_repo::OwnRepo;
use super::repo::{RepoMode, loose_path, names};
use crate::digest::{Digest, Hasher};
use crate::interrupt::Interrupt;
use crate::tree::{Stat, Xattrs};

const BUFFER: usize = 128 << 10;
/// What the kernel of a host with SELinux shows of files that nobody labelled.
const LABEL: &[u8] = b"security.selinux";

/// An object's checksum and kind.
pub type Object = (Digest, ObjectKind);

/// Objects by their files.
#[derive(Debug)]
pub struct Inventory<'a> {
    repo: &'a OwnRepo,
    objects: OwnedFd,
}

/// What is wrong with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is none.
    Missing,
    /// Its bytes, owner, mode or attributes are not what its name says.
    Damaged,
}

impl<'a> Inventory<'a> {
    /// Of this repository.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn of(repo: &'a OwnRepo) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let objects = rustix::fs::openat(repo.dir(), "objects", flags, Mode::empty())
            .with_context(|| format!("opening objects of the store {}", repo.path()))?;
        Ok(Self { repo, objects })
    }

    /// All objects that a commit needs, itself included, as far as they are named by what is there and whole.
    ///
    /// # Errors
    /// When something can't be read.
    pub fn needed_by(&self, commit: &Digest) -> Result<BTreeSet<Object>> {
        let mut needed = BTreeSet::from([(*commit, ObjectKind::Commit)]);
        let Some(bytes) = self.document(commit, ObjectKind::Commit)? else { return Ok(needed) };
        let mut waiting = vec![read_commit(&bytes)?];
        while let Some(dir) = waiting.pop() {
            needed.insert((dir.meta, ObjectKind::DirMeta));
            if !needed.insert((dir.tree, ObjectKind::DirTree)) {
                continue;
            }
            let Some(bytes) = self.document(&dir.tree, ObjectKind::DirTree)? else { continue };
            let names = DirTree::read(&bytes)?;
            needed.extend(names.files.values().map(|file| (*file, ObjectKind::File)));
            waiting.extend(names.dirs.into_values());
        }
        Ok(needed)
    }

    /// The bytes of a metadata object; `None` if it is missing or damaged.
    fn document(&self, checksum: &Digest, kind: ObjectKind) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let Some(mut file) = self.open(&loose_path(RepoMode::Bare, checksum, kind))? else { return Ok(None) };
        if file.read_to_end(&mut bytes).is_err() {
            return Ok(None);
        }
        Ok((Digest::of(&bytes) == *checksum).then_some(bytes))
    }

    /// Bytes of an object as stored; `None` if there is none.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn size(&self, (checksum, kind): &Object) -> Result<Option<u64>> {
        let path = loose_path(RepoMode::Bare, checksum, *kind);
        match rustix::fs::statat(&self.objects, &*path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(u64::try_from(stat.st_size)?)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("looking at object {path}")),
        }
    }

    /// All objects that there are, needed or not.
    ///
    /// # Errors
    /// When a directory can't be read.
    pub fn all(&self) -> Result<BTreeSet<Object>> {
        let mut all = BTreeSet::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for prefix in names(&self.objects)? {
            let Ok(dir) = rustix::fs::openat(&self.objects, &*prefix, flags, Mode::empty()) else { continue };
            for name in names(&dir)? {
                let Some((rest, extension)) = name.split_once('.') else { continue };
                let kind = match extension {
                    "file" => ObjectKind::File,
                    "dirtree" => ObjectKind::DirTree,
                    "dirmeta" => ObjectKind::DirMeta,
                    "commit" => ObjectKind::Commit,
                    _ => continue,
                };
                let checksum = Digest::from_hex(&format!("{prefix}{rest}"));
                all.extend(checksum.ok().map(|checksum| (checksum, kind)));
            }
        }
        Ok(all)
    }

    /// Reads objects whole, and tells what is wrong with them.
    ///
    /// # Errors
    /// When the user interrupts.
    pub fn check(
        &self,
        objects: &BTreeSet<Object>,
        interrupt: &Interrupt,
    ) -> Result<BTreeMap<Object, Fault>> {
        let mut faults = BTreeMap::new();
        for object in objects {
            interrupt.check()?;
            let (checksum, kind) = object;
            let found = match kind {
                ObjectKind::File => self.file(checksum),
                kind => self.document(checksum, *kind).map(|bytes| bytes.is_some()),
            };
            if !found.unwrap_or(false) {
                let there = self.size(object)?.is_some();
                faults.insert(*object, if there { Fault::Damaged } else { Fault::Missing });
            }
        }
        Ok(faults)
    }

    fn open(&self, path: &str) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.objects, path, flags, Mode::empty()) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("opening object {path} of {}", self.repo.path()))
            }
        }
    }

    /// Whether a file's object is what its name says.
    fn file(&self, checksum: &Digest) -> Result<bool> {
        let path = loose_path(RepoMode::Bare, checksum, ObjectKind::File);
        let found = rustix::fs::statat(&self.objects, &*path, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = (found.st_mode & 0o7777) as u16;
        let here = format!("/proc/self/fd/{}/{path}", self.objects.as_raw_fd());
        let mut xattrs = Xattrs::new();
        for name in attributes(&here)? {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(&*here, &*name, &mut value)?;
            xattrs.insert(name.into(), value[..length].into());
        }
        let mut stat = Stat { uid: found.st_uid, gid: found.st_gid, mode, mtime: None, xattrs: None };
        let kind = FileType::from_raw_mode(found.st_mode);
        loop {
            stat.xattrs = (!xattrs.is_empty()).then(|| Box::new(xattrs.clone()));
            let same = match kind {
                FileType::Symlink => self.link(&path, &stat)? == *checksum,
                FileType::RegularFile => self.regular(&path, &stat)? == Some(*checksum),
                _ => false,
            };
            if same || xattrs.remove(LABEL).is_none() {
                return Ok(same);
            }
        }
    }

    fn link(&self, path: &str, stat: &Stat) -> Result<Digest> {
        let target = rustix::fs::readlinkat(&self.objects, path, Vec::new())?.into_string()?;
        Ok(Digest::of(&file_header(stat, FileKind::Symlink(&target))))
    }

    fn regular(&self, path: &str, stat: &Stat) -> Result<Option<Digest>> {
        let Some(mut file) = self.open(path)? else { return Ok(None) };
        let (mut buffer, mut hasher) = (vec![0; BUFFER], Hasher::default());
        hasher.update(&file_header(stat, FileKind::Regular));
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Some(hasher.finish())),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(None),
            }
        }
    }
}
