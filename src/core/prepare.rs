//! The one road from an image and its settings to what runs on the host, used by compose and by update.

mod exports;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

pub use crate::bundle::{MountTarget, MountTargetKind, Source};
use crate::digest::Digest;
use crate::exports::brought::{Brought, Read, overlooked};
pub use crate::exports::host_files::{Content, HostNode, MountUnit, Placed as HostPlaced};
use crate::exports::lint::Places;
use crate::exports::template::Lines;
use crate::record::{Launch, LaunchMode, Made, to_json};
use crate::settings::{AbsolutePath, Fallback, Seccomp, Settings, Signal};
use crate::tree::Stat;
use crate::{bundle, units};
pub use target::{Kind, Target, Unseen, Without};

/// Counts up whenever equal inputs come to give other bytes. The composer mixes it into a container's `inputs`, so that
/// a newer composer renders again.
pub const RENDERING: u32 = 7;

/// What a container is made from. All of it is decided and read; rendering computes only.
pub struct Input<'a> {
    /// The container, its settings and its image.
    pub source: Source<'a>,
    /// Where its bundle will lie on the host: an absolute path.
    pub bundle: &'a Utf8Path,
    /// The OCI runtime's path on the host, found in the target.
    pub runtime: &'a AbsolutePath,
    /// Digest of the image's configuration.
    pub config: &'a Digest,
    /// What the image is called, free of the build machine's paths.
    pub image_name: &'a str,
    /// Reads files of the image of at most [`crate::exports::brought::MAX_BYTES`].
    pub read: Read<'a>,
    /// What it is placed into.
    pub target: &'a dyn Target,
}

/// What a container becomes.
#[derive(Debug)]
pub struct Prepared {
    /// `config.json` for the runtime (OCI runtime specification 1.0.2). It, the unit and the preset are empty for an
    /// image that is host files only; it alone for a tree that a program of the host uses.
    pub config_json: Vec<u8>,
    /// The unit's text.
    pub unit: Vec<u8>,
    /// Whose words these are.
    pub writer: Writer,
    /// tmpfiles.d(5) lines, if any are needed.
    pub tmpfiles: Option<Vec<u8>>,
    /// systemd.preset(5) text: `enable` or `disable`.
    pub preset: Vec<u8>,
    /// Links of `[Install]`: path relative to the unit directory → link text. Empty when not enabled.
    pub links: Vec<(Utf8PathBuf, String)>,
    /// What the image lacks and something is mounted on (or is the working directory), parents before children; already
    /// resolved through the image's symlinks.
    pub mount_targets: Vec<MountTarget>,
    /// For the launcher.
    pub launch: Launch,
    /// Further files of the bundle directory with their metadata.
    pub files: BTreeMap<String, (Vec<u8>, Stat)>,
    /// The image's host files that the host image carries, parents before what they hold.
    pub host: Vec<HostPlaced>,
    /// Bytes of those that are templates, by their path on the host.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// Units beside the container's own.
    pub mounts: Vec<MountUnit>,
    /// What the host makes at boot, by absolute path.
    pub made: BTreeMap<String, Made>,
    /// What the user should know, one sentence each; nothing that stops a compose.
    pub warnings: Vec<String>,
}

/// Who wrote a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// sysctr, by its own template.
    Sysctr,
    /// The user, by `unit.template`.
    User,
    /// The image, by [`crate::exports::unit::FILE`]: its line for each of the unit's, 0 for those that were added.
    Image(Lines),
}

/// Where the lines of what an image brings in `/exports` come from; nothing when it brings nothing that can be read.
pub fn places(input: &Input<'_>) -> Places {
    let brought = Brought::find(input.source.tree, input.read).ok().flatten();
    brought.map(|brought| exports::places(input, &brought)).unwrap_or_default()
}

/// Decides everything about one container. Equal inputs give equal bytes.
///
/// # Errors
/// When image and settings don't make a container: no program to run, a user that the image does not know, a mount
/// target whose parent is a file, a template that fails. The message names the container's setting or the image's.
pub fn prepare(input: &Input<'_>) -> Result<Prepared> {
    let prepared = match Brought::find(input.source.tree, input.read) {
        Ok(Some(brought)) => exports::prepare(input, &brought),
        Ok(None) => plain(input).map(|prepared| prepared.told(overlooked(input.source.tree))),
        Err(error) => Err(error),
    };
    let mut prepared = prepared.with_context(|| format!("preparing container {}", input.source.name))?;
    if input.source.settings.rootfs.is_some() {
        // That root is the host's to fit.
        prepared.mount_targets.clear();
    }
    Ok(prepared)
}

