//! What lies on the host about containers and their generations. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::Digest;
use sysctr_core::generation::{Generation, GenerationName, Trial};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{self, Record};

use super::decision::{Facts, Hold, Known, Link, Shipped, Unusable};

/// A host by its root directory: `/`, but for tests.
#[derive(Debug, Clone)]
pub struct Host {
    root: Utf8PathBuf,
    /// The root of the host that runs: `/proc` and `/var` are its.
    running: Utf8PathBuf,
}

/// A generation with all that is known of it.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Where its bundle is now.
    pub bundle: Utf8PathBuf,
    /// The record in its bundle.
    pub record: Record,
    /// What decides about it.
    pub known: Known,
}

impl Host {
    /// The one that this program runs on.
    pub fn this() -> Self {
        Self { root: Utf8PathBuf::from("/"), running: Utf8PathBuf::from("/") }
    }

    /// Another deployment of it, by its directory.
    pub fn deployment(&self, root: Utf8PathBuf) -> Self {
        Self { root, running: self.running.clone() }
    }

    /// Another one.
    #[cfg(test)]
    pub fn at(root: &Utf8Path) -> Self {
        Self { root: root.to_owned(), running: root.to_owned() }
    }

    /// An absolute path of it.
    pub fn path(&self, relative: impl AsRef<Utf8Path>) -> Utf8PathBuf {
        self.root.join(relative)
    }

    /// The directory of what is active.
    pub fn active_dir(&self) -> Utf8PathBuf {
        self.path(place::ACTIVE_DIR)
    }

    /// The directory of bundles of generations.
    pub fn generations_dir(&self) -> Utf8PathBuf {
        self.path(place::GENERATIONS_DIR)
    }

    /// A generation's directory in `/etc`.
    pub fn generation_dir(&self, name: &GenerationName) -> Utf8PathBuf {
        self.active_dir().join(name.to_string())
    }

    /// The bundle of what is embedded under a name.
    pub fn embedded_bundle(&self, name: &ContainerName) -> Utf8PathBuf {
        self.path(place::bundle(name))
    }

    /// Everything that decides what the next start of a container runs.
    ///
    /// # Errors
    /// When what is embedded can't be read.
    pub fn facts(&self, name: &ContainerName) -> Result<Facts> {
        let embedded = self.embedded(name)?;
        let embedded = embedded.map(|record| Shipped { origin: record.origin, fallback: record.fallback });
        Ok(Facts { link: self.link(name), embedded, boot: self.boot()? })
    }

    /// The record of what is embedded under a name, if anything is.
    ///
    /// # Errors
    /// When it can't be read, is newer than this program, or another container's.
    pub fn embedded(&self, name: &ContainerName) -> Result<Option<Record>> {
        let path = self.embedded_bundle(name).join(place::RECORD_JSON);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let record: Record = record::from_json(&bytes, path.as_str())?;
        ensure!(
            record.name == *name,
            "reading {path}: it is the record of {}; compose the host image again",
            record.name
        );
        Ok(Some(record))
    }

    /// The names that the embedded directory has.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn embedded_names(&self) -> Result<Vec<ContainerName>> {
        Ok(names(&self.path(place::EMBEDDED_DIR))?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The records of everything that is embedded.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn embedded_records(&self) -> Result<BTreeMap<ContainerName, Record>> {
        let mut records = BTreeMap::new();
        for name in self.embedded_names()? {
            if let Some(record) = self.embedded(&name)? {
                records.insert(name, record);
            }
        }
        Ok(records)
    }

    /// What was switched to.
    pub fn link(&self, name: &ContainerName) -> Link {
        let path = self.active_dir().join(name.as_str());
        let text = match std::fs::read_link(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Link::Absent;
            }
            Err(error) => return Link::Unreadable(format!("reading link {path}: {error}")),
        };
        let generation = text.to_str().and_then(|text| text.parse::<GenerationName>().ok());
        match generation.filter(|generation| generation.container == *name) {
            Some(generation) => Link::To(generation.number),
            None => {
                Link::Unreadable(format!("reading link {path}: {} is no generation of it", text.display()))
            }
        }
    }

