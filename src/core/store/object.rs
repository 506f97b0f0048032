//! The objects of an OSTree repository as bytes, exactly as libostree writes them, and their checksums
//! (ostree(1), "The OSTree data model"; `ostree-core.h`).
//!
//! A file's checksum is over a framed header and its content, so that it is known only with owner, mode and attributes.
//! Time stamps are no part of any object. Directories are two objects: their metadata, and their names.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::variant::{Member, array, read_array, read_text, read_tuple, text, tuple};
use crate::digest::{Digest, Hasher};
use crate::tree::path::quoted;
use crate::tree::{Stat, Xattrs};

const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;

/// What an object is; its file name ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A regular file or a symbolic link.
    File,
    /// The names in a directory.
    DirTree,
    /// A directory's owner, mode and attributes.
    DirMeta,
    /// A root directory with a name for people.
    Commit,
}

/// What a file object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind<'a> {
    /// A regular file.
    Regular,
    /// A symbolic link with this text.
    Symlink(&'a str),
}

impl FileKind<'_> {
    fn mode(self, stat: &Stat) -> u32 {
        match self {
            Self::Regular => REGULAR | u32::from(stat.mode),
            // A link has no mode of its own; libostree reads what the kernel shows.
            Self::Symlink(_) => SYMLINK | 0o777,
        }
    }

    fn target(&self) -> &str {
        match self {
            Self::Regular => "",
            Self::Symlink(target) => target,
        }
    }
}

/// Attributes as `a(ayay)`: sorted, names with their NUL.
fn attributes(xattrs: Option<&Xattrs>) -> Vec<u8> {
    let pairs = xattrs.into_iter().flatten();
    array(pairs.map(|(name, value)| tuple(&[Member::Variable(&text(name)), Member::Variable(value)])))
}

/// The length in front of a header, and padding, so that the header is aligned.
fn framed(header: &[u8]) -> Vec<u8> {
    // Attributes of one inode are bounded by the kernel far below 4 GiB.
    let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), &[0; 4], header].concat()
}

/// Owner, mode, device 0, the link's text, attributes.
fn header(stat: &Stat, kind: FileKind<'_>, size: Option<u64>) -> Vec<u8> {
    let mut fixed = size.map(|size| size.to_be_bytes().to_vec()).unwrap_or_default();
    for number in [stat.uid, stat.gid, kind.mode(stat), 0] {
        fixed.extend_from_slice(&number.to_be_bytes());
    }
    framed(&tuple(&[
        Member::Fixed(&fixed),
        Member::Variable(&text(kind.target().as_bytes())),
        Member::Variable(&attributes(stat.xattrs.as_deref())),
    ]))
}

/// What stands before the content when a file's checksum is computed: framed `(uuuusa(ayay))`.
pub fn file_header(stat: &Stat, kind: FileKind<'_>) -> Vec<u8> {
    header(stat, kind, None)
}

/// What stands before the compressed content in a repository of mode `archive`: framed `(tuuuusa(ayay))`.
pub fn archive_header(stat: &Stat, kind: FileKind<'_>, size: u64) -> Vec<u8> {
    header(stat, kind, Some(size))
}

/// The checksum of a file with this content. A symbolic link has none.
pub fn file_checksum(stat: &Stat, kind: FileKind<'_>, content: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(&file_header(stat, kind));
    hasher.update(content);
    hasher.finish()
}

/// `(uuua(ayay))`: owner, mode with the type's bits, attributes.
fn metadata(stat: &Stat, mode: u32) -> Vec<u8> {
    let mut fixed = Vec::new();
    for number in [stat.uid, stat.gid, mode] {
        fixed.extend_from_slice(&number.to_be_bytes());
    }
    tuple(&[Member::Fixed(&fixed), Member::Variable(&attributes(stat.xattrs.as_deref()))])
}

/// The attribute `user.ostreemeta` of a file in a repository of mode `bare-user`.
pub fn bare_user_metadata(stat: &Stat, kind: FileKind<'_>) -> Vec<u8> {
    metadata(stat, kind.mode(stat))
}

/// The object of a directory's metadata.
pub fn dirmeta(stat: &Stat) -> Vec<u8> {
    metadata(stat, DIRECTORY | u32::from(stat.mode))
}

/// Reads the object of a directory's metadata. A commit has no time stamp.
///
/// # Errors
/// When `bytes` are not exactly such an object.
pub fn read_dirmeta(bytes: &[u8]) -> Result<Stat> {
    let [attributes] = read_tuple(bytes, 12)?;
    let number = |at: usize| bytes[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    let mut xattrs = Xattrs::new();
    for pair in read_array(attributes)? {
        let [name, value] = read_tuple(pair, 0)?;
        xattrs.insert(read_text(name)?.into(), value.into());
    }
    let xattrs = (!xattrs.is_empty()).then(|| Box::new(xattrs));
    let mode = (number(8) & 0o7777) as u16;
    let stat = Stat { uid: number(0), gid: number(4), mode, mtime: None, xattrs };
    if dirmeta(&stat) != bytes {
        bail!("it is no directory's metadata in normal form");
    }
    Ok(stat)
}

/// A directory in a [`DirTree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirRef {
    /// Checksum of its names.
    pub tree: Digest,
    /// Checksum of its metadata.
    pub meta: Digest,
}

