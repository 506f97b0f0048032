//! A repository of mode `bare` that is ours alone: the host's, with what updates brought. Other programs may read it, check it
//! (`ostree fsck`) and prune it (`ostree prune`); what is no longer named by a ref is theirs to remove.
//!
//! A ref is `refs/heads/sysctr/NAME`, a file with the commit's checksum (ostree-repo(5)).

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::object::{self, DirRef, DirTree, ObjectKind, read_commit};
use super::repo::{Durability, Objects, Published, RepoMode, loose_path, names};
use super::tree::StagedTree;
use crate::digest::Digest;

/// libostree's own words (ostree.repo-config(5)).
const CONFIG: &str = "[core]\nrepo_version=1\nmode=bare\n";
const DIRECTORIES: [&str; 9] = [
    "objects",
    "tmp",
    "tmp/cache",
    "extensions",
    "state",
    "refs",
    "refs/mirrors",
    "refs/remotes",
    "refs/heads",
];
const REFS: &str = "refs/heads/sysctr";

/// The repository.
#[derive(Debug)]
pub struct OwnRepo {
    dir: OwnedFd,
    path: Utf8PathBuf,
}

/// Held, nobody prunes: what was published but is not named yet stays.
#[derive(Debug)]
pub struct NoPruning {
    _lock: OwnedFd,
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

impl OwnRepo {
    /// Opens the repository at `path`; `None` if there is none.
    ///
    /// # Errors
    /// When it can't be opened, or is of another mode.
    pub fn open(path: &Utf8Path) -> Result<Option<Self>> {
        let opening = || format!("opening the store {path}");
        let dir = match rustix::fs::open(path.as_std_path(), directory_flags(), Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error).with_context(opening),
        };
        let repo = Self { dir, path: path.to_owned() };
        let config = repo.read("config").with_context(opening)?;
        let bare = config.lines().any(|line| line.split_whitespace().collect::<String>() == "mode=bare");
        ensure!(bare, "{}: it is no OSTree repository of mode bare; move it away", opening());
        Ok(Some(repo))
    }

    /// Opens the repository at `path`, made if there is none. It appears whole or not at all; the caller is the only one who
    /// makes it.
    ///
    /// # Errors
    /// When it can't be made or opened.
    pub fn open_or_make(path: &Utf8Path) -> Result<Self> {
        if let Some(repo) = Self::open(path)? {
            return Ok(repo);
        }
        make(path).with_context(|| format!("making the store {path}"))?;
        Self::open(path)?.with_context(|| format!("making the store {path}: it is gone again"))
    }

    /// Its directory.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Its directory, opened.
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Where new objects are staged; what writers that were cut off left there is removed.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn begin(&self) -> Result<Objects> {
        Objects::begin(&self.dir, RepoMode::Bare)
            .with_context(|| format!("writing into the store {}", self.path))
    }

