//! `verify`: every file of every container against its record.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::Digest;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{Etc, Found, Present, label_rule};
use sysctr_core::record::{Embedded, EmbeddedContainer, Metadata, Placed, Record, from_json};
use sysctr_core::tree::compare::{Difference, differences, lost_its_times};
use sysctr_core::tree::{ImageTree, Mtime, TreePath, dump};

use crate::report::{FORMAT, Finding, FindingsReport, Severity};
use crate::target::host_tree::{HostTree, Mislabelled, Rights};
use crate::target::sysroot::Unreadable;
use sysctr_core::container::shown;
use sysctr_core::interrupt::Interrupt;

/// Larger than any file of ours beside a rootfs.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Threads that digest contents.
const THREADS: usize = 2;
/// Of a tree that was tampered with in a thousand places, the first tell enough.
const MAX_DIFFERENCES: usize = 100;

/// Checks the containers of these names, or all and the launcher when there are none.
///
/// # Errors
/// When the index can't be read, or has no container of a name. What is wrong with a container is a finding.
pub fn verify(
    target: &dyn HostTree,
    names: &[ContainerName],
    interrupt: &Interrupt,
) -> Result<FindingsReport> {
    let index = target.read(place::EMBEDDED_JSON.as_ref(), MAX_FILE_BYTES)?;
    let embedded: Embedded = match index {
        Some(bytes) => from_json(&bytes, place::EMBEDDED_JSON)?,
        None => Embedded::nothing(),
    };
    for name in names {
        if !embedded.containers.contains_key(name) {
            anyhow::bail!("verifying container {name}: it is not embedded; `list` shows what is");
        }
    }
    let wanted = |name: &ContainerName| names.is_empty() || names.contains(name);
    let mut findings = Vec::new();
    let mut checked = 0;
    for (name, entry) in embedded.containers.iter().filter(|(name, _)| wanted(name)) {
        checked += 1;
        let mut inspection = Inspection { target, container: Some(name), interrupt, findings: &mut findings };
        inspection.container(name, entry)?;
    }
    if names.is_empty() {
        let mut inspection = Inspection { target, container: None, interrupt, findings: &mut findings };
        inspection.index(&embedded)?;
        inspection.launcher(&embedded)?;
    }
    Ok(FindingsReport { format: FORMAT, checked, findings })
}

/// One container under inspection, or what belongs to none.
struct Inspection<'a> {
    target: &'a dyn HostTree,
    container: Option<&'a ContainerName>,
    interrupt: &'a Interrupt,
    findings: &'a mut Vec<Finding>,
}

