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
use crate::tree::{Builder, Built, Entry, ImageTree, LayerDiff, Leaf, SpecialKind, Stat, TreePath};

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
    let mut odd = Vec::new();
    for (layer, diff) in diffs.iter().enumerate() {
        let found = diff.added.iter().filter(|(path, entry)| Odd::is(path, entry));
        odd.extend(found.map(|(path, _)| Odd { path: path.clone(), layer }));
    }
    for (index, diff) in diffs.into_iter().enumerate() {
        builder.apply(diff).with_context(|| layer::context(image, index))?;
    }
    let Built { tree, left_out, hidden } = builder.finish();
    for id in hidden {
        store.discard(id)?;
    }
    let left_out = left_out.into_iter().map(|(path, kind)| LeftOut { path, kind }).collect();
    Ok(Flattened { tree, left_out, odd })
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
