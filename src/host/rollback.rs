//! `sysctr rollback`, `reset`, `hold`, `unhold` and `uninstall`: other switches between what is there already.

use std::num::NonZeroU64;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sysctr_core::generation::GenerationName;
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::active::decision::Link;
use crate::active::host::Host;
use crate::durable::{self, sync_dir, write_synced};
use crate::host_files;
use crate::make;
use crate::switch::{Switch, Switched, To, called, require_free, would_run};
use crate::systemd::{self, Unit};
use crate::{active, etc};

/// Switches back to the newest generation below the active one, to what the host image has if there is none, or to `to`, where
/// nothing changes if that is active.
///
/// # Errors
/// When it is held, there is nothing to go back to, or that did not become healthy; the container is what it was before.
pub fn rollback(switch: &Switch<'_>, to: Option<NonZeroU64>) -> Result<(To, Switched)> {
    let Switch { host, name, .. } = *switch;
    let doing = || format!("rolling back container {name}");
    etc::require_writable(host).with_context(doing)?;
    require_free(host, name).with_context(doing)?;
    let numbers = host.numbers(name).with_context(doing)?;
    let to = match to {
        Some(number) if numbers.contains(&number) => To::Generation(number),
        Some(number) => {
            let there: Vec<_> = numbers.iter().map(|number| format!("{name}.{number}")).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            bail!("{}: there is no {name}.{number}; there is {there}", doing());
        }
        None => before(host, name).with_context(doing)?,
    };
    if let To::Generation(number) = to {
        if host.link(name) == Link::To(number) {
            return Ok((to, standing(host, name, number).with_context(doing)?));
        }
        let usable = host.generation(&GenerationName::new(name, number));
        usable.map_err(|why| anyhow::anyhow!("{}: {name}.{number} can't be used: {why}", doing()))?;
        if !would_run(host, name, number).with_context(doing)? {
            bail!(
                "{}: {name}.{number} was made for what another host image embeds, which this one supersedes; \
                 `sysctr update {name}` makes one for this host image",
                doing()
            );
        }
    }
    if to == To::Embedded && host.embedded(name).with_context(doing)?.is_none() {
        bail!("{}: this host embeds none of that name; `sysctr uninstall {name}` removes it", doing());
    }
    Ok((to, switch.to(to).with_context(doing)?))
}

/// What there is to say of a generation that was switched to already: a rollback whose end nobody saw may be asked for again.
fn standing(host: &Host, name: &ContainerName, number: NonZeroU64) -> Result<Switched> {
    let active = active::on(host, name)?;
    if active.generation != Some(number) {
        bail!("{name}.{number} is what was switched to, but not what runs; `sysctr status {name}` tells why");
    }
    let runs = systemd::is_running() && systemd::unit(name)? == Unit::Up;
    let started = active::started_bundle(name)?;
    Ok(if runs && started == Some(active.bundle) { Switched::Running } else { Switched::AtNextStart })
}

fn before(host: &Host, name: &ContainerName) -> Result<To> {
    let numbers = host.numbers(name)?;
    match host.link(name) {
        Link::To(active) => {
            for number in numbers.range(..active).rev() {
                if would_run(host, name, *number)? {
                    return Ok(To::Generation(*number));
                }
            }
            Ok(To::Embedded)
        }
        // What can't be read is left by the way that surely leads somewhere.
        Link::Unreadable(_) => Ok(To::Embedded),
        Link::Absent => bail!("it was never updated; nothing is before what the host image has"),
    }
}

/// Switches back to what the host image has.
///
/// # Errors
/// When it is held or has none, or that did not become healthy; the container is what it was before.
pub fn reset(switch: &Switch<'_>) -> Result<Switched> {
    let Switch { host, name, .. } = *switch;
    let doing = || format!("resetting container {name}");
    etc::require_writable(host).with_context(doing)?;
    require_free(host, name).with_context(doing)?;
    if host.embedded(name).with_context(doing)?.is_none() {
        bail!("{}: this host embeds none of that name; `sysctr uninstall {name}` removes it", doing());
    }
    switch.to(To::Embedded).with_context(doing)
}

/// Whether the active generation shall stay over host updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// `hold`.
    Begins,
    /// `unhold`.
    Ends,
}

