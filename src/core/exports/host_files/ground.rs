//! Where a target keeps a path of the host. An OSTree host carries `/usr` and `/usr/etc` only; what else there is are
//! links into `/var`, which belongs to the machine (design of the places; A§8 row 10).

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

/// As many links as Linux follows in one path.
const MOST_LINKS: u32 = 40;

/// What lies at a path of the target, itself not followed if it is a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lies {
    /// Nothing, or a parent is missing.
    Nothing,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link with this text.
    Link(String),
    /// A device, FIFO or socket.
    Other,
}

/// The one question about the target. Paths are relative to its root and have no link in their parents.
pub trait Ground {
    /// What lies at `path`.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn lies(&self, path: &Utf8Path) -> Result<Lies>;

    /// Whose `path` is, and its permission bits; `None` when nobody knows.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn rights(&self, _: &Utf8Path) -> Result<Option<Rights>> {
        Ok(None)
    }
}

/// Owner and permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, `0..=0o7777`.
    pub mode: u16,
}

impl std::fmt::Display for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04o} {}:{}", self.mode, self.uid, self.gid)
    }
}

/// Who keeps a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// The host image: the path relative to the target's root, links in its parents followed.
    Image(Utf8PathBuf),
    /// The machine, below `/var`: the absolute path, links followed. The host image can only say how to make it at boot.
    Machine(Utf8PathBuf),
}

impl Keeper {
    /// The absolute path, whoever keeps it.
    pub fn path(&self) -> Utf8PathBuf {
        match self {
            Self::Image(at) | Self::Machine(at) => Utf8Path::new("/").join(at),
        }
    }
}

/// Who keeps the host's absolute, normalized `path`, and where. Links in its parents are followed beneath the root; the
/// last component is not.
///
/// # Errors
/// When the path leads to what no host image carries, to a file, in circles, or when `/etc` and `/usr/etc` are both
/// directories.
pub fn keeper(ground: &impl Ground, path: &Utf8Path) -> Result<Keeper> {
    let asked = path;
    let mut rest: Vec<String> = names(path.as_str());
    rest.reverse();
    let mut at = Utf8PathBuf::new();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = etc(ground, &at.join(name))?;
        if rest.is_empty() {
            at = next;
            break;
        }
        match ground.lies(&next)? {
            Lies::Link(text) => {
                links += 1;
                if links > MOST_LINKS {
                    bail!(
                        "placing host file {asked}: it leads through more than {MOST_LINKS} symbolic links"
                    );
                }
                if text.starts_with('/') {
                    at = Utf8PathBuf::new();
                }
                rest.extend(names(&text).into_iter().rev());
            }
            Lies::Nothing | Lies::Directory => at = next,
            Lies::File | Lies::Other => {
                bail!("placing host file {asked}: /{next} is no directory in the target")
            }
        }
    }
    classify(asked, at)
}

fn names(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).collect()
}

/// `/etc` is `/usr/etc` in what an OSTree commit is made from, and nowhere else is there a `/usr/etc`.
fn etc(ground: &impl Ground, path: &Utf8Path) -> Result<Utf8PathBuf> {
    if path != "etc" && path != "usr/etc" {
        return Ok(path.to_owned());
    }
    match ground.lies("usr/etc".into())? {
        Lies::Directory => {}
        Lies::Nothing => return Ok("etc".into()),
        _ => return Ok(path.to_owned()),
    }
    if ground.lies("etc".into())? == Lies::Directory {
        bail!(
            "placing host files below /etc: the target has both /etc and /usr/etc as directories, so nobody can tell \
             which one the host will get; remove one"
        );
    }
    Ok("usr/etc".into())
}

