//! A root directory of a system that is not booted.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use sysctr_core::epoch::Epoch;
use sysctr_core::place;
use sysctr_core::placement::{Found, Ground, Present};
use sysctr_core::tree::{ImageTree, Mtime, Stat};

use super::beneath::{self, Stamp};
use super::host_tree::{HostTree, Mislabelled, Unkept};
use super::journal::{read_file, read_head};
use super::{guard, recover};
use sysctr_core::exports::host_files::Rights;
use sysctr_core::inspection::Inspected;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::scan::{self, Label};

pub use super::contents::{StagedContents, StagedWriter};
pub use super::guard::NarrowOwners;
pub use super::staging::Staging;
pub use sysctr_core::scan::{Scan, Unreadable};

/// What a program wants to do with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look only. A compose that was cut off is an error.
    Read,
    /// Change it. A compose that was cut off is finished or undone first.
    Write,
}

/// A target root, open and locked (shared for reading, exclusive for writing).
#[derive(Debug)]
pub struct Sysroot {
    fd: OwnedFd,
    path: Utf8PathBuf,
    access: Access,
}

impl Sysroot {
    /// Opens the root directory at `path`.
    ///
    /// # Errors
    /// When it is no directory, is a physical ostree sysroot, the running host's root, read-only or without the right
    /// to set owners (for [`Access::Write`]), locked by another program, or cut off (for [`Access::Read`]).
    pub fn open(path: &Utf8Path, access: Access) -> Result<Self> {
        Self::open_here(path, access).with_context(|| format!("opening root {path}"))
    }

    fn open_here(path: &Utf8Path, access: Access) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path.as_str(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => bail!("it does not exist"),
            Err(Errno::NOTDIR) => bail!("it is not a directory"),
            Err(error) => return Err(error.into()),
        };
        guard::is_root(&fd)?;
        if access == Access::Write {
            guard::is_not_running(&fd)?;
            guard::is_writable(&fd)?;
        }
        let operation = match access {
            Access::Read => FlockOperation::NonBlockingLockShared,
            Access::Write => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&fd, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => bail!("another sysctr-compose works on it; try again when it is done"),
            Err(error) => return Err(error).context("locking it"),
        }
        let sysroot = Self { fd, path: path.to_owned(), access };
        raise_open_files();
        match access {
            Access::Write => recover::recover(&sysroot.fd)?,
            Access::Read if recover::is_cut_off(&sysroot.fd)? => bail!(
                "a compose was cut off and left {}; run sysctr-compose on it again, which clears that",
                place::STAGING_DIR
            ),
            Access::Read => {}
        }
        Ok(sysroot)
    }

    /// The root's handle.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The path that the root was opened by, for messages.
    pub(super) fn path(&self) -> &Utf8Path {
        &self.path
    }

    fn probe_here(&self, path: &Utf8Path) -> Result<Found> {
        let (parent, name) = beneath::split(path)?;
        let Some(parent) = beneath::open(&self.fd, parent, OFlags::PATH | OFlags::DIRECTORY)? else {
            return Ok(Found::Nothing);
        };
        let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(error) => return Err(error.into()),
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Found::Directory,
            FileType::RegularFile => Found::File {
                mode: (stat.st_mode & 0o7777) as u16,
                size: u64::try_from(stat.st_size)?,
                mtime: Stamp::of(&stat).into(),
            },
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(&parent, name, Vec::new())?;
                Found::Link(text.to_string_lossy().into_owned())
            }
            _ => Found::Special,
        })
    }

    /// Begins a change: makes the staging directory.
    ///
    /// # Errors
    /// When it can't be made. Nothing is left behind then.
    pub fn begin(&self, epoch: Epoch) -> Result<Staging<'_>> {
        if self.access == Access::Read {
            bail!("beginning a change of root {}: it was opened for reading", self.path);
        }
        Staging::begin(self, epoch).with_context(|| format!("beginning a change of root {}", self.path))
    }
}

