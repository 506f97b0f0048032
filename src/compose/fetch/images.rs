//! Where compose, plan, lint and inspect take their images from.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use sysctr_core::arch::Architecture;
use sysctr_core::image::blob::WrongBlob;
use sysctr_core::image::reference::Reader;
use sysctr_core::image::stored::stored;
use sysctr_core::image::{self, ResolvedImage, Wanted};
use sysctr_core::record::{Signer, SignerKey};

use super::cache::{self, Cache};
use super::trust::{self, Demand, Trust};
use super::{Fetcher, Task, UNCHECKABLE};
use crate::lock::{Key, LockFile, Locked};
use crate::manifest::{Container, Manifest, NotUnderstood};
use crate::progress::Reporter;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::skopeo::Patience;

/// What of an image is known before it is read.
#[derive(Debug)]
pub struct Found {
    /// The image.
    pub image: ResolvedImage,
    /// Whose signatures were verified.
    pub signed_by: Vec<Signer>,
    /// The keys of those that the manifest names.
    pub keys: Vec<SignerKey>,
}

/// Whether images may come from the network.
#[derive(Debug)]
pub enum Way {
    /// All come from lock and cache; nothing is connected to.
    Locked(LockFile),
    /// Layouts and archives are read in place; the rest is fetched into the cache, by the lock's digests if there is one.
    Free(Option<LockFile>),
}

/// What else is needed to bring images.
pub struct Means<'a> {
    /// Another policy than the manifest's own.
    pub policy: Option<&'a camino::Utf8Path>,
    /// What is demanded beyond it.
    pub demand: Demand,
    /// How long fetching may take.
    pub patience: Patience,
    /// How many are fetched at once.
    pub jobs: usize,
    /// Progress.
    pub reporter: &'a Reporter,
    /// The user's wish to stop.
    pub interrupt: &'a Interrupt,
}

/// The images of one manifest.
pub struct Images<'a> {
    way: Way,
    manifest: &'a Manifest,
    means: Means<'a>,
    /// Opened with the first image that needs it, and held open as long as images are read.
    cache: RefCell<Option<Cache>>,
    fetched: RefCell<BTreeMap<Key, Locked>>,
}

impl<'a> Images<'a> {
    /// Nothing is opened or fetched yet.
    pub fn new(way: Way, manifest: &'a Manifest, means: Means<'a>) -> Self {
        Self { way, manifest, means, cache: RefCell::default(), fetched: RefCell::default() }
    }

    /// Checks that all images can be had for an architecture, and fetches those that must be.
    ///
    /// # Errors
    /// When the lock disagrees with the manifest, or an image can't be fetched.
    pub fn prepare(&self, architecture: Architecture) -> Result<()> {
        match &self.way {
            Way::Locked(lock) => Ok(lock.check(self.manifest, architecture)?),
            Way::Free(lock) => self.fetch_foreign(&self.manifest.containers, architecture, lock.as_ref()),
        }
    }

    /// The same for one of the containers.
    ///
    /// # Errors
    /// As [`Images::prepare`].
    pub fn prepare_one(&self, container: &Container, architecture: Architecture) -> Result<()> {
        match &self.way {
            Way::Locked(lock) => Ok(lock.image(container, architecture).map(drop)?),
            Way::Free(lock) => {
                self.fetch_foreign(std::slice::from_ref(container), architecture, lock.as_ref())
            }
        }
    }

    /// Fetches those that nobody reads in place.
    fn fetch_foreign(&self, all: &[Container], arch: Architecture, lock: Option<&LockFile>) -> Result<()> {
        let foreign: Vec<_> =
            all.iter().filter(|it| it.image.transport().reader() == Reader::Skopeo).collect();
        if foreign.is_empty() { Ok(()) } else { self.fetch(&foreign, arch, lock) }
    }

    fn fetch(&self, containers: &[&Container], arch: Architecture, lock: Option<&LockFile>) -> Result<()> {
        let Means { policy, demand, patience, jobs, reporter, interrupt } = self.means;
        let base = cache::absolute(&self.manifest.base)?;
        let fetcher = Fetcher {
            cache: Cache::open(&cache::place()?, interrupt)?,
            base: &base,
            trust: Trust::find(&base, policy, demand)?,
            patience,
            jobs,
            reporter,
            interrupt,
        };
        let mut fetched = self.fetched.borrow_mut();
        let mut tasks = Vec::new();
        for &container in containers {
            let locked = lock.and_then(|lock| lock.image(container, arch).ok());
            match locked {
                Some(locked) if fetcher.is_there(locked) => {
                    fetched.insert((container.name.clone(), arch), locked.clone());
                }
                expected => tasks.push(Task { container, architecture: arch, expected }),
            }
        }
        for (task, pulled) in tasks.iter().zip(fetcher.fetch_all(&tasks)?) {
            let locked = task.expected.cloned().unwrap_or(pulled.locked);
            fetched.insert((task.container.name.clone(), arch), locked);
        }
        *self.cache.borrow_mut() = Some(fetcher.cache);
        Ok(())
    }