impl Inspection<'_> {
    fn find(&mut self, path: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            severity: Severity::Error,
            container: self.container.cloned(),
            path: Some(path.to_owned()),
            file: None,
            line: None,
            message: message.into(),
        });
    }

    /// What was read; what can't be is found.
    fn told<T>(&mut self, path: &Utf8Path, read: Result<T>) -> Option<T> {
        read.map_err(|error| self.find(&format!("/{path}"), format!("can't be looked at: {error:#}"))).ok()
    }

    /// SELinux labels, of what a commit has them.
    fn labels(&mut self) {
        let found =
            Present::read(self.target).and_then(|present| self.target.mislabelled(&present, self.interrupt));
        let found = self.told(place::EMBEDDED_DIR.into(), found).unwrap_or_default();
        for Mislabelled { path, found, expected } in found {
            let [found, expected] = [found, expected].map(|label| label.unwrap_or_else(|| "none".to_owned()));
            self.find(&format!("/{path}"), format!("has the label {found}, not {expected}"));
        }
    }

    /// What the index does not list, and who may write it.
    fn index(&mut self, embedded: &Embedded) -> Result<()> {
        self.rights(place::EMBEDDED_JSON.into(), 0o644)?;
        for name in self.target.names(place::EMBEDDED_DIR.into())? {
            let path = Utf8Path::new(place::EMBEDDED_DIR).join(&name);
            let listed =
                name.parse::<ContainerName>().is_ok_and(|name| embedded.containers.contains_key(&name));
            if !listed && path != place::EMBEDDED_JSON {
                self.find(&format!("/{path}"), "is not in embedded.json");
            }
        }
        let Some(rule) = &embedded.label_rule else { return Ok(()) };
        for path in label_rule::lacking(self.target, rule)? {
            self.find(
                &format!("/{path}"),
                "does not have the rule about containers as its last line in force",
            );
        }
        self.labels();
        Ok(())
    }

    fn launcher(&mut self, embedded: &Embedded) -> Result<()> {
        let Some(digest) = embedded.launcher else { return Ok(()) };
        let found = self.target.read(place::LAUNCHER.as_ref(), MAX_FILE_BYTES)?;
        if found.is_none_or(|bytes| Digest::of(&bytes) != digest) {
            self.find(&format!("/{}", place::LAUNCHER), "is not the launcher that a compose added");
        }
        self.rights(place::LAUNCHER.into(), 0o755)?;
        self.link(place::GENERATOR.into(), place::GENERATOR_TARGET)
    }

    fn container(&mut self, name: &ContainerName, entry: &EmbeddedContainer) -> Result<()> {
        let path = place::bundle(name).join(place::RECORD_JSON);
        let bytes = match self.told(&path, self.target.read(&path, MAX_FILE_BYTES)) {
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
        let record: Record = Etc::of(self.target)?.relocate(from_json(&bytes, path.as_str())?);
        let told = (&entry.group, &entry.image, entry.config, entry.origin);
        if told != (&record.group, &record.image.source, record.image.config, record.origin) {
            self.find(&format!("/{}", place::EMBEDDED_JSON), "differs from the record");
        }
        self.bundle_files(name, &record)?;
        self.placed(&record)?;
        self.tree(name, &record)
    }

    fn bundle_files(&mut self, name: &ContainerName, record: &Record) -> Result<()> {
        let bundle = place::bundle(name);
        // Not open to users: what lies in it may be setuid.
        self.rights(&bundle, 0o700)?;
        self.component(name, &bundle)?;
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
        for name in self.target.names(&bundle)? {
            if !ours(&name) {
                self.find(&format!("/{bundle}/{name}"), "is not of the container");
            }
        }
        Ok(())
    }

    /// Root owns it, with this mode; what is not there is told by others.
    fn rights(&mut self, path: &Utf8Path, mode: u16) -> Result<()> {
        let Some(Some(found)) = self.told(path, self.target.rights(path)) else { return Ok(()) };
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
        let found = self.told(bundle, self.target.metadata(bundle)).flatten();
        let xattrs = found.and_then(|stat| stat.xattrs).unwrap_or_default();
        let wanted = place::component(name);
        if xattrs.get(place::COMPONENT.as_bytes()).is_some_and(|value| **value != *wanted.as_bytes()) {
            self.find(&format!("/{bundle}"), format!("{} is not {wanted}", place::COMPONENT));
        }
        Ok(())
    }

    fn link(&mut self, path: &Utf8Path, target: &str) -> Result<()> {
        let found = self.told(path, self.target.probe(path));
        if found.is_some_and(|found| found != Found::Link(target.to_owned())) {
            self.find(&format!("/{path}"), format!("is no link to {target}"));
        }
        Ok(())
    }

    fn file(&mut self, path: &Utf8Path, digest: &Digest) -> Result<()> {
        let Some(found) = self.told(path, self.target.probe(path)) else { return Ok(()) };
        let found = match found {
            Found::Nothing => {
                self.find(&format!("/{path}"), "is missing");
                return Ok(());
            }
            Found::Link(text) => Some(Digest::of(text.as_bytes())),
            Found::File { .. } => match self.told(path, self.target.read(path, MAX_FILE_BYTES)) {
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

    fn placed(&mut self, record: &Record) -> Result<()> {
        for (path, placed) in &record.placed {
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
                Placed::Directory { metadata } => match self.told(path, self.target.probe(path)) {
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
        let found = self.told(path, self.target.metadata(path)).flatten();
        let Some((expected, found)) = expected.zip(found) else { return Ok(()) };
        if Metadata::from(&found) != *expected {
            self.find(&format!("/{path}"), "has another owner, mode or attributes than recorded");
        }
        Ok(())
    }

    /// The root file system, entry by entry.
    fn tree(&mut self, name: &ContainerName, record: &Record) -> Result<()> {
        if record.rootfs.is_some() {
            return Ok(());
        }
        let bundle = place::bundle(name);
        let Some(expected) = self.expected(record, &bundle.join(place::TREE_DUMP))? else {
            return Ok(());
        };
        let rootfs = bundle.join(place::ROOTFS);
        if self.target.probe(&rootfs)? != Found::Directory {
            self.find(&format!("/{rootfs}"), "is missing");
            return Ok(());
        }
        let scanned = self.target.scan(&rootfs, THREADS, self.interrupt)?;
        let expected = self.target.as_kept(expected);
        let implied = Mtime { seconds: record.tree.epoch, nanoseconds: 0 };
        let unreadable: BTreeSet<_> = scanned.unreadable.iter().map(|it| it.path.clone()).collect();
        let mut found: Vec<_> = scanned
            .unreadable
            .into_iter()
            .map(|Unreadable { path, why }| Difference { path, what: format!("can't be read: {why}") })
            .collect();
        // What came out of a commit is compared as far as a commit keeps it.
        let compared = match lost_its_times(&expected, &scanned.tree, implied) {
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
        let Ok(Some(compressed)) = self.target.read(path, MAX_FILE_BYTES) else {
            return Ok(None);
        };
        let Ok(text) = zstd::decode_all(&compressed[..]) else {
            return Ok(None);
        };
        if Digest::of(&text) != record.tree.digest {
            self.find(&format!("/{path}"), "is not the dump that the record names");
            return Ok(None);
        }
        dump::read(&text).with_context(|| format!("reading {path}")).map(Some)
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
