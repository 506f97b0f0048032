//! A target as the preparation of a container sees it.

use anyhow::Result;
use camino::Utf8Path;
use sysctr_core::exports::host_files::{Lies, Rights};
use sysctr_core::prepare::{Kind, Target};

use crate::target::host_tree::HostTree;

/// The target.
pub struct Seen<'a>(pub &'a dyn HostTree);

impl Target for Seen<'_> {
    fn lies(&self, path: &Utf8Path) -> Result<Lies> {
        Ok(self.0.probe(path)?.into())
    }

    fn kind(&self, path: &str) -> Result<Kind> {
        let path = path.trim_start_matches('/');
        let mut kind = self.0.is_directory(Utf8Path::new(path))?;
        // In what an OSTree commit is made from, /etc is /usr/etc.
        if kind.is_none() && path.starts_with("etc/") {
            kind = self.0.is_directory(&Utf8Path::new("usr").join(path))?;
        }
        Ok(match kind {
            None => Kind::Missing,
            Some(true) => Kind::Directory,
            Some(false) => Kind::Other,
        })
    }

    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        self.0.read(path, max)
    }

    fn names(&self, path: &Utf8Path) -> Result<Vec<String>> {
        self.0.names(path)
    }

    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>> {
        self.0.rights(path)
    }
}
