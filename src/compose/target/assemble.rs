//! Everything that a change puts into the target, made complete in staging: files, links, directories, whole bundles.

use std::collections::BTreeMap;
use std::collections::btree_map::{Entry, Iter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, Mode, OFlags};
use sysctr_core::place;
use sysctr_core::placement::{Body, Brought, Bundle, PlacedLeaf};
use sysctr_core::tree::{ContentId, Dir, FileName, ImageTree, Leaf, LeafId, Node, Stat, TreePath};

use super::beneath;
use super::contents;
use super::journal::write_all;
use super::owners::{Made, Owners};
use sysctr_core::interrupt::Interrupt;

/// After how many entries the interrupt is looked at.
const ENTRIES: usize = 256;

/// Makes things in staging.
pub(super) struct Assembler<'a> {
    /// `.staging`.
    pub staging: &'a OwnedFd,
    /// Sets metadata.
    pub owners: Owners,
    /// Whether the user asked to stop.
    pub interrupt: &'a Interrupt,
}

impl Assembler<'_> {
    /// Makes an empty directory.
    pub(super) fn directory(&self, into: &OwnedFd, name: &str, stat: &Stat) -> Result<()> {
        let dir = beneath::make_dir(into, name, 0o700)?;
        self.owners.directory(&dir, stat)
    }

    /// Makes a file or link.
    pub(super) fn leaf(&self, into: &OwnedFd, name: &str, leaf: &PlacedLeaf) -> Result<()> {
        match leaf {
            PlacedLeaf::File(file) => {
                write_all(&create(into.as_fd(), name.as_bytes())?, &file.bytes)?;
                let stat = Stat { mtime: file.mtime, ..Stat::implied(file.mode) };
                self.owners.leaf(into.as_fd(), name.as_bytes(), Made::File, &stat)
            }
            PlacedLeaf::Link(text) => {
                rustix::fs::symlinkat(text, into, name)?;
                self.owners.leaf(into.as_fd(), name.as_bytes(), Made::Link, &Stat::implied(0o777))
            }
            PlacedLeaf::Brought(brought) => self.brought(into, name, brought),
        }
    }

    /// Makes a host file. The contents of its image are staged still.
    fn brought(&self, into: &OwnedFd, name: &str, brought: &Brought) -> Result<()> {
        let made = match &brought.body {
            Body::Bytes(bytes) => {
                write_all(&create(into.as_fd(), name.as_bytes())?, bytes)?;
                Made::File
            }
            Body::Content { container, id, .. } => {
                let file = create(into.as_fd(), name.as_bytes())?;
                let layer = ["contents", container.as_str(), &contents::layer_name(id.layer)];
                let mut dir: Option<OwnedFd> = None;
                for name in layer {
                    dir = Some(beneath::enter(dir.as_ref().unwrap_or(self.staging), name)?);
                }
                let dir = dir.unwrap_or_else(|| unreachable!("three names were entered"));
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let staged = rustix::fs::openat(&dir, contents::file_name(*id), flags, Mode::empty());
                let mut staged = std::fs::File::from(staged.context("opening its staged content")?);
                let mut copy = std::fs::File::from(file);
                std::io::copy(&mut staged, &mut copy).context("copying its staged content")?;
                Made::File
            }
            Body::Link(text) => {
                rustix::fs::symlinkat(text, into, name)?;
                Made::Link
            }
        };
        self.owners.leaf(into.as_fd(), name.as_bytes(), made, &brought.stat)
    }

    /// Makes a bundle directory, taking the staged contents of its image.
    pub(super) fn bundle(&self, into: &OwnedFd, name: &str, bundle: &Bundle) -> Result<()> {
        let dir = beneath::make_dir(into, name, 0o700)?;
        for (name, leaf) in &bundle.files {
            beneath::split(name.as_str().into())?;
            self.leaf(&dir, name, leaf).with_context(|| format!("making {name}"))?;
        }
        if let Some(tree) = &bundle.tree {
            Rootfs::new(self, bundle.name.as_str(), tree)?.write(&dir)?;
        }
        self.owners.hint(&dir, &place::component(&bundle.name))?;
        self.owners.directory(&dir, &Stat::implied(0o700))
    }
}

