//! Images that were fetched ahead: their trees are in the store under a ref of their own, their documents beside it.
//!
//! `.images/HEX`, where HEX are the digits of the configuration's digest. `image.json` is written last; a directory without
//! it, or a ref without a directory, was cut off.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use sysctr_core::digest::Digest;
use sysctr_core::image::ResolvedImage;
use sysctr_core::image::flatten::{Progress, flatten};
use sysctr_core::image::reference::ImageRef;
use sysctr_core::place;
use sysctr_core::record::{self, VERSION, to_json};
use sysctr_core::store::contents::{Copying, ObjectContents, ObjectStore};
use sysctr_core::store::own_repo::OwnRepo;
use sysctr_core::store::tree;

use crate::active::host::{self, Host};
use crate::durable;
use crate::kept;
use crate::stock::{LIMITS, Stock};

/// In the directory of generations.
pub const IMAGES: &str = ".images";
const IMAGE_JSON: &str = "image.json";
/// What refs of images begin with; a container may be called so, too.
const REF: &str = "image-";

/// `image.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// Format version.
    pub version: u32,
    /// The reference that it was fetched by.
    pub image: String,
    /// Digest of the index, if the reference led to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Digest of the image manifest; a docker-archive has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Digest of the configuration.
    pub config: Digest,
}

/// The ref of an image.
pub fn ref_name(config: &Digest) -> String {
    format!("{REF}{}", config.hex())
}

fn directory(host: &Host) -> Utf8PathBuf {
    host.generations_dir().join(IMAGES)
}

/// Stores an image; tells how many bytes the store lacked. One that is there already is only told of again.
///
/// # Errors
/// When a layer can't be read, or something can't be written. Whole objects may be left then, which the next pruning removes.
pub fn store(
    stock: &Stock<'_>,
    reference: &ImageRef,
    image: &ResolvedImage,
    progress: &impl Progress,
) -> Result<u64> {
    image.find_layers(|diff_id| stock.has(diff_id))?;
    let config = image.config_document.digest;
    let name = ref_name(&config);
    let objects = Arc::new(ObjectStore::new(stock.store.begin()?, LIMITS.jobs)?);
    let contents =
        ObjectContents::new(&objects, stock.label()).copying(stock.shipped(image), Copying::WhenNeeded);
    let flattened = flatten(image, LIMITS, &contents, progress)?;
    objects.settle()?;
    let staged =
        tree::stage(&flattened.tree, &contents, stock.label(), &|| Ok(stock.road.interrupt.check()?))?;
    let lock = stock.store.no_pruning()?;
    let (commit, published) = stock.store.publish(objects.objects(), staged, &name, &lock)?;
    stock.store.set_ref(&name, &commit)?;
    objects.remember(&commit.hex());
    let pulled = Pulled {
        version: VERSION,
        image: reference.to_string(),
        index: image.index,
        manifest: image.manifest.as_ref().map(|document| document.digest),
        config,
    };
    describe(stock.host, &pulled, image)?;
    Ok(published.bytes)
}

fn describe(host: &Host, pulled: &Pulled, image: &ResolvedImage) -> Result<()> {
    let dir = directory(host).join(pulled.config.hex());
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.with_context(|| format!("making directory {dir}"))?;
    durable::write_synced(&dir.join(place::IMAGE_CONFIG), &image.config_document.bytes, 0o644)?;
    if let Some(manifest) = &image.manifest {
        durable::write_synced(&dir.join(place::IMAGE_MANIFEST), &manifest.bytes, 0o644)?;
    }
    durable::write_synced(&dir.join(IMAGE_JSON), &to_json(pulled), 0o644)?;
    durable::sync_dir(&directory(host))
}

/// All images that were fetched ahead, by the digests of their configurations.
///
/// # Errors
/// When one can't be read, or a newer program wrote it.
pub fn all(host: &Host) -> Result<BTreeMap<Digest, Pulled>> {
    let mut all = BTreeMap::new();
    for name in host::names(&directory(host))? {
        let path = directory(host).join(name).join(IMAGE_JSON);
        let Some(bytes) = host::read(&path)? else { continue };
        let pulled: Pulled = record::from_json(&bytes, path.as_str())?;
        all.insert(pulled.config, pulled);
    }
    Ok(all)
}

/// Forgets an image that was fetched ahead, if it was; its objects go with the next pruning, but for those that others need.
///
/// # Errors
/// When it can't be removed.
pub fn forget(host: &Host, store: &OwnRepo, config: &Digest) -> Result<()> {
    let dir = directory(host).join(config.hex());
    // First: what has no description counts as cut off.
    durable::remove(&dir.join(IMAGE_JSON))?;
    store.remove_ref(&ref_name(config))?;
    durable::clear(&dir)
}

/// Clears what was cut off.
///
/// # Errors
/// When something can't be looked at or removed.
pub fn sweep(host: &Host, store: &OwnRepo) -> Result<()> {
    let whole = |hex: &str| directory(host).join(hex).join(IMAGE_JSON).exists();
    for name in host::names(&directory(host))?.iter().filter(|name| !whole(name)) {
        durable::clear(&directory(host).join(name))?;
    }
    for name in store.refs()?.keys() {
        if image_of(name).is_some_and(|hex| !whole(hex)) {
            store.remove_ref(name)?;
        }
    }
    Ok(())
}

/// The digits of the image whose ref it is. Refs of a container that is called `image-…` are none, whatever digits follow.
fn image_of(reference: &str) -> Option<&str> {
    let hex = reference.strip_prefix(REF)?;
    let is_hex = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hex && kept::generation_of(reference).is_none()).then_some(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_may_be_called_as_images_are() {
        let reference = ref_name(&Digest::of(b"x"));
        assert_eq!(image_of(&reference), Some(Digest::of(b"x").hex().as_str()));
        for other in [
            "image-builder.3",
            "image-builder.3.files",
            "image-1.2",
            "image-",
            "web.1",
            &format!("{reference}.1"),
        ] {
            assert_eq!(image_of(other), None, "{other}");
        }
    }
}