    /// This boot.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn boot(&self) -> Result<String> {
        let path = self.running.join("proc/sys/kernel/random/boot_id");
        let id = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        Ok(id.trim().to_owned())
    }

    /// What `/etc` says of a generation. Before /var is mounted nothing else can be read.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn described(&self, name: &GenerationName) -> Result<(Generation, Known), Unusable> {
        let dir = self.generation_dir(name);
        let generation: Generation = document(&dir.join(place::GENERATION_JSON))?;
        let trial = dir.join(place::TRIAL_JSON);
        let trial: Option<Trial> = if trial.exists() { Some(document(&trial)?) } else { None };
        let hold = if dir.join(place::HOLD).exists() { Hold::Held } else { Hold::Free };
        let known = Known { origin: generation.origin, hold, trial };
        Ok((generation, known))
    }

    /// A generation with everything that a start of it needs.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn generation(&self, name: &GenerationName) -> Result<Opened, Unusable> {
        let (generation, known) = self.described(name)?;
        let bundle = self.bundle(&generation);
        let path = bundle.join(place::RECORD_JSON);
        let bytes = needed(&path)?;
        if Digest::of(&bytes) != generation.record {
            return Err(Unusable::Broken(format!(
                "reading {path}: it is not the record of generation {name}"
            )));
        }
        let record: Record = document(&path)?;
        if record.name != name.container {
            return Err(Unusable::Broken(format!("reading {path}: it is the record of {}", record.name)));
        }
        Ok(Opened { bundle, record, known })
    }

    /// Whether what lies in /var can be found before it is mounted: on an OSTree host below /sysroot, else on the root file
    /// system.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn is_var_there_early(&self) -> Result<bool> {
        let identity = |path: &Utf8Path| -> Result<Option<(u64, u64)>> {
            match std::fs::metadata(path) {
                Ok(found) => Ok(Some((found.dev(), found.ino()))),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error).with_context(|| format!("looking at {path}")),
            }
        };
        let here = identity(&self.generations_dir())?;
        Ok(match self.early(place::GENERATIONS_DIR) {
            Some(early) => identity(&early)? == here,
            None => here.map(|(dev, _)| dev) == identity(&self.root)?.map(|(dev, _)| dev),
        })
    }

    /// Where an OSTree host has a path of /var before /var is mounted.
    fn early(&self, relative: &str) -> Option<Utf8PathBuf> {
        // `OS/deploy/CHECKSUM.N`
        Some(self.booted()?.parent()?.parent()?.join(relative))
    }

    /// The directory of the deployment that runs, below /sysroot, on an OSTree host.
    pub fn booted(&self) -> Option<Utf8PathBuf> {
        let identity = |path: &Utf8Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino()))
        };
        // Its root is that very directory; of a composefs, its /etc is the one in it.
        let (root, etc) = (identity(&self.root)?, identity(&self.path("etc")));
        let runs = |dir: &Utf8PathBuf| {
            identity(dir) == Some(root) || (etc.is_some() && identity(&dir.join("etc")) == etc)
        };
        let stateroots = self.path("sysroot/ostree/deploy");
        let all = names(&stateroots).ok()?.into_iter().flat_map(|stateroot| {
            let deployments = stateroots.join(stateroot).join("deploy");
            names(&deployments).unwrap_or_default().into_iter().map(move |it| deployments.join(it))
        });
        all.into_iter().find(runs).or_else(|| self.booted_by_command_line())
    }

    /// The same by the kernel's command line, for a composefs whose /etc is transient. Its link is gone, or is another deployment's, once
    /// one was made in this boot: OSTree swaps two sets of them.
    fn booted_by_command_line(&self) -> Option<Utf8PathBuf> {
        let command_line = std::fs::read_to_string(self.path("proc/cmdline")).ok()?;
        let link = command_line.split_whitespace().find_map(|word| word.strip_prefix("ostree=/"))?;
        self.path("sysroot").join(link).canonicalize_utf8().ok()
    }

    /// Where a bundle lies: units that start before /var is mounted find it where OSTree keeps that (ostree-prepare-root(1)).
    pub fn bundle(&self, generation: &Generation) -> Utf8PathBuf {
        let relative = generation.bundle.as_str().trim_start_matches('/');
        let mounted = self.running.join(relative);
        if mounted.exists() {
            return mounted;
        }
        self.early(relative).filter(|early| early.exists()).unwrap_or(mounted)
    }

    /// The numbers of a container's generations that `/etc` knows.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn numbers(&self, name: &ContainerName) -> Result<BTreeSet<NonZeroU64>> {
        Ok(self.generations()?.remove(name).unwrap_or_default())
    }

    /// All generations that `/etc` knows.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn generations(&self) -> Result<BTreeMap<ContainerName, BTreeSet<NonZeroU64>>> {
        let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for generation in generations_in(&self.active_dir())? {
            all.entry(generation.container).or_default().insert(generation.number);
        }
        Ok(all)
    }

    /// The containers that have a link: those that were ever switched and not reset.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn switched(&self) -> Result<BTreeSet<ContainerName>> {
        let names = names(&self.active_dir())?;
        let link = |name: &String| self.active_dir().join(name).is_symlink();
        Ok(names.iter().filter(|name| link(name)).filter_map(|name| name.parse().ok()).collect())
    }
}

/// The names in `dir` that generations have.
///
/// # Errors
/// When it can't be read; a missing one has none.
pub fn generations_in(dir: &Utf8Path) -> Result<Vec<GenerationName>> {
    Ok(names(dir)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The UTF-8 names in a directory, sorted; of a missing one none.
///
/// # Errors
/// When it can't be read.
pub fn names(dir: &Utf8Path) -> Result<Vec<String>> {
    let doing = || format!("reading directory {dir}");
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(doing),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.with_context(doing)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The bytes of a file, if there is one.
///
/// # Errors
/// When it can't be read.
pub fn read(path: &Utf8Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {path}")),
    }
}

fn needed(path: &Utf8Path) -> Result<Vec<u8>, Unusable> {
    std::fs::read(path).map_err(|error| Unusable::Broken(format!("reading {path}: {error}")))
}

/// A document of ours.
pub fn document<T: serde::de::DeserializeOwned>(path: &Utf8Path) -> Result<T, Unusable> {
    let bytes = needed(path)?;
    record::from_json(&bytes, path.as_str()).map_err(|error| {
        let why = format!("{error:#}");
        if is_newer(&bytes) { Unusable::Newer(why) } else { Unusable::Broken(why) }
    })
}

/// Whether a document says that a newer program wrote it.
pub fn is_newer(bytes: &[u8]) -> bool {
    let value: Result<serde_json::Value, _> = serde_json::from_slice(bytes);
    value.is_ok_and(|value| value["version"].as_u64().is_some_and(|it| it > record::VERSION.into()))
}
