//! The names of temporary containers, and how those go whose program was killed.
//!
//! `sysctr exec` of a container that does not run makes `NAME.exec-PID`, with a run directory and a runtime's state of its own. Its
//! program holds a lock on that directory, so that what is left of a killed one is told from one that works.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::durable;
use crate::runtime::Runtime;

const MARK: &str = ".exec-";

/// A temporary container's name and run directory, which go when it is dropped.
#[derive(Debug)]
pub struct Temporary {
    /// Its name.
    pub id: ContainerName,
    _lock: OwnedFd,
}

impl Temporary {
    /// Makes the one of this process.
    ///
    /// # Errors
    /// When its directory can't be made.
    pub fn of(name: &ContainerName) -> Result<Self> {
        let id = format!("{name}{MARK}{}", std::process::id());
        let id: ContainerName =
            id.parse().with_context(|| format!("naming a temporary container of {name}"))?;
        let run_dir = place::run_dir(&id);
        crate::runtime::directories(&run_dir)?;
        match lock(&run_dir)? {
            Some(lock) if run_dir.exists() => Ok(Self { id, _lock: lock }),
            _ => bail!("making {run_dir}: another program clears it; try again"),
        }
    }

    /// Takes it away: its process, the runtime's state, its directory.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn clear(self, runtime: &Runtime) -> Result<()> {
        clear(&self.id, runtime)
    }
}

fn clear(id: &ContainerName, runtime: &Runtime) -> Result<()> {
    runtime.delete(id, &["--force"])?;
    durable::clear(&place::run_dir(id))
}

/// None: somebody holds it.
fn lock(run_dir: &camino::Utf8Path) -> Result<Option<OwnedFd>> {
    let dir = durable::open_dir(run_dir)?;
    match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(dir)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("locking {run_dir}")),
    }
}

/// Ends and clears the temporary containers of `name` whose program is gone, so that none of them holds a volume that the next
/// start needs.
///
/// # Errors
/// When one can't be cleared.
pub fn sweep(name: &ContainerName, runtime: &Runtime) -> Result<()> {
    let prefix = format!("{name}{MARK}");
    for left in crate::active::host::names(place::RUN_DIR.into())? {
        if !left.strip_prefix(&prefix).is_some_and(|pid| pid.bytes().all(|digit| digit.is_ascii_digit())) {
            continue;
        }
        let Ok(id) = left.parse::<ContainerName>() else { continue };
        // One that went by itself meanwhile can't be opened.
        let Ok(Some(_lock)) = lock(&place::run_dir(&id)) else { continue };
        clear(&id, runtime).with_context(|| format!("clearing {id}, which a killed program left"))?;
    }
    Ok(())
}
