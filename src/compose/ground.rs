//! A target as the preparation of one container sees it: without what the container itself has put there.

use anyhow::Result;
use camino::Utf8Path;
use sysctr_core::exports::host_files::{Lies, Rights};
use sysctr_core::place;
use sysctr_core::placement::Found;
use sysctr_core::prepare::{Kind, Target};
use sysctr_core::record::{Placed, Record};

use crate::target::host_tree::HostTree;

/// The target without one container.
pub struct Without<'a> {
    /// The target.
    pub host: &'a dyn HostTree,
    /// What the container has put there, if it is embedded already.
    pub own: Option<&'a Record>,
}

impl Without<'_> {
    fn put_aside(&self, record: &Record, path: &Utf8Path) -> Result<Lies> {
        let aside = place::bundle(&record.name).join(place::put_aside(&record.name, path));
        Ok(lies(self.host.probe(&aside)?))
    }
}

fn lies(found: Found) -> Lies {
    match found {
        Found::Nothing => Lies::Nothing,
        Found::Directory => Lies::Directory,
        Found::File { .. } => Lies::File,
        Found::Link(text) => Lies::Link(text),
        Found::Special => Lies::Other,
    }
}

impl Target for Without<'_> {
    fn lies(&self, path: &Utf8Path) -> Result<Lies> {
        let own = self.own.and_then(|record| Some((record, record.placed.get(path)?)));
        match own {
            None => Ok(lies(self.host.probe(path)?)),
            Some((_, Placed::Directory { .. })) => Ok(Lies::Nothing),
            Some((_, Placed::Link { replaced: Some(text), .. })) => Ok(Lies::Link(text.clone())),
            Some((record, Placed::File { .. } | Placed::Link { .. })) => self.put_aside(record, path),
        }
    }

    fn kind(&self, path: &str) -> Result<Kind> {
        let path = path.trim_start_matches('/');
        let mut kind = self.host.is_directory(Utf8Path::new(path))?;
        // In what an OSTree commit is made from, /etc is /usr/etc.
        if kind.is_none() && path.starts_with("etc/") {
            kind = self.host.is_directory(&Utf8Path::new("usr").join(path))?;
        }
        Ok(match kind {
            None => Kind::Missing,
            Some(true) => Kind::Directory,
            Some(false) => Kind::Other,
        })
    }

    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        self.host.read(path, max)
    }

    fn names(&self, path: &Utf8Path) -> Result<Vec<String>> {
        self.host.names(path)
    }

    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>> {
        let found = self.host.rights(path)?;
        Ok(found.map(|found| Rights { uid: found.uid, gid: found.gid, mode: found.mode }))
    }
}
