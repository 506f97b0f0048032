//! Images into the cache: `lock, manifest → hints → copies under policy and keys → blobs that were checked → lock`.
//!
//! [`verb`] is what `sysctr-compose fetch` does, [`images`] what compose, plan and lint take images from, [`cache`] where blobs
//! lie, [`trust`] who may bring them in.

pub mod cache;
mod clean;
mod hint;
pub mod images;
mod native;
mod progress;
mod pull;
pub mod report;
mod schedule;
mod staging;
pub mod trust;
pub mod verb;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::Reader;

use crate::lock::Locked;
use crate::manifest::Container;
use crate::progress::Reporter;
use cache::{Cache, State};
use hint::Hint;
use progress::Progress;
use pull::Pulled;
use staging::Staging;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::skopeo::{Patience, Skopeo};
use trust::Trust;

/// Why nobody can say who made an image of such a source.
pub const UNCHECKABLE: &str =
    "layouts and archives carry no signatures; fetch it from a registry, or check it before";

/// Brings images into a cache.
pub struct Fetcher<'a> {
    /// Where they go.
    pub cache: Cache,
    /// The manifest's directory, from the root.
    pub base: &'a Utf8Path,
    /// Who may bring them.
    pub trust: Trust,
    /// How long that may take.
    pub patience: Patience,
    /// How many at once.
    pub jobs: usize,
    /// Progress.
    pub reporter: &'a Reporter,
    /// The user's wish to stop.
    pub interrupt: &'a Interrupt,
}

/// One image to bring.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// Whose it is.
    pub container: &'a Container,
    /// For which machines.
    pub architecture: Architecture,
    /// What it must be, if a lock says that.
    pub expected: Option<&'a Locked>,
}

impl Fetcher<'_> {
    /// Whether all blobs of an image are in the cache and whole. They count as used.
    ///
    /// # Errors
    /// When one can't be read, or the user interrupts.
    pub fn is_complete(&self, image: &Locked) -> Result<bool> {
        for blob in image.parts.blobs() {
            if self.cache.state(&blob, self.interrupt)? != State::Whole {
                return Ok(false);
            }
            self.cache.touch(&blob);
        }
        Ok(true)
    }

    /// Whether all blobs of an image are in the cache with their sizes. Their bytes are checked by whoever reads them.
    pub fn is_there(&self, image: &Locked) -> bool {
        let parts = &image.parts;
        let sizes = parts.layers.iter().map(|layer| (layer.digest, Some(layer.size)));
        let documents = parts.blobs().map(|digest| (digest, None));
        documents.chain(sizes).all(|(digest, size)| {
            self.cache.touch(&digest);
            let found = std::fs::metadata(self.cache.path(&digest)).ok().map(|found| found.len());
            found.is_some() && (size.is_none() || found == size)
        })
    }

    /// Brings all images, each blob once.
    ///
    /// # Errors
    /// The first that can't be brought, by name; what came whole stays in the cache.
    pub fn fetch_all(&self, tasks: &[Task<'_>]) -> Result<Vec<Pulled>> {
        let doing = |task: &Task<'_>| {
            let Task { container, architecture, .. } = task;
            format!("fetching container {} ({architecture}) from {}", container.name, container.image)
        };
        let fetched = schedule::run(
            tasks,
            self.jobs,
            |task| self.hint(task).with_context(|| doing(task)),
            // What another task brought meanwhile keeps nobody waiting.
            |hint| self.missing(hint).into_keys().collect(),
            |task, hint| self.fetch(task, hint).with_context(|| doing(task)),
        );
        let flushed = self.cache.flush();
        let fetched = fetched?;
        flushed.map(|()| fetched)
    }

    fn fetch(&self, task: &Task<'_>, hint: &Hint) -> Result<Pulled> {
        let progress = Progress::begin(self.reporter, task, self.missing(hint).into_values().sum());
        let pulled = match task.container.image.transport().reader() {
            Reader::Native => self.import(task, &progress),
            Reader::Skopeo => self.pull(task, hint, &progress),
        };
        let pulled = pulled?;
        if let Some(pin) = task.container.pin {
            let parts = &pulled.locked.parts;
            let index = parts.index.map(|index| format!("{index}, ")).unwrap_or_default();
            ensure!(
                pulled.locked.is_pinned_by(pin),
                "it is not the one with the digest {pin}: from index to image manifest it has {index}{}",
                parts.identity()
            );
        }
        progress.done(pulled.bytes);
        Ok(pulled)
    }

    /// The layers that an image lacks, with their sizes.
    fn missing(&self, hint: &Hint) -> BTreeMap<Digest, u64> {
        let mut missing = hint.missing.clone();
        missing.retain(|layer, _| !self.cache.is_known_whole(layer));
        missing
    }

    /// Moves what came whole into the cache; tells its bytes.
    fn keep(&self, staging: &Staging, progress: &Progress<'_>) -> Result<u64> {
        let kept = staging.keep_whole(&self.cache, self.interrupt)?;
        kept.iter().for_each(|(digest, size)| progress.whole(*digest, *size));
        Ok(kept.iter().map(|(_, size)| size).sum())
    }

    fn skopeo(&self) -> Skopeo<'_> {
        Skopeo { base: self.base, patience: self.patience, interrupt: self.interrupt }
    }
}

/// The directory of a manifest, from the root.
///
/// # Errors
/// When there is no current directory.
pub fn base_of(base: &Utf8Path) -> Result<Utf8PathBuf> {
    cache::absolute(base)
}
