//! One generation held against what `/etc`, its record and its dump say.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::Digest;
use sysctr_core::generation::{Generation, GenerationName};
use sysctr_core::inspection::{Inspected as _, Inspection, MAX_FILE_BYTES, Times};
use sysctr_core::place;
use sysctr_core::placement::{Found, Ground as _};
use sysctr_core::record::{Record, from_json};

use crate::active::host::Host;

/// Tells everything that is not as the generation was made. Flags that change (trial, hold) are not looked at.
///
/// # Errors
/// When something can't be looked at, or the user interrupts.
pub fn inspect(host: &Host, name: &GenerationName, inspection: &mut Inspection<'_>) -> Result<()> {
    let home = Utf8Path::new(place::ACTIVE_DIR).join(name.to_string());
    let Some(generation) = document::<Generation>(inspection, &home.join(place::GENERATION_JSON))? else {
        return Ok(());
    };
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

/// Units that the generation does not have: systemd would be given them, too.
fn strangers(host: &Host, dir: &Utf8Path, record: &Record, inspection: &mut Inspection<'_>) -> Result<()> {
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
