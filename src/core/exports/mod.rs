//! What an image made for `atomic install --system` brings in `/exports` (A§1): templates of its runtime configuration,
//! unit and tmpfiles, files for the host, and settings. Computes only.
//!
//! - [`template`], [`json`]: the two syntaxes
//! - [`settings`], [`labels`]: what the image says about itself
//! - [`values`]: variables; [`late`]: those that are bound when the container starts
//! - [`config`], [`unit`], [`tmpfiles`]: what rendered files must be, and what they ask of the host
//! - [`host_files`]: `hostfs/`, and where it goes

pub mod config;
pub mod host_files;
pub mod json;
pub mod labels;
pub mod settings;
pub mod template;
pub mod tmpfiles;
pub mod unit;
pub mod values;

/// How systemd follows the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `Type=forking` with a PID file.
    Detached,
    /// The runtime stays; `Type=simple` or one that asks nothing else of it.
    Foreground,
    /// The runtime stays, and the payload tells that it is ready.
    Notify,
}
