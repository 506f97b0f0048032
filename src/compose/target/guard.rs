//! What a root must be, and who may write into it. Everything here is asked before the first write.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use rustix::fs::{OFlags, StatVfsMountFlags};
use sysctr_core::placement::{Change, PlacedLeaf, Placement};
use sysctr_core::tree::{Dir, ImageTree, Node, Stat};

use super::{beneath, marks};

/// Capabilities that keeping owners, modes and attributes needs, by number (capabilities(7)).
const NEEDED: [(u32, &str); 5] =
    [(0, "CAP_CHOWN"), (1, "CAP_DAC_OVERRIDE"), (3, "CAP_FOWNER"), (4, "CAP_FSETID"), (31, "CAP_SETFCAP")];

const WAYS_OUT: &str = "run as root, or in a user namespace that has all owners (podman unshare, \
    unshare --map-auto --map-root-user), or compose into a commit of an archive or bare-user repository (--repo), which needs neither";

/// Refuses what is not the root of a system that is not booted.
///
/// # Errors
/// With what it is instead, and what to do then.
pub(super) fn is_root(root: &OwnedFd) -> Result<()> {
    let has = |path: &str| -> Result<bool> {
        Ok(beneath::open(root, Utf8Path::new(path), OFlags::PATH | OFlags::DIRECTORY)?.is_some())
    };
    if has("usr")? {
        return Ok(());
    }
    if has("ostree/deploy")? || has("ostree/repo")? {
        bail!(
            "it is a physical ostree sysroot: its systems are read-only checkouts in ostree/deploy; compose into a \
             commit of its repository and deploy that (--deployment does both), or into the commit alone (--repo \
             DIR/ostree/repo --base REV --ref REF)"
        );
    }
    bail!("it has no directory usr, so it is not the root of a system");
}

/// What tells a running host from a container in which a host image is built.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs<'a> {
    /// The name of process 1.
    pub init: &'a str,
    /// Whether systemd runs as the service manager.
    pub systemd: bool,
    /// Whether the system was booted by ostree.
    pub ostree: bool,
}

/// Refuses the root of a running host; in a container, `/` is what an image build works on.
///
/// # Errors
/// With the way that running hosts have.
pub(super) fn is_not_running(root: &OwnedFd) -> Result<()> {
    let slash = rustix::fs::stat("/").context("looking at /")?;
    if !marks::same(&rustix::fs::fstat(root)?, &slash) {
        return Ok(());
    }
    judge_here()
}

fn judge_here() -> Result<()> {
    let init = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    let systemd = Path::new("/run/systemd/system").exists();
    judge(Signs { init: init.trim_end(), systemd, ostree: Path::new("/run/ostree-booted").exists() })
}

/// Refuses the sysroot of a running host; a bind mount of it is the same directory.
///
/// # Errors
/// With the way that running hosts have.
pub(super) fn is_not_booted(sysroot: &Utf8Path) -> Result<()> {
    let found = rustix::fs::stat(sysroot.join("ostree").as_str()).context("looking at ostree")?;
    let is_own = |own: &str| rustix::fs::stat(own).is_ok_and(|own| marks::same(&found, &own));
    if !is_own("/ostree") && !is_own("/sysroot/ostree") {
        return Ok(());
    }
    judge_here()
}

fn judge(signs: Signs<'_>) -> Result<()> {
    if signs.init == "systemd" || signs.systemd || signs.ostree {
        bail!(
            "it is the root of a running host; `sysctr install` is the way to add a container there \
             (in the build of a container image, / is allowed)"
        );
    }
    Ok(())
}

/// Refuses a user who may not set owners, modes and attributes of files that are not his.
///
/// # Errors
/// With what is missing.
pub(super) fn may_set_owners() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let missing = missing_capabilities(&status)?;
    if !missing.is_empty() {
        bail!(
            "this user may not set the owners that images need ({} missing); {WAYS_OUT}",
            missing.join(", ")
        );
    }
    Ok(())
}

/// Refuses a root that can't be written, or not by this user.
///
/// # Errors
/// With the ways out.
pub(super) fn is_writable(root: &OwnedFd) -> Result<()> {
    may_set_owners()?;
    for path in marks::chain().chain([Utf8Path::new("")]) {
        let Some(dir) = beneath::open_dir(root, path)? else { continue };
        let mount = rustix::fs::fstatvfs(&dir).with_context(|| format!("looking at {path}"))?;
        if mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
            bail!(
                "{} is on a read-only file system; mount it writable",
                if path == "" { "it" } else { path.as_str() }
            );
        }
        break;
    }
    Ok(())
}

fn missing_capabilities(status: &str) -> Result<Vec<&'static str>> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(text) = line else { bail!("reading /proc/self/status: it has no line CapEff") };
    let held = u64::from_str_radix(text.trim(), 16).context("reading /proc/self/status")?;
    Ok(NEEDED.iter().filter(|(bit, _)| held & (1 << bit) == 0).map(|(_, name)| *name).collect())
}

