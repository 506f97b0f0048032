//! `verify`: every file of every container against its record.

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::Digest;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{Found, Ground as _};
use sysctr_core::record::{Embedded, EmbeddedContainer, Metadata, Placed, Record, from_json};
use sysctr_core::tree::compare::differences;
use sysctr_core::tree::{ImageTree, Mtime, dump};

use crate::interrupt::Interrupt;
use crate::report::{FORMAT, Finding, FindingsReport, Severity};
use crate::target::sysroot::Sysroot;

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
pub fn verify(target: &Sysroot, names: &[ContainerName], interrupt: &Interrupt) -> Result<FindingsReport> {
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
        let mut inspection = Inspection { target, name, interrupt, findings: &mut findings };
        inspection.container(entry)?;
    }
    if names.is_empty() {
        launcher(target, &embedded, &mut findings)?;
    }
    Ok(FindingsReport { format: FORMAT, checked, findings })
}

fn launcher(target: &Sysroot, embedded: &Embedded, findings: &mut Vec<Finding>) -> Result<()> {
    let Some(digest) = embedded.launcher else {
        return Ok(());
    };
    let found = target.read(place::LAUNCHER.as_ref(), MAX_FILE_BYTES)?;
    if found.is_none_or(|bytes| Digest::of(&bytes) != digest) {
        findings.push(Finding {
            severity: Severity::Error,
            container: None,
            path: Some(format!("/{}", place::LAUNCHER)),
            message: "is not the launcher that a compose added".to_owned(),
        });
    }
    Ok(())
}

/// One container under inspection.
struct Inspection<'a> {
    target: &'a Sysroot,
    name: &'a ContainerName,
    interrupt: &'a Interrupt,
    findings: &'a mut Vec<Finding>,
}

impl Inspection<'_> {
    fn find(&mut self, path: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            severity: Severity::Error,
            container: Some(self.name.clone()),
            path: Some(path.to_owned()),
            message: message.into(),
        });
    }

    fn container(&mut self, entry: &EmbeddedContainer) -> Result<()> {
        let path = place::bundle(self.name).join(place::RECORD_JSON);
        let Some(bytes) = self.target.read(&path, MAX_FILE_BYTES)? else {
            self.find(&format!("/{path}"), "is missing");
            return Ok(());
        };
        if Digest::of(&bytes) != entry.record {
            self.find(&format!("/{path}"), "is not the record that embedded.json names");
            return Ok(());
        }
        let record: Record = from_json(&bytes, path.as_str())?;
        self.bundle_files(&record)?;
        self.placed(&record)?;
        self.tree(&record)
    }

    fn bundle_files(&mut self, record: &Record) -> Result<()> {
        let bundle = place::bundle(self.name);
        for (file, digest) in &record.files {
            self.file(&bundle.join(file), digest)?;
        }
        let ours = |name: &str| {
            matches!(name, place::RECORD_JSON | place::ROOTFS) || record.files.contains_key(name)
        };
        for name in self.target.names(&bundle)? {
            if !ours(&name) {
                self.find(&format!("/{bundle}/{name}"), "is not of the container");
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Utf8Path, digest: &Digest) -> Result<()> {
        let found = match self.target.probe(path)? {
            Found::Nothing => {
                self.find(&format!("/{path}"), "is missing");
                return Ok(());
            }
            Found::Link(text) => Some(Digest::of(text.as_bytes())),
            Found::File { .. } => self.target.read(path, MAX_FILE_BYTES)?.map(|bytes| Digest::of(&bytes)),
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
                    self.metadata(path, metadata.as_ref())?;
                }
                Placed::Link { target, metadata, .. } => {
                    if self.target.probe(path)? == Found::Link(target.clone()) {
                        self.metadata(path, metadata.as_ref())?;
                    } else {
                        self.find(&format!("/{path}"), format!("is no link to {target}"));
                    }
                }
                Placed::Directory { metadata } => match self.target.probe(path)? {
                    Found::Directory => self.metadata(path, Some(metadata))?,
                    _ => self.find(&format!("/{path}"), "is no directory"),
                },
            }
        }
        Ok(())
    }

    /// Owner, mode and attributes of a host file that is there.
    fn metadata(&mut self, path: &Utf8Path, expected: Option<&Metadata>) -> Result<()> {
        let Some((expected, found)) = expected.zip(self.target.metadata(path)?) else {
            return Ok(());
        };
        if Metadata::from(&found) != *expected {
            self.find(&format!("/{path}"), "has another owner, mode or attributes than recorded");
        }
        Ok(())
    }

    /// The root file system, entry by entry.
    fn tree(&mut self, record: &Record) -> Result<()> {
        let bundle = place::bundle(self.name);
        let Some(expected) = self.expected(record, &bundle.join(place::TREE_DUMP))? else {
            return Ok(());
        };
        let rootfs = bundle.join(place::ROOTFS);
        if self.target.probe(&rootfs)? != Found::Directory {
            self.find(&format!("/{rootfs}"), "is missing");
            return Ok(());
        }
        let scanned = self.target.scan(&rootfs, THREADS, self.interrupt)?;
        let implied = Mtime { seconds: record.tree.epoch, nanoseconds: 0 };
        let found = differences(&expected, &scanned.tree, implied);
        for difference in found.iter().take(MAX_DIFFERENCES) {
            self.find(&difference.path.to_string(), difference.what.clone());
        }
        if found.len() > MAX_DIFFERENCES {
            let more = found.len() - MAX_DIFFERENCES;
            self.find(&format!("/{rootfs}"), format!("differs in {more} more places"));
        }
        for (path, _) in scanned.specials {
            self.find(&path.to_string(), "is a device, FIFO or socket");
        }
        Ok(())
    }

    /// The tree as it was composed; `None` when the dump is not the record's, which is told.
    fn expected(&mut self, record: &Record, path: &Utf8PathBuf) -> Result<Option<ImageTree>> {
        let Some(compressed) = self.target.read(path, MAX_FILE_BYTES)? else {
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
