//! All layers of an image → one tree, while contents go straight to where the caller wants them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

use super::ResolvedImage;
use super::compression::{Turn, Windows};
use super::layer::{self, Budget, Cancelled, Job};
use crate::digest::Digest;

pub use super::contents::{ContentStore, ContentWriter, Cost, Limits, Progress, ReadLayer};
use crate::tree::{Builder, Built, Entry, ImageTree, LayerDiff, Leaf, SpecialKind, Stat, TreePath};

/// Counts up whenever equal layers come to give another tree. A tree of an earlier reading that stands in a target is not
/// taken for that of its image, nor what a store knows of a layer for what the layer is.
pub const READING: u32 = 1;

/// An entry that no host image can carry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Where it would be.
    pub path: TreePath,
    /// What it was.
    pub kind: SpecialKind,
}

/// A flattened image.
#[derive(Debug)]
pub struct Flattened {
    /// The root file system. Every content that it names was handed to the store.
    pub tree: ImageTree,
    /// What would be in it if it could, in path order.
    pub left_out: Vec<LeftOut>,
    /// Entries of layers that not every host can keep, from the base upwards; they need not be in the tree.
    pub odd: Vec<Odd>,
}

/// An entry whose name or link text is no UTF-8, or that has an attribute with an empty value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// As its layer names it.
    pub path: TreePath,
    /// Index of the layer, from the base upwards.
    pub layer: usize,
}

impl Odd {
    fn is(path: &TreePath, entry: &Entry) -> bool {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        let link = |leaf: &Leaf| matches!(leaf, Leaf::Symlink { target, .. } if !text(target));
        let stat = match entry {
            Entry::Dir(stat) => Some(stat),
            Entry::Leaf(leaf) => Some(leaf.stat()),
            Entry::HardLink(_) | Entry::LeftOut(_) => None,
        };
        let empty =
            |stat: &Stat| stat.xattrs.iter().flat_map(|all| all.values()).any(|value| value.is_empty());
        !text(path.as_bytes()) || matches!(entry, Entry::Leaf(leaf) if link(leaf)) || stat.is_some_and(empty)
    }
}

/// Reads all layers of `image` that `store` does not know, and puts all together (OCI image specification, "Image Layer
/// Filesystem Changeset"). A layer that is known but lacks contents which the tree needs is read after all.
///
/// # Errors
/// When a layer's bytes do not match their digest, size or diff_id, are not a tar stream, name something outside the
/// root, when all layers together exceed `limits`, or when store or progress fail. What the store holds then is worthless.
pub fn flatten<S: ContentStore>(
    image: &ResolvedImage,
    limits: Limits,
    store: &S,
    progress: &impl Progress,
) -> Result<Flattened> {
    let mut lacking = BTreeSet::new();
    loop {
        let windows = Windows { limit: limits.max_window, bound: "--max-window allows", large: Turn::new() };
        let job = Job { image, budget: Budget::new(limits), windows, store, progress };
        match put_together(&job, limits.jobs, &lacking)? {
            Made::Whole(flattened) => return Ok(flattened),
            // Never one of those that were read, so this ends.
            Made::Lacks(layers) => {
                if let Some(index) = layers.iter().find(|index| !image.has_layer(**index)) {
                    let digest = image.layer_digest(*index).unwrap_or(image.config.diff_ids[*index]);
                    return Err(Lacking { digest }.into());
                }
                lacking.extend(layers);
            }
        }
    }
}

/// Layers that the store recalled, but whose contents it lacks, are not there to be read.
#[derive(Debug, thiserror::Error)]
#[error("layer {digest} is needed once more, and is not there; fetch it again")]
pub struct Lacking {
    /// The first of them, as its blob or its content is named.
    pub digest: Digest,
}

enum Made {
    Whole(Flattened),
    /// These layers were recalled, and contents of them are not there.
    Lacks(BTreeSet<usize>),
}

/// All layers from the base upwards; those in `unfit` are read even if they are known.
fn put_together<S: ContentStore>(
    job: &Job<'_, S, impl Progress>,
    threads: usize,
    unfit: &BTreeSet<usize>,
) -> Result<Made> {
    let mut diffs = BTreeMap::new();
    for index in 0..job.image.layer_count() {
        if !unfit.contains(&index)
            && let Some(diff) = job.recall(index)?
        {
            diffs.insert(index, diff);
        }
    }
    let recalled: BTreeSet<_> = diffs.keys().copied().collect();
    let left_out = |index: &usize| !recalled.contains(index) && job.image.is_left_out(*index);
    if let Some(index) = (0..job.image.layer_count()).find(left_out) {
        return Ok(Made::Lacks([index].into()));
    }
    read_layers(job, threads, &mut diffs)?;
    let mut odd = Vec::new();
    for (&layer, diff) in &diffs {
        let found = diff.added.iter().filter(|(path, entry)| Odd::is(path, entry));
        odd.extend(found.map(|(path, _)| Odd { path: path.clone(), layer }));
    }
    let mut builder = Builder::default();
    for (index, diff) in diffs {
        builder.apply(diff).with_context(|| layer::context(job.image, index))?;
    }
    let Built { tree, left_out, hidden } = builder.finish();
    let mut lacking = BTreeSet::new();
    for id in tree.contents() {
        let layer = usize::from(id.layer);
        if recalled.contains(&layer) && !lacking.contains(&layer) && !job.store.holds(id)? {
            lacking.insert(layer);
        }
    }
    if !lacking.is_empty() {
        return Ok(Made::Lacks(lacking));
    }
    for id in hidden {
        job.store.discard(id)?;
    }
    let left_out = left_out.into_iter().map(|(path, kind)| LeftOut { path, kind }).collect();
    Ok(Made::Whole(Flattened { tree, left_out, odd }))
}

/// Reads the layers that are not among `diffs`. The largest is begun first, so that no thread is left alone with it at the
/// end.
fn read_layers<S: ContentStore>(
    job: &Job<'_, S, impl Progress>,
    threads: usize,
    diffs: &mut BTreeMap<usize, LayerDiff>,
) -> Result<()> {
    let mut order: Vec<_> = (0..job.image.layer_count()).filter(|index| !diffs.contains_key(index)).collect();
    order.sort_by_key(|index| Reverse(job.image.layer_size(*index)));
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = job.read(index);
            if result.is_err() {
                job.budget.cancel();
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).insert(index, result);
        }
    };
    if threads <= 1 {
        work();
    } else {
        thread::scope(|scope| {
            for _ in 0..threads.min(order.len()) {
                scope.spawn(work);
            }
        });
    }
    let mut failed = None;
    for (index, result) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match result {
            Ok(diff) => drop(diffs.insert(index, diff)),
            // One that only heard of another's failure is not the reason.
            Err(error) if error.is::<Cancelled>() => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
