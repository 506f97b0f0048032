//! The tree of a commit, read object by object as paths ask for it.

use std::rc::Rc;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::Digest;
use sysctr_core::store::object::{DirRef, DirTree};
use sysctr_core::tree::Stat;

/// As many links as Linux follows in one path (path_resolution(7), `MAXSYMLINKS`).
const MOST_LINKS: u32 = 40;

/// A file object.
#[derive(Debug, Clone)]
pub(super) enum FileObject {
    /// A regular file of so many bytes.
    Regular {
        /// Its metadata.
        stat: Stat,
        /// Its length.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its metadata.
        stat: Stat,
        /// Its text.
        target: String,
    },
}

/// Where objects are read from. Checksums of directories are checked.
pub(super) trait Library {
    /// The names in a directory.
    fn dirtree(&self, checksum: &Digest) -> Result<Rc<DirTree>>;
    /// A directory's metadata.
    fn dirmeta(&self, checksum: &Digest) -> Result<Stat>;
    /// What a file is; its content is not read.
    fn file(&self, checksum: &Digest) -> Result<FileObject>;
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Nothing.
    Nothing,
    /// A directory.
    Dir(DirRef),
    /// A file or symbolic link.
    File(Digest),
}

/// A path without symbolic links in its parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The path; names that lead to nothing stand as they were asked for.
    pub path: Utf8PathBuf,
    /// What lies there.
    pub at: At,
}

/// What happens to a symbolic link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// It is what was asked for.
    Kept,
    /// It is followed.
    Followed,
}

/// The tree of a commit.
pub(super) struct Snapshot<'a, L> {
    /// Where its objects are.
    pub library: &'a L,
    /// Its root.
    pub root: DirRef,
}

/// The way from the root to where a resolution stands.
struct Trail {
    /// The root and the directories below it.
    dirs: Vec<DirRef>,
    names: Vec<String>,
    /// Set at the end of the way.
    file: Option<Digest>,
}

impl Trail {
    fn missing(&self) -> bool {
        self.file.is_none() && self.names.len() >= self.dirs.len()
    }

    fn up(&mut self) {
        if self.file.take().is_none() && !self.missing() && self.dirs.len() > 1 {
            self.dirs.pop();
        }
        self.names.pop();
    }
}

/// The components of `path` but `.`, the first one last.
fn pending(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).collect()
}

impl<L: Library> Snapshot<'_, L> {
    /// Where `path` leads to, links in its parents followed beneath the root. `etc` is `usr/etc` in a commit.
    ///
    /// # Errors
    /// When links form a loop, the commit has `/etc` twice and `path` is in it, or objects can't be read.
    pub(super) fn resolve(&self, path: &Utf8Path, last: Last) -> Result<Resolved> {
        let mut trail = Trail { dirs: vec![self.root], names: Vec::new(), file: None };
        let mut rest = pending(path.as_str());
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                trail.up();
                continue;
            }
            if name == "etc" && trail.names.is_empty() && self.etc_is_in_usr()? {
                rest.extend(["etc".to_owned(), "usr".to_owned()]);
                continue;
            }
            let follow = !rest.is_empty() || last == Last::Followed;
            let Some(target) = self.down(&mut trail, name, follow)? else { continue };
            links += 1;
            if links > MOST_LINKS {
                bail!("{path} leads through more than {MOST_LINKS} symbolic links");
            }
            if target.starts_with('/') {
                trail = Trail { dirs: vec![self.root], names: Vec::new(), file: None };
            }
            rest.extend(pending(&target));
        }
        let at = match trail.file {
            Some(file) => At::File(file),
            None if trail.missing() => At::Nothing,
            None => At::Dir(trail.dirs[trail.dirs.len() - 1]),
        };
        Ok(Resolved { path: trail.names.join("/").into(), at })
    }

    /// Goes to `name`; if that is a symbolic link to be followed, stays and gives its text.
    fn down(&self, trail: &mut Trail, name: String, follow: bool) -> Result<Option<String>> {
        if trail.file.take().is_some() {
            // Beneath a file lies nothing: the name counts as missing from here.
            trail.names.push(name);
            return Ok(None);
        }
        if !trail.missing() {
            let here = self.library.dirtree(&trail.dirs[trail.dirs.len() - 1].tree)?;
            if let Some(dir) = here.dirs.get(&name) {
                trail.dirs.push(*dir);
            } else if let Some(file) = here.files.get(&name) {
                if follow && let FileObject::Symlink { target, .. } = self.library.file(file)? {
                    return Ok(Some(target));
                }
                trail.file = Some(*file);
            }
        }
        trail.names.push(name);
        Ok(None)
    }

    /// Whether `/etc` is made from `/usr/etc` when the commit is deployed.
    ///
    /// # Errors
    /// When the commit has both, or objects can't be read.
    pub(super) fn etc_is_in_usr(&self) -> Result<bool> {
        let root = self.library.dirtree(&self.root.tree)?;
        let Some(usr) = root.dirs.get("usr") else { return Ok(false) };
        let in_usr = self.library.dirtree(&usr.tree)?.dirs.contains_key("etc");
        if in_usr && root.dirs.contains_key("etc") {
            bail!(
                "the commit has both /etc and /usr/etc; remove /etc, which a deployment makes from the other"
            );
        }
        Ok(in_usr && !root.files.contains_key("etc"))
    }

    /// The directory at `path`, links followed.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub(super) fn dir(&self, path: &Utf8Path) -> Result<Option<Rc<DirTree>>> {
        match self.resolve(path, Last::Followed)?.at {
            At::Dir(dir) => self.library.dirtree(&dir.tree).context("reading a directory").map(Some),
            At::Nothing | At::File(_) => Ok(None),
        }
    }
}
