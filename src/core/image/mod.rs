//! Reading images: the only source of bytes. Nothing leaves here that was not checked against its digest and size.
//!
//! [`mod@reference`] names an image, `layout` and `docker_archive` find its parts in a directory or an `archive`, `config`
//! reads its configuration, [`blob`] is the reader that checks, `compression`, `tar`, `pax` and `whiteout` understand
//! a layer's bytes, `layer` turns one layer into a value, [`mod@flatten`] puts all layers together. [`stored`] finds an
//! image again whose blobs are known by digest.

mod archive;
pub mod blob;
mod compression;
mod config;
mod contents;
mod docker_archive;
pub mod flatten;
mod layer;
mod layout;
mod pax;
pub mod reference;
pub mod stored;
mod tar;
mod whiteout;

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use camino::Utf8Path;

use crate::arch::Architecture;
use crate::digest::Digest;
use archive::{Archive, Origin};
use blob::Verified;
use reference::{ImageRef, Transport};

/// The part of an image configuration that system containers use (OCI image specification, "Image Configuration").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// GOARCH name.
    pub architecture: String,
    /// `arm64` variant and the like.
    pub variant: Option<String>,
    /// GOOS name.
    pub os: String,
    /// `config.Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `config.Cmd`.
    pub cmd: Vec<String>,
    /// `config.Env`, `NAME=VALUE` in the image's order.
    pub env: Vec<String>,
    /// `config.User`; empty when the image says nothing.
    pub user: String,
    /// `config.WorkingDir`; empty when the image says nothing.
    pub working_dir: String,
    /// `config.StopSignal`.
    pub stop_signal: Option<String>,
    /// `config.Volumes`, sorted.
    pub volumes: Vec<String>,
    /// `config.Labels`.
    pub labels: BTreeMap<String, String>,
    /// `rootfs.diff_ids`: digests of the uncompressed layers, from the base upwards.
    pub diff_ids: Vec<Digest>,
}

/// A JSON document of an image, byte for byte, and the digest that its bytes have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// SHA-256 of `bytes`; checked.
    pub digest: Digest,
    /// As they lie in the layout or archive.
    pub bytes: Vec<u8>,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The image.
    pub reference: &'a ImageRef,
    /// The directory that the reference's path is relative to.
    pub base: &'a Utf8Path,
    /// The architecture that the image must be for: chooses from an index, and must be that of a single image.
    /// `None` takes whatever the only image is for.
    pub architecture: Option<Architecture>,
    /// What the index or the image manifest must be, for docker-archive the configuration.
    pub pin: Option<Digest>,
}

/// An image whose documents were read and checked; its layers can be.
#[derive(Debug)]
pub struct ResolvedImage {
    /// The index that the reference led to, if it was one.
    pub index: Option<Digest>,
    /// The image manifest; a docker-archive has none.
    pub manifest: Option<Document>,
    /// The configuration's bytes.
    pub config_document: Document,
    /// What they say. As many diff_ids as there are layers.
    pub config: ImageConfig,
    /// The indexes on the way from the reference to the manifest.
    indexes: Vec<Document>,
    layers: Vec<LayerBlob>,
    origin: Origin,
}

/// A layer's compressed bytes.
#[derive(Debug)]
struct LayerBlob {
    /// File in the layout or archive.
    name: String,
    /// `None` where the source gives none (docker-archive).
    digest: Option<Digest>,
    size: u64,
}

impl ResolvedImage {
    /// Reads the configuration and holds it against layers and platform.
    fn new(
        origin: Origin,
        indexes: Vec<Document>,
        manifest: Option<Document>,
        config_document: Document,
        layers: Vec<LayerBlob>,
        wanted: Option<Architecture>,
    ) -> Result<Self> {
        let digest = config_document.digest;
        let config = config::parse(&config_document.bytes, layers.len())
            .with_context(|| format!("reading the image configuration {digest}"))?;
        config::check_platform(&config, wanted)?;
        ensure!(layers.len() <= usize::from(u16::MAX), "it has {} layers, which nobody needs", layers.len());
        let index = indexes.first().map(|document| document.digest);
        Ok(Self { index, manifest, config_document, config, indexes, layers, origin })
    }

    /// The image indexes that led to the manifest, outermost first. Usually one or none.
    pub fn indexes(&self) -> &[Document] {
        &self.indexes
    }

    /// Number of layers, and of diff_ids.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Bytes of a layer as it lies in the layout or archive.
    ///
    /// # Panics
    /// When there is no layer of that number.
    pub fn layer_size(&self, index: usize) -> u64 {
        self.layers[index].size
    }

