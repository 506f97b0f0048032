//! `sysctr gc`, and the end of every change: what nothing refers to any more goes away.
//!
//! A bundle stays while `/etc` of any deployment of this host knows its generation (a host rollback may need it), or while a
//! container runs from it.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::generation::GenerationName;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::store::inventory::Inventory;
use sysctr_core::store::own_repo::OwnRepo;

use crate::active;
use crate::active::decision::{Hold, Link};
use crate::active::host::{self, Host, generations_in};
use crate::durable;
use crate::kept;
use crate::make::{self, STAGING};
use crate::pulled;
use crate::stock::FETCHED;

/// Old generations that are kept beside the active one.
const KEPT: usize = 2;

/// What went away.
#[derive(Debug, Default)]
pub struct Collected {
    /// Generations.
    pub generations: Vec<GenerationName>,
    /// What pruning the store said; none: nothing was pruned.
    pub pruned: Option<String>,
}

/// Forgets old generations and removes bundles and refs that nothing refers to. The caller holds the lock.
///
/// # Errors
/// When something can't be looked at or removed; nothing that is referred to is ever removed. Nothing is collected when a newer
/// program was here.
pub fn collect(host: &Host) -> Result<Collected> {
    let doing = "collecting what nothing refers to";
    let etcs = all_etc(host).context(doing)?;
    nobody_newer(&etcs).context(doing)?;
    leftovers(host).context(doing)?;
    for name in host.generations().context(doing)?.into_keys() {
        retire(host, &name).context(doing)?;
    }
    let roots = roots(&etcs).context(doing)?;
    let mut collected = Collected::default();
    let home = host.generations_dir();
    for generation in generations_in(&home).context(doing)? {
        if !roots.contains(&generation) {
            // Renamed first: a half-removed bundle must not look like one.
            let staging = home.join(STAGING);
            let bundle = home.join(generation.to_string());
            std::fs::rename(&bundle, &staging).with_context(|| format!("{doing}: renaming {bundle}"))?;
            durable::clear(&staging).context(doing)?;
            collected.generations.push(generation);
        }
    }
    if let Some(store) = OwnRepo::open(&home.join(place::STORE)).context(doing)? {
        pulled::sweep(host, &store).context(doing)?;
        for name in store.refs().context(doing)?.into_keys() {
            if kept::generation_of(&name).is_some_and(|generation| !roots.contains(&generation)) {
                store.remove_ref(&name).context(doing)?;
            }
        }
    }
    Ok(collected)
}

/// The same, and prunes the store.
///
/// # Errors
/// As [`collect`]; and when this host has no `ostree` program, or that fails.
pub fn gc(host: &Host) -> Result<Collected> {
    let mut collected = collect(host)?;
    collected.pruned = prune(host)?;
    Ok(collected)
}

/// Removes the objects of the store that no ref needs; tells what `ostree` says, or nothing where there is no store.
///
/// # Errors
/// When this host has no `ostree` program, or that fails.
pub fn prune(host: &Host) -> Result<Option<String>> {
    let store = host.generations_dir().join(place::STORE);
    if !store.exists() {
        return Ok(None);
    }
    if let Some(store) = OwnRepo::open(&store)? {
        Inventory::of(&store)?
            .drop_commits()
            .with_context(|| format!("pruning the store {}", store.path()))?;
    }
    let mut command = Command::new("ostree");
    command.args(["prune", "--refs-only", &format!("--repo={store}")]).stdin(Stdio::null());
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "pruning the store {store}: it needs the program ostree, which this host lacks; what was removed is gone, its \
             contents stay until it is installed"
        ),
        output => output.with_context(|| format!("pruning the store {store}: running ostree"))?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        bail!("pruning the store {store}: ostree says: {said}");
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).trim().replace('\n', "; ")))
}

/// Removes what programs that were cut off left beside everything. The caller holds the lock.
///
/// # Errors
/// When it can't be removed.
pub fn leftovers(host: &Host) -> Result<()> {
    for left in [STAGING, FETCHED, ".repo.new"] {
        durable::clear(&host.generations_dir().join(left))?;
    }
    let active = host.active_dir();
    for name in host::names(&active)?.iter().filter(|name| name.starts_with('.')) {
        let path = active.join(name);
        if name.ends_with(".new") && path.is_dir() {
            durable::clear(&path)?;
        } else if name.ends_with(".link") {
            std::fs::remove_file(&path).with_context(|| format!("removing {path}"))?;
        }
    }
    Ok(())
}

