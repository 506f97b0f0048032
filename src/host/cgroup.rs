//! Where the container's control group goes: below its unit's, so that systemd's limits, accounting and kill reach it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sysctr_core::name::ContainerName;

const MOUNT: &str = "/sys/fs/cgroup";
/// Below the unit: the launcher and then the runtime, since a cgroup with children holds no process of its own
/// (cgroups(7), "no internal processes").
const SUPERVISOR: &str = "supervisor";
/// Below the unit: the container.
pub const PAYLOAD: &str = "payload";

/// Where this process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seat {
    /// In a unit's own cgroup, on cgroup v2.
    Unit {
        /// The unit's directory below `/sys/fs/cgroup`.
        cgroup: PathBuf,
    },
    /// In a unit's own cgroup, where cgroup v1 controllers are mounted.
    LegacyUnit,
    /// Not in a unit that was made for a container.
    Outside,
}

/// Where this process stands, by `/proc/self/cgroup`.
///
/// # Errors
/// When that can't be read.
pub fn seat(name: &ContainerName) -> Result<Seat> {
    let text = std::fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
    let delegated = |directory: &Path| {
        // systemd marks what it delegates; the second name is that of user managers.
        ["trusted.delegate", "user.delegate"].iter().any(|mark| {
            let mut value = [0; 2];
            matches!(rustix::fs::getxattr(directory, *mark, &mut value), Ok(1)) && value[0] == b'1'
        })
    };
    Ok(seat_in(&text, name, delegated))
}

fn seat_in(text: &str, name: &ContainerName, delegated: impl Fn(&Path) -> bool) -> Seat {
    let path_in = |prefix: &str| {
        text.lines().find_map(|line| line.split_once(':').and_then(|(_, rest)| rest.strip_prefix(prefix)))
    };
    let unit = name.unit();
    // systemd escapes with `_` what could be a file of a controller.
    let is_unit = |path: &str, mount: &Path| {
        let last = path.rsplit('/').next().unwrap_or_default();
        let own = last == unit || last.strip_prefix('_') == Some(&unit);
        own || path != "/" && delegated(&mount.join(path.trim_start_matches('/')))
    };
    // On pure v2 there is one line, `0::PATH`; named and numbered hierarchies mean v1 or hybrid.
    let legacy = text.lines().any(|line| !line.starts_with("0::"));
    if legacy {
        let named =
            path_in("name=systemd:").is_some_and(|path| is_unit(path, Path::new("/sys/fs/cgroup/systemd")));
        let unified = path_in(":").is_some_and(|path| is_unit(path, Path::new("/sys/fs/cgroup/unified")));
        return if named || unified { Seat::LegacyUnit } else { Seat::Outside };
    }
    let Some(path) = path_in(":") else { return Seat::Outside };
    // With DelegateSubgroup=supervisor (systemd 254) we are where we want to be.
    let path = path.strip_suffix(SUPERVISOR).and_then(|path| path.strip_suffix('/')).unwrap_or(path);
    if is_unit(path, Path::new(MOUNT)) {
        Seat::Unit { cgroup: Path::new(MOUNT).join(path.trim_start_matches('/')) }
    } else {
        Seat::Outside
    }
}

/// Moves this process into `supervisor` below the unit. A runtime that is given the relative path `payload` from
/// there makes it beside, since runc takes a relative path from its own cgroup's *parent*.
///
/// # Errors
/// When the kernel refuses.
pub fn enter_supervisor(unit: &Path) -> Result<()> {
    enter_new(&unit.join(SUPERVISOR))
}

/// Moves this process into `payload` below the unit, for a runtime that leaves cgroups alone.
///
/// # Errors
/// When the kernel refuses.
pub fn enter_payload(unit: &Path) -> Result<()> {
    enter_new(&unit.join(PAYLOAD))
}

fn enter_new(directory: &Path) -> Result<()> {
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making cgroup {}", directory.display()))
        }
        _ => enter(directory),
    }
}

fn enter(directory: &Path) -> Result<()> {
    std::fs::write(directory.join("cgroup.procs"), "0")
        .with_context(|| format!("entering cgroup {}", directory.display()))
}

/// Moves this process to where process `pid` is, on cgroup v2; elsewhere it stays.
///
/// # Errors
/// When the process is gone or the kernel refuses.
pub fn join(pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    match text.strip_prefix("0::").map(str::trim_end) {
        Some(cgroup) if !cgroup.contains('\n') => {
            enter(&Path::new(MOUNT).join(cgroup.trim_start_matches('/')))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat_of(text: &str, delegated: &[&str]) -> Seat {
        let delegated = |path: &Path| delegated.iter().any(|d| Path::new(d) == path);
        seat_in(text, &"etcd".parse().unwrap(), delegated)
    }

    #[test]
    fn seats_by_what_the_kernel_says() {
        let unit = |path: &str| Seat::Unit { cgroup: path.into() };
        let own = "/sys/fs/cgroup/system.slice/etcd.service";
        assert_eq!(seat_of("0::/system.slice/etcd.service\n", &[]), unit(own));
        assert_eq!(seat_of("0::/system.slice/etcd.service/supervisor\n", &[]), unit(own));
        assert_eq!(
            seat_of("0::/system.slice/_etcd.service\n", &[]).clone(),
            unit("/sys/fs/cgroup/system.slice/_etcd.service")
        );
        // A unit of another name counts when systemd marked it as delegated; a shell's does not.
        let other = "/sys/fs/cgroup/system.slice/database.service";
        assert_eq!(seat_of("0::/system.slice/database.service\n", &[other]), unit(other));
        assert_eq!(seat_of("0::/user.slice/user-0.slice/session-1.scope\n", &[other]), Seat::Outside);
        assert_eq!(seat_of("0::/\n", &["/sys/fs/cgroup/"]), Seat::Outside);
        let hybrid = "4:memory:/\n1:name=systemd:/system.slice/etcd.service\n0::/system.slice/etcd.service\n";
        assert_eq!(seat_of(hybrid, &[]), Seat::LegacyUnit);
        assert_eq!(seat_of("4:memory:/\n1:name=systemd:/system.slice/etcd.service\n", &[]), Seat::LegacyUnit);
        assert_eq!(seat_of("4:memory:/\n1:name=systemd:/\n0::/\n", &[]), Seat::Outside);
        assert_eq!(seat_of("", &[]), Seat::Outside);
    }
}
