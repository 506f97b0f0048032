//! A terminal of our own for skopeo, which tells how far each blob is on nothing else: it draws bars.
//!
//! What is drawn decides nothing. A line that is not understood is passed over.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Lines that don't fit are cut, and bars that don't fit are not drawn.
const SIZE: Winsize = Winsize { ws_row: 1000, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
const BUFFER: usize = 16 << 10;
/// A longer line is no bar.
const LONGEST_LINE: usize = 4096;

/// The end of a terminal at which somebody sits.
#[derive(Debug)]
pub(super) struct Terminal {
    ours: OwnedFd,
    line: Vec<u8>,
}

/// How far a blob is, as skopeo says it: to a tenth of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The beginning of its digest's hexadecimal form.
    pub blob: String,
    /// Its bytes so far.
    pub bytes: u64,
}

impl Terminal {
    /// A new one, and the end at which a program draws.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn open() -> Result<(Self, OwnedFd)> {
        let open = || -> rustix::io::Result<_> {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let ours = openpt(flags)?;
            unlockpt(&ours)?;
            let theirs = ioctl_tiocgptpeer(&ours, flags)?;
            tcsetwinsize(&theirs, SIZE)?;
            fcntl_setfl(&ours, OFlags::NONBLOCK)?;
            Ok((ours, theirs))
        };
        let (ours, theirs) = open().context("opening a terminal for skopeo's progress")?;
        Ok((Self { ours, line: Vec::new() }, theirs))
    }

    /// What was drawn since the last time.
    pub fn read(&mut self) -> Vec<Mark> {
        let mut marks = Vec::new();
        let mut buffer = [0; BUFFER];
        // The end of what there is, or of the program.
        while let Ok(count @ 1..) = rustix::io::read(&self.ours, &mut buffer) {
            for &byte in &buffer[..count] {
                if byte == b'\n' || self.line.len() == LONGEST_LINE {
                    marks.extend(mark(&String::from_utf8_lossy(&self.line)));
                    self.line.clear();
                } else {
                    self.line.push(byte);
                }
            }
        }
        marks
    }
}

/// A bar: `Copying blob 21959aaf2785 [===>---] 302.0KiB / 2.9MiB`, perhaps with control sequences before and words behind.
fn mark(line: &str) -> Option<Mark> {
    let (_, rest) = line.split_once("Copying blob ")?;
    let (blob, rest) = rest.split_once(' ')?;
    let (so_far, _) = rest.split_once(" / ")?;
    let is_hex = blob.len() >= 8 && blob.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then_some(Mark { blob: blob.to_owned(), bytes: bytes(so_far.rsplit(' ').next()?)? })
}

/// `302.0KiB` as a number.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic())?);
    let unit: u64 = match unit {
        "b" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let (whole, tenth): (u64, u64) = (whole.parse().ok()?, tenth.get(..1)?.parse().ok()?);
    Some(whole.checked_mul(unit)?.saturating_add(tenth * unit / 10))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_bar_tells_blob_and_bytes() {
        let told = |line: &str| mark(line).map(|Mark { blob, bytes }| (blob, bytes));
        let some = |blob: &str, bytes| Some((blob.to_owned(), bytes));
        // skopeo 1.9, then newer ones.
        let line = "\u{1b}[5A\u{1b}[JCopying blob 21959aaf2785 [===>------] 302.0KiB / 2.9MiB\r";
        assert_eq!(told(line), some("21959aaf2785", 302 << 10));
        let line = "Copying blob 21959aaf2785 [===>------] 1.5MiB / 2.9MiB | 12.0 MiB/s";
        assert_eq!(told(line), some("21959aaf2785", 3 << 19));
        assert_eq!(told("Copying blob 21959aaf2785 [-] 0.0b / 473.0b"), some("21959aaf2785", 0));
        for line in [
            "Getting image source signatures",
            "Copying blob 21959aaf2785 done  ",
            "Copying blob 21959aaf2785 skipped: already exists  ",
            "Copying blob somewhere [-] 1.0b / 2.0b",
            "Copying blob 21959aaf2785 [-] 1.0XB / 2.0XB",
            "Copying blob 21959aaf2785 [-] 99999999999999999999.0b / 2.0b",
            "Copying blob 21959aaf2785 [-] .b / 2.0b",
            "",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }

    #[test]
    fn a_terminal_hands_on_what_is_drawn() {
        let (mut ours, theirs) = Terminal::open().unwrap();
        assert!(rustix::termios::isatty(&theirs));
        let mut theirs = std::fs::File::from(theirs);
        assert_eq!(ours.read(), []);
        theirs.write_all(b"Copying blob 21959aaf2785 [-] 1.0KiB").unwrap();
        assert_eq!(ours.read(), []);
        theirs.write_all(b" / 2.0KiB\nCopying").unwrap();
        assert_eq!(ours.read(), [Mark { blob: "21959aaf2785".into(), bytes: 1024 }]);
        drop(theirs);
        assert_eq!(ours.read(), []);
    }
}
