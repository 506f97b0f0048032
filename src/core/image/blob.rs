//! The one reader of an image's bytes: what it yields up to the end has the digest and the size that it should have.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use camino::Utf8Path;

use crate::digest::{Digest, Hasher};

/// Most bytes of a JSON document of an image. Registries and engines have the same bound (OCI distribution
/// specification, "Pushing Manifests").
pub const LARGEST_DOCUMENT: u64 = 4 << 20;

const BUFFER: usize = 128 << 10;

/// What the bytes of a blob turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongBlob {
    /// Other bytes.
    #[error("its bytes have the digest {found}, it should have {expected}")]
    Digest {
        /// From the descriptor.
        expected: Digest,
        /// Of the bytes.
        found: Digest,
    },
    /// Fewer or more bytes.
    #[error("it has {}{found} bytes, its descriptor says {expected}", if *.more { "at least " } else { "" })]
    Size {
        /// From the descriptor.
        expected: u64,
        /// How many were found before the reading ended.
        found: u64,
        /// Whether there may be more.
        more: bool,
    },
}

/// Opens a regular file; nothing else can hang or surprise a reader. Tells its size too.
pub(crate) fn open_regular(path: &Utf8Path) -> Result<(File, u64)> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path);
    let file = file.with_context(|| format!("opening {path}"))?;
    let found = file.metadata().with_context(|| format!("opening {path}"))?;
    ensure!(found.is_file(), "opening {path}: it is not a regular file");
    Ok((file, found.len()))
}

/// Reads a part of a shared file; any number of them read at once.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    pub(crate) fn new(file: Arc<File>, at: u64, size: u64) -> Self {
        Self { file, at, end: at.saturating_add(size) }
    }

    /// Goes forward without reading, not beyond the end; tells how far.
    pub(crate) fn skip(&mut self, bytes: u64) -> u64 {
        let skipped = bytes.min(self.end - self.at);
        self.at += skipped;
        skipped
    }
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        let read = self.file.read_at(&mut buf[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Passes a blob's bytes on, and at its end an error instead of the end if they were not the right ones.
pub(crate) struct Verified<R> {
    inner: R,
    state: Option<Hasher>,
    digest: Option<Digest>,
    size: u64,
    read: u64,
}

impl<R: Read> Verified<R> {
    /// `digest`: `None` where the source gives no digest of its blobs (docker-archive).
    pub(crate) fn new(inner: R, digest: Option<Digest>, size: u64) -> Self {
        Self { inner, state: Some(Hasher::default()), digest, size, read: 0 }
    }

    /// How many bytes were read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read
    }

    fn end(&mut self) -> Result<(), WrongBlob> {
        let found = self.read;
        if found != self.size {
            return Err(WrongBlob::Size { expected: self.size, found, more: false });
        }
        let (Some(hasher), Some(expected)) = (self.state.take(), self.digest) else { return Ok(()) };
        let found = hasher.finish();
        if found == expected { Ok(()) } else { Err(WrongBlob::Digest { expected, found }) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buf)?;
        self.read += count as u64;
        if self.read > self.size {
            let wrong = WrongBlob::Size { expected: self.size, found: self.read, more: true };
            return Err(io::Error::other(wrong));
        }
        if count == 0 {
            self.end().map_err(io::Error::other)?;
        } else if let (Some(hasher), Some(_)) = (&mut self.state, self.digest) {
            hasher.update(&buf[..count]);
        }
        Ok(count)
    }
}

/// A buffered reader that can look ahead.
#[derive(Debug)]
pub(crate) struct Buffered<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read> Buffered<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, buffer: vec![0; BUFFER].into(), start: 0, end: 0 }
    }

    pub(crate) fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The next `count` bytes without taking them; fewer only at the end. `count` is at most 4096.
    pub(crate) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < count {
            match retry(|| self.inner.read(&mut self.buffer[self.end..]))? {
                0 => break,
                read => self.end += read,
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + count)])
    }

    /// Takes all that is left.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        loop {
            (self.start, self.end) = (0, 0);
            if retry(|| self.inner.read(&mut self.buffer))? == 0 {
                return Ok(());
            }
        }
    }
}

impl<R: Read> Read for Buffered<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && buf.len() >= self.buffer.len() {
            return retry(|| self.inner.read(buf));
        }
        let ready = self.fill_buf()?;
        let count = ready.len().min(buf.len());
        buf[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Buffered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = retry(|| self.inner.read(&mut self.buffer))?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }
}

/// Repeats what a signal interrupted.
pub(crate) fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// All bytes of a small blob, checked.
pub(crate) fn read_all(inner: impl Read, digest: Option<Digest>, size: u64) -> Result<Vec<u8>> {
    ensure!(
        size <= LARGEST_DOCUMENT,
        "it has {size} bytes, and no document of an image has more than {LARGEST_DOCUMENT}"
    );
    let mut bytes = Vec::new();
    Verified::new(inner, digest, size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], digest: Digest, size: u64) -> Result<Vec<u8>, String> {
        read_all(bytes, Some(digest), size).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_right_bytes_come_to_an_end() {
        let digest = Digest::of(b"abc");
        assert_eq!(read(b"abc", digest, 3), Ok(b"abc".to_vec()));
        assert_eq!(
            read(b"abd", digest, 3),
            Err(format!("its bytes have the digest {}, it should have {digest}", Digest::of(b"abd")))
        );
        assert_eq!(read(b"ab", digest, 3), Err("it has 2 bytes, its descriptor says 3".to_owned()));
        assert_eq!(
            read(b"abcd", digest, 3),
            Err("it has at least 4 bytes, its descriptor says 3".to_owned())
        );
        let large = LARGEST_DOCUMENT + 1;
        assert_eq!(
            read(b"abc", digest, large),
            Err(format!("it has {large} bytes, and no document of an image has more than 4194304"))
        );
    }

    #[test]
    fn excess_is_found_before_the_end_is_read() {
        let mut endless = Verified::new(io::repeat(0), None, 10);
        let error = io::copy(&mut endless, &mut io::sink()).unwrap_err();
        assert!(error.to_string().starts_with("it has at least "), "{error}");
    }

    #[test]
    fn looking_ahead_takes_nothing() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3 * BUFFER + 7).collect();
        let mut buffered = Buffered::new(&bytes[..]);
        let mut read = Vec::new();
        while !buffered.peek(18).unwrap().is_empty() {
            let ahead = buffered.peek(18).unwrap().to_vec();
            let mut some = vec![0; 70_001.min(bytes.len() - read.len())];
            buffered.read_exact(&mut some).unwrap();
            assert_eq!(ahead, some[..some.len().min(18)]);
            read.extend(some);
        }
        assert_eq!(read, bytes);
    }

    #[test]
    fn a_pipe_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, path.as_std_path(), rustix::fs::Mode::RUSR).unwrap();
        let error = open_regular(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("opening {path}: it is not a regular file"));
    }
}
