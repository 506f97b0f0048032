//! The deployment of an OSTree host that boots next. Its `/etc` was copied from this one's when it was made, so that whatever changes
//! here afterwards must be told there, too. A staged deployment gets its copy at shutdown, and needs none of this.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::StatVfsMountFlags;
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::active::decision::Link;
use crate::active::host::{self, Host, generations_in};
use crate::copy;
use crate::durable::{clear, open_dir, sync_dir, write_synced};
use crate::host_files;
use crate::switch::{self, To};

/// Gives the deployment that boots next, if it is another one, the containers of this one. Tells people on stderr.
///
/// # Errors
/// When that can't be written; this deployment has what it has.
pub fn carry_over(host: &Host) -> Result<()> {
    let Some(root) = next(host)? else { return Ok(()) };
    let other = host.deployment(root.clone());
    let differences = Differences::between(host, &other)?;
    if differences.is_none() {
        return Ok(());
    }
    let name = root.file_name().unwrap_or_default();
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

/// The directory of the deployment that boots next: what the first entry for the boot loader names (its `/etc` is there), if it is not
/// the one that runs.
fn next(host: &Host) -> Result<Option<Utf8PathBuf>> {
    let Some(booted) = host.booted() else { return Ok(None) };
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
    Ok(Some(next).filter(|next| *next != booted && next.join("etc").is_dir()))
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
            let hold = |host: &Host| host.active_dir().join(name).join(place::HOLD).exists();
            if !theirs.contains(name) || hold(host) != hold(other) {
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
            let hold = place::HOLD;
            match (to.join(name).is_dir(), from.join(name).join(hold).exists()) {
                (false, _) => copy_generation(&from, &to, name)?,
                (true, true) => write_synced(&to.join(name).join(hold), b"", 0o644)?,
                (true, false) => crate::durable::remove(&to.join(name).join(hold))?,
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
mod tests {
    use super::*;

    #[test]
    fn entries_as_ostree_writes_them() {
        let text = "title Debian GNU/Linux 12 (bookworm) (ostree:0)\nversion 2\noptions root=LABEL=root quiet \
                    ostree=/ostree/boot.1/debian/f00/0\nlinux /ostree/debian-f00/vmlinuz-6.1.0\n";
        assert_eq!(entry(text), Some((2, "ostree/boot.1/debian/f00/0".to_owned())));
        assert_eq!(entry("title Windows\nversion 3\nefi /EFI/x.efi\n"), None);
        assert!(Some((2, "a".to_owned())) > entry(""));
    }
}
