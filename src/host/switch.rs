//! The one switch: from what a container is to another generation of it, or to what the host embeds. A generation is on trial
//! until it proved healthy; whatever ends the trial otherwise leads back.

use std::num::NonZeroU64;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use camino::Utf8PathBuf;
use sysctr_core::generation::{GenerationName, Tried};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{LaunchMode, Record, to_json};

use crate::active;
use crate::active::decision::{Choice, Hold, Link};
use crate::active::host::Host;
use crate::durable::{self, sync_dir, write_synced};
use crate::host_files;
use crate::make;
use crate::systemd::{self, Health, Unit};

/// How long a container that can't say that it is up must stay up.
const SETTLE: Duration = Duration::from_secs(3);

/// What a container is switched to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// What the host image has, or nothing.
    Embedded,
    /// A generation.
    Generation(NonZeroU64),
}

/// What happens when it does not become healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It is switched back.
    LeadsBack,
    /// It stays (`--no-rollback`).
    IsKept,
}

/// What became of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// It runs and is healthy.
    Running,
    /// Nothing ran, so the next start is the first.
    AtNextStart,
}

/// A switch of one container.
pub struct Switch<'a> {
    /// The host.
    pub host: &'a Host,
    /// The container.
    pub name: &'a ContainerName,
    /// What happens when it does not become healthy.
    pub failure: Failure,
    /// The user's wish to stop, which leads back.
    pub interrupt: &'a Interrupt,
}

impl Switch<'_> {
    /// Switches and, if the container runs or shall, starts it anew.
    ///
    /// # Errors
    /// When it did not become healthy or a step failed: the container is what it was before. With [`Failure::IsKept`] it stays
    /// what it was switched to.
    pub fn to(&self, to: To) -> Result<Switched> {
        let (host, name) = (self.host, self.name);
        let before = match host.link(name) {
            Link::To(number) => To::Generation(number),
            Link::Absent | Link::Unreadable(_) => To::Embedded,
        };
        let wanted = wanted(name)?;
        let mounted = mounts(host, name);
        begin_trial(host, name, to)?;
        let switched = point(host, name, to).and_then(|()| {
            host_files::settle_and_tell(host, name)?;
            if self.failure == Failure::IsKept {
                end_trial(host, name, to)?;
            }
            start(host, name, wanted, &mounted, self.interrupt)
        });
        let why = match switched {
            Ok(Health::Good) => match end_trial(host, name, to) {
                Ok(()) if wanted == Wanted::Now => return Ok(Switched::Running),
                Ok(()) => return Ok(Switched::AtNextStart),
                Err(error) => format!("{error:#}"),
            },
            Ok(Health::Bad(why)) => why,
            Err(error) => format!("{error:#}"),
        };
        if self.failure == Failure::IsKept {
            bail!("{} is not healthy: {why}; it stays, as asked", called(name, to));
        }
        Err(self.back(to, before, wanted, &why))
    }

    /// Undoes the switch and starts what was there before; tells what happened.
    fn back(&self, to: To, before: To, wanted: Wanted, why: &str) -> anyhow::Error {
        let (host, name) = (self.host, self.name);
        let failed = format!("{} is not healthy: {why}", called(name, to));
        let mounted = mounts(host, name);
        let again = point(host, name, before).and_then(|()| {
            // Before anything that takes time: one that failed is nothing to go back to.
            abandon(host, name, to)?;
            host_files::settle_and_tell(host, name)?;
            // Whoever wants to stop has been heard already.
            start(host, name, wanted, &mounted, &Interrupt::default())
        });
        match again {
            Ok(Health::Good) if wanted == Wanted::Now => {
                anyhow!("{failed}; {} runs again", called(name, before))
            }
            Ok(Health::Good) => anyhow!("{failed}; {} is active again", called(name, before)),
            Ok(Health::Bad(again)) => anyhow!(
                "{failed}; {} was switched back to and is not healthy either: {again}",
                called(name, before)
            ),
            Err(error) => error.context(format!("{failed}; switching back to {}", called(name, before))),
        }
    }
}

