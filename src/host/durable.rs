//! Files and directories of ours, made and taken away so that a cut leaves the old or the new.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;
use rustix::fs::{Mode, OFlags};

/// Opens a directory.
///
/// # Errors
/// When there is none.
pub fn open_dir(path: &Utf8Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path.as_std_path(), flags, Mode::empty()).with_context(|| format!("opening {path}"))
}

/// Lets the names in a directory reach the disk.
///
/// # Errors
/// When they don't.
pub fn sync_dir(path: &Utf8Path) -> Result<()> {
    rustix::fs::fsync(open_dir(path)?).with_context(|| format!("flushing {path}"))
}

/// Takes away what is at `path`, be it a directory with all that is in it, or nothing.
///
/// # Errors
/// When it can't be removed.
pub fn clear(path: &Utf8Path) -> Result<()> {
    there_or_not(std::fs::remove_dir_all(path)).with_context(|| format!("removing {path}"))
}

/// Takes away the file or link at `path`, if there is one.
///
/// # Errors
/// When it can't be removed.
pub fn remove(path: &Utf8Path) -> Result<()> {
    there_or_not(std::fs::remove_file(path)).with_context(|| format!("removing {path}"))
}

fn there_or_not(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        other => other,
    }
}

/// Makes the directories above `path`.
///
/// # Errors
/// When they can't be made.
pub fn make_parent(path: &Utf8Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent).with_context(|| format!("making directory {parent}"))
}

/// Writes a file that is not there yet; nothing is flushed.
///
/// # Errors
/// When it is there, or can't be written.
pub fn write_new(path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<()> {
    let make = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))
    };
    make().with_context(|| format!("writing {path}"))
}

/// Writes a file beside and renames it; it survives a power cut.
///
/// # Errors
/// When it can't be written; the old one is there still.
pub fn write_synced(path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<()> {
    let Some((dir, name)) = path.parent().zip(path.file_name()) else {
        bail!("writing {path}: it is no file's name")
    };
    let beside = dir.join(format!("{name}.new"));
    let make = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    make().with_context(|| format!("writing {path}"))?;
    sync_dir(dir)
}