/// Forgets all generations of a container but the active one, the newest before it, and those above it.
fn retire(host: &Host, name: &ContainerName) -> Result<()> {
    let numbers = host.numbers(name)?;
    let active = match host.link(name) {
        Link::To(number) => Some(number),
        Link::Absent => None,
        Link::Unreadable(_) => return Ok(()),
    };
    let held = |number: &NonZeroU64| {
        let described = host.described(&GenerationName::new(name, *number));
        described.is_ok_and(|(_, known)| known.hold == Hold::Held)
    };
    for number in old(&numbers, active).into_iter().filter(|number| !held(number)) {
        let generation = GenerationName::new(name, number);
        make::forget(host, &generation)?;
    }
    Ok(())
}

/// Those that go: all but the active one and the [`KEPT`] newest others.
fn old(numbers: &BTreeSet<NonZeroU64>, active: Option<NonZeroU64>) -> Vec<NonZeroU64> {
    numbers.iter().rev().filter(|number| Some(**number) != active).skip(KEPT).copied().collect()
}

/// Nothing goes where a newer program was: what it refers to may be unknown to this one.
fn nobody_newer(etcs: &[Utf8PathBuf]) -> Result<()> {
    for etc in etcs {
        for generation in generations_in(etc)? {
            let path = etc.join(generation.to_string()).join(place::GENERATION_JSON);
            if let Some(bytes) = host::read(&path)?
                && host::is_newer(&bytes)
            {
                bail!("a newer sysctr wrote {path}, so nothing is removed; use that one");
            }
        }
    }
    Ok(())
}

/// Every generation that something refers to: `/etc` of a deployment, or a container that runs.
///
/// # Errors
/// When one of them can't be read.
pub fn roots(etcs: &[Utf8PathBuf]) -> Result<BTreeSet<GenerationName>> {
    let mut roots = BTreeSet::new();
    for etc in etcs {
        roots.extend(generations_in(etc)?);
    }
    let run = Utf8Path::new(place::RUN_DIR);
    for name in host::names(run)?.iter().filter_map(|name| name.parse().ok()) {
        // Early containers have it by another way; its name is enough.
        let bundle = active::started_bundle(&name)?;
        roots.extend(bundle.and_then(|bundle| bundle.file_name()?.parse().ok()));
    }
    Ok(roots)
}

/// The directory of what is active in this host's `/etc` and in that of every other deployment.
///
/// # Errors
/// When other deployments can't be seen from here.
pub fn all_etc(host: &Host) -> Result<Vec<Utf8PathBuf>> {
    let mut all = vec![host.active_dir()];
    let stateroots = host.path("sysroot/ostree/deploy");
    if host.path("run/ostree-booted").exists() && !stateroots.exists() {
        bail!(
            "{stateroots} can't be seen from here, and other deployments of this host may need what would go; run it outside of sandboxes"
        );
    }
    for stateroot in host::names(&stateroots)? {
        let deployments = stateroots.join(stateroot).join("deploy");
        for deployment in host::names(&deployments)? {
            let dir = deployments.join(deployment);
            if dir.is_dir() {
                all.push(dir.join(place::ACTIVE_DIR));
            }
        }
    }
    Ok(all)
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(collected: &Collected) -> serde_json::Value {
    let names: Vec<_> = collected.generations.iter().map(ToString::to_string).collect();
    serde_json::json!({ "format": 1, "generations": names, "pruned": collected.pruned })
}

/// For people.
pub fn text(collected: &Collected) -> String {
    let mut text: String = collected.generations.iter().map(|name| format!("removed {name}\n")).collect();
    if let Some(pruned) = &collected.pruned {
        text.push_str(&format!("store: {pruned}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_is_all_but_the_active_one_and_two_more() {
        let set =
            |all: &[u64]| all.iter().map(|number| NonZeroU64::new(*number).unwrap()).collect::<BTreeSet<_>>();
        let gone = |all: &[u64], active| -> Vec<u64> {
            old(&set(all), NonZeroU64::new(active)).iter().map(|number| number.get()).collect()
        };
        assert_eq!(gone(&[1], 1), Vec::<u64>::new());
        assert_eq!(gone(&[1, 2, 3], 3), Vec::<u64>::new());
        assert_eq!(gone(&[1, 2, 3, 4, 5], 5), [2, 1]);
        // After a rollback what is above it counts too.
        assert_eq!(gone(&[1, 2, 3, 4, 5], 1), [3, 2]);
        // After a reset nothing is active.
        assert_eq!(gone(&[1, 2, 3], 0), [1]);
    }
}
