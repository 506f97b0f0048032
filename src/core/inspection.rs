//! What a host has of its containers, held against their records: the checks that both programs make.
//!
//! What is wrong is found, not an error, so that everything is told at once.

use std::collections::BTreeSet;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::container::shown;
use crate::digest::Digest;
use crate::exports::host_files::Rights;
use crate::interrupt::Interrupt;
use crate::name::ContainerName;
use crate::place;
use crate::placement::{Etc, Found, Ground};
use crate::record::{Embedded, EmbeddedContainer, Metadata, Placed, Record, from_json};
use crate::scan::{Scan, Unreadable};
use crate::tree::compare::{Difference, differences, lost_its_times};
use crate::tree::{ImageTree, Mtime, Stat, TreePath, dump};

/// Larger than any file of ours beside a rootfs.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// Threads that digest contents.
const THREADS: usize = 2;
/// Of a tree that was tampered with in a thousand places, the first tell enough.
const MAX_DIFFERENCES: usize = 100;

/// The questions about a host that is inspected. Paths are relative to its root; links in their parents are followed beneath it.
pub trait Inspected: Ground {
    /// The names in the directory at `path` in byte order, links followed beneath the root; none if there is no
    /// directory. What is no UTF-8 in a name is replaced.
    ///
    /// # Errors
    /// When it can't be read.
    fn names(&self, path: &Utf8Path) -> Result<Vec<String>>;

    /// Metadata of what lies at `path`, itself not followed; `None` if nothing does. The SELinux label is left out.
    ///
    /// # Errors
    /// When they can't be read.
    fn metadata(&self, path: &Utf8Path) -> Result<Option<Stat>>;

    /// Who may do what with what lies at `path`, itself not followed; `None` for nothing.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>>;

    /// Reads the tree of the directory at `path` back, contents digested by `jobs` threads.
    ///
    /// # Errors
    /// When it is no directory, the user interrupts, or something in it can't be read and is not told in
    /// [`Scan::unreadable`].
    fn scan(&self, path: &Utf8Path, jobs: usize, interrupt: &Interrupt) -> Result<Scan>;

    /// An image's tree as [`Inspected::scan`] finds it when nothing was changed.
    fn as_kept(&self, tree: ImageTree) -> ImageTree;
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The container; none for what belongs to none.
    pub container: Option<ContainerName>,
    /// Where, `/` in front; bytes that are not UTF-8 are escaped.
    pub path: String,
    /// What was found, one clause: `is missing`.
    pub message: String,
}

/// What a root keeps of its image's time stamps and hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// All of them, unless all are lost (it came out of an OSTree commit).
    AsRecorded,
    /// None: it is a checkout of a store.
    NotKept,
}

/// One container under inspection, or what belongs to none.
pub struct Inspection<'a> {
    /// The host.
    pub ground: &'a dyn Inspected,
    /// The container.
    pub container: Option<&'a ContainerName>,
    /// The user's wish to stop.
    pub interrupt: &'a Interrupt,
    /// What was found.
    pub findings: &'a mut Vec<Finding>,
}

