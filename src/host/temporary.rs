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

use crate::active;
use crate::durable;
use crate::runtime::Runtime;

const MARK: &str = ".exec-";
/// In the run directory of a temporary container: another one may be called like one.
const MARKER: &str = "temporary";

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
            Some(lock) if run_dir.exists() => {
                let marker = run_dir.join(MARKER);
                std::fs::write(&marker, "").with_context(|| format!("writing {marker}"))?;
                Ok(Self { id, _lock: lock })
            }
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

/// Whether this is a temporary container whose program works.
pub fn is_held(id: &ContainerName) -> bool {
    // One that goes meanwhile can't be opened.
    id.as_str().contains(MARK) && matches!(lock(&place::run_dir(id)), Ok(None))
}

/// Ends and clears the temporary containers of `name` whose program is gone, so that none of them holds a volume that the next
/// start needs. Each by the runtime that made it; `runtime` for one that does not tell.
///
/// # Errors
/// When one can't be cleared; all others are.
pub fn sweep(name: &ContainerName, runtime: &Runtime) -> Result<()> {
    let prefix = format!("{name}{MARK}");
    let mut swept = Ok(());
    for left in crate::active::host::names(place::RUN_DIR.into())? {
        if !left.strip_prefix(&prefix).is_some_and(|pid| pid.bytes().all(|digit| digit.is_ascii_digit())) {
            continue;
        }
        let Ok(id) = left.parse::<ContainerName>() else { continue };
        let run_dir = place::run_dir(&id);
        if !run_dir.join(MARKER).exists() {
            continue;
        }
        // One that went by itself meanwhile can't be opened.
        let Ok(Some(_lock)) = lock(&run_dir) else { continue };
        let own = active::started(&id).and_then(|record| Runtime::at(&record.runtime));
        let cleared = clear(&id, own.as_ref().unwrap_or(runtime));
        swept = swept.and(cleared.with_context(|| format!("clearing {id}, which a killed program left")));
    }
    swept
}
