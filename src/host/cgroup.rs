//! Where the container's control group goes: below its unit's, so that systemd's limits, accounting and kill reach it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sysctr_core::name::ContainerName;

const MOUNT: &str = "/sys/fs/cgroup";
/// What holds the groups of containers outside of units, where there is one hierarchy.
pub const OUTSIDE: &str = "/sys/fs/cgroup/sysctr";
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

/// Which hierarchies are mounted. `/proc/self/cgroup` does not tell: it also lists what is mounted elsewhere only, as
/// in a container with cgroup v2 on a host with v1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mounted {
    Unified,
    Legacy,
}

fn mounted() -> Result<Mounted> {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    let found = rustix::fs::statfs(MOUNT).with_context(|| format!("looking at {MOUNT}"))?;
    Ok(if u64::try_from(found.f_type) == Ok(CGROUP2_SUPER_MAGIC) {
        Mounted::Unified
    } else {
        Mounted::Legacy
    })
}

/// Where this process stands.
///
/// # Errors
/// When `/proc` or `/sys/fs/cgroup` can't be read.
pub fn seat(name: &ContainerName) -> Result<Seat> {
    let text = std::fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
    let delegated = |directory: &Path| {
        // systemd marks what it delegates; the second name is that of user managers.
        ["trusted.delegate", "user.delegate"].iter().any(|mark| {
            let mut value = [0; 2];
            matches!(rustix::fs::getxattr(directory, *mark, &mut value), Ok(1)) && value[0] == b'1'
        })
    };
    Ok(seat_in(&text, mounted()?, name, delegated))
}

/// The path of a hierarchy in `/proc/PID/cgroup` (cgroups(7)); `0::` is that of v2.
fn path_in<'a>(text: &'a str, hierarchy: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        (if controllers.is_empty() { hierarchy == "0" && number == "0" } else { controllers == hierarchy })
            .then_some(path)
    })
}

fn seat_in(text: &str, mounted: Mounted, name: &ContainerName, delegated: impl Fn(&Path) -> bool) -> Seat {
    let unit = name.unit();
    let is_unit = |path: &str, mount: &str| {
        let last = path.rsplit('/').next().unwrap_or_default();
        // systemd escapes with `_` what could be a file of a controller.
        let own = last == unit || last.strip_prefix('_') == Some(&unit);
        own || path != "/" && delegated(&Path::new(mount).join(path.trim_start_matches('/')))
    };
    let unified = path_in(text, "0");
    if mounted == Mounted::Legacy {
        let named = path_in(text, "name=systemd").is_some_and(|path| is_unit(path, "/sys/fs/cgroup/systemd"));
        let hybrid = unified.is_some_and(|path| is_unit(path, "/sys/fs/cgroup/unified"));
        return if named || hybrid { Seat::LegacyUnit } else { Seat::Outside };
    }
    let Some(path) = unified else { return Seat::Outside };
    // With DelegateSubgroup=supervisor (systemd 254) we are where we want to be.
    let path = path.strip_suffix(SUPERVISOR).and_then(|path| path.strip_suffix('/')).unwrap_or(path);
    if is_unit(path, MOUNT) {
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

/// At most 100 ms, until PID 1 has nothing to do. After a fork it puts the new process into the unit's own cgroup from its
/// side too (systemd's exec_spawn), and on a busy machine only after that process has moved, which would undo the move.
fn let_systemd_finish() {
    for _ in 0..200 {
        let busy = std::fs::read("/proc/1/stat").is_ok_and(|stat| matches!(state(&stat), Some(b'R' | b'D')));
        if !busy {
            return;
        }
        std::thread::sleep(std::time::Duration::from_micros(500));
    }
}

/// The state of a process in its `/proc/PID/stat` (proc(5)): what follows the name, which may hold anything.
fn state(stat: &[u8]) -> Option<u8> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).copied()
}

fn enter_new(directory: &Path) -> Result<()> {
    let_systemd_finish();
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
    match (mounted()?, path_in(&text, "0")) {
        (Mounted::Unified, Some(cgroup)) => enter(&Path::new(MOUNT).join(cgroup.trim_start_matches('/'))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat_of(mounted: Mounted, text: &str, delegated: &[&str]) -> Seat {
        let delegated = |path: &Path| delegated.iter().any(|marked| Path::new(marked) == path);
        seat_in(text, mounted, &"etcd".parse().unwrap(), delegated)
    }

    #[test]
    fn a_state_follows_the_last_parenthesis() {
        assert_eq!(state(b"1 (systemd) S 0 1 1 0"), Some(b'S'));
        assert_eq!(state(b"7 (a) R b)) D 1"), Some(b'D'));
        assert_eq!(state(b"7 (a)"), None);
        assert_eq!(state(b""), None);
    }

    #[test]
    fn seats_on_cgroup_v2() {
        let seat = |text, delegated: &[&str]| seat_of(Mounted::Unified, text, delegated);
        let unit = |path: &str| Seat::Unit { cgroup: Path::new("/sys/fs/cgroup/system.slice").join(path) };
        assert_eq!(seat("0::/system.slice/etcd.service\n", &[]), unit("etcd.service"));
        assert_eq!(seat("0::/system.slice/etcd.service/supervisor\n", &[]), unit("etcd.service"));
        assert_eq!(seat("0::/system.slice/_etcd.service\n", &[]), unit("_etcd.service"));
        // v1 hierarchies that the kernel knows and nobody mounted here.
        assert_eq!(
            seat("9:name=systemd:/\n4:memory:/\n0::/system.slice/etcd.service\n", &[]),
            unit("etcd.service")
        );
        // A unit of another name counts when systemd marked it as delegated; a shell's is not.
        let other = "/sys/fs/cgroup/system.slice/database.service";
        assert_eq!(seat("0::/system.slice/database.service\n", &[other]), unit("database.service"));
        assert_eq!(seat("0::/user.slice/user-0.slice/session-1.scope\n", &[other]), Seat::Outside);
        assert_eq!(seat("0::/\n", &["/sys/fs/cgroup/"]), Seat::Outside);
        assert_eq!(seat("", &[]), Seat::Outside);
    }

    #[test]
    fn seats_where_v1_controllers_are_mounted() {
        let seat = |text: String| seat_of(Mounted::Legacy, &text, &[]);
        let unit = "/system.slice/etcd.service";
        assert_eq!(seat(format!("4:memory:/\n1:name=systemd:{unit}\n0::{unit}\n")), Seat::LegacyUnit);
        assert_eq!(seat(format!("4:memory:/\n1:name=systemd:{unit}\n")), Seat::LegacyUnit);
        assert_eq!(seat(format!("4:memory:{unit}\n1:name=systemd:/\n0::/\n")), Seat::Outside);
    }
}
