//! What an image made for `atomic install --system` brings in `/exports` (A§1): templates of its runtime configuration,
//! unit and tmpfiles, files for the host, and settings. Computes only.
//!
//! - [`brought`]: what an image has there; [`render()`]: all of it rendered and checked
//! - [`template`], [`json`]: the two syntaxes; [`faults`]: what is wrong, all of it at once
//! - [`settings`], [`labels`]: what the image says about itself
//! - [`variables`], [`values`]: variables; [`late`]: those that are bound when the container starts
//! - [`config`], [`mod@unit`], [`tmpfiles`]: what rendered files must be, and what they ask of the host
//! - [`lint`]: advice for authors, and where it belongs
//! - [`boot_paths`]: what lines make, so that two containers' can be compared
//! - [`sources`], [`targets`]: what is bound from the host, and what it is mounted on; [`host_files`]: what is put there

pub mod boot_paths;
pub mod brought;
pub mod config;
pub mod faults;
pub mod host_files;
pub mod json;
pub mod labels;
pub mod late;
pub mod lint;
mod render;
pub mod settings;
pub mod sources;
pub mod targets;
pub mod template;
mod timespan;
pub mod tmpfiles;
pub mod unit;
pub mod values;
pub mod variables;

pub use render::{Rendered, Source, places, render};

/// What messages call the literal configuration.
pub const CONFIG: &str = "exports/config.json";
/// What messages call the configuration's template.
pub const CONFIG_TEMPLATE: &str = "exports/config.json.template";
/// Where files for the host lie in the image.
pub const HOST_FILES: &str = "exports/hostfs";

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
