//! A tar stream of any dialect, read member by member: ustar, GNU, PAX and what came before (POSIX.1-2017, pax;
//! GNU tar manual, "Tar Internals").
//!
//! tar-core parses headers; what it leaves open is decided here: global headers, times, attributes, whether a header
//! that should have no content has some, truncation.

use anyhow::{Context, Result, bail, ensure};
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, HEADER_SIZE, Header, SparseEntry};

use super::pax::Globals;
use crate::tree::path::{LONGEST_PATH, quoted};
use crate::tree::{Mtime, SpecialKind, Xattrs};

/// How much is asked for at once when a header with its extensions does not lie in one chunk.
const STEP: usize = 64 << 10;

/// Where the bytes of a tar stream come from.
pub(crate) trait Chunks {
    /// The next bytes, not empty; `None` at the end. `spent` is a buffer that may be used again.
    fn next(&mut self, spent: Vec<u8>) -> Result<Option<Vec<u8>>>;

    /// Leaves out up to `bytes` bytes if that is cheaper than reading them, and tells how many.
    fn skip(&mut self, bytes: u64) -> u64 {
        let _ = bytes;
        0
    }
}

impl<C: Chunks> Chunks for &mut C {
    fn next(&mut self, spent: Vec<u8>) -> Result<Option<Vec<u8>>> {
        (**self).next(spent)
    }

    fn skip(&mut self, bytes: u64) -> u64 {
        (**self).skip(bytes)
    }
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    HardLink,
    Special(SpecialKind),
}

/// One member of a tar stream, without its content.
#[derive(Debug)]
pub(crate) struct Member {
    /// As the stream has it, not checked.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permissions, setuid, setgid and sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Mtime,
    pub(crate) xattrs: Xattrs,
    /// Target of a link, not checked; else empty.
    pub(crate) link: Vec<u8>,
    /// Length of the content, holes included; 0 for all but files.
    pub(crate) size: u64,
    /// Where a sparse file has data.
    sparse: Option<Vec<SparseEntry>>,
}

impl Member {
    /// Bytes of its content that the stream does not have.
    pub(crate) fn hole_bytes(&self) -> u64 {
        let stored = |parts: &Vec<SparseEntry>| parts.iter().map(|part| part.length).sum::<u64>();
        self.sparse.as_ref().map_or(0, |parts| self.size.saturating_sub(stored(parts)))
    }

    /// Whether its content has holes, so that the stream does not have it in one piece.
    pub(crate) fn is_sparse(&self) -> bool {
        self.sparse.is_some()
    }
}

/// A piece of a file's content.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Bytes(&'a [u8]),
    /// So many bytes of zero.
    Hole(u64),
}

/// Reads the members of a tar stream.
pub(crate) struct TarStream<C> {
    chunks: C,
    buffer: Vec<u8>,
    start: usize,
    parser: Parser,
    globals: Globals,
    /// Bytes of the current member's content, and of its padding, that were not read.
    content: u64,
    padding: u64,
    /// Bytes taken from the stream.
    position: u64,
}

impl<C: Chunks> TarStream<C> {
    pub(crate) fn new(chunks: C) -> Self {
        let limits = Limits {
            max_path_len: u32::try_from(LONGEST_PATH).ok(),
            max_sparse_entries: 100_000,
            ..Limits::default()
        };
        let mut parser = Parser::new(limits);
        // It knows no times before 1970; `pax` reads these records again, strictly.
        parser.set_ignore_pax_errors(true);
        Self {
            chunks,
            buffer: Vec::new(),
            start: 0,
            parser,
            globals: Globals::default(),
            content: 0,
            padding: 0,
            position: 0,
        }
    }

