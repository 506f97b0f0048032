//! The road of an image with `/exports`: its own configuration, unit and tmpfiles, and files for the host.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::target::{GroundOf, Kind};
use super::{Input, Prepared, launch};
use crate::bundle::{self, MountTarget, MountTargetKind};
use crate::exports::brought::{self, Brought, Config};
use crate::exports::config::{Asks, Settled};
use crate::exports::host_files::owners::{Names, Sides};
use crate::exports::host_files::{self, Content, Decided, HostNode, Seeding};
use crate::exports::targets::{Needed, missing};
use crate::exports::unit::{self, Install, UnitFile, install};
use crate::exports::values::BuiltIns;
use crate::exports::{Form, Rendered, Source, labels, late, render, sources, tmpfiles};
use crate::place;
use crate::record::{LaunchMode, to_json};
use crate::settings::values::CAPABILITIES;
use crate::settings::{Duration, Settings};
use crate::units;

/// How much longer than the launcher systemd waits for a stop.
const GRACE_MILLIS: u64 = 5_000;
/// No tmpfiles.d file, unit or user database of a target is larger.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Paths relative to the unit directory with their texts.
type Links = Vec<(Utf8PathBuf, String)>;

/// Everything on the way.
struct Road<'a> {
    input: &'a Input<'a>,
    rendered: Rendered,
    host: Decided,
    warnings: Vec<String>,
}

/// Decides everything about a container whose image brings something in `/exports`.
pub(super) fn prepare(input: &Input<'_>, brought: &Brought) -> Result<Prepared> {
    let settings = input.settings;
    let mut warnings = Vec::new();
    let labels = labels::read(&input.image.labels, &mut warnings)?;
    let stop_timeout = settings.run.stop_timeout.unwrap_or(units::STOP_TIMEOUT);
    let bundle = Utf8Path::new("/").join(place::bundle(input.name));
    let rendered = render(&Source {
        brought,
        tree: input.tree,
        read: input.read,
        built_ins: BuiltIns {
            name: input.name,
            bundle: &bundle,
            runtime: input.runtime,
            image_name: input.image_name,
            image: input.config,
            capabilities: &CAPABILITIES,
            form: Form::Detached,
        },
        set: &settings.set,
        runs: labels.runs,
        notify: settings.unit.notify,
        stop_signal: &bundle::stop_signal(&input.bundle(), &mut warnings),
        stop_timeout: Duration::from_millis(stop_timeout.as_millis() + GRACE_MILLIS),
        root: root(settings),
    })?;
    if !rendered.unused.is_empty() && settings.unit_template.is_none() {
        let unused: Vec<&str> = rendered.unused.iter().map(String::as_str).collect();
        bail!("reading `set`: no template of the image uses {}; mend it or take it out", unused.join(", "));
    }
    let unit = rendered.unit.as_ref().map(|_| input.name.unit());
    let allowed: Vec<String> = settings.allow_conflicts.iter().map(|path| path.as_str().to_owned()).collect();
    let seeding = Seeding { unit: unit.as_deref(), bundle: &bundle, allow_conflicts: &allowed };
    let host = host_files::decide(&GroundOf(input.target), &rendered.host_files, &seeding)?;
    warnings.extend(rendered.warnings.iter().chain(&host.warnings).cloned());
    warnings.extend(ignored(settings, brought, &rendered));
    Road { input, rendered, host, warnings }.finish(brought)
}

/// Where the root lies.
pub(super) fn root(settings: &Settings) -> &str {
    settings.rootfs.as_ref().map_or(place::ROOTFS, |path| path.as_str())
}

