//! How a bundle comes to its place: made, taken from another commit, or amended where it stands: what differs in its
//! directory is changed, the rest stays.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::Utf8PathBuf;

use super::super::{Adopted, Bundle, Change, Found, Ground, PlacedLeaf};
use super::{Planner, Root};
use crate::name::ContainerName;
use crate::place;
use crate::tree::ImageTree;

impl<G: Ground> Planner<'_, G> {
    /// Puts a bundle with this `rootfs` and these files there.
    pub(super) fn bring(
        &mut self,
        name: &ContainerName,
        root: Root,
        tree: ImageTree,
        files: BTreeMap<String, PlacedLeaf>,
    ) -> Result<()> {
        match root {
            Root::Made => {
                let bundle = Bundle { name: name.clone(), tree: Some(tree), files };
                self.put_bundle(name, Change::PutBundle(Box::new(bundle)))
            }
            Root::Elsewhere => {
                let bundle = Bundle { name: name.clone(), tree: None, files };
                self.put_bundle(name, Change::PutBundle(Box::new(bundle)))
            }
            Root::Stands(changes) => self.amend(name, changes, files),
            Root::Adopted(commit) => {
                let adopted = Adopted { name: name.clone(), commit, files };
                self.put_bundle(name, Change::AdoptBundle(Box::new(adopted)))
            }
        }
    }

    /// Makes the bundle that stands one with these files and, below `rootfs`, with these changes. Files are compared with
    /// what lies there, not with what the record says of them, so that a file that was tampered with does not stay.
    ///
    /// # Errors
    /// When no such container is embedded, or its files can't be read.
    fn amend(
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
