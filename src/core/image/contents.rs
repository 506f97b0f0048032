//! What reading an image may cost, who takes the contents of its files, and who hears how far it is.

use anyhow::Result;

use crate::digest::Digest;
use crate::tree::{ContentId, Stat, TreePath};

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

    /// The layer was read and all its digests were right.
    fn done(&self, index: usize);
}
