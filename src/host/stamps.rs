//! When a start of a container did what, on the clock of systemd's `…TimestampMonotonic` properties: microseconds since the
//! kernel's start, without the time of a suspend (CLOCK_MONOTONIC).

use std::time::Instant;

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use serde::{Deserialize, Serialize};
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::payload;

/// In a container's run directory.
const FILE: &str = "stamps.json";
/// Later than any host runs, and within what the kernel takes.
const FAR_SECONDS: i64 = 4_000_000_000;

/// The steps of one start up to the runtime, which replaces this program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// Which start it is, by systemd's `$INVOCATION_ID` (systemd.exec(5)); none by hand.
    pub invocation: Option<String>,
    /// The launcher began; 0 if the kernel did not tell.
    pub launched: u64,
    /// It knew which bundle runs.
    pub chosen: u64,
    /// It handed over to the runtime.
    pub executed: u64,
}

/// A start that is under way.
#[derive(Debug)]
pub struct Stamping {
    stamps: Stamps,
    begun: Instant,
}

impl Stamping {
    /// One that begins now.
    pub fn begin() -> Self {
        let launched = now(TimerfdClockId::Monotonic).unwrap_or(0);
        let invocation = std::env::var("INVOCATION_ID").ok();
        let stamps = Stamps { invocation, launched, chosen: launched, executed: launched };
        Self { stamps, begun: Instant::now() }
    }

    fn now(&self) -> u64 {
        let passed = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(0);
        self.stamps.launched.saturating_add(passed)
    }

    /// The bundle is chosen.
    pub fn chosen(&mut self) {
        self.stamps.chosen = self.now();
    }

    /// The runtime begins: the last moment that this program sees, so the stamps are written for `sysctr blame`.
    ///
    /// # Errors
    /// When the run directory can't be written.
    pub fn executed(mut self, run_dir: &Utf8Path) -> Result<()> {
        self.stamps.executed = self.now();
        let path = run_dir.join(FILE);
        let bytes = serde_json::to_vec(&self.stamps).context("writing times")?;
        std::fs::write(&path, bytes).with_context(|| format!("writing {path}"))
    }
}

impl Stamps {
    /// Of the last start, unless that was cleared.
    pub fn of(name: &ContainerName) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(place::run_dir(name).join(FILE)).ok()?).ok()
    }
}

/// A clock by a timer that is far away and what is left of it. rustix's `clock_gettime` is not for us: it panics where the kernel's
/// vDSO lacks one of its functions, as in user-mode Linux, and std's clocks don't tell their numbers.
fn now(clock: TimerfdClockId) -> Option<u64> {
    let timer = rustix::time::timerfd_create(clock, TimerfdFlags::CLOEXEC).ok()?;
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let far = Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: FAR_SECONDS, tv_nsec: 0 } };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &far).ok()?;
    let left = rustix::time::timerfd_gettime(&timer).ok()?.it_value;
    u64::try_from((FAR_SECONDS - left.tv_sec) * 1_000_000 - left.tv_nsec / 1_000).ok()
}

/// When a process was made, on the same clock but to a hundredth of a second only; none when it is gone.
pub fn of_process(pid: i32) -> Option<u64> {
    let ticks = payload::started(pid)?;
    let asleep = now(TimerfdClockId::Boottime)?.saturating_sub(now(TimerfdClockId::Monotonic)?);
    Some(ticks.saturating_mul(10_000).saturating_sub(asleep))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_in_order_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = Utf8Path::from_path(dir.path()).unwrap();
        let mut stamping = Stamping::begin();
        stamping.chosen();
        stamping.executed(run_dir).unwrap();
        let read: Stamps = serde_json::from_slice(&std::fs::read(run_dir.join(FILE)).unwrap()).unwrap();
        assert!(0 < read.launched && read.launched <= read.chosen && read.chosen <= read.executed);
        assert!(read.executed <= now(TimerfdClockId::Monotonic).unwrap());
    }

    #[test]
    fn the_clock_is_the_kernels() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let clock = now(TimerfdClockId::Boottime).unwrap() as f64 / 1e6;
        // /proc/uptime is cut to a hundredth, and was read first.
        assert!(clock >= seconds && clock - seconds < 60.0, "{clock} {seconds}");
    }

    #[test]
    fn a_process_began_before_now() {
        let own = of_process(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own > 0 && own <= now(TimerfdClockId::Monotonic).unwrap());
        assert_eq!(of_process(i32::MAX), None);
    }
}
