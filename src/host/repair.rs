//! A generation made anew from the store: its root, the files beside it, and what lies in `/etc`.
//!
//! Beside, then renamed: a cut leaves the damaged one or the whole one.

mod objects;
mod running;

use std::collections::BTreeSet;
use std::os::unix::fs::{DirBuilderExt as _, symlink};

use anyhow::{Context as _, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use sysctr_core::digest::Digest;
use sysctr_core::generation::{Generation, GenerationName, Trial};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::place;
use sysctr_core::record::{Record, from_json};
use sysctr_core::store::kept::{Kept, KeptFiles};
use sysctr_core::store::own_repo::OwnRepo;

use crate::active::host::{self, Host};
use crate::durable::{clear, make_parent, open_dir, sync_dir, write_new};
use crate::make::STAGING;
use crate::{copy, host_files, kept, systemd};

/// What is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The bundle in /var.
    Bundle,
    /// What lies in /etc.
    Etc,
}

/// Makes parts of a generation what they were when it was made. The caller holds the lock.
///
/// # Errors
/// When the store does not have it whole, its container runs from the bundle, or something can't be written: that part is as
/// damaged as before.
pub fn generation(
    host: &Host,
    name: &GenerationName,
    parts: &BTreeSet<Part>,
    interrupt: &Interrupt,
) -> Result<()> {
    let home = host.generations_dir();
    let store = OwnRepo::open(&home.join(place::STORE))?.context("this host has no store")?;
    let repair = Repair { host, name, store: &store, interrupt };
    let files = repair.files()?;
    if let Some(path) = kept::newer(host, name, Some(&files))? {
        bail!("a newer sysctr made {path}; use that one");
    }
    for part in parts {
        match part {
            Part::Bundle => repair.bundle(&files)?,
            Part::Etc => repair.etc(&files)?,
        }
    }
    if parts.contains(&Part::Etc) && systemd::is_running() {
        systemd::reload()?;
    }
    Ok(())
}

struct Repair<'a> {
    host: &'a Host,
    name: &'a GenerationName,
    store: &'a OwnRepo,
    interrupt: &'a Interrupt,
}

impl Repair<'_> {
    /// What the store keeps of it besides its image's tree.
    fn files(&self) -> Result<KeptFiles> {
        let refs = self.store.refs()?;
        let reference = kept::reference(self.name);
        let commit = refs
            .get(&reference)
            .with_context(|| format!("the store {} has no sysctr/{reference}", self.store.path()))?;
        let root = self.store.root(commit)?.with_context(|| {
            format!("the store {} lacks what sysctr/{reference} names", self.store.path())
        })?;
        self.make_files_whole(root)?;
        self.store.kept(root)
    }

    /// Makes the bundle anew beside, unless it is whole, and takes it to its place.
    fn bundle(&self, files: &KeptFiles) -> Result<()> {
        let record = self.record(files)?;
        let root = self.root(files, &record)?;
        let home = self.host.generations_dir();
        let (staging, bundle) = (home.join(STAGING), home.join(self.name.to_string()));
        running::nobody(self.name)?;
        clear(&staging)?;
        let made = std::fs::DirBuilder::new().mode(0o700).create(&staging);
        made.with_context(|| format!("making {staging}"))?;
        let dir = open_dir(&staging)?;
        self.store.check_out(root, &dir, place::ROOTFS)?;
        for (path, kept) in files {
            if let (Ok(file), Kept::File(bytes)) = (path.strip_prefix(kept::BUNDLE), kept) {
                write_new(&staging.join(file), bytes, 0o644)?;
            }
        }
        keep_host_things(&bundle, &staging)?;
        let lost = self.host_things(&record, &staging)?;
        rustix::fs::syncfs(&dir).with_context(|| format!("flushing {staging}"))?;
        running::nobody(self.name)?;
        let before = exchange(&staging, &bundle)?;
        // A start that looked before them is told by now what it runs from.
        if before == Before::There
            && let Err(runs) = running::nobody(self.name)
        {
            exchange(&staging, &bundle)?;
            // Neither is removed: the start may have found the one or the other.
            return Err(runs);
        }
        sync_dir(&home)?;
        clear(&staging)?;
        let Some(first) = lost.first() else { return Ok(()) };
        let container = &self.name.container;
        bail!(
            "{first} is not what the image brought for its host, and the store does not have that; `sysctr rollback \
             {container}` or `sysctr reset {container}`, and then `sysctr update {container}` fetches it again"
        )
    }

    /// Takes what an image brings for its host, where the bundle has it otherwise, from its place on the host. Gives the paths of
    /// what is nowhere.
    fn host_things(&self, record: &Record, staging: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
        let bundle = Utf8Path::new(place::GENERATIONS_DIR).join(self.name.to_string());
        let mut lost = Vec::new();
        for (path, placed) in &record.placed {
            let Ok(inner) = path.strip_prefix(&bundle) else { continue };
            let made = staging.join(inner);
            let right = |there: &Utf8Path| -> Result<bool> {
                Ok(host_files::look(there)? == Some(host_files::plain(placed)))
            };
            if right(&made)? {
                continue;
            }
            match inner.strip_prefix(place::HOST_FILES).map(|it| self.host.path(it)) {
                Ok(there) if right(&there)? => host_files::copy_to(&there, &made)?,
                _ => lost.push(Utf8Path::new("/").join(path)),
            }
        }
        Ok(lost)
    }

    fn record(&self, files: &KeptFiles) -> Result<Record> {
        let bytes = self.kept(files, &kept::inside(kept::BUNDLE, place::RECORD_JSON))?;
        let generation = self.kept(files, &kept::inside(kept::ETC, place::GENERATION_JSON))?;
        let generation: Generation = from_json(generation, place::GENERATION_JSON)?;
        ensure!(
            generation.record == Digest::of(bytes),
            "what the store keeps of {} does not belong together",
            self.name
        );
        from_json(bytes, place::RECORD_JSON)
    }

    fn kept<'b>(&self, files: &'b KeptFiles, path: &Utf8Path) -> Result<&'b [u8]> {
        match files.get(path) {
            Some(Kept::File(bytes)) => Ok(bytes),
            Some(Kept::Link(_)) | None => bail!("the store keeps no {path} of {}", self.name),
        }
    }

    /// Everything in `/etc` but the flags; what does not belong there goes.
    fn etc(&self, files: &KeptFiles) -> Result<()> {
        let dir = self.host.generation_dir(self.name);
        let wanted: Vec<_> = files
            .iter()
            .filter_map(|(path, kept)| Some((path.strip_prefix(kept::ETC).ok()?, kept)))
            .collect();
        let beside = self.host.active_dir().join(format!(".{}.new", self.name));
        clear(&beside)?;
        std::fs::create_dir(&beside).with_context(|| format!("making {beside}"))?;
        for (path, kept) in wanted {
            let path = beside.join(path);
            make_parent(&path)?;
            match kept {
                Kept::File(bytes) => write_new(&path, bytes, 0o644)?,
                Kept::Link(text) => {
                    symlink(text, &path).with_context(|| format!("making link {path}"))?;
                }
            }
        }
        self.keep_others(files, &dir, &beside)?;
        rustix::fs::syncfs(open_dir(&beside)?).with_context(|| format!("flushing {beside}"))?;
        exchange(&beside, &dir)?;
        sync_dir(&self.host.active_dir())?;
        clear(&beside)
    }
}

