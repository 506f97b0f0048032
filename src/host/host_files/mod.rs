//! Files of the host that updates bring (`/etc` above all): in place while their generation is active, and gone without a trace
//! when it is not. What an admin changed, made or removed stays as the admin has it.
//!
//! `written.json` tells what was written over what, and is itself written first. So whoever comes after a cut can finish, in
//! either direction: [`settle`] makes the files those of what is active, whatever happened before.

mod node;
mod plan;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::generation::{Before, GenerationName, HostFiles, Overwritten, Whose, Written};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::Etc;
use sysctr_core::record::{self, Placed, VERSION, to_json};

use crate::active;
use crate::active::decision::{Choice, Refused};
use crate::active::host::{self, Host};
use crate::durable::{self, sync_dir, write_synced};

use node::Label;
pub use node::{copy_to, look, plain, set};
use plan::{Plan, Step};

/// What an admin has otherwise, and so stays: paths relative to the host's root.
pub type Kept = Vec<Utf8PathBuf>;

/// Brings the host files of a container to what is active now; tells what was left to the admin, none when nothing was to do.
///
/// # Errors
/// When one can't be read or written; the next call goes on.
pub fn settle(host: &Host, name: &ContainerName) -> Result<Kept> {
    let doing = || format!("placing the host files of container {name}");
    let Some(task) = Task::find(host, name).with_context(doing)? else { return Ok(Kept::new()) };
    task.carry_out(host, name).with_context(doing)
}

/// The same for every container that has any, and tells people what was left.
///
/// # Errors
/// When one could not be settled; the others are.
pub fn settle_all(host: &Host) -> Result<()> {
    let settled = names(host)?.into_iter().map(|name| settle_and_tell(host, &name));
    // All of them, whatever the first ones come to.
    settled.collect::<Vec<_>>().into_iter().collect()
}

/// The same for one container.
///
/// # Errors
/// As [`settle`].
pub fn settle_and_tell(host: &Host, name: &ContainerName) -> Result<()> {
    for path in settle(host, name)? {
        eprintln!(
            "sysctr: host file /{path} of container {name} was changed on this host, so it stays as it is"
        );
    }
    Ok(())
}

/// The containers that have, or had, host files of their own.
///
/// # Errors
/// When `/etc` can't be read.
pub fn names(host: &Host) -> Result<Vec<ContainerName>> {
    let mut names = host.switched()?;
    names.extend(host::names(&host.active_dir())?.iter().filter_map(|file| place::written_by(file)));
    Ok(names.into_iter().collect())
}

/// What has to be done before a container may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Files go back to what the host image has.
    Back,
    /// Files of a generation come, whose bundle must be there.
    Forward,
}

/// What is due of a container's host files. Reads `/etc` and `/usr` alone.
///
/// # Errors
/// When they can't be read.
pub fn due(host: &Host, name: &ContainerName) -> Result<Due> {
    Ok(match Task::find(host, name)? {
        None => Due::Nothing,
        Some(Task { whose: Whose::Embedded, .. }) => Due::Back,
        Some(Task { whose: Whose::Generation(_), .. }) => Due::Forward,
    })
}

/// A change from whatever is in place to what shall be.
struct Task {
    whose: Whose,
    wanted: HostFiles,
    written: Written,
}

impl Task {
    /// None when everything is in place already, or nobody can tell what shall be.
    fn find(host: &Host, name: &ContainerName) -> Result<Option<Self>> {
        let whose = match active::chosen(host, name)? {
            Ok(Choice::Generation(number)) => Whose::Generation(number),
            Ok(Choice::Embedded) | Err(Refused::Unknown) => Whose::Embedded,
            Err(Refused::Unusable(_)) => return Ok(None),
        };
        let written = written(host, name)?;
        if written.as_ref().is_some_and(|written| written.of == Some(whose)) {
            return Ok(None);
        }
        let wanted = match whose {
            Whose::Embedded => None,
            Whose::Generation(number) => wanted(host, &GenerationName::new(name, number))?,
        };
        if written.is_none() && wanted.is_none() {
            return Ok(None);
        }
        let nothing = HostFiles { version: VERSION, files: BTreeMap::new(), allowed: Default::default() };
        let written = written.unwrap_or(Written { version: VERSION, of: None, files: BTreeMap::new() });
        Ok(Some(Self { whose, wanted: wanted.unwrap_or(nothing), written }))
    }

