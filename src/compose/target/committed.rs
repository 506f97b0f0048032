//! A commit's tree as the root of a host.

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use sysctr_core::placement::{Found, Ground, Present};
use sysctr_core::tree::{ImageTree, Leaf, Mtime, Node, Stat, TreePath};

use super::commit::Commit;
use super::host_tree::{HostTree, Mislabelled, Unkept};
use super::read_back;
use super::snapshot::{At, FileObject, Last, Library, Snapshot};
use sysctr_core::exports::host_files::Rights;
use sysctr_core::inspection::Inspected;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::scan::Scan;

/// No commit keeps time stamps; a checkout shows this.
const NO_TIME: Mtime = Mtime { seconds: 0, nanoseconds: 0 };

impl Commit {
    fn snapshot(&self) -> Snapshot<'_, Self> {
        Snapshot { library: self, root: self.root() }
    }

    fn doing(&self, what: &str, path: &Utf8Path) -> String {
        format!("{what} {path} in commit {} of repository {}", self.checksum(), self.path())
    }

    /// Whether all objects of the directory at `path` are there; no content is read.
    ///
    /// # Errors
    /// When the repository can't be looked at.
    pub fn holds(&self, path: &Utf8Path) -> Result<bool> {
        let At::Dir(dir) = self.snapshot().resolve(path, Last::Kept)?.at else { return Ok(false) };
        let mut waiting = vec![dir.tree];
        while let Some(tree) = waiting.pop() {
            let tree = self.dirtree(&tree)?;
            for checksum in tree.files.values() {
                if !self.has_file(checksum)? {
                    return Ok(false);
                }
            }
            waiting.extend(tree.dirs.values().map(|dir| dir.tree));
        }
        Ok(true)
    }

    fn probe_here(&self, path: &Utf8Path) -> Result<Found> {
        // As if it were a link: what lies in it lies elsewhere, and there is no second directory.
        if path == "etc" && self.snapshot().etc_is_in_usr()? {
            return Ok(Found::Link("usr/etc".to_owned()));
        }
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
}

impl Ground for Commit {
    fn probe(&self, path: &Utf8Path) -> Result<Found> {
        self.probe_here(path).with_context(|| self.doing("looking at", path))
    }

    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        self.read_file(path, max).with_context(|| self.doing("reading", path))
    }
}

impl Inspected for Commit {
    fn names(&self, path: &Utf8Path) -> Result<Vec<String>> {
        let dir = self.snapshot().dir(path).with_context(|| self.doing("reading", path))?;
        let Some(dir) = dir else { return Ok(Vec::new()) };
        let mut names: Vec<_> = dir.files.keys().chain(dir.dirs.keys()).cloned().collect();
        names.sort();
        Ok(names)
    }

    fn metadata(&self, path: &Utf8Path) -> Result<Option<Stat>> {
        let look = || {
            let stat = match self.snapshot().resolve(path, Last::Kept)?.at {
                At::Nothing => return anyhow::Ok(None),
                At::Dir(dir) => self.dirmeta(&dir.meta)?,
                At::File(checksum) => match self.file(&checksum)? {
                    FileObject::Regular { stat, .. } | FileObject::Symlink { stat, .. } => stat,
                },
            };
            Ok(Some(without_label(stat)))
        };
        look().with_context(|| self.doing("looking at", path))
    }

    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>> {
        let stat = self.metadata(path)?;
        Ok(stat.map(|stat| Rights { uid: stat.uid, gid: stat.gid, mode: stat.mode }))
    }

    fn scan(&self, path: &Utf8Path, jobs: usize, interrupt: &Interrupt) -> Result<Scan> {
        let scan = || match self.snapshot().resolve(path, Last::Followed)?.at {
            At::Dir(dir) => read_back::read(self, dir, jobs, interrupt),
            At::Nothing | At::File(_) => bail!("it is not there"),
        };
        scan().with_context(|| self.doing("reading", path))
    }

    fn as_kept(&self, tree: ImageTree) -> ImageTree {
        tree.as_committed()
    }
}

impl HostTree for Commit {
    fn is_program(&self, path: &Utf8Path) -> Result<bool> {
        let look = || {
            let At::File(checksum) = self.snapshot().resolve(path, Last::Followed)?.at else {
                return anyhow::Ok(false);
            };
            Ok(matches!(self.file(&checksum)?, FileObject::Regular { stat, .. } if stat.mode & 0o111 != 0))
        };
        look().with_context(|| self.doing("looking at", path))
    }

    fn is_directory(&self, path: &Utf8Path) -> Result<Option<bool>> {
        let resolved = self.snapshot().resolve(path, Last::Followed);
        Ok(match resolved.with_context(|| self.doing("looking at", path))?.at {
            At::Nothing => None,
            At::Dir(_) => Some(true),
            At::File(_) => Some(false),
        })
    }

    fn mislabelled(&self, present: &Present, interrupt: &Interrupt) -> Result<Vec<Mislabelled>> {
        self.all_mislabelled(present, interrupt)
    }

    fn unkept(&self, tree: &ImageTree) -> Option<Unkept> {
        tree.walk().find_map(|(path, node)| unkept(tree, &path, node))
    }
}

/// What no commit holds.
fn unkept(tree: &ImageTree, path: &TreePath, node: &Node) -> Option<Unkept> {
    let told = |why: &str| Some(Unkept { path: path.clone(), why: why.to_owned() });
    if std::str::from_utf8(path.as_bytes()).is_err() {
        return told("its name is not UTF-8, which OSTree can't hold; rename it in the image");
    }
    let stat = match node {
        Node::Dir(dir) => &dir.stat,
        Node::Leaf(id) => match tree.leaf(*id) {
            Leaf::Symlink { target, .. } if std::str::from_utf8(target).is_err() => {
                return told(
                    "it links to a text that is not UTF-8, which OSTree can't hold; change it in the image",
                );
            }
            leaf => leaf.stat(),
        },
    };
    if stat.xattrs.iter().flat_map(|xattrs| xattrs.values()).any(|value| value.is_empty()) {
        return told(
            "it has an attribute with an empty value, which OSTree can't keep; remove that in the image",
        );
    }
    None
}

/// The label is the policy's business; see [`sysctr_core::scan`].
pub(super) fn without_label(mut stat: Stat) -> Stat {
    if let Some(xattrs) = &mut stat.xattrs {
        xattrs.remove(&b"security.selinux"[..]);
    }
    stat.xattrs = stat.xattrs.filter(|xattrs| !xattrs.is_empty());
    stat
}
