//! How far an image and each of its blobs are: bars, JSON lines (docs/format.md, "Progress"), or nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Read;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sysctr_core::digest::Digest;
use sysctr_core::progress::{FetchEvent, step, tell};

use super::Task;
use crate::progress::Reporter;

const BAR: &str = "{prefix:32} {wide_bar} {bytes:>10}/{total_bytes:10}";
/// Digits of a digest in a bar's name.
const DIGITS: usize = 12;

/// One image under way.
pub(super) struct Progress<'a> {
    reporter: &'a Reporter,
    task: &'a Task<'a>,
    image: String,
    total: u64,
    told: Cell<u64>,
    bar: Option<ProgressBar>,
    blobs: RefCell<BTreeMap<Digest, Blob>>,
}

/// One of its blobs.
struct Blob {
    told: u64,
    bar: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    /// An image of which `total` bytes are missing, as far as is known.
    pub(super) fn begin(reporter: &'a Reporter, task: &'a Task<'a>, total: u64) -> Self {
        let bar = bars(reporter).map(|bars| dressed(bars.add(ProgressBar::new(total)), name(task)));
        let (image, told, blobs) =
            (task.container.image.to_string(), Cell::new(0), RefCell::new(BTreeMap::new()));
        let progress = Self { reporter, task, image, total, told, bar, blobs };
        progress.tell("fetch", None, 0, total);
        progress
    }

    /// Whether anybody hears of it.
    pub(super) fn is_heard(&self) -> bool {
        !matches!(self.reporter, Reporter::Silent)
    }

    /// That many bytes of the image came so far.
    pub(super) fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
        if bytes.saturating_sub(self.told.get()) >= step(self.total) {
            self.told.set(bytes);
            self.tell("fetching", None, bytes, self.total);
        }
    }

    /// That many of a blob's `size` bytes came so far. One that begins anew is told of again when it is farther than before,
    /// and none is told to be whole here.
    pub(super) fn blob(&self, digest: Digest, bytes: u64, size: u64) {
        let mut blobs = self.blobs.borrow_mut();
        let is_new = !blobs.contains_key(&digest);
        let blob = blobs.entry(digest).or_insert_with(|| Blob { told: 0, bar: self.blob_bar(digest, size) });
        let bytes = bytes.min(size.saturating_sub(1));
        if let Some(bar) = &blob.bar {
            bar.set_position(bytes);
        }
        if is_new || bytes.saturating_sub(blob.told) >= step(size) {
            blob.told = blob.told.max(bytes);
            self.tell("blob", Some(digest), bytes, size);
        }
    }

    /// A blob is whole. It is told once.
    pub(super) fn whole(&self, digest: Digest, size: u64) {
        let before = self.blobs.borrow_mut().insert(digest, Blob { told: size, bar: None });
        if let Some(bar) = before.as_ref().and_then(|blob| blob.bar.as_ref()) {
            bar.finish_and_clear();
        }
        if before.is_none_or(|blob| blob.told < size) {
            self.tell("blob", Some(digest), size, size);
        }
    }

    /// The bytes of a blob, told of while they are read.
    pub(super) fn reading<R: Read>(
        &self,
        bytes: R,
        digest: Option<Digest>,
        size: u64,
    ) -> impl Read + use<'_, 'a, R> {
        Counted { progress: self, bytes, digest, size, count: 0 }
    }

    /// The image is in the cache; that many bytes are new there.
    pub(super) fn done(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.tell("fetched", None, bytes, self.total);
    }

    /// Below the image's own.
    fn blob_bar(&self, digest: Digest, size: u64) -> Option<ProgressBar> {
        let (bars, own) = (bars(self.reporter)?, self.bar.as_ref()?);
        let bar = bars.insert_after(own, ProgressBar::new(size));
        Some(dressed(bar, format!("  {}", &digest.hex()[..DIGITS])))
    }

    fn tell(&self, event: &'static str, blob: Option<Digest>, bytes: u64, total: u64) {
        if let Reporter::Json = self.reporter {
            let (container, architecture) =
                (self.task.container.name.as_str(), self.task.architecture.as_str());
            tell(&FetchEvent { event, container, architecture, image: &self.image, blob, bytes, total });
        }
    }
}

impl Drop for Progress<'_> {
    /// Bars of an image that failed don't stand in the way of the reason.
    fn drop(&mut self) {
        let blobs = self.blobs.borrow();
        let bars = blobs.values().filter_map(|blob| blob.bar.as_ref()).chain(&self.bar);
        bars.for_each(ProgressBar::finish_and_clear);
    }
}

fn bars(reporter: &Reporter) -> Option<&MultiProgress> {
    match reporter {
        Reporter::Bars(bars) => Some(bars),
        Reporter::Json | Reporter::Silent => None,
    }
}

fn name(task: &Task<'_>) -> String {
    format!("{} {}", task.container.name, task.architecture)
}

fn dressed(bar: ProgressBar, name: String) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).expect("a valid template");
    bar.with_style(style).with_prefix(name)
}

/// A reader that tells how far it is.
struct Counted<'p, 'a, R> {
    progress: &'p Progress<'a>,
    bytes: R,
    digest: Option<Digest>,
    size: u64,
    count: u64,
}

impl<R: Read> Read for Counted<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.bytes.read(buffer)?;
        self.count += count as u64;
        if let Some(digest) = self.digest.filter(|_| count > 0) {
            self.progress.blob(digest, self.count, self.size);
        }
        Ok(count)
    }
}