/// When a container runs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It runs, or failed to.
    Now,
    /// Nobody wants it now.
    AtNextStart,
}

/// When a container shall run; a masked one can't be tried.
fn wanted(name: &ContainerName) -> Result<Wanted> {
    let wanted = require_unmasked(name)?;
    if wanted == Wanted::AtNextStart && systemd::is_running() && systemd::is_masked(name) {
        let unit = name.unit();
        eprintln!("sysctr: {unit} is masked on this host; `systemctl unmask {unit}` lets it start");
    }
    Ok(wanted)
}

/// Refuses one that runs and is masked; tells when it shall run.
///
/// # Errors
/// When it is so, or systemd does not tell.
pub fn require_unmasked(name: &ContainerName) -> Result<Wanted> {
    if !systemd::is_running() || systemd::unit(name)? == Unit::Stopped {
        return Ok(Wanted::AtNextStart);
    }
    if systemd::is_masked(name) {
        let unit = name.unit();
        bail!(
            "{unit} is masked on this host, so that nothing new could be tried; `systemctl unmask {unit}` lets it start, or stop it \
             first"
        );
    }
    Ok(Wanted::Now)
}

/// A held container stays what it is; only what is switched to can be let go.
///
/// # Errors
/// When it is held.
pub fn require_free(host: &Host, name: &ContainerName) -> Result<()> {
    let Link::To(number) = host.link(name) else { return Ok(()) };
    let generation = GenerationName::new(name, number);
    if host.described(&generation).is_ok_and(|(_, known)| known.hold == Hold::Held) {
        bail!("it is held at {generation}; `sysctr unhold {name}` lets it go");
    }
    Ok(())
}

/// The units of what is active that bind programs of it over paths of the host; of what can't be read, none.
fn mounts(host: &Host, name: &ContainerName) -> Vec<String> {
    let placed = active::on(host, name).map(|active| active.record.placed).unwrap_or_default();
    let is_unit = |path: &&Utf8PathBuf| {
        let parent = path.parent();
        parent.is_some_and(|parent| parent == place::UNIT_DIR || parent.ends_with(place::UNITS))
    };
    let names = placed.keys().filter(is_unit).filter_map(|path| path.file_name());
    names.filter(|name| name.ends_with(".mount")).map(str::to_owned).collect()
}

/// Lets systemd know the units and tmpfiles lines of what is active, in the place of those that have `mounted` something, and starts
/// it anew if it shall run.
fn start(
    host: &Host,
    name: &ContainerName,
    wanted: Wanted,
    mounted: &[String],
    interrupt: &Interrupt,
) -> Result<Health> {
    if systemd::is_running() {
        systemd::mounts("stop", mounted);
        systemd::reload()?;
        systemd::create_files(name)?;
        systemd::mounts("start", &mounts(host, name));
    }
    match wanted {
        Wanted::Now => systemd::restart(name, settle(&active::on(host, name)?.record), interrupt),
        Wanted::AtNextStart => Ok(Health::Good),
    }
}

/// One that says when it is up is believed at once.
fn settle(record: &Record) -> Duration {
    let says = record.launch.mode == LaunchMode::Notify || record.launch.health.is_some();
    if says { Duration::ZERO } else { SETTLE }
}

/// What is told to people.
pub fn called(name: &ContainerName, to: To) -> String {
    match to {
        To::Embedded => format!("{name} as the host image has it"),
        To::Generation(number) => format!("{name}.{number}"),
    }
}

/// Whether a generation would be what runs, if it were switched to: it may be superseded.
///
/// # Errors
/// When what is embedded can't be read.
pub fn would_run(host: &Host, name: &ContainerName, number: NonZeroU64) -> Result<bool> {
    let mut facts = host.facts(name)?;
    facts.link = Link::To(number);
    let decided =
        facts.decide(|number| host.generation(&GenerationName::new(name, number)).map(|opened| opened.known));
    Ok(decided.is_ok_and(|decided| decided.choice == Choice::Generation(number)))
}

