//! `sysctr run`: record → volumes → late-bound configuration → cgroup → the launcher *becomes* the runtime.

mod orphan;

use std::num::NonZeroU64;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::active::decision::Why;
use crate::active::{self, Active};
use crate::cgroup::{self, Seat};
use crate::late_bound::{self, Handed};
use crate::runtime::{self, Kind, Runtime, State};
use crate::set;
use crate::stamps::Stamping;
use crate::{temporary, volumes};

/// Who waits for the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The runtime stays and ends with the payload's status.
    Foreground,
    /// Nobody of ours: the payload becomes PID 1's child, its number is in `/run/sysctr/NAME/pid`.
    Detached,
}

/// Starts a container. In the foreground, and detached under runc, this process becomes the runtime, so it returns
/// only an error. Detached under crun it returns when the payload has lost its parent.
///
/// # Errors
/// When it runs already, or can't be started. What was made on the way stays for `sysctr stop --force`.
pub fn run(name: &ContainerName, waiting: Waiting) -> Result<()> {
    let mut stamping = Stamping::begin();
    let active = active::of(name)?;
    stamping.chosen();
    if let Why::Unusable(why) = &active.why {
        eprintln!("sysctr: container {name}: running what the host image has, since {why}");
    }
    let runtime = Runtime::at(&active.record.runtime)?;
    let run_dir = place::run_dir(name);
    runtime::directories(&run_dir)?;
    clear_stale(name, &runtime)?;
    or_told(name, temporary::sweep(name, &runtime));
    active::remember(&active, &run_dir)?;
    volumes::prepare(name, &active.record.launch.volumes, || rootfs(&active.bundle))?;
    let seat = cgroup::seat(name)?;
    let bundle = bundle(&active, &seat)?;
    let pid_file = run_dir.join("pid");
    let mut command = command(&runtime, &seat)?;
    if let Some(pids) = active.record.launch.pids {
        limit(&runtime, &seat, pids)
            .with_context(|| format!("limiting the processes of container {name}"))?;
    }
    command.arg("run").arg("--pid-file").arg(&pid_file).arg("--bundle").arg(bundle);
    or_told(name, stamping.executed(&run_dir));
    match (waiting, runtime.kind()) {
        (Waiting::Detached, Kind::Crun) => {
            orphan::start(command.arg("--detach").arg(name.as_str()), &pid_file)
                .with_context(|| format!("starting container {name}"))
        }
        (Waiting::Detached, Kind::Runc) => Err(command.arg("--detach").arg(name.as_str()).exec().into()),
        (Waiting::Foreground, _) => Err(command.arg(name.as_str()).exec().into()),
    }
    .with_context(|| format!("running the container runtime {}", active.record.runtime))
}

/// What a start can do without.
fn or_told(name: &ContainerName, done: Result<()>) {
    if let Err(error) = done {
        eprintln!("sysctr: container {name}: {error:#}");
    }
}

/// What a killed runtime left must go, or the next start finds the name taken. A running container stays.
fn clear_stale(name: &ContainerName, runtime: &Runtime) -> Result<()> {
    if !runtime::has_state(name) {
        return Ok(());
    }
    if let State::Alive { pid, status } = runtime.state(name)? {
        bail!(
            "starting container {name}: it is {status} already, as process {pid}; `sysctr stop {name}` ends it"
        );
    }
    runtime.delete(name, &["--force"])
}

/// The root that a bundle's configuration names.
///
/// # Errors
/// When it can't be read.
pub fn rootfs(bundle: &Utf8Path) -> Result<std::path::PathBuf> {
    let config = late_bound::config(bundle)?;
    let path = config.pointer("/root/path").and_then(|path| path.as_str()).unwrap_or(place::ROOTFS);
    Ok(bundle.join(path).into_std_path_buf())
}

/// The bundle to run: the embedded one as it is, or one changed in the run directory.
fn bundle(active: &Active, seat: &Seat) -> Result<Utf8PathBuf> {
    let name = &active.record.name;
    let mut changes = late_bound::changes(&active.record.launch, &Handed::read())
        .with_context(|| format!("preparing container {name}"))?;
    if *seat == Seat::Outside {
        changes.cgroups_path = Some(format!("/sysctr/{name}"));
    }
    match set::rendered(active)? {
        None if changes.is_empty() => Ok(active.bundle.clone()),
        None => changes.write(name, &active.bundle, late_bound::config(&active.bundle)?),
        Some(config) => changes.write(name, &active.bundle, config),
    }
}

/// runc enters the group by itself. crun leaves groups alone, so it inherits ours: on cgroup v2 this process is there already.
fn limit(runtime: &Runtime, seat: &Seat, pids: NonZeroU64) -> Result<()> {
    match (cgroup::limit_payload(seat, pids)?, runtime.kind(), seat) {
        (Some(group), Kind::Crun, Seat::LegacyUnit { .. }) => cgroup::enter(&group),
        _ => Ok(()),
    }
}

/// The runtime with its options, this process put where the runtime must begin.
///
/// crun makes every cgroup path absolute, so in a unit it leaves cgroups alone and inherits ours; the unit's device
/// policy stands for what it then does not apply.
///
/// # Errors
/// When the kernel refuses.
pub fn command(runtime: &Runtime, seat: &Seat) -> Result<Command> {
    let mut command = runtime.command();
    match (runtime.kind(), seat) {
        (Kind::Runc, Seat::Unit { cgroup }) => cgroup::enter_supervisor(cgroup)?,
        (Kind::Crun, Seat::Unit { cgroup }) => cgroup::enter_payload(cgroup)?,
        _ => {}
    }
    match (runtime.kind(), seat) {
        (Kind::Crun, Seat::Outside) => command.arg("--cgroup-manager=cgroupfs"),
        (Kind::Crun, _) => command.arg("--cgroup-manager=disabled"),
        (Kind::Runc, _) => &mut command,
    };
    Ok(command)
}
