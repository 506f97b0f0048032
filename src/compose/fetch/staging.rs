//! A directory of the cache where one image is under way.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::{Digest, Hasher};

use super::cache::{self, Cache, State};
use sysctr_core::interrupt::Interrupt;

const BUFFER: usize = 256 << 10;

/// The directory; it goes when this is dropped.
#[derive(Debug)]
pub struct Staging {
    dir: Utf8PathBuf,
}

impl Staging {
    /// A new one in `cache`.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new(cache: &Cache) -> Result<Self> {
        let process = std::process::id();
        for number in 0_u32.. {
            let dir = cache.dir().join(format!("tmp/{process}-{number}"));
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made.with_context(|| format!("making {dir}"))?,
            }
            let staging = Self { dir };
            for sub in ["home", "blobs/sha256", "layout"] {
                let sub = staging.join(sub);
                fs::create_dir_all(&sub).with_context(|| format!("making {sub}"))?;
            }
            return Ok(staging);
        }
        anyhow::bail!("making a directory in {}: all names are taken", cache.dir())
    }

    /// Removes what interrupted fetches left in `cache`, and keeps the whole blobs of it. Does nothing while others use the
    /// cache.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn sweep(cache: &Cache, interrupt: &Interrupt) -> Result<()> {
        let tmp = cache.dir().join("tmp");
        cache.if_alone(interrupt, || {
            let mut left = cache::names(&tmp)?.into_iter().map(|name| Self { dir: tmp.join(name) });
            left.try_for_each(|left| left.keep_whole(cache, interrupt).map(drop))
        })
    }

    /// Its path.
    pub fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// A path in it.
    pub fn join(&self, path: impl AsRef<Utf8Path>) -> Utf8PathBuf {
        self.dir.join(path)
    }

    fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        self.join("blobs/sha256").join(digest.hex())
    }

    /// Lends it a layer of the cache that is whole, so that it is not fetched again. Not for documents: skopeo writes
    /// these into a file that is there, which would be the cache's own.
    ///
    /// # Errors
    /// When that can't be done.
    pub fn lend(&self, cache: &Cache, layer: &Digest) -> Result<()> {
        let path = self.blob(layer);
        match fs::hard_link(cache.path(layer), &path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("linking {path}"))
            }
            _ => Ok(()),
        }
    }

    /// Writes bytes of unknown digest as a blob; tells digest and size.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn write(&self, mut bytes: impl Read, interrupt: &Interrupt) -> Result<(Digest, u64)> {
        let path = self.join("writing");
        let doing = || format!("writing {path}");
        let mut file = File::create(&path).with_context(doing)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; BUFFER];
        loop {
            interrupt.check()?;
            let count = match bytes.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            hasher.update(&buffer[..count]);
            std::io::Write::write_all(&mut file, &buffer[..count]).with_context(doing)?;
        }
        let size = hasher.bytes();
        let digest = hasher.finish();
        fs::rename(&path, self.blob(&digest)).with_context(doing)?;
        Ok((digest, size))
    }

    /// Bytes of all files in it so far, lent ones not counted.
    pub fn bytes(&self) -> u64 {
        let size =
            |path: Utf8PathBuf| fs::metadata(path).ok().filter(|it| it.nlink() == 1).map_or(0, |it| it.len());
        let dirs = [self.join("blobs/sha256"), self.join("layout")];
        let files = dirs
            .iter()
            .flat_map(|dir| cache::names(dir).unwrap_or_default().into_iter().map(|name| dir.join(name)));
        files.map(size).sum()
    }

    /// Bytes of a blob that came whole: whoever fetches gives it its name when its digest was right. `None` for one that was
    /// lent, too.
    pub fn arrived(&self, digest: &Digest) -> Option<u64> {
        let found = fs::metadata(self.blob(digest)).ok()?;
        (found.nlink() == 1).then_some(found.len())
    }

    /// Moves every whole blob into `cache`, which is to be flushed; tells which are new there, with their sizes.
    ///
    /// # Errors
    /// When it can't be read or moved; what was moved stays.
    pub fn keep_whole(&self, cache: &Cache, interrupt: &Interrupt) -> Result<Vec<(Digest, u64)>> {
        let dir = self.join("blobs/sha256");
        let mut kept = Vec::new();
        for name in cache::names(&dir)? {
            let path = dir.join(&name);
            let found = fs::metadata(&path).with_context(|| format!("reading {path}"))?;
            let lent = found.nlink() > 1;
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else { continue };
            if lent || cache::digest_of(&path, interrupt)? != Some(digest) {
                continue;
            }
            // Somebody else brought it meanwhile, or it came again as an archive's does.
            if cache.state(&digest, interrupt)? == State::Whole {
                continue;
            }
            let place = cache.path(&digest);
            let doing = || format!("moving blob {digest} into the cache");
            fs::rename(&path, place).with_context(doing)?;
            cache.note_new(digest);
            kept.push((digest, found.len()));
        }
        Ok(kept)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is swept by the next fetch.
        fs::remove_dir_all(&self.dir).ok();
    }
}