    /// Waits until nobody prunes, and lets nobody begin.
    ///
    /// # Errors
    /// When the lock file can't be made.
    pub fn no_pruning(&self) -> Result<NoPruning> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::openat(&self.dir, ".lock", flags, Mode::from_raw_mode(0o660))
            .and_then(|lock| rustix::fs::flock(&lock, FlockOperation::LockShared).map(|()| lock))
            .with_context(|| format!("locking the store {}", self.path))?;
        Ok(NoPruning { _lock: lock })
    }

    /// Publishes a tree that `objects` has staged, with a commit over it, and tells the commit's checksum. It has no name yet.
    ///
    /// # Errors
    /// When something can't be written. Whole objects that nothing names may be left then.
    pub fn publish(
        &self,
        objects: &Objects,
        tree: StagedTree,
        subject: &str,
        _: &NoPruning,
    ) -> Result<(Digest, Published)> {
        let commit = objects.write_metadata(ObjectKind::Commit, &object::commit(tree.root, subject))?;
        let published = objects.publish(&tree.objects, Durability::Synced)?;
        // Only over objects that are there.
        let named = objects.publish(&[(commit, ObjectKind::Commit)].into(), Durability::Synced)?;
        let sum = |a: u64, b: u64| a + b;
        let both = Published {
            objects: sum(published.objects, named.objects),
            bytes: sum(published.bytes, named.bytes),
        };
        Ok((commit, both))
    }

    /// The root of a commit; `None` if the store does not have it.
    ///
    /// # Errors
    /// When it can't be read or is none.
    pub fn root(&self, commit: &Digest) -> Result<Option<DirRef>> {
        let bytes = self.object(commit, ObjectKind::Commit)?;
        let root = bytes.map(|bytes| read_commit(&bytes)).transpose();
        root.with_context(|| format!("reading commit {}", commit.hex()))
    }

    /// The names in a directory.
    ///
    /// # Errors
    /// When the object is missing or broken.
    pub fn dirtree(&self, checksum: &Digest) -> Result<DirTree> {
        DirTree::read(&self.needed(checksum, ObjectKind::DirTree)?)
            .with_context(|| format!("reading object {}", checksum.hex()))
    }

    pub(super) fn needed(&self, checksum: &Digest, kind: ObjectKind) -> Result<Vec<u8>> {
        let missing = || {
            let path = loose_path(RepoMode::Bare, checksum, kind);
            format!(
                "the store {} lacks object {path}; `ostree fsck --repo={}` tells what else",
                self.path, self.path
            )
        };
        self.object(checksum, kind)?.with_context(missing)
    }

    /// The bytes of a metadata object, whose checksum they have.
    fn object(&self, checksum: &Digest, kind: ObjectKind) -> Result<Option<Vec<u8>>> {
        let path = format!("objects/{}", loose_path(RepoMode::Bare, checksum, kind));
        let Some(bytes) = self.bytes(&path)? else { return Ok(None) };
        ensure!(Digest::of(&bytes) == *checksum, "reading {path} of the store {}: it is broken", self.path);
        Ok(Some(bytes))
    }

    fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.dir, path, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}/{path}", self.path)),
        };
        let mut bytes = Vec::new();
        let read = std::fs::File::from(file).read_to_end(&mut bytes);
        read.with_context(|| format!("reading {}/{path}", self.path))?;
        Ok(Some(bytes))
    }

    fn read(&self, path: &str) -> Result<String> {
        let bytes = self.bytes(path)?.with_context(|| format!("there is no {path} in it"))?;
        String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))
    }

    /// Our refs.
    ///
    /// # Errors
    /// When one can't be read, or holds no checksum.
    pub fn refs(&self) -> Result<BTreeMap<String, Digest>> {
        let mut refs = BTreeMap::new();
        let dir = match rustix::fs::openat(&self.dir, REFS, directory_flags(), Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(refs),
            Err(error) => {
                return Err(error).with_context(|| format!("reading the refs of the store {}", self.path));
            }
        };
        for name in names(&dir)?.into_iter().filter(|name| !name.starts_with('.')) {
            let text = self.read(&format!("{REFS}/{name}"))?;
            let checksum = Digest::from_hex(text.trim_end())
                .with_context(|| format!("reading ref sysctr/{name} of the store {}", self.path))?;
            refs.insert(name, checksum);
        }
        Ok(refs)
    }

    /// Lets a ref name a commit. It survives a power cut.
    ///
    /// # Errors
    /// When it can't be written; the ref names what it named.
    pub fn set_ref(&self, name: &str, commit: &Digest) -> Result<()> {
        let set = || {
            match rustix::fs::mkdirat(&self.dir, REFS, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let refs = rustix::fs::openat(&self.dir, REFS, directory_flags(), Mode::empty())?;
            let beside = format!(".{name}.new");
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file =
                std::fs::File::from(rustix::fs::openat(&refs, &*beside, flags, Mode::from_raw_mode(0o644))?);
            writeln!(file, "{}", commit.hex())?;
            file.sync_all()?;
            rustix::fs::renameat(&refs, &*beside, &refs, name)?;
            rustix::fs::fsync(&refs)?;
            anyhow::Ok(())
        };
        set().with_context(|| format!("writing ref sysctr/{name} of the store {}", self.path))
    }

    /// Takes a ref away; its commit goes with the next pruning.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_ref(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.dir, format!("{REFS}/{name}"), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("removing ref sysctr/{name} of the store {}", self.path))
            }
        }
    }
}

/// Makes it beside and renames it into place.
fn make(path: &Utf8Path) -> Result<()> {
    let beside = path.with_file_name(format!("{}.new", path.file_name().unwrap_or("repo")));
    match std::fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {beside}"));
        }
        _ => {}
    }
    std::fs::create_dir(&beside)?;
    for directory in DIRECTORIES {
        std::fs::create_dir(beside.join(directory))?;
    }
    std::fs::write(beside.join("config"), CONFIG)?;
    let dir = rustix::fs::open(beside.as_std_path(), directory_flags(), Mode::empty())?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o700))?;
    rustix::fs::syncfs(dir.as_fd())?;
    rustix::fs::rename(beside.as_std_path(), path.as_std_path())?;
    let Some(parent) = path.parent() else { bail!("it has no directory above it") };
    rustix::fs::fsync(rustix::fs::open(parent.as_std_path(), directory_flags(), Mode::empty())?)?;
    Ok(())
}

#[cfg(test)]
#[path = "own_repo_tests.rs"]
mod tests;
