//! Files of ours in a commit of their own: what a generation is besides its image's tree, so that all of it can be made anew.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::object::{DirRef, DirTree, FileKind, ObjectKind, dirmeta, file_checksum, labelled, read_dirmeta};
use super::own_repo::OwnRepo;
use super::repo::{Objects, RepoMode, loose_path};
use super::tree::StagedTree;
use crate::digest::Digest;
use crate::tree::Stat;

/// A file or link of root, by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// A file with these bytes, mode 0644.
    File(Vec<u8>),
    /// A link with this text.
    Link(String),
}

/// By relative paths.
pub type KeptFiles = BTreeMap<Utf8PathBuf, Kept>;

/// Root's, mode 0644, with the label that everything in the store has.
pub fn stat(label: Option<&[u8]>) -> Stat {
    labelled(&Stat::implied(0o644), label)
}

/// Stages them.
///
/// # Errors
/// When they can't be written.
pub fn stage(objects: &Objects, files: &KeptFiles, label: Option<&[u8]>) -> Result<StagedTree> {
    let mut needed = BTreeSet::new();
    let root = directory(objects, Utf8Path::new(""), files, label, &mut needed)?;
    Ok(StagedTree { root, objects: needed })
}

fn directory(
    objects: &Objects,
    dir: &Utf8Path,
    files: &KeptFiles,
    label: Option<&[u8]>,
    needed: &mut BTreeSet<(Digest, ObjectKind)>,
) -> Result<DirRef> {
    let mut names = DirTree::default();
    for (path, kept) in files {
        let Ok(rest) = path.strip_prefix(dir) else { continue };
        let mut components = rest.components();
        let Some(name) = components.next().map(|name| name.as_str().to_owned()) else { continue };
        if components.next().is_none() {
            let checksum = match kept {
                Kept::File(bytes) => objects.write_file(&stat(label), FileKind::Regular, bytes)?,
                Kept::Link(text) => objects.write_file(&stat(label), FileKind::Symlink(text), b"")?,
            };
            needed.insert((checksum, ObjectKind::File));
            names.files.insert(name, checksum);
        } else if let Entry::Vacant(vacant) = names.dirs.entry(name) {
            let inner = dir.join(vacant.key());
            vacant.insert(directory(objects, &inner, files, label, needed)?);
        }
    }
    let mut metadata = |kind, bytes: &[u8]| -> Result<Digest> {
        let checksum = objects.write_metadata(kind, bytes)?;
        needed.insert((checksum, kind));
        Ok(checksum)
    };
    let tree = metadata(ObjectKind::DirTree, &names.to_bytes())?;
    let meta = metadata(ObjectKind::DirMeta, &dirmeta(&labelled(&Stat::implied(0o755), label)))?;
    Ok(DirRef { tree, meta })
}

impl OwnRepo {
    /// The files in a commit that was staged so. Each is what its object's name says.
    ///
    /// # Errors
    /// When an object is missing or broken.
    pub fn kept(&self, root: DirRef) -> Result<KeptFiles> {
        let (mut files, label) = (KeptFiles::new(), self.label(root)?);
        self.read_kept(root, Utf8Path::new(""), label.as_deref(), &mut files)?;
        Ok(files)
    }

    /// The SELinux label that everything in a commit was given, without a NUL: the policy's of that day, which may have
    /// another one by now.
    ///
    /// # Errors
    /// When the object of its root's metadata is missing or broken.
    pub fn label(&self, root: DirRef) -> Result<Option<Vec<u8>>> {
        let meta = read_dirmeta(&self.needed(&root.meta, ObjectKind::DirMeta)?)?;
        let label = meta.xattrs.and_then(|xattrs| xattrs.get(&b"security.selinux"[..]).cloned());
        Ok(label.map(|value| value.strip_suffix(b"\0").unwrap_or(&value).to_vec()))
    }

    fn read_kept(
        &self,
        dir: DirRef,
        path: &Utf8Path,
        label: Option<&[u8]>,
        files: &mut KeptFiles,
    ) -> Result<()> {
        let names = self.dirtree(&dir.tree)?;
        for (name, checksum) in &names.files {
            let object = loose_path(RepoMode::Bare, checksum, ObjectKind::File);
            let kept = self.read_file(&object).with_context(|| format!("reading object {object}"))?;
            let found = match &kept {
                Kept::File(bytes) => file_checksum(&stat(label), FileKind::Regular, bytes),
                Kept::Link(text) => file_checksum(&stat(label), FileKind::Symlink(text), b""),
            };
            ensure!(found == *checksum, "reading object {object} of the store {}: it is broken", self.path());
            files.insert(path.join(name), kept);
        }
        names.dirs.iter().try_for_each(|(name, dir)| self.read_kept(*dir, &path.join(name), label, files))
    }

    fn read_file(&self, object: &str) -> Result<Kept> {
        let objects = self.objects()?;
        let found = rustix::fs::statat(&objects, object, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            let text = rustix::fs::readlinkat(&objects, object, Vec::new())?;
            return Ok(Kept::Link(text.into_string().context("its text is not UTF-8")?));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut bytes = Vec::new();
        std::fs::File::from(rustix::fs::openat(&objects, object, flags, Mode::empty())?)
            .read_to_end(&mut bytes)?;
        Ok(Kept::File(bytes))
    }
}
