//! Layers that earlier composes imported, in the repository: `extensions/sysctr/layers` (docs/format.md, "The layer cache").
//!
//! An entry tells what reading the layer would give, and which objects its contents are. It is a help and nothing more: one
//! that is missing, broken or made otherwise counts as none, and the layer is read. Entries are renamed into place whole,
//! so neither writers nor readers need a lock.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::object::ObjectKind;
use super::repo::{Objects, exists, loose_path, names};
use crate::digest::Digest;
use crate::image::flatten::{Cost, READING, ReadLayer};
use crate::tree::diff::text;
use crate::tree::{ContentId, Entry, LayerDiff, Leaf};

const DIRECTORY: [&str; 3] = ["extensions", "sysctr", "layers"];
const MAGIC: &[u8; 8] = b"sysctrL\n";
/// Of what follows the magic bytes and the witnesses.
const FORMAT: u32 = 1;
/// Objects that pruning looks for.
pub(super) const WITNESSES: usize = 16;
/// Entries that are looked at when one commit ends.
const LOOKED_AT: usize = 64;
/// How entries are compressed: fast, since there is one for each layer that is read.
pub(super) const LEVEL: i32 = 1;
/// More than any layer that the default limits let through.
const MAX_BYTES: u64 = 4 << 30;

/// Which layer, and with which SELinux label its objects were made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) diff_id: Digest,
    pub(super) label: Option<Vec<u8>>,
}

/// What is known of a layer.
#[derive(Debug)]
pub(super) struct Known {
    /// Compressed: a line about the layer, then the lines of its value.
    pub(super) text: Vec<u8>,
    /// Of every file that has a content, in the layer's order: its ordinal, and its object.
    pub(super) objects: Vec<(u32, Digest)>,
}

/// Tells which layers a repository knows.
#[derive(Debug)]
pub struct KnownLayers<'a> {
    repo: BorrowedFd<'a>,
    label: Option<Vec<u8>>,
}

impl<'a> KnownLayers<'a> {
    /// For objects with this label, in the repository whose directory is `repo`.
    pub fn new(repo: BorrowedFd<'a>, label: Option<&[u8]>) -> Self {
        Self { repo, label: label.map(<[u8]>::to_vec) }
    }

    /// Whether it has an entry for that layer. That the entry and its objects are whole is not looked at.
    pub fn has(&self, diff_id: &Digest) -> bool {
        let key = Key { diff_id: *diff_id, label: self.label.clone() };
        open(self.repo, &key).is_some()
    }
}

impl Key {
    /// `DIFF_ID-KEY`, where KEY are 16 digits over all else that decides what the entry says.
    fn file_name(&self) -> String {
        let other = Digest::of(&self.first_line(Cost::default())).hex();
        format!("{}-{}", self.diff_id.hex(), &other[..16])
    }

    fn first_line(&self, cost: Cost) -> Vec<u8> {
        let label = self.label.as_deref().unwrap_or(b"-").escape_ascii();
        let (entries, bytes) = (cost.entries, cost.bytes);
        format!("layer {FORMAT} {} {READING} {entries} {bytes} {label}\n", self.diff_id).into_bytes()
    }

    /// What the layer costs, by the line about it that a text begins with; `None` if it is another line.
    pub(super) fn cost(&self, line: &[u8]) -> Option<Cost> {
        cost_of(line).ok().filter(|cost| line == self.first_line(*cost))
    }

    /// The compressed text of a layer that was read.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write_text(&self, read: &ReadLayer, level: i32, out: impl Write) -> Result<()> {
        let mut out = zstd::Encoder::new(out, level)?;
        out.write_all(&self.first_line(read.cost))?;
        text::write_to(&read.diff, &mut out)?;
        out.finish()?.flush()?;
        Ok(())
    }
}

impl Key {
    /// What [`Self::write_text`] wrote of this layer; `id` numbers the files that have a content.
    ///
    /// # Errors
    /// When it is about another layer, or was made otherwise.
    pub(super) fn read_text(
        &self,
        text: &[u8],
        mut id: impl FnMut() -> Result<ContentId>,
    ) -> Result<ReadLayer> {
        let mut text = BufReader::new(zstd::Decoder::new(text)?).take(MAX_BYTES);
        let mut first = Vec::new();
        text.read_until(b'\n', &mut first)?;
        let cost = self.cost(&first).context("it is about another layer")?;
        let mut diff = text::read(&mut text)?;
        for (_, entry) in &mut diff.added {
            if let Entry::Leaf(Leaf::File { size: 1.., content, .. }) = entry {
                *content = Some(id()?);
            }
        }
        Ok(ReadLayer { diff, cost })
    }
}

fn cost_of(line: &[u8]) -> Result<Cost> {
    let mut numbers = std::str::from_utf8(line)?.split(' ').skip(4);
    let mut number = || numbers.next().context("a number is missing")?.parse().context("a number is none");
    Ok(Cost { entries: number()?, bytes: number()? })
}

/// The ordinals of all files that have a content, in the layer's order.
pub(super) fn ordinals(diff: &LayerDiff) -> Vec<u32> {
    let content = |entry: &Entry| match entry {
        Entry::Leaf(Leaf::File { content, .. }) => content.map(|id| id.ordinal),
        _ => None,
    };
    diff.added.iter().filter_map(|(_, entry)| content(entry)).collect()
}

