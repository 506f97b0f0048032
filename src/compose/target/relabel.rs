//! A container's root of another commit with this commit's label.

use anyhow::{Context, Result};
use sysctr_core::digest::Digest;
use sysctr_core::store::object::{DirRef, DirTree, FileKind, labelled};
use sysctr_core::tree::Stat;

use super::commit::{Commit, Reader};
use super::composing::New;
use super::labels::{ATTRIBUTE, label};
use super::snapshot::{FileObject, Library as _};

impl New<'_> {
    /// The root of a container in `commit` with the label that roots have in the new commit. Directories whose label is
    /// right already are taken as they are, with all that is in them.
    pub(super) fn relabelled(&mut self, commit: &Commit, root: DirRef) -> Result<DirRef> {
        Relabel { commit, reader: commit.reader()? }.root(self, root)
    }

    fn wanted_in_root(&self, stat: &Stat) -> Stat {
        labelled(&without_label(stat), self.labels.as_ref().map(super::labels::Labels::roots))
    }
}

fn without_label(stat: &Stat) -> Stat {
    let mut stat = stat.clone();
    if let Some(xattrs) = &mut stat.xattrs {
        xattrs.remove(ATTRIBUTE);
    }
    stat.xattrs = stat.xattrs.filter(|xattrs| !xattrs.is_empty());
    stat
}

struct Relabel<'a> {
    commit: &'a Commit,
    reader: Reader,
}

impl Relabel<'_> {
    /// The root of a container, which has one label throughout.
    fn root(&self, new: &mut New<'_>, dir: DirRef) -> Result<DirRef> {
        let stat = self.commit.dirmeta(&dir.meta)?;
        let wanted = new.wanted_in_root(&stat);
        if label(&wanted) == label(&stat) {
            return Ok(dir);
        }
        let mut names: DirTree = (*self.commit.dirtree(&dir.tree)?).clone();
        for inner in names.dirs.values_mut() {
            *inner = self.root(new, *inner)?;
        }
        for checksum in names.files.values_mut() {
            *checksum = self.file(new, checksum)?;
        }
        Ok(DirRef { tree: new.names(&names)?, meta: new.metadata(&wanted)? })
    }

    fn file(&self, new: &mut New<'_>, checksum: &Digest) -> Result<Digest> {
        match self.commit.file(checksum)? {
            FileObject::Symlink { stat, target } => {
                let stat = new.wanted_in_root(&stat);
                new.file(&stat, FileKind::Symlink(&target), b"")
            }
            FileObject::Regular { stat, size } => {
                let stat = new.wanted_in_root(&stat);
                let copied = new.stream(&stat, size, |write| self.reader.content(checksum, write));
                copied.with_context(|| format!("giving object {} another label", checksum.hex()))
            }
        }
    }
}
