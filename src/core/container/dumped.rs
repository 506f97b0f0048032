//! A tree's dump, compressed, for the bundle.

use std::io::{BufWriter, Write};

use crate::digest::{Digest, Hasher};
use crate::tree::{ImageTree, dump};
use anyhow::{Context, Result};

/// What zstd's own command line takes by default: dumps compress well at once.
const LEVEL: i32 = 3;
/// Lines of a dump that are digested and compressed at once.
const BUFFER: usize = 64 << 10;

/// Digest of the tree's dump, and the dump compressed. It is never whole in memory: of a million entries it has 150 MB.
pub(super) fn dumped(tree: &ImageTree) -> Result<(Digest, Vec<u8>)> {
    let compressor = zstd::Encoder::new(Vec::new(), LEVEL).context("compressing the tree's dump")?;
    let mut tee =
        BufWriter::with_capacity(BUFFER, Digesting { inner: compressor, hasher: Hasher::default() });
    dump::write_to(tree, &mut tee).context("compressing the tree's dump")?;
    let Digesting { inner, hasher } = tee
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .context("compressing the tree's dump")?;
    Ok((hasher.finish(), inner.finish().context("compressing the tree's dump")?))
}

/// Digests what it passes on.
struct Digesting<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
