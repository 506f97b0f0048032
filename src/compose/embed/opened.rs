//! A container's image after its layers were read.

use anyhow::{Context, Result};
use sysctr_core::container::{left_out, needed};
use sysctr_core::exports::brought::{MAX_BYTES, contents};
use sysctr_core::exports::lint::Places;
use sysctr_core::image::flatten::{Flattened, Limits, Progress, flatten};
use sysctr_core::placement::Root;
use sysctr_core::prepare::{self, Target};
use sysctr_core::store::listing::Listed;
use sysctr_core::tree::{ImageTree, Leaf};

use super::{Chosen, Embedded};
use crate::shelf::Shelf;

/// An image's root, its contents on a shelf.
pub struct Opened<'a, S: Shelf> {
    flattened: Flattened,
    /// What its layers do.
    layers: Vec<u8>,
    shelf: &'a S,
    store: S::Store,
}

impl Chosen<'_> {
    /// Reads the image's layers.
    ///
    /// # Errors
    /// When one can't be read, or the user interrupts.
    pub fn open<'s, S: Shelf>(
        &self,
        limits: Limits,
        shelf: &'s S,
        progress: &impl Progress,
    ) -> Result<Opened<'s, S>> {
        let mut store = shelf.store(&self.container.name)?;
        let listed = Listed::over(&store);
        let flattened = flatten(&self.image, limits, &listed, progress)?;
        let layers = listed.finish()?;
        // User databases that can't be found are told when they are needed.
        let needed = needed(&flattened.tree).unwrap_or_else(|_| contents(&flattened.tree));
        if let Some(second) = shelf.again(&store, &needed) {
            flatten(&self.image, limits, &second, progress)?;
            store = second;
        }
        Ok(Opened { flattened, layers, shelf, store })
    }

    /// Decides everything about the container by its image.
    ///
    /// # Errors
    /// When image and settings don't make a container.
    pub fn make<S: Shelf>(&self, opened: Opened<'_, S>, target: &dyn Target) -> Result<Embedded> {
        let name = &self.container.name;
        let Opened { flattened, layers, shelf, store } = opened;
        let prepared = self
            .subject()
            .prepare(&flattened.tree, target, &|id, max| shelf.content(name, &store, id, max))?;
        let left_out = left_out(&flattened.left_out);
        let root = if self.container.settings.rootfs.is_some() { Root::Elsewhere } else { Root::Made };
        let embedded = self.draft(flattened.tree, layers, root, left_out, prepared)?;
        Ok(Embedded { odd: flattened.odd, ..embedded })
    }

    /// As [`Self::make`], for somebody who wants to know what hinders it.
    ///
    /// # Errors
    /// As there; the message names container and image.
    pub fn try_make<S: Shelf>(&self, opened: Opened<'_, S>, target: &dyn Target) -> Result<Embedded> {
        let doing = || format!("embedding container {} from {}", self.container.name, self.container.image);
        self.make(opened, target).with_context(doing)
    }

    /// Where the lines of what the image brings in `/exports` come from.
    pub fn places<S: Shelf>(&self, opened: &Opened<'_, S>, target: &dyn Target) -> Places {
        let Opened { flattened, shelf, store, .. } = opened;
        let read = |id, max| shelf.content(&self.container.name, store, id, max);
        self.subject().with_input(&flattened.tree, target, &read, prepare::places).unwrap_or_default()
    }

    /// The bytes of a file of the image that preparing it may ask for.
    ///
    /// # Errors
    /// When it is another, or too large.
    pub fn content<S: Shelf>(&self, opened: &Opened<'_, S>, leaf: &Leaf) -> Result<Vec<u8>> {
        match leaf {
            Leaf::File { content: Some(id), .. } => {
                opened.shelf.content(&self.container.name, &opened.store, *id, MAX_BYTES)
            }
            Leaf::File { .. } | Leaf::Symlink { .. } => Ok(Vec::new()),
        }
    }
}

impl<S: Shelf> Opened<'_, S> {
    /// The image's root.
    pub fn tree(&self) -> &ImageTree {
        &self.flattened.tree
    }
}
