//! A commit's tree as ground for a placement, and read back as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use sysctr_core::digest::{Digest, Hasher};
use sysctr_core::placement::{Found, Ground};
use sysctr_core::store::object::DirRef;
use sysctr_core::tree::{Dir, FileName, ImageTree, Leaf, LeafId, Mtime, Node, Stat};

use super::commit::{Commit, Reader};
use super::scan::Scan;
use super::snapshot::{At, FileObject, Last, Library, Snapshot};
use crate::interrupt::Interrupt;

/// No commit keeps time stamps; a checkout shows this.
const NO_TIME: Mtime = Mtime { seconds: 0, nanoseconds: 0 };

impl Commit {
    fn snapshot(&self) -> Snapshot<'_, Self> {
        Snapshot { library: self, root: self.root() }
    }

    fn doing(&self, what: &str, path: &Utf8Path) -> String {
        format!("{what} {path} in commit {} of repository {}", self.checksum(), self.path())
    }

    fn probe_here(&self, path: &Utf8Path) -> Result<Found> {
        Ok(match self.snapshot().resolve(path, Last::Kept)?.at {
            At::Nothing => Found::Nothing,
            At::Dir(_) => Found::Directory,
            At::File(checksum) => match self.file(&checksum)? {
                FileObject::Regular { stat, size } => Found::File { mode: stat.mode, size, mtime: NO_TIME },
                FileObject::Symlink { target, .. } => Found::Link(target),
            },
        })
    }

    /// The bytes of the regular file at `path`, links followed; `None` if there is nothing.
    pub(super) fn read_file(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        let checksum = match self.snapshot().resolve(path, Last::Followed)?.at {
            At::Nothing => return Ok(None),
            At::Dir(_) => bail!("it is a directory"),
            At::File(checksum) => checksum,
        };
        match self.file(&checksum)? {
            FileObject::Regular { size, .. } if size > max => bail!("it has {size} bytes, more than {max}"),
            FileObject::Regular { .. } => {}
            FileObject::Symlink { .. } => bail!("it is a symbolic link"),
        }
        let mut bytes = Vec::new();
        self.reader()?.content(&checksum, &mut |some| {
            bytes.extend_from_slice(some);
            Ok(())
        })?;
        Ok(Some(bytes))
    }

    /// Whether `path` leads to a regular file that somebody may execute.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn is_program(&self, path: &Utf8Path) -> Result<bool> {
        let look = || {
            let At::File(checksum) = self.snapshot().resolve(path, Last::Followed)?.at else {
                return anyhow::Ok(false);
            };
            Ok(matches!(self.file(&checksum)?, FileObject::Regular { stat, .. } if stat.mode & 0o111 != 0))
        };
        look().with_context(|| self.doing("looking at", path))
    }

    /// The names in the directory at `path` in byte order; none if there is no directory.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn names(&self, path: &Utf8Path) -> Result<Vec<String>> {
        let dir = self.snapshot().dir(path).with_context(|| self.doing("reading", path))?;
        let Some(dir) = dir else { return Ok(Vec::new()) };
        let mut names: Vec<_> = dir.files.keys().chain(dir.dirs.keys()).cloned().collect();
        names.sort();
        Ok(names)
    }

    /// Reads the tree of the directory at `path` back, contents digested by `jobs` threads. It has no time stamps, and
    /// each name has a leaf of its own: compare it with a tree [`ImageTree::as_committed`].
    ///
    /// # Errors
    /// When it is no directory, something in it can't be read, or the user interrupts.
    pub fn scan(&self, path: &Utf8Path, jobs: usize, interrupt: &Interrupt) -> Result<Scan> {
        let scan = || {
            let At::Dir(dir) = self.snapshot().resolve(path, Last::Followed)?.at else {
                bail!("it is not there");
            };
            let mut reading = Reading { commit: self, tree: ImageTree::new(), files: BTreeMap::new() };
            reading.tree.root = reading.dir(dir, interrupt)?;
            let Reading { mut tree, files, .. } = reading;
            for (checksum, found) in digests(self, files.keys().copied().collect(), jobs, interrupt)? {
                for id in files.get(&checksum).into_iter().flatten() {
                    if let Leaf::File { digest, .. } = tree.leaf_mut(*id) {
                        *digest = found;
                    }
                }
            }
            Ok(Scan { tree, specials: Vec::new() })
        };
        scan().with_context(|| self.doing("reading", path))
    }
}

impl Ground for Commit {
    fn probe(&self, path: &Utf8Path) -> Result<Found> {
        self.probe_here(path).with_context(|| self.doing("looking at", path))
    }

    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        self.read_file(path, max).with_context(|| self.doing("reading", path))
    }
}

/// A tree being read, contents left for later.
struct Reading<'a> {
    commit: &'a Commit,
    tree: ImageTree,
    files: BTreeMap<Digest, Vec<LeafId>>,
}

/// The label is the policy's business; see [`super::scan`].
fn without_label(mut stat: Stat) -> Stat {
    if let Some(xattrs) = &mut stat.xattrs {
        xattrs.remove(&b"security.selinux"[..]);
    }
    stat.xattrs = stat.xattrs.filter(|xattrs| !xattrs.is_empty());
    stat
}

impl Reading<'_> {
    fn dir(&mut self, at: DirRef, interrupt: &Interrupt) -> Result<Dir> {
        interrupt.check()?;
        let mut dir = Dir::empty(without_label(self.commit.dirmeta(&at.meta)?));
        let names = self.commit.dirtree(&at.tree)?;
        for (name, inner) in &names.dirs {
            let inner = self.dir(*inner, interrupt)?;
            dir.children.insert(file_name(name)?, Node::Dir(Box::new(inner)));
        }
        for (name, checksum) in &names.files {
            let id = match self.commit.file(checksum)? {
                FileObject::Regular { stat, size } => {
                    let (stat, digest) = (without_label(stat), Digest::of(b""));
                    let id = self.tree.add_leaf(Leaf::File { stat, size, digest, content: None });
                    self.files.entry(*checksum).or_default().push(id);
                    id
                }
                FileObject::Symlink { stat, target } => {
                    let (stat, target) = (without_label(stat), target.into_bytes().into());
                    self.tree.add_leaf(Leaf::Symlink { stat, target })
                }
            };
            dir.children.insert(file_name(name)?, Node::Leaf(id));
        }
        Ok(dir)
    }
}

fn file_name(name: &str) -> Result<FileName> {
    FileName::new(name.as_bytes()).with_context(|| format!("{name:?} is no name"))
}

/// The digests of the contents of these objects.
fn digests(
    commit: &Commit,
    files: BTreeSet<Digest>,
    jobs: usize,
    interrupt: &Interrupt,
) -> Result<Vec<(Digest, Digest)>> {
    let files = Mutex::new(files.into_iter());
    let readers = (0..jobs.max(1)).map(|_| commit.reader()).collect::<Result<Vec<_>>>()?;
    let work = |reader: Reader| {
        let mut found = Vec::new();
        loop {
            let next = files.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(checksum) = next else { return anyhow::Ok(found) };
            let mut hasher = Hasher::default();
            reader.content(&checksum, &mut |some| {
                interrupt.check()?;
                hasher.update(some);
                Ok(())
            })?;
            found.push((checksum, hasher.finish()));
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = readers.into_iter().map(|reader| scope.spawn(move || work(reader))).collect();
        let mut all = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(found) => all.extend(found?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}
