//! What a source says of an image before it is fetched, by `skopeo inspect --raw`.
//!
//! That is not under the policy. Where a policy, a key or a demand has a say it decides nothing but which layers are lent
//! from the cache; where nothing has, it also tells that there is nothing to copy.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::{ImageRef, Selector, Transport};

use super::cache::State;
use super::staging::Staging;
use super::{Fetcher, Task};
use sysctr_core::skopeo::{Ear, Home};

/// What a source says of an image.
#[derive(Debug, Default)]
pub struct Hint {
    /// The bytes that the reference leads to, if these are an image index.
    pub(super) index: Option<Vec<u8>>,
    /// Layers that the cache lacks, with their sizes.
    pub missing: BTreeMap<Digest, u64>,
    /// Layers that the cache has.
    held: Vec<Digest>,
    /// The image manifest's bytes and the configuration, where it is sure which image it will be.
    image: Option<(Vec<u8>, Digest)>,
}

impl Hint {
    /// All layers.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Digest> {
        self.held.iter().chain(self.missing.keys())
    }

    /// The image manifest's bytes and all other blobs, where it is sure which image it will be.
    pub(super) fn image(&self) -> Option<(&[u8], Vec<Digest>)> {
        let (manifest, config) = self.image.as_ref()?;
        Some((manifest, self.layers().copied().chain([*config]).collect()))
    }
}

impl Fetcher<'_> {
    /// Asks the source which layers to expect.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub(super) fn hint(&self, task: &Task<'_>) -> Result<Hint> {
        let staging = Staging::new(&self.cache)?;
        match (task.expected, task.container.image.transport()) {
            (Some(_), _) => self.hint_of_lock(task, &staging),
            (None, Transport::Docker) => self.hint_of_registry(task, &staging),
            (None, _) => Ok(Hint::default()),
        }
    }

    fn hint_of_lock(&self, task: &Task<'_>, staging: &Staging) -> Result<Hint> {
        let mut hint = Hint::default();
        let (Some(expected), image) = (task.expected, &task.container.image) else { return Ok(hint) };
        for layer in &expected.parts.layers {
            self.expect(&mut hint, layer.digest, layer.size)?;
        }
        if image.transport() != Transport::Docker {
            return Ok(hint);
        }
        if let Some(index) = expected.parts.index.filter(|index| self.cache.document(index).is_none()) {
            hint.index = Some(self.raw(task, &image.pinned(index), staging)?);
        }
        // With a layer missing there will be a copy, which brings it.
        if let Some(manifest) = expected.parts.manifest.filter(|_| hint.missing.is_empty()) {
            let bytes = match self.cache.document(&manifest) {
                Some(bytes) => bytes,
                None => self.raw(task, &image.pinned(manifest), staging)?,
            };
            hint.image = Some((bytes, expected.parts.config));
        }
        Ok(hint)
    }

    fn hint_of_registry(&self, task: &Task<'_>, staging: &Staging) -> Result<Hint> {
        let mut hint = Hint::default();
        let mut bytes = self.raw(task, &task.container.image, staging)?;
        let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let mut choice = 1;
        if document["manifests"].is_array() {
            let instances = instances(&document, task.architecture);
            choice = instances.len();
            hint.index = Some(std::mem::take(&mut bytes));
            // Without one, the copy says what there is.
            let Some(&instance) = instances.first() else { return Ok(hint) };
            bytes = self.raw(task, &task.container.image.pinned(instance), staging)?;
            document = serde_json::from_slice(&bytes).unwrap_or_default();
        }
        let digest = |described: &Value| described["digest"].as_str().and_then(|text| text.parse().ok());
        let layers = document["layers"].as_array();
        for layer in layers.into_iter().flatten() {
            if let Some(digest) = digest(layer) {
                self.expect(&mut hint, digest, layer["size"].as_u64().unwrap_or_default())?;
            }
        }
        if choice == 1 && layers.is_some() {
            hint.image = digest(&document["config"]).map(|config| (bytes, config));
        }
        Ok(hint)
    }

    fn expect(&self, hint: &mut Hint, layer: Digest, size: u64) -> Result<()> {
        if self.cache.state(&layer, self.interrupt)? == State::Whole {
            hint.held.push(layer);
        } else {
            hint.missing.insert(layer, size);
        }
        Ok(())
    }

    /// A document of a registry: what has a digest has the bytes of that digest.
    fn raw(&self, task: &Task<'_>, image: &ImageRef, staging: &Staging) -> Result<Vec<u8>> {
        let call = self.global(task, None)?.args(["inspect", "--raw"]);
        let call = self.access(call, task, "--authfile", "--tls-verify").args([image.to_string()]);
        let bytes = self.skopeo().run(&call, Home::Empty, staging.dir(), Ear::Nobody)?;
        if let Selector::Digest(digest) = image.selector() {
            let found = Digest::of(&bytes);
            ensure!(found == *digest, "the registry's answer for {digest} has the digest {found}");
        }
        Ok(bytes)
    }
}

/// The image manifests that an index has for an architecture. If there are several, skopeo chooses.
fn instances(index: &Value, architecture: Architecture) -> Vec<Digest> {
    let fits = |one: &&Value| {
        one["platform"]["os"] == "linux" && one["platform"]["architecture"] == architecture.as_str()
    };
    let listed = index["manifests"].as_array().into_iter().flatten().filter(fits);
    listed.filter_map(|one| one["digest"].as_str()?.parse().ok()).collect()
}
