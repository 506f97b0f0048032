//! An image whose blobs are known by digest and lie in the `blobs/` of an OCI layout. No tag and no `index.json` is looked
//! at: what is read is what was named, or an error.

use anyhow::{Context, Result, ensure};
use camino::Utf8Path;

use super::archive::Origin;
use super::{Document, LayerBlob, ResolvedImage, blob, layout};
use crate::arch::Architecture;
use crate::digest::Digest;

/// The blobs that make an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The image index that led to it, if one did.
    pub index: Option<Digest>,
    /// The image manifest; an image of a docker-archive has none.
    pub manifest: Option<Digest>,
    /// The image configuration.
    pub config: Digest,
    /// From the base upwards.
    pub layers: Vec<LayerPart>,
}

/// A layer, packed and unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPart {
    /// Of the uncompressed tar stream.
    pub diff_id: Digest,
    /// Of its bytes as they are stored.
    pub digest: Digest,
    /// How many these are.
    pub size: u64,
}

impl Parts {
    /// What the image is called by: its image manifest, without one its configuration.
    pub fn identity(&self) -> Digest {
        self.manifest.unwrap_or(self.config)
    }

    /// All blobs, documents first.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        let documents = [self.index, self.manifest, Some(self.config)].into_iter().flatten();
        documents.chain(self.layers.iter().map(|layer| layer.digest))
    }

    /// What `image` is made of; `None` when its source gives layers no digest (docker-archive).
    pub fn of(image: &ResolvedImage) -> Option<Self> {
        let layer = |(index, &diff_id): (usize, &Digest)| {
            let digest = image.layer_digest(index)?;
            Some(LayerPart { diff_id, digest, size: image.layer_size(index) })
        };
        Some(Self {
            index: image.index,
            manifest: image.manifest.as_ref().map(|document| document.digest),
            config: image.config_document.digest,
            layers: image.config.diff_ids.iter().enumerate().map(layer).collect::<Option<_>>()?,
        })
    }
}

/// File of a blob in a layout.
pub fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Finds the image that `parts` name in the layout `dir` and reads its documents; its layers are there, unread.
///
/// # Errors
/// When a blob is missing, a document's bytes don't have their digest, the documents name other parts than `parts` does,
/// or the image is for another architecture.
pub fn stored(dir: &Utf8Path, parts: &Parts, architecture: Option<Architecture>) -> Result<ResolvedImage> {
    let origin = Origin::Dir(dir.to_owned());
    let image = match parts.manifest {
        Some(manifest) => led_to(dir, parts.index, manifest, architecture)?,
        None => {
            let config = document(&origin, parts.config).context("reading the image configuration")?;
            let layers = parts.layers.iter().map(|layer| as_blob(&origin, layer)).collect::<Result<_>>()?;
            ResolvedImage::new(origin, Vec::new(), None, config, layers, architecture)?
        }
    };
    let found = Parts::of(&image).context("a layer has no digest")?;
    ensure!(found == *parts, "the image {} is made of other parts than were named", parts.identity());
    Ok(image)
}

/// Finds the image of an image manifest in the layout `dir`, and the index that lists it, and reads its documents.
///
/// # Errors
/// As [`stored`], but for other parts.
pub fn led_to(
    dir: &Utf8Path,
    index: Option<Digest>,
    manifest: Digest,
    architecture: Option<Architecture>,
) -> Result<ResolvedImage> {
    let origin = Origin::Dir(dir.to_owned());
    let mut trail = Vec::new();
    if let Some(index) = index {
        let document = document(&origin, index).context("reading the image index")?;
        let leads = layout::leads_to(&origin, &document, &manifest)?;
        ensure!(leads, "the image index {index} does not list the image manifest {manifest}");
        trail.push(document);
    }
    let document = document(&origin, manifest).context("reading the image manifest")?;
    layout::finish(origin, document, trail, architecture)
}

fn document(origin: &Origin, digest: Digest) -> Result<Document> {
    let name = blob_name(&digest);
    let (bytes, size) = origin.open(&name)?.with_context(|| format!("there is no {name}"))?;
    let bytes = blob::read_all(bytes, Some(digest), size).with_context(|| format!("blob {digest}"))?;
    Ok(Document { digest, bytes })
}

fn as_blob(origin: &Origin, layer: &LayerPart) -> Result<LayerBlob> {
    let name = blob_name(&layer.digest);
    let found = origin.size(&name)?.with_context(|| format!("there is no {name}"))?;
    ensure!(found == layer.size, "{name} has {found} bytes and not {}", layer.size);
    Ok(LayerBlob { name, digest: Some(layer.digest), size: layer.size })
}

#[cfg(test)]
mod tests;