/// Renames the link into place, or takes it away. It survives a power cut.
///
/// # Errors
/// When it can't; what was switched to is as before.
pub fn point(host: &Host, name: &ContainerName, to: To) -> Result<()> {
    let dir = host.active_dir();
    let link = dir.join(name.as_str());
    let doing = || format!("switching {name} to {}", called(name, to));
    match to {
        // A host that never switched anything has no such directory.
        To::Embedded if link.symlink_metadata().is_err() => return Ok(()),
        To::Embedded => durable::remove(&link).with_context(doing)?,
        To::Generation(number) => {
            let beside = dir.join(format!(".{name}.link"));
            durable::remove(&beside).with_context(doing)?;
            symlink(GenerationName::new(name, number).to_string(), &beside)
                .and_then(|()| std::fs::rename(&beside, &link))
                .with_context(doing)?;
        }
    }
    sync_dir(&dir)
}

fn begin_trial(host: &Host, name: &ContainerName, to: To) -> Result<()> {
    // What the host image has needs no trial: it is what runs whenever nothing else can.
    let To::Generation(number) = to else { return Ok(()) };
    let generation = GenerationName::new(name, number);
    if host.described(&generation).is_ok_and(|(_, known)| known.trial.is_some()) {
        return Ok(());
    }
    let path = host.generation_dir(&generation).join(place::TRIAL_JSON);
    write_synced(&path, &to_json(&make::trial(host, name, Tried::Known)?), 0o644)
}

fn end_trial(host: &Host, name: &ContainerName, to: To) -> Result<()> {
    let To::Generation(number) = to else { return Ok(()) };
    let dir = host.generation_dir(&GenerationName::new(name, number));
    durable::remove(&dir.join(place::TRIAL_JSON))
        .and_then(|()| sync_dir(&dir))
        .with_context(|| format!("ending the trial of {}", called(name, to)))
}

/// Ends a trial that led nowhere: a new generation is forgotten, one that was healthy before stays.
fn abandon(host: &Host, name: &ContainerName, to: To) -> Result<()> {
    let To::Generation(number) = to else { return Ok(()) };
    let generation = GenerationName::new(name, number);
    let trial = host.described(&generation).ok().and_then(|(_, known)| known.trial);
    match trial.map(|trial| trial.of) {
        Some(Tried::New) => make::forget(host, &generation),
        Some(Tried::Known) => end_trial(host, name, to),
        None => Ok(()),
    }
}

/// Undoes the trials of programs that were cut off, and brings host files to what is active then.
///
/// # Errors
/// When one can't be undone.
pub fn recover(host: &Host) -> Result<()> {
    for (name, numbers) in host.generations()? {
        for number in numbers {
            let Ok((_, known)) = host.described(&GenerationName::new(&name, number)) else { continue };
            let Some(trial) = known.trial else { continue };
            let to = To::Generation(number);
            if host.link(&name) != Link::To(number) || trial.before == Some(number) {
                abandon(host, &name, to)?;
                continue;
            }
            let before = trial.before.map_or(To::Embedded, To::Generation);
            let runs_it = trial.boot == host.boot()?;
            let mounted = mounts(host, &name);
            point(host, &name, before)?;
            abandon(host, &name, to)?;
            host_files::settle_and_tell(host, &name)?;
            eprintln!(
                "sysctr: {} was never seen healthy by the program that switched to it; {} is active again",
                called(&name, to),
                called(&name, before)
            );
            let wanted = if runs_it { wanted(&name)? } else { Wanted::AtNextStart };
            start(host, &name, wanted, &mounted, &Interrupt::default())?;
        }
    }
    // What can't be placed now must not keep other containers from being changed.
    if let Err(error) = host_files::settle_all(host) {
        eprintln!("sysctr: {error:#}");
    }
    Ok(())
}