    /// One container's image; whether its layers are there is not looked at. After [`Images::prepare`].
    ///
    /// # Errors
    /// When it can't be found, or a signature is demanded that nobody verified.
    pub fn resolve(&self, container: &Container, architecture: Option<Architecture>) -> Result<Found> {
        let locked = match &self.way {
            Way::Locked(lock) => {
                let architecture = architecture.context("looking into the lock: give --arch")?;
                Some(lock.image(container, architecture)?.clone())
            }
            Way::Free(_) => {
                let foreign = container.image.transport().reader() == Reader::Skopeo;
                if foreign && architecture.is_none() {
                    bail!("fetching {}: give --arch", container.image);
                }
                let key = architecture.map(|architecture| (container.name.clone(), architecture));
                key.and_then(|key| self.fetched.borrow().get(&key).cloned())
            }
        };
        let signed_by = locked.as_ref().map(|locked| locked.signed_by().to_vec()).unwrap_or_default();
        if self.means.demand == Demand::Signed && signed_by.is_empty() {
            bail!(
                "no signature of {} was verified, and --require-signed wants one: {}",
                container.image,
                self.why(container)
            );
        }
        let image = match locked {
            Some(locked) => self.stored(&locked, architecture)?,
            None => image::resolve_documents(&Wanted {
                reference: &container.image,
                base: &self.manifest.base,
                architecture,
                pin: container.pin,
            })?,
        };
        let keys = trust::keys(container, &self.manifest.base, &signed_by)?;
        Ok(Found { image, signed_by, keys })
    }

    fn stored(&self, locked: &Locked, architecture: Option<Architecture>) -> Result<ResolvedImage> {
        let mut cache = self.cache.borrow_mut();
        let cache = match &*cache {
            Some(cache) => cache,
            None => cache.insert(Cache::open_filled(&cache::place()?, self.means.interrupt)?),
        };
        let found = stored(cache.dir(), &locked.parts, architecture);
        let found =
            found.with_context(|| format!("reading image {} from the cache {}", locked.from(), cache.dir()));
        found.map_err(|error| anyhow!("{error:#}; run sysctr-compose fetch, which brings it again"))
    }

    fn why(&self, container: &Container) -> &'static str {
        match container.image.transport().reader() {
            Reader::Native => UNCHECKABLE,
            Reader::Skopeo => "name the key with signed_by and run sysctr-compose fetch --update",
        }
    }

    /// An error of reading an image's layers, with the way out if the cache is what is wrong.
    pub fn explain(&self, container: &Container, error: anyhow::Error) -> anyhow::Error {
        let from_cache = match &self.way {
            Way::Locked(_) => true,
            Way::Free(_) => self.fetched.borrow().keys().any(|(name, _)| *name == container.name),
        };
        let wrong = |cause: &(dyn std::error::Error + 'static)| {
            let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            cause.is::<WrongBlob>() || inner.is_some_and(|inner| inner.is::<WrongBlob>())
        };
        if from_cache && error.chain().any(wrong) {
            return anyhow!("{error:#}; run sysctr-compose fetch, which brings it again");
        }
        error
    }

    /// What a plan says of a container's signature; `None` for one that the manifest has not.
    pub fn signature(&self, name: &sysctr_core::name::ContainerName, signed_by: &[Signer]) -> Option<String> {
        let container = self.manifest.containers.iter().find(|container| container.name == *name)?;
        Some(match container.image.transport().reader() {
            _ if !signed_by.is_empty() => {
                let signers = signed_by.iter().map(|it| format!("{} ({})", it.fingerprint, it.key));
                format!("signed by {}", signers.collect::<Vec<_>>().join(", "))
            }
            Reader::Native => format!("signature can't be checked: {UNCHECKABLE}"),
            Reader::Skopeo => "no signature was verified".to_owned(),
        })
    }
}

/// The way that a command line asks for.
///
/// # Errors
/// When a lock is wanted and there is none, or it can't be understood.
pub fn way(locked: Wish, manifest: Option<&camino::Utf8Path>) -> Result<Way> {
    let lock = manifest.map(crate::lock::path_beside);
    let found = lock.as_deref().map(LockFile::read).transpose()?.flatten();
    match (locked, found, lock) {
        (Wish::Locked, Some(found), _) => Ok(Way::Locked(found)),
        (Wish::Locked, None, Some(path)) => {
            Err(NotUnderstood::new(format!("there is no lock {path}; run sysctr-compose fetch")).into())
        }
        (Wish::Locked, None, None) => Err(NotUnderstood::new("--locked needs a manifest (-m FILE)").into()),
        (Wish::Free, found, _) => Ok(Way::Free(found)),
    }
}

/// Whether the lock decides all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// `--locked`.
    Locked,
    /// Without it.
    Free,
}
