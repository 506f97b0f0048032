//! What `[container.unit]`, `[container.limits]` and the mounts of `[container.run]` say over a unit that an image brings,
//! as assignments. What is not said is the image's word.

use anyhow::Result;

use super::service::{self, Order};
use super::{Source, escape};
use crate::place;
use crate::settings::{Phase, UnitName};

/// One assignment that the settings ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The setting, for messages: `unit.health`.
    pub setting: &'static str,
    /// `Service`
    pub section: &'static str,
    /// `MemoryMax`
    pub key: &'static str,
    /// What follows `=`; empty takes the key away.
    pub value: String,
    /// What becomes of the image's own assignments.
    pub over: Over,
}

/// What becomes of a unit's own assignments of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// They go.
    Replaces,
    /// They stay beside it.
    Adds,
    /// They stay instead of it.
    Yields,
}

/// Everything that the settings say, in the order in which it is to be applied.
///
/// # Errors
/// When a setting's text can't stand in a unit.
pub fn wishes(source: &Source<'_>) -> Result<Vec<Wish>> {
    let mut list = List(Vec::new());
    list.order(source)?;
    list.service(source)?;
    list.limits(source);
    Ok(list.0)
}

struct List(Vec<Wish>);

impl List {
    fn say(
        &mut self,
        setting: &'static str,
        (section, key): (&'static str, &'static str),
        value: impl Into<String>,
        over: Over,
    ) {
        self.0.push(Wish { setting, section, key, value: value.into(), over });
    }

    fn order(&mut self, source: &Source<'_>) -> Result<()> {
        let unit = &source.settings.unit;
        if unit.description.is_some() {
            let text = service::description(source)?;
            self.say("unit.description", ("Unit", "Description"), text, Over::Replaces);
        }
        if unit.phase != Phase::MultiUser {
            self.say("unit.phase", ("Unit", "DefaultDependencies"), "no", Over::Replaces);
            self.say("unit.phase", ("Unit", "Conflicts"), "shutdown.target", Over::Adds);
        }
        let Order { after, before, wanted_by } = service::order(source);
        let requires = service::distinct(unit.requires.iter().map(UnitName::as_str));
        for (setting, key, names) in [
            ("unit.requires", "Requires", requires),
            ("unit.after", "After", after),
            ("unit.before", "Before", before),
        ] {
            if !names.is_empty() {
                self.say(setting, ("Unit", key), names.join(" "), Over::Adds);
            }
        }
        for path in service::mounts_for(source)? {
            self.say("run.mounts", ("Unit", "RequiresMountsFor"), path, Over::Adds);
        }
        if unit.wanted_by.is_some() || unit.phase != Phase::MultiUser {
            self.say("unit.wanted_by", ("Install", "WantedBy"), wanted_by.join(" "), Over::Replaces);
        }
        if unit.essential {
            self.say("unit.essential", ("Install", "RequiredBy"), "boot-complete.target", Over::Adds);
        }
        Ok(())
    }

    fn service(&mut self, source: &Source<'_>) -> Result<()> {
        let unit = &source.settings.unit;
        let run = &source.settings.run;
        if let Some(restart) = unit.restart {
            self.say("unit.restart", ("Service", "Restart"), restart.word(), Over::Replaces);
        }
        if unit.health.is_some() {
            let command = format!("/{} health {}", place::LAUNCHER, source.name);
            self.say("unit.health", ("Service", "ExecStartPost"), command, Over::Adds);
        }
        if unit.health.is_some() || !source.volumes.is_empty() {
            let time = service::start_timeout(source).to_string();
            self.say("unit.health", ("Service", "TimeoutStartSec"), time, Over::Yields);
        }
        if run.stop_timeout.is_some() {
            let time = service::stop_timeout(source.settings).to_string();
            self.say("run.stop_timeout", ("Service", "TimeoutStopSec"), time, Over::Replaces);
        }
        if run.stop_signal.is_some() {
            let status = service::success_exit_status(source.stop_signal);
            self.say("run.stop_signal", ("Service", "SuccessExitStatus"), status, Over::Adds);
            let signal = source.stop_signal.to_string();
            self.say("run.stop_signal", ("Service", "KillSignal"), signal, Over::Replaces);
        }
        for credential in service::credentials(source)? {
            self.say("unit.credentials", ("Service", "LoadCredential"), credential, Over::Adds);
        }
        for path in &run.devices {
            let device = format!("{} rw", escape::word("run.devices", path.as_str())?);
            self.say("run.devices", ("Service", "DeviceAllow"), device, Over::Adds);
        }
        Ok(())
    }

    fn limits(&mut self, source: &Source<'_>) {
        let limits = &source.settings.limits;
        let memory = limits.memory.map(|size| size.to_string());
        let pids = limits.pids.map(service::tasks_max);
        let cpu = limits.cpu.as_ref().map(ToString::to_string);
        for (setting, key, value) in [
            ("limits.memory", "MemoryMax", memory),
            ("limits.pids", "TasksMax", pids),
            ("limits.cpu", "CPUQuota", cpu),
        ] {
            if let Some(value) = value {
                self.say(setting, ("Service", key), value, Over::Replaces);
            }
        }
    }
}