/// Refuses owners that do not exist in this user namespace.
///
/// # Errors
/// With the first such owner and the ways out.
pub(super) fn owners_mapped(placement: &Placement) -> Result<()> {
    let Some(owners) = NarrowOwners::read()? else { return Ok(()) };
    for (path, change) in &placement.changes {
        match change {
            Change::PutBundle(bundle) => bundle.tree.iter().try_for_each(|tree| owners.tree(tree)),
            Change::MakeDirectory(stat) => owners.stat(stat),
            Change::Put(PlacedLeaf::Brought(brought)) => owners.stat(&brought.stat),
            Change::Put(_) | Change::AdoptBundle(_) | Change::Remove | Change::RemoveDirectory => Ok(()),
        }
        .with_context(|| format!("preparing {path}"))?;
    }
    Ok(())
}

/// The owners of a user namespace that lacks some.
#[derive(Debug)]
pub struct NarrowOwners {
    users: Map,
    groups: Map,
}

impl NarrowOwners {
    /// Of this process; `None` when it can set every owner.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn read() -> Result<Option<Self>> {
        let (users, groups) = (Map::read("/proc/self/uid_map")?, Map::read("/proc/self/gid_map")?);
        Ok((!users.is_whole() || !groups.is_whole()).then_some(Self { users, groups }))
    }

    /// Refuses a tree that has others.
    ///
    /// # Errors
    /// With the first such owner and the ways out.
    pub fn tree(&self, tree: &ImageTree) -> Result<()> {
        stats(tree, |stat| self.stat(stat))
    }

    fn stat(&self, stat: &Stat) -> Result<()> {
        for (kind, id, map) in [("user", stat.uid, &self.users), ("group", stat.gid, &self.groups)] {
            if !map.has(id) {
                bail!("{kind} {id} is not in this user namespace; {WAYS_OUT}");
            }
        }
        Ok(())
    }
}

fn stats(tree: &ImageTree, mut each: impl FnMut(&Stat) -> Result<()>) -> Result<()> {
    let mut dirs: Vec<&Dir> = vec![&tree.root];
    while let Some(dir) = dirs.pop() {
        each(&dir.stat)?;
        for node in dir.children.values() {
            match node {
                Node::Dir(inner) => dirs.push(inner),
                Node::Leaf(id) => each(tree.leaf(*id).stat())?,
            }
        }
    }
    Ok(())
}

/// The ids of a user namespace: first id and count of each range (user_namespaces(7)).
#[derive(Debug)]
struct Map(Vec<(u32, u32)>);

impl Map {
    fn read(path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
        Self::parse(&text).with_context(|| format!("reading {path}"))
    }

    fn parse(text: &str) -> Result<Self> {
        let line = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            let (first, _, count) = (fields.next()?, fields.next()?, fields.next()?);
            Some((first.parse().ok()?, count.parse().ok()?))
        };
        let ranges = text.lines().map(line).collect::<Option<Vec<_>>>();
        ranges.map(Self).context("it is no map of ids")
    }

    fn is_whole(&self) -> bool {
        self.0 == [(0, u32::MAX)]
    }

    fn has(&self, id: u32) -> bool {
        self.0.iter().any(|(first, count)| id.checked_sub(*first).is_some_and(|offset| offset < *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_host_is_told_by_any_of_three_signs() {
        let build = Signs { init: "buildah", systemd: false, ostree: false };
        assert!(judge(build).is_ok());
        for host in [
            Signs { init: "systemd", ..build },
            Signs { systemd: true, ..build },
            Signs { ostree: true, ..build },
        ] {
            let message = judge(host).unwrap_err().to_string();
            assert!(message.contains("`sysctr install` is the way"), "{message}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        let status = |caps: &str| format!("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t{caps}\n");
        assert!(missing_capabilities(&status("000001ffffffffff")).unwrap().is_empty());
        // What podman and docker leave to a build by default.
        assert!(missing_capabilities(&status("00000000800405fb")).unwrap().is_empty());
        assert_eq!(missing_capabilities(&status("000000007ffffffe")).unwrap(), ["CAP_CHOWN", "CAP_SETFCAP"]);
        assert_eq!(missing_capabilities(&status("0000000000000000")).unwrap().len(), 5);
    }

    #[test]
    fn ids_of_a_user_namespace() {
        let whole = Map::parse("         0          0 4294967295\n").unwrap();
        assert!(whole.is_whole());
        let rootless =
            Map::parse("         0       1000          1\n         1     100000      65536\n").unwrap();
        assert!(!rootless.is_whole());
        assert!(rootless.has(0) && rootless.has(65536) && !rootless.has(65537));
        assert!(Map::parse("0 0\n").is_err());
    }
}