impl Ground for Sysroot {
    fn probe(&self, path: &Utf8Path) -> Result<Found> {
        self.probe_here(path).with_context(|| format!("looking at {path} in root {}", self.path))
    }

    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        // Not waiting: a FIFO in the root must not hang us.
        beneath::open(&self.fd, path, OFlags::RDONLY | OFlags::NONBLOCK)
            .and_then(|file| file.map(|file| read_file(file, path, max)).transpose())
            .with_context(|| format!("reading {path} in root {}", self.path))
    }

    fn head(&self, path: &Utf8Path, length: usize) -> Result<Option<Vec<u8>>> {
        beneath::open(&self.fd, path, OFlags::RDONLY | OFlags::NONBLOCK)
            .and_then(|file| file.map(|file| read_head(file, path, length)).transpose())
            .with_context(|| format!("reading {path} in root {}", self.path))
    }

    fn mtime(&self, path: &Utf8Path) -> Result<Option<Mtime>> {
        Ok(self.metadata(path)?.and_then(|stat| stat.mtime))
    }
}

impl Inspected for Sysroot {
    fn metadata(&self, path: &Utf8Path) -> Result<Option<Stat>> {
        let reading = || format!("looking at {path} in root {}", self.path);
        let (parent, name) = beneath::split(path)?;
        match beneath::open(&self.fd, parent, OFlags::RDONLY | OFlags::DIRECTORY).with_context(reading)? {
            Some(parent) => scan::of(parent.as_fd(), name.as_bytes(), Label::LeftOut).with_context(reading),
            None => Ok(None),
        }
    }

    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>> {
        let looking = || format!("looking at {path} in root {}", self.path);
        let (parent, name) = beneath::split(path)?;
        let parent =
            beneath::open(&self.fd, parent, OFlags::PATH | OFlags::DIRECTORY).with_context(looking)?;
        let Some(parent) = parent else { return Ok(None) };
        let stat = beneath::stat(&parent, name).with_context(looking)?;
        Ok(stat.map(|stat| Rights {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: (stat.st_mode & 0o7777) as u16,
        }))
    }

    fn names(&self, path: &Utf8Path) -> Result<Vec<String>> {
        let reading = || format!("reading {path} in root {}", self.path);
        let Some(dir) = beneath::open_dir(&self.fd, path).with_context(reading)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn scan(&self, path: &Utf8Path, jobs: usize, interrupt: &Interrupt) -> Result<Scan> {
        let dir = beneath::open_dir(&self.fd, path);
        dir.and_then(|dir| scan::scan(dir.context("it is not there")?, jobs, interrupt))
            .with_context(|| format!("reading {path} in root {}", self.path))
    }

    fn as_kept(&self, tree: ImageTree) -> ImageTree {
        tree
    }
}

impl HostTree for Sysroot {
    fn is_program(&self, path: &Utf8Path) -> Result<bool> {
        let looking = || format!("looking at {path} in root {}", self.path);
        let Some(file) = beneath::open(&self.fd, path, OFlags::PATH).with_context(looking)? else {
            return Ok(false);
        };
        let stat = rustix::fs::fstat(&file).with_context(looking)?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0)
    }

    fn is_directory(&self, path: &Utf8Path) -> Result<Option<bool>> {
        let looking = || format!("looking at {path} in root {}", self.path);
        let Some(file) = beneath::open(&self.fd, path, OFlags::PATH).with_context(looking)? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&file).with_context(looking)?;
        Ok(Some(FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
    }

    fn unkept(&self, _: &ImageTree) -> Option<Unkept> {
        None
    }

    fn mislabelled(&self, _: &Present, _: &Interrupt) -> Result<Vec<Mislabelled>> {
        Ok(Vec::new())
    }
}

impl Drop for Sysroot {
    /// Unlocks it even if a child process that was just forked shares the handle.
    fn drop(&mut self) {
        rustix::fs::flock(&self.fd, FlockOperation::Unlock).unwrap_or_default();
    }
}

/// A tree is walked with one handle per level, and images may be deep.
fn raise_open_files() {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    // Without it, a very deep tree ends in an error later.
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap_or_default();
}
