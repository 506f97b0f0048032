//! One layer: compressed bytes → what it does to the tree, while contents go to the store.
//!
//! Two threads share the work where there are cores: one reads, checks the blob's digest and decompresses, the other
//! checks the diff_id, reads the tar stream and stores. Chunks go between them; nothing else is held in memory.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::ResolvedImage;
use super::archive::Bytes;
use super::blob::{Verified, WrongBlob, retry};
use super::compression::{Decoder, Undecodable, Windows};
use super::contents::{ContentStore, ContentWriter, Cost, Limits, Progress, ReadLayer};
use super::tar::{Chunks, Kind, Member, Piece, TarStream};
use super::whiteout::Whiteout;
use crate::digest::{Digest, Hasher};
use crate::tree::path::{LONGEST_PATH, quoted};
use crate::tree::{ContentId, Entry, LayerDiff, Leaf, Stat, TreePath};

/// A multiple of tar's blocks, so that headers rarely lie across chunks.
const CHUNK: usize = 256 << 10;
/// Chunks that wait between the threads.
const WAITING: usize = 4;

/// What all layers may cost together, and whether it is worth going on.
pub(super) struct Budget {
    limits: Limits,
    entries: AtomicU64,
    bytes: AtomicU64,
    cancelled: AtomicBool,
}

/// Another layer failed.
#[derive(Debug, thiserror::Error)]
#[error("another layer failed")]
pub(super) struct Cancelled;

/// An error that has nothing to do with what the layer's bytes are, so that nobody looks for another reason in them.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    InLayer(anyhow::Error),
    /// To be passed through as it is.
    #[error(transparent)]
    Bare(anyhow::Error),
}

/// All that reading a layer needs.
pub(super) struct Job<'a, S, P> {
    pub(super) image: &'a ResolvedImage,
    pub(super) budget: Budget,
    pub(super) windows: Windows,
    pub(super) store: &'a S,
    pub(super) progress: &'a P,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        let (entries, bytes, cancelled) = Default::default();
        Self { limits, entries, bytes, cancelled }
    }

    /// Lets the readers of all layers end soon.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn spend(
        &self,
        counter: &AtomicU64,
        count: u64,
        limit: u64,
        what: impl Fn() -> String,
    ) -> Result<(), Stop> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Stop::Bare(Cancelled.into()));
        }
        let before = counter.fetch_add(count, Ordering::Relaxed);
        if before.saturating_add(count) > limit {
            return Err(Stop::InLayer(anyhow::Error::msg(what())));
        }
        Ok(())
    }

    fn entries(&self, count: u64) -> Result<(), Stop> {
        let limit = self.limits.max_entries;
        self.spend(&self.entries, count, limit, || {
            format!("the layers have more than {limit} entries; raise --max-entries")
        })
    }

    fn bytes(&self, count: u64) -> Result<(), Stop> {
        let limit = self.limits.max_bytes;
        self.spend(&self.bytes, count, limit, || {
            format!("the layers unpack to more than {limit} bytes; raise --max-bytes")
        })
    }
}

/// For messages.
pub(super) fn context(image: &ResolvedImage, index: usize) -> String {
    format!("reading layer {} of {} ({})", index + 1, image.layer_count(), image.layer_name(index))
}

fn in_layer(image: &ResolvedImage, index: usize, error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Stop>() {
        Ok(Stop::Bare(error)) => error,
        Ok(Stop::InLayer(error)) | Err(error) => error.context(context(image, index)),
    }
}

