//! `sysctr status`: what runs, as its runtime sees it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU64;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use sysctr_core::generation::GenerationName;
use sysctr_core::inspection::printable;
use sysctr_core::name::ContainerName;
use sysctr_core::record::Record;

use crate::active::decision::{Hold, Known, Link, Why};
use crate::active::host::Host;
use crate::active::{self, Active};
use crate::runtime::{Runtime, State};
use crate::{list, set};

/// One container.
#[derive(Debug)]
pub struct Status {
    /// What the next start runs, and why; not what runs, after a switch.
    active: Active,
    state: State,
    /// What the host image has.
    embedded: Option<Record>,
    link: Link,
    /// Generations that can be switched to.
    generations: BTreeMap<NonZeroU64, Known>,
    /// The admin's values that reach what the next start runs, or why it would fail with them.
    set: Result<BTreeMap<String, String>>,
}

/// The containers that were asked for.
#[derive(Debug)]
pub struct All {
    states: Vec<Status>,
    /// Those of which something can't be read.
    failed: Vec<(ContainerName, anyhow::Error)>,
}

/// The states of the named containers, or of all. One that can't be read does not hide the others.
///
/// # Errors
/// When it is not known which containers there are. Only root may ask: bundles are closed to others.
pub fn status(names: &[ContainerName]) -> Result<All> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "asking for states: only root may, since bundles are closed to other users; `sysctr list` is for all"
        );
    }
    let names = if names.is_empty() { list::names()? } else { names.to_vec() };
    let mut all = All { states: Vec::new(), failed: Vec::new() };
    for name in names {
        match one(&name) {
            Ok(status) => all.states.push(status),
            Err(error) => all.failed.push((name, error)),
        }
    }
    Ok(all)
}

fn one(name: &ContainerName) -> Result<Status> {
    let host = Host::this();
    let active = active::on(&host, name)?;
    let state = Runtime::at(&active::started(name)?.runtime)?.state(name)?;
    let described = |number| host.described(&GenerationName::new(name, number)).ok().map(|(_, known)| known);
    let generations = host.numbers(name)?.into_iter();
    let generations = generations.filter_map(|number| Some((number, described(number)?))).collect();
    let (embedded, link, set) = (host.embedded(name)?, host.link(name), set::in_effect(&active));
    Ok(Status { active, state, embedded, link, generations, set })
}

impl All {
    /// Tells what can't be read.
    ///
    /// # Errors
    /// When there was something.
    pub fn end(mut self) -> Result<()> {
        let asked = self.states.len() + self.failed.len();
        match self.failed.pop() {
            None => Ok(()),
            Some((_, only)) if self.failed.is_empty() => Err(only),
            Some(last) => {
                for (_, failure) in self.failed.iter().chain([&last]) {
                    eprintln!("sysctr: {failure:#}");
                }
                bail!("the states of {} of {asked} containers are not known", self.failed.len() + 1)
            }
        }
    }
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

impl Status {
    /// Generations that are so.
    fn those(&self, are: impl Fn(&Known) -> bool) -> Vec<NonZeroU64> {
        self.generations.iter().filter(|(_, known)| are(known)).map(|(number, _)| *number).collect()
    }

    fn json(&self) -> Value {
        let Active { record, generation, why, .. } = &self.active;
        let switched_to = match self.link {
            Link::To(number) => Some(number),
            Link::Absent | Link::Unreadable(_) => None,
        };
        let superseded = match why {
            Why::Superseded(number) => Some(number),
            _ => None,
        };
        let embedded = self.embedded.as_ref();
        json!({
            "name": record.name, "state": self.word(), "pid": self.pid(),
            "active": generation.map_or_else(|| "embedded".to_owned(), |number| format!("{}.{number}", record.name)),
            "why": why.word(), "because": because(why), "generations": self.generations.keys().collect::<Vec<_>>(),
            "image": record.image.source, "config": record.image.config, "mode": record.launch.mode,
            "runtime": record.runtime, "unit": record.name.unit(),
            "embedded": embedded.map(|it| json!({ "image": it.image.source, "config": it.image.config })),
            "switched_to": switched_to, "superseded": superseded,
            "trial": self.those(|known| known.trial.is_some()),
            "held": self.those(|known| known.hold == Hold::Held),
            "fallback": embedded.map(|it| it.fallback), "fallback_in_use": matches!(why, Why::Unusable(_)),
            "set": self.set.as_ref().ok(), "set_error": self.set.as_ref().err().map(|error| format!("{error:#}")),
        })
    }

    /// What one line can't say.
    fn details(&self) -> Vec<String> {
        let Active { record, why, .. } = &self.active;
        let name = &record.name;
        let mut details = Vec::new();
        match why {
            Why::Superseded(number) => details.push(format!(
                "{name}.{number} was made for what another host image embeds; `sysctr update {name}` makes one for this one"
            )),
            Why::Unproven(number) => {
                details.push(format!("{name}.{number} was never seen healthy before this boot"));
            }
            Why::Unusable(why) => details.push(format!("running what the host image has, since {why}")),
            Why::Shipped | Why::Updated | Why::Trial | Why::Held | Why::Orphan | Why::Installed => {}
        }
        let listed = |numbers: Vec<NonZeroU64>| {
            let names: Vec<_> = numbers.iter().map(|number| format!("{name}.{number}")).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        if let (Some(embedded), Some(_)) = (&self.embedded, self.active.generation) {
            details.push(format!("the host image has {}", embedded.image.source));
        }
        details.extend(
            listed(self.generations.keys().copied().collect()).map(|all| format!("generations: {all}")),
        );
        details
            .extend(listed(self.those(|known| known.trial.is_some())).map(|all| format!("on trial: {all}")));
        details
            .extend(listed(self.those(|known| known.hold == Hold::Held)).map(|all| format!("held: {all}")));
        let path = set::path(name);
        match &self.set {
            Ok(set) => details.extend(set.iter().map(|(key, value)| format!("{path}: {key} = {value:?}"))),
            Err(error) => details.push(format!("the next start fails: {error:#}")),
        }
        details
    }
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(all: &All) -> Value {
    let failed =
        all.failed.iter().map(|(name, error)| json!({ "name": name, "error": format!("{error:#}") }));
    json!({
        "format": 1, "containers": all.states.iter().map(Status::json).collect::<Value>(),
        "failed": failed.collect::<Value>(),
    })
}

/// For people.
pub fn text(all: &All) -> String {
    let mut text = format!("{:24} {:10} {:>8}  {:12} IMAGE\n", "NAME", "STATE", "PID", "ACTIVE");
    for status in &all.states {
        let pid = status.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let Active { record: Record { name, image, .. }, generation, why, .. } = &status.active;
        let active =
            generation.map_or_else(|| why.word().to_owned(), |number| format!("{number}, {}", why.word()));
        writeln!(text, "{name:24} {:10} {pid:>8}  {active:12} {}", status.word(), image.source)
            .unwrap_or_default();
        for detail in status.details() {
            writeln!(text, "  {}", printable(&detail)).unwrap_or_default();
        }
    }
    for (name, _) in &all.failed {
        writeln!(text, "{name:24} {:10} {:>8}  {:12} -", "unknown", "-", "-").unwrap_or_default();
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
