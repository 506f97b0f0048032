//! A bundle whose root stands: what differs in its directory is changed, the rest stays.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::Utf8PathBuf;

use super::super::{Change, Found, Ground, PlacedLeaf};
use super::Planner;
use crate::name::ContainerName;
use crate::place;

impl<G: Ground> Planner<'_, G> {
    /// Makes the bundle that stands one with these files and, below `rootfs`, with these changes. Files are compared with
    /// what lies there, not with what the record says of them, so that a file that was tampered with does not stay.
    ///
    /// # Errors
    /// When no such container is embedded, or its files can't be read.
    pub(super) fn amend(
        &mut self,
        name: &ContainerName,
        changes: Vec<(Utf8PathBuf, Change)>,
        files: BTreeMap<String, PlacedLeaf>,
    ) -> Result<()> {
        let Some(old) = self.present.records.get(name) else {
            bail!("placing container {name}: it is not embedded, so that no root of it stands")
        };
        let bundle = place::bundle(name);
        let rootfs = bundle.join(place::ROOTFS);
        for (path, change) in changes {
            self.change(rootfs.join(path), change)?;
        }
        for gone in old.files.keys().filter(|file| !files.contains_key(*file)) {
            self.change(bundle.join(gone), Change::Remove)?;
        }
        for (file, leaf) in files {
            let path = bundle.join(file);
            if !self.lies_at(&path, &leaf, None)? {
                self.change(path, Change::Put(leaf))?;
            }
        }
        Ok(())
    }

    fn change(&mut self, path: Utf8PathBuf, change: Change) -> Result<()> {
        if self.ground.probe(&path)? != Found::Nothing {
            self.over.insert(path.clone());
        }
        self.bundles.push((path, change));
        Ok(())
    }
}