impl Repair<'_> {
    /// Flags, and what this program does not know. A trial that can't be read says nothing: it keeps the container from starting.
    fn keep_others(&self, files: &KeptFiles, dir: &Utf8Path, beside: &Utf8Path) -> Result<()> {
        for other in host::names(dir)? {
            let (path, to) = (dir.join(&other), beside.join(&other));
            let ours = files.keys().any(|file| file.starts_with(kept::inside(kept::ETC, &other)));
            let found = path.symlink_metadata().with_context(|| format!("looking at {path}"))?;
            if ours || other == place::UNITS || other == place::HOST_FILES_JSON {
                continue;
            }
            if other == place::TRIAL_JSON && host::document::<Trial>(&path).is_err() {
                continue;
            }
            if found.is_dir() {
                std::fs::create_dir(&to).with_context(|| format!("making {to}"))?;
                copy::tree(&open_dir(&path)?, &open_dir(&to)?)?;
            } else if found.is_file() && [place::TRIAL_JSON, place::HOLD].contains(&&*other) {
                let bytes = std::fs::read(&path).with_context(|| format!("reading {path}"))?;
                write_new(&to, &bytes, 0o644)?;
            } else {
                copy::one(&path, &to)?;
            }
        }
        Ok(())
    }
}

/// The store does not have what an image brings for its host: it stays as it is.
fn keep_host_things(bundle: &Utf8Path, staging: &Utf8Path) -> Result<()> {
    for dir in [place::HOST_FILES, place::SEEDS] {
        let (from, to) = (bundle.join(dir), staging.join(dir));
        if from.is_dir() {
            std::fs::create_dir(&to).with_context(|| format!("making {to}"))?;
            copy::tree(&open_dir(&from)?, &open_dir(&to)?)?;
        }
    }
    Ok(())
}

/// What lay at the place that something was taken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Something, which now is where the other one was made.
    There,
    Nothing,
}

/// Takes what was made to its place; what was there is where that was made.
fn exchange(made: &Utf8Path, place: &Utf8Path) -> Result<Before> {
    let (cwd, from, to) = (rustix::fs::CWD, made.as_std_path(), place.as_std_path());
    let exchanged = match rustix::fs::renameat_with(cwd, from, cwd, to, RenameFlags::EXCHANGE) {
        Err(Errno::NOENT) => rustix::fs::rename(from, to).map(|()| Before::Nothing),
        other => other.map(|()| Before::There),
    };
    exchanged.with_context(|| format!("renaming {made} to {place}"))
}
