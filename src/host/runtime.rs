//! The OCI runtime as a program: which one it is, and what it knows about a container.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::settings::AbsolutePath;

use crate::label;

/// The runtimes whose ways we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// runc.
    Runc,
    /// crun.
    Crun,
}

/// An OCI runtime on this host.
#[derive(Debug)]
pub struct Runtime {
    program: PathBuf,
    kind: Kind,
}

/// A container as its runtime sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The runtime has no state for it.
    Absent,
    /// There is state, but no process; `delete` clears it. Also what a runtime left that was killed.
    Stopped,
    /// The payload exists.
    Alive {
        /// The payload's first process, as this host numbers it.
        pid: i32,
        /// `running`, `paused`, …: the runtime specification's word, "State".
        status: String,
    },
}

/// A container's first process, as its runtime wrote it down when it made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstProcess {
    /// As this host numbers it.
    pub pid: i32,
    /// When it was made, in the ticks of proc_pid_stat(5), `starttime`: another process of the same number has another.
    pub started: u64,
}

impl Runtime {
    /// The runtime at `path`. Its file name tells which one it is, links (as alternatives make them) followed;
    /// only for another name its `--version` is asked.
    ///
    /// # Errors
    /// When it is missing, or neither runc nor crun.
    pub fn at(path: &AbsolutePath) -> Result<Self> {
        let program = std::fs::canonicalize(path.as_str())
            .with_context(|| format!("finding the container runtime {path}: install it"))?;
        let kind = match program.file_name().and_then(|name| name.to_str()) {
            Some("runc") => Kind::Runc,
            Some("crun") => Kind::Crun,
            _ => asked(&program)?,
        };
        Ok(Self { program, kind })
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The program with its options for all verbs, and without systemd's notify socket: runc would stand in for it
    /// and pass READY only.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(place::RUNTIME_STATE).env_remove("NOTIFY_SOCKET");
        command
    }

    /// What the runtime knows about a container.
    ///
    /// # Errors
    /// When the runtime can't be run, or what it says can't be read.
    pub fn state(&self, name: &ContainerName) -> Result<State> {
        if !has_state(name) {
            return Ok(State::Absent);
        }
        let doing = || format!("asking {} about container {name}", self.program.display());
        let output = self.command().args(["state", name.as_str()]).output().with_context(doing)?;
        if !output.status.success() {
            // A runtime that was killed while it started leaves a directory that it can't read itself.
            return Ok(if has_state(name) { State::Stopped } else { State::Absent });
        }
        parse(&output.stdout).with_context(doing)
    }

    /// The first process by the runtime's own file, which both check against in `kill` as we do: no program is run, so this
    /// works where the kernel lets none begin. None also where that file is not what we know; ask [`Self::state`] then.
    pub fn first_process(&self, name: &ContainerName) -> Option<FirstProcess> {
        let (file, pid, started) = match self.kind {
            Kind::Runc => ("state.json", "init_process_pid", "init_process_start"),
            Kind::Crun => ("status", "pid", "process-start-time"),
        };
        let text = std::fs::read(Path::new(place::RUNTIME_STATE).join(name.as_str()).join(file)).ok()?;
        let written: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let pid = written[pid].as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0)?;
        Some(FirstProcess { pid, started: written[started].as_u64().filter(|ticks| *ticks > 0)? })
    }

    /// Clears what is left of a container; `arguments` are those of `delete`. What the runtime complains about
    /// counts only when its state is still there afterwards.
    ///
    /// # Errors
    /// When the state is still there.
    pub fn delete(&self, name: &ContainerName, arguments: &[&str]) -> Result<()> {
        if !has_state(name) {
            return Ok(());
        }
        let doing = || format!("clearing the state of container {name}");
        let mut command = self.command();
        let output = command.arg("delete").args(arguments).arg(name.as_str()).output().with_context(doing)?;
        if has_state(name) {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {} says {}", doing(), self.program.display(), complaint.trim());
        }
        Ok(())
    }
}

/// Makes the directory of all runtimes' state and a container's run directory, closed to users.
///
/// # Errors
/// When they can't be made.
pub fn directories(run_dir: &Utf8Path) -> Result<()> {
    let ours = Path::new(place::RUN_DIR);
    if !ours.exists() {
        let made = label::as_runtime_state(|| std::fs::DirBuilder::new().mode(0o755).create(ours));
        // Another one may be as fast.
        if let Err(error) = made
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| format!("making {}", ours.display()));
        }
    }
    for directory in [Utf8Path::new(place::RUNTIME_STATE), run_dir] {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.with_context(|| format!("making {directory}"))?;
    }
    Ok(())
}

/// Whether a runtime has state for a container. Cheap: no program is run.
pub fn has_state(name: &ContainerName) -> bool {
    Path::new(place::RUNTIME_STATE).join(name.as_str()).exists()
}

fn asked(program: &Path) -> Result<Kind> {
    let doing = || format!("asking {} what runtime it is", program.display());
    let mut command = Command::new(program);
    let output = command.arg("--version").stderr(Stdio::null()).output().with_context(doing)?;
    match output.stdout.split(|byte| byte.is_ascii_whitespace()).next() {
        Some(b"runc") => Ok(Kind::Runc),
        Some(b"crun") => Ok(Kind::Crun),
        _ => bail!("{}: its --version names neither runc nor crun; compose with one of them", doing()),
    }
}

fn parse(state: &[u8]) -> Result<State> {
    let state: serde_json::Value = serde_json::from_slice(state).context("reading its state")?;
    let status = state["status"].as_str().context("reading its state: no status")?;
    let pid = state["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
    Ok(match status {
        "stopped" => State::Stopped,
        _ if pid > 0 => State::Alive { pid, status: status.to_owned() },
        _ => State::Stopped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_told_by_its_resolved_name_then_by_its_version() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(0o755)).unwrap();
        };
        let kind = |name: &str| {
            let path = dir.path().join(name).to_str().unwrap().to_owned();
            Runtime::at(&path.try_into().unwrap()).map(|runtime| runtime.kind())
        };
        write("crun", "not to be run");
        symlink("crun", dir.path().join("runc")).unwrap();
        write("oci", "#!/bin/sh\necho runc version 1.1.5\n");
        write("other", "#!/bin/sh\necho youki version 0.5\n");
        assert_eq!(kind("runc").unwrap(), Kind::Crun);
        assert_eq!(kind("oci").unwrap(), Kind::Runc);
        let error = kind("other").unwrap_err().to_string();
        assert!(error.ends_with("names neither runc nor crun; compose with one of them"), "{error}");
        let error = format!("{:#}", kind("none").unwrap_err());
        assert!(error.contains("none: install it: No such file"), "{error}");
    }

    #[test]
    fn states_of_both_runtimes_are_read() {
        let runc = br#"{"ociVersion": "1.0.2-dev", "id": "a", "pid": 6541, "status": "running"}"#;
        assert_eq!(parse(runc).unwrap(), State::Alive { pid: 6541, status: "running".into() });
        assert_eq!(parse(br#"{"id": "a", "pid": 0, "status": "stopped"}"#).unwrap(), State::Stopped);
        assert!(parse(b"{}").is_err());
    }
}
