//! `sysctr exec`: a further process in a running container.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sysctr_core::name::ContainerName;

use crate::active;
use crate::cgroup;
use crate::runtime::{Kind, Runtime, State};

/// Becomes the process in the container; so it returns only an error.
///
/// # Errors
/// When the container does not run, or the runtime can't be run.
pub fn exec(name: &ContainerName, program: &[OsString]) -> Result<()> {
    let runtime = Runtime::at(&active::started(name)?.runtime)?;
    let State::Alive { pid, .. } = runtime.state(name)? else {
        bail!("entering container {name}: it does not run; `systemctl start {}` starts it", name.unit())
    };
    let mut command = command(name, &runtime, pid)?;
    if std::io::stdin().is_terminal() {
        command.arg("--tty");
    }
    Err(command.arg(name.as_str()).args(program).exec()).with_context(|| format!("entering container {name}"))
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
