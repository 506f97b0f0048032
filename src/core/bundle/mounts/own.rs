//! The mounts that every container gets, unless image or user put something else there.

use super::tmpfs::{Content, Tmpfs};
use super::{Mount, Place, Rank, Wanted, options};
use crate::bundle::{MountTargetKind, Source};
use crate::settings::{Network, Phase};

/// Files of the host that containers in its network see.
pub const HOST_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Target, type, source, options: what Linux programs expect (OCI runtime specification, "Default Filesystems"), and as
/// container engines mount it.
const KERNEL: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
];

/// sysctr's own mounts.
pub fn mounts(source: &Source<'_>, warnings: &mut Vec<String>) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = KERNEL
        .iter()
        .map(|(target, kind, from, list)| {
            wanted(target, kind, from, options(list), MountTargetKind::Directory)
        })
        .collect();
    for (target, content, target_kind) in [
        // Images prepare directories there, such as /run/postgresql.
        ("/run", Content::OfImage, MountTargetKind::Directory),
        ("/tmp", Content::Empty, MountTargetKind::StickyDirectory),
        ("/var/tmp", Content::Empty, MountTargetKind::StickyDirectory),
    ] {
        let options = Tmpfs { target, content, target_kind }.options(source, warnings);
        wanted.push(self::wanted(target, "tmpfs", "tmpfs", options, target_kind));
    }
    if source.settings.run.network != Some(Network::None) && source.settings.unit.phase != Phase::Early {
        let list = options(&["bind", "ro", "nosuid", "nodev", "noexec", "rprivate"]);
        wanted.extend(
            HOST_FILES.map(|file| self::wanted(file, "bind", file, list.clone(), MountTargetKind::File)),
        );
    }
    wanted
}

fn wanted(
    target: &str,
    kind: &'static str,
    source: &str,
    options: Vec<String>,
    place: MountTargetKind,
) -> Wanted {
    let mount = Mount {
        label: format!("sysctr's own mount on {target}"),
        place: Place::Only(place),
        kind,
        source: source.to_owned(),
        options,
        rank: Rank::Own,
        volume: None,
        bound: None,
    };
    Wanted { target: target.to_owned(), mount }
}
