//! `sysctr stop`: asks the payload to end, waits until it has, clears what is left.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{Launch, LaunchMode};

use crate::active;
use crate::payload::Payload;
use crate::runtime::{self, Runtime, State};

/// How long a killed payload may take to be gone: the unit's TimeoutStopSec leaves 5 s beyond the stop time-out.
const AFTER_KILL: Duration = Duration::from_secs(4);
const KILL: u8 = 9;
/// How long a runtime in the foreground may take to clear its own state.
const OWN_CLEARING: Duration = Duration::from_secs(2);

/// Stops a container. One that does not run is stopped already.
///
/// # Errors
/// When the payload did not end in time and was killed, or when the runtime fails.
pub fn stop(name: &ContainerName) -> Result<()> {
    let record = active::started(name)?;
    let runtime = Runtime::at(&record.runtime)?;
    let ended = match payload(name, &runtime)? {
        Some(payload) => end(name, &record.launch, &payload),
        None => Ok(()),
    };
    if record.launch.mode != LaunchMode::Detached {
        leave_to_foreground(name);
    }
    // Also after a payload that had to be killed; the first reason is the one to tell.
    let cleared = runtime.delete(name, &[]).and_then(|()| clear_run_dir(name));
    ended.and(cleared)
}

/// Ends a container at once and clears everything of it; without one, nothing.
///
/// # Errors
/// When something is there and can't be cleared.
pub fn force(name: &ContainerName) -> Result<()> {
    if runtime::has_state(name) {
        Runtime::at(&active::started(name)?.runtime)?.delete(name, &["--force"])?;
    }
    clear_run_dir(name)
}

/// The first process of a container's payload, held; none when it does not run.
///
/// # Errors
/// When the runtime has to be asked and can't be, or the kernel refuses.
pub fn payload(name: &ContainerName, runtime: &Runtime) -> Result<Option<Payload>> {
    if let Some(first) = runtime.first_process(name) {
        return Payload::of(first);
    }
    match runtime.state(name)? {
        State::Alive { pid, .. } => Payload::open(pid),
        State::Absent | State::Stopped => Ok(None),
    }
}

/// Asks a payload to end and waits; kills it when its time is over. No program is run for that (docs/decisions.md, “A stop
/// runs no program”).
///
/// # Errors
/// When it had to be killed, or the kernel refuses.
pub fn end(name: &ContainerName, launch: &Launch, payload: &Payload) -> Result<()> {
    let doing = || format!("stopping container {name}");
    payload.signal(launch.stop_signal.number()).with_context(doing)?;
    if payload.ends_within(Duration::from_millis(launch.stop_timeout.as_millis()))? {
        return Ok(());
    }
    payload.signal(KILL).with_context(doing)?;
    let (signal, timeout) = (&launch.stop_signal, launch.stop_timeout);
    if !payload.ends_within(AFTER_KILL)? {
        let pid = payload.pid();
        bail!("{}: its process {pid} is there still after SIGKILL; look what it waits for", doing());
    }
    bail!("{}: it did not end within {timeout} of {signal} and was killed", doing())
}

/// A runtime in the foreground deletes its state when the payload ends; two that delete at once complain.
fn leave_to_foreground(name: &ContainerName) {
    let begin = Instant::now();
    while runtime::has_state(name) && begin.elapsed() < OWN_CLEARING {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn clear_run_dir(name: &ContainerName) -> Result<()> {
    let path = place::run_dir(name);
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {path}"))
        }
        _ => Ok(()),
    }
}
