//! The contents of an image's regular files on their way into a repository: each becomes a staged object while the
//! layers are read. They are published only after every layer's digest was right.
//!
//! An object's checksum needs owner, mode and attributes, so the metadata that the layer has is used; where the tree
//! decides otherwise (a hard link with other metadata), `ObjectContents::settle` writes the object again.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::object::{FileKind, file_header, labelled};
use super::pool::Pool;
use super::repo::Objects;
use super::write::FileStream;
use crate::digest::Digest;
use crate::image::flatten::{ContentStore, ContentWriter};
use crate::tree::{ContentId, Stat, TreePath};

/// Files up to this are written by the pool, whole: their checksum is known before anything is written.
const WHOLE: u64 = 1 << 20;
/// Most bytes that wait for the pool.
const WAITING: usize = 16 << 20;
/// What a job costs besides its bytes.
const JOB: usize = 1024;

/// Objects being written by threads of their own.
#[derive(Debug)]
pub struct ObjectStore {
    /// First, so that its threads end before staging goes away.
    pool: Pool,
    objects: Arc<Objects>,
}

/// What is known of a staged content.
#[derive(Debug, Clone, Copy)]
struct Staged {
    checksum: Digest,
    /// Digest of the header that the checksum was made with.
    header: Digest,
    size: u64,
}

type Known = Mutex<BTreeMap<ContentId, Staged>>;

/// The contents of one image.
#[derive(Debug, Clone)]
pub struct ObjectContents {
    store: Arc<ObjectStore>,
    label: Option<Arc<[u8]>>,
    known: Arc<Known>,
}

impl ObjectStore {
    /// Writes into `objects` with as many threads.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub fn new(objects: Objects, threads: usize) -> Result<Self> {
        Ok(Self { pool: Pool::new(threads, WAITING)?, objects: Arc::new(objects) })
    }

    /// Where the objects are staged.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Waits until everything that was handed over is written.
    ///
    /// # Errors
    /// When something could not be.
    pub fn settle(&self) -> Result<()> {
        self.pool.drain()
    }
}

impl ObjectContents {
    /// For the contents of one image, none yet. All of them get this SELinux label.
    pub fn new(store: &Arc<ObjectStore>, label: Option<&[u8]>) -> Self {
        Self { store: Arc::clone(store), label: label.map(Arc::from), known: Arc::default() }
    }

    fn known(&self, id: ContentId) -> Result<Staged> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let staged = known.get(&id).copied();
        staged.with_context(|| format!("entry {} of layer {} was not staged", id.ordinal, id.layer))
    }

    /// Reads back a content of at most `max` bytes.
    ///
    /// # Errors
    /// When it was not staged, is larger, or can't be read.
    pub fn read(&self, id: ContentId, max: u64) -> Result<Vec<u8>> {
        self.store.settle()?;
        let staged = self.known(id)?;
        if staged.size > max {
            bail!("it has {} bytes, more than {max}", staged.size);
        }
        let mut bytes = Vec::new();
        self.store.objects.content(&staged.checksum)?.take(max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The checksum of the object that has this content, this metadata and the label; it is staged, or in the
    /// repository.
    /// [`ObjectStore::settle`] was called before.
    ///
    /// # Errors
    /// When the content was not staged, or the object can't be written.
    pub fn object(&self, id: ContentId, stat: &Stat) -> Result<Digest> {
        let staged = self.known(id)?;
        let stat = &labelled(stat, self.label.as_deref());
        if staged.header == Digest::of(&file_header(stat, FileKind::Regular)) {
            return Ok(staged.checksum);
        }
        let objects = &self.store.objects;
        let mut stream = objects.stream(stat, staged.size)?;
        stream.copy(&mut objects.content(&staged.checksum)?)?;
        stream.finish()
    }
}

impl ContentStore for ObjectContents {
    type Writer<'a> = ObjectWriter<'a>;

    fn begin<'a>(
        &'a self,
        id: ContentId,
        path: &TreePath,
        size: u64,
        stat: &Stat,
    ) -> Result<ObjectWriter<'a>> {
        let stat = labelled(stat, self.label.as_deref());
        let header = Digest::of(&file_header(&stat, FileKind::Regular));
        let form = if size <= WHOLE {
            Form::Whole { bytes: Vec::with_capacity(usize::try_from(size)?), stat }
        } else {
            let stream = self.store.objects.stream(&stat, size).with_context(|| format!("staging {path}"))?;
            Form::Stream(Box::new(stream))
        };
        Ok(ObjectWriter { contents: self, id, path: path.clone(), header, size, form })
    }

    fn discard(&self, id: ContentId) -> Result<()> {
        // Its object may be another content's too; what nobody needs in the end is not published.
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        Ok(())
    }
}

#[derive(Debug)]
enum Form<'a> {
    Whole { bytes: Vec<u8>, stat: Stat },
    Stream(Box<FileStream<'a>>),
}

/// A content on its way into staging.
#[derive(Debug)]
pub struct ObjectWriter<'a> {
    contents: &'a ObjectContents,
    id: ContentId,
    path: TreePath,
    header: Digest,
    size: u64,
    form: Form<'a>,
}

impl ContentWriter for ObjectWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.form {
            Form::Whole { bytes: whole, .. } => {
                if (whole.len() + bytes.len()) as u64 > self.size {
                    bail!("staging {}: {} bytes were begun, and more came", self.path, self.size);
                }
                whole.extend_from_slice(bytes);
                Ok(())
            }
            Form::Stream(stream) => stream.write(bytes).with_context(|| format!("staging {}", self.path)),
        }
    }

    fn hole(&mut self, bytes: u64) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut left = bytes;
        while left > 0 {
            let some = usize::try_from(left.min(ZEROS.len() as u64))?;
            self.write(&ZEROS[..some])?;
            left -= some as u64;
        }
        Ok(())
    }

    fn finish(self, _: &Digest) -> Result<()> {
        let Self { contents, id, path, header, size, form } = self;
        let (bytes, stat) = match form {
            Form::Whole { bytes, stat } => (bytes, stat),
            Form::Stream(stream) => {
                let checksum = stream.finish().with_context(|| format!("staging {path}"))?;
                let mut known = contents.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(id, Staged { checksum, header, size });
                return Ok(());
            }
        };
        if bytes.len() as u64 != size {
            bail!("staging {path}: {} of {size} bytes came", bytes.len());
        }
        let cost = bytes.len() + JOB;
        let (objects, known) = (Arc::clone(&contents.store.objects), Arc::clone(&contents.known));
        let job = move || {
            let checksum = objects
                .write_file(&stat, FileKind::Regular, &bytes)
                .with_context(|| format!("staging {path}"))?;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(id, Staged { checksum, header, size });
            Ok(())
        };
        contents.store.pool.submit(cost, Box::new(job))
    }
}
