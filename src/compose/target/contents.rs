//! The contents of an image's regular files on their way into the target: one file each, in a directory per layer, until
//! the tree says where they belong.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use sysctr_core::digest::Digest;
use sysctr_core::image::flatten::{ContentStore, ContentWriter};
use sysctr_core::tree::{ContentId, Stat, TreePath};

use super::beneath;
use super::journal::{read_at, write_all};

/// Short pieces are put together up to this before they are written.
const BUFFER: usize = 128 << 10;

/// The staged contents of one image, by [`ContentId`].
#[derive(Debug)]
pub struct StagedContents {
    dir: OwnedFd,
    layers: Mutex<BTreeMap<u16, Arc<OwnedFd>>>,
}

/// A staged content being written.
#[derive(Debug)]
pub struct StagedWriter {
    file: OwnedFd,
    size: u64,
    /// Bytes taken so far, those in `pending` included.
    taken: u64,
    pending: Vec<u8>,
    /// Whether the file is longer than what was written to it.
    ends_in_hole: bool,
}

/// The name of a content in its layer's directory.
pub(super) fn file_name(id: ContentId) -> String {
    id.ordinal.to_string()
}

/// The name of a layer's directory.
pub(super) fn layer_name(layer: u16) -> String {
    layer.to_string()
}

impl StagedContents {
    pub(super) fn new(dir: OwnedFd) -> Self {
        Self { dir, layers: Mutex::default() }
    }

    fn layer(&self, layer: u16) -> Result<Arc<OwnedFd>> {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dir) = layers.get(&layer) {
            return Ok(Arc::clone(dir));
        }
        let name = layer_name(layer);
        // Another set of handles may have made it already.
        let dir = match beneath::stat(&self.dir, &name)? {
            Some(_) => beneath::enter(&self.dir, &name)?,
            None => beneath::make_dir(&self.dir, &name, 0o700)?,
        };
        let dir = Arc::new(dir);
        layers.insert(layer, Arc::clone(&dir));
        Ok(dir)
    }

    /// Reads back a content of at most `max` bytes.
    pub(super) fn read(&self, id: ContentId, max: u64) -> Result<Vec<u8>> {
        let layer = self.layer(id.layer)?;
        match read_at(&layer, &file_name(id), max)? {
            Some(bytes) => Ok(bytes),
            None => bail!("entry {} of layer {} was not staged", id.ordinal, id.layer),
        }
    }
}

impl ContentStore for StagedContents {
    type Writer<'a> = StagedWriter;

    fn begin<'a>(&'a self, id: ContentId, _: &TreePath, size: u64, _: &Stat) -> Result<Self::Writer<'a>> {
        // A layer that is read again may write a content again.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The caller says whose content it is.
        let dir = self.layer(id.layer)?;
        let file = rustix::fs::openat(&*dir, file_name(id), flags, Mode::from_raw_mode(0o600))?;
        Ok(StagedWriter { file, size, taken: 0, pending: Vec::new(), ends_in_hole: false })
    }

    fn discard(&self, id: ContentId) -> Result<()> {
        let dir = self.layer(id.layer)?;
        match rustix::fs::unlinkat(&*dir, file_name(id), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).context("discarding a staged content"),
        }
    }
}

impl StagedWriter {
    fn flush(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            write_all(&self.file, &self.pending).context("writing a staged content")?;
            self.pending.clear();
        }
        Ok(())
    }

    fn take(&mut self, bytes: u64) -> Result<()> {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken > self.size {
            bail!("writing a staged content: {} bytes were begun, and more came", self.size);
        }
        Ok(())
    }
}

impl ContentWriter for StagedWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.take(bytes.len() as u64)?;
        self.ends_in_hole = false;
        let last = self.taken == self.size;
        if self.pending.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if self.pending.is_empty() && (last || bytes.len() >= BUFFER / 2) {
            return write_all(&self.file, bytes).context("writing a staged content");
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn hole(&mut self, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.flush()?;
        self.take(bytes)?;
        self.ends_in_hole = true;
        rustix::fs::seek(&self.file, SeekFrom::Start(self.taken)).context("leaving a hole")?;
        Ok(())
    }

    fn finish(mut self, _: &Digest) -> Result<()> {
        self.flush()?;
        if self.taken != self.size {
            bail!("finishing a staged content: {} of {} bytes came", self.taken, self.size);
        }
        if self.ends_in_hole {
            rustix::fs::ftruncate(&self.file, self.size).context("leaving a hole at the end")?;
        }
        Ok(())
    }
}
