//! Decompression, told by the bytes: gzip of any number of members, zstd of any number of frames, or nothing.

use std::io::{self, BufRead, Read};
use std::sync::{Condvar, Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::raw::{Decoder as RawZstd, Operation};

use super::blob::Buffered;

/// Windows above this are decoded one at a time, so that the process's memory stays bounded.
pub(crate) const SMALL_WINDOW: u64 = 8 << 20;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Why a stream can't be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecodable {
    #[error(
        "it is compressed with {0}, which the image specification does not have; use gzip, zstd or nothing"
    )]
    Foreign(&'static str),
    #[error("its zstd window has {window} bytes, more than the {limit} that {bound}")]
    Window { window: u64, limit: u64, bound: &'static str },
    #[error("its zstd stream has neither the end nor another frame after {0} compressed bytes")]
    Frame(u64),
    #[error("its zstd stream is cut off")]
    CutOff,
}

/// What decoding may cost.
#[derive(Debug)]
pub(crate) struct Windows {
    /// Largest zstd window in bytes.
    pub(crate) limit: u64,
    /// What sets that limit, for the message: "… more than the N that BOUND".
    pub(crate) bound: &'static str,
    /// Held by whoever decodes with a window above [`SMALL_WINDOW`].
    pub(crate) large: Turn,
}

/// One at a time.
#[derive(Debug)]
pub(crate) struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

/// Gives the turn back when dropped. Other than a mutex's guard it may go to another thread.
struct Taken<'t>(&'t Turn);

impl Turn {
    pub(crate) const fn new() -> Self {
        Self { taken: Mutex::new(false), free: Condvar::new() }
    }

    fn take(&self) -> Taken<'_> {
        // The flag is right whoever panicked.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken {
            taken = self.free.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Taken(self)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

impl Compression {
    /// Tells by the first bytes of a stream.
    pub(crate) fn of(head: &[u8]) -> Result<Self, Undecodable> {
        match head {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Undecodable::Foreign("xz")),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Err(Undecodable::Foreign("bzip2")),
            [0x04, 0x22, 0x4d, 0x18, ..] => Err(Undecodable::Foreign("lz4")),
            _ => Ok(Self::None),
        }
    }
}

/// Reads the uncompressed bytes of a stream.
pub(crate) enum Decoder<'w, R> {
    None(Buffered<R>),
    Gzip(Box<MultiGzDecoder<Buffered<R>>>),
    Zstd(Frames<'w, R>),
}

impl<'w, R: Read> Decoder<'w, R> {
    /// Looks at the first bytes and chooses.
    pub(crate) fn new(inner: R, windows: &'w Windows) -> io::Result<Self> {
        let mut source = Buffered::new(inner);
        Ok(match Compression::of(source.peek(6)?).map_err(io::Error::other)? {
            Compression::None => Self::None(source),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Zstd => Self::Zstd(Frames {
                source,
                windows,
                large: None,
                decoder: RawZstd::new()?,
                in_frame: false,
                consumed: 0,
            }),
        })
    }

    /// The compressed stream.
    pub(crate) fn source(&self) -> &Buffered<R> {
        match self {
            Self::None(source) => source,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(frames) => &frames.source,
        }
    }

    /// The compressed stream; nothing can be decoded after it was read.
    pub(crate) fn source_mut(&mut self) -> &mut Buffered<R> {
        match self {
            Self::None(source) => source,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(frames) => &mut frames.source,
        }
    }
}

impl<R: Read> Read for Decoder<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(source) => source.read(buf),
            Self::Gzip(decoder) => decoder.read(buf),
            Self::Zstd(frames) => frames.read(buf),
        }
    }
}

/// zstd frames and skippable frames, one after another (RFC 8878). Each frame's window is known before memory is
/// taken for it.
pub(crate) struct Frames<'w, R> {
    source: Buffered<R>,
    windows: &'w Windows,
    large: Option<Taken<'w>>,
    decoder: RawZstd<'static>,
    in_frame: bool,
    consumed: u64,
}