    /// The next member, once the last one's content was read or is of no interest; `None` at the end of the
    /// archive. A missing end mark is no error, a cut-off member is.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        self.pass_over()?;
        let mut wanted = HEADER_SIZE;
        loop {
            let ready = self.fill(wanted)?;
            if ready < wanted.min(HEADER_SIZE) || ready == 0 {
                ensure!(self.rest().iter().all(|&byte| byte == 0), "its last header is cut off");
                return Ok(None);
            }
            // Its error spells its cause already.
            let event = self.parser.parse(&self.buffer[self.start..]);
            match event.map_err(|error| anyhow::Error::msg(error.to_string()))? {
                ParseEvent::NeedData { min_bytes } => {
                    if ready < min_bytes && self.fill(min_bytes + STEP)? < min_bytes {
                        ensure!(self.rest().iter().all(|&byte| byte == 0), "its last header is cut off");
                        return Ok(None);
                    }
                    wanted = min_bytes;
                }
                ParseEvent::GlobalExtensions { consumed, pax_data } => {
                    let own = (HEADER_SIZE + pax_data.len()).next_multiple_of(HEADER_SIZE);
                    ensure!(consumed == own, "a global extended header stands between an entry and its own");
                    self.globals.take(pax_data)?;
                    self.take(consumed);
                    wanted = HEADER_SIZE;
                }
                ParseEvent::End { consumed } => {
                    self.take(consumed);
                    return Ok(None);
                }
                ParseEvent::Entry { consumed, entry } => {
                    let stored = entry.size;
                    let member = member(&entry, &self.globals, None).with_context(|| named(&entry.path))?;
                    self.take(consumed);
                    return self.begin(member, stored).map(Some);
                }
                ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                    let sparse = Some((sparse_map, real_size));
                    let member = member(&entry, &self.globals, sparse).with_context(|| named(&entry.path))?;
                    let stored = member.sparse.iter().flatten().map(|part| part.length).sum();
                    self.take(consumed);
                    return self.begin(member, stored).map(Some);
                }
            }
        }
    }

    /// Reads the current member's content into `sink`, piece by piece.
    pub(crate) fn content(
        &mut self,
        member: &Member,
        mut sink: impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(parts) = &member.sparse else {
            return self.pieces(self.content, &mut sink);
        };
        let mut at = 0;
        for part in parts {
            if part.offset > at {
                sink(Piece::Hole(part.offset - at))?;
            }
            self.pieces(part.length, &mut sink)?;
            at = part.offset + part.length;
        }
        if member.size > at {
            sink(Piece::Hole(member.size - at))?;
        }
        Ok(())
    }

    /// Where the current member's content begins, counted from the stream's first byte; before any of it was read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Reads what follows the end of the archive, so that the whole stream was read.
    pub(crate) fn finish(mut self) -> Result<()> {
        let mut spent = self.buffer;
        while let Some(chunk) = self.chunks.next(std::mem::take(&mut spent))? {
            spent = chunk;
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn take(&mut self, count: usize) {
        self.start += count;
        self.position += count as u64;
    }

    /// Has at least `count` bytes ready in one piece, unless the stream ends before; tells how many are.
    fn fill(&mut self, count: usize) -> Result<usize> {
        while self.rest().len() < count {
            if self.start == self.buffer.len() {
                let spent = std::mem::take(&mut self.buffer);
                self.start = 0;
                match self.chunks.next(spent)? {
                    Some(chunk) => self.buffer = chunk,
                    None => break,
                }
            } else {
                let Some(chunk) = self.chunks.next(Vec::new())? else { break };
                self.buffer.drain(..self.start);
                self.start = 0;
                self.buffer.extend_from_slice(&chunk);
            }
        }
        Ok(self.rest().len())
    }

    fn pieces(&mut self, count: u64, sink: &mut impl FnMut(Piece<'_>) -> Result<()>) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let ready = self.fill(1)?;
            if ready == 0 {
                bail!("it is cut off {left} bytes before its end");
            }
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(ready);
            sink(Piece::Bytes(&self.buffer[self.start..self.start + piece]))?;
            self.take(piece);
            left -= piece as u64;
            self.content -= piece as u64;
        }
        Ok(())
    }

    /// Leaves out the rest of the current member.
    fn pass_over(&mut self) -> Result<()> {
        let mut left = self.content + self.padding;
        while left > 0 {
            let ready = self.rest().len() as u64;
            if ready == 0 {
                let skipped = self.chunks.skip(left);
                self.position += skipped;
                left -= skipped;
                if left == 0 {
                    break;
                }
                if self.fill(1)? == 0 {
                    // Only the padding of the last member may be missing.
                    ensure!(
                        left <= self.padding,
                        "it is cut off {} bytes before its end",
                        left - self.padding
                    );
                    break;
                }
                continue;
            }
            let piece = left.min(ready);
            // Both are at most the buffer's length.
            self.take(usize::try_from(piece).unwrap_or_default());
            left -= piece;
        }
        (self.content, self.padding) = (0, 0);
        Ok(())
    }

    fn begin(&mut self, member: Member, stored: u64) -> Result<Member> {
        let stored = if member.kind != Kind::File && stored > 0 && self.at_header()? { 0 } else { stored };
        let block = HEADER_SIZE as u64;
        self.padding = stored.next_multiple_of(block) - stored;
        self.content = stored;
        Ok(member)
    }

    /// Whether a header comes next, or nothing. Old writers give a link the size of what it links to, and no content;
    /// others do write it (pax -o linkdata). libarchive tells them apart in the same way.
    fn at_header(&mut self) -> Result<bool> {
        self.fill(HEADER_SIZE)?;
        let Some(block) = self.rest().first_chunk::<HEADER_SIZE>() else { return Ok(true) };
        Ok(block.iter().all(|&byte| byte == 0) || Header::from_bytes(block).verify_checksum().is_ok())
    }
}

fn named(name: &[u8]) -> String {
    format!("entry {}", quoted(name))
}

/// Checks a parsed header and takes what we keep of it.
fn member(
    entry: &ParsedEntry<'_>,
    globals: &Globals,
    sparse: Option<(Vec<SparseEntry>, u64)>,
) -> Result<Member> {
    let extended = globals.extend(entry.pax)?;
    let kind = kind(entry)?;
    if extended.size.is_none() {
        let field = &entry.header.as_ustar().size;
        ensure!(
            field[0] & 0x80 == 0 || (field[0] & 0x7f == 0 && field[1..4] == [0; 3]),
            "its size is negative or above 2^64"
        );
    }
    ensure!(entry.size <= i64::MAX as u64, "its size of {} bytes is more than a file can have", entry.size);
    let mut size = if kind == Kind::File { entry.size } else { 0 };
    let mut parts = None;
    if let Some((map, real_size)) = sparse {
        ensure!(kind == Kind::File, "it is sparse and no regular file");
        check_sparse(&map, real_size, entry.size, extended.sparse_1_0 && extended.size.is_some())?;
        size = real_size;
        parts = Some(map);
    }
    // Base-256 times before 1970 come as two's complement.
    let mtime = Mtime { seconds: entry.mtime.cast_signed(), nanoseconds: 0 };
    Ok(Member {
        name: entry.path.to_vec(),
        kind,
        mode: (entry.mode & 0o7777) as u16,
        uid: extended.uid.map_or_else(|| owner(entry.uid, "owner"), Ok)?,
        gid: extended.gid.map_or_else(|| owner(entry.gid, "group"), Ok)?,
        mtime: extended.mtime.unwrap_or(mtime),
        xattrs: extended.xattrs,
        link: entry.link_target.as_deref().unwrap_or_default().to_vec(),
        size,
        sparse: parts,
    })
}

/// 2³²−1 is no owner: chown(2) takes it for "leave as it is".
fn owner(id: u64, what: &str) -> Result<u32> {
    let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    id.with_context(|| format!("its {what} is not a number below 2^32-1"))
}

fn kind(entry: &ParsedEntry<'_>) -> Result<Kind> {
    let flag = entry.header.as_ustar().typeflag[0];
    let what = match entry.entry_type {
        // Before 1988 there was no type for directories.
        EntryType::Regular if entry.path.ends_with(b"/") => return Ok(Kind::Dir),
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => return Ok(Kind::File),
        EntryType::Directory => return Ok(Kind::Dir),
        EntryType::Symlink => return Ok(Kind::Symlink),
        EntryType::Link => return Ok(Kind::HardLink),
        EntryType::Char => return Ok(Kind::Special(SpecialKind::CharacterDevice)),
        EntryType::Block => return Ok(Kind::Special(SpecialKind::BlockDevice)),
        EntryType::Fifo => return Ok(Kind::Special(SpecialKind::Fifo)),
        EntryType::Other(b'D') => "a GNU dump directory",
        EntryType::Other(b'M') => "the rest of a file from another volume",
        EntryType::Other(b'N') => "an old GNU long name",
        EntryType::Other(b'V') => "a GNU volume label",
        EntryType::Other(b'X') => "an old Solaris extended header",
        _ => "unknown",
    };
    bail!("its type {} is {what}, which layers don't have", quoted(&[flag]))
}

/// Parts lie in order, within the file, and their lengths are what is stored.
fn check_sparse(map: &[SparseEntry], real_size: u64, stored: u64, stored_counts_map: bool) -> Result<()> {
    let (mut at, mut length) = (0, 0u64);
    for part in map {
        let end = part.offset.checked_add(part.length).filter(|end| *end <= real_size && part.offset >= at);
        at = end.context("its sparse map has parts that overlap or lie outside of the file")?;
        length += part.length;
    }
    ensure!(real_size <= i64::MAX as u64, "its size of {real_size} bytes is more than a file can have");
    // With a PAX size (files above 8 GiB) format 1.0 counts the map too, which was read already.
    let map_counted =
        stored_counts_map && stored > length && (stored - length).is_multiple_of(HEADER_SIZE as u64);
    ensure!(
        stored == length || map_counted,
        "its sparse map has {length} bytes of data, and {stored} are stored"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
