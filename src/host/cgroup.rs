//! Where the container's control group goes: below its unit's, so that systemd's limits, accounting and kill reach it.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sysctr_core::name::ContainerName;

const MOUNT: &str = "/sys/fs/cgroup";
/// Where the hierarchy with the limits of processes is, of cgroup v1.
const PIDS: &str = "/sys/fs/cgroup/pids";
/// `PID_MAX_LIMIT` of 64-bit kernels: `pids.max` takes no more.
const MOST_PIDS: u64 = 4 << 20;
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
    LegacyUnit {
        /// The unit's directory in the hierarchy that limits processes, if it has one there.
        pids: Option<PathBuf>,
    },
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
        if !named && !hybrid {
            return Seat::Outside;
        }
        // systemd makes a unit's group in a hierarchy of controllers only where the unit asks something of them.
        let places = [path_in(text, "name=systemd"), unified];
        let own = |path: &&str| is_unit(path, PIDS) || *path != "/" && places.contains(&Some(*path));
        let pids = path_in(text, "pids").filter(own);
        let pids = pids.map(|path| Path::new(PIDS).join(path.trim_start_matches('/')));
        return Seat::LegacyUnit { pids };
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

/// Lets the container have so many processes and threads, by a group of its own: what takes them all leaves the unit's other
/// processes room, `sysctr stop` among them (docs/decisions.md, “A limit of processes is the container's own”). This process must
/// have left the unit's own group. Gives the container's group where the limit is set.
///
/// Where the controller is not to be had there is no limit, as systemd has none there.
///
/// # Errors
/// When the kernel refuses.
pub fn limit_payload(seat: &Seat, pids: NonZeroU64) -> Result<Option<PathBuf>> {
    let unit = match seat {
        Seat::Unit { cgroup } if enable_pids(cgroup)? => cgroup,
        Seat::LegacyUnit { pids: Some(unit) } => unit,
        Seat::Unit { .. } | Seat::LegacyUnit { pids: None } | Seat::Outside => return Ok(None),
    };
    let payload = unit.join(PAYLOAD);
    make(&payload)?;
    let file = payload.join("pids.max");
    // systemd takes more than the kernel for “any number”.
    let limit = pids.get().min(MOST_PIDS).to_string();
    std::fs::write(&file, &limit).with_context(|| format!("writing {limit} to {}", file.display()))?;
    Ok(Some(payload))
}

/// Whether groups below the unit can have limits now (cgroups(7), `cgroup.subtree_control`).
fn enable_pids(unit: &Path) -> Result<bool> {
    let file = unit.join("cgroup.controllers");
    let there = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    if !there.split_ascii_whitespace().any(|controller| controller == "pids") {
        return Ok(false);
    }
    let file = unit.join("cgroup.subtree_control");
    std::fs::write(&file, "+pids").with_context(|| format!("writing +pids to {}", file.display()))?;
    Ok(true)
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
    make(directory)?;
    enter(directory)
}

fn make(directory: &Path) -> Result<()> {
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making cgroup {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Moves this process into a group.
///
/// # Errors
/// When the kernel refuses.
pub fn enter(directory: &Path) -> Result<()> {
    std::fs::write(directory.join("cgroup.procs"), "0")
        .with_context(|| format!("entering cgroup {}", directory.display()))
}

/// Moves this process to where process `pid` is, on cgroup v2; elsewhere only under the limit of processes that a container in a
/// unit has there.
///
/// # Errors
/// When the process is gone or the kernel refuses.
pub fn join(pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let group = match mounted()? {
        Mounted::Unified => path_in(&text, "0").map(|path| (MOUNT, path)),
        Mounted::Legacy => {
            let limited = path_in(&text, "pids").filter(|path| Path::new(path).ends_with(PAYLOAD));
            limited.map(|path| (PIDS, path))
        }
    };
    group.map_or(Ok(()), |(mount, path)| enter(&Path::new(mount).join(path.trim_start_matches('/'))))
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
        let here = |pids: Option<&str>| Seat::LegacyUnit { pids: pids.map(PathBuf::from) };
        assert_eq!(seat(format!("4:memory:/\n1:name=systemd:{unit}\n0::{unit}\n")), here(None));
        assert_eq!(seat(format!("5:pids:/system.slice\n1:name=systemd:{unit}\n")), here(None));
        let group = "/sys/fs/cgroup/pids/system.slice/etcd.service";
        assert_eq!(seat(format!("5:pids:{unit}\n1:name=systemd:{unit}\n")), here(Some(group)));
        assert_eq!(seat(format!("4:memory:{unit}\n1:name=systemd:/\n0::/\n")), Seat::Outside);
    }
}
