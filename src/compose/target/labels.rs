//! SELinux labels of what a new commit gets: the roots of containers have one label throughout, all else has what the
//! commit's own policy says.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_tempfile::TempDir;
use rustix::fs::{Mode, OFlags};
use sysctr_core::digest::Digest;
use sysctr_core::place;
use sysctr_core::placement::{Change, PlacedLeaf, Placement, Policy, Present};
use sysctr_core::store::object::{DirRef, labelled};
use sysctr_core::tree::Stat;

use super::commit::{Commit, FileLabels};
use super::host_tree::Mislabelled;
use super::snapshot::{At, FileObject, Last, Library as _, Snapshot};
use sysctr_core::inspection::Inspected as _;
use sysctr_core::interrupt::Interrupt;

/// The attribute that holds a label, with a NUL at its end.
pub(super) const ATTRIBUTE: &[u8] = b"security.selinux";
/// Rules are text.
const MAX_RULES_BYTES: u64 = 64 << 20;

/// What an inode is, as far as policies tell inodes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    Regular,
    /// A symbolic link.
    Link,
    /// A directory.
    Directory,
}

impl Kind {
    fn bits(self) -> u32 {
        match self {
            Self::Regular => 0o100_000,
            Self::Link => 0o120_000,
            Self::Directory => 0o040_000,
        }
    }
}

/// How `/usr/etc` of a commit is labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Etc {
    /// As the `/etc` that a deployment makes of it (libostree's labelling epoch 1).
    AsEtc,
    /// By its own path (epoch 0).
    AsItLies,
}

/// The labels of one commit.
pub(super) struct Labels {
    files: FileLabels,
    roots: String,
    etc: Etc,
}

impl Labels {
    /// The labels of what `placement` puts into a commit made from `base`, by `policy` and what the placement changes in
    /// it. `scratch` gets the rules, for libselinux, and is not needed afterwards.
    pub(super) fn new(
        base: &Commit,
        policy: &Policy,
        placement: &Placement,
        scratch: &OwnedFd,
    ) -> Result<Self> {
        let make = || {
            lay_out(base, policy, placement, scratch)?;
            let labels = Self::by(base, policy, FileLabels::beneath(scratch.as_fd())?)?;
            labels.agree(placement)?;
            anyhow::Ok(labels)
        };
        make().context("reading the SELinux policy of the new commit")
    }

    /// The labels of a commit as it is.
    pub(super) fn of(commit: &Commit, policy: &Policy) -> Result<Self> {
        let make = || {
            // The repository may not be ours to write.
            let dir = TempDir::new(ambient_authority()).context("making a temporary directory")?;
            let scratch = OwnedFd::from(dir.try_clone()?.into_std_file());
            lay_out(commit, policy, &Placement::default(), &scratch)?;
            Self::by(commit, policy, FileLabels::beneath(scratch.as_fd())?)
        };
        make().context("reading the SELinux policy of the commit")
    }

    fn by(commit: &Commit, policy: &Policy, files: FileLabels) -> Result<Self> {
        let mut labels = Self { files, roots: policy.roots().to_owned(), etc: Etc::AsEtc };
        // The two ways differ about the policy's own rules, and those are there.
        let rules = policy.rules_dir().join("file_contexts");
        let found = label_at(commit, &rules)?;
        let own = labels.exactly(&rules, Kind::Regular, 0o644)?;
        if found.is_some() && found == own {
            labels.etc = Etc::AsItLies;
        }
        Ok(labels)
    }

    /// The label of everything in the root of a container.
    pub(super) fn roots(&self) -> &[u8] {
        self.roots.as_bytes()
    }

    /// The label of what lies at `path`, relative to the commit's root; `None` if the policy has none for it.
    pub(super) fn at(&self, path: &Utf8Path, kind: Kind, mode: u16) -> Result<Option<String>> {
        match (self.etc, path.strip_prefix("usr/etc")) {
            (Etc::AsEtc, Ok(inner)) => self.exactly(&Utf8Path::new("etc").join(inner), kind, mode),
            _ => self.exactly(path, kind, mode),
        }
    }

