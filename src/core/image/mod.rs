//! Reading images: the only source of bytes. Nothing leaves here that was not checked against its digest and size.
//!
//! `reference` names an image, `layout` and `docker_archive` find its parts, `blob` is the reader that checks,
//! `layer` turns one layer into a value, `flatten` puts all layers together.

use crate::digest::Digest;

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
    pub labels: std::collections::BTreeMap<String, String>,
    /// `rootfs.diff_ids`: digests of the uncompressed layers, from the base upwards.
    pub diff_ids: Vec<Digest>,
}
