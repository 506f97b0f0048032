//! `sysctr health`: waits until the container's health command passes. The unit's ExecStartPost, so that the unit is
//! active only when the payload is up.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sysctr_core::name::ContainerName;
use sysctr_core::settings::Health;

use crate::active;
use crate::exec;
use crate::payload::Payload;
use crate::runtime::{Runtime, State};

/// How much of what a failed try said is kept for the message.
const KEPT: usize = 400;

/// Runs the record's health command in the container until it passes. A container without one is healthy.
///
/// # Errors
/// When it did not pass in time (the last reason is in the message), or the payload ended.
pub fn health(name: &ContainerName) -> Result<()> {
    let record = active::started(name)?;
    let Some(health) = &record.launch.health else { return Ok(()) };
    let runtime = Runtime::at(&record.runtime)?;
    let ended = || format!("waiting for container {name} to be healthy: its payload has ended");
    let State::Alive { pid, .. } = runtime.state(name)? else { bail!(ended()) };
    let Some(payload) = Payload::open(pid)? else { bail!(ended()) };
    // For crun this moves us into the container's cgroup once; every try begins there.
    drop(exec::command(name, &runtime, pid)?);
    let begin = Instant::now();
    let left = || Duration::from_millis(health.timeout.as_millis()).saturating_sub(begin.elapsed());
    let mut reason = "the first try had not ended".to_owned();
    loop {
        let mut command = runtime.command();
        command.arg("exec").arg(name.as_str()).args(&health.exec);
        match attempt(&mut command, left())? {
            Attempt::Passed => return Ok(()),
            Attempt::Failed(why) => reason = why,
            // What an earlier try said tells more.
            Attempt::CutOff => {}
        }
        let pause = left().min(Duration::from_millis(health.interval.as_millis()));
        if payload.ends_within(pause)? {
            bail!(ended());
        }
        if left().is_zero() {
            bail!("{}", too_late(name, health, &reason));
        }
    }
}

fn too_late(name: &ContainerName, health: &Health, reason: &str) -> String {
    let (command, timeout) = (health.exec.join(" "), health.timeout);
    format!("waiting for container {name} to be healthy: `{command}` did not pass within {timeout}: {reason}")
}

/// How a try went.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Passed,
    Failed(String),
    CutOff,
}

fn attempt(command: &mut Command, time: Duration) -> Result<Attempt> {
    let doing = "running the health command";
    let (mut said, writer) = std::io::pipe().context(doing)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    let mut child = command.spawn().context(doing)?;
    // Our end of the writer, or the reader below would wait for ourselves.
    command.stderr(Stdio::null());
    let reader = std::thread::spawn(move || tail(&mut said));
    let process = i32::try_from(child.id()).ok().map(Payload::open).transpose()?.flatten();
    let in_time = process.map_or(Ok(true), |process| process.ends_within(time))?;
    if !in_time {
        child.kill().context(doing)?;
    }
    let status = child.wait().context(doing)?;
    if status.success() {
        return Ok(Attempt::Passed);
    }
    if !in_time {
        // Something in the container may hold the writer still, so nobody waits for the reader.
        return Ok(Attempt::CutOff);
    }
    let said = reader.join().unwrap_or_default();
    let said = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    Ok(Attempt::Failed(said.map_or_else(|| status.to_string(), |said| format!("{status}, {said}"))))
}

/// The last that was said.
fn tail(from: &mut impl std::io::Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; KEPT];
    while let Ok(length @ 1..) = from.by_ref().read(&mut buffer) {
        kept.extend_from_slice(&buffer[..length]);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_shell(script: &str, millis: u64) -> Attempt {
        let mut command = Command::new("sh");
        attempt(command.arg("-c").arg(script), Duration::from_millis(millis)).unwrap()
    }

    #[test]
    fn a_try_passes_fails_with_its_last_line_or_is_cut_off() {
        assert_eq!(try_shell("echo noise >&2", 10_000), Attempt::Passed);
        assert_eq!(
            try_shell("yes | head -c 100000 >&2; printf 'first\\nno answer\\n\\n' >&2; exit 3", 10_000),
            Attempt::Failed("exit status: 3, no answer".into())
        );
        assert_eq!(try_shell("exit 4", 10_000), Attempt::Failed("exit status: 4".into()));
        assert_eq!(try_shell("exec sleep 60", 50), Attempt::CutOff);
    }
}
