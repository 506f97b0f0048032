//! The list of all changes, durable before the first is made (docs/format.md, "The journal").
//!
//! What was done of it is not written anywhere: it is told by what still lies in `new/` and what lies in `old/`.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::beneath::Stamp;
use super::marks::Mark;

const VERSION: u32 = 1;
const NAME: &str = "journal";
const BESIDE: &str = "journal.new";

/// Which way a cut-off compose goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Back: changes are being made or undone.
    Prepared,
    /// Forward: all but what only goes forward is done.
    Committed,
}

/// What an operation does at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// `new/N` goes there; nothing was there.
    MakeDirectory,
    /// What is there goes to `old/N`, `new/N` goes there.
    Put,
    /// What is there goes to `old/N`.
    Remove,
    /// The same, if it is an empty directory by then.
    RemoveDirectory,
}

/// One change; its number is its position in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Operation {
    /// Relative to the target's root.
    pub path: Utf8PathBuf,
    /// What is done there.
    pub kind: Kind,
    /// The directory there can't be renamed (it lies in a lower layer of an overlayfs): it is removed and replaced
    /// after the commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forward: bool,
}

/// A directory of the target whose entries change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Touched {
    /// Relative to the target's root.
    pub path: Utf8PathBuf,
    /// What it had before, and gets back in any case.
    pub mtime: Stamp,
}

/// `.staging/journal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    version: u32,
    /// Which way a cut-off compose goes.
    pub state: State,
    /// In order.
    pub operations: Vec<Operation>,
    /// Directories that stood there before; the embedded directory and its parents have `marks`.
    pub directories: Vec<Touched>,
    /// What the way to the embedded directory gets when all is undone.
    pub before: Vec<Mark>,
    /// What it gets when all is done.
    pub after: Vec<Mark>,
    /// The compose's epoch.
    pub epoch: i64,
}

impl Journal {
    /// A journal of nothing.
    pub(super) fn new(epoch: i64, before: Vec<Mark>) -> Self {
        let (operations, directories, after) = (Vec::new(), Vec::new(), Vec::new());
        Self { version: VERSION, state: State::Prepared, operations, directories, before, after, epoch }
    }

    /// Writes the journal, durable when this returns: it is the old one or the new one at any instant.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn write(&self, staging: &OwnedFd) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).context("spelling the journal")?;
        text.push(b'\n');
        let write = || -> Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(staging, BESIDE, flags, Mode::from_raw_mode(0o600))?;
            write_all(&file, &text)?;
            rustix::fs::fsync(&file)?;
            rustix::fs::renameat(staging, BESIDE, staging, NAME)?;
            sync_dir(staging)
        };
        write().context("writing the journal")
    }

    /// Reads the journal; `None` if there is none, so that nothing was changed yet.
    ///
    /// # Errors
    /// When it can't be read or a newer program wrote it.
    pub(super) fn read(staging: &OwnedFd) -> Result<Option<Self>> {
        const MAX: u64 = 64 << 20;
        let Some(text) = read_at(staging, NAME, MAX).context("reading the journal")? else {
            return Ok(None);
        };
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(&text).context("reading the journal")?;
        if version > VERSION {
            bail!("reading the journal: it has version {version}, from a newer sysctr-compose; use that one");
        }
        serde_json::from_slice(&text).context("reading the journal").map(Some)
    }

    /// Removes the journal, durable when this returns.
    ///
    /// # Errors
    /// When it can't be removed.
    pub(super) fn remove(staging: &OwnedFd) -> Result<()> {
        match rustix::fs::unlinkat(staging, NAME, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => sync_dir(staging),
            Err(error) => Err(error).context("removing the journal"),
        }
    }
}

/// Whether `name` in staging is the journal.
pub(super) fn is_journal(name: &[u8]) -> bool {
    name == NAME.as_bytes()
}

/// Makes a directory's entries durable, where the file system can do that.
pub(super) fn sync_dir(dir: impl AsFd) -> Result<()> {
    match rustix::fs::fsync(dir) {
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error).context("flushing a directory"),
    }
}

/// Writes all of `bytes`.
pub(super) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bytes of the regular file `name` in `dir`, not through a link; `None` for nothing.
pub(super) fn read_at(dir: &OwnedFd, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => read_file(file, Utf8Path::new(name), max).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The first `length` bytes of an open regular file, or all if it has fewer.
pub(super) fn read_head(file: OwnedFd, path: &Utf8Path, length: usize) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::from(file);
    if !file.metadata()?.is_file() {
        bail!("{path} is no regular file");
    }
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All bytes of an open regular file of at most `max` bytes.
pub(super) fn read_file(file: OwnedFd, path: &Utf8Path, max: u64) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::from(file);
    if !file.metadata()?.is_file() {
        bail!("{path} is no regular file");
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        bail!("{path} has more than {max} bytes");
    }
    Ok(bytes)
}
