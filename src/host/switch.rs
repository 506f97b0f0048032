//! The one switch: from what a container is to another generation of it, or to what the host embeds. A generation is on trial
//! until it proved healthy; whatever ends the trial otherwise leads back.

use std::num::NonZeroU64;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sysctr_core::generation::GenerationName;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{LaunchMode, Record, to_json};

use crate::active;
use crate::active::decision::Link;
use crate::active::host::Host;
use crate::make::{self, sync_dir, write_synced};
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

/// Switches a container and, if it runs, starts it anew.
///
/// # Errors
/// When it did not become healthy, and the container is what it was before; or, with [`Failure::IsKept`], is not. When a step
/// fails the switch is undone too.
pub fn switch(host: &Host, name: &ContainerName, to: To, failure: Failure) -> Result<Switched> {
    let before = match host.link(name) {
        Link::To(number) => To::Generation(number),
        Link::Absent | Link::Unreadable(_) => To::Embedded,
    };
    let wanted = systemd::is_running() && systemd::unit(name)? != Unit::Stopped;
    begin_trial(host, name, to)?;
    point(host, name, to)?;
    if !wanted || failure == Failure::IsKept {
        end_trial(host, name, to)?;
    }
    if !wanted {
        reload()?;
        return Ok(Switched::AtNextStart);
    }
    match prove(host, name) {
        Ok(Health::Good) => {
            end_trial(host, name, to)?;
            Ok(Switched::Running)
        }
        other => {
            let why = match other {
                Ok(Health::Bad(why)) => why,
                Ok(Health::Good) => String::new(),
                Err(error) => format!("{error:#}"),
            };
            if failure == Failure::IsKept {
                bail!("{} is not healthy: {why}; it stays, as asked", called(name, to));
            }
            back(host, name, to, before, &why)
        }
    }
}

/// Undoes the switch and starts what was there before.
fn back(host: &Host, name: &ContainerName, to: To, before: To, why: &str) -> Result<Switched> {
    point(host, name, before)?;
    end_trial(host, name, to)?;
    match prove(host, name) {
        Ok(Health::Good) => {
            bail!("{} is not healthy: {why}; {} runs again", called(name, to), called(name, before))
        }
        Ok(Health::Bad(again)) => bail!(
            "{} is not healthy: {why}; {} was switched back to and is not healthy either: {again}",
            called(name, to),
            called(name, before)
        ),
        Err(error) => Err(error).with_context(|| {
            format!(
                "{} is not healthy: {why}; {} was switched back to",
                called(name, to),
                called(name, before)
            )
        }),
    }
}

fn prove(host: &Host, name: &ContainerName) -> Result<Health> {
    systemd::reload()?;
    systemd::create_files(name)?;
    let settle = settle(&active::on(host, name)?.record);
    systemd::restart(name, settle)
}

/// One that says when it is up is believed at once.
fn settle(record: &Record) -> Duration {
    let says = record.launch.mode == LaunchMode::Notify || record.launch.health.is_some();
    if says { Duration::ZERO } else { SETTLE }
}

fn reload() -> Result<()> {
    if systemd::is_running() { systemd::reload() } else { Ok(()) }
}

/// What is told to people.
pub fn called(name: &ContainerName, to: To) -> String {
    match to {
        To::Embedded => format!("{name} as the host image has it"),
        To::Generation(number) => format!("{name}.{number}"),
    }
}

fn generation(name: &ContainerName, number: NonZeroU64) -> GenerationName {
    GenerationName { container: name.clone(), number }
}

/// Renames the link into place, or takes it away. It survives a power cut.
fn point(host: &Host, name: &ContainerName, to: To) -> Result<()> {
    let dir = host.active_dir();
    let link = dir.join(name.as_str());
    let doing = || format!("switching {name} to {}", called(name, to));
    let done = match to {
        To::Embedded => match std::fs::remove_file(&link) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other,
        },
        To::Generation(number) => {
            let beside = dir.join(format!(".{name}.link"));
            std::fs::remove_file(&beside).unwrap_or_default();
            symlink(generation(name, number).to_string(), &beside)
                .and_then(|()| std::fs::rename(&beside, &link))
        }
    };
    done.with_context(doing)?;
    sync_dir(&dir)
}

fn begin_trial(host: &Host, name: &ContainerName, to: To) -> Result<()> {
    // What the host image has needs no trial: it is what runs whenever nothing else can.
    let To::Generation(number) = to else { return Ok(()) };
    let path = host.generation_dir(&generation(name, number)).join(place::TRIAL_JSON);
    write_synced(&path, &to_json(&make::trial(host, name)?), 0o644)
}

fn end_trial(host: &Host, name: &ContainerName, to: To) -> Result<()> {
    let To::Generation(number) = to else { return Ok(()) };
    let dir = host.generation_dir(&generation(name, number));
    match std::fs::remove_file(dir.join(place::TRIAL_JSON)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other
            .with_context(|| format!("ending the trial of {}", called(name, to)))
            .and_then(|()| sync_dir(&dir)),
    }
}

/// Undoes the trials of programs that were cut off.
///
/// # Errors
/// When one can't be undone.
pub fn recover(host: &Host) -> Result<()> {
    for (name, numbers) in host.generations()? {
        for number in numbers {
            let Ok((_, known)) = host.described(&generation(&name, number)) else { continue };
            let Some(trial) = known.trial else { continue };
            let to = To::Generation(number);
            if host.link(&name) == Link::To(number) {
                let before = trial.before.map_or(To::Embedded, To::Generation);
                let runs_it = trial.boot == host.boot()?;
                point(host, &name, before)?;
                eprintln!(
                    "sysctr: {} was never seen healthy by the program that switched to it; {} is active again",
                    called(&name, to),
                    called(&name, before)
                );
                if runs_it && systemd::is_running() && systemd::unit(&name)? != Unit::Stopped {
                    prove(host, &name)?;
                }
            }
            make::forget(host, &generation(&name, number))?;
        }
    }
    Ok(())
}
