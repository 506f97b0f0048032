//! A tree read back from disk: every entry's metadata, and the digests of all contents.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError, mpsc};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::digest::{Digest, Hasher};
use crate::interrupt::Interrupt;
use crate::tree::path::quoted;
use crate::tree::{Dir, FileName, ImageTree, Leaf, LeafId, Mtime, Node, SpecialKind, Stat, TreePath, Xattrs};

/// Bytes that are best read at once.
pub const BUFFER: usize = 256 << 10;
/// Files that wait open for a thread.
const WAITING: usize = 64;

/// What lies in a directory.
#[derive(Debug)]
pub struct Scan {
    /// All of it that a tree can hold. Every entry has its time stamp; no file has a
    /// [`ContentId`](crate::tree::ContentId); `security.selinux` is left out.
    pub tree: ImageTree,
    /// The rest, in path order.
    pub specials: Vec<(TreePath, SpecialKind)>,
    /// What is there and can't be read, in path order. Nothing below such a directory is in the tree; such a file may be,
    /// without its digest.
    pub unreadable: Vec<Unreadable>,
}

/// Something that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it is.
    pub path: TreePath,
    /// Why it can't.
    pub why: String,
}

/// A file to digest.
struct Task {
    leaf: LeafId,
    path: TreePath,
    file: File,
}

/// The length that was read, and its digest.
type Digested = (LeafId, u64, Digest);

/// Reads everything below `dir`.
///
/// # Errors
/// When something can't be read, or the user interrupts.
pub fn scan(dir: OwnedFd, jobs: usize, interrupt: &Interrupt) -> Result<Scan> {
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    let receiver = Mutex::new(receiver);
    let (mut scan, digests) = std::thread::scope(|scope| {
        let work = || digest_all(&receiver, interrupt);
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let scan = Walk::new(sender, interrupt).run(dir);
        let mut digests = Vec::new();
        let mut failed = None;
        for worker in workers {
            match worker.join() {
                Ok(Ok(some)) => digests.extend(some),
                Ok(Err(error)) => failed = Some(error),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        // A worker's error is why the walk could hand over no more.
        failed.map_or(Ok(()), Err)?;
        anyhow::Ok((scan?, digests))
    })?;
    for (id, length, found) in digests {
        if let Leaf::File { size, digest, .. } = scan.tree.leaf_mut(id) {
            (*size, *digest) = (length, found);
        }
    }
    Ok(scan)
}

/// Digests files until there are no more. After an error the rest is taken and dropped, so that the walk never waits.
fn digest_all(tasks: &Mutex<mpsc::Receiver<Task>>, interrupt: &Interrupt) -> Result<Vec<Digested>> {
    let mut digests = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut failed = None;
    loop {
        let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { leaf, path, file }) = task else { break };
        if failed.is_some() {
            continue;
        }
        match digest(file, Hasher::default(), &mut buffer, interrupt) {
            Ok((length, digest)) => digests.push((leaf, length, digest)),
            Err(error) => failed = Some(error.context(format!("reading {path}"))),
        }
    }
    failed.map_or(Ok(digests), Err)
}

/// The digest over what `hasher` took already and the bytes of `file`, and how many both are. `buffer` is scratch.
///
/// # Errors
/// When it can't be read, or the user interrupts.
pub fn digest(
    mut file: File,
    mut hasher: Hasher,
    buffer: &mut [u8],
    interrupt: &Interrupt,
) -> Result<(u64, Digest)> {
    loop {
        interrupt.check()?;
        match file.read(buffer) {
            Ok(0) => return Ok((hasher.bytes(), hasher.finish())),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A directory being read.
struct Level {
    fd: OwnedFd,
    dir: Dir,
    name: Option<FileName>,
    /// Names that are left, the first last.
    rest: Vec<FileName>,
}

struct Walk<'a> {
    tree: ImageTree,
    specials: Vec<(TreePath, SpecialKind)>,
    /// Files that have several names, by device and inode.
    links: BTreeMap<(u64, u64), LeafId>,
    tasks: mpsc::SyncSender<Task>,
    interrupt: &'a Interrupt,
}

impl<'a> Walk<'a> {
    fn new(tasks: mpsc::SyncSender<Task>, interrupt: &'a Interrupt) -> Self {
        let (tree, specials, links) = (ImageTree::new(), Vec::new(), BTreeMap::new());
        Self { tree, specials, links, tasks, interrupt }
    }

    fn run(mut self, dir: OwnedFd) -> Result<Scan> {
        let mut levels = vec![level(dir, None)?];
        while let Some(top) = levels.last_mut() {
            if let Some(name) = top.rest.pop() {
                self.interrupt.check()?;
                if let Some(inner) = self.entry(&mut levels, name)? {
                    levels.push(inner);
                }
                continue;
            }
            let Some(Level { dir, name, .. }) = levels.pop() else { break };
            match (levels.last_mut(), name) {
                (Some(above), Some(name)) => {
                    above.dir.children.insert(name, Node::Dir(Box::new(dir)));
                }
                _ => self.tree.root = dir,
            }
        }
        Ok(Scan { tree: self.tree, specials: self.specials, unreadable: Vec::new() })
    }

    /// Takes one entry of the last level; gives a new level for a directory.
    fn entry(&mut self, levels: &mut [Level], name: FileName) -> Result<Option<Level>> {
        let path = levels.iter().filter_map(|level| level.name.as_ref()).chain([&name]);
        let path = path.fold(TreePath::root(), |path, name| path.join(name));
        let Some(top) = levels.last_mut() else { return Ok(None) };
        self.take(top, name, &path).with_context(|| format!("reading {path}"))
    }

    fn take(&mut self, top: &mut Level, name: FileName, path: &TreePath) -> Result<Option<Level>> {
        let stat = rustix::fs::statat(&top.fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
        let special = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let fd = open(top.fd.as_fd(), &name, OFlags::DIRECTORY)?;
                return level(fd, Some(name)).map(Some);
            }
            kind @ (FileType::RegularFile | FileType::Symlink) => {
                let key = (stat.st_dev, stat.st_ino);
                let known = self.links.get(&key).copied();
                let id = match known {
                    Some(id) => id,
                    None => self.leaf(top.fd.as_fd(), &name, path, kind, &stat)?,
                };
                if stat.st_nlink > 1 {
                    self.links.insert(key, id);
                }
                top.dir.children.insert(name, Node::Leaf(id));
                return Ok(None);
            }
            FileType::CharacterDevice => SpecialKind::CharacterDevice,
            FileType::BlockDevice => SpecialKind::BlockDevice,
            FileType::Fifo => SpecialKind::Fifo,
            _ => SpecialKind::Socket,
        };
        self.specials.push((path.clone(), special));
        Ok(None)
    }

    fn leaf(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &FileName,
        path: &TreePath,
        kind: FileType,
        stat: &rustix::fs::Stat,
    ) -> Result<LeafId> {
        if kind == FileType::Symlink {
            let target = rustix::fs::readlinkat(dir, name.as_bytes(), Vec::new())?;
            let xattrs = attributes(&Source::Link(&link_path(dir, name.as_bytes())), Label::LeftOut)?;
            let leaf = Leaf::Symlink { stat: metadata(stat, xattrs), target: target.into_bytes().into() };
            return Ok(self.tree.add_leaf(leaf));
        }
        // Not waiting: what was a file a moment ago may be a FIFO now.
        let file = open(dir, name, OFlags::NONBLOCK)?;
        let stat = metadata(stat, attributes(&Source::Open(file.as_fd()), Label::LeftOut)?);
        let leaf = self.tree.add_leaf(Leaf::File { stat, size: 0, digest: Digest::of(b""), content: None });
        let task = Task { leaf, path: path.clone(), file: file.into() };
        self.tasks.send(task).context("no thread digests any more")?;
        Ok(leaf)
    }
}

fn open(dir: BorrowedFd<'_>, name: &FileName, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name.as_bytes(), flags, Mode::empty())?)
}

fn level(fd: OwnedFd, name: Option<FileName>) -> Result<Level> {
    let stat = metadata(&rustix::fs::fstat(&fd)?, attributes(&Source::Open(fd.as_fd()), Label::LeftOut)?);
    let mut rest = Vec::new();
    for entry in rustix::fs::Dir::read_from(&fd)? {
        // `.` and `..` are no names.
        rest.extend(FileName::new(entry?.file_name().to_bytes()));
    }
    rest.sort_unstable_by(|one, other| other.cmp(one));
    Ok(Level { fd, dir: Dir::empty(stat), name, rest })
}

fn metadata(stat: &rustix::fs::Stat, xattrs: Option<Box<Xattrs>>) -> Stat {
    let mode = (stat.st_mode & 0o7777) as u16;
    // Nanoseconds are below 10⁹ by the kernel's promise.
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let mtime = Some(Mtime { seconds: stat.st_mtime, nanoseconds });
    Stat { uid: stat.st_uid, gid: stat.st_gid, mode, mtime, xattrs }
}

/// A path to `name` in the open directory, for calls that take paths only and do not follow the last component.
pub fn link_path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat()
}

/// Whether the SELinux label counts. It is the target's policy's business in a tree, and part of an object in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// It counts.
    Kept,
    /// It is left out: ostree's and systemd's tools set it whenever they like.
    LeftOut,
}

