//! The contents of an image's regular files on their way into a repository: each becomes a staged object while the
//! layers are read. They are published only after every layer's digest was right.
//!
//! An object's checksum needs owner, mode and attributes, so the metadata that the layer has is used; where the tree
//! decides otherwise (a hard link with other metadata), `ObjectContents::settle` writes the object again.

mod copied;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::layers::{self, Key};
use super::object::{FileKind, ObjectKind, file_header, labelled};
use super::pool::Pool;
use super::repo::Objects;
use super::shipped::Shipped;
use super::write::FileStream;
use crate::digest::Digest;
use crate::image::flatten::{ContentStore, ContentWriter, ReadLayer};
use crate::tree::{ContentId, Stat, TreePath};

pub use copied::Copying;

/// Files up to this are written by the pool, whole: their checksum is known before anything is written.
const WHOLE: u64 = 1 << 20;
/// Most bytes that wait for the pool.
const WAITING: usize = 16 << 20;
/// What a job costs besides its bytes.
const JOB: usize = 1024;
/// Stands for the object of a content that nobody has brought so far; no object has this checksum.
const ABSENT: Digest = Digest::from_bytes([0; 32]);

/// Objects being written by threads of their own.
#[derive(Debug)]
pub struct ObjectStore {
    /// First, so that its threads end before staging goes away.
    pool: Pool,
    objects: Arc<Objects>,
    /// Layers that were read.
    learnt: Mutex<BTreeMap<Key, Learnt>>,
}

/// A layer that was read.
#[derive(Debug, Clone)]
struct Learnt {
    /// Its text, staged.
    text: String,
    known: Arc<Known>,
    layer: u16,
    ordinals: Vec<u32>,
}

/// What is known of a staged content.
#[derive(Debug, Clone, Copy)]
struct Staged {
    checksum: Digest,
    /// Digest of the header that the checksum was made with.
    header: Digest,
    /// Of the content alone.
    digest: Digest,
    size: u64,
}

#[derive(Debug, Default)]
struct Contents {
    staged: BTreeMap<ContentId, Staged>,
    /// Those that no tree has: their objects need not be published.
    hidden: BTreeSet<ContentId>,
    /// Where their layers have those that may have to be copied, and with which metadata.
    recalled: BTreeMap<ContentId, (TreePath, Stat)>,
}

type Known = Mutex<Contents>;

/// The contents of one image.
#[derive(Debug, Clone)]
pub struct ObjectContents {
    store: Arc<ObjectStore>,
    label: Option<Arc<[u8]>>,
    known: Arc<Known>,
    shipped: Option<(Arc<Shipped>, Copying)>,
}

impl ObjectStore {
    /// Writes into `objects` with as many threads.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub fn new(objects: Objects, threads: usize) -> Result<Self> {
        let (objects, learnt) = (Arc::new(objects), Mutex::default());
        Ok(Self { pool: Pool::new(threads, WAITING)?, objects, learnt })
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

    /// Lets the repository know the layers that were read, and forgets there what became useless. Called after everything was
    /// published; `commit` is the new commit's checksum, 64 digits.
    ///
    /// Nothing depends on it, so nothing is an error: what can't be kept is read again.
    pub fn remember(&self, commit: &str) {
        for (key, learnt) in &*self.learnt.lock().unwrap_or_else(PoisonError::into_inner) {
            let written = learnt.known(&self.objects).and_then(|known| {
                let witnesses = learnt.witnesses(&self.objects)?;
                layers::write(&self.objects, key, &known, &witnesses)
            });
            written.unwrap_or_default();
        }
        layers::prune(&self.objects, commit).unwrap_or_default();
    }

    fn recall(&self, key: &Key) -> Result<Option<layers::Known>> {
        let learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        let Some(learnt) = learnt else { return Ok(layers::read(self.objects.repo.as_fd(), key)) };
        self.settle()?;
        Ok(learnt.known(&self.objects).ok())
    }
}

impl Learnt {
    fn id(&self, ordinal: u32) -> ContentId {
        ContentId { layer: self.layer, ordinal }
    }

    /// All that was written is settled.
    fn known(&self, objects: &Objects) -> Result<layers::Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let object = |ordinal: &u32| {
            let staged = known.staged.get(&self.id(*ordinal)).context("a content was not staged")?;
            Ok((*ordinal, staged.checksum))
        };
        let all = self.ordinals.iter().map(object).collect::<Result<_>>()?;
        Ok(layers::Known { text: objects.staged(&self.text)?, objects: all })
    }

    /// A few of its objects that a tree has, from all over it.
    fn witnesses(&self, objects: &Objects) -> Result<Vec<Digest>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = self.ordinals.iter().map(|ordinal| self.id(*ordinal));
        let shown: Vec<_> =
            shown.filter(|id| !known.hidden.contains(id)).filter_map(|id| known.staged.get(&id)).collect();
        let mut witnesses = Vec::new();
        // Looking for every object would cost as much as a part of writing it.
        for part in shown.chunks(shown.len().div_ceil(layers::WITNESSES).max(1)) {
            for staged in part {
                if objects.is_published(&staged.checksum, ObjectKind::File)? {
                    witnesses.push(staged.checksum);
                    break;
                }
            }
        }
        Ok(witnesses)
    }
}

