//! A layer's value as text, one line for each thing that it does: first what it removes, then its entries in their order.
//!
//! The fields are those of [`dump`](crate::tree::dump), and so are the lines of directories, files and symbolic links:
//!
//! ```text
//! PATH w                     the layers below lose this path
//! PATH o                     they lose what is in this directory
//! PATH d …, f …, l …         as in a dump
//! PATH h TARGET              another name for what is at the path TARGET
//! PATH x KIND                what no host image can carry
//! ```

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result, bail, ensure};

use super::{Entry, LayerDiff};
use crate::tree::SpecialKind;
use crate::tree::dump::{dir_line, leaf_line, next, path_text, read_leaf, read_path, read_stat, read_xattrs};

const KINDS: [(&str, SpecialKind); 4] = [
    ("character-device", SpecialKind::CharacterDevice),
    ("block-device", SpecialKind::BlockDevice),
    ("fifo", SpecialKind::Fifo),
    ("socket", SpecialKind::Socket),
];

/// Writes the lines of `diff`. Which contents its files have is not among them.
///
/// # Errors
/// Those of `out`.
pub fn write_to(diff: &LayerDiff, out: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    for (paths, letter) in [(&diff.removed, b" w\n"), (&diff.opaque, b" o\n")] {
        for path in paths {
            line.clear();
            path_text(path, &mut line);
            line.extend_from_slice(letter);
            out.write_all(&line)?;
        }
    }
    for (path, entry) in &diff.added {
        line.clear();
        match entry {
            Entry::Dir(stat) => dir_line(path, stat, &mut line),
            Entry::Leaf(leaf) => leaf_line(path, leaf, &mut line),
            Entry::HardLink(target) => {
                path_text(path, &mut line);
                line.extend_from_slice(b" h ");
                path_text(target, &mut line);
                line.push(b'\n');
            }
            Entry::LeftOut(kind) => {
                path_text(path, &mut line);
                let name = KINDS.iter().find(|(_, known)| known == kind).map_or("", |(name, _)| name);
                line.extend_from_slice(format!(" x {name}\n").as_bytes());
            }
        }
        out.write_all(&line)?;
    }
    Ok(())
}

/// Reads what [`write_to`] wrote, to its end. No file has a [`ContentId`](crate::tree::ContentId) then.
///
/// # Errors
/// When `text` is something else, or can't be read.
pub fn read(text: &mut impl BufRead) -> Result<LayerDiff> {
    let mut diff = LayerDiff::default();
    let mut line = Vec::new();
    while text.read_until(b'\n', &mut line)? > 0 {
        let whole = line.strip_suffix(b"\n").context("its last line is cut off")?;
        read_line(std::str::from_utf8(whole).context("a line is not ASCII")?, &mut diff)?;
        line.clear();
    }
    diff.added.shrink_to_fit();
    Ok(diff)
}

fn read_line(line: &str, diff: &mut LayerDiff) -> Result<()> {
    let mut fields = line.split(' ');
    let path = read_path(next(&mut fields)?)?;
    let entry = match next(&mut fields)? {
        "d" => {
            let mut stat = read_stat(&mut fields)?;
            stat.xattrs = read_xattrs(fields)?;
            Entry::Dir(stat)
        }
        kind @ ("f" | "l") => Entry::Leaf(read_leaf(kind, fields)?),
        kind => {
            let rest = fields.next();
            ensure!(fields.next().is_none(), "a line has too many fields");
            match (kind, rest) {
                ("w", None) => return once(diff.removed.insert(path)),
                ("o", None) => return once(diff.opaque.insert(path)),
                ("h", Some(target)) => Entry::HardLink(read_path(target)?),
                ("x", Some(name)) => {
                    let kind = KINDS.iter().find(|(known, _)| *known == name);
                    Entry::LeftOut(kind.context("a line has an unknown kind")?.1)
                }
                _ => bail!("a line has the unknown type {kind:?}"),
            }
        }
    };
    diff.added.push((path, entry));
    Ok(())
}

fn once(new: bool) -> Result<()> {
    ensure!(new, "a path is removed twice");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::tree::{Leaf, Mtime, Stat, TreePath, Xattrs};

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap()
    }

    fn sample() -> LayerDiff {
        let xattrs = Xattrs::from([(b"user.\xff =\n"[..].into(), b"\0 \n"[..].into())]);
        let stat = Stat {
            uid: 1,
            gid: u32::MAX,
            mode: 0o7755,
            mtime: Some(Mtime { seconds: -1, nanoseconds: 5 }),
            xattrs: Some(Box::new(xattrs)),
        };
        let file = Leaf::File { stat: stat.clone(), size: 1 << 40, digest: Digest::of(b""), content: None };
        let link = Leaf::Symlink { stat: Stat::implied(0o777), target: b"../ \\\n\xff"[..].into() };
        LayerDiff {
            removed: [path("gone"), path("a b\n")].into(),
            opaque: [path(""), path("gone")].into(),
            added: vec![
                (path(""), Entry::Dir(stat)),
                (path("z"), Entry::Leaf(file.clone())),
                (path("a/=\\"), Entry::Leaf(link)),
                (path("z"), Entry::Leaf(file)),
                (path("y"), Entry::HardLink(path("z x"))),
                (path("n"), Entry::LeftOut(SpecialKind::Fifo)),
                (path("n"), Entry::LeftOut(SpecialKind::Socket)),
                (path("n"), Entry::LeftOut(SpecialKind::BlockDevice)),
                (path("n"), Entry::LeftOut(SpecialKind::CharacterDevice)),
            ],
        }
    }

    fn spelled(diff: &LayerDiff) -> Vec<u8> {
        let mut text = Vec::new();
        write_to(diff, &mut text).unwrap();
        text
    }

    #[test]
    fn a_layer_is_read_as_it_was_written() {
        let text = spelled(&sample());
        assert_eq!(read(&mut &text[..]).unwrap(), sample());
        assert_eq!(text.split(|&byte| byte == b'\n').count(), 14);
        assert_eq!(read(&mut &b""[..]).unwrap(), LayerDiff::default());
    }

    #[test]
    fn what_is_no_layer_is_refused() {
        for (text, message) in [
            ("/a w", "its last line is cut off"),
            ("/a w\n/a w\n", "a path is removed twice"),
            ("/a w x\n", "a line has the unknown type \"w\""),
            ("/a h /b c\n", "a line has too many fields"),
            ("/a x pipe\n", "a line has an unknown kind"),
            ("/../a w\n", ".."),
            ("/a\n", "has too few fields"),
        ] {
            let error = read(&mut text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }
}