/// Metadata of the file, link or directory `name` in `dir`; `None` if there is nothing.
///
/// # Errors
/// When they can't be read.
pub fn of(dir: BorrowedFd<'_>, name: &[u8], label: Label) -> Result<Option<Stat>> {
    let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(metadata(&stat, attributes(&Source::Link(&link_path(dir, name)), label)?)))
}

/// Where attributes are read from.
enum Source<'a> {
    Open(BorrowedFd<'a>),
    Link(&'a [u8]),
}

impl Source<'_> {
    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            Self::Link(path) => rustix::fs::llistxattr(*path, buffer),
        }
    }

    fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
            Self::Link(path) => rustix::fs::lgetxattr(*path, name, buffer),
        }
    }
}

/// Most bytes that the kernel gives for a list of names or for a value (xattr(7)).
const MAX_ATTRIBUTE: usize = 64 << 10;

fn attributes(source: &Source<'_>, label: Label) -> Result<Option<Box<Xattrs>>> {
    let mut short = [0; 256];
    let names = match source.list(&mut short) {
        Ok(length) => short[..length].to_vec(),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(None),
        Err(Errno::RANGE) => {
            let mut long = vec![0; MAX_ATTRIBUTE];
            let length = source.list(&mut long).context("listing attributes")?;
            long.truncate(length);
            long
        }
        Err(error) => return Err(error).context("listing attributes"),
    };
    let mut xattrs = Xattrs::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if label == Label::LeftOut && name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; MAX_ATTRIBUTE];
        let length =
            source.get(name, &mut value).with_context(|| format!("reading attribute {}", quoted(name)))?;
        value.truncate(length);
        xattrs.insert(name.into(), value.into());
    }
    Ok((!xattrs.is_empty()).then(|| Box::new(xattrs)))
}