fn classify(asked: &Utf8Path, at: Utf8PathBuf) -> Result<Keeper> {
    let mut names = at.components().map(|name| name.as_str());
    let (top, second) = (names.next().unwrap_or_default(), names.next());
    match (top, second) {
        ("", _) => bail!("placing host file {asked}: it leads to the root itself"),
        ("var", Some("run" | "lock" | "tmp")) | ("run" | "tmp" | "proc" | "sys" | "dev", _) => bail!(
            "placing host file {asked}: /{at} is made anew at each boot; use exports/tmpfiles.template for what is there"
        ),
        ("var", None) => Ok(Keeper::Image(at)),
        ("var", Some(_)) => Ok(Keeper::Machine(Utf8Path::new("/").join(at))),
        ("boot" | "sysroot" | "ostree", _) => {
            bail!("placing host file {asked}: /{at} belongs to the boot of the host, not to its image")
        }
        _ if at.starts_with(crate::place::EMBEDDED_DIR) => {
            bail!("placing host file {asked}: /{at} lies among the embedded containers")
        }
        _ => Ok(Keeper::Image(at)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A target as a list of paths: `etc/`, `opt -> var/opt`, `usr/bin/x`.
    pub(crate) struct Listed(BTreeMap<Utf8PathBuf, Lies>);

    impl Listed {
        pub(crate) fn new(entries: &[&str]) -> Self {
            let entry = |entry: &&str| match (entry.split_once(" -> "), entry.strip_suffix('/')) {
                (Some((path, text)), _) => (path.into(), Lies::Link(text.into())),
                (_, Some(path)) => (path.into(), Lies::Directory),
                _ => ((*entry).into(), Lies::File),
            };
            Self(entries.iter().map(entry).collect())
        }
    }

    impl Ground for Listed {
        fn lies(&self, path: &Utf8Path) -> Result<Lies> {
            Ok(self.0.get(path).cloned().unwrap_or(Lies::Nothing))
        }
    }

    fn keep(entries: &[&str], path: &str) -> Result<String, String> {
        match keeper(&Listed::new(entries), path.into()) {
            Ok(Keeper::Image(path)) => Ok(format!("image {path}")),
            Ok(Keeper::Machine(path)) => Ok(format!("machine {path}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_host_of_ostree_and_a_plain_root() {
        const OSTREE: &[&str] = &[
            "usr/",
            "usr/etc/",
            "usr/local -> ../var/usrlocal",
            "opt -> var/opt",
            "root -> var/roothome",
            "home -> var/home",
            "srv -> /var/srv",
            "mnt -> var/mnt",
            "var/",
            "bin -> usr/bin",
            "usr/bin/",
        ];
        const PLAIN: &[&str] =
            &["usr/", "etc/", "usr/local/", "usr/local/bin/", "opt/", "var/", "bin -> usr/bin"];
        for (entries, path, expected) in [
            (OSTREE, "/etc/etcd/etcd.conf", "image usr/etc/etcd/etcd.conf"),
            (PLAIN, "/etc/etcd/etcd.conf", "image etc/etcd/etcd.conf"),
            (OSTREE, "/usr/etc/x", "image usr/etc/x"),
            (PLAIN, "/usr/etc/x", "image etc/x"),
            (PLAIN, "/usr/etc", "image etc"),
            (OSTREE, "/usr/share/polkit-1/x", "image usr/share/polkit-1/x"),
            (OSTREE, "/bin/x", "image usr/bin/x"),
            (OSTREE, "/usr/local/bin/etcdctl", "machine /var/usrlocal/bin/etcdctl"),
            (PLAIN, "/usr/local/bin/etcdctl", "image usr/local/bin/etcdctl"),
            (OSTREE, "/opt/cni/bin/x", "machine /var/opt/cni/bin/x"),
            (PLAIN, "/opt/cni/bin/x", "image opt/cni/bin/x"),
            (OSTREE, "/srv/x", "machine /var/srv/x"),
            (PLAIN, "/var/lib/net-snmp", "machine /var/lib/net-snmp"),
            // The last component is what is placed, so it is not followed.
            (OSTREE, "/opt", "image opt"),
            (PLAIN, "/srv/new/x", "image srv/new/x"),
        ] {
            assert_eq!(keep(entries, path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_no_host_image_carries_is_refused() {
        for (entries, path, message) in [
            (
                &["etc/", "usr/etc/"][..],
                "/etc/x",
                "placing host files below /etc: the target has both /etc and /usr/etc as directories, \
              so nobody can tell which one the host will get; remove one",
            ),
            (
                &["etc/", "usr/etc/"][..],
                "/usr/etc/x",
                "placing host files below /etc: the target has both /etc and /usr/etc as directories, \
              so nobody can tell which one the host will get; remove one",
            ),
            (
                &[],
                "/run/x",
                "placing host file /run/x: /run/x is made anew at each boot; use exports/tmpfiles.template for what is there",
            ),
            (
                &["var/run -> ../run"],
                "/var/run/x/y",
                "placing host file /var/run/x/y: /run/x/y is made anew at each boot; \
              use exports/tmpfiles.template for what is there",
            ),
            (
                &[],
                "/boot/x",
                "placing host file /boot/x: /boot/x belongs to the boot of the host, not to its image",
            ),
            (
                &["opt -> opt"],
                "/opt/x",
                "placing host file /opt/x: it leads through more than 40 symbolic links",
            ),
            (
                &["etc/", "etc/x"],
                "/etc/x/y",
                "placing host file /etc/x/y: /etc/x is no directory in the target",
            ),
            (
                &[],
                "/usr/lib/containers/atomic/x",
                "placing host file /usr/lib/containers/atomic/x: \
              /usr/lib/containers/atomic/x lies among the embedded containers",
            ),
            (&["a -> ../../.."], "/a/../x/..", "placing host file /a/../x/..: it leads to the root itself"),
        ] {
            assert_eq!(keep(entries, path).unwrap_err(), message);
        }
    }

    #[test]
    fn links_stay_beneath_the_root() {
        assert_eq!(keep(&["opt -> ../../../srv"], "/opt/x").unwrap(), "image srv/x");
        assert_eq!(keep(&["opt -> /etc/../var/x"], "/opt/y").unwrap(), "machine /var/x/y");
    }
}
