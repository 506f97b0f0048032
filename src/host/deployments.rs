//! The deployment of an OSTree host that boots next. Its `/etc` was copied from this one's when it was made, so that whatever changes
//! here afterwards must be told there, too. A staged deployment gets its copy at shutdown, and needs none of this. One that is no copy
//! of ours (the host is rolled back by it, or it is another system's) keeps what it has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, StatxFlags};
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::active::decision::Link;
use crate::active::host::{self, Host, generations_in};
use crate::copy;
use crate::durable::{clear, open_dir, remove, sync_dir, write_synced};
use crate::host_files;
use crate::switch::{self, To};

/// Gives the deployment that boots next, if it is a copy of this one, the containers of this one. Tells people on stderr, and of one that is
/// no copy only where something `changed`: who repeats a command after a failure finishes the copy, and a nightly one says nothing.
///
/// # Errors
/// When that can't be written; this deployment has what it has.
pub fn carry_over(host: &Host, changed: Changed) -> Result<()> {
    let Some(booted) = host.booted() else { return Ok(()) };
    let Some(root) = next(host, &booted)? else { return Ok(()) };
    let other = host.deployment(root.clone());
    let differences = Differences::between(host, &other)?;
    if differences.is_none() {
        return Ok(());
    }
    let name = root.file_name().unwrap_or_default();
    if !is_copy(host, &booted, &root)? {
        if changed == Changed::Something {
            eprintln!(
                "sysctr: deployment {name}, which boots next, is no copy of this one and keeps the containers that it had"
            );
        }
        return Ok(());
    }
    let doing = || format!("telling deployment {name}, which boots next, of it");
    let etc = root.join("etc");
    let found = rustix::fs::statvfs(etc.as_std_path()).with_context(doing)?;
    if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
        eprintln!(
            "sysctr: deployment {name}, which boots next, was made before this change and can't be written from here, so it has \
             the containers of before; deploy it again to have them as they are now"
        );
        return Ok(());
    }
    differences.apply(host, &other).and_then(|()| host_files::settle_all(&other)).with_context(doing)?;
    eprintln!("sysctr: deployment {name}, which boots next, has it, too");
    Ok(())
}

/// Whether a command changed what this deployment knows of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It did.
    Something,
    /// It did not.
    Nothing,
}

/// What this deployment's `/etc` says of containers, to be compared with [`Said::since`].
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    known: BTreeMap<String, bool>,
    links: BTreeMap<ContainerName, Link>,
}

impl Said {
    /// Now.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn now(host: &Host) -> Result<Self> {
        let held = |name: String| {
            let held = holds(host, &name);
            (name, held)
        };
        let known = known(host)?.into_iter().map(held).collect();
        let links = host.switched()?.into_iter().map(|name| (name.clone(), host.link(&name))).collect();
        Ok(Self { known, links })
    }

    /// Whether it changed since then.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn since(&self, host: &Host) -> Result<Changed> {
        Ok(if Self::now(host)? == *self { Changed::Nothing } else { Changed::Something })
    }
}

/// Whether a deployment's `/etc` is a copy of ours that nobody lived in: it is of the same stateroot, and its directory was born after
/// ours and in this boot, in which nothing but this deployment ran. Where a file system keeps no times of birth, none is.
fn is_copy(host: &Host, booted: &Utf8Path, other: &Utf8Path) -> Result<bool> {
    if booted.parent() != other.parent() {
        return Ok(false);
    }
    let (Some(ours), Some(theirs)) = (born(&booted.join("etc")), born(&other.join("etc"))) else {
        return Ok(false);
    };
    Ok(theirs > ours && theirs >= (boot_time(host)?, 0))
}

/// When an inode was made, in seconds and nanoseconds since 1970. std knows this with glibc only.
fn born(path: &Utf8Path) -> Option<(i64, u32)> {
    let found = rustix::fs::statx(CWD, path.as_str(), AtFlags::empty(), StatxFlags::BTIME).ok()?;
    let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    told.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
}