fn create(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?)
}

/// Where a leaf is before it gets its name or names.
struct Home {
    dir: Rc<OwnedFd>,
    name: Vec<u8>,
}

/// The names of a leaf that has several.
struct Links {
    left: usize,
    home: Option<Home>,
}

/// A directory being filled.
struct Level<'t> {
    fd: OwnedFd,
    dir: &'t Dir,
    name: Option<&'t FileName>,
    rest: Iter<'t, FileName, Node>,
}

/// A rootfs being made.
struct Rootfs<'a> {
    assembler: &'a Assembler<'a>,
    tree: &'a ImageTree,
    /// The image's staged contents; none were staged for an image without any.
    contents: Option<OwnedFd>,
    layers: BTreeMap<u16, Rc<OwnedFd>>,
    /// Where leaves that are no staged contents wait for their further names.
    waiting: Rc<OwnedFd>,
    /// How many waited so far: their names.
    waited: usize,
    links: BTreeMap<LeafId, Links>,
}

impl<'a> Rootfs<'a> {
    /// `name` is the container's.
    fn new(assembler: &'a Assembler<'a>, name: &str, tree: &'a ImageTree) -> Result<Self> {
        let all = beneath::enter(assembler.staging, "contents")?;
        let contents = match beneath::stat(&all, name)? {
            Some(_) => Some(beneath::enter(&all, name)?),
            None => None,
        };
        let waiting = match beneath::stat(assembler.staging, "waiting")? {
            Some(_) => beneath::enter(assembler.staging, "waiting")?,
            None => beneath::make_dir(assembler.staging, "waiting", 0o700)?,
        };
        let (layers, waiting, links) = (BTreeMap::new(), waiting.into(), links(tree));
        Ok(Self { assembler, tree, contents, layers, waiting, waited: 0, links })
    }

    fn write(&mut self, bundle: &OwnedFd) -> Result<()> {
        let tree = self.tree;
        let mut levels = vec![level(bundle.as_fd(), None, &tree.root)?];
        let mut entries = 0_usize;
        while let Some(top) = levels.last_mut() {
            let Some((name, node)) = top.rest.next() else {
                let owners = self.assembler.owners;
                owners.directory(&top.fd, &top.dir.stat).with_context(|| making(&levels, None))?;
                levels.pop();
                continue;
            };
            entries += 1;
            if entries.is_multiple_of(ENTRIES) {
                self.assembler.interrupt.check()?;
            }
            match node {
                Node::Dir(dir) => {
                    let inner = level(top.fd.as_fd(), Some(name), dir);
                    let inner = inner.with_context(|| making(&levels, Some(name)))?;
                    levels.push(inner);
                }
                Node::Leaf(id) => {
                    let placed = self.place(*id, top.fd.as_fd(), name.as_bytes());
                    placed.with_context(|| making(&levels, Some(name)))?;
                }
            }
        }
        Ok(())
    }

    /// Gives the leaf one of its names.
    fn place(&mut self, id: LeafId, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let leaf = self.tree.leaf(id);
        let Some(links) = self.links.get_mut(&id) else {
            return match content(leaf)? {
                Some(content) => {
                    let home = self.staged(content)?;
                    self.finish(leaf, home.dir.as_fd(), &home.name)?;
                    self.rename(&home, dir, name)
                }
                None => self.make(leaf, dir, name),
            };
        };
        links.left -= 1;
        let left = links.left;
        let home = match links.home.take() {
            Some(home) => home,
            None => self.complete(leaf)?,
        };
        if left == 0 {
            return self.rename(&home, dir, name);
        }
        rustix::fs::linkat(&*home.dir, &*home.name, dir, name, AtFlags::empty()).context("linking it")?;
        if let Entry::Occupied(mut links) = self.links.entry(id) {
            links.get_mut().home = Some(home);
        }
        Ok(())
    }

