//! The SELinux policy of a target, as far as its own files tell: which label the roots of containers get, and which rule
//! says so. What label anything else has is libselinux's to say.
//!
//! The files are those of selinux_config(5), selabel_file(5) and selinux(8): `etc/selinux/config` names the policy,
//! `etc/selinux/TYPE/contexts/files/` has its rules, `etc/selinux/TYPE/policy/policy.N` is what the kernel loads.

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::{Found, Ground};

/// The roots of all embedded containers and everything in them, as a pattern of file_contexts(5).
pub(super) const ROOTS: &str = "/usr/lib/containers/atomic/[^/]+/rootfs(/.*)?";
/// The directory above them on the host.
const ABOVE_ROOTS: &str = "/usr/lib/containers/atomic";
/// What every container may read and execute and none may write (container_selinux(8)).
const READABLE_BY_CONTAINERS: &str = "container_ro_file_t";
/// Configuration and rules are text of people and policy compilers.
const MAX_TEXT_BYTES: u64 = 64 << 20;
/// Compiled policies have 2 to 10 MB.
const MAX_POLICY_BYTES: u64 = 256 << 20;
/// Versions of compiled policies that there may be, the newest first: 15 is the oldest that ever was.
const VERSIONS: std::ops::RangeInclusive<u32> = 15..=64;

/// A policy that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    dir: Utf8PathBuf,
    roots: String,
    containers: Containers,
}

/// Whether a policy knows containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Containers {
    /// It has the type for what they read.
    Known,
    /// It does not: their roots are labelled as `/usr` is.
    Unknown,
}

impl Policy {
    /// Reads the target's policy; `None` if it has none, or one that is off.
    ///
    /// # Errors
    /// When its files can't be read, contradict each other, or give the containers' directory the labels of another.
    pub fn read(ground: &impl Ground) -> Result<Option<Self>> {
        read(ground).context("reading the target's SELinux policy")
    }

    /// The label of every file and directory of a container's root: `USER:ROLE:TYPE` and the level, if it has levels.
    pub fn roots(&self) -> &str {
        &self.roots
    }

    /// Its directory, relative to the target's root: `usr/etc/selinux/TYPE`, or `etc/selinux/TYPE`.
    pub fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// The directory of its rules.
    pub fn rules_dir(&self) -> Utf8PathBuf {
        self.dir.join("contexts/files")
    }

    /// What the user should know.
    pub fn warning(&self) -> Option<String> {
        (self.containers == Containers::Unknown).then(|| {
            format!(
                "the target's SELinux policy /{} has no type {READABLE_BY_CONTAINERS}: roots of containers get {}, the \
                 label of /usr; install a policy that knows containers to have them confined",
                self.dir, self.roots
            )
        })
    }

    /// The rule about the roots.
    pub(super) fn rule(&self) -> String {
        format!("{ROOTS}\t{}", self.roots)
    }
}

fn read(ground: &impl Ground) -> Result<Option<Policy>> {
    let etc = match ground.probe("usr/etc".into())? {
        Found::Directory => Utf8Path::new("usr/etc/selinux"),
        _ => Utf8Path::new("etc/selinux"),
    };
    let Some(config) = text(ground, &etc.join("config"))? else { return Ok(None) };
    let Some(kind) = enabled(&config) else { return Ok(None) };
    if kind.is_empty() || kind.contains('/') || kind.starts_with('.') {
        bail!("/{etc}/config names the policy {kind:?}, which is no name of a directory");
    }
    let dir = etc.join(kind);
    let rules = dir.join("contexts/files/file_contexts");
    let Some(rules_text) = text(ground, &rules)? else {
        if ground.probe(&Utf8PathBuf::from(format!("{rules}.bin")))? != Found::Nothing {
            bail!("it has /{rules}.bin without the text that it was made from; add /{rules}");
        }
        // A configuration without a policy is how some distributions ship.
        return Ok(None);
    };
    for subs in ["subs", "subs_dist"] {
        let path = Utf8PathBuf::from(format!("{rules}.{subs}"));
        let aliases = text(ground, &path)?.unwrap_or_default();
        if let Some(alias) = alias_of_roots(&aliases) {
            bail!(
                "/{path} gives {alias} the labels of another directory, so that no rule about containers holds; remove that line"
            );
        }
    }
    let containers = if knows(ground, &dir)? { Containers::Known } else { Containers::Unknown };
    let usual = label_of_usr(&rules_text).with_context(|| format!("/{rules} has no rule for /usr"))?;
    let roots = match containers {
        Containers::Known => with_type(usual, READABLE_BY_CONTAINERS),
        Containers::Unknown => Some(usual.to_owned()),
    };
    let roots = roots.with_context(|| format!("/{rules} has {usual:?} as a label"))?;
    Ok(Some(Policy { dir, roots, containers }))
}

pub(super) fn text(ground: &(impl Ground + ?Sized), path: &Utf8Path) -> Result<Option<String>> {
    let bytes = ground.read(path, MAX_TEXT_BYTES)?;
    // A comment may be in any encoding, and our lines are ASCII.
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The policy's name, if it is on: read as libostree does, which labels commits.
fn enabled(config: &str) -> Option<&str> {
    let value = |key: &str| config.lines().filter_map(|line| line.strip_prefix(key)).next_back();
    let on = |mode: &str| {
        let mode = mode.to_ascii_lowercase();
        mode.starts_with("enforcing") || mode.starts_with("permissive")
    };
    config.lines().filter_map(|line| line.strip_prefix("SELINUX=")).any(on).then_some(())?;
    value("SELINUXTYPE=").map(str::trim)
}

/// The alias (`file_contexts.subs`) that the way to the roots leads through.
fn alias_of_roots(subs: &str) -> Option<&str> {
    let aliases = subs.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut sources = aliases.filter_map(|line| line.split_whitespace().next());
    sources
        .find(|source| Utf8Path::new(ABOVE_ROOTS).starts_with(source.trim_end_matches('/')) && *source != "/")
}

/// Pattern and label of each rule that is for directories too.
fn rules_for_directories(rules: &str) -> impl Iterator<Item = (&str, &str)> {
    rules.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let pattern = fields.next().filter(|pattern| pattern.starts_with('/'))?;
        match (fields.next()?, fields.next()) {
            ("-d", Some(label)) | (label, None) if label != "<<none>>" => Some((pattern, label)),
            _ => None,
        }
    })
}

