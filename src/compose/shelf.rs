//! Where the contents of an image go while its layers are read.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use sysctr_core::digest::Digest;
use sysctr_core::exports::brought::{MAX_BYTES, may_be_read};
use sysctr_core::image::flatten::{ContentStore, ContentWriter};
use sysctr_core::name::ContainerName;
use sysctr_core::store::contents::ObjectContents;
use sysctr_core::tree::{ContentId, Stat, TreePath};

use crate::target::commit::Composing;
use crate::target::rollout::RollingOut;
use crate::target::sysroot::{StagedContents, Staging};

/// Takes contents of several images and gives back small ones.
pub trait Shelf {
    /// Takes the contents of one image.
    type Store: ContentStore;

    /// A place for the contents of the container's image.
    ///
    /// # Errors
    /// When it can't be made.
    fn store(&self, name: &ContainerName) -> Result<Self::Store>;

    /// The bytes of a content that `store` took, at most `max`.
    ///
    /// # Errors
    /// When it was not kept, or is larger.
    fn content(&self, name: &ContainerName, store: &Self::Store, id: ContentId, max: u64) -> Result<Vec<u8>>;

    /// A place that keeps these contents, when `store` did not: the image is to be read into it once more.
    fn again(&self, store: &Self::Store, needed: &[ContentId]) -> Option<Self::Store>;
}

impl Shelf for Staging<'_> {
    type Store = StagedContents;

    fn store(&self, name: &ContainerName) -> Result<StagedContents> {
        self.contents(name)
    }

    fn content(&self, name: &ContainerName, _: &StagedContents, id: ContentId, max: u64) -> Result<Vec<u8>> {
        Staging::content(self, name, id, max)
    }

    fn again(&self, _: &StagedContents, _: &[ContentId]) -> Option<StagedContents> {
        None
    }
}

impl Shelf for Composing<'_> {
    type Store = ObjectContents;

    fn store(&self, name: &ContainerName) -> Result<ObjectContents> {
        Ok(self.contents(name))
    }

    fn content(&self, name: &ContainerName, _: &ObjectContents, id: ContentId, max: u64) -> Result<Vec<u8>> {
        Composing::content(self, name, id, max)
    }

    fn again(&self, _: &ObjectContents, _: &[ContentId]) -> Option<ObjectContents> {
        None
    }
}

impl Shelf for RollingOut<'_> {
    type Store = ObjectContents;

    fn store(&self, name: &ContainerName) -> Result<ObjectContents> {
        self.composing().store(name)
    }

    fn content(
        &self,
        name: &ContainerName,
        store: &ObjectContents,
        id: ContentId,
        max: u64,
    ) -> Result<Vec<u8>> {
        Shelf::content(self.composing(), name, store, id, max)
    }

    fn again(&self, store: &ObjectContents, needed: &[ContentId]) -> Option<ObjectContents> {
        self.composing().again(store, needed)
    }
}

/// Forgets contents, but for the user databases and the exports that preparing a container needs: plans and lints write
/// nothing.
#[derive(Debug)]
pub struct Nowhere;

/// Large enough for any `/etc/passwd` or `/etc/group`, small enough for memory.
const KEPT_BYTES: u64 = 1 << 20;

/// The contents that [`Nowhere`] keeps of one image.
#[derive(Debug, Default)]
pub struct Kept {
    /// Asked for by number: a user database may be called by any name, and linked to.
    needed: Vec<ContentId>,
    contents: Mutex<BTreeMap<ContentId, Vec<u8>>>,
}

/// A content on its way into [`Kept`], or into nothing.
#[derive(Debug)]
pub struct KeptWriter<'a> {
    kept: &'a Kept,
    id: ContentId,
    /// `None` when it is not kept.
    bytes: Option<Vec<u8>>,
}

impl Shelf for Nowhere {
    type Store = Kept;

    fn store(&self, _: &ContainerName) -> Result<Kept> {
        Ok(Kept::default())
    }

    fn content(&self, _: &ContainerName, store: &Kept, id: ContentId, max: u64) -> Result<Vec<u8>> {
        let contents = store.contents.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bytes = contents.get(&id).context("it is not among the files that a plan keeps")?;
        if bytes.len() as u64 > max {
            bail!("it has {} bytes, more than {max}", bytes.len());
        }
        Ok(bytes.clone())
    }

    fn again(&self, store: &Kept, needed: &[ContentId]) -> Option<Kept> {
        let contents = store.contents.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let kept_all = needed.iter().all(|id| contents.contains_key(id));
        (!kept_all).then(|| Kept { needed: needed.to_vec(), contents: Mutex::default() })
    }
}

impl ContentStore for Kept {
    type Writer<'a> = KeptWriter<'a>;

    fn begin<'a>(&'a self, id: ContentId, path: &TreePath, size: u64, _: &Stat) -> Result<KeptWriter<'a>> {
        let name = path.file_name();
        let users = name.is_some_and(|name| matches!(name.as_bytes(), b"passwd" | b"group"));
        let needed = self.needed.contains(&id) && size <= MAX_BYTES;
        let bytes = (needed || users && size <= KEPT_BYTES || may_be_read(path, size)).then(Vec::new);
        Ok(KeptWriter { kept: self, id, bytes })
    }

    fn discard(&self, id: ContentId) -> Result<()> {
        self.contents.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
        Ok(())
    }
}

impl ContentWriter for KeptWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(kept) = &mut self.bytes {
            kept.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn hole(&mut self, bytes: u64) -> Result<()> {
        if let Some(kept) = &mut self.bytes {
            let length = kept.len() + usize::try_from(bytes).context("a hole above the address space")?;
            kept.resize(length, 0);
        }
        Ok(())
    }

    fn finish(self, _: &Digest) -> Result<()> {
        if let Some(bytes) = self.bytes {
            let mut contents = self.kept.contents.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            contents.insert(self.id, bytes);
        }
        Ok(())
    }
}
