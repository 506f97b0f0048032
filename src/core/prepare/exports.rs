//! The road of an image with `/exports`: its own configuration, unit and tmpfiles, and files for the host.

mod also;
mod boot;
mod given;
mod kernel;
mod own;
mod strangers;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use camino::Utf8PathBuf;

use super::target::{GroundOf, Kind};
use super::{Input, Prepared, Writer, launch};
use crate::bundle::mounts::{Mount, Mounts, Place};
use crate::bundle::{self, MountTarget, MountTargetKind, overlay};
use crate::exports::brought::{Brought, Config};
use crate::exports::config::{Asks, DevicePolicy, MountPoint, MountPointKind, Settled};
use crate::exports::faults::Faults;
use crate::exports::host_files::{self, Decided, HostNode, Seeding};
use crate::exports::labels::{self, Labels};
use crate::exports::lint::Places;
use crate::exports::targets::{Needed, missing};
use crate::exports::unit::{self, Install, Runs};
use crate::exports::values::BuiltIns;
use crate::exports::{self, CONFIG_TEMPLATE, Form, Rendered, Source, late, render, tmpfiles};
use crate::place;
use crate::record::{LaunchMode, to_json};
use crate::settings::{AbsolutePath, Settings};
use crate::tree::Stat;
use crate::units;

/// No tmpfiles.d file, unit or user database of a target is larger.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Where the payload finds its credentials.
const CREDENTIALS: &str = "/run/credentials";
/// The system manager's own (sd_notify(3)).
const NOTIFY_SOCKET: &str = "/run/systemd/notify";

/// Paths relative to the unit directory with their texts.
type Links = Vec<(Utf8PathBuf, String)>;

/// Everything on the way.
struct Road<'a> {
    input: &'a Input<'a>,
    rendered: Rendered,
    host: Decided,
    /// The payload's user and groups, if the image's configuration has them.
    user: Option<(u32, u32, Vec<u32>)>,
    warnings: Vec<String>,
}

/// What a configuration asks of its unit.
#[derive(Default)]
struct Ways {
    devices: DevicePolicy,
    /// Whose file systems must be mounted at the start.
    host_paths: Vec<AbsolutePath>,
}

/// Decides everything about a container whose image brings something in `/exports`.
pub(super) fn prepare(input: &Input<'_>, brought: &Brought) -> Result<Prepared> {
    let settings = input.source.settings;
    let mut warnings = Vec::new();
    let labels = labels::read(&input.source.image.labels, &mut warnings);
    let rendered =
        source(input, brought, labels.as_ref().ok(), &mut warnings, render).and_then(|rendered| rendered);
    let (_, rendered) = Faults::both(labels, rendered)?;
    let unit = rendered.unit.as_ref().map(|_| input.source.name.unit());
    let allowed: Vec<String> = settings.allow_conflicts.iter().map(|path| path.as_str().to_owned()).collect();
    let factory = input.target.factory(input.bundle);
    let seeding = Seeding { unit: unit.as_deref(), factory: &factory, allow_conflicts: &allowed };
    let host = host_files::decide(&GroundOf(input.target), &rendered.host_files, &seeding);
    let heeded = Faults::both(given::unused(settings, &rendered), given::refuse(settings, &rendered));
    let (_, host) = Faults::both(heeded, host)?;
    warnings.extend(rendered.warnings.iter().chain(&host.warnings).cloned());
    Road { input, rendered, host, user: None, warnings }.finish(brought)
}

/// Where the lines of what the image brings come from.
pub(super) fn places(input: &Input<'_>, brought: &Brought) -> Places {
    let labels = labels::read(&input.source.image.labels, &mut Vec::new());
    source(input, brought, labels.as_ref().ok(), &mut Vec::new(), exports::places).unwrap_or_default()
}