impl<S: ContentStore, P: Progress> Job<'_, S, P> {
    /// Reads layer `index`. All its digests were right then.
    pub(super) fn read(&self, index: usize) -> Result<LayerDiff> {
        let image = self.image;
        self.progress.layer(index, image.layer_count(), image.layer_size(index));
        let read = self.read_checked(index).map_err(|error| in_layer(image, index, error))?;
        self.store.learn(u16::try_from(index)?, &image.config.diff_ids[index], &read);
        self.progress.done(index);
        Ok(read.diff)
    }

    /// Layer `index`, if the store knows it; it costs what it cost to read.
    pub(super) fn recall(&self, index: usize) -> Result<Option<LayerDiff>> {
        let image = self.image;
        let recalled = self.store.recall(u16::try_from(index)?, &image.config.diff_ids[index])?;
        let Some(ReadLayer { diff, cost }) = recalled else { return Ok(None) };
        let spent = self.budget.entries(cost.entries).and_then(|()| self.budget.bytes(cost.bytes));
        spent.map_err(|stop| in_layer(image, index, stop.into()))?;
        self.progress.layer(index, image.layer_count(), image.layer_size(index));
        self.progress.done(index);
        Ok(Some(diff))
    }

    fn read_checked(&self, index: usize) -> Result<ReadLayer> {
        let decoder = Decoder::new(self.image.open_layer(index)?, &self.windows)?;
        let pump = Pump { decoder, job: self, index, reported: 0 };
        let (read, found) =
            if self.budget.limits.jobs > 1 { self.in_two_threads(pump)? } else { self.in_one_thread(pump)? };
        let expected = self.image.config.diff_ids[index];
        ensure!(
            found == expected,
            "its uncompressed bytes have the digest {found}, the image configuration has the diff_id {expected}"
        );
        Ok(read)
    }

    fn in_one_thread(&self, mut pump: Pump<'_, S, P>) -> Result<(ReadLayer, Digest)> {
        let index = pump.index;
        let mut pumped = Ok(());
        let mut hashed = Hashed::new(|spent| {
            // As for the other thread, the stream ends where reading it failed.
            Ok(pump.next(spent).unwrap_or_else(|error| {
                pumped = Err(error);
                None
            }))
        });
        let parsed = self.parse(index, &mut hashed);
        let (parsed, found) = counted(parsed, hashed.hasher);
        if parsed.as_ref().is_err_and(anyhow::Error::is::<Stop>) {
            pumped?;
        } else {
            pump.settle(pumped)?;
        }
        Ok((parsed?, found))
    }

    fn in_two_threads(&self, mut pump: Pump<'_, S, P>) -> Result<(ReadLayer, Digest)> {
        let index = pump.index;
        let (filled_in, filled_out) = sync_channel(WAITING);
        let (spent_in, spent_out) = channel();
        let abandoned = &AtomicBool::new(false);
        let (pumped, parsed, found) = thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let pumped = pump.run(filled_in, &spent_out);
                if abandoned.load(Ordering::Acquire) { pumped } else { pump.settle(pumped) }
            });
            let mut hashed = Hashed::new(|spent| {
                // Nobody takes spent buffers at the end.
                spent_in.send(spent).unwrap_or_default();
                Ok(filled_out.recv().ok())
            });
            let parsed = self.parse(index, &mut hashed);
            if parsed.as_ref().is_err_and(anyhow::Error::is::<Stop>) {
                abandoned.store(true, Ordering::Release);
            }
            let (parsed, found) = counted(parsed, hashed.hasher);
            drop(filled_out);
            (reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), parsed, found)
        });
        // A stream that ended early looks cut off to the other side.
        pumped?;
        Ok((parsed?, found))
    }

    /// Reads the tar stream to the end of its bytes, which are not counted among what it costs.
    fn parse(&self, index: usize, chunks: &mut impl Chunks) -> Result<ReadLayer> {
        let mut stream = TarStream::new(chunks);
        let mut diff = LayerDiff::default();
        let (mut ordinal, mut holes) = (0, 0);
        while let Some(member) = stream.next()? {
            self.budget.entries(1)?;
            let path = TreePath::parse(&member.name)?;
            match Whiteout::of(&path)? {
                Whiteout::No => {
                    holes += if matches!(member.kind, Kind::File) { member.hole_bytes() } else { 0 };
                    let layer = u16::try_from(index)?;
                    let entry = self.entry(&mut stream, member, &path, ContentId { layer, ordinal });
                    diff.added.push((path.clone(), entry.with_context(|| format!("entry {path}"))?));
                }
                Whiteout::Path(path) => drop(diff.removed.insert(path)),
                Whiteout::Opaque(path) => drop(diff.opaque.insert(path)),
                Whiteout::Aufs => {}
            }
            ordinal += 1;
        }
        stream.finish()?;
        diff.added.shrink_to_fit();
        Ok(ReadLayer { diff, cost: Cost { entries: ordinal.into(), bytes: holes } })
    }

    fn entry(
        &self,
        stream: &mut TarStream<impl Chunks>,
        mut member: Member,
        path: &TreePath,
        id: ContentId,
    ) -> Result<Entry> {
        let xattrs = std::mem::take(&mut member.xattrs);
        let mut stat = Stat {
            uid: member.uid,
            gid: member.gid,
            mode: member.mode,
            mtime: Some(member.mtime),
            xattrs: (!xattrs.is_empty()).then(|| Box::new(xattrs)),
        };
        Ok(match member.kind {
            Kind::Dir => Entry::Dir(stat),
            Kind::Special(kind) => Entry::LeftOut(kind),
            Kind::HardLink => {
                Entry::HardLink(TreePath::parse(&member.link).context("its hard link leads nowhere")?)
            }
            Kind::Symlink => {
                let target = member.link;
                let fit = !target.is_empty() && target.len() <= LONGEST_PATH && !target.contains(&0);
                ensure!(fit, "no symbolic link can have the target {}", quoted(&target));
                stat.mode = 0o777;
                Entry::Leaf(Leaf::Symlink { stat, target: target.into() })
            }
            Kind::File => {
                let digest = self.content(stream, &member, &stat, path, id)?;
                let content = (member.size > 0).then_some(id);
                Entry::Leaf(Leaf::File { stat, size: member.size, digest, content })
            }
        })
    }

    /// Hands a file's content to the store.
    fn content(
        &self,
        stream: &mut TarStream<impl Chunks>,
        member: &Member,
        stat: &Stat,
        path: &TreePath,
        id: ContentId,
    ) -> Result<Digest> {
        let mut hasher = Hasher::default();
        if member.size == 0 {
            return Ok(hasher.finish());
        }
        // The bytes that are there count as they are read; those that are only said to be, at once.
        self.budget.bytes(member.hole_bytes())?;
        if member.size > self.budget.limits.max_bytes {
            self.budget.bytes(member.size)?;
        }
        let stored = |error: anyhow::Error| Stop::InLayer(error.context(format!("storing {path}")));
        let mut writer = self.store.begin(id, path, member.size, stat).map_err(stored)?;
        stream.content(member, |piece| {
            match piece {
                Piece::Bytes(bytes) => {
                    hasher.update(bytes);
                    writer.write(bytes).map_err(stored)?;
                }
                Piece::Hole(bytes) => {
                    zeros(bytes, &mut hasher);
                    writer.hole(bytes).map_err(stored)?;
                }
            }
            Ok(())
        })?;
        let digest = hasher.finish();
        writer.finish(&digest).map_err(stored)?;
        Ok(digest)
    }
}