    /// Looks whether all layers but those with a diff_id that is `known` are there and have their size, so that a missing or
    /// shortened blob is told before hours of work.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn find_layers(&self, known: impl Fn(&Digest) -> bool) -> Result<()> {
        let unknown = self.layers.iter().zip(&self.config.diff_ids).filter(|(_, diff_id)| !known(diff_id));
        let described = unknown.filter_map(|(layer, _)| Some((layer, layer.digest?)));
        for (LayerBlob { name, size, .. }, digest) in described {
            layout::look(&self.origin, name, &digest, *size).context("looking for a layer")?;
        }
        Ok(())
    }

    /// Whether a layer's blob is there and has its size; one that no digest names is.
    ///
    /// # Panics
    /// When there is no layer of that number.
    pub fn has_layer(&self, index: usize) -> bool {
        let LayerBlob { name, digest, size } = &self.layers[index];
        digest.is_none_or(|digest| layout::look(&self.origin, name, &digest, *size).is_ok())
    }

    /// Whether an empty file stands for a layer that has bytes: somebody who fetched the image counted on knowing it.
    ///
    /// # Panics
    /// When there is no layer of that number.
    pub fn is_left_out(&self, index: usize) -> bool {
        let LayerBlob { name, size, .. } = &self.layers[index];
        *size > 0 && self.origin.size(name).is_ok_and(|found| found == Some(0))
    }

    /// Digest of a layer's bytes as they lie there; a docker-archive tells none.
    ///
    /// # Panics
    /// When there is no layer of that number.
    pub fn layer_digest(&self, index: usize) -> Option<Digest> {
        self.layers[index].digest
    }

    /// A layer's bytes as they lie there; reading ends in an error instead of the end if they were not the right ones.
    ///
    /// # Errors
    /// When it can't be opened.
    ///
    /// # Panics
    /// When there is no layer of that number.
    pub fn layer(&self, index: usize) -> Result<impl std::io::Read + use<>> {
        self.open_layer(index).with_context(|| format!("opening layer {}", self.layer_name(index)))
    }

    /// A layer for people: its digest, or its name where it has none.
    fn layer_name(&self, index: usize) -> String {
        let layer = &self.layers[index];
        layer.digest.map_or_else(|| layer.name.clone(), |digest| digest.to_string())
    }

    /// Opens a layer's compressed bytes. Reading ends in an error if they were not the right ones.
    fn open_layer(&self, index: usize) -> Result<Verified<archive::Bytes>> {
        let LayerBlob { name, digest, size } = &self.layers[index];
        let (bytes, found) = self.origin.open(name)?.with_context(|| format!("there is no {name}"))?;
        ensure!(found == *size, "{name} changed while it was read");
        Ok(Verified::new(bytes, *digest, *size))
    }
}

/// Finds an image, reads its documents and looks for its layers, of which nothing is read yet.
///
/// # Errors
/// When there is no such image (the message lists what is there), more than one fits, a document's bytes do not
/// match their digest and size, its media type is unknown, its architecture or operating system is another than
/// wanted, it does not match the pin, or a layer is missing.
pub fn resolve(wanted: &Wanted<'_>) -> Result<ResolvedImage> {
    let image = resolve_documents(wanted)?;
    image.find_layers(|_| false).with_context(|| format!("reading image {}", wanted.reference))?;
    Ok(image)
}

/// The same, but an OCI image's layers may be missing.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_documents(wanted: &Wanted<'_>) -> Result<ResolvedImage> {
    let path = wanted.base.join(wanted.reference.path());
    let resolved = match wanted.reference.transport() {
        Transport::Oci => layout::resolve(Origin::Dir(path), wanted),
        Transport::OciArchive => {
            Archive::open_at(&path).and_then(|archive| layout::resolve(Origin::Archive(archive), wanted))
        }
        Transport::DockerArchive => Archive::open_at(&path)
            .and_then(|archive| docker_archive::resolve(Origin::Archive(archive), wanted)),
        Transport::Docker | Transport::ContainersStorage | Transport::Dir => Err(anyhow!(
            "only `skopeo copy` reads {}:; name it in a manifest, `sysctr-compose fetch -m FILE` brings it",
            wanted.reference.transport().as_str()
        )),
    };
    resolved.with_context(|| format!("reading image {}", wanted.reference))
}

#[cfg(test)]
pub(crate) mod testing;