/// What `then` makes of everything that rendering needs.
fn source<T>(
    input: &Input<'_>,
    brought: &Brought,
    labels: Option<&Labels>,
    warnings: &mut Vec<String>,
    then: impl FnOnce(&Source<'_>) -> T,
) -> Result<T> {
    let settings = input.source.settings;
    let capabilities = kernel::capabilities(input.target, brought, warnings)?;
    Ok(then(&Source {
        brought,
        tree: input.source.tree,
        read: input.read,
        built_ins: BuiltIns {
            name: input.source.name,
            bundle: input.bundle,
            runtime: input.runtime,
            image_name: input.image_name,
            image: input.config,
            capabilities,
            form: Form::Detached,
        },
        set: &settings.set,
        runs: labels.map_or(Runs::Always, |labels| labels.runs),
        notify: settings.unit.notify,
        stop_signal: &bundle::stop_signal(&input.source, warnings),
        stop_timeout: units::stop_timeout(settings),
        root: root(settings),
    }))
}

/// Where the root lies.
pub(super) fn root(settings: &Settings) -> &str {
    settings.rootfs.as_ref().map_or(place::ROOTFS, |path| path.as_str())
}

impl Road<'_> {
    fn finish(mut self, brought: &Brought) -> Result<Prepared> {
        let input = self.input;
        let (mut prepared, ways) = match self.rendered.config.take() {
            Some(config) => self.configured(config, brought)?,
            None if self.has_no_program() => (self.files_only()?, Ways::default()),
            None if self.rendered.unit.is_some() => self.generated()?,
            None => (self.files_only()?, Ways::default()),
        };
        if self.rendered.unit.is_some() {
            self.enter_unit(&mut prepared, &ways, brought)?;
        }
        if let (Some((template, kept)), Some(Config::Template(_))) = (&self.rendered.kept, &brought.config) {
            prepared.files.insert(late::TEMPLATE_FILE.to_owned(), (template.clone(), Stat::implied(0o644)));
            prepared.files.insert(late::VALUES_FILE.to_owned(), (to_json(kept), Stat::implied(0o644)));
        }
        prepared.made = self.made(prepared.tmpfiles.as_deref().unwrap_or_default());
        self.tell_idle_allowances(&prepared);
        self.warnings.extend(self.strangers()?);
        self.warnings.append(&mut prepared.warnings);
        prepared.warnings = unique(self.warnings);
        prepared.host = self.host.placed;
        prepared.contents = self.rendered.contents;
        prepared.mounts = self.host.mounts;
        own::refuse(input.source.name, &prepared, &self.rendered.host_files)?;
        Ok(prepared)
    }

    /// The image's own configuration, and the manifest's word over it.
    fn configured(&mut self, config: Settled, brought: &Brought) -> Result<(Prepared, Ways)> {
        let source = &self.input.source;
        let over = overlay::decide(source, &config.value)?;
        let mut warnings = over.warnings;
        let file = brought.config.as_ref().map_or(CONFIG_TEMPLATE, Config::file);
        let config = config.over(&over.overlay, file)?;
        warnings.extend(config.warnings.iter().cloned());
        if let Some((_, kept)) = &mut self.rendered.kept {
            kept.overlay = over.overlay;
        }
        self.user = Some(config.asks.user.clone());
        let (text, made) = self.tmpfiles(Some(&config.asks), &mut warnings)?;
        let mut asks = config.asks;
        asks.mount_points.extend(self.bound_at_start());
        let mount_targets = self.mount_targets(&asks, &made, &over.mounts, &mut warnings)?;
        let state = units::tmpfiles(source.name, &over.mounts.volumes).unwrap_or_default();
        let text = [state.into_bytes(), text.unwrap_or_default()].concat();
        let stop_signal = bundle::stop_signal(source, &mut Vec::new());
        let mut launch = launch(source.settings, self.mode(), stop_signal);
        launch.volumes = over.mounts.volumes;
        let prepared = Prepared {
            config_json: to_json(&config.value),
            tmpfiles: Some(text).filter(|text| !text.is_empty()),
            mount_targets,
            launch,
            warnings,
            ..Prepared::nothing()
        };
        Ok((prepared, Ways { devices: asks.devices, host_paths: over.mounts.host_paths }))
    }

    /// What the launcher binds into the container, wherever the configuration says nothing.
    fn bound_at_start(&self) -> Vec<MountPoint> {
        let point = |destination: &str, kind| MountPoint { destination: destination.to_owned(), kind };
        let mut points = Vec::new();
        if !self.input.source.settings.unit.credentials.is_empty() {
            points.push(point(CREDENTIALS, MountPointKind::Directory));
        }
        if self.mode() == LaunchMode::Notify {
            points.push(point(NOTIFY_SOCKET, MountPointKind::LikeInBundle(String::new())));
        }
        points
    }

    fn mount_targets(
        &self,
        asks: &Asks,
        made: &[tmpfiles::Made],
        mounts: &Mounts,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<MountTarget>> {
        if self.input.source.settings.rootfs.is_some() {
            return Ok(Vec::new());
        }
        let kind = |mount: &Mount| match mount.place {
            Place::Only(kind) | Place::Else(kind) => kind,
        };
        let is_directory = |path: &str| {
            // The manifest's own mounts say what they are.
            if let Some(mount) = mounts.list.values().find(|mount| mount.source == path) {
                return Ok(Some(kind(mount) != MountTargetKind::File));
            }
            Ok(match self.input.target.kind(path)? {
                Kind::Directory => Some(true),
                Kind::Other => Some(false),
                Kind::Unknown => None,
                Kind::Missing => {
                    let made = made.iter().find(|made| made.path == path).map(|made| made.directory);
                    let file = || self.rendered.host_files.iter().find(|file| file.path == path);
                    made.or_else(|| Some(matches!(file()?.node, HostNode::Directory(_))))
                }
            })
        };
        let needed = missing(self.input.source.tree, asks, &is_directory, warnings)?;
        let target = |(path, needed)| {
            let kind = match (mounts.list.get(&path), needed) {
                (Some(mount), _) => kind(mount),
                (None, Needed::Directory) => MountTargetKind::Directory,
                (None, Needed::File) => MountTargetKind::File,
            };
            MountTarget { path, kind }
        };
        Ok(needed.into_iter().map(target).collect())
    }

    /// sysctr's configuration beside the image's unit.
    fn generated(&self) -> Result<(Prepared, Ways)> {
        let bundle = bundle::generate(&self.input.source)?;
        let mut warnings = bundle.warnings;
        let (text, _) = self.tmpfiles(None, &mut warnings)?;
        let state = units::tmpfiles(self.input.source.name, &bundle.volumes).unwrap_or_default();
        let text = [state.into_bytes(), text.unwrap_or_default()].concat();
        let mut config = bundle.config;
        config["root"]["path"] = root(self.input.source.settings).into();
        let mut launch = launch(self.input.source.settings, self.mode(), bundle.stop_signal);
        launch.volumes = bundle.volumes;
        launch.empty_if_missing = bundle.empty_if_missing;
        let prepared = Prepared {
            config_json: to_json(&config),
            tmpfiles: Some(text).filter(|text| !text.is_empty()),
            mount_targets: bundle.mount_targets,
            launch,
            warnings,
            ..Prepared::nothing()
        };
        // As in a unit of ours, whatever the runtime's filter must let through for `run.devices`.
        let devices = DevicePolicy::Closed(BTreeMap::new());
        Ok((prepared, Ways { devices, host_paths: bundle.host_paths }))
    }

    /// A tree that a program of the host uses, and nothing that a container could run: it needs no configuration.
    fn has_no_program(&self) -> bool {
        let image = self.input.source.image;
        let unit = self.rendered.unit.as_ref();
        unit.is_some_and(|unit| unit.starts == unit::Starts::HostProgram)
            && self.input.source.settings.unit_template.is_none()
            && image.entrypoint.is_empty()
            && image.cmd.is_empty()
    }

    fn files_only(&self) -> Result<Prepared> {
        let mut warnings = Vec::new();
        let (tmpfiles, _) = self.tmpfiles(None, &mut warnings)?;
        let stop_signal = bundle::stop_signal(&self.input.source, &mut Vec::new());
        let launch = launch(self.input.source.settings, LaunchMode::Foreground, stop_signal);
        Ok(Prepared { tmpfiles, launch, warnings, ..Prepared::nothing() })
    }

    fn mode(&self) -> LaunchMode {
        match self.rendered.form {
            Form::Detached => LaunchMode::Detached,
            Form::Foreground => LaunchMode::Foreground,
            Form::Notify => LaunchMode::Notify,
        }
    }

    /// Unit, links and preset: the image's with the manifest's word over it, or by the user's template.
    fn enter_unit(&mut self, prepared: &mut Prepared, ways: &Ways, brought: &Brought) -> Result<()> {
        let bundle::Source { name, settings, image, .. } = self.input.source;
        let source = units::Source {
            name,
            bundle: self.input.bundle,
            settings,
            image,
            stop_signal: &prepared.launch.stop_signal,
            volumes: &prepared.launch.volumes,
            host_paths: &ways.host_paths,
        };
        if settings.unit_template.is_some() {
            let units = units::generate(&source)?;
            prepared.unit = units.unit.into_bytes();
            prepared.preset = units.preset.into_bytes();
            prepared.links = units.links;
            prepared.writer = Writer::User;
            // Whatever else the template says, the payload's readiness is the settings' to tell.
            if !settings.unit.notify {
                prepared.launch.mode = LaunchMode::Detached;
            }
            return Ok(());
        }
        let Some(fitted) = self.rendered.unit.clone() else { return Ok(()) };
        let wishes = units::wishes(&source)?;
        let stop_signal = &prepared.launch.stop_signal;
        let over = unit::Overlay { name, settings, wishes: &wishes, devices: &ways.devices, stop_signal };
        let unit = unit::overlay(fitted, &over)?;
        prepared.unit = unit.text.into_bytes();
        if brought.service.is_some() {
            prepared.writer = Writer::Image(unit.lines);
        }
        let verb = if settings.enable { "enable" } else { "disable" };
        let (also, links) = self.also(&unit.install)?;
        let preset = Install { also, ..Install::default() }.preset(&name.unit(), verb);
        prepared.preset = preset.into_bytes();
        if settings.enable {
            prepared.links = links;
        }
        Ok(())
    }
}

/// Each sentence once, where it first stood.
fn unique(warnings: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    warnings.into_iter().filter(|warning| seen.insert(warning.clone())).collect()
}
