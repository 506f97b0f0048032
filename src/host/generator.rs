//! `sysctr-generator` (systemd.generator(7)): the units of active generations, in systemd's normal generator directory, which
//! stands above /usr/lib and below the admin's /etc. Embedded containers need none of it.
//!
//! It runs before /var is mounted and while nothing may be written but /run, so that it decides by /etc and /usr alone.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::generation::GenerationName;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{Placed, Record};

use crate::active;
use crate::active::decision::Choice;
use crate::active::host::{self, Host};
use crate::durable::{self, make_parent};
use crate::host_files::{self, Due};

/// Where the lines of generations go, relative to the root: above those of /usr/lib (tmpfiles.d(5)).
const TMPFILES: &str = "run/tmpfiles.d";

/// Writes the units of all active generations below `units`, which is empty, and their tmpfiles.d lines into /run.
///
/// # Errors
/// When one container's could not be written; those of the others are.
pub fn generate(host: &Host, units: &Utf8Path) -> Result<()> {
    let mut failed = None;
    let switched = host.switched()?;
    // Reset since the last reload.
    for lines in host::names(&host.path(TMPFILES))? {
        let name = lines.strip_prefix("sysctr-").and_then(|rest| rest.strip_suffix(".conf"));
        if name.and_then(|name| name.parse().ok()).is_some_and(|name| !switched.contains(&name)) {
            durable::remove(&host.path(TMPFILES).join(lines))?;
        }
    }
    // What can't be read shares nothing that we know of.
    let names = if switched.is_empty() { Vec::new() } else { host.embedded_names()? };
    let embedded = names.into_iter().filter_map(|name| Some((name.clone(), host.embedded(&name).ok()??)));
    let embedded: BTreeMap<_, _> = embedded.collect();
    for name in switched {
        let done = one(host, &name, &embedded, units)
            .with_context(|| format!("generating the unit of container {name}"));
        failed = failed.or(done.err());
    }
    for name in host_files::names(host)? {
        let done = settling(host, &name, units)
            .with_context(|| format!("generating the unit for the host files of container {name}"));
        failed = failed.or(done.err());
    }
    failed.map_or(Ok(()), Err)
}

fn one(
    host: &Host,
    name: &ContainerName,
    embedded: &BTreeMap<ContainerName, Record>,
    units: &Utf8Path,
) -> Result<()> {
    let tmpfiles = host.path(TMPFILES).join(place::tmpfiles_name(name));
    let Some(generation) = active(host, name)? else {
        return durable::remove(&tmpfiles);
    };
    let dir = host.generation_dir(&generation);
    let from = dir.join(place::UNITS);
    copy(&from, units)?;
    if let Some(own) = embedded.get(name) {
        mask(own, embedded, units)?;
    }
    match host::read(&dir.join(place::tmpfiles_name(name)))? {
        // Nothing is as good as the lines of what is embedded, which must not count.
        None if host.path(place::tmpfiles(name)).exists() => write(&tmpfiles, b""),
        None => durable::remove(&tmpfiles),
        Some(lines) => write(&tmpfiles, &lines),
    }
}

/// The generation whose unit counts. What can't be used has no unit; `sysctr run` says why.
fn active(host: &Host, name: &ContainerName) -> Result<Option<GenerationName>> {
    Ok(match active::chosen(host, name)? {
        Ok(Choice::Generation(number)) => Some(GenerationName::new(name, number)),
        Ok(Choice::Embedded) | Err(_) => None,
    })
}

/// A unit that brings host files to what is active, where a cut or an update of the host left them otherwise: nothing may be written
/// by a generator. It comes before the container, once in a boot: sysinit.target wants it, so that every later start of anything would
/// run it again.
fn settling(host: &Host, name: &ContainerName, units: &Utf8Path) -> Result<()> {
    let mounts = match host_files::due(host, name)? {
        Due::Nothing => return Ok(()),
        Due::Back => String::new(),
        Due::Forward => format!("RequiresMountsFor=/{}\n", place::GENERATIONS_DIR),
    };
    let unit = format!("sysctr-settle@{name}.service");
    let text = format!(
        "# Made by sysctr-generator\n\
         [Unit]\n\
         Description=Host files of container {name}\n\
         DefaultDependencies=no\n\
         {mounts}\
         After=systemd-remount-fs.service\n\
         Before=sysinit.target {}\n\
         Conflicts=shutdown.target\n\
         Before=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/{} settle {name}\n",
        name.unit(),
        place::LAUNCHER,
    );
    write(&units.join(&unit), text.as_bytes())?;
    let link = units.join("sysinit.target.wants").join(&unit);
    make_parent(&link)?;
    symlink(format!("../{unit}"), &link).with_context(|| format!("making link {link}"))
}

/// Units and links that only this container's embedded form has, and its generation lacks, must not count: a link to /dev/null of the same name takes
/// their place (systemd.unit(5)).
fn mask(own: &Record, embedded: &BTreeMap<ContainerName, Record>, units: &Utf8Path) -> Result<()> {
    let others = || embedded.values().filter(|other| other.name != own.name);
    let shared = |path: &Utf8PathBuf| others().any(|other| other.placed.contains_key(path));
    let ours = |path: &Utf8PathBuf| path.strip_prefix(place::UNIT_DIR).ok().map(Utf8Path::to_owned);
    let places: BTreeSet<_> = own
        .placed
        .iter()
        .filter(|(_, placed)| matches!(placed, Placed::File { .. } | Placed::Link { .. }))
        .filter(|(path, _)| !shared(path))
        .filter_map(|(path, _)| ours(path))
        .collect();
    for place in places {
        let path = units.join(&place);
        if path.symlink_metadata().is_err() {
            make_parent(&path)?;
            symlink("/dev/null", &path).with_context(|| format!("masking {place}"))?;
        }
    }
    Ok(())
}

/// Files and links of `from`, whatever lies there already stays.
fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("making directory {to}"))?;
    for name in host::names(from)? {
        let (from, to) = (from.join(&name), to.join(&name));
        let kind = from.symlink_metadata().with_context(|| format!("reading {from}"))?.file_type();
        if kind.is_dir() {
            copy(&from, &to)?;
        } else if kind.is_symlink() {
            let text = std::fs::read_link(&from).with_context(|| format!("reading {from}"))?;
            match symlink(text, &to) {
                // Another generation shares it.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.with_context(|| format!("making link {to}"))?,
            }
        } else {
            let bytes = std::fs::read(&from).with_context(|| format!("reading {from}"))?;
            write(&to, &bytes)?;
        }
    }
    Ok(())
}

/// Written beside and renamed: systemd-tmpfiles may read at any time.
fn write(path: &Utf8Path, bytes: &[u8]) -> Result<()> {
    make_parent(path)?;
    let beside = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default()));
    let write = || {
        std::fs::write(&beside, bytes)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o644))?;
        std::fs::rename(&beside, path)
    };
    write().with_context(|| format!("writing {path}"))
}

#[cfg(test)]
mod tests;
