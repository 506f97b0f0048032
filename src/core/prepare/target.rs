//! What preparing a container asks about its target. The composer answers by the root that it writes into.

use std::collections::BTreeMap;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::exports::host_files::{Ground, Lies, Rights};
use crate::name::ContainerName;
use crate::place;
use crate::record::{Placed, Record};

/// What a path of the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no target to look at.
    Unknown,
    /// The target has nothing there.
    Missing,
    /// A directory.
    Directory,
    /// Something else.
    Other,
}

/// A target as it would be without the container.
pub trait Target {
    /// What lies at `path`, relative to the root, itself not followed.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn lies(&self, path: &Utf8Path) -> Result<Lies>;

    /// What the host's absolute `path` leads to.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn kind(&self, path: &str) -> Result<Kind>;

    /// The bytes of the regular file at `path`, relative to the root; `None` if there is nothing.
    ///
    /// # Errors
    /// When it can't be read or is larger than `max` bytes.
    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>>;

    /// The names in the directory at `path`, sorted.
    ///
    /// # Errors
    /// When it can't be read.
    fn names(&self, path: &Utf8Path) -> Result<Vec<String>>;

    /// Whose `path`, relative to the root, is; `None` when nobody knows.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn rights(&self, _: &Utf8Path) -> Result<Option<Rights>> {
        Ok(None)
    }

    /// Where the host keeps what lines of tmpfiles.d(5) copy and mount units bind, by the path that it gets; absolute. The
    /// container's bundle will lie at `bundle`.
    fn factory(&self, _: &Utf8Path) -> Utf8PathBuf {
        Utf8Path::new("/").join(place::FACTORY_DIR)
    }
}

/// A target without what containers have put there. What another container has at a path is the planner's to tell, which knows
/// its name.
pub struct Without<'a> {
    /// The target.
    pub target: &'a dyn Target,
    /// The containers' records.
    pub records: &'a BTreeMap<ContainerName, Record>,
}

impl Target for Without<'_> {
    fn lies(&self, path: &Utf8Path) -> Result<Lies> {
        let absolute = format!("/{path}");
        // A root that was booted once has what containers made then.
        if self.records.values().any(|record| record.made.contains_key(&absolute)) {
            return Ok(Lies::Nothing);
        }
        match self.records.values().find_map(|record| Some((record, record.placed.get(path)?))) {
            None => self.target.lies(path),
            Some((_, Placed::Directory { .. })) => Ok(Lies::Nothing),
            Some((_, Placed::Link { replaced: Some(text), .. })) => Ok(Lies::Link(text.clone())),
            Some((record, Placed::File { .. } | Placed::Link { .. })) => {
                let aside = place::put_aside(&record.name, path);
                self.target.lies(&place::bundle(&record.name).join(aside))
            }
        }
    }

    fn kind(&self, path: &str) -> Result<Kind> {
        self.target.kind(path)
    }

    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        self.target.read(path, max)
    }

    fn names(&self, path: &Utf8Path) -> Result<Vec<String>> {
        self.target.names(path)
    }

    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>> {
        self.target.rights(path)
    }

    fn factory(&self, bundle: &Utf8Path) -> Utf8PathBuf {
        self.target.factory(bundle)
    }
}

/// No target: nothing lies anywhere, and nothing is known to be missing.
#[derive(Debug, Clone, Copy)]
pub struct Unseen;

impl Target for Unseen {
    fn lies(&self, _: &Utf8Path) -> Result<Lies> {
        Ok(Lies::Nothing)
    }

    fn kind(&self, _: &str) -> Result<Kind> {
        Ok(Kind::Unknown)
    }

    fn read(&self, _: &Utf8Path, _: u64) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn names(&self, _: &Utf8Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// A target as the rooms below know it.
pub(super) struct GroundOf<'a>(pub &'a dyn Target);

impl Ground for GroundOf<'_> {
    fn lies(&self, path: &Utf8Path) -> Result<Lies> {
        self.0.lies(path)
    }

    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>> {
        self.0.rights(path)
    }
}
