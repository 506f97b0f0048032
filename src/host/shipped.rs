//! What the host embeds, as a source of layers: those that a listing has are not fetched, their contents are copied from /usr.

use std::sync::Arc;

use anyhow::Result;
use camino::Utf8PathBuf;
use sysctr_core::digest::Digest;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::place;
use sysctr_core::record::Record;
use sysctr_core::store::listing::Listing;
use sysctr_core::store::shipped::{Shipped, ShippedRoot};
use sysctr_core::tree::dump;

use crate::active::host::{self, Host};
use crate::durable::open_dir;

/// Embedded containers that tell their layers.
#[derive(Debug)]
pub struct Embedded {
    all: Vec<One>,
}

#[derive(Debug)]
struct One {
    bundle: Utf8PathBuf,
    record: Record,
    /// Its digest is the record's.
    layers: Listing,
}

impl Embedded {
    /// Those of this host. One that can't be read, is damaged, or was made by a composer that told no layers, is none.
    ///
    /// # Errors
    /// When the embedded directory can't be read.
    pub fn find(host: &Host) -> Result<Self> {
        let mut all = Vec::new();
        for name in host.embedded_names()? {
            let Ok(Some(record)) = host.embedded(&name) else { continue };
            let bundle = host.embedded_bundle(&name);
            let Some(expected) = record.files.get(place::LAYERS) else { continue };
            let Ok(Some(listing)) = host::read(&bundle.join(place::LAYERS)) else { continue };
            if Digest::of(&listing) == *expected {
                all.push(One { bundle, record, layers: Listing::of(&listing) });
            }
        }
        Ok(Self { all })
    }

    /// The bytes that a layer unpacks to, if a listing has it.
    pub fn bytes(&self, diff_id: &Digest) -> Option<u64> {
        self.all.iter().find_map(|one| one.layers.bytes(diff_id))
    }

    fn with(&self, diff_ids: &[Digest]) -> impl Iterator<Item = &One> {
        self.all.iter().filter(|one| diff_ids.iter().any(|diff_id| one.layers.bytes(diff_id).is_some()))
    }

    /// Those that have one of these layers, to copy from; one whose tree is damaged is left out.
    pub fn open(&self, diff_ids: &[Digest], interrupt: &Interrupt) -> Arc<Shipped> {
        let roots = self.with(diff_ids).filter_map(One::open).collect();
        Arc::new(Shipped::new(roots, interrupt.clone()))
    }
}

impl One {
    fn open(&self) -> Option<ShippedRoot> {
        let dump = host::read(&self.bundle.join(place::TREE_DUMP)).ok()??;
        let tree = dump::unpack(&dump, &self.record.tree.digest).ok()?;
        let root = open_dir(&self.bundle.join(place::ROOTFS)).ok()?;
        Some(ShippedRoot::new(root, self.layers.clone(), &tree))
    }
}
