//! Who runs from a generation's bundle.

use anyhow::{Result, bail};
use sysctr_core::generation::GenerationName;
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::active::{self, host};
use crate::systemd::{self, Unit};
use crate::{runtime, temporary};

/// Refuses while a container runs, or starts, from the bundle: its files must not go away under the payload.
///
/// # Errors
/// When one does, or it can't be found out.
pub fn nobody(name: &GenerationName) -> Result<()> {
    let bundle = name.to_string();
    for id in host::names(place::RUN_DIR.into())?.iter().filter_map(|id| id.parse::<ContainerName>().ok()) {
        let started = active::started_bundle(&id)?;
        if started.is_none_or(|started| started.file_name() != Some(&bundle)) {
            continue;
        }
        if temporary::is_held(&id) {
            bail!("{name} runs in the temporary container {id}; try again when that has ended");
        }
        if runtime::has_state(&id) || begins(&id)? {
            bail!("{name} runs; `systemctl stop {}` first", id.unit());
        }
    }
    Ok(())
}

/// Between the choice of its bundle and the runtime's state, only its unit tells.
fn begins(id: &ContainerName) -> Result<bool> {
    Ok(systemd::is_running() && systemd::unit(id)? == Unit::Up)
}
