//! What reading an image may cost, who takes the contents of its files, and who hears how far it is.

use anyhow::Result;

use crate::digest::Digest;
use crate::tree::{ContentId, LayerDiff, Stat, TreePath};

/// Bounds of what an image may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Threads that unpack, at least 1.
    pub jobs: usize,
    /// Most entries of all layers together, removed and left-out ones counted.
    pub max_entries: u64,
    /// Most bytes that all layers unpack to together (uncompressed tar bytes, sparse files by their full size).
    pub max_bytes: u64,
    /// Largest window of a zstd layer in bytes, which is the memory that it needs.
    pub max_window: u64,
}

/// What a layer takes of the bounds, whether it is read or known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Its entries, removed and left-out ones counted.
    pub entries: u64,
    /// Bytes that it unpacks to, holes included.
    pub bytes: u64,
}

/// A layer whose digests were all right.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadLayer {
    /// What it does.
    pub diff: LayerDiff,
    /// What it costs.
    pub cost: Cost,
}

/// Takes the contents of regular files while layers are read. Called from several threads; each content is begun
/// once per pass and written from one thread.
///
/// Contents are handed over before their layer's digest was checked: nobody may use them before [`flatten`](super::flatten::flatten) returned
/// `Ok`. After an error the caller discards them all.
pub trait ContentStore: Sync {
    /// Takes the bytes of one content.
    type Writer<'a>: ContentWriter
    where
        Self: 'a;

    /// Begins the content `id` of `size` bytes, holes included; `path` is where its layer has it, `stat` the metadata
    /// that its layer has for it. The tree may decide on other metadata. Never called for an empty file.
    ///
    /// # Errors
    /// When it can't be stored; the error ends the whole flattening.
    fn begin<'a>(
        &'a self,
        id: ContentId,
        path: &TreePath,
        size: u64,
        stat: &Stat,
    ) -> Result<Self::Writer<'a>>;

    /// Forgets a stored content that turned out to be hidden by an upper layer. What is forgotten is not in the tree.
    ///
    /// # Errors
    /// When it can't be removed.
    fn discard(&self, id: ContentId) -> Result<()>;

    /// What the layer with this diff_id is, if the store knows it from an earlier reading: exactly what reading it as layer
    /// number `layer` gives. Its contents count as handed over; those that end up in the tree are asked for by [`Self::holds`].
    ///
    /// # Errors
    /// When contents that were handed over before can't be stored. What is known and can't be read is unknown.
    fn recall(&self, layer: u16, diff_id: &Digest) -> Result<Option<ReadLayer>> {
        let (_, _) = (layer, diff_id);
        Ok(None)
    }

    /// Whether the store has a content of a layer that it recalled. If not, the layer is read after all.
    ///
    /// # Errors
    /// When that can't be told.
    fn holds(&self, id: ContentId) -> Result<bool> {
        let _ = id;
        Ok(true)
    }

    /// Layer number `layer` was read and its digests were right: the store may recall it from now on.
    fn learn(&self, layer: u16, diff_id: &Digest, read: &ReadLayer) {
        let (_, _, _) = (layer, diff_id, read);
    }
}

/// The bytes of one content, in order, holes told apart. Together they are exactly the size that was begun.
pub trait ContentWriter {
    /// The next bytes.
    ///
    /// # Errors
    /// When they can't be stored.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// The next so many bytes are zero (a sparse file's hole).
    ///
    /// # Errors
    /// When the hole can't be made.
    fn hole(&mut self, bytes: u64) -> Result<()>;

    /// All bytes were written; `digest` is theirs.
    ///
    /// # Errors
    /// When the content can't be completed.
    fn finish(self, digest: &Digest) -> Result<()>;
}

/// Hears how far the reading is. Called from several threads.
pub trait Progress: Sync {
    /// Layer `index` (from 0 at the base) of `of` layers begins; its blob has `size` bytes.
    fn layer(&self, index: usize, of: usize, size: u64);

    /// `bytes` of the layer's blob were read in all.
    ///
    /// # Errors
    /// To end the reading, for example because the user interrupts; the error is passed through.
    fn advance(&self, index: usize, bytes: u64) -> Result<()>;

    /// The layer was read and all its digests were right, or it was known.
    fn done(&self, index: usize);
}
