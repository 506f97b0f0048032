//! The host program: the one that a target has, and the one that a compose adds.

use anyhow::{Context, Result, anyhow, bail};
use camino::Utf8Path;
use sysctr_core::arch::Architecture;
use sysctr_core::launcher_note;
use sysctr_core::place;
use sysctr_core::record;

use crate::target::host_tree::HostTree;

/// A launcher above this is none.
const MAX_LAUNCHER_BYTES: u64 = 64 << 20;

/// Reads the launcher to be added.
///
/// # Errors
/// When it can't be read, or is not a launcher of the architecture and the record version.
pub fn read(path: &Utf8Path, architecture: Architecture) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading launcher {path}"))?;
    check(&bytes, architecture).with_context(|| format!("adding launcher {path}"))?;
    Ok(bytes)
}

/// Looks whether the target has a launcher that fits.
///
/// # Errors
/// When it has none, or one that can't be executed, is cut off, or is of another architecture or record version.
pub fn require(target: &dyn HostTree, architecture: Architecture) -> Result<()> {
    let Some(bytes) = target.read(place::LAUNCHER.as_ref(), MAX_LAUNCHER_BYTES)? else {
        bail!(
            "looking for the launcher: the target has no /{}; \
             give --add-launcher FILE, or install the package that has sysctr",
            place::LAUNCHER
        );
    };
    let looking = || format!("looking at the target's launcher /{}", place::LAUNCHER);
    check(&bytes, architecture).with_context(looking)?;
    if !target.is_program(place::LAUNCHER.as_ref())? {
        return Err(anyhow!("it is not executable; chmod 0755 it").context(looking()));
    }
    Ok(())
}

fn check(bytes: &[u8], architecture: Architecture) -> Result<()> {
    let found =
        Architecture::of_elf(bytes).context("it is no ELF program of an architecture that we know")?;
    if found != architecture {
        bail!("it is for {found}, the target is {architecture}");
    }
    match launcher_note::record_version(bytes) {
        None => bail!("it is no sysctr: it has no note with a record version"),
        Some(version) if version < record::VERSION => {
            bail!("it reads records up to version {version}, this compose writes version {}", record::VERSION)
        }
        Some(_) if !launcher_note::is_whole(bytes) => bail!("it is cut off; copy it again"),
        Some(_) => Ok(()),
    }
}
