//! What goes from a cache, and its list of names.
//!
//! A cache knows the locks that were fetched into it (`roots/`): `--prune` removes what none of them names. A size limit
//! removes what was not used for the longest time, but nothing that the lock at hand names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use sysctr_core::digest::Digest;

use super::cache::{self, Cache};
use crate::lock::{Lock, LockFile};
use sysctr_core::interrupt::Interrupt;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Number of blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A blob that nobody has to keep.
struct Idle {
    used: SystemTime,
    digest: Digest,
    bytes: u64,
}

/// Notes that the lock at `path` is one of those that the cache serves.
///
/// # Errors
/// When it can't be written.
pub(super) fn note_root(cache: &Cache, path: &Utf8Path) -> Result<()> {
    let path = cache::absolute(path)?;
    let root = cache.dir().join("roots").join(Digest::of(path.as_str().as_bytes()).hex());
    if fs::read_to_string(&root).is_ok_and(|noted| noted == path.as_str()) {
        return Ok(());
    }
    cache::put(&root, path.as_str().as_bytes()).with_context(|| format!("writing {root}"))
}

/// Removes what no lock names that was fetched into the cache.
///
/// # Errors
/// When others use the cache for too long, one of the locks can't be understood, or a blob can't be removed.
pub(super) fn prune(cache: &Cache, interrupt: &Interrupt) -> Result<Removed> {
    cache.alone(interrupt, || {
        let mut kept = BTreeSet::new();
        for name in cache::names(&cache.dir().join("roots"))? {
            let root = cache.dir().join("roots").join(name);
            let path = fs::read_to_string(&root).with_context(|| format!("reading {root}"))?;
            match LockFile::read(Utf8Path::new(&path)).context("pruning the cache")? {
                Some(file) => kept.extend(blobs(file.lock())),
                None => fs::remove_file(&root).with_context(|| format!("removing {root}"))?,
            }
        }
        remove(cache, idle(cache, &kept)?.0)
    })
}

/// Removes what was not used for the longest time until the cache has at most `limit` bytes.
///
/// # Errors
/// As [`prune`]; also when what `lock` names is more than that.
pub(super) fn shrink(cache: &Cache, lock: &Lock, limit: u64, interrupt: &Interrupt) -> Result<Removed> {
    let kept: BTreeSet<_> = blobs(lock).collect();
    let (_, all) = idle(cache, &BTreeSet::new())?;
    if all <= limit {
        return Ok(Removed::default());
    }
    cache.alone(interrupt, || {
        let (mut idle, mut left) = idle(cache, &kept)?;
        idle.sort_by_key(|blob| (blob.used, blob.digest));
        let mut going = Vec::new();
        for blob in idle {
            if left <= limit {
                break;
            }
            left -= blob.bytes;
            going.push(blob);
        }
        let removed = remove(cache, going)?;
        if left > limit {
            bail!("limiting the cache to {limit} bytes: what this lock names has {left}; allow more with --max-cache");
        }
        Ok(removed)
    })
}

fn blobs(lock: &Lock) -> impl Iterator<Item = Digest> {
    lock.images.values().flat_map(|image| image.parts.blobs())
}

/// The blobs that are not kept, and the bytes of all.
fn idle(cache: &Cache, kept: &BTreeSet<Digest>) -> Result<(Vec<Idle>, u64)> {
    let dir = cache.dir().join("blobs/sha256");
    let (mut idle, mut all) = (Vec::new(), 0);
    for name in cache::names(&dir)? {
        let path = dir.join(&name);
        let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else { continue };
        let found = fs::metadata(&path).with_context(|| format!("reading {path}"))?;
        all += found.len();
        if !kept.contains(&digest) {
            let used = found.modified().with_context(|| format!("reading {path}"))?;
            idle.push(Idle { used, digest, bytes: found.len() });
        }
    }
    Ok((idle, all))
}

fn remove(cache: &Cache, blobs: Vec<Idle>) -> Result<Removed> {
    let mut removed = Removed::default();
    for blob in blobs {
        fs::remove_file(cache.path(&blob.digest))
            .with_context(|| format!("removing blob {}", blob.digest))?;
        removed.blobs += 1;
        removed.bytes += blob.bytes;
    }
    Ok(removed)
}

/// Writes `index.json`, the list of names for other programs: what it had and is still there, and `lock`'s images. Nothing
/// of ours reads it to find an image.
///
/// # Errors
/// When it can't be written.
pub(super) fn list(cache: &Cache, lock: &Lock) -> Result<()> {
    let path: Utf8PathBuf = cache.dir().join("index.json");
    let before: Value =
        fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let mut listed: BTreeMap<String, Value> = BTreeMap::new();
    for descriptor in before["manifests"].as_array().into_iter().flatten() {
        let digest = descriptor["digest"].as_str().and_then(|text| text.parse::<Digest>().ok());
        if let Some(digest) = digest.filter(|digest| cache.path(digest).exists()) {
            listed.insert(digest.to_string(), descriptor.clone());
        }
    }
    for image in lock.images.values() {
        let Some(manifest) = image.parts.manifest else { continue };
        let Some(bytes) = cache.document(&manifest) else { continue };
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let media_type =
            document["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json");
        let annotations = json!({"org.opencontainers.image.ref.name": image.source.to_string()});
        let descriptor = json!({"mediaType": media_type, "digest": manifest.to_string(), "size": bytes.len(),
            "annotations": annotations});
        listed.insert(manifest.to_string(), descriptor);
    }
    let index =
        json!({"schemaVersion": 2, "manifests": listed.into_values().collect::<Vec<_>>()}).to_string();
    cache::put(&path, index.as_bytes()).with_context(|| format!("writing {path}"))
}
