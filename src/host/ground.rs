//! The running host as the preparation of a container sees it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sysctr_core::arch::Architecture;
use sysctr_core::exports::host_files::{Lies, Rights};
use sysctr_core::generation::GenerationName;
use sysctr_core::inspection::Inspected;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{Etc, Found, Ground};
use sysctr_core::prepare::{Kind, Target};
use sysctr_core::record::Record;
use sysctr_core::scan::{self, Label, Scan};
use sysctr_core::settings::AbsolutePath;
use sysctr_core::tree::{ImageTree, Mtime, Stat};

use crate::active::decision::Link;
use crate::active::host::{self, Host};
use crate::durable;

/// An ELF file's header tells what it is for within these bytes (elf(5)).
const ELF_BYTES: usize = 20;
/// How names of files in the directory of generations end that tell the seeds of a container.
const SEEDS: &str = ".seeds";

impl Target for Host {
    fn lies(&self, path: &Utf8Path) -> Result<Lies> {
        // What OSTree keeps there is what `/etc` was made from, and `/etc` is what counts here.
        if path == "usr/etc" || path.starts_with("var") && self.is_seed(path)? {
            return Ok(Lies::Nothing);
        }
        Ok(self.probe(path)?.into())
    }

    fn kind(&self, path: &str) -> Result<Kind> {
        let path = self.path(path.trim_start_matches('/'));
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => Ok(Kind::Directory),
            Ok(_) => Ok(Kind::Other),
            Err(error) if missing(&error) => Ok(Kind::Missing),
            Err(error) => Err(error).with_context(|| format!("looking at {path}")),
        }
    }

    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        Ground::read(self, path, max)
    }

    fn names(&self, path: &Utf8Path) -> Result<Vec<String>> {
        host::names(&self.path(path))
    }

    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>> {
        let path = self.path(path);
        match std::fs::symlink_metadata(&path) {
            Ok(found) => {
                let mode = u16::try_from(found.mode() & 0o7777)?;
                Ok(Some(Rights { uid: found.uid(), gid: found.gid(), mode }))
            }
            Err(error) if missing(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("looking at {path}")),
        }
    }

    /// In the bundle, which is read-only like `/usr`.
    fn factory(&self, bundle: &Utf8Path) -> Utf8PathBuf {
        bundle.join(place::SEEDS)
    }
}

impl Ground for Host {
    fn probe(&self, path: &Utf8Path) -> Result<Found> {
        let path = self.path(path);
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if missing(&error) => return Ok(Found::Nothing),
            Err(error) => return Err(error).with_context(|| format!("looking at {path}")),
        };
        let kind = found.file_type();
        if kind.is_dir() {
            return Ok(Found::Directory);
        }
        if kind.is_symlink() {
            let text = std::fs::read_link(&path).with_context(|| format!("reading link {path}"))?;
            return Ok(Found::Link(text.to_string_lossy().into_owned()));
        }
        if !kind.is_file() {
            return Ok(Found::Special);
        }
        let mtime = Mtime { seconds: found.mtime(), nanoseconds: u32::try_from(found.mtime_nsec())? };
        Ok(Found::File { mode: u16::try_from(found.mode() & 0o7777)?, size: found.len(), mtime })
    }

    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        let path = self.path(path);
        let Some(bytes) = host::read(&path)? else { return Ok(None) };
        ensure!(bytes.len() as u64 <= max, "reading {path}: it has {} bytes, more than {max}", bytes.len());
        Ok(Some(bytes))
    }
}

impl Inspected for Host {
    fn names(&self, path: &Utf8Path) -> Result<Vec<String>> {
        Target::names(self, path)
    }

    fn metadata(&self, path: &Utf8Path) -> Result<Option<Stat>> {
        let path = self.path(path);
        let looking = || format!("looking at {path}");
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = match rustix::fs::open(parent.as_std_path(), flags, Mode::empty()) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error).with_context(looking),
        };
        scan::of(parent.as_fd(), name.as_bytes(), Label::LeftOut).with_context(looking)
    }

    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>> {
        Target::rights(self, path)
    }

    fn scan(&self, path: &Utf8Path, jobs: usize, interrupt: &Interrupt) -> Result<Scan> {
        let path = self.path(path);
        let dir = durable::open_dir(&path)?;
        scan::scan(dir, jobs, interrupt).with_context(|| format!("reading {path}"))
    }

    fn as_kept(&self, tree: ImageTree) -> ImageTree {
        tree
    }
}

fn missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

impl Host {
    /// What containers have put on this host: what is embedded, as it lies in `/etc`, and what the generations that were switched to
    /// brought. What lies in /var stays whatever is switched to.
    ///
    /// # Errors
    /// When what is embedded can't be read. A generation that can't be read has put nothing there.
    pub fn standing(&self) -> Result<BTreeMap<ContainerName, Record>> {
        let embedded = self.embedded_records()?.into_iter();
        let mut standing: BTreeMap<_, _> =
            embedded.map(|(name, record)| (name, Etc::Host.relocate(record))).collect();
        for (name, numbers) in self.generations()? {
            for number in numbers {
                let Ok(opened) = self.generation(&GenerationName::new(&name, number)) else { continue };
                let mut record = opened.record;
                if self.link(&name) != Link::To(number) {
                    record.placed.clear();
                }
                match standing.entry(name.clone()) {
                    Entry::Vacant(entry) => drop(entry.insert(record)),
                    Entry::Occupied(mut entry) => {
                        entry.get_mut().placed.extend(record.placed);
                        entry.get_mut().made.extend(record.made);
                    }
                }
            }
        }
        Ok(standing)
    }

    /// Where it is told which paths below /var host files of a container ever had: one a line.
    pub fn seeds_file(&self, name: &ContainerName) -> Utf8PathBuf {
        self.generations_dir().join(format!(".{name}{SEEDS}"))
    }

    /// Those paths, absolute.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn seeds(&self, name: &ContainerName) -> Result<BTreeSet<String>> {
        let text = host::read(&self.seeds_file(name))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    }

    fn is_seed(&self, path: &Utf8Path) -> Result<bool> {
        for file in host::names(&self.generations_dir())? {
            let name = file.strip_prefix('.').and_then(|file| file.strip_suffix(SEEDS));
            if let Some(Ok(name)) = name.map(str::parse)
                && self.seeds(&name)?.contains(&format!("/{path}"))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The architecture that the host is for: systemd's.
    ///
    /// # Errors
    /// When systemd's program can't be read or is for a machine that we don't know.
    pub fn architecture(&self) -> Result<Architecture> {
        let path = self.path(place::SYSTEMD);
        let mut header = [0; ELF_BYTES];
        std::fs::File::open(&path)
            .and_then(|mut file| file.read_exact(&mut header))
            .with_context(|| format!("finding the host's architecture: reading {path}"))?;
        let found = Architecture::of_elf(&header);
        found.with_context(|| format!("finding the host's architecture: {path} is for none that we know"))
    }

    /// The OCI runtime's path: a name is looked up where systemd would, a path must be there.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn runtime(&self, asked: &str) -> Result<AbsolutePath> {
        let candidates = match asked.starts_with('/') {
            true => vec![asked.to_owned()],
            false => ["/usr/bin", "/usr/sbin"].iter().map(|dir| format!("{dir}/{asked}")).collect(),
        };
        for candidate in &candidates {
            let path = self.path(candidate.trim_start_matches('/'));
            if std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0) {
                return Ok(AbsolutePath::try_from(candidate.clone())?);
            }
        }
        bail!("looking for the runtime: this host has no program {}; install it", candidates.join(" or "))
    }
}
