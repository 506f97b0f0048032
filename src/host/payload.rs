//! A process held by its descriptor, so that its number can't become another's (pidfd_open(2)).

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::runtime::FirstProcess;

/// A process that ran when it was opened.
#[derive(Debug)]
pub struct Payload {
    process: OwnedFd,
    pid: i32,
}

impl Payload {
    /// Holds the process `pid`; none when there is none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(pid: i32) -> Result<Option<Self>> {
        let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
        match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Ok(process) => Ok(Some(Self { process, pid })),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("watching process {pid}")),
        }
    }

    /// Holds this very process; none when it is gone, whoever has its number now.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn of(first: FirstProcess) -> Result<Option<Self>> {
        // Looked at when it is held: a number that passes to another process in between shows another time.
        let held = Self::open(first.pid)?;
        Ok(held.filter(|held| started(held.pid) == Some(first.started)))
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal; one that has ended needs none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, number: u8) -> Result<()> {
        match rustix::process::pidfd_send_signal(&self.process, signal(number)) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("sending signal {number} to process {}", self.pid))
            }
        }
    }

    /// Waits for its end, whoever its parent is, and says whether it came in time.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn ends_within(&self, time: Duration) -> Result<bool> {
        let begin = Instant::now();
        loop {
            let left = time.saturating_sub(begin.elapsed());
            let left = Timespec::try_from(left).context("waiting for a process")?;
            match rustix::event::poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&left)) {
                Err(Errno::INTR) => {}
                ready => return Ok(ready.context("waiting for a process")? > 0),
            }
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the C library claims real-time signals for handlers of its own process, and this one goes to another"
)]
fn signal(number: u8) -> Signal {
    let number = i32::from(number.max(1));
    Signal::from_named_raw(number).unwrap_or_else(|| unsafe { Signal::from_raw_unchecked(number) })
}

/// When a process was made, in hundredths of a second (USER_HZ) since the kernel's start; none when it is gone.
pub fn started(pid: i32) -> Option<u64> {
    start_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc_pid_stat(5): the name stands in brackets and may hold anything; `starttime` is the twentieth field after it.
fn start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_seen_before_it_is_reaped() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let payload = Payload::open(child.id() as i32).unwrap().unwrap();
        assert!(!payload.ends_within(Duration::from_millis(20)).unwrap());
        drop(child.stdin.take());
        assert!(payload.ends_within(Duration::from_secs(10)).unwrap());
        assert!(child.wait().unwrap().success());
        assert!(Payload::open(i32::MAX).unwrap().is_none());
    }

    #[test]
    fn a_process_is_held_only_when_it_began_at_that_time() {
        let pid = std::process::id() as i32;
        let first = FirstProcess { pid, started: started(pid).unwrap() };
        assert_eq!(Payload::of(first).unwrap().unwrap().pid(), pid);
        assert!(Payload::of(FirstProcess { started: first.started - 1, ..first }).unwrap().is_none());
        assert!(Payload::of(FirstProcess { pid: i32::MAX, ..first }).unwrap().is_none());
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(start_ticks(stat), Some(4242));
    }

    #[test]
    fn every_signal_reaches_it_and_the_dead_need_none() {
        use std::os::unix::process::ExitStatusExt as _;
        for number in [15, 9, 37, 64] {
            let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
            let payload = Payload::open(child.id() as i32).unwrap().unwrap();
            payload.signal(number).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(number.into()));
            payload.signal(number).unwrap();
        }
    }
}