/// The label of the directory `/usr`: of the rules that every policy has for it, the last one holds; without one, the
/// rule for everything.
fn label_of_usr(rules: &str) -> Option<&str> {
    for wanted in ["/usr", "/usr(/.*)?", "/.*"] {
        let found = rules_for_directories(rules).filter(|(pattern, _)| *pattern == wanted).last();
        if let Some((_, label)) = found {
            return Some(label);
        }
    }
    None
}

/// The label with another type.
fn with_type(label: &str, kind: &str) -> Option<String> {
    let mut parts: Vec<_> = label.splitn(4, ':').collect();
    *parts.get_mut(2)? = kind;
    Some(parts.join(":"))
}

/// Whether the newest compiled policy has the type. A rule with a type that is none makes every later build of the policy
/// fail.
fn knows(ground: &impl Ground, dir: &Utf8Path) -> Result<bool> {
    for version in VERSIONS.rev() {
        let path = dir.join(format!("policy/policy.{version}"));
        if ground.probe(&path)? != Found::Nothing
            && let Some(policy) = ground.read(&path, MAX_POLICY_BYTES)?
        {
            return Ok(has_type(&policy, READABLE_BY_CONTAINERS));
        }
    }
    Ok(false)
}

/// Whether a compiled policy has the type: its name, and before that three or (below version 24) two numbers, and its
/// length. Other places name no types.
fn has_type(policy: &[u8], kind: &str) -> bool {
    let length = (kind.len() as u32).to_le_bytes();
    let length_at = |at: usize| policy.get(at..at + 4) == Some(&length[..]);
    let mut names = policy.windows(kind.len()).enumerate().filter(|(_, bytes)| *bytes == kind.as_bytes());
    names.any(|(at, _)| [16, 12].into_iter().filter_map(|before| at.checked_sub(before)).any(length_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_read_as_libostree_does() {
        for (config, expected) in [
            ("SELINUX=enforcing\nSELINUXTYPE=targeted\n", Some("targeted")),
            ("# SELINUX=enforcing\nSELINUX=Permissive # x\nSELINUXTYPE= mls \n", Some("mls")),
            ("SELINUX=disabled\nSELINUXTYPE=targeted\n", None),
            ("SELINUXTYPE=targeted\n", None),
            ("SELINUX=enforcing\n", None),
            ("", None),
        ] {
            assert_eq!(enabled(config), expected, "{config}");
        }
    }

    #[test]
    fn the_label_of_usr_is_the_most_exact_rules() {
        for (rules, expected) in [
            ("/.*\tu:r:default_t:s0\n/usr/.*\tu:r:lib_t:s0\n/usr\t-d\tu:r:usr_t:s0\n", Some("u:r:usr_t:s0")),
            ("/.*  u:r:default_t\n/usr(/.*)?  u:r:usr_t\n/usr -- u:r:no_t\n", Some("u:r:usr_t")),
            ("/.*\tu:r:default_t:s0-s15:c0.c1023\n/usr <<none>>\n", Some("u:r:default_t:s0-s15:c0.c1023")),
            ("# nothing\n", None),
        ] {
            assert_eq!(label_of_usr(rules), expected, "{rules}");
        }
        assert_eq!(with_type("u:r:t:s0-s15:c0.c1", "x_t").unwrap(), "u:r:x_t:s0-s15:c0.c1");
        assert_eq!(with_type("u:r:t", "x_t").unwrap(), "u:r:x_t");
        assert_eq!(with_type("nonsense", "x_t"), None);
    }

    #[test]
    fn an_alias_of_the_containers_directory_is_seen() {
        for (subs, expected) in [
            ("/usr/lib64 /usr/lib\n# /usr/lib /x\n/run /var/run\n", None),
            ("/usr/lib /lib\n", Some("/usr/lib")),
            ("  /usr/lib/containers/ /var/lib/containers\n", Some("/usr/lib/containers/")),
            ("/usr/lib/containers/atomic/web /x\n", None),
        ] {
            assert_eq!(alias_of_roots(subs), expected, "{subs}");
        }
    }

    #[test]
    fn a_type_counts_only_where_the_policy_lists_it() {
        let entry = |numbers: usize| {
            [&19_u32.to_le_bytes()[..], &vec![7; numbers * 4], b"container_ro_file_t", b"more"].concat()
        };
        assert!(has_type(&entry(3), READABLE_BY_CONTAINERS));
        assert!(has_type(&entry(2), READABLE_BY_CONTAINERS));
        assert!(!has_type(&entry(1), READABLE_BY_CONTAINERS));
        assert!(!has_type(b"container_ro_file_t", READABLE_BY_CONTAINERS));
        let longer = [&20_u32.to_le_bytes()[..], &[0; 12], b"container_ro_file_tx"].concat();
        assert!(!has_type(&longer, READABLE_BY_CONTAINERS));
    }
}