    fn exactly(&self, path: &Utf8Path, kind: Kind, mode: u16) -> Result<Option<String>> {
        let path = format!("/{}", path.as_str().trim_end_matches('/'));
        let mode = kind.bits() | u32::from(mode);
        self.files.at(&path, mode).with_context(|| format!("looking for the label of {path}"))
    }

    /// The metadata with the label of `path`.
    pub(super) fn labelled(&self, path: &Utf8Path, kind: Kind, stat: &Stat) -> Result<Stat> {
        let label = self.at(path, kind, stat.mode)?;
        Ok(labelled(stat, label.as_deref().map(str::as_bytes)))
    }

    /// The policy must say of the roots what they get, or whoever labels the commit again takes it from them.
    fn agree(&self, placement: &Placement) -> Result<()> {
        let bundles = placement
            .changes
            .iter()
            .filter(|(_, change)| matches!(change, Change::PutBundle(_) | Change::AdoptBundle(_)));
        for (path, _) in bundles {
            let root = path.join(place::ROOTFS);
            for (inner, kind) in [(root.join("usr/lib/x.so"), Kind::Regular), (root, Kind::Directory)] {
                let says = self.at(&inner, kind, 0o755)?;
                if says.as_deref() != Some(&self.roots) {
                    bail!(
                        "it says {} of /{inner}, where {} is to be; remove that rule from its file_contexts",
                        says.as_deref().unwrap_or("nothing"),
                        self.roots
                    );
                }
            }
        }
        Ok(())
    }
}

impl Commit {
    /// What composes put into this commit and has another label than the commit's policy says, in path order; nothing
    /// without a policy.
    ///
    /// # Errors
    /// When policy or tree can't be read, or the user interrupts.
    pub(super) fn all_mislabelled(
        &self,
        present: &Present,
        interrupt: &Interrupt,
    ) -> Result<Vec<Mislabelled>> {
        let Some(policy) = Policy::read(self)? else { return Ok(Vec::new()) };
        let mut check =
            Check { commit: self, labels: Labels::of(self, &policy)?, interrupt, found: Vec::new() };
        let embedded = &present.embedded;
        let placed = present.records.values().flat_map(|record| record.placed.keys());
        let ruled = embedded.label_rule.iter().flat_map(|rule| rule.files.keys());
        let mut paths: BTreeSet<_> = placed.chain(&embedded.directories).chain(ruled).cloned().collect();
        paths.insert(place::EMBEDDED_JSON.into());
        paths.insert(place::EMBEDDED_DIR.into());
        if embedded.launcher.is_some() {
            paths.extend([place::LAUNCHER, place::GENERATOR].map(Utf8PathBuf::from));
        }
        for path in paths {
            check.one(&path)?;
        }
        for name in embedded.containers.keys() {
            let path = place::bundle(name);
            if let At::Dir(dir) = check.snapshot().resolve(&path, Last::Kept)?.at {
                check.tree(&path, dir)?;
            }
        }
        check.found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(check.found)
    }
}

/// A commit's labels being compared.
struct Check<'a> {
    commit: &'a Commit,
    labels: Labels,
    interrupt: &'a Interrupt,
    found: Vec<Mislabelled>,
}

