//! Contents of layers that were not read: they are objects already, or are copied from a root that has them.

use std::fs::File;
use std::io::Read as _;
use std::sync::PoisonError;

use anyhow::{Context, Result};

use super::{ObjectContents, Staged};
use crate::digest::{Digest, Hasher};
use crate::image::flatten::{ContentStore as _, ContentWriter, ReadLayer};
use crate::store::object::{FileKind, ObjectKind, file_header, labelled};
use crate::tree::{ContentId, Entry, Leaf};

/// Bytes that are copied at once.
const BUFFER: usize = 128 << 10;

/// When a content that the repository lacks is copied from a root that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copying {
    /// When the image's tree has it.
    WhenNeeded,
    /// When it is read: for somebody who only looks.
    WhenRead,
}

impl ObjectContents {
    /// The contents of a layer that was recalled are these objects, in the layer's order.
    pub(super) fn expect(&self, read: &ReadLayer, mut objects: impl Iterator<Item = Digest>) {
        let mut contents = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, entry) in &read.diff.added {
            if let Entry::Leaf(Leaf::File { stat, size, digest, content: Some(id) }) = entry
                && let Some(checksum) = objects.next()
            {
                if self.shipped.is_some() {
                    contents.recalled.insert(*id, (path.clone(), stat.clone()));
                }
                let stat = labelled(stat, self.label.as_deref());
                let header = Digest::of(&file_header(&stat, FileKind::Regular));
                contents.staged.insert(*id, Staged { checksum, header, digest: *digest, size: *size });
            }
        }
    }

    /// Copies a content that no object has from a root that has it; false if none has it whole.
    pub(super) fn copy(&self, id: ContentId, staged: &Staged) -> Result<bool> {
        let Some((shipped, _)) = &self.shipped else { return Ok(false) };
        let recalled = self.known.lock().unwrap_or_else(PoisonError::into_inner).recalled.get(&id).cloned();
        let Some((path, stat)) = recalled else { return Ok(false) };
        for (from, mut file) in shipped.files(&staged.digest) {
            shipped.interrupt().check()?;
            let mut writer = self.begin(id, &path, staged.size, &stat)?;
            if pass_on(&mut file, staged, &mut writer).with_context(|| format!("copying {from}"))? {
                writer.finish(&staged.digest)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes of a content that the repository lacks, as far as is known; 0 if it has it.
    ///
    /// # Errors
    /// When that can't be told.
    pub fn lacks(&self, id: ContentId) -> Result<u64> {
        let staged = self.known(id)?;
        let there = self.store.objects.is_published(&staged.checksum, ObjectKind::File)?;
        Ok(if there { 0 } else { staged.size })
    }
}

/// Writes what `file` has; false when that is not the content.
fn pass_on(file: &mut File, staged: &Staged, writer: &mut impl ContentWriter) -> Result<bool> {
    let (mut buffer, mut hasher) = (vec![0; BUFFER], Hasher::default());
    loop {
        let read = match file.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // What can't be read is not there.
            Err(_) => return Ok(false),
            Ok(read) => read,
        };
        if read == 0 {
            return Ok(hasher.bytes() == staged.size && hasher.finish() == staged.digest);
        }
        hasher.update(&buffer[..read]);
        if hasher.bytes() > staged.size {
            return Ok(false);
        }
        writer.write(&buffer[..read])?;
    }
}
