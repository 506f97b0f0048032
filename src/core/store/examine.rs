//! Objects of our own repository held against their checksums, and made anew where their bytes lie elsewhere.
//!
//! A checkout shares its files with the objects, so that who writes into one changes the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::object::{DirRef, FileKind, ObjectKind, file_checksum, file_header};
use super::own_repo::{NoPruning, OwnRepo};
use super::repo::{Durability, Objects, RepoMode, loose_path};
use crate::digest::{Digest, Hasher};
use crate::interrupt::Interrupt;
use crate::scan::{self, Label};
use crate::tree::Stat;

/// A file object that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its name.
    pub checksum: Digest,
    /// One of the paths that it has in the tree, relative to its root.
    pub path: Utf8PathBuf,
    /// `is missing`, or what it is instead.
    pub why: String,
}

/// What a file object should hold.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// A link with this text.
    Link(String),
    /// A file whose bytes may lie at these absolute paths.
    File(Vec<Utf8PathBuf>),
}

impl OwnRepo {
    /// Reads every file object that a tree needs, and tells those that are not what their names say.
    ///
    /// # Errors
    /// When the object of a directory is missing or broken (then nothing is known of what it holds), the disk can't be read, or
    /// the user interrupts.
    pub fn examine(&self, root: DirRef, interrupt: &Interrupt) -> Result<Vec<Damaged>> {
        let mut files = BTreeMap::new();
        self.files(root, Utf8Path::new(""), &mut files)?;
        let mut damaged = Vec::new();
        for (checksum, path) in files {
            interrupt.check()?;
            let why = match self.file(&checksum, interrupt) {
                Ok(Some(found)) if found == checksum => continue,
                Ok(Some(found)) => format!("has the checksum {}", found.hex()),
                Ok(None) => "is missing".to_owned(),
                Err(error) => {
                    interrupt.check()?;
                    // A disk that fails tells nothing of what it holds.
                    if error.chain().any(|cause| cause.is::<Errno>() || cause.is::<std::io::Error>()) {
                        let object = self.object_path(&checksum);
                        return Err(error).with_context(|| format!("reading object {object}"));
                    }
                    format!("can't be read: {error:#}")
                }
            };
            damaged.push(Damaged { checksum, path, why });
        }
        Ok(damaged)
    }

    fn files(&self, dir: DirRef, path: &Utf8Path, files: &mut BTreeMap<Digest, Utf8PathBuf>) -> Result<()> {
        self.needed(&dir.meta, ObjectKind::DirMeta)?;
        let names = self.dirtree(&dir.tree)?;
        for (name, checksum) in names.files {
            files.entry(checksum).or_insert_with(|| path.join(name));
        }
        names.dirs.into_iter().try_for_each(|(name, dir)| self.files(dir, &path.join(name), files))
    }

    /// Where a file object lies.
    pub fn object_path(&self, checksum: &Digest) -> Utf8PathBuf {
        self.path().join("objects").join(loose_path(RepoMode::Bare, checksum, ObjectKind::File))
    }

    /// The checksum that what lies at an object's place has; `None` if nothing does.
    pub(super) fn file(&self, checksum: &Digest, interrupt: &Interrupt) -> Result<Option<Digest>> {
        let path = loose_path(RepoMode::Bare, checksum, ObjectKind::File);
        let objects = self.objects()?;
        let stat = match rustix::fs::statat(&objects, &*path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(metadata) = scan::of(objects.as_fd(), path.as_bytes(), Label::Kept)? else {
            return Ok(None);
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(&objects, &*path, Vec::new())?;
                let text = text.to_str().context("its text is not UTF-8")?;
                Ok(Some(file_checksum(&metadata, FileKind::Symlink(text), b"")))
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = File::from(rustix::fs::openat(&objects, &*path, flags, Mode::empty())?);
                checksum_of(&metadata, file, interrupt).map(Some)
            }
            _ => bail!("it is neither a file nor a link"),
        }
    }

