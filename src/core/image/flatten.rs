//! All layers of an image → one tree, while contents go straight to where the caller wants them.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

use super::ResolvedImage;
use super::compression::{Turn, Windows};
use super::layer::{self, Budget, Cancelled, Job};

pub use super::contents::{ContentStore, ContentWriter, Limits, Progress};
use crate::tree::{Builder, Built, ImageTree, LayerDiff, SpecialKind, TreePath};

/// Counts up whenever equal layers come to give another tree. A tree of an earlier reading that stands in a target is not
/// taken for that of its image.
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
}

/// Reads all layers of `image` and puts them together (OCI image specification, "Image Layer Filesystem Changeset").
///
/// # Errors
/// When a layer's bytes do not match their digest, size or diff_id, are not a tar stream, name something outside the
/// root, exceed `limits`, or when store or progress fail. What the store holds then is worthless.
pub fn flatten<S: ContentStore>(
    image: &ResolvedImage,
    limits: Limits,
    store: &S,
    progress: &impl Progress,
) -> Result<Flattened> {
    let mut builder = Builder::default();
    let diffs = read_layers(image, limits, store, progress)?;
    for (index, diff) in diffs.into_iter().enumerate() {
        builder.apply(diff).with_context(|| layer::context(image, index))?;
    }
    let Built { tree, left_out, hidden } = builder.finish();
    for id in hidden {
        store.discard(id)?;
    }
    let left_out = left_out.into_iter().map(|(path, kind)| LeftOut { path, kind }).collect();
    Ok(Flattened { tree, left_out })
}

/// All layers from the base upwards. The largest is begun first, so that no thread is left alone with it at the end.
fn read_layers<S: ContentStore>(
    image: &ResolvedImage,
    limits: Limits,
    store: &S,
    progress: &impl Progress,
) -> Result<Vec<LayerDiff>> {
    let count = image.layer_count();
    let mut order: Vec<_> = (0..count).collect();
    order.sort_by_key(|index| Reverse(image.layer_size(*index)));
    let windows = Windows { limit: limits.max_window, bound: "--max-window allows", large: Turn::new() };
    let job = Job { image, budget: Budget::new(limits), windows, store, progress };
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<LayerDiff>>>> = Mutex::new((0..count).map(|_| None).collect());
    let work = || {
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = job.read(index);
            if result.is_err() {
                job.budget.cancel();
            }
            results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
        }
    };
    if limits.jobs <= 1 {
        work();
    } else {
        thread::scope(|scope| {
            for _ in 0..limits.jobs.min(count) {
                scope.spawn(work);
            }
        });
    }
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (mut diffs, mut failed) = (Vec::new(), None);
    for result in results.into_iter().flatten() {
        match result {
            Ok(diff) => diffs.push(diff),
            // One that only heard of another's failure is not the reason.
            Err(error) if error.is::<Cancelled>() => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(diffs), Err)
}

#[cfg(test)]
mod tests;