    /// Completes a leaf with several names where it is.
    fn complete(&mut self, leaf: &Leaf) -> Result<Home> {
        if let Some(content) = content(leaf)? {
            let home = self.staged(content)?;
            self.finish(leaf, home.dir.as_fd(), &home.name)?;
            return Ok(home);
        }
        self.waited += 1;
        let home = Home { dir: self.waiting.clone(), name: self.waited.to_string().into_bytes() };
        self.make(leaf, home.dir.as_fd(), &home.name)?;
        Ok(home)
    }

    fn staged(&mut self, id: ContentId) -> Result<Home> {
        let name = contents::file_name(id).into_bytes();
        if let Some(dir) = self.layers.get(&id.layer) {
            return Ok(Home { dir: dir.clone(), name });
        }
        let Some(all) = &self.contents else { bail!("no contents were staged for its image") };
        let dir = Rc::new(beneath::enter(all, &contents::layer_name(id.layer))?);
        self.layers.insert(id.layer, dir.clone());
        Ok(Home { dir, name })
    }

    fn rename(&self, home: &Home, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        rustix::fs::renameat(&*home.dir, &*home.name, dir, name).context("giving it its name")
    }

    /// Makes a leaf that needs no contents.
    fn make(&self, leaf: &Leaf, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        match leaf {
            Leaf::File { .. } => drop(create(dir, name)?),
            Leaf::Symlink { target, .. } => rustix::fs::symlinkat(&**target, dir, name)?,
        }
        self.finish(leaf, dir, name)
    }

    fn finish(&self, leaf: &Leaf, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let made = match leaf {
            Leaf::File { .. } => Made::File,
            Leaf::Symlink { .. } => Made::Link,
        };
        self.assembler.owners.leaf(dir, name, made, leaf.stat())
    }
}

/// The staged content that a leaf needs.
fn content(leaf: &Leaf) -> Result<Option<ContentId>> {
    match leaf {
        Leaf::File { size: 0, .. } | Leaf::Symlink { .. } => Ok(None),
        Leaf::File { content: Some(content), .. } => Ok(Some(*content)),
        Leaf::File { content: None, .. } => bail!("its content was not staged"),
    }
}

/// Makes and opens a directory; its metadata comes when it is full.
fn level<'t>(parent: BorrowedFd<'_>, name: Option<&'t FileName>, dir: &'t Dir) -> Result<Level<'t>> {
    let bytes = name.map_or(place::ROOTFS.as_bytes(), FileName::as_bytes);
    rustix::fs::mkdirat(parent, bytes, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, bytes, flags, Mode::empty())?;
    Ok(Level { fd, dir, name, rest: dir.children.iter() })
}

fn making(levels: &[Level<'_>], name: Option<&FileName>) -> String {
    let names = levels.iter().filter_map(|level| level.name).chain(name);
    let path = names.fold(TreePath::root(), |path, name| path.join(name));
    format!("making {path} of the image")
}

/// The leaves of a tree that have more than one name.
fn links(tree: &ImageTree) -> BTreeMap<LeafId, Links> {
    let mut names: BTreeMap<LeafId, usize> = BTreeMap::new();
    let mut dirs = vec![&tree.root];
    while let Some(dir) = dirs.pop() {
        for node in dir.children.values() {
            match node {
                Node::Dir(inner) => dirs.push(inner),
                Node::Leaf(id) => *names.entry(*id).or_default() += 1,
            }
        }
    }
    names.retain(|_, names| *names > 1);
    names.into_iter().map(|(id, left)| (id, Links { left, home: None })).collect()
}
