//! The strict reader of a lock: what was written ([`LockText`]) → [`Lock`].

use std::collections::BTreeMap;

use camino::Utf8Path;
use serde::Deserialize;
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::ImageRef;
use sysctr_core::image::stored::{LayerPart, Parts};
use sysctr_core::name::ContainerName;
use sysctr_core::record::Signer;
use toml::Spanned;

use super::write::{entry, seal};
use super::{Lock, Locked, VERSION};
use crate::manifest::NotUnderstood;

/// What brings a lock back that was damaged.
const WAY_OUT: &str = "restore the lock, or delete it and run sysctr-compose fetch";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockText {
    version: Spanned<u32>,
    #[serde(default)]
    image: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    container: ContainerName,
    architecture: Architecture,
    source: ImageRef,
    from: Spanned<String>,
    index: Option<Digest>,
    manifest: Option<Digest>,
    config: Digest,
    layers: Vec<Layer>,
    #[serde(default)]
    signed_by: Vec<Signer>,
    seal: Spanned<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    diff_id: Digest,
    digest: Digest,
    size: u64,
}

/// Only the version, to be understood whatever else a newer lock has.
#[derive(Deserialize)]
struct Versioned {
    version: Spanned<u32>,
}

/// Reads a lock's text.
pub(super) fn parse(path: &Utf8Path, text: &str) -> Result<Lock, NotUnderstood> {
    let at = |offset: usize, why: &str| place(path, text, offset, why);
    if let Ok(Versioned { version }) = toml::from_str(text)
        && *version.get_ref() != VERSION
    {
        let why = format!(
            "its version is {}, this program knows {VERSION}; use a newer sysctr-compose",
            version.get_ref()
        );
        return Err(at(version.span().start, &why));
    }
    let written: LockText = toml::from_str(text).map_err(|error| {
        let why = format!("{}; {WAY_OUT}", error.message().trim());
        at(error.span().map_or(0, |span| span.start), &why)
    })?;
    debug_assert_eq!(*written.version.get_ref(), VERSION);
    let mut images = BTreeMap::new();
    for spanned in written.image {
        let start = spanned.span().start;
        let (from, sealed) = (spanned.get_ref().from.clone(), spanned.get_ref().seal.clone());
        let (key, image) = spanned.into_inner().into_locked();
        if *sealed.get_ref() != seal(&entry(&key, &image)) {
            let why = format!("the entry of container {} was changed after fetch wrote it; {WAY_OUT}", key.0);
            return Err(at(sealed.span().start, &why));
        }
        if *from.get_ref() != image.from().to_string() {
            return Err(at(
                from.span().start,
                &format!("it should be {:?}; {WAY_OUT}", image.from().to_string()),
            ));
        }
        let (name, architecture) = key.clone();
        if images.insert(key, image).is_some() {
            return Err(at(
                start,
                &format!("container {name} stands here twice for {architecture}; {WAY_OUT}"),
            ));
        }
    }
    let lock = Lock { images };
    let canonical = lock.render();
    match text.bytes().zip(canonical.bytes()).position(|(found, right)| found != right) {
        None if text.len() == canonical.len() => Ok(lock),
        difference => {
            let offset = difference.unwrap_or(text.len().min(canonical.len()));
            Err(at(offset, &format!("this is not as fetch writes it; {WAY_OUT}")))
        }
    }
}

impl Entry {
    fn into_locked(self) -> (super::Key, Locked) {
        let layers = self.layers.into_iter();
        let layers =
            layers.map(|layer| LayerPart { diff_id: layer.diff_id, digest: layer.digest, size: layer.size });
        let parts = Parts {
            index: self.index,
            manifest: self.manifest,
            config: self.config,
            layers: layers.collect(),
        };
        ((self.container, self.architecture), Locked::new(self.source, parts, self.signed_by))
    }
}

/// An error at a byte of the text.
fn place(path: &Utf8Path, text: &str, offset: usize, why: &str) -> NotUnderstood {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let why: Vec<_> = why.lines().map(str::trim).collect();
    NotUnderstood::new(format!("{path}:{line}:{column}: {}", why.join(" ")))
}
