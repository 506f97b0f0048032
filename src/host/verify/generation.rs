//! One generation held against what `/etc`, its record, its dump and the store say.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::Digest;
use sysctr_core::generation::{Generation, GenerationName, HostFiles, Whose};
use sysctr_core::inspection::{Finding, Inspected as _, Inspection, MAX_FILE_BYTES, Times};
use sysctr_core::place;
use sysctr_core::placement::{Found, Ground as _};
use sysctr_core::record::{Record, from_json};
use sysctr_core::store::kept::{Kept, KeptFiles};

use crate::active::host::Host;
use crate::{host_files, kept};

/// Tells everything that is not as the generation was made. Of flags that change (trial, hold) it is told when they can't be used.
/// What is worth a look and no damage goes to `warnings`.
///
/// # Errors
/// When something can't be looked at, or the user interrupts.
pub fn inspect(
    host: &Host,
    name: &GenerationName,
    inspection: &mut Inspection<'_>,
    warnings: &mut Vec<Finding>,
) -> Result<()> {
    let kept = kept::of(host, name);
    if let Some(path) = kept::newer(host, name, kept.as_ref())? {
        warnings.push(newer(inspection, path.as_str()));
        return Ok(());
    }
    let home = Utf8Path::new(place::ACTIVE_DIR).join(name.to_string());
    inspection.rights(&home, 0o755)?;
    let path = home.join(place::GENERATION_JSON);
    let Some(generation) = document::<Generation>(inspection, &path)? else { return Ok(()) };
    if let Some(kept) = &kept
        && !same(host, &path, kept.get(&kept::inside(kept::ETC, place::GENERATION_JSON)))?
    {
        inspection.find(&format!("/{path}"), DIFFERS);
        return Ok(());
    }
    around(host, name, kept.as_ref(), inspection)?;
    in_place(host, name, inspection, warnings)?;
    let bundle = Utf8PathBuf::from(generation.bundle.as_str().trim_start_matches('/'));
    let path = bundle.join(place::RECORD_JSON);
    let read = host.read(&path, MAX_FILE_BYTES);
    let Some(bytes) = inspection.told(&path, read) else { return Ok(()) };
    if bytes.is_none_or(|bytes| Digest::of(&bytes) != generation.record) {
        inspection.find(&format!("/{path}"), format!("is not the record that /{home} names"));
        return Ok(());
    }
    let Some(record) = document::<Record>(inspection, &path)? else { return Ok(()) };
    // Host files are where they belong only while the generation is active; an admin may have changed them.
    let own = |path: &Utf8PathBuf| path.starts_with(&home) || path.starts_with(&bundle);
    inspection.placed(record.placed.iter().filter(|(path, _)| own(path)))?;
    strangers(host, &home.join(place::UNITS), &record, inspection)?;
    inspection.bundle(&bundle, &record, Times::NotKept)
}

const DIFFERS: &str = "is not what the store keeps of the generation";

/// What this program does not understand is no damage.
pub fn newer(inspection: &Inspection<'_>, path: &str) -> Finding {
    let message = "made by a newer sysctr, not looked at".to_owned();
    Finding { container: inspection.container.cloned(), path: path.to_owned(), message }
}

/// The documents beside `generation.json`.
fn around(
    host: &Host,
    name: &GenerationName,
    kept: Option<&KeptFiles>,
    inspection: &mut Inspection<'_>,
) -> Result<()> {
    let home = Utf8Path::new(place::ACTIVE_DIR).join(name.to_string());
    for file in [place::GENERATION_JSON, place::HOST_FILES_JSON, place::TRIAL_JSON, place::HOLD] {
        inspection.rights(&home.join(file), 0o644)?;
    }
    let path = home.join(place::HOST_FILES_JSON);
    let is_right = match kept {
        Some(kept) => same(host, &path, kept.get(&kept::inside(kept::ETC, place::HOST_FILES_JSON)))?,
        None => true,
    };
    if !is_right {
        inspection.find(&format!("/{path}"), DIFFERS);
    } else if kept.is_none() && host.probe(&path)? != Found::Nothing {
        document::<HostFiles>(inspection, &path)?;
    }
    if let Err(why) = host.described(name) {
        let path = home.join(place::TRIAL_JSON);
        inspection.find(&format!("/{path}"), format!("keeps the container from starting: {why}"));
    }
    Ok(())
}

/// Host files that an update wrote and that are another's by now: an admin may have changed them.
fn in_place(
    host: &Host,
    name: &GenerationName,
    inspection: &Inspection<'_>,
    warnings: &mut Vec<Finding>,
) -> Result<()> {
    let Some(written) = host_files::written(host, &name.container)? else { return Ok(()) };
    if written.of != Some(Whose::Generation(name.number)) {
        return Ok(());
    }
    // One that is broken is told of elsewhere.
    let Ok(Some(wanted)) = host_files::wanted(host, name) else { return Ok(()) };
    let Inspection { ground, container, interrupt, .. } = *inspection;
    let mut worth = Inspection { ground, container, interrupt, findings: warnings };
    worth.placed(wanted.files.iter().filter(|(path, _)| written.files.contains_key(*path)))
}

/// Whether a file holds what the store keeps of it, and is not there when the store keeps nothing.
fn same(host: &Host, path: &Utf8Path, kept: Option<&Kept>) -> Result<bool> {
    Ok(match kept {
        Some(Kept::File(bytes)) => host.read(path, MAX_FILE_BYTES)?.as_ref() == Some(bytes),
        Some(Kept::Link(text)) => host.probe(path)? == Found::Link(text.clone()),
        None => host.probe(path)? == Found::Nothing,
    })
}

fn document<T: serde::de::DeserializeOwned>(
    inspection: &mut Inspection<'_>,
    path: &Utf8Path,
) -> Result<Option<T>> {
    let Some(bytes) = inspection.told(path, inspection.ground.read(path, MAX_FILE_BYTES)) else {
        return Ok(None);
    };
    let Some(bytes) = bytes else {
        inspection.find(&format!("/{path}"), "is missing");
        return Ok(None);
    };
    Ok(inspection.told(path, from_json(&bytes, path.as_str())))
}

/// Units that the generation does not have, which systemd would be given, too; and who may write their directories.
fn strangers(host: &Host, dir: &Utf8Path, record: &Record, inspection: &mut Inspection<'_>) -> Result<()> {
    inspection.rights(dir, 0o755)?;
    for name in host.names(dir)? {
        let path = dir.join(name);
        if host.probe(&path)? == Found::Directory {
            strangers(host, &path, record, inspection)?;
        } else if !record.placed.contains_key(&path) {
            inspection.find(&format!("/{path}"), "is not of the generation");
        }
    }
    Ok(())
}
