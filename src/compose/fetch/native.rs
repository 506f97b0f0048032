//! Images that we read ourselves (`oci:`, archives), copied into the cache. They carry no signatures.

use anyhow::{Result, bail, ensure};
use sysctr_core::image::stored::{LayerPart, Parts};
use sysctr_core::image::{self, Wanted};

use super::cache::State;
use super::progress::Progress;
use super::pull::Pulled;
use super::staging::Staging;
use super::trust::Demand;
use super::{Fetcher, Task};
use crate::lock::Locked;

impl Fetcher<'_> {
    /// Copies an image into the cache, every byte checked against its digest.
    ///
    /// # Errors
    /// When it can't be read, is not what was expected, or a signature is demanded.
    pub(super) fn import(&self, task: &Task<'_>, progress: &Progress<'_>) -> Result<Pulled> {
        if self.trust.demand == Demand::Signed {
            bail!("its signature can't be checked: {}", super::UNCHECKABLE);
        }
        let container = task.container;
        let reference = task.expected.map_or_else(|| container.image.clone(), Locked::from);
        let wanted = Wanted {
            reference: &reference,
            base: self.base,
            architecture: Some(task.architecture),
            pin: container.pin,
        };
        let image = image::resolve(&wanted)?;
        let staging = Staging::new(&self.cache)?;
        let documents = image.indexes().iter().chain(&image.manifest).chain([&image.config_document]);
        for document in documents {
            if self.cache.state(&document.digest, self.interrupt)? != State::Whole {
                staging.write(&document.bytes[..], self.interrupt)?;
            }
        }
        let mut layers = Vec::with_capacity(image.layer_count());
        for (index, &diff_id) in image.config.diff_ids.iter().enumerate() {
            let known = image.layer_digest(index);
            let held = match known {
                Some(digest) if self.cache.state(&digest, self.interrupt)? == State::Whole => {
                    self.cache.touch(&digest);
                    Some((digest, image.layer_size(index)))
                }
                _ => None,
            };
            let (digest, size) = match held {
                Some(held) => held,
                None => {
                    let bytes = progress.reading(image.layer(index)?, known, image.layer_size(index));
                    staging.write(bytes, self.interrupt)?
                }
            };
            layers.push(LayerPart { diff_id, digest, size });
            progress.at(staging.bytes());
        }
        let manifest = image.manifest.as_ref().map(|document| document.digest);
        let parts = Parts { index: image.index, manifest, config: image.config_document.digest, layers };
        if let Some(expected) = task.expected {
            ensure!(
                expected.parts == parts
                    || expected.parts.index != parts.index && same_image(expected, &parts),
                "it is not the image {} that the lock has; run sysctr-compose fetch --update",
                expected.parts.identity()
            );
        }
        let bytes = self.keep(&staging, progress)?;
        Ok(Pulled { locked: Locked::new(container.image.clone(), parts, Vec::new()), bytes })
    }
}

/// By digest of the image manifest no index is passed on the way.
fn same_image(expected: &Locked, parts: &Parts) -> bool {
    let without = |parts: &Parts| Parts { index: None, ..parts.clone() };
    without(&expected.parts) == without(parts)
}
