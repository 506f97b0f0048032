//! `sysctr exec`: a further process in a running container, or the only one in a temporary one.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{Launch, LaunchMode};

use crate::active::{self, Active};
use crate::cgroup::{self, Seat};
use crate::late_bound::{self, Handed};
use crate::runtime::{Kind, Runtime, State};
use crate::temporary::{self, Temporary};
use crate::{run, set, stop, volumes};

/// How often a temporary container is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Becomes the process in a running container. Of a container that does not run, a temporary one runs it, by what the next start
/// would run, and this process ends with its status.
///
/// # Errors
/// When the runtime can't be run, or the temporary container can't be made or cleared.
pub fn exec(name: &ContainerName, program: &[OsString]) -> Result<()> {
    let runtime = Runtime::at(&active::started(name)?.runtime)?;
    let State::Alive { pid, .. } = runtime.state(name)? else {
        let status = in_temporary(name, program).with_context(|| {
            format!("running {} in a temporary container of {name}", program[0].display())
        })?;
        std::process::exit(code(status));
    };
    let mut command = command(name, &runtime, pid)?;
    if std::io::stdin().is_terminal() {
        command.arg("--tty");
    }
    Err(command.arg(name.as_str()).args(program).exec()).with_context(|| format!("entering container {name}"))
}

/// As shells have it.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// The runtime's `exec`, still without the container's name and the program. runc moves what it starts into the
/// container's cgroup; crun, with its cgroup manager off, does not know it, so this process goes there.
///
/// # Errors
/// When this process can't enter the container's cgroup.
pub fn command(name: &ContainerName, runtime: &Runtime, pid: i32) -> Result<Command> {
    if runtime.kind() == Kind::Crun {
        cgroup::join(pid).with_context(|| format!("entering container {name}"))?;
    }
    let mut command = runtime.command();
    command.arg("exec");
    Ok(command)
}

/// Runs the program in a container of its own, which is gone afterwards.
fn in_temporary(name: &ContainerName, program: &[OsString]) -> Result<ExitStatus> {
    let active = active::of(name)?;
    let runtime = Runtime::at(&active.record.runtime)?;
    temporary::sweep(name, &runtime)?;
    let interrupt = Interrupt::install()?;
    volumes::prepare(name, &active.record.launch.volumes, || run::rootfs(&active.bundle))?;
    let temporary = Temporary::of(name)?;
    active::remember(&active, &place::run_dir(&temporary.id))?;
    let ran = one(&active, &runtime, &temporary.id, program, &interrupt);
    let cleared = temporary.clear(&runtime);
    // Others may be in it.
    std::fs::remove_dir(cgroup::OUTSIDE).unwrap_or_default();
    let status = ran?;
    cleared.map(|()| status)
}

fn one(
    active: &Active,
    runtime: &Runtime,
    id: &ContainerName,
    program: &[OsString],
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    // A socket of systemd's and credentials are its unit's.
    let launch = Launch { mode: LaunchMode::Foreground, credentials: false, ..active.record.launch.clone() };
    let mut changes = late_bound::changes(&launch, &Handed::default())?;
    changes.cgroups_path = Some(format!("/sysctr/{id}"));
    let config = match set::rendered(active)? {
        Some(config) => config,
        None => late_bound::config(&active.bundle)?,
    };
    let bundle = changes.write(id, &active.bundle, with_program(config, program)?)?;
    let mut command = run::command(runtime, &Seat::Outside)?;
    command.arg("run").arg("--bundle").arg(bundle).arg(id.as_str());
    let mut child = command.spawn().context("running the container runtime")?;
    wait(&mut child, &launch, runtime, id, interrupt)
}

fn with_program(mut config: Value, program: &[OsString]) -> Result<Value> {
    let words: Option<Vec<_>> = program.iter().map(|word| word.to_str()).collect();
    let Some(words) = words else { bail!("an argument is not UTF-8, and config.json holds nothing else") };
    config["process"]["args"] = json!(words);
    config["process"]["terminal"] = json!(std::io::stdin().is_terminal());
    Ok(config)
}

/// Until it has ended. A wish to stop is passed on as the container's own way to end.
fn wait(
    child: &mut Child,
    launch: &Launch,
    runtime: &Runtime,
    id: &ContainerName,
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    let waiting = "waiting for the container runtime";
    loop {
        if let Some(status) = child.try_wait().context(waiting)? {
            return Ok(status);
        }
        if interrupt.check().is_err() {
            if let Some(payload) = stop::payload(id, runtime)? {
                stop::end(id, launch, &payload)?;
            }
            return child.wait().context(waiting);
        }
        std::thread::sleep(LOOK);
    }
}
