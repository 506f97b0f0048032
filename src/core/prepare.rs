//! The one road from an image and its settings to what runs on the host, used by compose and by update.

use anyhow::{Result, bail};
use camino::Utf8PathBuf;

use crate::arch::Architecture;
use crate::image::ImageConfig;
use crate::name::ContainerName;
use crate::record::Launch;
use crate::settings::{AbsolutePath, Settings};
use crate::tree::{ImageTree, TreePath};

/// What a container is made from. All of it is decided and read; rendering computes only.
pub struct Input<'a> {
    /// The container.
    pub name: &'a ContainerName,
    /// What the user wants.
    pub settings: &'a Settings,
    /// The image's own configuration.
    pub image: &'a ImageConfig,
    /// The image's root, for users, symlinks and mount targets.
    pub tree: &'a ImageTree,
    /// Bytes of the image's `/etc/passwd`, if it has one.
    pub passwd: Option<&'a [u8]>,
    /// Bytes of the image's `/etc/group`, if it has one.
    pub group: Option<&'a [u8]>,
    /// The OCI runtime's path on the host, found in the target.
    pub runtime: &'a AbsolutePath,
    /// The target's architecture.
    pub architecture: Architecture,
}

/// What a container becomes.
#[derive(Debug)]
pub struct Prepared {
    /// `config.json` for the runtime (OCI runtime specification 1.0.2).
    pub config_json: Vec<u8>,
    /// The unit's text.
    pub unit: Vec<u8>,
    /// tmpfiles.d(5) lines, if any are needed.
    pub tmpfiles: Option<Vec<u8>>,
    /// systemd.preset(5) text: `enable` or `disable`.
    pub preset: Vec<u8>,
    /// Links of `[Install]`: path relative to the unit directory → link text. Empty when not enabled.
    pub links: Vec<(Utf8PathBuf, String)>,
    /// What the image lacks and something is mounted on, parents before children; already resolved through the
    /// image's symlinks.
    pub mount_targets: Vec<MountTarget>,
    /// For the launcher.
    pub launch: Launch,
    /// What the user should know, one sentence each; nothing that stops a compose.
    pub warnings: Vec<String>,
}

/// A path to be made in the root because a mount needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountTarget {
    /// Where.
    pub path: TreePath,
    /// What.
    pub kind: MountTargetKind,
}

/// What a mount target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountTargetKind {
    /// A directory, root's, 0755.
    Directory,
    /// An empty file, root's, 0644.
    File,
}

/// Decides everything about one container. Equal inputs give equal bytes.
///
/// # Errors
/// When image and settings don't make a container: no program to run, a user that the image does not know, a mount
/// target whose parent is a file, a template that fails. The message names the container's setting or the image's.
pub fn prepare(input: &Input<'_>) -> Result<Prepared> {
    bail!("preparing container {}: not built yet", input.name)
}