impl Inspection<'_> {
    /// Notes something found at a path with `/` in front.
    pub fn find(&mut self, path: &str, message: impl Into<String>) {
        let container = self.container.cloned();
        self.findings.push(Finding { container, path: path.to_owned(), message: message.into() });
    }

    /// What was read; what can't be is found.
    pub fn told<T>(&mut self, path: &Utf8Path, read: Result<T>) -> Option<T> {
        read.map_err(|error| self.find(&format!("/{path}"), format!("can't be looked at: {error:#}"))).ok()
    }

    /// What the index does not list, and who may write it.
    ///
    /// # Errors
    /// When the embedded directory can't be read.
    pub fn index(&mut self, embedded: &Embedded) -> Result<()> {
        self.rights(place::EMBEDDED_JSON.into(), 0o644)?;
        for name in self.ground.names(place::EMBEDDED_DIR.into())? {
            let path = Utf8Path::new(place::EMBEDDED_DIR).join(&name);
            let listed =
                name.parse::<ContainerName>().is_ok_and(|name| embedded.containers.contains_key(&name));
            if !listed && path != place::EMBEDDED_JSON {
                self.find(&format!("/{path}"), "is not in embedded.json");
            }
        }
        self.launcher(embedded)
    }

    fn launcher(&mut self, embedded: &Embedded) -> Result<()> {
        let Some(digest) = embedded.launcher else { return Ok(()) };
        let found = self.ground.read(place::LAUNCHER.as_ref(), MAX_FILE_BYTES)?;
        if found.is_none_or(|bytes| Digest::of(&bytes) != digest) {
            self.find(&format!("/{}", place::LAUNCHER), "is not the launcher that a compose added");
        }
        self.rights(place::LAUNCHER.into(), 0o755)?;
        self.link(place::GENERATOR.into(), place::GENERATOR_TARGET)
    }

    /// Everything of an embedded container.
    ///
    /// # Errors
    /// When the record that the index names is newer than this program, the user interrupts, or a tree can't be read.
    pub fn embedded(&mut self, name: &ContainerName, entry: &EmbeddedContainer) -> Result<()> {
        let path = place::bundle(name).join(place::RECORD_JSON);
        let bytes = match self.told(&path, self.ground.read(&path, MAX_FILE_BYTES)) {
            None => return Ok(()),
            Some(Some(bytes)) => bytes,
            Some(None) => {
                self.find(&format!("/{path}"), "is missing");
                return Ok(());
            }
        };
        if Digest::of(&bytes) != entry.record {
            self.find(&format!("/{path}"), "is not the record that embedded.json names");
            return Ok(());
        }
        let record: Record = Etc::of(self.ground)?.relocate(from_json(&bytes, path.as_str())?);
        let told = (&entry.group, &entry.image, entry.config, entry.origin);
        if told != (&record.group, &record.image.source, record.image.config, record.origin) {
            self.find(&format!("/{}", place::EMBEDDED_JSON), "differs from the record");
        }
        self.placed(&record.placed)?;
        self.bundle(&place::bundle(name), &record, Times::AsRecorded)
    }

    /// A bundle directory, whose record is what it should be: its files and its root.
    ///
    /// # Errors
    /// When the user interrupts, or a tree can't be read.
    pub fn bundle(&mut self, bundle: &Utf8Path, record: &Record, times: Times) -> Result<()> {
        self.bundle_files(bundle, record)?;
        self.tree(bundle, record, times)
    }

    fn bundle_files(&mut self, bundle: &Utf8Path, record: &Record) -> Result<()> {
        // Not open to users: what lies in it may be setuid.
        self.rights(bundle, 0o700)?;
        self.component(&record.name, bundle)?;
        self.rights(&bundle.join(place::RECORD_JSON), 0o644)?;
        for (file, digest) in &record.files {
            self.file(&bundle.join(file), digest)?;
            // What was put aside has the host's own rights.
            if !file.starts_with("replaced") {
                self.rights(&bundle.join(file), 0o644)?;
            }
        }
        let ours = |name: &str| match name {
            place::RECORD_JSON => true,
            place::ROOTFS => record.rootfs.is_none(),
            _ => record.files.contains_key(name),
        };
        // What an update brings for its host lies in its bundle, too.
        let holds = |path: &Utf8Path| record.placed.keys().any(|placed| placed.starts_with(path));
        for name in self.ground.names(bundle)? {
            if !ours(&name) && !holds(&bundle.join(&name)) {
                self.find(&format!("/{bundle}/{name}"), "is not of the container");
            }
        }
        Ok(())
    }

    /// Root owns it, with this mode; what is not there is told by others.
    ///
    /// # Errors
    /// Never for what is found.
    pub fn rights(&mut self, path: &Utf8Path, mode: u16) -> Result<()> {
        let Some(Some(found)) = self.told(path, self.ground.rights(path)) else { return Ok(()) };
        let Rights { uid, gid, .. } = found;
        if (uid, gid) != (0, 0) {
            self.find(&format!("/{path}"), format!("owner is {uid}:{gid}, not 0:0"));
        }
        if found.mode != mode {
            self.find(&format!("/{path}"), format!("mode is {:04o}, not {mode:04o}", found.mode));
        }
        Ok(())
    }

    /// Another container's layer is not where it belongs. None is no harm: tools that label anew may drop attributes.
    fn component(&mut self, name: &ContainerName, bundle: &Utf8Path) -> Result<()> {
        let found = self.told(bundle, self.ground.metadata(bundle)).flatten();
        let xattrs = found.and_then(|stat| stat.xattrs).unwrap_or_default();
        let wanted = place::component(name);
        if xattrs.get(place::COMPONENT.as_bytes()).is_some_and(|value| **value != *wanted.as_bytes()) {
            self.find(&format!("/{bundle}"), format!("{} is not {wanted}", place::COMPONENT));
        }
        Ok(())
    }

    /// A link with this text, itself not followed.
    ///
    /// # Errors
    /// Never for what is found.
    pub fn link(&mut self, path: &Utf8Path, target: &str) -> Result<()> {
        let found = self.told(path, self.ground.probe(path));
        if found.is_some_and(|found| found != Found::Link(target.to_owned())) {
            self.find(&format!("/{path}"), format!("is no link to {target}"));
        }
        Ok(())
    }

    fn file(&mut self, path: &Utf8Path, digest: &Digest) -> Result<()> {
        let Some(found) = self.told(path, self.ground.probe(path)) else { return Ok(()) };
        let found = match found {
            Found::Nothing => {
                self.find(&format!("/{path}"), "is missing");
                return Ok(());
            }
            Found::Link(text) => Some(Digest::of(text.as_bytes())),
            Found::File { .. } => match self.told(path, self.ground.read(path, MAX_FILE_BYTES)) {
                None => return Ok(()),
                Some(bytes) => bytes.map(|bytes| Digest::of(&bytes)),
            },
            Found::Directory | Found::Special => None,
        };
        if found != Some(*digest) {
            self.find(&format!("/{path}"), "differs from the record");
        }
        Ok(())
    }

    /// What belongs to the container outside its bundle.
    ///
    /// # Errors
    /// Never for what is found.
    pub fn placed<'a>(&mut self, all: impl IntoIterator<Item = (&'a Utf8PathBuf, &'a Placed)>) -> Result<()> {
        for (path, placed) in all {
            match placed {
                Placed::File { digest, metadata } => {
                    self.file(path, digest)?;
                    match metadata {
                        Some(_) => self.metadata(path, metadata.as_ref())?,
                        None => self.rights(path, 0o644)?,
                    }
                }
                Placed::Link { target, metadata, .. } => {
                    self.link(path, target)?;
                    self.metadata(path, metadata.as_ref())?;
                }
                Placed::Directory { metadata } => match self.told(path, self.ground.probe(path)) {
                    None => {}
                    Some(Found::Directory) => self.metadata(path, Some(metadata))?,
                    Some(_) => self.find(&format!("/{path}"), "is no directory"),
                },
            }
        }
        Ok(())
    }

    /// Owner, mode and attributes of a host file that is there.
    fn metadata(&mut self, path: &Utf8Path, expected: Option<&Metadata>) -> Result<()> {
        let found = self.told(path, self.ground.metadata(path)).flatten();
        let Some((expected, found)) = expected.zip(found) else { return Ok(()) };
        if Metadata::from(&found) != *expected {
            self.find(&format!("/{path}"), "has another owner, mode or attributes than recorded");
        }
        Ok(())
    }

    /// The root file system, entry by entry.
    fn tree(&mut self, bundle: &Utf8Path, record: &Record, times: Times) -> Result<()> {
        if record.rootfs.is_some() {
            return Ok(());
        }
        let Some(expected) = self.expected(record, &bundle.join(place::TREE_DUMP))? else {
            return Ok(());
        };
        let rootfs = bundle.join(place::ROOTFS);
        if self.ground.probe(&rootfs)? != Found::Directory {
            self.find(&format!("/{rootfs}"), "is missing");
            return Ok(());
        }
        let scanned = self.ground.scan(&rootfs, THREADS, self.interrupt)?;
        let expected = self.ground.as_kept(expected);
        let implied = Mtime { seconds: record.tree.epoch, nanoseconds: 0 };
        let unreadable: BTreeSet<_> = scanned.unreadable.iter().map(|it| it.path.clone()).collect();
        let mut found: Vec<_> = scanned
            .unreadable
            .into_iter()
            .map(|Unreadable { path, why }| Difference { path, what: format!("can't be read: {why}") })
            .collect();
        // What came out of a commit is compared as far as a commit keeps it.
        let lost = times == Times::NotKept || lost_its_times(&expected, &scanned.tree, implied);
        let compared = match lost {
            true => differences(&expected.as_committed(), &scanned.tree.as_committed(), implied),
            false => differences(&expected, &scanned.tree, implied),
        };
        found.extend(compared.into_iter().filter(|it| !is_in(&unreadable, &it.path)));
        found.sort_by(|one, other| one.path.cmp(&other.path));
        let inside = |path: &TreePath| format!("/{rootfs}{}", shown(path.as_bytes()).trim_end_matches('/'));
        for difference in found.iter().take(MAX_DIFFERENCES) {
            self.find(&inside(&difference.path), difference.what.clone());
        }
        if found.len() > MAX_DIFFERENCES {
            let more = found.len() - MAX_DIFFERENCES;
            self.find(&format!("/{rootfs}"), format!("differs in {more} more places"));
        }
        for (path, _) in scanned.specials {
            self.find(&inside(&path), "is a device, FIFO or socket");
        }
        Ok(())
    }

    /// The tree as it was composed; `None` when the dump is not the record's, which is told.
    fn expected(&mut self, record: &Record, path: &Utf8PathBuf) -> Result<Option<ImageTree>> {
        // What is wrong with the file itself was found already.
        let Ok(Some(compressed)) = self.ground.read(path, MAX_FILE_BYTES) else {
            return Ok(None);
        };
        if record.files.get(place::TREE_DUMP) != Some(&Digest::of(&compressed)) {
            return Ok(None);
        }
        match dump::unpack(&compressed, &record.tree.digest) {
            Ok(tree) => Ok(Some(tree)),
            Err(_) => {
                self.find(&format!("/{path}"), "is not the dump that the record names");
                Ok(None)
            }
        }
    }
}

/// Whether `path` is one of `all`, or lies below one.
fn is_in(all: &BTreeSet<TreePath>, path: &TreePath) -> bool {
    let mut path = Some(path.clone());
    while let Some(here) = path {
        if all.contains(&here) {
            return true;
        }
        path = here.parent();
    }
    false
}

/// Text on one line, without what a terminal would obey: names come from images.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
        line
    })
}
