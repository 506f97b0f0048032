//! A tree as text, one entry a line: the root first, then every path in its order, a directory before what it holds.
//!
//! Fields are separated by one space, a line ends with a line feed:
//!
//! ```text
//! PATH d MODE UID GID MTIME [XATTR…]                 a directory
//! PATH f MODE UID GID MTIME SIZE DIGEST [XATTR…]     a regular file
//! PATH l MODE UID GID MTIME TARGET [XATTR…]          a symbolic link
//! PATH h FIRST                                       another name of the file or link at the path FIRST
//!
//! PATH, FIRST  text, with `/` in front
//! TARGET       text
//! MODE         four octal digits: permissions with setuid, setgid and sticky
//! UID, GID     decimal
//! MTIME        SECONDS.NNNNNNNNN since 1970, the nanoseconds counting forward also from negative seconds;
//!              `-` where the image names no time, and the compose's epoch stands in the tree
//! SIZE         decimal, holes included
//! DIGEST       sha256:HEX of the content
//! XATTR        text=HEX, sorted by name
//! text         printable ASCII as it is; any other byte, space, `\` and `=` as `\xHH`
//! ```
//!
//! There is one spelling of each tree, so equal trees have equal dumps and a dump's digest stands for its tree.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _, Write};

use anyhow::{Context, Result, bail, ensure};

use super::{Dir, ImageTree, Leaf, Mtime, Node, Stat, TreePath};
use crate::digest::Digest;

/// A dump has some 150 bytes an entry; one above this is none of ours.
pub const MAX_BYTES: u64 = 1 << 30;

/// The tree as text, one entry a line, in path order, the root first.
pub fn write(tree: &ImageTree) -> Vec<u8> {
    let mut text = Vec::new();
    // A vector takes all bytes.
    write_to(tree, &mut text).unwrap_or_default();
    text
}

/// As [`write()`], but line by line into `out`, for trees whose text should not be held in memory.
///
/// # Errors
/// Those of `out`.
pub fn write_to(tree: &ImageTree, out: &mut impl Write) -> io::Result<()> {
    let mut seen = vec![false; tree.leaves.len()];
    let mut shared = BTreeMap::new();
    for (_, node) in tree.walk() {
        if let Node::Leaf(id) = node
            && std::mem::replace(&mut seen[id.0 as usize], true)
        {
            shared.insert(*id, None);
        }
    }
    let mut line = Vec::new();
    dir_line(&TreePath::root(), &tree.root.stat, &mut line);
    out.write_all(&line)?;
    for (path, node) in tree.walk() {
        line.clear();
        match node {
            Node::Dir(dir) => dir_line(&path, &dir.stat, &mut line),
            Node::Leaf(id) => match shared.get_mut(id) {
                Some(Some(first)) => {
                    path_text(&path, &mut line);
                    line.extend_from_slice(b" h ");
                    path_text(first, &mut line);
                    line.push(b'\n');
                }
                first => {
                    leaf_line(&path, tree.leaf(*id), &mut line);
                    first.map(|first| first.insert(path));
                }
            },
        }
        out.write_all(&line)?;
    }
    Ok(())
}

pub(super) fn path_text(path: &TreePath, line: &mut Vec<u8>) {
    line.push(b'/');
    escape(path.as_bytes(), line);
}

fn escape(bytes: &[u8], line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        match byte {
            b'\\' | b'=' => {}
            0x21..=0x7e => {
                line.push(*byte);
                continue;
            }
            _ => {}
        }
        line.extend_from_slice(b"\\x");
        hex(*byte, line, DIGITS);
    }
}

fn hex(byte: u8, line: &mut Vec<u8>, digits: &[u8; 16]) {
    line.push(digits[usize::from(byte >> 4)]);
    line.push(digits[usize::from(byte & 15)]);
}

