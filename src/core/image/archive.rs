//! Where the files of an image layout lie: in a directory, or in a tar archive that is read in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};

use super::blob::{self, Section};
use super::compression::{Compression, Decoder, SMALL_WINDOW, Turn, Windows};
use super::tar::{Chunks, Kind, TarStream};
use crate::tree::TreePath;

/// A layer has one member, and other members are few.
const MOST_MEMBERS: usize = 100_000;
const CHUNK: usize = 64 << 10;

/// A compressed archive is passed over once for each blob, by as many threads as layers are read.
static WINDOWS: Windows = Windows {
    limit: SMALL_WINDOW,
    bound: "an archive may have; unpack it first with zstd -d",
    large: Turn::new(),
};

/// The bytes of one file, to be read from the beginning.
pub(crate) type Bytes = Box<dyn Read + Send>;

/// Files by name.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Of a directory.
    Dir(Utf8PathBuf),
    /// Of a tar archive.
    Archive(Archive),
}

/// A tar archive, its members' places known. Nothing is unpacked: a plain archive is read by seeking, a compressed
/// one from its beginning again for every file.
#[derive(Debug)]
pub(crate) struct Archive {
    path: Utf8PathBuf,
    file: Arc<File>,
    size: u64,
    compression: Compression,
    members: BTreeMap<TreePath, Place>,
}

#[derive(Debug)]
enum Place {
    /// Content in the uncompressed archive.
    Content { at: u64, size: u64 },
    /// Content of another member.
    Same(TreePath),
}

impl Origin {
    /// Opens the file `name`; its size too. `None`: there is none.
    pub(crate) fn open(&self, name: &str) -> Result<Option<(Bytes, u64)>> {
        match self {
            Self::Dir(dir) => {
                let path = dir.join(name);
                // A dangling link is an error and not a missing file.
                if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
                    return Ok(None);
                }
                let (file, size) = blob::open_regular(&path)?;
                Ok(Some((Box::new(Section::new(Arc::new(file), 0, size)), size)))
            }
            Self::Archive(archive) => archive.open(name),
        }
    }

    /// The size of the file `name`, which is not read for that. `None`: there is none.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>> {
        match self {
            Self::Dir(_) => Ok(self.open(name)?.map(|(_, size)| size)),
            Self::Archive(archive) => Ok(archive.find(name)?.map(|(_, size)| size)),
        }
    }

    /// All bytes of the small file `name`, not checked. `None`: there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((bytes, size)) = self.open(name)? else { return Ok(None) };
        blob::read_all(bytes, None, size).map(Some).with_context(|| format!("reading {name}"))
    }
}

impl Archive {
    /// Finds all members of the archive at `path`.
    pub(crate) fn open_at(path: &Utf8Path) -> Result<Self> {
        let (file, size) = blob::open_regular(path)?;
        let file = Arc::new(file);
        let mut head = [0; 6];
        let count = Section::new(file.clone(), 0, size).read(&mut head)?;
        let compression = Compression::of(&head[..count])?;
        let mut archive = Self { path: path.to_owned(), file, size, compression, members: BTreeMap::new() };
        archive.members = archive.find_members().with_context(|| format!("reading the archive {path}"))?;
        Ok(archive)
    }

    fn whole(&self) -> Section {
        Section::new(self.file.clone(), 0, self.size)
    }

    fn find_members(&self) -> Result<BTreeMap<TreePath, Place>> {
        match self.compression {
            Compression::None => find_members(TarStream::new(Plain(self.whole()))),
            _ => find_members(TarStream::new(Compressed(Decoder::new(self.whole(), &WINDOWS)?))),
        }
    }

    fn open(&self, name: &str) -> Result<Option<(Bytes, u64)>> {
        let Some((at, size)) = self.find(name)? else { return Ok(None) };
        let bytes = self.content(at, size).with_context(|| format!("opening {name} in {}", self.path))?;
        Ok(Some((bytes, size)))
    }

    /// Where the content of `name` begins, and its size.
    fn find(&self, name: &str) -> Result<Option<(u64, u64)>> {
        let mut path = TreePath::parse(name.as_bytes())?;
        for _ in 0..16 {
            match self.members.get(&path) {
                None => return Ok(None),
                Some(Place::Same(other)) => path = other.clone(),
                Some(&Place::Content { at, size }) => return Ok(Some((at, size))),
            }
        }
        bail!("opening {name} in {}: it is a link to a link to a link", self.path)
    }

    fn content(&self, at: u64, size: u64) -> Result<Bytes> {
        if self.compression == Compression::None {
            return Ok(Box::new(Section::new(self.file.clone(), at, size)));
        }
        let mut decoder = Decoder::new(self.whole(), &WINDOWS)?;
        let mut scratch = vec![0; CHUNK];
        let mut left = at;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            decoder.read_exact(&mut scratch[..part])?;
            left -= part as u64;
        }
        Ok(Box::new(decoder.take(size)))
    }
}

fn find_members<C: Chunks>(mut stream: TarStream<C>) -> Result<BTreeMap<TreePath, Place>> {
    let mut members = BTreeMap::new();
    while let Some(member) = stream.next()? {
        let path = TreePath::parse(&member.name)?;
        let place = match member.kind {
            Kind::File if member.is_sparse() => bail!("its member {path} is sparse"),
            Kind::File => Place::Content { at: stream.position(), size: member.size },
            Kind::HardLink => Place::Same(TreePath::parse(&member.link)?),
            // As docker save had them for layers that images share: ../ID/layer.tar
            Kind::Symlink => match beside(&path, &member.link) {
                Some(target) => Place::Same(target),
                None => continue,
            },
            Kind::Dir | Kind::Special(_) => continue,
        };
        ensure!(members.len() < MOST_MEMBERS, "it has more than {MOST_MEMBERS} members");
        members.insert(path, place);
    }
    Ok(members)
}

/// Where the text of the link at `path` leads to within the archive, by name.
fn beside(path: &TreePath, target: &[u8]) -> Option<TreePath> {
    let mut at = path.parent()?;
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => at = at.parent()?,
            name => at = at.join(&crate::tree::FileName::new(name)?),
        }
    }
    Some(at)
}

struct Plain(Section);

impl Chunks for Plain {
    fn next(&mut self, spent: Vec<u8>) -> Result<Option<Vec<u8>>> {
        next_chunk(&mut self.0, spent)
    }

    fn skip(&mut self, bytes: u64) -> u64 {
        self.0.skip(bytes)
    }
}

struct Compressed(Decoder<'static, Section>);

impl Chunks for Compressed {
    fn next(&mut self, spent: Vec<u8>) -> Result<Option<Vec<u8>>> {
        next_chunk(&mut self.0, spent)
    }
}

fn next_chunk(reader: &mut impl Read, mut chunk: Vec<u8>) -> Result<Option<Vec<u8>>> {
    chunk.resize(CHUNK, 0);
    let read = blob::retry(|| reader.read(&mut chunk))?;
    chunk.truncate(read);
    Ok((read > 0).then_some(chunk))
}
