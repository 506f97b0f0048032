//! Whether `/etc` keeps what is written there: what is active is told by it alone.

use anyhow::{Context as _, Result, bail};
use rustix::fs::StatVfsMountFlags;

use crate::active::host::Host;

/// Refuses a host whose `/etc` can't be written, or forgets at the next boot.
///
/// # Errors
/// When it is so.
pub fn require_writable(host: &Host) -> Result<()> {
    let etc = host.path("etc");
    let found = rustix::fs::statvfs(etc.as_std_path()).with_context(|| format!("looking at {etc}"))?;
    if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
        bail!(
            "{etc} is read-only, and what is active is written there; remount it, or compose a new host image"
        );
    }
    let mounts = host.path("proc/self/mountinfo");
    let mounts = std::fs::read_to_string(&mounts).with_context(|| format!("reading {mounts}"))?;
    if is_transient(&mounts) {
        bail!(
            "/etc is transient: what is active is written there and would be gone at the next boot; compose a new host \
             image"
        );
    }
    Ok(())
}

/// Whether what is mounted at `/etc` lies in memory (`proc_pid_mountinfo(5)`): OSTree's `etc.transient` is an overlay whose
/// upper directory is in /run.
fn is_transient(mountinfo: &str) -> bool {
    let mount = mountinfo.lines().rev().find(|line| line.split(' ').nth(4) == Some("/etc"));
    let Some((_, kind)) = mount.and_then(|line| line.split_once(" - ")) else { return false };
    let mut words = kind.split(' ');
    match words.next() {
        Some("tmpfs" | "ramfs") => true,
        Some("overlay") => words
            .nth(1)
            .is_some_and(|options| options.split(',').any(|option| option.starts_with("upperdir=/run/"))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_at_etc_decides() {
        let root = "21 1 0:19 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n";
        let etc = |kind: &str| format!("{root}30 21 0:30 / /etc rw,relatime shared:2 - {kind}\n");
        assert!(!is_transient(root));
        assert!(!is_transient(&etc("ext4 /dev/vda1 rw")));
        assert!(is_transient(&etc("tmpfs tmpfs rw,size=10%")));
        assert!(is_transient(&etc(
            "overlay overlay rw,lowerdir=/usr/etc,upperdir=/run/ostree/x/upper,workdir=/run/w"
        )));
        assert!(!is_transient(&etc(
            "overlay overlay rw,lowerdir=/usr/etc,upperdir=/var/etc/upper,workdir=/var/w"
        )));
        // The last one covers the others.
        assert!(!is_transient(&format!(
            "{}31 30 0:31 / /etc rw - ext4 /dev/vda2 rw\n",
            etc("tmpfs tmpfs rw")
        )));
    }
}