/// The road of an image without `/exports`.
fn plain(input: &Input<'_>) -> Result<Prepared> {
    let Source { name, settings, image, .. } = &input.source;
    let bundle = bundle::generate(&input.source)?;
    let units = units::generate(&units::Source {
        name,
        bundle: input.bundle,
        settings,
        image,
        stop_signal: &bundle.stop_signal,
        volumes: &bundle.volumes,
        host_paths: &bundle.host_paths,
    })?;
    let mode = if settings.unit.notify { LaunchMode::Notify } else { LaunchMode::Detached };
    let mut launch = launch(settings, mode, bundle.stop_signal);
    launch.volumes = bundle.volumes;
    launch.empty_if_missing = bundle.empty_if_missing;
    let mut config = bundle.config;
    if settings.rootfs.is_some() {
        config["root"]["path"] = exports::root(settings).into();
    }
    Ok(Prepared {
        config_json: to_json(&config),
        unit: units.unit.into_bytes(),
        writer: if settings.unit_template.is_some() { Writer::User } else { Writer::Sysctr },
        tmpfiles: units.tmpfiles.map(String::into_bytes),
        preset: units.preset.into_bytes(),
        links: units.links,
        mount_targets: bundle.mount_targets,
        launch,
        warnings: bundle.warnings,
        ..Prepared::nothing()
    })
}

/// What the launcher has to know, by the settings alone.
fn launch(settings: &Settings, mode: LaunchMode, stop_signal: Signal) -> Launch {
    Launch {
        mode,
        phase: settings.unit.phase,
        stop_signal,
        stop_timeout: settings.run.stop_timeout.unwrap_or(units::STOP_TIMEOUT),
        health: settings.unit.health.clone(),
        pids: settings.limits.pids,
        volumes: Vec::new(),
        empty_if_missing: Vec::new(),
        environment_files: settings.unit.environment_files.clone(),
        credentials: !settings.unit.credentials.is_empty(),
    }
}

impl Prepared {
    fn told(mut self, warning: Option<String>) -> Self {
        self.warnings.extend(warning);
        self
    }

    fn nothing() -> Self {
        Self {
            config_json: Vec::new(),
            unit: Vec::new(),
            writer: Writer::Sysctr,
            tmpfiles: None,
            preset: Vec::new(),
            links: Vec::new(),
            mount_targets: Vec::new(),
            launch: launch(&Settings::default(), LaunchMode::Detached, Signal::term()),
            files: BTreeMap::new(),
            host: Vec::new(),
            contents: BTreeMap::new(),
            mounts: Vec::new(),
            made: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

/// What makes a container itself: SHA-256 over the image configuration's digest and the settings that reach its bundle
/// and its unit, as sorted JSON without those that have their default (so that a new setting changes no origin).
///
/// Where updates are looked for, whether the unit is enabled, what replaces what, and names of files whose content
/// counts, are not among them.
pub fn origin(config: &Digest, settings: &Settings) -> Digest {
    let mut settings = settings.clone();
    settings.update = None;
    settings.enable = true;
    settings.fallback = Fallback::default();
    settings.unit.replace = false;
    settings.allow_conflicts.clear();
    if settings.unit_template.is_some() {
        settings.unit.template = None;
    }
    if matches!(settings.run.seccomp, Some(Seccomp::File(_))) {
        settings.run.seccomp = Some(Seccomp::File(String::new()));
    }
    let value = |settings: &Settings| serde_json::to_value(settings).expect("settings have string keys only");
    let mut said = value(&settings);
    drop_defaults(&mut said, &value(&Settings::default()));
    Digest::of(&[config.to_string().as_bytes(), b"\n", &to_json(&said)].concat())
}

fn drop_defaults(value: &mut serde_json::Value, defaults: &serde_json::Value) {
    let (Some(map), Some(defaults)) = (value.as_object_mut(), defaults.as_object()) else { return };
    for (key, default) in defaults {
        if let Some(inner) = map.get_mut(key) {
            drop_defaults(inner, default);
            if inner == default || inner.as_object().is_some_and(serde_json::Map::is_empty) {
                map.remove(key);
            }
        }
    }
}
