//! Whether the file system has room for what comes, asked before anything is written.

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;

use crate::active::host::Host;

/// What stays free in any case: the bundle's documents, layer entries, directories, and what others write meanwhile.
const MARGIN: u64 = 16 << 20;
/// Layers that don't tell how large they are unpacked count so many times their packed bytes.
const UNPACKED: u64 = 2;

/// Bytes that something needs for a while or for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needed {
    /// Blobs to be fetched, which lie there until they are read.
    pub fetched: u64,
    /// Packed bytes of layers that will be read.
    pub packed: u64,
    /// Contents that are copied from what the host embeds, at most.
    pub copied: u64,
}

impl Needed {
    /// All of it, and the margin.
    pub fn bytes(&self) -> u64 {
        let unpacked = self.packed.saturating_mul(UNPACKED);
        [self.fetched, unpacked, self.copied, MARGIN].into_iter().fold(0, u64::saturating_add)
    }

    /// Looks whether there is room where generations lie.
    ///
    /// # Errors
    /// When there is not; the message has both numbers and what makes room.
    pub fn require(&self, host: &Host) -> Result<()> {
        let dir = host.generations_dir();
        self.require_of(&dir, free(&dir)?)
    }

    fn require_of(&self, dir: &Utf8Path, free: u64) -> Result<()> {
        let needed = self.bytes();
        if needed > free {
            bail!(
                "it needs about {needed} bytes ({} to fetch, the rest for its files), and {dir} has {free} free; `sysctr gc` and \
                 `sysctr images prune` make room",
                self.fetched
            );
        }
        Ok(())
    }
}

/// Free bytes of the file system that `dir` is on, for everybody.
fn free(dir: &Utf8Path) -> Result<u64> {
    let found = rustix::fs::statvfs(dir.as_std_path());
    let found = found.with_context(|| format!("looking at the file system of {dir}"))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counts() {
        let needed = Needed { fetched: 10, packed: 10, copied: 5 };
        assert_eq!(needed.bytes(), 35 + (16 << 20));
        let error = needed.require_of(Utf8Path::new("/var"), 1000).unwrap_err().to_string();
        assert_eq!(
            error,
            "it needs about 16777251 bytes (10 to fetch, the rest for its files), and /var has 1000 free; `sysctr gc` and \
             `sysctr images prune` make room"
        );
        needed.require_of(Utf8Path::new("/var"), 35 + (16 << 20)).unwrap();
        assert_eq!(Needed { fetched: u64::MAX, packed: u64::MAX, copied: 1 }.bytes(), u64::MAX);
    }
}
