//! Mount targets of a configuration that an image brings: what its read-only root lacks and something is mounted on.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::config::{Asks, MountPoint, MountPointKind};
use super::tmpfiles::{self, Guess};
use crate::tree::lookup::Found;
use crate::tree::{ImageTree, TreePath};

/// What has to be made in the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// `/dev/log` of a host with systemd is a link to here.
const JOURNAL_SOCKET: &[u8] = b"/run/systemd/journal/dev-log";

/// What the root lacks, by path without symbolic links, parents before what they hold. What lies below another mount is
/// the runtime's to make. `is_directory` tells what a path of the host is, if the target or its tmpfiles know it; what
/// nobody knows is guessed from its name, and told.
///
/// # Errors
/// When the image has a file where a file system is mounted, or links lead nowhere.
pub fn missing(
    tree: &ImageTree,
    asks: &Asks,
    is_directory: &dyn Fn(&str) -> Result<Option<bool>>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<TreePath, Needed>> {
    let mut places: Vec<TreePath> = Vec::new();
    let mut needed = BTreeMap::new();
    for point in &asks.mount_points {
        let label = || format!("mounting on {}", point.destination);
        let resolved = tree.resolve(point.destination.as_bytes()).with_context(label)?;
        let covered = |path: &TreePath| places.iter().any(|place| path.starts_with(place));
        if covered(&resolved.path) || resolved.path.is_root() {
            // Below a bind of the host's /dev the runtime follows the link, into the root while /run is not mounted.
            let socket = tree.resolve(JOURNAL_SOCKET).with_context(label)?;
            if is_log(point) && matches!(socket.found, Found::Missing) && !covered(&socket.path) {
                add(tree, &socket.path, Needed::File, &mut needed);
            }
            continue;
        }
        places.push(resolved.path.clone());
        match (&resolved.found, &point.kind) {
            (Found::File(_), MountPointKind::Directory) => {
                bail!(
                    "mounting on {}: it is a file in the image, and a file system needs a directory",
                    point.destination
                )
            }
            (Found::Dir(_) | Found::File(_), _) => continue,
            (Found::Missing, _) => {}
        }
        let kind = match &point.kind {
            MountPointKind::Directory => Needed::Directory,
            MountPointKind::LikeInBundle(_) => Needed::File,
            MountPointKind::Like(source) => match is_directory(source.as_str())? {
                Some(true) => Needed::Directory,
                Some(false) => Needed::File,
                None => guess(source.as_str(), &point.destination, warnings),
            },
        };
        add(tree, &resolved.path, kind, &mut needed);
    }
    let cwd = tree.resolve(asks.cwd.as_bytes()).context("finding process.cwd")?;
    if !places.iter().any(|place| cwd.path.starts_with(place)) {
        match cwd.found {
            Found::Missing => add(tree, &cwd.path, Needed::Directory, &mut needed),
            Found::File(_) => bail!("finding process.cwd: {} is a file in the image", cwd.path),
            Found::Dir(_) => {}
        }
    }
    Ok(needed)
}

fn is_log(point: &MountPoint) -> bool {
    point.destination == "/dev/log"
        && matches!(&point.kind, MountPointKind::Like(source) if source.as_str() == "/dev/log")
}

fn add(tree: &ImageTree, path: &TreePath, kind: Needed, needed: &mut BTreeMap<TreePath, Needed>) {
    needed.insert(path.clone(), kind);
    let mut parent = path.parent();
    while let Some(path) = parent.filter(|path| !path.is_root() && tree.node(path).is_none()) {
        needed.insert(path.clone(), Needed::Directory);
        parent = path.parent();
    }
}

/// Directories that the kernel or udev makes in `/dev`; all else there is nodes and sockets.
const DEV_DIRECTORIES: [&str; 16] = [
    "block",
    "bus",
    "char",
    "disk",
    "dri",
    "fd",
    "hugepages",
    "input",
    "mapper",
    "mqueue",
    "net",
    "pts",
    "shm",
    "snd",
    "vfio",
    "virtio-ports",
];

fn guess(source: &str, destination: &str, warnings: &mut Vec<String>) -> Needed {
    let kind = match (source.strip_prefix("/dev/"), tmpfiles::guess(source, None)) {
        (Some(name), _) if DEV_DIRECTORIES.contains(&name) => return Needed::Directory,
        (Some(_), _) => return Needed::File,
        _ if matches!(source, "/" | "/dev" | "/proc" | "/sys" | "/run" | "/tmp" | "/var") => {
            return Needed::Directory;
        }
        (None, Guess::FileOrSocket) => Needed::File,
        (None, Guess::Directory | Guess::Hosts) => Needed::Directory,
    };
    let what = if kind == Needed::File { "an empty file" } else { "a directory" };
    warnings.push(format!(
        "mount target {destination} is not in the image, and what {source} is on the host is not known: it is made as {what}"
    ));
    kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports::config;

    fn asks(mounts: &str, cwd: &str) -> Asks {
        let text = format!(
            r#"{{"ociVersion": "1.0.2", "root": {{"path": "rootfs", "readonly": true}},
                "process": {{"args": ["x"], "cwd": "{cwd}", "user": {{}}}}, "mounts": [{mounts}]}}"#
        );
        config::settle(text.as_bytes(), "c", "rootfs").unwrap().asks
    }

    fn tree() -> ImageTree {
        let mut tree = ImageTree::new();
        for dir in ["proc", "etc", "run"] {
            tree.insert_directory(&TreePath::parse(dir.as_bytes()).unwrap()).unwrap();
        }
        tree.insert_file(&TreePath::parse(b"etc/hosts").unwrap()).unwrap();
        tree
    }

    fn made(mounts: &str, cwd: &str) -> Result<(Vec<String>, Vec<String>)> {
        let mut warnings = Vec::new();
        let known = |path: &str| Ok(if path == "/etc/app" { Some(false) } else { None });
        let needed = missing(&tree(), &asks(mounts, cwd), &known, &mut warnings)?;
        let spelled = |(path, kind): (&TreePath, &Needed)| format!("{path} {kind:?}");
        Ok((needed.iter().map(spelled).collect(), warnings))
    }

    #[test]
    fn what_the_image_lacks_is_made_as_what_is_mounted_there() {
        let (needed, warnings) = made(
            r#"{"destination": "/proc", "type": "proc"}, {"destination": "/dev", "type": "tmpfs"},
               {"destination": "/dev/pts", "type": "devpts"}, {"destination": "/etc/hosts", "type": "bind", "source": "/x"},
               {"destination": "/etc/app/", "type": "bind", "source": "/etc/app"},
               {"destination": "/log", "type": "bind", "source": "/dev/log"},
               {"destination": "/ports", "type": "bind", "source": "/dev/virtio-ports"},
               {"destination": "/host/root", "type": "bind", "source": "/"},
               {"destination": "/a.sock", "type": "bind", "source": "/run/a.sock"},
               {"destination": "/run/x", "type": "bind", "source": "/run/x"}"#,
            "/srv/here",
        )
        .unwrap();
        assert_eq!(
            needed,
            [
                "\"/a.sock\" File",
                "\"/dev\" Directory",
                "\"/etc/app\" File",
                "\"/host\" Directory",
                "\"/host/root\" Directory",
                "\"/log\" File",
                "\"/ports\" Directory",
                "\"/run/x\" Directory",
                "\"/srv\" Directory",
                "\"/srv/here\" Directory",
            ]
        );
        let told = |target: &str, source: &str, what: &str| {
            format!(
                "mount target {target} is not in the image, and what {source} is on the host is not known: it is made as {what}"
            )
        };
        assert_eq!(
            warnings,
            [told("/a.sock", "/run/a.sock", "an empty file"), told("/run/x", "/run/x", "a directory")]
        );
    }

    #[test]
    fn the_journals_socket_has_a_place_where_the_hosts_link_leads() {
        let dev = r#"{"destination": "/dev", "type": "bind", "source": "/dev"}"#;
        let log = r#"{"destination": "/dev/log", "type": "bind", "source": "/dev/log"}"#;
        let run = r#"{"destination": "/run", "type": "bind", "source": "/run"}"#;
        let (needed, _) = made(&format!("{dev}, {log}, {run}"), "/").unwrap();
        assert_eq!(
            needed,
            [
                "\"/dev\" Directory",
                "\"/run/systemd\" Directory",
                "\"/run/systemd/journal\" Directory",
                "\"/run/systemd/journal/dev-log\" File"
            ]
        );
        assert_eq!(made(&format!("{run}, {dev}, {log}"), "/").unwrap().0, ["\"/dev\" Directory"]);
    }

    #[test]
    fn what_cannot_be_mounted_on_is_refused() {
        let error = made(r#"{"destination": "/etc/hosts", "type": "tmpfs"}"#, "/").unwrap_err().to_string();
        assert_eq!(
            error,
            "mounting on /etc/hosts: it is a file in the image, and a file system needs a directory"
        );
        let error = made("", "/etc/hosts").unwrap_err().to_string();
        assert_eq!(error, "finding process.cwd: \"/etc/hosts\" is a file in the image");
        let error =
            format!("{:#}", made(r#"{"destination": "/etc/hosts/x", "type": "tmpfs"}"#, "/").unwrap_err());
        assert_eq!(
            error,
            "mounting on /etc/hosts/x: path \"/etc/hosts/x\" leads through \"/etc/hosts\", which is not a directory"
        );
    }
}