/// Adds the bytes that were read to what a layer costs.
fn counted(parsed: Result<ReadLayer>, hasher: Hasher) -> (Result<ReadLayer>, Digest) {
    let bytes = hasher.bytes();
    let parsed = parsed.map(|mut read| {
        read.cost.bytes += bytes;
        read
    });
    (parsed, hasher.finish())
}

fn zeros(mut count: u64, hasher: &mut Hasher) {
    static ZEROS: [u8; 8 << 10] = [0; 8 << 10];
    while count > 0 {
        let part = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(&ZEROS[..part]);
        count -= part as u64;
    }
}

/// Fills chunks with a layer's uncompressed bytes.
struct Pump<'a, S, P> {
    decoder: Decoder<'a, Verified<Bytes>>,
    job: &'a Job<'a, S, P>,
    index: usize,
    reported: u64,
}

impl<S: ContentStore, P: Progress> Pump<'_, S, P> {
    /// The next chunk: full, but for the last.
    fn next(&mut self, mut chunk: Vec<u8>) -> Result<Option<Vec<u8>>> {
        chunk.resize(CHUNK, 0);
        let mut filled = 0;
        while filled < CHUNK {
            match retry(|| self.decoder.read(&mut chunk[filled..])).map_err(explained)? {
                0 => break,
                read => filled += read,
            }
        }
        chunk.truncate(filled);
        self.job.budget.bytes(filled as u64)?;
        let read = self.decoder.source().get_ref().bytes_read();
        if read > self.reported {
            self.reported = read;
            self.job.progress.advance(self.index, read).map_err(Stop::Bare)?;
        }
        Ok((filled > 0).then_some(chunk))
    }

    /// Sends all chunks; ends early if nobody takes them.
    fn run(&mut self, filled: SyncSender<Vec<u8>>, spent: &Receiver<Vec<u8>>) -> Result<()> {
        while let Some(chunk) = self.next(spent.try_recv().unwrap_or_default())? {
            if filled.send(chunk).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Reads what is left of the blob, so that its digest is known. If that is wrong, it is the reason of whatever
    /// went wrong further on.
    fn settle(&mut self, result: Result<()>) -> Result<()> {
        if result.as_ref().is_err_and(anyhow::Error::is::<Stop>) {
            return result;
        }
        self.decoder.source_mut().drain()?;
        result
    }
}

/// Our own errors say what is wrong; a decompressor's or the kernel's do not say with what.
fn explained(error: io::Error) -> anyhow::Error {
    let own = error.get_ref().is_some_and(|inner| inner.is::<WrongBlob>() || inner.is::<Undecodable>());
    let error = anyhow::Error::new(error);
    if own { error } else { error.context("decompressing it") }
}

/// Digests the chunks that pass.
struct Hashed<F> {
    chunks: F,
    hasher: Hasher,
}

impl<F: FnMut(Vec<u8>) -> Result<Option<Vec<u8>>>> Hashed<F> {
    fn new(chunks: F) -> Self {
        Self { chunks, hasher: Hasher::default() }
    }
}

impl<F: FnMut(Vec<u8>) -> Result<Option<Vec<u8>>>> Chunks for Hashed<F> {
    fn next(&mut self, spent: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let chunk = (self.chunks)(spent)?;
        self.hasher.update(chunk.as_deref().unwrap_or_default());
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests;