/// The names in a directory. OSTree's names are UTF-8 and sorted by bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirTree {
    /// Regular files and symbolic links.
    pub files: BTreeMap<String, Digest>,
    /// Directories.
    pub dirs: BTreeMap<String, DirRef>,
}

impl DirTree {
    /// The object: `(a(say)a(sayay))`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let file = |(name, checksum): (&String, &Digest)| {
            tuple(&[Member::Variable(&text(name.as_bytes())), Member::Variable(checksum.as_bytes())])
        };
        let dir = |(name, dir): (&String, &DirRef)| {
            tuple(&[
                Member::Variable(&text(name.as_bytes())),
                Member::Variable(dir.tree.as_bytes()),
                Member::Variable(dir.meta.as_bytes()),
            ])
        };
        let (files, dirs) = (array(self.files.iter().map(file)), array(self.dirs.iter().map(dir)));
        tuple(&[Member::Variable(&files), Member::Variable(&dirs)])
    }

    /// Reads the object.
    ///
    /// # Errors
    /// When `bytes` are not exactly such an object: names out of order, twice, or none that a file system holds.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let [files, dirs] = read_tuple(bytes, 0)?;
        let mut tree = Self::default();
        for file in read_array(files)? {
            let [name, checksum] = read_tuple(file, 0)?;
            tree.files.insert(read_name(name)?, read_checksum(checksum)?);
        }
        for dir in read_array(dirs)? {
            let [name, contents, meta] = read_tuple(dir, 0)?;
            let dir = DirRef { tree: read_checksum(contents)?, meta: read_checksum(meta)? };
            tree.dirs.insert(read_name(name)?, dir);
        }
        if tree.to_bytes() != bytes || tree.dirs.keys().any(|name| tree.files.contains_key(name)) {
            bail!("it is no directory's names in normal form");
        }
        Ok(tree)
    }
}

fn read_name(bytes: &[u8]) -> Result<String> {
    let name = read_text(bytes)?;
    if crate::tree::FileName::new(name).is_none() {
        bail!("{} is no name", quoted(name));
    }
    String::from_utf8(name.to_vec()).with_context(|| format!("name {} is not UTF-8", quoted(name)))
}

fn read_checksum(bytes: &[u8]) -> Result<Digest> {
    match <[u8; 32]>::try_from(bytes) {
        Ok(bytes) => Ok(Digest::from_bytes(bytes)),
        Err(_) => bail!("a checksum in it has {} bytes", bytes.len()),
    }
}

/// The object of a commit without parent and metadata: `(a{sv}aya(say)sstayay)`. Its time stamp is 0: nothing of ours has a
/// clock.
pub fn commit(root: DirRef, subject: &str) -> Vec<u8> {
    tuple(&[
        Member::Variable(b""),
        Member::Variable(b""),
        Member::Variable(b""),
        Member::Variable(&text(subject.as_bytes())),
        Member::Variable(&text(b"")),
        Member::Number(0),
        Member::Variable(root.tree.as_bytes()),
        Member::Variable(root.meta.as_bytes()),
    ])
}

/// Reads the object of a commit that [`commit`] made; tells its root.
///
/// # Errors
/// When `bytes` are not exactly such an object.
pub fn read_commit(bytes: &[u8]) -> Result<DirRef> {
    let subject = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let begin = (subject.len() + 2).next_multiple_of(8) + 8;
    let checksum = |at: usize| read_checksum(bytes.get(at..at + 32).unwrap_or_default());
    let root = DirRef { tree: checksum(begin)?, meta: checksum(begin + 32)? };
    match std::str::from_utf8(subject) {
        Ok(subject) if commit(root, subject) == bytes => Ok(root),
        _ => bail!("it is no commit of ours"),
    }
}

/// The same metadata with this SELinux label (`security.selinux`, whose value ends in a NUL).
pub fn labelled(stat: &Stat, label: Option<&[u8]>) -> Stat {
    let mut stat = stat.clone();
    if let Some(label) = label {
        stat.xattrs.get_or_insert_default().insert((*b"security.selinux").into(), text(label).into());
    }
    stat
}

/// Why a repository can't hold what these attributes are; `None` if it can.
///
/// libostree does not read attributes with an empty value back from a file system, so that a file with one would have
/// another checksum in a repository of mode `bare`.
pub fn unfit_attribute(stat: &Stat) -> Option<&[u8]> {
    let empty = stat.xattrs.iter().flat_map(|xattrs| xattrs.iter()).find(|(_, value)| value.is_empty());
    empty.map(|(name, _)| &**name)
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
