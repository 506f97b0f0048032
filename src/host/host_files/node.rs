//! One path of the host: what lies there, and putting something else there.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::XattrFlags;
use sysctr_core::digest::{Digest, Hasher};
use sysctr_core::record::{Metadata, Placed};
use sysctr_core::tree::Stat;

use crate::copy;
use crate::durable::{self, sync_dir};

/// What a label is called.
const LABEL: &str = "security.selinux";

/// What lies at `path`, its label not counted; none: nothing.
///
/// # Errors
/// When it can't be read.
pub fn look(path: &Utf8Path) -> Result<Option<Placed>> {
    let doing = || format!("looking at {path}");
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(doing),
    };
    let kind = found.file_type();
    let xattrs = copy::read_attributes(path.as_std_path()).with_context(doing)?;
    let stat = Stat {
        uid: found.uid(),
        gid: found.gid(),
        mode: u16::try_from(found.mode() & 0o7777)?,
        mtime: None,
        xattrs: (!xattrs.is_empty()).then(|| Box::new(xattrs)),
    };
    let metadata = Metadata::from(&stat);
    if kind.is_dir() {
        return Ok(Some(Placed::Directory { metadata }));
    }
    if kind.is_symlink() {
        let target = std::fs::read_link(path).with_context(doing)?.to_string_lossy().into_owned();
        return Ok(Some(Placed::Link { target, replaced: None, metadata: Some(metadata) }));
    }
    if !kind.is_file() {
        // A device, socket or pipe is an admin's: without metadata it is like nothing that is recorded.
        return Ok(Some(Placed::File { digest: Digest::of(b""), metadata: None }));
    }
    Ok(Some(Placed::File { digest: digest(path).with_context(doing)?, metadata: Some(metadata) }))
}

fn digest(path: &Utf8Path) -> Result<Digest> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// A record's word for something as [`look`] says it.
pub fn plain(placed: &Placed) -> Placed {
    let own = |mode| Some(Metadata::from(&Stat::implied(mode)));
    match placed.clone() {
        Placed::File { digest, metadata } => Placed::File { digest, metadata: metadata.or(own(0o644)) },
        Placed::Link { target, metadata, .. } => {
            Placed::Link { target, replaced: None, metadata: metadata.or(own(0o777)) }
        }
        directory @ Placed::Directory { .. } => directory,
    }
}

/// Where a file or link is made before it is renamed to `path`.
pub fn beside(path: &Utf8Path) -> Utf8PathBuf {
    path.with_file_name(format!(".{}.sysctr-new", path.file_name().unwrap_or_default()))
}

/// Which label a copy gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// That of what it takes the place of, if there is something.
    Stays,
    /// Its source's.
    Comes,
}

/// Puts a copy of the file or link `from` at `to`, in the place of a file, a link, an empty directory or nothing. It survives a power
/// cut.
///
/// # Errors
/// When it can't be put; what was at `to` is there still, unless it was a directory.
pub fn put(from: &Utf8Path, to: &Utf8Path, label: Label) -> Result<()> {
    let beside = beside(to);
    durable::remove(&beside)?;
    let doing = || format!("writing {to}");
    copy::one(from, &beside).with_context(doing)?;
    let labelled = match label {
        Label::Stays => to,
        Label::Comes => from,
    };
    keep_label(labelled.as_std_path(), beside.as_std_path()).with_context(doing)?;
    if !beside.is_symlink() {
        File::open(&beside).and_then(|file| file.sync_all()).with_context(doing)?;
    }
    if to.is_dir() && !to.is_symlink() {
        std::fs::remove_dir(to).with_context(doing)?;
    }
    std::fs::rename(&beside, to).with_context(doing)?;
    sync_parent(to)
}

/// Puts a copy of the file or link `from` in the place of the file or link `to`, or of nothing; nothing is flushed.
///
/// # Errors
/// When it can't be made; what was there is gone then.
pub fn copy_to(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    durable::remove(to)?;
    durable::make_parent(to)?;
    copy::one(from, to).with_context(|| format!("writing {to}"))
}

fn keep_label(from: &Path, to: &Path) -> Result<()> {
    let mut value = [0; 4096];
    match rustix::fs::lgetxattr(from, LABEL, &mut value[..]) {
        Ok(length) => Ok(rustix::fs::lsetxattr(to, LABEL, &value[..length], XattrFlags::empty())?),
        // Nothing is there, it has none, or the file system knows none: the kernel gives the directory's.
        Err(_) => Ok(()),
    }
}

/// Makes a directory in the place of a file, a link or nothing; one that is there gets these metadata.
///
/// # Errors
/// When it can't be made.
pub fn make_directory(path: &Utf8Path, metadata: &Metadata) -> Result<()> {
    let doing = || format!("making directory {path}");
    if !path.is_dir() || path.is_symlink() {
        durable::remove(path)?;
        std::fs::DirBuilder::new().mode(0o700).create(path).with_context(doing)?;
    }
    let stat = stat(metadata).with_context(doing)?;
    set(path, &stat).with_context(doing)?;
    sync_parent(path)
}

/// Gives a file or directory these metadata.
///
/// # Errors
/// When they can't be set.
pub fn set(path: &Utf8Path, stat: &Stat) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(stat.uid), Some(stat.gid))?;
    if !path.is_symlink() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(stat.mode.into()))?;
    }
    for (name, value) in stat.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
        rustix::fs::lsetxattr(path.as_std_path(), &**name, value, XattrFlags::empty())
            .with_context(|| format!("setting the attribute {}", name.escape_ascii()))?;
    }
    Ok(())
}

/// What a record's metadata say. (Attributes of directories are not set again: nothing that images bring has any.)
fn stat(metadata: &Metadata) -> Result<Stat> {
    let mode =
        u16::from_str_radix(&metadata.mode, 8).with_context(|| format!("reading mode {}", metadata.mode))?;
    Ok(Stat { uid: metadata.uid, gid: metadata.gid, mode, mtime: None, xattrs: None })
}

/// Takes away the file or link at `path`, or the directory if it is empty.
///
/// # Errors
/// When it can't be removed.
pub fn take_away(path: &Utf8Path) -> Result<()> {
    if path.is_dir() && !path.is_symlink() {
        return match std::fs::remove_dir(path) {
            // Somebody has put something into it: it stays.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed.with_context(|| format!("removing directory {path}")),
        };
    }
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    durable::remove(path)?;
    sync_parent(path)
}

fn sync_parent(path: &Utf8Path) -> Result<()> {
    path.parent().map_or(Ok(()), sync_dir)
}