impl ObjectContents {
    /// For the contents of one image, none yet. All of them get this SELinux label.
    pub fn new(store: &Arc<ObjectStore>, label: Option<&[u8]>) -> Self {
        Self { store: Arc::clone(store), label: label.map(Arc::from), known: Arc::default(), shipped: None }
    }

    /// Layers that the repository does not know may be known from these roots, and contents that it lacks are copied from there.
    #[must_use]
    pub fn copying(mut self, shipped: Arc<Shipped>, when: Copying) -> Self {
        self.shipped = Some((shipped, when));
        self
    }

    fn known(&self, id: ContentId) -> Result<Staged> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let staged = known.staged.get(&id).filter(|_| !known.hidden.contains(&id)).copied();
        staged.with_context(|| format!("entry {} of layer {} was not staged", id.ordinal, id.layer))
    }

    /// Reads back a content of at most `max` bytes.
    ///
    /// # Errors
    /// When it was not staged, is larger, can't be read, or the repository has other bytes for it.
    pub fn read(&self, id: ContentId, max: u64) -> Result<Vec<u8>> {
        self.store.settle()?;
        let mut staged = self.known(id)?;
        if staged.size > max {
            bail!("it has {} bytes, more than {max}", staged.size);
        }
        if !self.store.objects.has(&staged.checksum, ObjectKind::File)? && self.copy(id, &staged)? {
            self.store.settle()?;
            staged = self.known(id)?;
        }
        let mut bytes = Vec::new();
        self.store.objects.content(&staged.checksum)?.take(max).read_to_end(&mut bytes)?;
        if Digest::of(&bytes) != staged.digest {
            let hex = staged.checksum.hex();
            bail!("object {hex} has other bytes; `ostree fsck` tells what else is broken");
        }
        Ok(bytes)
    }

    /// Where they are staged.
    pub(super) fn objects(&self) -> &Objects {
        &self.store.objects
    }

    fn key(&self, diff_id: &Digest) -> Key {
        Key { diff_id: *diff_id, label: self.label.as_deref().map(<[u8]>::to_vec) }
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
        self.known.lock().unwrap_or_else(PoisonError::into_inner).hidden.insert(id);
        Ok(())
    }

    fn recall(&self, layer: u16, diff_id: &Digest) -> Result<Option<ReadLayer>> {
        let key = self.key(diff_id);
        if let Some(known) = self.store.recall(&key)?
            && let Ok(read) = known.layer(&key, layer)
        {
            self.expect(&read, known.objects.iter().map(|(_, checksum)| *checksum));
            return Ok(Some(read));
        }
        let Some((shipped, _)) = &self.shipped else { return Ok(None) };
        let Some(read) = shipped.layer(layer, diff_id) else { return Ok(None) };
        self.expect(&read, std::iter::repeat(ABSENT));
        self.learn(layer, diff_id, &read);
        Ok(Some(read))
    }

    fn holds(&self, id: ContentId) -> Result<bool> {
        let staged = self.known(id)?;
        if self.store.objects.has(&staged.checksum, ObjectKind::File)? {
            return Ok(true);
        }
        match &self.shipped {
            Some((_, Copying::WhenNeeded)) => self.copy(id, &staged),
            Some((shipped, Copying::WhenRead)) => Ok(shipped.files(&staged.digest).next().is_some()),
            None => Ok(false),
        }
    }

    fn learn(&self, layer: u16, diff_id: &Digest, read: &ReadLayer) {
        let key = self.key(diff_id);
        let mut all = self.store.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        let text = format!("layer-{}", all.len());
        if all.contains_key(&key) {
            return;
        }
        // What can't be kept is not known.
        if self.store.objects.stage(&text, |file| key.write_text(read, layers::LEVEL, file)).is_ok() {
            let (known, ordinals) = (Arc::clone(&self.known), layers::ordinals(&read.diff));
            all.insert(key, Learnt { text, known, layer, ordinals });
        }
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
        static ZEROS: [u8; 8 << 10] = [0; 8 << 10];
        let mut left = bytes;
        while left > 0 {
            let some = usize::try_from(left.min(ZEROS.len() as u64))?;
            self.write(&ZEROS[..some])?;
            left -= some as u64;
        }
        Ok(())
    }

    fn finish(self, digest: &Digest) -> Result<()> {
        let Self { contents, id, path, header, size, form } = self;
        let digest = *digest;
        let (bytes, stat) = match form {
            Form::Whole { bytes, stat } => (bytes, stat),
            Form::Stream(stream) => {
                let checksum = stream.finish().with_context(|| format!("staging {path}"))?;
                let mut known = contents.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.staged.insert(id, Staged { checksum, header, digest, size });
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
            known.staged.insert(id, Staged { checksum, header, digest, size });
            Ok(())
        };
        contents.store.pool.submit(cost, Box::new(job))
    }
}
