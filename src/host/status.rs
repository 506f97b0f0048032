//! `sysctr status`: what runs, as its runtime sees it.

use std::fmt::Write as _;
use std::num::NonZeroU64;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use sysctr_core::name::ContainerName;
use sysctr_core::record::Record;

use crate::active::decision::Why;
use crate::active::host::Host;
use crate::active::{self, Active};
use crate::list;
use crate::runtime::{Runtime, State};

/// One container.
#[derive(Debug)]
pub struct Status {
    /// What the next start runs, and why; not what runs, after a switch.
    active: Active,
    state: State,
    /// Generations that can be switched to.
    generations: Vec<NonZeroU64>,
}

/// The states of the named containers, or of all.
///
/// # Errors
/// When a container is not embedded or its runtime can't be asked. Only root may: bundles are closed to others.
pub fn status(names: &[ContainerName]) -> Result<Vec<Status>> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "asking for states: only root may, since bundles are closed to other users; `sysctr list` is for all"
        );
    }
    let all = if names.is_empty() { list::names()? } else { names.to_vec() };
    all.iter().map(one).collect()
}

fn one(name: &ContainerName) -> Result<Status> {
    let host = Host::this();
    let active = active::on(&host, name)?;
    let state = Runtime::at(&active::started(name)?.runtime)?.state(name)?;
    Ok(Status { active, state, generations: host.numbers(name)?.into_iter().collect() })
}

impl Status {
    fn word(&self) -> &str {
        match &self.state {
            State::Absent => "stopped",
            State::Stopped => "ended",
            State::Alive { status, .. } => status,
        }
    }

    fn pid(&self) -> Option<i32> {
        match self.state {
            State::Alive { pid, .. } => Some(pid),
            State::Absent | State::Stopped => None,
        }
    }
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(all: &[Status]) -> Value {
    let one = |status: &Status| {
        let Active { record, generation, why, .. } = &status.active;
        json!({
            "name": record.name, "state": status.word(), "pid": status.pid(),
            "active": generation.map_or_else(|| "embedded".to_owned(), |number| format!("{}.{number}", record.name)),
            "why": why.word(), "because": because(why), "generations": status.generations,
            "image": record.image.source, "config": record.image.config, "mode": record.launch.mode,
            "runtime": record.runtime, "unit": record.name.unit(),
        })
    };
    json!({ "format": 1, "containers": all.iter().map(one).collect::<Value>() })
}

/// For people.
pub fn text(all: &[Status]) -> String {
    let mut text = format!("{:24} {:10} {:>8}  {:12} IMAGE\n", "NAME", "STATE", "PID", "ACTIVE");
    for status in all {
        let pid = status.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let Active { record: Record { name, image, .. }, generation, why, .. } = &status.active;
        let active =
            generation.map_or_else(|| why.word().to_owned(), |number| format!("{number}, {}", why.word()));
        writeln!(text, "{name:24} {:10} {pid:>8}  {active:12} {}", status.word(), image.source)
            .unwrap_or_default();
    }
    text
}

/// What `why` is about: a generation, or the reason of a fallback.
fn because(why: &Why) -> Option<String> {
    match why {
        Why::Superseded(number) | Why::Unproven(number) => Some(number.to_string()),
        Why::Unusable(why) => Some(why.to_string()),
        Why::Shipped | Why::Updated | Why::Trial | Why::Held | Why::Orphan | Why::Installed => None,
    }
}