impl Road<'_> {
    fn finish(mut self, brought: &Brought) -> Result<Prepared> {
        let input = self.input;
        let mut prepared = match &self.rendered.config {
            Some(config) => self.configured(config)?,
            None if self.rendered.unit.is_some() => self.generated()?,
            None => self.files_only()?,
        };
        if self.rendered.unit.is_some() {
            self.enter_unit(&mut prepared)?;
        }
        if let (Some((template, kept)), Some(Config::Template(_))) = (&self.rendered.kept, &brought.config) {
            prepared.files.insert(late::TEMPLATE_FILE.to_owned(), (template.clone(), 0o644));
            prepared.files.insert(late::VALUES_FILE.to_owned(), (to_json(kept), 0o644));
        }
        for (name, file) in &self.host.kept {
            let bytes = self.rendered.contents.get(&file.path).cloned().unwrap_or_default();
            prepared.files.insert(name.clone(), (bytes, file.stat().mode));
        }
        if input.settings.rootfs.is_some() {
            prepared.mount_targets.clear();
        }
        self.warnings.extend(self.strangers()?);
        self.warnings.append(&mut prepared.warnings);
        prepared.warnings = unique(self.warnings);
        prepared.host = self.host.placed;
        prepared.contents = self.rendered.contents;
        prepared.mounts = self.host.mounts;
        Ok(prepared)
    }

    /// The image's own configuration.
    fn configured(&self, config: &Settled) -> Result<Prepared> {
        let mut warnings = Vec::new();
        let (text, made) = self.tmpfiles(Some(&config.asks), &mut warnings)?;
        let is_directory = |path: &str| {
            Ok(match self.input.target.kind(path)? {
                Kind::Directory => Some(true),
                Kind::Other => Some(false),
                Kind::Unknown => None,
                Kind::Missing => made.iter().find(|made| made.path == path).map(|made| made.directory),
            })
        };
        let needed = missing(self.input.tree, &config.asks, &is_directory, &mut warnings)?;
        let targets = needed.into_iter().map(|(path, needed)| {
            let kind = match needed {
                Needed::Directory => MountTargetKind::Directory,
                Needed::File => MountTargetKind::File,
            };
            MountTarget { path, kind }
        });
        let stop_signal = bundle::stop_signal(&self.input.bundle(), &mut Vec::new());
        Ok(Prepared {
            config_json: to_json(&config.value),
            tmpfiles: text,
            mount_targets: targets.collect(),
            launch: launch(self.input.settings, self.mode(), stop_signal),
            warnings,
            ..Prepared::nothing()
        })
    }

    /// sysctr's configuration beside the image's unit.
    fn generated(&self) -> Result<Prepared> {
        let bundle = bundle::generate(&self.input.bundle())?;
        let mut warnings = bundle.warnings;
        let (text, _) = self.tmpfiles(None, &mut warnings)?;
        let state = units::tmpfiles(self.input.name, &bundle.volumes).unwrap_or_default();
        let text = [state.into_bytes(), text.unwrap_or_default()].concat();
        let mut config = bundle.config;
        config["root"]["path"] = root(self.input.settings).into();
        let mut launch = launch(self.input.settings, self.mode(), bundle.stop_signal);
        launch.volumes = bundle.volumes;
        launch.empty_if_missing = bundle.empty_if_missing;
        Ok(Prepared {
            config_json: to_json(&config),
            tmpfiles: Some(text).filter(|text| !text.is_empty()),
            mount_targets: bundle.mount_targets,
            launch,
            warnings,
            ..Prepared::nothing()
        })
    }

    fn files_only(&self) -> Result<Prepared> {
        let mut warnings = Vec::new();
        let (tmpfiles, _) = self.tmpfiles(None, &mut warnings)?;
        let stop_signal = bundle::stop_signal(&self.input.bundle(), &mut Vec::new());
        let launch = launch(self.input.settings, LaunchMode::Foreground, stop_signal);
        Ok(Prepared { tmpfiles, launch, warnings, ..Prepared::nothing() })
    }

    fn mode(&self) -> LaunchMode {
        match self.rendered.form {
            Form::Detached => LaunchMode::Detached,
            Form::Foreground => LaunchMode::Foreground,
            Form::Notify => LaunchMode::Notify,
        }
    }

    /// All lines of the container, and what they and the target's make.
    fn tmpfiles(
        &self,
        asks: Option<&Asks>,
        warnings: &mut Vec<String>,
    ) -> Result<(Option<Vec<u8>>, Vec<tmpfiles::Made>)> {
        let own = self.rendered.tmpfiles.as_ref();
        let mut text = own.and_then(|own| own.text.clone()).unwrap_or_default();
        text.extend_from_slice(self.host.tmpfiles.as_bytes());
        let mut made = tmpfiles::made(&text);
        let name = place::tmpfiles_name(self.input.name);
        let directory = Utf8Path::new(place::TMPFILES_DIR);
        for file in self.input.target.names(directory)? {
            if file.ends_with(".conf") && file != name {
                let lines = self.input.target.read(&directory.join(file), MAX_TEXT_BYTES)?;
                made.extend(tmpfiles::made(&lines.unwrap_or_default()));
            }
        }
        if let Some(asks) = asks {
            let mut makes: Vec<String> = made.iter().map(|made| made.path.clone()).collect();
            makes.extend(self.rendered.host_files.iter().map(|file| file.path.clone()));
            let exists = |path: &str| Ok(self.input.target.kind(path)? != Kind::Missing);
            let unknown = sources::unknown(asks, &makes, &exists)?;
            if own.is_some() {
                warnings.extend(sources::told(&unknown));
            } else {
                let automatic = sources::automatic(&unknown, self.input.tree);
                warnings.extend(automatic.warnings);
                text.extend_from_slice(automatic.lines.as_bytes());
                made.extend(tmpfiles::made(automatic.lines.as_bytes()));
            }
        }
        Ok((Some(text).filter(|text| !text.is_empty()), made))
    }

    /// Unit, links and preset: the image's, or by the user's template.
    fn enter_unit(&mut self, prepared: &mut Prepared) -> Result<()> {
        let Input { name, settings, .. } = self.input;
        if settings.unit_template.is_some() {
            let units = units::generate(&units::Source {
                name,
                settings,
                image: self.input.image,
                stop_signal: &prepared.launch.stop_signal,
                volumes: &prepared.launch.volumes,
                host_paths: &[],
            })?;
            prepared.unit = units.unit.into_bytes();
            prepared.preset = units.preset.into_bytes();
            prepared.links = units.links;
            // Whatever else the template says, the payload's readiness is the settings' to tell.
            if !settings.unit.notify {
                prepared.launch.mode = LaunchMode::Detached;
            }
            return Ok(());
        }
        let Some(unit) = self.rendered.unit.clone() else { return Ok(()) };
        prepared.unit = unit.text.into_bytes();
        let verb = if settings.enable { "enable" } else { "disable" };
        let (also, links) = self.also(&unit.install)?;
        let preset = Install { also, ..Install::default() }.preset(&name.unit(), verb);
        prepared.preset = preset.into_bytes();
        if settings.enable {
            prepared.links = links;
        }
        Ok(())
    }

    /// The units that are enabled with this one, by their own `[Install]`, and all links.
    fn also(&mut self, own: &Install) -> Result<(BTreeSet<String>, Links)> {
        let mut links = own.links.clone();
        let mut waiting: Vec<String> = own.also.iter().cloned().collect();
        let mut seen = BTreeSet::new();
        while let Some(other) = waiting.pop() {
            if !seen.insert(other.clone()) {
                continue;
            }
            let Some(text) = self.unit(&other)? else {
                self.warnings.push(format!(
                    "{}: Also={other} is neither in the target nor among the host files; it is not enabled",
                    unit::FILE
                ));
                seen.remove(&other);
                continue;
            };
            let doing = || format!("reading unit {other}, which Also= names");
            let text = String::from_utf8(text).with_context(doing)?;
            let file = UnitFile::parse(&text).with_context(doing)?;
            let theirs = install(&other, &file).with_context(doing)?;
            links.extend(theirs.links);
            waiting.extend(theirs.also);
        }
        links.sort();
        links.dedup();
        Ok((seen, links))
    }

    /// The text of another unit: a host file, or the target's.
    fn unit(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let places =
            [place::UNIT_DIR, "usr/lib/systemd/system", "usr/etc/systemd/system", "etc/systemd/system"];
        let paths = places.map(|directory| Utf8Path::new(directory).join(name));
        for placed in &self.host.placed {
            let HostNode::File { leaf, content, .. } = &placed.file.node else { continue };
            if !paths.contains(&placed.at) {
                continue;
            }
            return match content {
                Content::Template => Ok(self.rendered.contents.get(&placed.file.path).cloned()),
                Content::AsItIs => brought::checked(self.input.tree.leaf(*leaf), self.input.read).map(Some),
            };
        }
        for path in &paths {
            if let Some(text) = self.input.target.read(path, MAX_TEXT_BYTES)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// Numbers that mean somebody else on the host, and names that the host does not know.
    fn strangers(&self) -> Result<Vec<String>> {
        let target = |file: &str| -> Result<Option<Names>> {
            for directory in ["usr/etc", "etc", "usr/lib"] {
                let path = Utf8Path::new(directory).join(file);
                if let Some(bytes) = self.input.target.read(&path, MAX_TEXT_BYTES)? {
                    return Ok(Some(Names::read(&bytes)));
                }
            }
            Ok(None)
        };
        let (Some(users), Some(groups)) = (target("passwd")?, target("group")?) else {
            return Ok(Vec::new());
        };
        let mut told = Vec::new();
        if let Some(fragment) = &self.rendered.tmpfiles {
            let unknown = |names: &[String], known: &Names| -> Vec<String> {
                names.iter().filter(|name| !known.knows(name)).cloned().collect()
            };
            for name in unknown(&fragment.users, &users).iter().chain(&unknown(&fragment.groups, &groups)) {
                told.push(format!("{}: nobody is called {name} in the target", tmpfiles::FILE));
            }
        }
        let own = |bytes: Option<&[u8]>| Names::read(bytes.unwrap_or_default());
        let sides = Sides { users: (own(self.input.passwd), users), groups: (own(self.input.group), groups) };
        let user = self.rendered.config.as_ref().map(|config| &config.asks.user);
        told.extend(sides.strangers(&self.rendered.host_files, user));
        Ok(told)
    }
}

/// Settings that the image's own files leave without effect.
fn ignored(settings: &Settings, brought: &Brought, rendered: &Rendered) -> Vec<String> {
    let mut told = Vec::new();
    let mut tell =
        |section: &str, given: &serde_json::Value, default: &serde_json::Value, but: &[&str], by| {
            let empty = serde_json::Map::new();
            let given = given.as_object().unwrap_or(&empty);
            for (key, _) in given.iter().filter(|(key, value)| default.get(key.as_str()) != Some(value)) {
                if !but.contains(&key.as_str()) {
                    told.push(format!("{section}.{key} has no effect: the image brings {by}"));
                }
            }
        };
    let value = |settings: &Settings| serde_json::to_value(settings).expect("settings have string keys only");
    let (given, default) = (value(settings), value(&Settings::default()));
    if brought.config.is_some() && rendered.unit.is_some() {
        tell(
            "run",
            &given["run"],
            &default["run"],
            &["stop_signal", "stop_timeout"],
            "its own configuration",
        );
    }
    if settings.unit_template.is_none() {
        let heeded = ["environment_files", "notify", "replace"];
        tell("unit", &given["unit"], &default["unit"], &heeded, unit::FILE);
        tell("limits", &given["limits"], &default["limits"], &[], unit::FILE);
    }
    told
}

/// Each sentence once, where it first stood.
fn unique(warnings: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    warnings.into_iter().filter(|warning| seen.insert(warning.clone())).collect()
}
