//! What our own repository holds: which objects a commit needs, how large they are, and whether they are what their names say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::object::{DirTree, ObjectKind, read_commit};
use super::own_repo::OwnRepo;
use super::repo::{RepoMode, loose_path, names};
use crate::digest::Digest;
use crate::interrupt::Interrupt;

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
        Ok(Self { repo, objects: repo.objects()? })
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

    /// Removes the commits that no ref names, and waits until that is on disk. What they needed stays, so that whoever removes that
    /// afterwards and is cut off leaves no commit that lacks something.
    ///
    /// # Errors
    /// When one can't be removed.
    pub fn drop_commits(&self) -> Result<()> {
        let named: BTreeSet<_> = self.repo.refs()?.into_values().collect();
        let commits = self.all()?.into_iter().filter(|(_, kind)| *kind == ObjectKind::Commit);
        for (commit, kind) in commits.filter(|(commit, _)| !named.contains(commit)) {
            let path = loose_path(RepoMode::Bare, &commit, kind);
            let removing = || format!("removing object {path}");
            rustix::fs::unlinkat(&self.objects, &*path, AtFlags::empty()).with_context(removing)?;
        }
        rustix::fs::syncfs(&self.objects).context("flushing the store")
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
            let (checksum, kind) = object;
            let found = match kind {
                ObjectKind::File => self.repo.file(checksum, interrupt).map(|found| found == Some(*checksum)),
                kind => self.document(checksum, *kind).map(|bytes| bytes.is_some()),
            };
            interrupt.check()?;
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
}
