//! A file object in each mode of a repository, with everything set before it has its name.
//!
//! What libostree does is followed to the letter, because other programs share the objects: time stamps are 0,
//! `bare-user` keeps no setuid bits and always lets its owner read, a symbolic link there is a file with a NUL.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use flate2::write::DeflateEncoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::newborn::Newborn;
use super::object::{FileKind, ObjectKind, archive_header, bare_user_metadata, file_header, unfit_attribute};
use super::repo::{OBJECT_MODE, Objects, RepoMode, loose_path, with_parent};
use crate::digest::{Digest, Hasher};
use crate::tree::Stat;
use crate::tree::path::quoted;

/// libostree's default (`archive.zlib-level`).
const LEVEL: u32 = 6;
/// A file that nobody else may look at yet.
const CLOSED: u32 = 0o600;
/// Bytes that are written at once.
const BUFFER: usize = 128 << 10;

thread_local! {
    /// A compressor is larger than most files, so each thread keeps one.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// Refuses what no repository holds as it is.
fn check(stat: &Stat) -> Result<()> {
    if let Some(name) = unfit_attribute(stat) {
        bail!("its attribute {} has an empty value, which OSTree can't keep", quoted(name));
    }
    Ok(())
}

impl Objects {
    /// Stages a file whose content is at hand, and tells its checksum. What the repository has is not written again.
    ///
    /// # Errors
    /// When the repository can't hold it, or it can't be written.
    pub fn write_file(&self, stat: &Stat, kind: FileKind<'_>, content: &[u8]) -> Result<Digest> {
        check(stat)?;
        let mut hasher = Hasher::default();
        hasher.update(&file_header(stat, kind));
        hasher.update(content);
        let checksum = hasher.finish();
        // Whether it is staged the creation tells.
        if self.is_published(&checksum, ObjectKind::File)? {
            return Ok(checksum);
        }
        let path = loose_path(self.mode, &checksum, ObjectKind::File);
        self.write_new(&path, stat, kind, content).with_context(|| format!("writing object {path}"))?;
        Ok(checksum)
    }

    fn write_new(&self, path: &str, stat: &Stat, kind: FileKind<'_>, content: &[u8]) -> Result<()> {
        if let (RepoMode::Bare, FileKind::Symlink(target)) = (self.mode, kind) {
            return self.write_link(path, stat, target);
        }
        let Some(file) = self.create(path, self.first_mode(stat))? else { return Ok(()) };
        let mut file = File::from(file);
        match (self.mode, kind) {
            (RepoMode::Archive, _) => {
                let mut bytes = archive_header(stat, kind, content.len() as u64);
                if kind == FileKind::Regular {
                    deflate(content, &mut bytes)?;
                }
                file.write_all(&bytes)?;
            }
            (_, FileKind::Symlink(target)) => file.write_all(&[target.as_bytes(), b"\0"].concat())?,
            (_, FileKind::Regular) => file.write_all(content)?,
        }
        self.complete(&file, stat, kind, self.first_mode(stat))
    }

    /// The mode that an object's file is created with: its own, where it may have that while the rest is set.
    fn first_mode(&self, stat: &Stat) -> u32 {
        match self.mode {
            RepoMode::Archive => OBJECT_MODE,
            RepoMode::Bare => u32::from(stat.mode) & 0o777,
            RepoMode::BareUser => CLOSED,
        }
    }

    /// A symbolic link of a bare repository is one.
    fn write_link(&self, path: &str, stat: &Stat, target: &str) -> Result<()> {
        let dir = &self.staging;
        match with_parent(dir, path, || rustix::fs::symlinkat(target, dir, path)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let (uid, gid) = (Uid::from_raw(stat.uid), Gid::from_raw(stat.gid));
        rustix::fs::chownat(dir, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("setting owner {}:{}", stat.uid, stat.gid))?;
        for (name, value) in stat.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
            // A link can't be opened for this; the directory's handle keeps the way to it short and certain.
            let path = format!("/proc/self/fd/{}/{path}", dir.as_raw_fd());
            rustix::fs::lsetxattr(&*path, &**name, value, XattrFlags::empty())
                .with_context(|| format!("setting attribute {}", quoted(name)))?;
        }
        Ok(())
    }

    /// Sets what an object's file has besides its content, but for what it has as it was created with this mode.
    fn complete(&self, file: impl AsFd, stat: &Stat, kind: FileKind<'_>, created: u32) -> Result<()> {
        match self.mode {
            RepoMode::Archive => {
                self.newborn.change_mode(&file, created, OBJECT_MODE)?;
                return Ok(());
            }
            RepoMode::Bare => bare(&file, stat, created, self.newborn)?,
            RepoMode::BareUser => bare_user(&file, stat, kind)?,
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let kept = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: kept, last_modification: zero };
        rustix::fs::futimens(&file, &times).context("setting its time stamp")
    }

    /// Begins a file of `size` bytes that comes in pieces.
    ///
    /// # Errors
    /// When the repository can't hold it, or it can't be begun.
    pub fn stream(&self, stat: &Stat, size: u64) -> Result<FileStream<'_>> {
        check(stat)?;
        let mut hasher = Hasher::default();
        hasher.update(&file_header(stat, FileKind::Regular));
        let before = hasher.bytes();
        let (file, name) = self.unnamed()?;
        let mut out = std::io::BufWriter::with_capacity(BUFFER, File::from(file));
        let sink = if self.mode == RepoMode::Archive {
            out.write_all(&archive_header(stat, FileKind::Regular, size)).context("writing an object")?;
            Sink::Deflated(DeflateEncoder::new(out, Compression::new(LEVEL)))
        } else {
            Sink::Plain(out)
        };
        Ok(FileStream { objects: self, stat: stat.clone(), size, before, hasher, sink, name })
    }

    /// A new file in staging, without a name where the file system can.
    fn unnamed(&self) -> Result<(OwnedFd, Option<String>)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mode = Mode::from_raw_mode(CLOSED);
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.staging, ".", flags, mode) {
            Ok(file) => return Ok((file, None)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(error).context("making a file for an object"),
        }
        let name = format!("stream-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.staging, &*name, flags, mode);
        Ok((file.context("making a file for an object")?, Some(name)))
    }
}

