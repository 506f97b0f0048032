//! What the OCI runtime needs: `config.json` (OCI runtime specification 1.0.2), and what its mounts ask of the root file
//! system and of the host. Computes only.
//!
//! `process` says what runs, `user` as whom, `capabilities` and `seccomp` what it may do, `mounts` what it sees;
//! `spec` puts them together, [`overlay`] puts the settings over a configuration that an image brings.

mod capabilities;
pub mod mounts;
pub mod overlay;
mod process;
mod seccomp;
mod spec;
mod targets;
#[cfg(test)]
pub(crate) mod testing;
mod user;

use anyhow::Result;

use crate::arch::Architecture;
use crate::image::ImageConfig;
use crate::name::ContainerName;
use crate::record::VolumeSeed;
use crate::settings::{AbsolutePath, Settings, Signal};
use crate::tree::ImageTree;
pub use targets::{MountTarget, MountTargetKind};

/// What a bundle is made from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The container.
    pub name: &'a ContainerName,
    /// What the user wants.
    pub settings: &'a Settings,
    /// The image's own configuration.
    pub image: &'a ImageConfig,
    /// The image's root.
    pub tree: &'a ImageTree,
    /// Bytes of the image's `/etc/passwd`, if it has one.
    pub passwd: Option<&'a [u8]>,
    /// Bytes of the image's `/etc/group`, if it has one.
    pub group: Option<&'a [u8]>,
    /// The target's architecture.
    pub architecture: Architecture,
}

/// A bundle but for its root file system.
#[derive(Debug)]
pub struct Bundle {
    /// `config.json`.
    pub config: serde_json::Value,
    /// What the root needs beyond the image, parents before children.
    pub mount_targets: Vec<MountTarget>,
    /// Directories of the host that the image fills, sorted.
    pub volumes: Vec<VolumeSeed>,
    /// Bind sources of ours that a host may lack.
    pub empty_if_missing: Vec<AbsolutePath>,
    /// Paths on the host whose file systems must be mounted at the start, sorted.
    pub host_paths: Vec<AbsolutePath>,
    /// What asks the payload to stop.
    pub stop_signal: Signal,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What asks the payload to stop; doubts go to `warnings`.
pub fn stop_signal(source: &Source<'_>, warnings: &mut Vec<String>) -> Signal {
    process::stop_signal(source, warnings)
}

/// Decides the bundle. Equal sources give equal values.
///
/// # Errors
/// When image and settings don't make a container; the message begins with the setting, or says that it is the image's.
pub fn generate(source: &Source<'_>) -> Result<Bundle> {
    let mut warnings = Vec::new();
    let mounts = mounts::decide(source, &mut warnings)?;
    let process = process::decide(source, &mounts, &mut warnings)?;
    let mount_targets = targets::missing(source.tree, &mounts.list, &process.cwd)?;
    let config = spec::assemble(source, &process, &mounts, &mut warnings)?;
    Ok(Bundle {
        config,
        mount_targets,
        volumes: mounts.volumes,
        empty_if_missing: mounts.empty_if_missing,
        host_paths: mounts.host_paths,
        stop_signal: process::stop_signal(source, &mut warnings),
        warnings,
    })
}
