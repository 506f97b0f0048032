//! Everything about a tree of files, as a value and as text. Independent of the code under test: it reads what lies on
//! the disk, by lstat(2), and knows nothing of images.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// All entries below a directory by their path in it, the directory itself as the empty path. Paths are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    entries: BTreeMap<Vec<u8>, Entry>,
}

/// What is known of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Type, and what belongs to it: length and digest, link text, device number.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Extended attributes by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same file, if it has several in this tree.
    pub linked_to: Option<Vec<u8>>,
}

/// Type of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its length.
        bytes: u64,
        /// SHA-256 of its content, in hexadecimal.
        sha256: String,
    },
    /// A symbolic link.
    Link(Vec<u8>),
    /// A device, FIFO or socket: the letter of `ls -l` and the device number.
    Special(char, u64),
}

/// Which modification times count in a comparison.
#[derive(Debug, Clone, Copy)]
pub enum Mtimes<'a> {
    /// All.
    All,
    /// None.
    None,
    /// Those of these paths.
    Of(&'a std::collections::BTreeSet<Vec<u8>>),
}

impl Mtimes<'_> {
    fn count(self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Of(paths) => paths.contains(path),
        }
    }
}

impl Listing {
    /// Of the tree below `root`.
    ///
    /// # Panics
    /// When something in it can't be read.
    pub fn of(root: &Path) -> Self {
        let mut listing = Self { entries: BTreeMap::new() };
        let mut inodes = BTreeMap::new();
        listing.add(root, Vec::new(), &mut inodes);
        for paths in inodes.values().filter(|paths: &&Vec<Vec<u8>>| paths.len() > 1) {
            let first = paths.iter().min().expect("two paths have a first");
            for path in paths {
                listing.entries.get_mut(path).expect("a listed path").linked_to = Some(first.clone());
            }
        }
        listing
    }

    fn add(&mut self, real: &Path, path: Vec<u8>, inodes: &mut BTreeMap<(u64, u64), Vec<Vec<u8>>>) {
        let failed = |error: std::io::Error| -> ! { panic!("listing {}: {error}", real.display()) };
        let meta = fs::symlink_metadata(real).unwrap_or_else(|error| failed(error));
        if !meta.is_dir() && meta.nlink() > 1 {
            inodes.entry((meta.dev(), meta.ino())).or_default().push(path.clone());
        }
        let kind = Kind::of(real, &meta).unwrap_or_else(|error| failed(error));
        let entry = Entry {
            kind,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            xattrs: xattrs(real).unwrap_or_else(|error| failed(error.into())),
            linked_to: None,
        };
        self.entries.insert(path.clone(), entry);
        if meta.is_dir() {
            for child in fs::read_dir(real).unwrap_or_else(|error| failed(error)) {
                let name = child.unwrap_or_else(|error| failed(error)).file_name();
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                self.add(&real.join(&name), [&path, slash, name.as_bytes()].concat(), inodes);
            }
        }
    }

    /// How many entries, the root counted.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is listed; never so for a listing of a directory.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at `path`.
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<&Entry> {
        self.entries.get(path.as_ref())
    }