/// Owner before mode (chown clears setuid), mode before attributes (both clear file capabilities).
fn bare(file: impl AsFd, stat: &Stat, created: u32, newborn: Newborn) -> Result<()> {
    if !newborn.is_owned_by(stat.uid, stat.gid) {
        rustix::fs::fchown(&file, Some(Uid::from_raw(stat.uid)), Some(Gid::from_raw(stat.gid)))
            .with_context(|| format!("setting owner {}:{}", stat.uid, stat.gid))?;
    }
    let changed = newborn.change_mode(&file, created, stat.mode.into());
    changed.with_context(|| format!("setting mode {:04o}", stat.mode))?;
    for (name, value) in stat.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
        rustix::fs::fsetxattr(&file, &**name, value, XattrFlags::empty())
            .with_context(|| format!("setting attribute {}", quoted(name)))?;
    }
    Ok(())
}

/// The attribute before the mode: without the right to write, an ordinary user may not set it.
fn bare_user(file: impl AsFd, stat: &Stat, kind: FileKind<'_>) -> Result<()> {
    let metadata = bare_user_metadata(stat, kind);
    match rustix::fs::fsetxattr(&file, "user.ostreemeta", &metadata, XattrFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOSPC | Errno::TOOBIG) => bail!(
            "its attributes take {} bytes, more than the file system keeps in one attribute; \
             use a repository of mode archive",
            metadata.len()
        ),
        Err(Errno::OPNOTSUPP) => bail!(
            "the file system keeps no attributes, which mode bare-user needs; use a repository of mode archive"
        ),
        Err(error) => return Err(error).context("setting its attribute user.ostreemeta"),
    }
    let mode = match kind {
        FileKind::Regular => (u32::from(stat.mode) & 0o775) | 0o400,
        FileKind::Symlink(_) => 0o644,
    };
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).context("setting its mode")
}

/// Appends the raw deflate stream of `content`.
fn deflate(content: &[u8], out: &mut Vec<u8>) -> Result<()> {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        // Deflate grows what it can't compress by 5 bytes per 16 KiB block at most (RFC 1951, 3.2.4).
        out.reserve(content.len() + content.len() / 1024 + 64);
        loop {
            let read = usize::try_from(compress.total_in())?;
            match compress.compress_vec(&content[read..], out, FlushCompress::Finish)? {
                Status::StreamEnd => return Ok(()),
                Status::Ok | Status::BufError => out.reserve(BUFFER),
            }
        }
    })
}

#[derive(Debug)]
enum Sink {
    Plain(std::io::BufWriter<File>),
    Deflated(DeflateEncoder<std::io::BufWriter<File>>),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Deflated(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Deflated(out) => out.flush(),
        }
    }
}

/// A file on its way into staging.
#[derive(Debug)]
pub struct FileStream<'a> {
    objects: &'a Objects,
    stat: Stat,
    size: u64,
    /// Bytes of the header, which the hasher counts too.
    before: u64,
    hasher: Hasher,
    sink: Sink,
    /// Its name where files without one can't be.
    name: Option<String>,
}

impl FileStream<'_> {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.sink.write_all(bytes).context("writing an object")
    }

    /// Takes everything that `source` yields.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn copy(&mut self, source: &mut dyn Read) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => self.write(&buffer[..read])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading an object"),
            }
        }
    }

    /// Completes the file, stages it, and tells its checksum.
    ///
    /// # Errors
    /// When more or fewer bytes came than were begun, or it can't be written.
    pub fn finish(self) -> Result<Digest> {
        let Self { objects, stat, size, before, hasher, sink, name } = self;
        let came = hasher.bytes() - before;
        if came != size {
            bail!("writing an object: {came} of {size} bytes came");
        }
        let out = match sink {
            Sink::Plain(out) => out,
            Sink::Deflated(out) => out.finish().context("writing an object")?,
        };
        let file = out.into_inner().map_err(|error| error.into_error()).context("writing an object")?;
        let checksum = hasher.finish();
        let path = loose_path(objects.mode, &checksum, ObjectKind::File);
        let place = || {
            if objects.has(&checksum, ObjectKind::File)? {
                return Ok(());
            }
            objects.complete(&file, &stat, FileKind::Regular, CLOSED)?;
            objects.name(&file, name.as_deref(), &path)
        };
        place().with_context(|| format!("writing object {path}"))?;
        Ok(checksum)
    }
}

impl Objects {
    /// Gives a file its staged name; another thread may have staged the same object.
    fn name(&self, file: &File, name: Option<&str>, path: &str) -> Result<()> {
        let dir = &self.staging;
        let linked = match name {
            Some(name) => with_parent(dir, path, || rustix::fs::renameat(dir, name, dir, path)),
            None => {
                let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
                let follow = AtFlags::SYMLINK_FOLLOW;
                with_parent(dir, path, || rustix::fs::linkat(rustix::fs::CWD, &*unnamed, dir, path, follow))
            }
        };
        match linked {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error).context("giving it its name"),
        }
    }
}
