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
/// How long a runtime in the foreground may take to clear its own state.
const OWN_CLEARING: Duration = Duration::from_secs(2);

/// Stops a container. One that does not run is stopped already.
///
/// # Errors
/// When the payload did not end in time and was killed, or when the runtime fails.
pub fn stop(name: &ContainerName) -> Result<()> {
    let record = active::started(name)?;
    let runtime = Runtime::at(&record.runtime)?;
    let ended = match runtime.state(name)? {
        State::Alive { pid, .. } => end(name, &record.launch, &runtime, pid),
        State::Absent | State::Stopped => Ok(()),
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

/// Asks a payload to end and waits; kills it when its time is over.
///
/// # Errors
/// When it had to be killed, or the runtime fails.
pub fn end(name: &ContainerName, launch: &Launch, runtime: &Runtime, pid: i32) -> Result<()> {
    // Held before the signal is sent: the runtime checks then that the number is still its payload's.
    let Some(payload) = Payload::open(pid)? else { return Ok(()) };
    let wait = Duration::from_millis(launch.stop_timeout.as_millis());
    signal(name, runtime, launch.stop_signal.number(), &payload)?;
    if payload.ends_within(wait)? {
        return Ok(());
    }
    signal(name, runtime, 9, &payload)?;
    let (signal, timeout) = (&launch.stop_signal, launch.stop_timeout);
    if !payload.ends_within(AFTER_KILL)? {
        bail!(
            "stopping container {name}: its process {pid} is there still after SIGKILL; look what it waits for"
        );
    }
    bail!("stopping container {name}: it did not end within {timeout} of {signal} and was killed")
}

fn signal(name: &ContainerName, runtime: &Runtime, signal: u8, payload: &Payload) -> Result<()> {
    let doing = || format!("sending signal {signal} to container {name}");
    let output =
        runtime.command().args(["kill", name.as_str(), &signal.to_string()]).output().with_context(doing)?;
    // It may have ended by itself just now.
    if output.status.success() || payload.ends_within(Duration::ZERO)? {
        return Ok(());
    }
    bail!("{}: {}", doing(), String::from_utf8_lossy(&output.stderr).trim())
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
