//! `sysctr blame`: where the time of each container's last start in this boot went.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::list;
use crate::stamps::{self, Stamps};
use crate::systemd::{self, Ready, Times};

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
    starts.sort_by_key(|start| start.unit.begun);
    Ok(starts)
}

fn start(name: ContainerName, unit: Times) -> Start {
    let stamps = Stamps::of(&name).filter(|stamps| is_of(stamps, &unit));
    let process = stamps.and_then(|stamps| {
        let pid = std::fs::read_to_string(place::run_dir(&name).join("pid")).ok()?;
        // It is known to a hundredth of a second only.
        Some(stamps::of_process(pid.trim().parse().ok()?)?.max(stamps.executed))
    });
    Start { name, unit, stamps, process }
}

/// A start by hand, or one that is only beginning, is not the unit's.
fn is_of(stamps: &Stamps, unit: &Times) -> bool {
    let was_up = unit.up >= unit.begun && unit.ready == Ready::Told;
    stamps.launched >= unit.begun && (!was_up || stamps.launched <= unit.up)
}

impl Start {
    /// When it was ready, by the unit's kind of readiness, if it is.
    fn ready(&self) -> Option<u64> {
        Some(self.unit.up).filter(|up| *up >= self.unit.begun)
    }
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(starts: &[Start]) -> Value {
    let one = |start: &Start| {
        json!({
            "name": start.name, "unit": start.name.unit(), "begun": start.unit.begun,
            "launched": start.stamps.map(|it| it.launched), "chosen": start.stamps.map(|it| it.chosen),
            "executed": start.stamps.map(|it| it.executed), "process": start.process, "ready": start.ready(),
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
        let Start { name, unit, stamps, process } = start;
        let took = start.ready().map(|ready| ready - unit.begun);
        let times = [
            Some(unit.begun),
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

    #[test]
    fn a_start_by_hand_is_not_the_units() {
        let unit = |up, ready| Times { begun: 10, up, ready };
        let cases = [
            (9, unit(20, Ready::Told), false),
            (15, unit(20, Ready::Told), true),
            (30, unit(20, Ready::Told), false),
            // Not up yet: what is there is of the start before.
            (30, unit(5, Ready::Told), true),
            (30, unit(20, Ready::AtOnce), true),
        ];
        for (launched, unit, expected) in cases {
            assert_eq!(
                is_of(&Stamps { launched, chosen: 0, executed: 0 }, &unit),
                expected,
                "{launched} {unit:?}"
            );
        }
    }

    #[test]
    fn times_are_told_in_both_forms() {
        let stamps = Stamps { launched: 1_210_000, chosen: 1_211_000, executed: 1_212_999 };
        let up = Start {
            name: "web".parse().unwrap(),
            unit: Times { begun: 1_200_000, up: 1_300_000, ready: Ready::Told },
            stamps: Some(stamps),
            process: Some(1_250_000),
        };
        let begins = Start {
            name: "slow".parse().unwrap(),
            unit: Times { begun: 61_000_000, up: 900_000, ready: Ready::Told },
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