impl Check<'_> {
    fn snapshot(&self) -> Snapshot<'_, Commit> {
        Snapshot { library: self.commit, root: self.commit.root() }
    }

    fn one(&mut self, path: &Utf8Path) -> Result<()> {
        let resolved = self.snapshot().resolve(path, Last::Kept)?;
        match resolved.at {
            At::Nothing => Ok(()),
            At::Dir(dir) => self.dir(&resolved.path, dir),
            At::File(checksum) => self.file(&resolved.path, &checksum),
        }
    }

    fn tree(&mut self, path: &Utf8Path, dir: DirRef) -> Result<()> {
        self.interrupt.check()?;
        self.dir(path, dir)?;
        let names = self.commit.dirtree(&dir.tree)?;
        for (name, checksum) in &names.files {
            self.file(&path.join(name), checksum)?;
        }
        for (name, inner) in &names.dirs {
            self.tree(&path.join(name), *inner)?;
        }
        Ok(())
    }

    fn dir(&mut self, path: &Utf8Path, dir: DirRef) -> Result<()> {
        let stat = self.commit.dirmeta(&dir.meta)?;
        self.compare(path, Kind::Directory, &stat)
    }

    fn file(&mut self, path: &Utf8Path, checksum: &Digest) -> Result<()> {
        match self.commit.file(checksum)? {
            FileObject::Regular { stat, .. } => self.compare(path, Kind::Regular, &stat),
            FileObject::Symlink { stat, .. } => self.compare(path, Kind::Link, &stat),
        }
    }

    fn compare(&mut self, path: &Utf8Path, kind: Kind, stat: &Stat) -> Result<()> {
        let (found, expected) = (label(stat), self.labels.at(path, kind, stat.mode)?);
        if found != expected {
            self.found.push(Mislabelled { path: path.to_owned(), found, expected });
        }
        Ok(())
    }
}

/// The label that the commit has at `path`.
fn label_at(commit: &Commit, path: &Utf8Path) -> Result<Option<String>> {
    let snapshot = Snapshot { library: commit, root: commit.root() };
    let At::File(checksum) = snapshot.resolve(path, Last::Kept)?.at else { return Ok(None) };
    let (FileObject::Regular { stat, .. } | FileObject::Symlink { stat, .. }) = commit.file(&checksum)?;
    Ok(label(&stat))
}

/// The label among the attributes.
pub(super) fn label(stat: &Stat) -> Option<String> {
    let value = stat.xattrs.as_ref()?.get(ATTRIBUTE)?;
    let value = value.strip_suffix(b"\0").unwrap_or(value);
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Writes the policy's text as it will be in the new commit into `scratch`.
fn lay_out(base: &Commit, policy: &Policy, placement: &Placement, scratch: &OwnedFd) -> Result<()> {
    let kind = policy.dir().file_name().context("its directory has no name")?;
    let etc = make_dir(&make_dir(scratch, "etc")?, "selinux")?;
    write(&etc, "config", format!("SELINUX=enforcing\nSELINUXTYPE={kind}\n").as_bytes())?;
    let own = make_dir(&etc, kind)?;
    // libostree digests the compiled policy and reads nothing in it.
    write(&make_dir(&own, "policy")?, "policy.33", b"")?;
    let into = make_dir(&make_dir(&own, "contexts")?, "files")?;
    let dir = policy.rules_dir();
    let changed = |name: &str| placement.changes.iter().rev().find(|(path, _)| *path == dir.join(name));
    let names = base.names(&dir)?;
    let new = placement.changes.iter().filter_map(|(path, _)| path.strip_prefix(&dir).ok());
    let mut all: Vec<&str> = names.iter().map(String::as_str).chain(new.map(Utf8Path::as_str)).collect();
    all.sort_unstable();
    all.dedup();
    // The compiled form says the same.
    for name in all.iter().filter(|name| !name.ends_with(".bin")) {
        let bytes = match changed(name) {
            Some((_, Change::Put(PlacedLeaf::File(file)))) => Some(file.bytes.clone()),
            Some(_) => None,
            None => base.read_file(&dir.join(name), MAX_RULES_BYTES)?,
        };
        if let Some(bytes) = bytes {
            write(&into, name, &bytes)?;
        }
    }
    Ok(())
}

fn make_dir(parent: &OwnedFd, name: &str) -> Result<OwnedFd> {
    super::beneath::make_dir(parent, name, 0o700)
}

fn write(dir: &OwnedFd, name: &str, bytes: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600));
    let mut file = File::from(file.with_context(|| format!("laying out {name}"))?);
    file.write_all(bytes).with_context(|| format!("laying out {name}"))
}
