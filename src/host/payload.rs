//! A process held by its descriptor, so that its number can't become another's (pidfd_open(2)).

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

/// A process that ran when it was opened.
#[derive(Debug)]
pub struct Payload(OwnedFd);

impl Payload {
    /// Holds the process `pid`; none when there is none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(pid: i32) -> Result<Option<Self>> {
        let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
        match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Ok(process) => Ok(Some(Self(process))),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("watching process {pid}")),
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
            match rustix::event::poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                Err(Errno::INTR) => {}
                ready => return Ok(ready.context("waiting for a process")? > 0),
            }
        }
    }
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
}
