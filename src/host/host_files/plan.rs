//! What is to be done with the host files of one container, decided before anything is written.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::generation::{Before, HostFiles, Overwritten, Written};
use sysctr_core::place;
use sysctr_core::record::{Metadata, Placed};

use super::node::{look, plain};
use super::{Kept, Place};
use crate::active::host::Host;

/// One step. Paths are relative to the host's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// What a cut-off program left beside it goes.
    Clear(Utf8PathBuf),
    /// A file, a link or an empty directory goes.
    TakeAway(Utf8PathBuf),
    /// A directory comes, or gets these metadata.
    Make(Utf8PathBuf, Metadata),
    /// The generation's file or link comes.
    Put(Utf8PathBuf),
    /// What was there before comes back.
    PutBack(Utf8PathBuf, Before),
}

/// Everything about one change.
#[derive(Debug)]
pub struct Plan {
    /// Of which copies are made first: path, and where it lies now.
    pub to_keep: Vec<(Utf8PathBuf, Utf8PathBuf)>,
    /// What is written down before the first step.
    pub during: Written,
    /// What is written down after the last one; whose it is is not said yet.
    pub done: Written,
    /// What an admin has otherwise.
    pub kept: Kept,
    removals: Vec<Step>,
    puts: Vec<Step>,
}

impl Plan {
    pub(super) fn make(host: &Host, place: &Place, wanted: &HostFiles, written: Written) -> Result<Self> {
        let empty = || Written { of: None, files: Default::default(), ..written.clone() };
        let mut plan = Self {
            to_keep: Vec::new(),
            during: empty(),
            done: empty(),
            kept: Kept::new(),
            removals: Vec::new(),
            puts: Vec::new(),
        };
        let mut files = written.files;
        for (path, target) in &wanted.files {
            if !files.contains_key(path) && !plan.is_below_kept(path) {
                match plan.enter(host, place, wanted, path)? {
                    Some(over) => drop(files.insert(path.clone(), over)),
                    None if is_directory(target) && host.path(path).is_dir() => {}
                    None => plan.kept.push(path.clone()),
                }
            }
        }
        for (path, over) in files {
            plan.one(host, place, wanted.files.get(&path).map(plain), path, over)?;
        }
        plan.kept.sort();
        Ok(plan)
    }

    /// All steps in their order: what holds others is removed after them and made before them.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.removals.iter().rev().chain(&self.puts)
    }

    /// Whether the directory above is there, or will be: an admin may have removed it.
    fn has_parent(&self, host: &Host, path: &Utf8Path) -> bool {
        let Some(parent) = path.parent() else { return false };
        let made = |step: &Step| matches!(step, Step::Make(made, _) if made == parent);
        host.path(parent).is_dir() || self.puts.iter().any(made)
    }

    fn is_below_kept(&self, path: &Utf8Path) -> bool {
        self.kept.iter().any(|kept| path.starts_with(kept))
    }

    /// A path at which nothing of ours is yet; none when what is there is somebody's own.
    fn enter(
        &mut self,
        host: &Host,
        place: &Place,
        wanted: &HostFiles,
        path: &Utf8Path,
    ) -> Result<Option<Overwritten>> {
        let found = look(&host.path(path))?;
        if let Some((other, over)) = place.others.get(path) {
            if wanted.files.get(path).map(plain) != found {
                return Ok(None);
            }
            // Both have it; whoever goes last puts back what was there before the first came.
            if over.before == Before::Kept {
                let aside = place::written_dir(other).join(place::put_aside(other, path));
                self.to_keep.push((path.to_owned(), host.path(aside)));
            }
            return Ok(Some(Overwritten { known: vec![found], before: over.before }));
        }
        let before = match &found {
            _ if has_image(host, path) => (look(&host.path(image(path)))? == found).then_some(Before::Image),
            None => Some(Before::Nothing),
            Some(Placed::Directory { .. }) => None,
            Some(found) => {
                let own = place.embedded.get(path).map(plain);
                (own.as_ref() == Some(found) || wanted.allowed.contains(path)).then_some(Before::Kept)
            }
        };
        if before == Some(Before::Kept) {
            self.to_keep.push((path.to_owned(), host.path(path)));
        }
        // A directory that is there already is nobody's to give back.
        let is_there = matches!(found, Some(Placed::Directory { .. }));
        Ok(before.filter(|_| !is_there).map(|before| Overwritten { known: vec![found], before }))
    }

    /// A path that is ours, or shall be.
    fn one(
        &mut self,
        host: &Host,
        place: &Place,
        wanted: Option<Placed>,
        path: Utf8PathBuf,
        mut over: Overwritten,
    ) -> Result<()> {
        self.removals.push(Step::Clear(path.clone()));
        let found = look(&host.path(&path))?;
        let shared = place.others.contains_key(&path);
        let target = match (&wanted, over.before) {
            (Some(wanted), _) => Some(wanted.clone()),
            (None, _) if shared => found.clone(),
            (None, Before::Image) => look(&host.path(image(&path)))?,
            (None, Before::Nothing) => None,
            (None, Before::Kept) => look(&place.aside.join(place::put_aside(&place.name, &path)))?,
        };
        let has_way = target.is_none() || self.has_parent(host, &path);
        if found != target && !(over.known.contains(&found) && has_way) {
            self.kept.push(path.clone());
            if wanted.is_some() {
                self.during.files.insert(path.clone(), over.clone());
                self.done.files.insert(path, over);
            }
            return Ok(());
        }
        if found != target {
            match (&wanted, &target, over.before) {
                (Some(Placed::Directory { metadata }), ..) => {
                    self.puts.push(Step::Make(path.clone(), metadata.clone()));
                }
                (Some(_), ..) => self.puts.push(Step::Put(path.clone())),
                (None, None, _) => self.removals.push(Step::TakeAway(path.clone())),
                // The host image has one there, too; what is in it is other paths' business.
                (None, Some(Placed::Directory { .. }), Before::Image) => {}
                (None, Some(_), before) => self.puts.push(Step::PutBack(path.clone(), before)),
            }
            over.known.push(target);
        }
        if wanted.is_some() {
            let done = Overwritten { known: vec![wanted], before: over.before };
            self.done.files.insert(path.clone(), done);
        }
        self.during.files.insert(path, over);
        Ok(())
    }
}

fn is_directory(placed: &Placed) -> bool {
    matches!(placed, Placed::Directory { .. })
}

/// Whether an OSTree host tells what it has there.
fn has_image(host: &Host, path: &Utf8Path) -> bool {
    path.starts_with("etc") && host.path("usr/etc").is_dir()
}

/// Where an OSTree host has its own of a path in `/etc`.
pub fn image(path: &Utf8Path) -> Utf8PathBuf {
    Utf8Path::new("usr").join(path)
}