/// Lets the active generation stay over host updates, or no longer.
///
/// # Errors
/// When there is none, or it can't be written.
pub fn hold(host: &Host, name: &ContainerName, holding: Holding) -> Result<GenerationName> {
    let doing = || match holding {
        Holding::Begins => format!("holding container {name}"),
        Holding::Ends => format!("letting container {name} go"),
    };
    etc::require_writable(host).with_context(doing)?;
    let Link::To(number) = host.link(name) else {
        bail!("{}: it has no generation that could be held; `sysctr update {name}` makes one", doing());
    };
    let generation = GenerationName::new(name, number);
    if holding == Holding::Begins && active::on(host, name).with_context(doing)?.generation != Some(number) {
        bail!("{}: {generation} is not what runs, `sysctr status {name}` tells why", doing());
    }
    let dir = host.generation_dir(&generation);
    let path = dir.join(place::HOLD);
    match holding {
        Holding::Begins => write_synced(&path, b"", 0o644).with_context(doing)?,
        Holding::Ends => {
            durable::remove(&path).and_then(|()| sync_dir(&dir)).with_context(doing)?;
            host_files::settle_and_tell(host, name).with_context(doing)?;
            // What was held over a host update is superseded from now on.
            if systemd::is_running() {
                systemd::reload().with_context(doing)?;
            }
        }
    }
    Ok(generation)
}

/// What goes with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its volumes stay.
    Stays,
    /// Its volumes go (`--purge`).
    Goes,
}

/// Takes a container away that was installed on this host.
///
/// # Errors
/// When the host image has it, it is not there, or something can't be removed.
pub fn uninstall(host: &Host, name: &ContainerName, state: State) -> Result<()> {
    let doing = || format!("uninstalling container {name}");
    etc::require_writable(host).with_context(doing)?;
    if host.embedded(name).with_context(doing)?.is_some() {
        bail!(
            "{}: it is part of the host image; `systemctl mask {}` keeps it from starting, `sysctr reset {name}` undoes \
             updates",
            doing(),
            name.unit()
        );
    }
    let numbers = host.numbers(name).with_context(doing)?;
    if numbers.is_empty() && host.link(name) == Link::Absent {
        bail!("{}: it is not installed; `sysctr list` shows what is", doing());
    }
    if systemd::is_running() {
        systemd::stop(name).with_context(doing)?;
    }
    let active = host.active_dir();
    durable::remove(&active.join(name.as_str())).and_then(|()| sync_dir(&active)).with_context(doing)?;
    host_files::settle_and_tell(host, name).with_context(doing)?;
    for number in numbers {
        let generation = GenerationName::new(name, number);
        make::forget(host, &generation).with_context(doing)?;
    }
    if state == State::Goes {
        let volumes = host.path(place::state_dir(name).as_str().trim_start_matches('/'));
        durable::clear(&volumes).with_context(doing)?;
    }
    if systemd::is_running() {
        systemd::reload().with_context(doing)?;
        systemd::forget_failures(name);
    }
    Ok(())
}

/// For people.
pub fn text(name: &ContainerName, to: To, switched: Switched) -> String {
    let state = match switched {
        Switched::Running => "runs",
        Switched::AtNextStart => "is what the next start runs",
    };
    format!("{name}: {} {state}\n", called(name, to))
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(name: &ContainerName, to: To, switched: Switched) -> Value {
    let generation = match to {
        To::Embedded => None,
        To::Generation(number) => Some(number),
    };
    let running = switched == Switched::Running;
    json!({ "format": 1, "containers": [{ "name": name, "generation": generation, "running": running }] })
}

/// What `hold` and `unhold` did, for programs.
pub fn held_json(generation: &GenerationName, holding: Holding) -> Value {
    let GenerationName { container, number } = generation;
    let held = holding == Holding::Begins;
    json!({ "format": 1, "containers": [{ "name": container, "generation": number, "held": held }] })
}

/// The same for people.
pub fn held_text(generation: &GenerationName, holding: Holding) -> String {
    let name = &generation.container;
    match holding {
        Holding::Begins => format!("{name}: held at {generation}\n"),
        Holding::Ends => format!("{name}: {generation} is held no longer\n"),
    }
}

/// What `uninstall` did, for programs.
pub fn uninstalled_json(name: &ContainerName, state: State) -> Value {
    let purged = state == State::Goes;
    json!({ "format": 1, "containers": [{ "name": name, "generation": null, "purged": purged }] })
}
