//! Other people's programs that unpack the same image, and the comparison with what a compose embedded.
//!
//! `umoci unpack` is the judge: it was written independently, for exactly this. It reads no zstd layers, so skopeo packs them
//! with gzip first (contents and diff_ids stay); it gives directories that no tar entry names the time of day, so modification
//! times count only where an entry names the path, which layers.py finds out with Python's own tar reader.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command::Command;
use crate::fixture::{Image, Root};
use crate::listing::{Kind, Listing, Mtimes};
use crate::{scratch, source_dir};

/// An image as umoci unpacks it.
#[derive(Debug)]
pub struct Unpacked {
    /// What lies there.
    pub listing: Listing,
    /// Paths that a tar entry names, and whose modification time is therefore the image's.
    pub named: BTreeSet<Vec<u8>>,
}

impl Unpacked {
    /// Unpacks `image` with umoci.
    ///
    /// # Panics
    /// When a program fails.
    pub fn by_umoci(image: &Image) -> Self {
        let work = scratch();
        let layout = gzip_layout(&work, &image.reference());
        let bundle = work.path().join("bundle");
        let reference = format!("{}:x", layout.display());
        let umoci = Command::new("umoci").args(["unpack", "--image", &reference]).arg(&bundle);
        umoci.under(["sh", "-c", "umask 022; exec \"$@\"", "sh"]).run().expect_ok();
        Self { listing: Listing::of(&bundle.join("rootfs")), named: named(&layout) }
    }

    /// Unpacks an image of one layer with GNU tar, for what umoci can't read.
    ///
    /// # Panics
    /// When a program fails or the image has several layers.
    pub fn by_gnu_tar(image: &Image) -> Self {
        let work = scratch();
        let layout = gzip_layout(&work, &image.reference());
        let root = work.path().join("rootfs");
        std::fs::create_dir(&root).expect("a new directory");
        let layers = layers(&layout);
        assert_eq!(layers.len(), 1, "GNU tar knows no whiteouts");
        let tar = Command::new("tar").args([
            "-xz",
            "-p",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-C",
        ]);
        tar.arg(&root).arg("-f").arg(&layers[0]).run().expect_ok();
        Self { listing: Listing::of(&root), named: named(&layout) }
    }

    /// The embedded container `name` of `root` must equal this, plus its recorded mount targets, minus what it
    /// recorded as left out.
    ///
    /// # Panics
    /// With the differences.
    #[track_caller]
    pub fn expect_embedded(mut self, root: &Root, name: &str) {
        let record = root.record(name);
        for path in recorded(&record["tree"]["left_out"]) {
            let gone = self.listing.remove(&path);
            let special = gone.is_some_and(|entry| matches!(entry.kind, Kind::Special(..)));
            assert!(special, "{} was left out, but umoci made no special file of it", path.escape_ascii());
        }
        let special = self.listing.paths().find(|path| self.is_special(path)).map(<[u8]>::to_vec);
        assert_eq!(special, None, "a special file was not recorded as left out");
        let mut embedded = Listing::of(&root.bundle(name).join("rootfs"));
        for path in recorded(&record["tree"]["mount_targets"]) {
            assert!(
                self.listing.get(&path).is_none(),
                "mount target {} is the image's own",
                path.escape_ascii()
            );
            expect_mount_target(&path, embedded.remove(&path));
        }
        if !self.named.contains(&Vec::new()) {
            // No entry is the root itself: its mode and owner are nobody's word.
            self.listing.remove(b"");
            embedded.remove(b"");
        }
        embedded.expect_same(&self.listing, Mtimes::Of(&self.named));
    }

    fn is_special(&self, path: &[u8]) -> bool {
        self.listing.get(path).is_some_and(|entry| matches!(entry.kind, Kind::Special(..)))
    }
}

#[track_caller]
fn expect_mount_target(path: &[u8], entry: Option<crate::listing::Entry>) {
    let path = path.escape_ascii();
    let Some(entry) = entry else { panic!("mount target {path} is recorded, but not there") };
    let plain = match entry.kind {
        Kind::Directory => true,
        Kind::File { bytes, .. } => bytes == 0,
        Kind::Link(_) | Kind::Special(..) => false,
    };
    // A tmpfs takes the mode of what it is mounted on, so those that all may write to are made for all.
    let modes = match path.to_string().as_str() {
        "tmp" | "var/tmp" | "dev/shm" => [0o1777, 0o755],
        _ => [0o755, 0o644],
    };
    let ours = plain && entry.owner == (0, 0) && entry.xattrs.is_empty() && modes.contains(&entry.mode);
    assert!(ours, "mount target {path} is {entry:?}");
}

/// Paths of a record: strings, or objects with `path`; `/` in front, bytes that are not UTF-8 as `\xff`.
fn recorded(list: &serde_json::Value) -> Vec<Vec<u8>> {
    let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |entry: &serde_json::Value| entry.as_str().or(entry["path"].as_str()).map(str::to_owned);
    entries
        .iter()
        .map(|entry| {
            let path = text(entry).unwrap_or_else(|| panic!("a record's path is {entry}"));
            unescape(path.strip_prefix('/').unwrap_or_else(|| panic!("a record's path is {path}")))
        })
        .collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or_else(|| panic!("a record's path has {part:?} behind \\x")));
        bytes.extend(&part.as_bytes()[2..]);
    }
    bytes
}

/// The image as an OCI layout with gzip layers, tagged `x`.
fn gzip_layout(work: &TempDir, reference: &str) -> PathBuf {
    let layout = work.path().join("layout");
    let to = format!("oci:{}:x", layout.display());
    // skopeo takes a layout's digest or tag as it is, but packs with zstd again unless told.
    let skopeo =
        Command::new("skopeo").args(["copy", "-q", "--dest-compress-format", "gzip", reference, &to]);
    skopeo.run().expect_ok();
    layout
}

fn python(layout: &Path, verb: &str) -> Vec<u8> {
    let script = source_dir().join("tests/support/layers.py");
    Command::new("/usr/bin/python3").arg(script).arg(verb).arg(layout).run().expect_ok().bytes().to_vec()
}

fn fields(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes.strip_suffix(b"\0").into_iter().flat_map(|bytes| bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec))
}

fn named(layout: &Path) -> BTreeSet<Vec<u8>> {
    fields(&python(layout, "named")).collect()
}

fn layers(layout: &Path) -> Vec<PathBuf> {
    let path = |bytes: Vec<u8>| PathBuf::from(String::from_utf8(bytes).expect("a layer's path is UTF-8"));
    fields(&python(layout, "layers")).map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_paths_are_bytes() {
        let record = serde_json::json!([{"path": "/dev/null"}, "/a b", "/x\\xff\\xfe"]);
        assert_eq!(recorded(&record), [&b"dev/null"[..], b"a b", b"x\xff\xfe"].map(<[u8]>::to_vec));
        assert_eq!(recorded(&serde_json::Value::Null), Vec::<Vec<u8>>::new());
    }
}
