//! `remove`: containers and everything that belongs to them, in one transaction.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use sysctr_core::epoch::Epoch;
use sysctr_core::name::{ContainerName, GroupName};
use sysctr_core::placement::{Planned, Planner, Present};

use crate::destination::{Change as _, Destination};
use crate::report::ComposeReport;
use sysctr_core::interrupt::Interrupt;

/// What goes away.
#[derive(Debug, Clone)]
pub enum Doomed {
    /// These containers; may be none.
    Names(Vec<ContainerName>),
    /// All containers of a group.
    Group(GroupName),
}

/// What becomes of the launcher that a compose added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LauncherFate {
    /// It stays.
    Stays,
    /// It goes, with its generator link.
    Goes,
}

/// Removes containers, and the launcher if asked; all or nothing.
///
/// # Errors
/// When one of them is not embedded, containers that need the launcher would stay, or a change fails. The target is
/// as it was then.
pub fn remove(
    destination: &impl Destination,
    doomed: &Doomed,
    launcher: LauncherFate,
    epoch: Epoch,
    interrupt: &Interrupt,
) -> Result<ComposeReport> {
    let host = destination.host();
    let present = Present::read(host)?;
    let mut planner = Planner::new(host, &present);
    for name in names(&present, doomed)? {
        planner.remove(&name)?;
    }
    if launcher == LauncherFate::Goes {
        planner.remove_launcher()?;
    }
    let Planned { placement, records } = planner.finish()?;
    let report = ComposeReport::new(&present, &records, &placement, &BTreeMap::new(), |_| false);
    let written = destination.begin(epoch)?.commit(&placement, interrupt)?;
    Ok(report.at(destination.whereabouts()).with(written))
}

fn names(present: &Present, doomed: &Doomed) -> Result<Vec<ContainerName>> {
    match doomed {
        Doomed::Names(names) => {
            let mut names = names.clone();
            names.sort();
            names.dedup();
            Ok(names)
        }
        Doomed::Group(group) => {
            let members = present.records.values().filter(|record| record.group == *group);
            let names: Vec<_> = members.map(|record| record.name.clone()).collect();
            if names.is_empty() {
                bail!("removing group {group}: none of its containers is embedded");
            }
            Ok(names)
        }
    }
}