/// When this boot began, in seconds since 1970 (`proc_stat(5)`).
fn boot_time(host: &Host) -> Result<i64> {
    let path = host.path("proc/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let began = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    began.with_context(|| format!("reading {path}: it has no btime"))
}

/// The directory of the deployment that boots next: what the first entry for the boot loader names (its `/etc` is there), if it is not
/// the one that runs.
fn next(host: &Host, booted: &Utf8Path) -> Result<Option<Utf8PathBuf>> {
    if host.path("run/ostree/staged-deployment").exists() {
        return Ok(None);
    }
    let entries = host.path("boot/loader/entries");
    let mut first: Option<(u64, String)> = None;
    for file in host::names(&entries)?.iter().filter(|file| file.ends_with(".conf")) {
        let text = host::read(&entries.join(file))?.unwrap_or_default();
        let entry = entry(&String::from_utf8_lossy(&text));
        first = first.max(entry);
    }
    let Some((_, link)) = first else { return Ok(None) };
    let next = host.path("sysroot").join(link).canonicalize_utf8();
    let next = next.with_context(|| format!("reading {entries}: finding the deployment that boots next"))?;
    Ok(Some(next).filter(|next| next != booted && next.join("etc").is_dir()))
}

/// Version, and the deployment's link relative to the sysroot, of an entry (the Boot Loader Specification, as OSTree writes it: the
/// highest version is the first).
fn entry(text: &str) -> Option<(u64, String)> {
    let value = |key: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(key))?;
        Some(line.trim_start()[key.len()..].trim())
    };
    let link = value("options")?.split_whitespace().find_map(|word| word.strip_prefix("ostree=/"))?;
    Some((value("version")?.parse().ok()?, link.to_owned()))
}

/// What another deployment's `/etc` says otherwise about containers.
#[derive(Debug, Default)]
struct Differences {
    /// Generations that it lacks, or holds otherwise.
    come: BTreeSet<String>,
    /// Generations that are known no longer.
    go: BTreeSet<String>,
    /// Containers that are switched to something else.
    links: BTreeSet<ContainerName>,
}

impl Differences {
    fn between(host: &Host, other: &Host) -> Result<Self> {
        let mut differences = Self::default();
        let (ours, theirs) = (known(host)?, known(other)?);
        for name in &ours {
            if !theirs.contains(name) || holds(host, name) != holds(other, name) {
                differences.come.insert(name.clone());
            }
        }
        differences.go = theirs.difference(&ours).cloned().collect();
        let mut names = host.switched()?;
        names.extend(other.switched()?);
        let proven = |name: &ContainerName| match host.link(name) {
            Link::To(number) => ours.contains(&format!("{name}.{number}")),
            Link::Absent | Link::Unreadable(_) => true,
        };
        let differs = |name: &ContainerName| host.link(name) != other.link(name) && proven(name);
        differences.links.extend(names.into_iter().filter(differs));
        Ok(differences)
    }

    fn is_none(&self) -> bool {
        self.come.is_empty() && self.go.is_empty() && self.links.is_empty()
    }

    /// What is named is there, at any instant.
    fn apply(&self, host: &Host, other: &Host) -> Result<()> {
        let (from, to) = (host.active_dir(), other.active_dir());
        std::fs::create_dir_all(&to).with_context(|| format!("making directory {to}"))?;
        for name in &self.come {
            if to.join(name).is_dir() {
                bring_flags(&from.join(name), &to.join(name))?;
            } else {
                copy_generation(&from, &to, name)?;
            }
        }
        for name in &self.links {
            let target = match host.link(name) {
                Link::To(number) => To::Generation(number),
                Link::Absent | Link::Unreadable(_) => To::Embedded,
            };
            switch::point(other, name, target)?;
        }
        for name in &self.go {
            clear(&to.join(name))?;
        }
        sync_dir(&to)
    }
}

/// The generations that a deployment's `/etc` describes, but those on trial.
fn known(host: &Host) -> Result<BTreeSet<String>> {
    let dir = host.active_dir();
    let names = generations_in(&dir)?.into_iter().map(|name| name.to_string());
    Ok(names.filter(|name| !dir.join(name).join(place::TRIAL_JSON).exists()).collect())
}

fn holds(host: &Host, name: &str) -> bool {
    host.active_dir().join(name).join(place::HOLD).exists()
}

/// The flags of a generation that both have become what they are in `from`: one that was copied while it was on trial here is proven there,
/// too.
fn bring_flags(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    for flag in [place::TRIAL_JSON, place::HOLD] {
        match host::read(&from.join(flag))? {
            Some(bytes) => write_synced(&to.join(flag), &bytes, 0o644)?,
            None => remove(&to.join(flag))?,
        }
    }
    sync_dir(to)
}

fn copy_generation(from: &Utf8Path, to: &Utf8Path, name: &str) -> Result<()> {
    let beside = to.join(format!(".{name}.new"));
    clear(&beside)?;
    std::fs::create_dir(&beside).with_context(|| format!("making directory {beside}"))?;
    let target = open_dir(&beside)?;
    copy::tree(&open_dir(&from.join(name))?, &target)?;
    rustix::fs::syncfs(&target).with_context(|| format!("flushing {beside}"))?;
    std::fs::rename(&beside, to.join(name)).with_context(|| format!("renaming {beside}"))?;
    sync_dir(to)
}

#[cfg(test)]
mod tests;
