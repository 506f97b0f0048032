//! `sysctr.lock`: which image, by digest, each container of a manifest is, for each architecture (docs/format.md).
//!
//! The text is canonical: a lock has one spelling, and what is not that spelling is refused with its place. Each entry has a
//! seal over itself, so that two branches' entries merge and an edited one is found.

pub mod agree;
mod read;
mod write;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::{ImageRef, Transport};
use sysctr_core::image::stored::Parts;
use sysctr_core::name::ContainerName;
use sysctr_core::record::Signer;

/// The format version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Its name, beside the manifest.
pub const FILE_NAME: &str = "sysctr.lock";

/// Which image of the lock.
pub type Key = (ContainerName, Architecture);

/// One image, held by its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The reference as the manifest has it.
    pub source: ImageRef,
    /// What it is made of.
    pub parts: Parts,
    /// Whose signatures were verified when it was fetched. Sorted, each once.
    signed_by: Vec<Signer>,
}

impl Locked {
    /// An image with its signers in any order.
    pub fn new(source: ImageRef, parts: Parts, mut signed_by: Vec<Signer>) -> Self {
        signed_by.sort();
        signed_by.dedup();
        Self { source, parts, signed_by }
    }

    /// Whose signatures were verified when it was fetched.
    pub fn signed_by(&self) -> &[Signer] {
        &self.signed_by
    }

    /// Where exactly it came from: the source by digest instead of by tag.
    pub fn from(&self) -> ImageRef {
        self.source.pinned(self.parts.identity())
    }

    /// Whether `pin` is the image's: of its index or image manifest, for a docker-archive of its configuration.
    pub fn is_pinned_by(&self, pin: Digest) -> bool {
        let config = (self.source.transport() == Transport::DockerArchive).then_some(self.parts.config);
        [self.parts.index, self.parts.manifest, config].contains(&Some(pin))
    }
}

/// All images of a manifest. Every text that is written from it reads back as the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// By container, then architecture.
    pub images: BTreeMap<Key, Locked>,
}

/// A lock as it lies beside a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFile {
    path: Utf8PathBuf,
    text: String,
    lock: Lock,
}

/// Where the lock of the manifest at `manifest` lies.
pub fn path_beside(manifest: &Utf8Path) -> Utf8PathBuf {
    manifest.with_file_name(FILE_NAME)
}

impl LockFile {
    /// Reads the lock at `path`; `None`: there is none.
    ///
    /// # Errors
    /// [`crate::manifest::NotUnderstood`] with `FILE:LINE:COLUMN` when its text is not one that `fetch` writes; another
    /// error when it can't be read.
    pub fn read(path: &Utf8Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading lock {path}")),
        };
        let lock = read::parse(path, &text)?;
        Ok(Some(Self { path: path.to_owned(), text, lock }))
    }

    /// What it says.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Its path.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }
}

#[cfg(test)]
mod tests;
