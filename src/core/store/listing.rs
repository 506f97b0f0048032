//! What each layer of an image does, written down while the image is read (docs/format.md, "`layers.zst`"), so that somebody who
//! has the image's files need not have its layers.
//!
//! From the base upwards, a zstd frame for each layer with the text that the layer cache has of a layer without a label.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use super::layers::Key;
use crate::digest::Digest;
use crate::image::flatten::{ContentStore, ReadLayer};
use crate::tree::{ContentId, Stat, TreePath};

/// What zstd's own command line takes by default.
const LEVEL: i32 = 3;
/// More than the line about a layer has.
const MAX_HEAD: u64 = 256;

/// A store that writes down the layers that pass.
#[derive(Debug)]
pub struct Listed<'a, S> {
    store: &'a S,
    layers: Mutex<BTreeMap<u16, Result<Vec<u8>>>>,
}

impl<'a, S> Listed<'a, S> {
    /// Everything else is for `store`.
    pub fn over(store: &'a S) -> Self {
        Self { store, layers: Mutex::default() }
    }

    /// The listing of all layers that were read or recalled. Equal layers give equal bytes.
    ///
    /// # Errors
    /// When a layer could not be compressed.
    pub fn finish(self) -> Result<Vec<u8>> {
        let mut listing = Vec::new();
        for (number, layer) in self.layers.into_inner().unwrap_or_else(PoisonError::into_inner) {
            listing.extend(layer.with_context(|| format!("listing layer {}", number + 1))?);
        }
        Ok(listing)
    }

    fn list(&self, layer: u16, diff_id: &Digest, read: &ReadLayer) {
        let mut text = Vec::new();
        let written = key(diff_id).write_text(read, LEVEL, &mut text).map(|()| text);
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(layer, written);
    }
}

fn key(diff_id: &Digest) -> Key {
    Key { diff_id: *diff_id, label: None }
}

impl<S: ContentStore> ContentStore for Listed<'_, S> {
    type Writer<'w>
        = S::Writer<'w>
    where
        Self: 'w;

    fn begin<'w>(
        &'w self,
        id: ContentId,
        path: &TreePath,
        size: u64,
        stat: &Stat,
    ) -> Result<Self::Writer<'w>> {
        self.store.begin(id, path, size, stat)
    }

    fn discard(&self, id: ContentId) -> Result<()> {
        self.store.discard(id)
    }

    fn recall(&self, layer: u16, diff_id: &Digest) -> Result<Option<ReadLayer>> {
        let recalled = self.store.recall(layer, diff_id)?;
        if let Some(read) = &recalled {
            self.list(layer, diff_id, read);
        }
        Ok(recalled)
    }

    fn holds(&self, id: ContentId) -> Result<bool> {
        self.store.holds(id)
    }

    fn learn(&self, layer: u16, diff_id: &Digest, read: &ReadLayer) {
        self.list(layer, diff_id, read);
        self.store.learn(layer, diff_id, read);
    }
}

/// A listing that was found somewhere. Whoever opens it knows that its bytes are the right ones.
#[derive(Debug, Clone)]
pub struct Listing {
    bytes: Arc<[u8]>,
    /// Where a layer is, and the bytes that it unpacks to.
    frames: BTreeMap<Digest, (Range<usize>, u64)>,
}

impl Listing {
    /// Looks which layers it has; those that were read in another way than this program's count as none.
    pub fn of(bytes: &[u8]) -> Self {
        let (mut frames, mut at) = (BTreeMap::new(), 0);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Ok(length) = zstd::zstd_safe::find_frame_compressed_size(rest) else { break };
            let Some(frame) = rest.get(..length).filter(|frame| !frame.is_empty()) else { break };
            if let Some((diff_id, bytes)) = layer_of(frame) {
                frames.insert(diff_id, (at..at + length, bytes));
            }
            at += length;
        }
        Self { bytes: bytes.into(), frames }
    }

    /// The bytes that a layer unpacks to, if it has the layer.
    pub fn bytes(&self, diff_id: &Digest) -> Option<u64> {
        self.frames.get(diff_id).map(|(_, bytes)| *bytes)
    }

    /// The layer as reading it as number `layer` would give it; the numbers of its contents are others.
    pub(super) fn layer(&self, layer: u16, diff_id: &Digest) -> Option<ReadLayer> {
        let frame = self.bytes.get(self.frames.get(diff_id)?.0.clone())?;
        let mut ordinals = 0..;
        let id = || Ok(ContentId { layer, ordinal: ordinals.next().context("it has too many files")? });
        key(diff_id).read_text(frame, id).ok()
    }
}

/// What the frame is about, by its first line, and the bytes that this unpacks to.
fn layer_of(frame: &[u8]) -> Option<(Digest, u64)> {
    let mut line = String::new();
    let decoder = zstd::Decoder::new(frame).ok()?;
    BufReader::new(decoder.take(MAX_HEAD)).read_line(&mut line).ok()?;
    let diff_id = line.split(' ').nth(2)?.parse().ok()?;
    let cost = key(&diff_id).cost(line.as_bytes())?;
    Some((diff_id, cost.bytes))
}
