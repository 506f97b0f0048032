//! `sysctr status`: what runs, as its runtime sees it.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use sysctr_core::name::ContainerName;
use sysctr_core::record::Record;

use crate::active;
use crate::list;
use crate::runtime::{Runtime, State};

/// One container.
#[derive(Debug)]
pub struct Status {
    record: Record,
    state: State,
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
    let all =
        if names.is_empty() { list::embedded()?.containers.into_keys().collect() } else { names.to_vec() };
    all.iter().map(one).collect()
}

fn one(name: &ContainerName) -> Result<Status> {
    let record = active::of(name)?.record;
    let state = Runtime::at(&record.runtime)?.state(name)?;
    Ok(Status { record, state })
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
        let record = &status.record;
        json!({
            "name": record.name, "state": status.word(), "pid": status.pid(), "active": "embedded",
            "image": record.image.source, "config": record.image.config, "mode": record.launch.mode,
            "runtime": record.runtime, "unit": record.name.unit(),
        })
    };
    json!({ "format": 1, "containers": all.iter().map(one).collect::<Value>() })
}

/// For people.
pub fn text(all: &[Status]) -> String {
    let mut text = format!("{:24} {:10} {:>8}  IMAGE\n", "NAME", "STATE", "PID");
    for status in all {
        let pid = status.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let Record { name, image, .. } = &status.record;
        writeln!(text, "{name:24} {:10} {pid:>8}  {}", status.word(), image.source).unwrap_or_default();
    }
    text
}