    /// All paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(Vec::as_slice)
    }

    /// Takes an entry out, not what lies below it. Other names of the same file are told anew.
    pub fn remove(&mut self, path: &[u8]) -> Option<Entry> {
        let gone = self.entries.remove(path)?;
        if let Some(first) = &gone.linked_to {
            let same = |entry: &Entry| entry.linked_to.as_ref() == Some(first);
            let left: Vec<_> =
                self.entries.iter().filter(|(_, e)| same(e)).map(|(path, _)| path.clone()).collect();
            for path in &left {
                let linked_to = (left.len() > 1).then(|| left[0].clone());
                self.entries.get_mut(path).expect("a listed path").linked_to = linked_to;
            }
        }
        Some(gone)
    }

    /// Leaves only what lies below `top` and `top` itself, which becomes the root.
    #[must_use]
    pub fn below(self, top: &str) -> Self {
        let inside = |path: &[u8]| match path.strip_prefix(top.as_bytes()) {
            Some([]) => Some(Vec::new()),
            Some([b'/', rest @ ..]) => Some(rest.to_vec()),
            _ => None,
        };
        let entries = self.entries.into_iter().filter_map(|(path, mut entry)| {
            entry.linked_to = entry.linked_to.and_then(|first| inside(&first));
            Some((inside(&path)?, entry))
        });
        Self { entries: entries.collect() }
    }

    /// SHA-256 of the text, in hexadecimal: one word for a whole tree.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.to_string()))
    }

    /// One line for each path that differs: `- ` what is expected, `+ ` what `self` has.
    pub fn differences(&self, expected: &Self, mtimes: Mtimes<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        let paths: std::collections::BTreeSet<_> =
            self.entries.keys().chain(expected.entries.keys()).collect();
        for path in paths {
            let line = |listing: &Self| {
                listing.get(path).map(|entry| entry.line(path, mtimes.count(path))).unwrap_or_default()
            };
            let (is, should) = (line(self), line(expected));
            if is != should {
                lines.extend(Some(should).filter(|l| !l.is_empty()).map(|line| format!("- {line}")));
                lines.extend(Some(is).filter(|l| !l.is_empty()).map(|line| format!("+ {line}")));
            }
        }
        lines
    }

    /// Both trees must be the same.
    ///
    /// # Panics
    /// With the first differences.
    #[track_caller]
    pub fn expect_same(&self, expected: &Self, mtimes: Mtimes<'_>) {
        let lines = self.differences(expected, mtimes);
        let shown = lines.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(
            lines.is_empty(),
            "the trees differ in {} lines (- expected, + found):\n{shown}",
            lines.len()
        );
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|(path, entry)| writeln!(f, "{}", entry.line(path, true)))
    }
}

impl Entry {
    fn line(&self, path: &[u8], with_mtime: bool) -> String {
        let (uid, gid) = self.owner;
        let mut line = format!("/{} {} {:04o} {uid}:{gid}", escaped(path), self.kind, self.mode);
        if let Some(first) = &self.linked_to {
            write!(line, " same=/{}", escaped(first)).unwrap_or_default();
        }
        for (name, value) in &self.xattrs {
            write!(line, " {}={}", escaped(name), hex(value)).unwrap_or_default();
        }
        if with_mtime {
            write!(line, " @{}.{:09}", self.mtime.0, self.mtime.1).unwrap_or_default();
        }
        line
    }
}

impl Kind {
    fn of(real: &Path, meta: &fs::Metadata) -> std::io::Result<Self> {
        let kind = meta.file_type();
        Ok(if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Link(fs::read_link(real)?.into_os_string().into_vec())
        } else if kind.is_file() {
            let mut hash = Sha256::new();
            std::io::copy(&mut fs::File::open(real)?, &mut HashWriter(&mut hash))?;
            Self::File { bytes: meta.len(), sha256: hex(&hash.finalize()) }
        } else if kind.is_block_device() {
            Self::Special('b', meta.rdev())
        } else if kind.is_char_device() {
            Self::Special('c', meta.rdev())
        } else if kind.is_fifo() {
            Self::Special('p', 0)
        } else {
            Self::Special('s', 0)
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("directory"),
            Self::File { bytes, sha256 } => write!(f, "file {bytes} {sha256}"),
            Self::Link(text) => write!(f, "link -> {}", escaped(text)),
            Self::Special(letter, device) => write!(f, "special {letter} {device}"),
        }
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn xattrs(real: &Path) -> rustix::io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; 1 << 16];
    let length = match rustix::fs::llistxattr(real, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        length => length?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(real, OsStr::from_bytes(name), &mut value[..])?;
            value.truncate(length);
            Ok((name.to_vec(), value))
        })
        .collect()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// A name on one line of text, without blanks, so that lines can be split at them.
pub fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'\\' | b' ' | 0..=0x1f | 0x7f.. => write!(text, "\\x{byte:02x}").unwrap_or_default(),
            byte => text.push(char::from(*byte)),
        }
        text
    })
}

#[cfg(test)]
mod tests;