impl Known {
    /// The layer that `key` asks for, as number `layer` of its image.
    ///
    /// # Errors
    /// When this is another one, or was made otherwise.
    pub(super) fn layer(&self, key: &Key, layer: u16) -> Result<ReadLayer> {
        let mut objects = self.objects.iter();
        let read = key.read_text(&self.text, || {
            let (ordinal, _) = objects.next().context("it has fewer objects than files")?;
            Ok(ContentId { layer, ordinal: *ordinal })
        })?;
        ensure!(objects.next().is_none(), "it has more objects than files");
        Ok(read)
    }

    fn to_bytes(&self, witnesses: &[Digest]) -> Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&u32::try_from(witnesses.len())?.to_be_bytes());
        witnesses.iter().for_each(|witness| bytes.extend_from_slice(witness.as_bytes()));
        bytes.extend_from_slice(&u32::try_from(self.objects.len())?.to_be_bytes());
        for (ordinal, object) in &self.objects {
            bytes.extend_from_slice(&ordinal.to_be_bytes());
            bytes.extend_from_slice(object.as_bytes());
        }
        bytes.extend_from_slice(&self.text);
        bytes.extend_from_slice(Digest::of(&bytes).as_bytes());
        Ok(bytes)
    }

    /// `None` when it is not as it was written.
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        let mut rest = body.strip_prefix(MAGIC)?;
        if Digest::of(body).as_bytes() != digest {
            return None;
        }
        let witnesses = number(&mut rest)?;
        rest = rest.get(witnesses.checked_mul(32)?..)?;
        let mut objects = Vec::new();
        for _ in 0..number(&mut rest)? {
            let ordinal = u32::try_from(number(&mut rest)?).ok()?;
            let (object, after) = rest.split_first_chunk::<32>()?;
            objects.push((ordinal, Digest::from_bytes(*object)));
            rest = after;
        }
        Some(Self { text: rest.to_vec(), objects })
    }
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

/// The directory of entries.
fn directory(repo: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir =
        repo.try_clone_to_owned().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    for name in DIRECTORY {
        dir = rustix::fs::openat(&dir, name, flags, Mode::empty())?;
    }
    Ok(dir)
}

fn open(repo: BorrowedFd<'_>, key: &Key) -> Option<std::fs::File> {
    let dir = directory(repo).ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, key.file_name(), flags, Mode::empty()).ok().map(Into::into)
}

/// What the repository knows of a layer; whatever is wrong with an entry, there is none.
pub(super) fn read(repo: BorrowedFd<'_>, key: &Key) -> Option<Known> {
    let mut bytes = Vec::new();
    open(repo, key)?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Known::of_bytes(&bytes)
}

/// Puts an entry into the repository, by way of staging. `witnesses` are some of its objects that the repository has, not more
/// than [`WITNESSES`].
///
/// # Errors
/// When it can't be written. What was there before is there still.
pub(super) fn write(objects: &Objects, key: &Key, known: &Known, witnesses: &[Digest]) -> Result<()> {
    let name = key.file_name();
    objects.stage(&name, |file| Ok(file.write_all(&known.to_bytes(witnesses)?)?))?;
    let mut dir = objects.repo.try_clone()?;
    for part in DIRECTORY {
        match rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o775)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("making directory {part}")),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, part, flags, Mode::empty())?;
    }
    rustix::fs::renameat(&objects.staging, &*name, dir, &*name)?;
    Ok(())
}

/// Removes entries of which an object is gone, as far as their witnesses tell, and what is none. Looks at a bounded number
/// of them, from `start` on in the order of their names and round; a digest as `start` lets every entry have its turn.
///
/// # Errors
/// When the directory can't be read.
pub(super) fn prune(objects: &Objects, start: &str) -> Result<()> {
    let dir = match directory(objects.repo.as_fd()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let ours = |name: &String| {
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        name.split_once('-')
            .is_some_and(|(one, two)| (one.len(), two.len()) == (64, 16) && hex(one) && hex(two))
    };
    let mut all: Vec<_> = names(&dir)?.into_iter().filter(ours).collect();
    all.sort_unstable();
    let first = all.partition_point(|name| &**name < start);
    for name in all[first..].iter().chain(&all[..first]).take(LOOKED_AT) {
        if is_dead(objects, &dir, name).unwrap_or(false) {
            match rustix::fs::unlinkat(&dir, &**name, rustix::fs::AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn is_dead(objects: &Objects, dir: &OwnedFd, name: &str) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    let mut head = Vec::new();
    file.take((MAGIC.len() + 4 + 32 * WITNESSES) as u64).read_to_end(&mut head)?;
    let Some(mut rest) = head.strip_prefix(MAGIC) else { return Ok(true) };
    let Some(count) = number(&mut rest).filter(|count| *count <= WITNESSES) else { return Ok(true) };
    let Some(witnesses) = rest.get(..32 * count) else { return Ok(true) };
    for witness in witnesses.as_chunks::<32>().0 {
        let path = loose_path(objects.mode, &Digest::from_bytes(*witness), ObjectKind::File);
        if !exists(&objects.objects, &path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
#[path = "layers_tests.rs"]
pub(super) mod tests;
