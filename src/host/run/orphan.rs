//! A detached start whose payload is an orphan when we return.
//!
//! crun leaves a process between itself and the payload, which may outlive it by a moment. A PID file that is read in
//! that moment names a process that is not PID 1's child: systemd says so, and can't see how the payload ends.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};

/// Runs the runtime, and returns once the payload hangs on nobody but this process, whose end hands it to PID 1.
///
/// # Errors
/// When the runtime can't be run or fails; it has then said why itself.
pub fn start(command: &mut Command, pid_file: &Utf8Path) -> Result<()> {
    // Orphans below us become our children and not yet PID 1's, so that we see the one in between end.
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).context("becoming the parent of orphans")?;
    let status = command.status().context("running the container runtime")?;
    if !status.success() {
        bail!("the container runtime ended with {status}; what it said stands above");
    }
    let text = std::fs::read_to_string(pid_file).with_context(|| format!("reading {pid_file}"))?;
    let payload: i32 = text.trim().parse().with_context(|| format!("reading {pid_file}"))?;
    while let Some(between) = parent(payload).filter(|parent| *parent != own) {
        match rustix::process::waitid(WaitId::Pid(between), WaitIdOptions::EXITED) {
            // It is not our child yet, or somebody else's: only a wrapper around crun could make it so.
            Err(Errno::CHILD) => std::thread::sleep(Duration::from_millis(1)),
            ended => drop(ended.context("waiting for the container runtime")?),
        }
    }
    Ok(())
}

/// The parent of a process; none when it is gone.
fn parent(pid: i32) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): the name stands in brackets and may hold anything; state and parent follow.
    Pid::from_raw(stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?)
}