impl<R: Read> Frames<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            let input = self.source.fill_buf()?;
            if input.is_empty() {
                return Err(io::Error::other(Undecodable::CutOff));
            }
            let status = self.decoder.run_on_buffers(input, buf)?;
            self.source.consume(status.bytes_read);
            self.consumed += status.bytes_read as u64;
            self.in_frame = status.remaining != 0;
            if status.bytes_written > 0 || buf.is_empty() {
                return Ok(status.bytes_written);
            }
        }
    }

    /// Comes to the next frame that has content; false at the end of the stream.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            match self.source.peek(18)? {
                [] => return Ok(false),
                [0x50..=0x5f, 0x2a, 0x4d, 0x18, size @ ..] if size.len() >= 4 => {
                    let size = u64::from(u32::from_le_bytes([size[0], size[1], size[2], size[3]])) + 8;
                    self.consumed += size;
                    if io::copy(&mut self.source.by_ref().take(size), &mut io::sink())? < size {
                        return Err(io::Error::other(Undecodable::CutOff));
                    }
                }
                [0x28, 0xb5, 0x2f, 0xfd, header @ ..] => {
                    let window = window(header).ok_or(io::Error::other(Undecodable::CutOff))?;
                    self.allow(window)?;
                    self.decoder.reinit()?;
                    self.decoder.set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(31))?;
                    self.in_frame = true;
                    return Ok(true);
                }
                _ => return Err(io::Error::other(Undecodable::Frame(self.consumed))),
            }
        }
    }

    fn allow(&mut self, window: u64) -> io::Result<()> {
        let &Windows { limit, bound, ref large } = self.windows;
        if window > limit {
            return Err(io::Error::other(Undecodable::Window { window, limit, bound }));
        }
        if window > SMALL_WINDOW && self.large.is_none() {
            self.large = Some(large.take());
        }
        Ok(())
    }
}

/// The window that a frame needs, from its header after the magic number (RFC 8878, §3.1.1.1); `None` when the header
/// is cut off.
fn window(header: &[u8]) -> Option<u64> {
    let descriptor = *header.first()?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let byte = *header.get(1)?;
        let base = 1u64 << (10 + (byte >> 3));
        return Some(base + base / 8 * u64::from(byte & 7));
    }
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let field = header.get(1 + dictionary_id..)?;
    let content = match descriptor >> 6 {
        0 => u64::from(*field.first()?),
        1 => u64::from(u16::from_le_bytes(field.get(..2)?.try_into().ok()?)) + 256,
        2 => u64::from(u32::from_le_bytes(field.get(..4)?.try_into().ok()?)),
        _ => u64::from_le_bytes(field.get(..8)?.try_into().ok()?),
    };
    Some(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn windows() -> Windows {
        Windows { limit: 1 << 20, bound: "--max-window allows", large: Turn::new() }
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let windows = windows();
        let mut decoded = Vec::new();
        let mut decoder = Decoder::new(bytes, &windows).map_err(|error| error.to_string())?;
        decoder.read_to_end(&mut decoded).map_err(|error| error.to_string())?;
        decoder.source_mut().drain().unwrap();
        Ok(decoded)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8], window_log: u32) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn text() -> Vec<u8> {
        (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        let text = text();
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0], &b"12345"[..]].concat();
        let twice = [&text[..], b"tail"].concat();
        assert_eq!(decode(&text), Ok(text.clone()));
        assert_eq!(decode(b""), Ok(vec![]));
        assert_eq!(decode(&[gzip(&text), gzip(b""), gzip(b"tail")].concat()), Ok(twice.clone()));
        let frames =
            [&skippable[..], &zstd(&text, 17), &zstd::bulk::compress(b"tail", 1).unwrap(), &skippable];
        assert_eq!(decode(&frames.concat()), Ok(twice));
    }

    #[test]
    fn cut_off_and_strange_streams_are_errors() {
        let text = text();
        let (gz, zst) = (gzip(&text), zstd(&text, 17));
        for end in [2, 9, gz.len() / 2, gz.len() - 1] {
            decode(&gz[..end]).unwrap_err();
        }
        for end in [4, 5, zst.len() / 2, zst.len() - 1] {
            assert_eq!(decode(&zst[..end]), Err("its zstd stream is cut off".to_owned()), "{end}");
        }
        let end = zst.len();
        assert_eq!(
            decode(&[&zst[..], b"garbage"].concat()),
            Err(format!(
                "its zstd stream has neither the end nor another frame after {end} compressed bytes"
            ))
        );
        assert_eq!(
            decode(b"\xfd7zXZ\0\0"),
            Err("it is compressed with xz, which the image specification does not have; use gzip, zstd or nothing"
                .to_owned())
        );
    }

    #[test]
    fn a_window_above_the_limit_is_refused_before_it_is_allocated() {
        assert_eq!(
            decode(&[zstd(b"x", 17), zstd(&text(), 21)].concat()),
            Err("its zstd window has 2097152 bytes, more than the 1048576 that --max-window allows"
                .to_owned())
        );
        let single_segment = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(
            decode(&single_segment),
            Err("its zstd window has 4294967296 bytes, more than the 1048576 that --max-window allows"
                .to_owned())
        );
    }
}