    fn carry_out(self, host: &Host, name: &ContainerName) -> Result<Kept> {
        let place = Place::of(host, name)?;
        let plan = Plan::make(host, &place, &self.wanted, self.written.clone())?;
        let dir = host.path(place::written_dir(name));
        std::fs::create_dir_all(&dir).with_context(|| format!("making directory {dir}"))?;
        for (path, kept) in &plan.to_keep {
            let aside = dir.join(place::put_aside(name, path));
            node::put(kept, &aside, Label::Comes)?;
        }
        let json = dir.join(place::WRITTEN_JSON);
        write_synced(&json, &to_json(&plan.during), 0o644)?;
        sync_dir(&host.active_dir())?;
        let contents = self.contents(host, name)?;
        for step in plan.steps() {
            step.carry_out(host, &dir, name, contents.as_deref())?;
        }
        let mut done = plan.done;
        done.of = Some(self.whose);
        if done.files.is_empty() && self.wanted.files.is_empty() {
            // The document goes first, so that what is left tells of nothing.
            durable::remove(&json)?;
            durable::clear(&dir)?;
            sync_dir(&host.active_dir())?;
        } else {
            write_synced(&json, &to_json(&done), 0o644)?;
            clear_aside(&dir, name, &done)?;
        }
        Ok(plan.kept)
    }

    /// Where the contents of what is wanted lie.
    fn contents(&self, host: &Host, name: &ContainerName) -> Result<Option<Utf8PathBuf>> {
        let Whose::Generation(number) = self.whose else { return Ok(None) };
        let described = host.described(&GenerationName::new(name, number));
        let (generation, _) = described.map_err(|why| anyhow::anyhow!("{why}"))?;
        Ok(Some(host.bundle(&generation).join(place::HOST_FILES)))
    }
}

/// What else is at the places of a container.
struct Place {
    name: ContainerName,
    /// Where copies of what was there lie.
    aside: Utf8PathBuf,
    /// What the host embeds under its name, everything where it lies in `/etc`.
    embedded: BTreeMap<Utf8PathBuf, Placed>,
    /// What updates of other containers wrote, and whose they are.
    others: BTreeMap<Utf8PathBuf, (ContainerName, Overwritten)>,
}

impl Place {
    fn of(host: &Host, name: &ContainerName) -> Result<Self> {
        let embedded =
            host.embedded(name)?.map(|record| Etc::Host.relocate(record).placed).unwrap_or_default();
        let mut others = BTreeMap::new();
        for other in names(host)?.into_iter().filter(|other| other != name) {
            if let Some(written) = written(host, &other)? {
                others.extend(written.files.into_iter().map(|(path, over)| (path, (other.clone(), over))));
            }
        }
        Ok(Self { name: name.clone(), aside: host.path(place::written_dir(name)), embedded, others })
    }
}

/// What updates of a container wrote, if anything.
///
/// # Errors
/// When it can't be read.
pub fn written(host: &Host, name: &ContainerName) -> Result<Option<Written>> {
    let path = host.path(place::written_dir(name)).join(place::WRITTEN_JSON);
    host::read(&path)?.map(|bytes| record::from_json(&bytes, path.as_str())).transpose()
}

/// What a generation has on the host, if anything.
///
/// # Errors
/// When it can't be read.
pub fn wanted(host: &Host, generation: &GenerationName) -> Result<Option<HostFiles>> {
    let path = host.generation_dir(generation).join(place::HOST_FILES_JSON);
    host::read(&path)?.map(|bytes| record::from_json(&bytes, path.as_str())).transpose()
}

/// Copies of what nothing stands in front of any more.
fn clear_aside(dir: &Utf8Path, name: &ContainerName, written: &Written) -> Result<()> {
    let kept = written.files.iter().filter(|(_, over)| over.before == Before::Kept);
    let kept: Vec<_> = kept.map(|(path, _)| place::put_aside(name, path)).collect();
    for file in host::names(dir)?.iter().filter(|file| *file != place::WRITTEN_JSON && !kept.contains(file)) {
        durable::remove(&dir.join(file))?;
    }
    Ok(())
}

impl Step {
    /// Safe to do again.
    fn carry_out(
        &self,
        host: &Host,
        aside: &Utf8Path,
        name: &ContainerName,
        contents: Option<&Utf8Path>,
    ) -> Result<()> {
        match self {
            Self::TakeAway(path) => node::take_away(&host.path(path)),
            Self::Make(path, metadata) => node::make_directory(&host.path(path), metadata),
            Self::Put(path) => {
                let contents = contents.context("nothing says where its contents lie")?;
                node::put(&contents.join(path), &host.path(path), Label::Stays)
            }
            Self::PutBack(path, Before::Image) => {
                node::put(&host.path(plan::image(path)), &host.path(path), Label::Comes)
            }
            Self::PutBack(path, _) => {
                node::put(&aside.join(place::put_aside(name, path)), &host.path(path), Label::Comes)
            }
            Self::Clear(path) => durable::remove(&node::beside(&host.path(path))),
        }
    }
}

#[cfg(test)]
mod tests;
