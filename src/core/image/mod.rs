//! Reading images: the only source of bytes. Nothing leaves here that was not checked against its digest and size.
//!
//! `reference` names an image, `layout` and `docker_archive` find its parts, `blob` is the reader that checks,
//! `layer` turns one layer into a value, `flatten` puts all layers together.

pub mod flatten;
pub mod reference;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::Utf8Path;

use crate::arch::Architecture;
use crate::digest::Digest;
use reference::ImageRef;

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
    pub architecture: Architecture,
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
}

/// Finds an image and reads its documents; of its layers nothing is read yet.
///
/// # Errors
/// When there is no such image (the message lists what is there), more than one fits, a document's bytes do not
/// match their digest and size, its media type is unknown, its architecture or operating system is another than
/// wanted, or it does not match the pin.
pub fn resolve(wanted: &Wanted<'_>) -> Result<ResolvedImage> {
    bail!("reading image {}: not built yet", wanted.reference)
}
