//! A directory of a commit, read back as a value.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use sysctr_core::digest::{Digest, Hasher};
use sysctr_core::store::object::{DirRef, DirTree};
use sysctr_core::tree::{Dir, FileName, ImageTree, Leaf, LeafId, Node, Stat, TreePath};

use super::commit::{Commit, Reader};
use super::committed::without_label;
use super::snapshot::{FileObject, Library};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::scan::{Scan, Unreadable};

/// Reads everything in `dir`. It has no time stamps, and each name has a leaf of its own: compare it with a tree
/// [`ImageTree::as_committed`]. What is missing or broken is told in [`Scan::unreadable`].
///
/// # Errors
/// When the user interrupts, or the repository can't be opened once more.
pub(super) fn read(commit: &Commit, dir: DirRef, jobs: usize, interrupt: &Interrupt) -> Result<Scan> {
    let (tree, files, unreadable) = (ImageTree::new(), BTreeMap::new(), Vec::new());
    let mut reading = Reading { commit, interrupt, tree, files, unreadable };
    if let Some(root) = reading.dir(dir, &TreePath::root())? {
        reading.tree.root = root;
    }
    let Reading { mut tree, files, mut unreadable, .. } = reading;
    for (checksum, found) in digests(commit, files.keys().copied().collect(), jobs, interrupt)? {
        for (id, path) in files.get(&checksum).into_iter().flatten() {
            match &found {
                Err(why) => unreadable.push(Unreadable { path: path.clone(), why: why.clone() }),
                Ok(found) => {
                    if let Leaf::File { digest, .. } = tree.leaf_mut(*id) {
                        *digest = *found;
                    }
                }
            }
        }
    }
    unreadable.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Scan { tree, specials: Vec::new(), unreadable })
}

/// A tree being read, contents left for later.
struct Reading<'a> {
    commit: &'a Commit,
    interrupt: &'a Interrupt,
    tree: ImageTree,
    files: BTreeMap<Digest, Vec<(LeafId, TreePath)>>,
    unreadable: Vec<Unreadable>,
}

impl Reading<'_> {
    /// The directory, as far as it can be read; `None` if it can't.
    fn dir(&mut self, at: DirRef, path: &TreePath) -> Result<Option<Dir>> {
        self.interrupt.check()?;
        let read = self.commit.dirmeta(&at.meta).and_then(|stat| Ok((stat, self.commit.dirtree(&at.tree)?)));
        let Some((stat, names)) = self.told(path, read) else { return Ok(None) };
        let mut dir = Dir::empty(without_label(stat));
        self.names(&names, path, &mut dir)?;
        Ok(Some(dir))
    }

    fn names(&mut self, names: &DirTree, path: &TreePath, into: &mut Dir) -> Result<()> {
        for (name, inner) in &names.dirs {
            let name = file_name(name)?;
            if let Some(inner) = self.dir(*inner, &path.join(&name))? {
                into.children.insert(name, Node::Dir(Box::new(inner)));
            }
        }
        for (name, checksum) in &names.files {
            let name = file_name(name)?;
            let path = path.join(&name);
            let read = self.commit.file(checksum);
            let Some(object) = self.told(&path, read) else { continue };
            let id = match object {
                FileObject::Regular { stat, size } => {
                    let (stat, digest) = (without_label(stat), Digest::of(b""));
                    let id = self.tree.add_leaf(Leaf::File { stat, size, digest, content: None });
                    self.files.entry(*checksum).or_default().push((id, path));
                    id
                }
                FileObject::Symlink { stat, target } => {
                    let (stat, target): (Stat, _) = (without_label(stat), target.into_bytes().into());
                    self.tree.add_leaf(Leaf::Symlink { stat, target })
                }
            };
            into.children.insert(name, Node::Leaf(id));
        }
        Ok(())
    }

    /// What was read; what could not be is noted.
    fn told<T>(&mut self, path: &TreePath, read: Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(error) => {
                self.unreadable.push(Unreadable { path: path.clone(), why: format!("{error:#}") });
                None
            }
        }
    }
}

fn file_name(name: &str) -> Result<FileName> {
    FileName::new(name.as_bytes()).with_context(|| format!("{name:?} is no name"))
}

/// The digest of an object's content, or why it can't be read.
type Digested = (Digest, Result<Digest, String>);

/// The digests of the contents of these objects.
fn digests(commit: &Commit, files: Vec<Digest>, jobs: usize, interrupt: &Interrupt) -> Result<Vec<Digested>> {
    let files = Mutex::new(files.into_iter());
    let readers = (0..jobs.max(1)).map(|_| commit.reader()).collect::<Result<Vec<_>>>()?;
    let work = |reader: Reader| {
        let mut found = Vec::new();
        loop {
            let next = files.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(checksum) = next else { return anyhow::Ok(found) };
            let mut hasher = Hasher::default();
            let read = reader.content(&checksum, &mut |some| {
                interrupt.check()?;
                hasher.update(some);
                Ok(())
            });
            interrupt.check()?;
            found.push((checksum, read.map(|()| hasher.finish()).map_err(|error| format!("{error:#}"))));
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
