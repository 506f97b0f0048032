//! A bundle of another commit with this commit's labels.

use anyhow::{Context, Result};
use camino::Utf8Path;
use sysctr_core::digest::Digest;
use sysctr_core::place;
use sysctr_core::store::object::{DirRef, DirTree, FileKind, labelled};
use sysctr_core::tree::Stat;

use super::commit::{Commit, Reader};
use super::composing::New;
use super::labels::{ATTRIBUTE, Kind, label};
use super::snapshot::{FileObject, Library as _};

impl New<'_> {
    /// The bundle `dir` of `commit` as it lies at `path` of the new commit. Directories whose label is right already are
    /// taken as they are, with all that is in them; a bundle's root counts on its own.
    pub(super) fn relabelled(&mut self, commit: &Commit, path: &Utf8Path, dir: DirRef) -> Result<DirRef> {
        let bundle = Relabel { commit, reader: commit.reader()? };
        let mut names: DirTree = (*commit.dirtree(&dir.tree)?).clone();
        if let Some(root) = names.dirs.get_mut(place::ROOTFS) {
            *root = bundle.root(self, *root)?;
        }
        let stat = commit.dirmeta(&dir.meta)?;
        let wanted = self.wanted(path, Kind::Directory, &stat)?;
        if label(&wanted) == label(&stat) {
            return Ok(DirRef { tree: self.names(&names)?, meta: dir.meta });
        }
        for (name, checksum) in &mut names.files {
            *checksum =
                bundle.file(self, checksum, |new, kind, stat| new.wanted(&path.join(name), kind, stat))?;
        }
        Ok(DirRef { tree: self.names(&names)?, meta: self.metadata(&wanted)? })
    }

    fn wanted(&self, path: &Utf8Path, kind: Kind, stat: &Stat) -> Result<Stat> {
        let stat = without_label(stat);
        match &self.labels {
            Some(labels) => labels.labelled(path, kind, &stat),
            None => Ok(stat),
        }
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
            *checksum = self.file(new, checksum, |new, _, stat| Ok(new.wanted_in_root(stat)))?;
        }
        Ok(DirRef { tree: new.names(&names)?, meta: new.metadata(&wanted)? })
    }

    fn file(
        &self,
        new: &mut New<'_>,
        checksum: &Digest,
        wanted: impl Fn(&New<'_>, Kind, &Stat) -> Result<Stat>,
    ) -> Result<Digest> {
        match self.commit.file(checksum)? {
            FileObject::Symlink { stat, target } => {
                let stat = wanted(new, Kind::Link, &stat)?;
                new.file(&stat, FileKind::Symlink(&target), b"")
            }
            FileObject::Regular { stat, size } => {
                let stat = wanted(new, Kind::Regular, &stat)?;
                let copied = new.stream(&stat, size, |write| self.reader.content(checksum, write));
                copied.with_context(|| format!("giving object {} another label", checksum.hex()))
            }
        }
    }
}
