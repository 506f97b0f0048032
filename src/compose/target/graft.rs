//! A commit's tree with changes: what lies beside the changed paths is known by its checksums only, and stays so.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::Utf8Path;
use sysctr_core::digest::Digest;
use sysctr_core::store::object::{DirRef, DirTree};

use super::beneath;
use super::snapshot::Library;

/// A directory.
struct Dir {
    /// Checksum of its metadata.
    meta: Digest,
    names: Names,
}

enum Names {
    /// As the commit has them.
    Unread(Digest),
    /// Read, and maybe changed.
    Read { files: Files, dirs: Dirs },
}

type Files = BTreeMap<String, Digest>;
type Dirs = BTreeMap<String, Dir>;

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// Nothing, or its directory is missing.
    Nothing,
    /// A directory.
    Dir,
    /// A file or symbolic link.
    File,
}

/// The tree. Paths have no symbolic links in them.
pub(super) struct Graft<'a, L> {
    library: &'a L,
    root: Dir,
}

impl Dir {
    fn of(dir: DirRef) -> Self {
        Self { meta: dir.meta, names: Names::Unread(dir.tree) }
    }

    /// Its names, read if they were not.
    fn read(&mut self, library: &impl Library) -> Result<(&mut Files, &mut Dirs)> {
        if let Names::Unread(tree) = self.names {
            let tree = library.dirtree(&tree)?;
            let dirs = tree.dirs.iter().map(|(name, dir)| (name.clone(), Dir::of(*dir)));
            self.names = Names::Read { files: tree.files.clone(), dirs: dirs.collect() };
        }
        match &mut self.names {
            Names::Read { files, dirs } => Ok((files, dirs)),
            Names::Unread(_) => bail!("a directory's names were not read"),
        }
    }

    fn write(self, emit: &mut impl FnMut(&DirTree) -> Result<Digest>) -> Result<DirRef> {
        let Self { meta, names } = self;
        let (files, dirs) = match names {
            Names::Unread(tree) => return Ok(DirRef { tree, meta }),
            Names::Read { files, dirs } => (files, dirs),
        };
        let mut tree = DirTree { files, dirs: BTreeMap::new() };
        for (name, dir) in dirs {
            tree.dirs.insert(name, dir.write(emit)?);
        }
        Ok(DirRef { tree: emit(&tree)?, meta })
    }
}

impl<'a, L: Library> Graft<'a, L> {
    /// Begins with the tree as it is.
    pub(super) fn new(library: &'a L, root: DirRef) -> Self {
        Self { library, root: Dir::of(root) }
    }

    fn parent<'p>(&mut self, path: &'p Utf8Path) -> Result<Option<(&mut Dir, &'p str)>> {
        let (parent, name) = beneath::split(path)?;
        let mut dir = &mut self.root;
        for part in parent.components() {
            let (_, dirs) = dir.read(self.library)?;
            match dirs.get_mut(part.as_str()) {
                Some(inner) => dir = inner,
                None => return Ok(None),
            }
        }
        Ok(Some((dir, name)))
    }

    /// What lies at `path`.
    pub(super) fn there(&mut self, path: &Utf8Path) -> Result<There> {
        let library = self.library;
        let Some((dir, name)) = self.parent(path)? else { return Ok(There::Nothing) };
        let (files, dirs) = dir.read(library)?;
        Ok(match () {
            () if dirs.contains_key(name) => There::Dir,
            () if files.contains_key(name) => There::File,
            () => There::Nothing,
        })
    }

    /// Puts a file there.
    pub(super) fn put_file(&mut self, path: &Utf8Path, checksum: Digest) -> Result<()> {
        let library = self.library;
        let Some((dir, name)) = self.parent(path)? else { bail!("its directory is not there") };
        dir.read(library)?.0.insert(name.to_owned(), checksum);
        Ok(())
    }

    /// Puts a directory there, with everything in it.
    pub(super) fn put_dir(&mut self, path: &Utf8Path, dir: DirRef) -> Result<()> {
        let library = self.library;
        let Some((parent, name)) = self.parent(path)? else { bail!("its directory is not there") };
        parent.read(library)?.1.insert(name.to_owned(), Dir::of(dir));
        Ok(())
    }

    /// Makes an empty directory there.
    pub(super) fn make_dir(&mut self, path: &Utf8Path, meta: Digest) -> Result<()> {
        let library = self.library;
        let Some((parent, name)) = self.parent(path)? else { bail!("its directory is not there") };
        let names = Names::Read { files: BTreeMap::new(), dirs: BTreeMap::new() };
        parent.read(library)?.1.insert(name.to_owned(), Dir { meta, names });
        Ok(())
    }

    /// Takes away what lies there.
    pub(super) fn remove(&mut self, path: &Utf8Path) -> Result<()> {
        let library = self.library;
        if let Some((dir, name)) = self.parent(path)? {
            let (files, dirs) = dir.read(library)?;
            files.remove(name);
            dirs.remove(name);
        }
        Ok(())
    }

    /// Whether the directory there has no names.
    pub(super) fn is_empty(&mut self, path: &Utf8Path) -> Result<bool> {
        let library = self.library;
        let Some((parent, name)) = self.parent(path)? else { return Ok(false) };
        let Some(dir) = parent.read(library)?.1.get_mut(name) else { return Ok(false) };
        let (files, dirs) = dir.read(library)?;
        Ok(files.is_empty() && dirs.is_empty())
    }

    /// Gives the names of every directory that was read to `emit`, the deepest first, and tells the root.
    pub(super) fn write(self, mut emit: impl FnMut(&DirTree) -> Result<Digest>) -> Result<DirRef> {
        self.root.write(&mut emit)
    }
}