fn stat_text(path: &TreePath, kind: char, stat: &Stat, line: &mut Vec<u8>) {
    path_text(path, line);
    let Stat { uid, gid, mode, mtime, .. } = stat;
    fields(line, format_args!(" {kind} {mode:04o} {uid} {gid} "));
    match mtime {
        Some(time) => fields(line, format_args!("{}.{:09}", time.seconds, time.nanoseconds)),
        None => line.push(b'-'),
    }
}

fn fields(line: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // A vector takes all bytes.
    line.write_fmt(text).unwrap_or_default();
}

fn xattrs_text(stat: &Stat, line: &mut Vec<u8>) {
    for (name, value) in stat.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
        line.push(b' ');
        escape(name, line);
        line.push(b'=');
        for byte in value {
            hex(*byte, line, b"0123456789abcdef");
        }
    }
    line.push(b'\n');
}

pub(super) fn dir_line(path: &TreePath, stat: &Stat, line: &mut Vec<u8>) {
    stat_text(path, 'd', stat, line);
    xattrs_text(stat, line);
}

pub(super) fn leaf_line(path: &TreePath, leaf: &Leaf, line: &mut Vec<u8>) {
    match leaf {
        Leaf::File { stat, size, digest, .. } => {
            stat_text(path, 'f', stat, line);
            fields(line, format_args!(" {size} {digest}"));
        }
        Leaf::Symlink { stat, target } => {
            stat_text(path, 'l', stat, line);
            line.push(b' ');
            escape(target, line);
        }
    }
    xattrs_text(leaf.stat(), line);
}

/// Reads what [`write()`] wrote. Contents have no [`super::ContentId`] then.
///
/// # Errors
/// When `text` is not such a dump; the message has the line's number.
pub fn read(text: &[u8]) -> Result<ImageTree> {
    let mut tree = ImageTree::new();
    let body = text.strip_suffix(b"\n").context("reading a tree dump: its last line is cut off")?;
    let mut last = None;
    for (number, line) in (1u64..).zip(body.split(|&byte| byte == b'\n')) {
        let path = read_line(line, &mut tree, last.as_ref())
            .with_context(|| format!("reading a tree dump: line {number}"))?;
        last = Some(path);
    }
    Ok(tree)
}

/// Reads a compressed dump whose text has the digest `expected`.
///
/// # Errors
/// When it is another, or what has that digest is no dump.
pub fn unpack(compressed: &[u8], expected: &Digest) -> Result<ImageTree> {
    let mut text = Vec::new();
    let unpacked =
        zstd::Decoder::new(compressed).and_then(|decoder| decoder.take(MAX_BYTES).read_to_end(&mut text));
    match unpacked {
        Ok(_) if Digest::of(&text) == *expected => read(&text),
        Ok(_) | Err(_) => bail!("it is not the dump that the record names"),
    }
}

/// Adds the entry of one line, which must be the only spelling of it, and tells its path.
fn read_line(line: &[u8], tree: &mut ImageTree, last: Option<&TreePath>) -> Result<TreePath> {
    let text = std::str::from_utf8(line).context("is not ASCII")?;
    let mut fields = text.split(' ');
    let path = read_path(next(&mut fields)?)?;
    match last {
        None => ensure!(path.is_root(), "is not the root, which stands first"),
        Some(last) => ensure!(*last < path, "is {path}, which does not stand in order after {last}"),
    }
    let mut again = Vec::new();
    match next(&mut fields)? {
        "d" => {
            let mut dir = Dir::empty(read_stat(&mut fields)?);
            dir.stat.xattrs = read_xattrs(fields)?;
            dir_line(&path, &dir.stat, &mut again);
            if path.is_root() {
                tree.root = dir;
            } else {
                put(tree, &path, |_| Ok(Node::Dir(Box::new(dir))))?;
            }
        }
        "h" => {
            let first = read_path(next(&mut fields)?)?;
            ensure!(fields.next().is_none(), "has too many fields");
            let id = match tree.node(&first) {
                Some(Node::Leaf(id)) => *id,
                _ => bail!("is a link to {first}, which is no file above it"),
            };
            put(tree, &path, |_| Ok(Node::Leaf(id)))?;
            return Ok(path);
        }
        kind => {
            let leaf = read_leaf(kind, fields)?;
            leaf_line(&path, &leaf, &mut again);
            put(tree, &path, |tree| Ok(Node::Leaf(tree.add_leaf(leaf))))?;
        }
    }
    ensure!(again.strip_suffix(b"\n") == Some(line), "is not spelled as dumps are");
    Ok(path)
}