    pub(super) fn objects(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.dir(), "objects", flags, Mode::empty())
            .with_context(|| format!("opening objects of the store {}", self.path()))
    }

    /// Makes an object anew, if its bytes are found. Otherwise it is taken out of the store: nobody shall be given it, and an
    /// update that needs it fetches it again. Files that share it with a checkout stay there.
    ///
    /// # Errors
    /// When the store or a place of its bytes can't be read, or the store not be written. Then the object is what it was.
    pub fn mend(
        &self,
        checksum: &Digest,
        stat: &Stat,
        wanted: &Wanted,
        interrupt: &Interrupt,
        _: &NoPruning,
    ) -> Result<Mended> {
        let mending = || format!("mending object {} of the store {}", checksum.hex(), self.path());
        let source = self.source(checksum, stat, wanted, interrupt).with_context(mending)?;
        let objects = self.begin()?;
        let Some(source) = source else {
            let path = loose_path(RepoMode::Bare, checksum, ObjectKind::File);
            return match rustix::fs::unlinkat(&self.objects()?, &*path, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(Mended::TakenOut),
                Err(error) => Err(error).with_context(mending),
            };
        };
        // Aside first: an object that is there is not staged.
        let aside = self.put_aside(checksum).with_context(mending)?;
        // What the source was replaced by meanwhile has another checksum, so that this one was never staged.
        let published = source
            .stage(&objects, stat)
            .and_then(|_| objects.publish(&[(*checksum, ObjectKind::File)].into(), Durability::Synced));
        if let Some(aside) = aside {
            match published {
                Ok(_) => rustix::fs::unlinkat(self.dir(), &*aside, AtFlags::empty()).unwrap_or_default(),
                Err(_) => self.put_back(checksum, &aside).unwrap_or_default(),
            }
        }
        published.with_context(mending)?;
        Ok(Mended::Anew)
    }

    /// Takes an object to `tmp`, which libostree clears after a day; its path there, if there was one.
    fn put_aside(&self, checksum: &Digest) -> Result<Option<String>> {
        let path = loose_path(RepoMode::Bare, checksum, ObjectKind::File);
        let aside = format!("tmp/damaged-{}", checksum.hex());
        match rustix::fs::renameat(&self.objects()?, &*path, self.dir(), &*aside) {
            Ok(()) => Ok(Some(aside)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).context("putting it aside"),
        }
    }

    fn put_back(&self, checksum: &Digest, aside: &str) -> Result<()> {
        let path = loose_path(RepoMode::Bare, checksum, ObjectKind::File);
        Ok(rustix::fs::renameat(self.dir(), aside, &self.objects()?, &*path)?)
    }

    /// The first place with the bytes that make this checksum.
    fn source<'a>(
        &self,
        checksum: &Digest,
        stat: &Stat,
        wanted: &'a Wanted,
        interrupt: &Interrupt,
    ) -> Result<Option<Source<'a>>> {
        let candidates = match wanted {
            Wanted::Link(text) => {
                let right = file_checksum(stat, FileKind::Symlink(text), b"") == *checksum;
                return Ok(right.then_some(Source::Link(text)));
            }
            Wanted::File(candidates) => candidates,
        };
        for candidate in [self.object_path(checksum)].iter().chain(candidates) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let reading = || format!("reading {candidate}");
            let file = match rustix::fs::open(candidate.as_std_path(), flags, Mode::empty()) {
                Ok(file) => File::from(file),
                // Nothing, a link, or a socket.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => continue,
                Err(error) => return Err(error).with_context(reading),
            };
            if !file.metadata().with_context(reading)?.is_file() {
                continue;
            }
            let found = checksum_of(stat, file.try_clone()?, interrupt);
            interrupt.check()?;
            if found.with_context(reading)? == *checksum {
                return Ok(Some(Source::File(file)));
            }
        }
        Ok(None)
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// It is what its name says.
    Anew,
    /// Its bytes are nowhere, and it is missing now.
    TakenOut,
}

/// Where an object's bytes are.
enum Source<'a> {
    Link(&'a str),
    File(File),
}

impl Source<'_> {
    fn stage(self, objects: &Objects, stat: &Stat) -> Result<Digest> {
        match self {
            Self::Link(text) => objects.write_file(stat, FileKind::Symlink(text), b""),
            Self::File(mut file) => {
                std::io::Seek::rewind(&mut file)?;
                let mut stream = objects.stream(stat, file.metadata()?.len())?;
                stream.copy(&mut file)?;
                stream.finish()
            }
        }
    }
}

/// The checksum of a regular file with these metadata and the bytes of `file`.
fn checksum_of(stat: &Stat, file: File, interrupt: &Interrupt) -> Result<Digest> {
    let mut hasher = Hasher::default();
    hasher.update(&file_header(stat, FileKind::Regular));
    Ok(scan::digest(file, hasher, &mut vec![0; scan::BUFFER], interrupt)?.1)
}

#[cfg(test)]
#[path = "examine_tests.rs"]
mod tests;
