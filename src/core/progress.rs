//! Lines of `--progress json` (docs/format.md, "Progress"), which both programs print on stderr.

use std::io::Write as _;

use serde::Serialize;

use crate::digest::Digest;

/// How far the reading of a layer is.
#[derive(Debug, Serialize)]
pub struct LayerEvent<'a> {
    /// `layer`, `read` or `done`.
    pub event: &'static str,
    /// The container.
    pub container: &'a str,
    /// From 0 at the base.
    pub layer: usize,
    /// Packed bytes so far.
    pub bytes: u64,
    /// Of so many.
    pub total: u64,
}

/// How far an image or one of its blobs is on its way.
#[derive(Debug, Serialize)]
pub struct FetchEvent<'a> {
    /// `fetch`, `fetching`, `fetched` or `blob`.
    pub event: &'static str,
    /// The container; empty where an image is fetched for none.
    pub container: &'a str,
    /// GOARCH name.
    pub architecture: &'a str,
    /// Its reference.
    pub image: &'a str,
    /// The blob that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<Digest>,
    /// Bytes so far.
    pub bytes: u64,
    /// Of so many.
    pub total: u64,
}

/// Prints an event. A closed stderr is no reason to stop.
pub fn tell(event: &impl Serialize) {
    let line = serde_json::to_string(event).unwrap_or_default();
    writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default();
}

/// Bytes between two lines about something of so many: a percent.
pub fn step(total: u64) -> u64 {
    (total / 100).max(1)
}
