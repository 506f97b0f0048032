//! The result of `fetch`.

use std::fmt::Write as _;

use camino::Utf8PathBuf;
use serde::Serialize;
use sysctr_core::digest::Digest;
use sysctr_core::name::ContainerName;
use sysctr_core::record::Signer;

use super::clean::Removed;
use crate::lock::{Key, Lock, Locked};
use crate::report::{Action, FORMAT, Report, printable, size};

/// The result of `fetch`.
#[derive(Debug, Serialize)]
pub struct FetchReport {
    /// [`FORMAT`].
    pub format: u32,
    /// Whether the lock changed.
    pub changed: bool,
    /// Where it lies.
    pub lock: Utf8PathBuf,
    /// Where the blobs lie.
    pub cache: Utf8PathBuf,
    /// Bytes that are new in the cache.
    pub bytes: u64,
    /// By name, then architecture.
    pub images: Vec<FetchedImage>,
    /// What was removed from the cache.
    pub removed: Removed,
}

/// One image in a [`FetchReport`].
#[derive(Debug, Serialize)]
pub struct FetchedImage {
    /// The container.
    pub name: ContainerName,
    /// GOARCH name.
    pub architecture: String,
    /// What became of its entry in the lock.
    pub action: Action,
    /// The reference as the manifest has it.
    pub image: String,
    /// Digest of the image manifest.
    pub manifest: Option<Digest>,
    /// Digest of the image configuration.
    pub config: Digest,
    /// What the lock had before, if that was another image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// Whose signatures were verified.
    pub signed_by: Vec<Signer>,
}

/// What a lock had before.
#[derive(Debug, Serialize)]
pub struct Before {
    /// The reference.
    pub image: String,
    /// Digest of the image manifest.
    pub manifest: Option<Digest>,
    /// Digest of the image configuration.
    pub config: Digest,
    /// Whose signatures had been verified.
    pub signed_by: Vec<Signer>,
}

impl FetchReport {
    /// What changed from one lock to the next.
    pub fn new(old: &Lock, new: &Lock, lock: Utf8PathBuf, cache: Utf8PathBuf) -> Self {
        let keys: std::collections::BTreeSet<_> = old.images.keys().chain(new.images.keys()).collect();
        let images = keys.into_iter().filter_map(|key| match (old.images.get(key), new.images.get(key)) {
            (None, Some(new)) => Some(FetchedImage::new(key, new, Action::Add, None)),
            (Some(old), Some(new)) if old == new => Some(FetchedImage::new(key, new, Action::Keep, None)),
            (Some(old), Some(new)) => Some(FetchedImage::new(key, new, Action::Change, Some(old))),
            (Some(old), None) => Some(FetchedImage::new(key, old, Action::Remove, None)),
            (None, None) => None,
        });
        let images = images.collect();
        Self {
            format: FORMAT,
            changed: old != new,
            lock,
            cache,
            bytes: 0,
            images,
            removed: Removed::default(),
        }
    }
}

impl FetchedImage {
    fn new((name, architecture): &Key, image: &Locked, action: Action, before: Option<&Locked>) -> Self {
        Self {
            name: name.clone(),
            architecture: architecture.to_string(),
            action,
            image: image.source.to_string(),
            manifest: image.parts.manifest,
            config: image.parts.config,
            before: before.map(|before| Before {
                image: before.source.to_string(),
                manifest: before.parts.manifest,
                config: before.parts.config,
                signed_by: before.signed_by().to_vec(),
            }),
            signed_by: image.signed_by().to_vec(),
        }
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let word = match self.action {
            Action::Add => "added",
            Action::Change => "changed",
            Action::Remove => "removed",
            Action::Keep => "kept",
        };
        writeln!(text, "{word:7} {} ({}) {}", self.name, self.architecture, printable(&self.image))?;
        let identity = |manifest: Option<Digest>, config| manifest.unwrap_or(config);
        let now = identity(self.manifest, self.config);
        match &self.before {
            _ if self.action == Action::Keep => return Ok(()),
            Some(before) if identity(before.manifest, before.config) != now => {
                writeln!(text, "        {} → {now}", identity(before.manifest, before.config))?;
            }
            _ => writeln!(text, "        {now}")?,
        }
        if let Some(before) = self.before.as_ref().filter(|before| before.image != self.image) {
            writeln!(text, "        was {}", printable(&before.image))?;
        }
        for signer in self.signed_by.iter().filter(|_| self.action != Action::Remove) {
            writeln!(text, "        signed by {} ({})", signer.fingerprint, printable(&signer.key))?;
        }
        Ok(())
    }
}

impl Report for FetchReport {
    fn text(&self) -> String {
        let mut text = String::new();
        for image in &self.images {
            image.write(&mut text).unwrap_or_default();
        }
        if self.removed != Removed::default() {
            let Removed { blobs, bytes } = self.removed;
            writeln!(text, "removed {blobs} blobs ({}) from {}", size(bytes), self.cache).unwrap_or_default();
        }
        let lock = if self.changed { "written" } else { "unchanged" };
        writeln!(text, "fetched {}, {} {lock}", size(self.bytes), self.lock).unwrap_or_default();
        text
    }
}
