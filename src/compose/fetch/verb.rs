//! `sysctr-compose fetch`: makes lock and cache agree with the manifest.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use camino::Utf8Path;
use sysctr_core::arch::Architecture;
use sysctr_core::image::reference::Reader;
use sysctr_core::name::ContainerName;

use super::report::FetchReport;
use super::staging::Staging;
use super::trust::Demand;
use super::{Fetcher, Task, clean};
use crate::lock::agree::disagreement;
use crate::lock::{Key, Lock, LockFile, Locked};
use crate::manifest::{Container, Manifest, NotUnderstood};

/// What is fetched.
#[derive(Debug)]
pub struct Request<'a> {
    /// The containers.
    pub manifest: &'a Manifest,
    /// Where the lock lies.
    pub lock: &'a Utf8Path,
    /// Architectures beyond those that the lock has.
    pub architectures: &'a [Architecture],
    /// Whose tags are looked up again.
    pub update: Update,
    /// What goes from the cache afterwards.
    pub prune: Prune,
    /// Most bytes that the cache may have afterwards.
    pub limit: Option<u64>,
}

/// Whose tags are looked up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Nobody's, and a lock that would have to change is an error.
    Never,
    /// Nobody's: what is locked stays, what is not locked is looked up.
    Nothing,
    /// All.
    All,
    /// These containers'.
    Names(Vec<ContainerName>),
}

/// What goes from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// Nothing.
    Nothing,
    /// What no lock names.
    Unnamed,
}

/// Fetches what lock and cache lack, and writes the lock when all of it is there.
///
/// # Errors
/// When manifest, lock or command line can't be understood, or an image can't be fetched; the lock is as it was.
pub fn fetch(request: &Request<'_>, fetcher: &Fetcher<'_>) -> Result<FetchReport> {
    let file = LockFile::read(request.lock)?;
    let old = file.as_ref().map(|file| file.lock().clone()).unwrap_or_default();
    let architectures = request.all_architectures(&old)?;
    if let (Update::Never, Some(file)) = (&request.update, &file) {
        architectures.iter().try_for_each(|architecture| file.check(request.manifest, *architecture))?;
    }
    request.check_names()?;
    Staging::sweep(&fetcher.cache, fetcher.interrupt)?;
    let mut new = Lock::default();
    let mut tasks = Vec::new();
    for (key, container) in request.keys(&architectures) {
        let kept = request.kept(container, old.images.get(&key), fetcher.trust.demand);
        match kept {
            Some(kept) if fetcher.is_complete(kept)? => drop(new.images.insert(key, kept.clone())),
            expected => tasks.push(Task { container, architecture: key.1, expected }),
        }
    }
    let mut bytes = 0;
    for (task, pulled) in tasks.iter().zip(fetcher.fetch_all(&tasks)?) {
        bytes += pulled.bytes;
        // Who signed was found out when it was locked.
        let locked = task.expected.cloned().unwrap_or(pulled.locked);
        new.images.insert((task.container.name.clone(), task.architecture), locked);
    }
    if old != new || !request.lock.exists() {
        new.write(request.lock)?;
    }
    let mut report = FetchReport::new(&old, &new, request.lock.to_owned(), fetcher.cache.dir().to_owned());
    report.bytes = bytes;
    clean(request, fetcher, &new, &mut report)?;
    Ok(report)
}

fn clean(request: &Request<'_>, fetcher: &Fetcher<'_>, lock: &Lock, report: &mut FetchReport) -> Result<()> {
    let cache = &fetcher.cache;
    clean::note_root(cache, request.lock)?;
    if request.prune == Prune::Unnamed {
        report.removed = clean::prune(cache, fetcher.interrupt)?;
    }
    if let Some(limit) = request.limit {
        let more = clean::shrink(cache, lock, limit, fetcher.interrupt)?;
        report.removed.blobs += more.blobs;
        report.removed.bytes += more.bytes;
    }
    clean::list(cache, lock)
}

impl<'a> Request<'a> {
    /// Those that were asked for and those that the lock has.
    fn all_architectures(&self, lock: &Lock) -> Result<BTreeSet<Architecture>> {
        let locked = lock.images.keys().map(|(_, architecture)| *architecture);
        let all: BTreeSet<_> = locked.chain(self.architectures.iter().copied()).collect();
        if self.update == Update::Never && lock.images.is_empty() {
            let why = format!("there is no lock {}; run sysctr-compose fetch without --locked", self.lock);
            return Err(NotUnderstood::new(why).into());
        }
        if all.is_empty() {
            let why =
                "finding the architectures to fetch: no lock tells them; give --arch, such as --arch amd64";
            return Err(NotUnderstood::new(why).into());
        }
        Ok(all)
    }

    fn check_names(&self) -> Result<()> {
        let Update::Names(names) = &self.update else { return Ok(()) };
        let known = |name: &&ContainerName| self.manifest.containers.iter().any(|it| it.name == **name);
        match names.iter().find(|name| !known(name)) {
            Some(name) => Err(NotUnderstood::new(format!(
                "updating {name}: the manifest has no container of that name"
            ))
            .into()),
            None => Ok(()),
        }
    }

    fn keys(&self, architectures: &BTreeSet<Architecture>) -> BTreeMap<Key, &'a Container> {
        let containers = self.manifest.containers.iter();
        let of = |it: &'a Container| architectures.iter().map(move |arch| ((it.name.clone(), *arch), it));
        containers.flat_map(of).collect()
    }

    /// The locked image, if it stays.
    fn kept<'l>(
        &self,
        container: &Container,
        locked: Option<&'l Locked>,
        demand: Demand,
    ) -> Option<&'l Locked> {
        let updated = match &self.update {
            Update::Never | Update::Nothing => false,
            Update::All => true,
            Update::Names(names) => names.contains(&container.name),
        };
        let unsigned = |image: &Locked| demand == Demand::Signed && image.signed_by().is_empty();
        let native = container.image.transport().reader() == Reader::Native;
        locked.filter(|image| {
            !updated
                && disagreement(container, image).is_none()
                && !(unsigned(image) || native && demand == Demand::Signed)
        })
    }
}
