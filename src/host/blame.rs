//! `sysctr blame`: where the time of each container's last start in this boot went.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::list;
use crate::stamps::{self, Stamps};
use crate::systemd::{self, Times};

/// The last start of one container. Times are microseconds since the kernel's start.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    name: ContainerName,
    unit: Times,
    /// Absent for what was stopped since.
    stamps: Option<Stamps>,
    /// When the payload's first process was made.
    process: Option<u64>,
}

/// The starts of all containers that systemd started in this boot, in the order of their begin.
///
/// # Errors
/// When it is not known what containers there are, or systemd can't be asked.
pub fn blame() -> Result<Vec<Start>> {
    let names = list::names()?;
    let times = systemd::times(&names)?;
    let begun = names.into_iter().zip(times).filter(|(_, unit)| unit.begun > 0);
    let mut starts: Vec<_> = begun.map(|(name, unit)| start(name, unit)).collect();
    starts.sort_by_key(Start::begun);
    Ok(starts)
}

fn start(name: ContainerName, unit: Times) -> Start {
    let stamps = Stamps::of(&name).filter(|stamps| is_of(stamps, &unit));
    let process = stamps.as_ref().and_then(|stamps| {
        let pid = std::fs::read_to_string(place::run_dir(&name).join("pid")).ok()?;
        // It is known to a hundredth of a second only.
        Some(stamps::of_process(pid.trim().parse().ok()?)?.max(stamps.executed))
    });
    Start { name, unit, stamps, process }
}

/// A start by hand, or the one before one that is only beginning, is not the unit's. Times can't tell: the launcher may be ahead of
/// systemd, which notes when a unit began after it has made the process.
fn is_of(stamps: &Stamps, unit: &Times) -> bool {
    stamps.invocation.as_ref().is_some_and(|invocation| *invocation == unit.invocation)
}

impl Start {
    /// When the unit began, at the latest when its process did.
    fn begun(&self) -> u64 {
        let launched = self.stamps.as_ref().map(|it| it.launched).filter(|launched| *launched > 0);
        launched.map_or(self.unit.begun, |launched| self.unit.begun.min(launched))
    }

    /// When it was ready, by the unit's kind of readiness, if it is.
    fn ready(&self) -> Option<u64> {
        Some(self.unit.up).filter(|up| *up >= self.unit.begun)
    }
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(starts: &[Start]) -> Value {
    let one = |start: &Start| {
        let stamps = start.stamps.as_ref();
        json!({
            "name": start.name, "unit": start.name.unit(), "begun": start.begun(),
            "launched": stamps.map(|it| it.launched), "chosen": stamps.map(|it| it.chosen),
            "executed": stamps.map(|it| it.executed), "process": start.process, "ready": start.ready(),
        })
    };
    json!({ "format": 1, "containers": starts.iter().map(one).collect::<Value>() })
}

/// For people: seconds since the kernel's start.
pub fn text(starts: &[Start]) -> String {
    let mut text = format!(
        "{:24} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "NAME", "UNIT", "LAUNCHER", "BUNDLE", "RUNTIME", "PROCESS", "READY", "TOOK"
    );
    for start in starts {
        let Start { name, stamps, process, .. } = start;
        let stamps = stamps.as_ref();
        let took = start.ready().map(|ready| ready - start.begun());
        let times = [
            Some(start.begun()),
            stamps.map(|it| it.launched),
            stamps.map(|it| it.chosen),
            stamps.map(|it| it.executed),
            *process,
            start.ready(),
            took,
        ];
        write!(text, "{name:24}").unwrap_or_default();
        for time in times {
            write!(text, " {:>9}", seconds(time)).unwrap_or_default();
        }
        text.push('\n');
    }
    text
}

fn seconds(time: Option<u64>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{}.{:03}", time / 1_000_000, time / 1_000 % 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(invocation: Option<&str>) -> Stamps {
        let invocation = invocation.map(str::to_owned);
        Stamps { invocation, launched: 1_210_000, chosen: 1_211_000, executed: 1_212_999 }
    }

    fn unit(begun: u64, up: u64) -> Times {
        Times { invocation: "a5".to_owned(), begun, up }
    }

    #[test]
    fn a_start_by_hand_is_not_the_units() {
        for (invocation, expected) in [(Some("a5"), true), (Some("b6"), false), (None, false)] {
            assert_eq!(is_of(&stamps(invocation), &unit(10, 20)), expected, "{invocation:?}");
        }
    }

    #[test]
    fn a_launcher_that_was_ahead_of_systemd_began_the_unit() {
        let start = |launched| Start {
            name: "web".parse().unwrap(),
            unit: unit(1_210_004, 1_300_000),
            stamps: Some(Stamps { launched, ..stamps(Some("a5")) }),
            process: None,
        };
        assert_eq!(
            [1_210_000, 1_210_010, 0].map(|launched| start(launched).begun()),
            [1_210_000, 1_210_004, 1_210_004]
        );
    }

    #[test]
    fn times_are_told_in_both_forms() {
        let up = Start {
            name: "web".parse().unwrap(),
            unit: unit(1_200_000, 1_300_000),
            stamps: Some(stamps(Some("a5"))),
            process: Some(1_250_000),
        };
        let begins = Start {
            name: "slow".parse().unwrap(),
            unit: unit(61_000_000, 900_000),
            stamps: None,
            process: None,
        };
        let starts = [up, begins];
        assert_eq!(
            text(&starts).lines().collect::<Vec<_>>(),
            [
                "NAME                          UNIT  LAUNCHER    BUNDLE   RUNTIME   PROCESS     READY      TOOK",
                "web                          1.200     1.210     1.211     1.212     1.250     1.300     0.100",
                "slow                        61.000         -         -         -         -         -         -",
            ]
        );
        let json = json(&starts);
        assert_eq!(json["containers"][0]["executed"], 1_212_999);
        assert_eq!(json["containers"][1]["ready"], Value::Null);
        assert_eq!(json["containers"][1]["unit"], "slow.service");
    }
}