pub(super) type Fields<'a> = std::str::Split<'a, char>;

pub(super) fn next<'a>(fields: &mut Fields<'a>) -> Result<&'a str> {
    fields.next().context("has too few fields")
}

fn put(
    tree: &mut ImageTree,
    path: &TreePath,
    make: impl FnOnce(&mut ImageTree) -> Result<Node>,
) -> Result<()> {
    let (parent, name) = path.parent().zip(path.file_name()).context("is the root again")?;
    let node = make(tree)?;
    let dir = tree.dir_mut(&parent).with_context(|| format!("is {path}, whose parent is missing"))?;
    dir.children.insert(name, node);
    Ok(())
}

pub(super) fn read_leaf(kind: &str, mut fields: Fields<'_>) -> Result<Leaf> {
    let mut stat = read_stat(&mut fields)?;
    let mut leaf = match kind {
        "f" => {
            let size = next(&mut fields)?.parse().context("has no size")?;
            let digest: Digest = next(&mut fields)?.parse()?;
            Leaf::File { stat: Stat::implied(0), size, digest, content: None }
        }
        "l" => Leaf::Symlink { stat: Stat::implied(0), target: unescape(next(&mut fields)?)?.into() },
        _ => bail!("has the unknown type {kind:?}"),
    };
    stat.xattrs = read_xattrs(fields)?;
    match &mut leaf {
        Leaf::File { stat: place, .. } | Leaf::Symlink { stat: place, .. } => *place = stat,
    }
    Ok(leaf)
}

pub(super) fn read_path(text: &str) -> Result<TreePath> {
    let name = unescape(text.strip_prefix('/').context("has no path")?)?;
    Ok(TreePath::parse(&name)?)
}

pub(super) fn read_stat(fields: &mut Fields<'_>) -> Result<Stat> {
    let mode = u16::from_str_radix(next(fields)?, 8).context("has no mode")?;
    ensure!(mode <= 0o7777, "has the mode {mode:o}, which has more than permissions");
    let uid = next(fields)?.parse().context("has no owner")?;
    let gid = next(fields)?.parse().context("has no group")?;
    let mtime = match next(fields)? {
        "-" => None,
        time => {
            let (seconds, nanoseconds) = time.split_once('.').context("has no time")?;
            ensure!(nanoseconds.len() == 9, "has no time in nanoseconds");
            let seconds = seconds.parse().context("has no time")?;
            Some(Mtime { seconds, nanoseconds: nanoseconds.parse().context("has no time")? })
        }
    };
    Ok(Stat { uid, gid, mode, mtime, xattrs: None })
}

pub(super) fn read_xattrs(fields: Fields<'_>) -> Result<Option<Box<super::Xattrs>>> {
    let mut xattrs = super::Xattrs::new();
    for field in fields {
        let (name, value) = field.split_once('=').context("has an attribute without `=`")?;
        ensure!(value.len().is_multiple_of(2), "has an attribute with half a byte");
        let bytes = value.as_bytes().chunks_exact(2).map(read_hex).collect::<Result<Vec<_>>>()?;
        xattrs.insert(unescape(name)?.into(), bytes.into());
    }
    Ok((!xattrs.is_empty()).then(|| Box::new(xattrs)))
}

fn read_hex(pair: &[u8]) -> Result<u8> {
    let text = std::str::from_utf8(pair).context("has no hexadecimal digits")?;
    u8::from_str_radix(text, 16).context("has no hexadecimal digits")
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'\\' {
            let pair = after.strip_prefix(b"x").and_then(|after| after.get(..2));
            bytes.push(read_hex(pair.context("has an escape that is not \\xHH")?)?);
            rest = &after[3..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
