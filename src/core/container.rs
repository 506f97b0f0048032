//! One container: from its image's tree to its record and everything that is placed. The road that compose and update share.

mod dumped;
mod outside;
mod recorded;
mod users;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use camino::Utf8PathBuf;

use crate::arch::Architecture;
use crate::digest::{Digest, Hasher};
use crate::epoch::Epoch;
use crate::exports::brought::MAX_BYTES;
use crate::image::ResolvedImage;
use crate::image::flatten::{LeftOut, READING};
use crate::image::reference::ImageRef;
use crate::name::{ContainerName, GroupName};
use crate::place;
use crate::placement::{Clash, Draft, Root};
use crate::prepare::{self, MountTarget, Prepared, Target, prepare};
use crate::record::{LeftOutRecord, Record, Signer, SignerKey, VERSION, to_json};
use crate::settings::{AbsolutePath, Settings};
use crate::tree::{ContentId, ImageTree, Leaf};

use dumped::dumped;
use outside::HostFiles;
use users::{GROUP, MAX_USERS_BYTES, PASSWD, Users, users};

pub use users::needed;

/// A container whose image is known: everything that decides its bytes, but for what the target is.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a ContainerName,
    /// The group that will own it.
    pub group: &'a GroupName,
    /// What its user wants.
    pub settings: &'a Settings,
    /// Its image as the user named it.
    pub reference: &'a ImageRef,
    /// Its image.
    pub image: &'a ResolvedImage,
    /// Where its bundle will lie on the host: an absolute path.
    pub bundle: Utf8PathBuf,
    /// The OCI runtime's path on the host.
    pub runtime: &'a AbsolutePath,
    /// The target's architecture.
    pub architecture: Architecture,
    /// The time stamp of what no image names.
    pub epoch: Epoch,
    /// Whose signatures were verified when the image was fetched.
    pub signed_by: &'a [Signer],
    /// One of whom must have signed what updates bring; none: nobody need.
    pub keys: &'a [SignerKey],
}

/// Reads a content of the image of at most so many bytes.
pub type ReadContent<'a> = &'a dyn Fn(ContentId, u64) -> Result<Vec<u8>>;

impl Subject<'_> {
    /// Digest over everything that decides the container's bytes. Every part is preceded by its length, so that
    /// different parts never make the same text.
    pub fn inputs(&self) -> Digest {
        let index = self.image.index.map(String::from).unwrap_or_default();
        let manifest = self.image.manifest.as_ref().map(|it| it.digest.to_string()).unwrap_or_default();
        let parts = [
            prepare::RENDERING.to_string(),
            self.name.to_string(),
            self.group.to_string(),
            self.reference.to_string(),
            index,
            manifest,
            self.image.config_document.digest.to_string(),
            self.runtime.to_string(),
            self.architecture.to_string(),
            self.epoch.seconds().to_string(),
            READING.to_string(),
        ];
        // Only where there are any, so that images without signatures keep the inputs that they had.
        let signed_by = self.signed_by.first().map(|_| to_json(&self.signed_by)).unwrap_or_default();
        let keys: String = self.keys.iter().map(|it| format!("{}\n", Digest::of(&it.key))).collect();
        let last = [&to_json(self.settings)[..], &signed_by, keys.as_bytes()];
        let last = last.into_iter().filter(|part| !part.is_empty());
        let mut hasher = Hasher::default();
        for part in parts.iter().map(String::as_bytes).chain(last) {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finish()
    }

    /// Whether an embedded container has the root that this one's layers make, but for mount targets.
    pub fn has_root(&self, record: &Record) -> bool {
        let (image, tree) = (&record.image, &record.tree);
        (image.config, &image.diff_ids) == (self.image.config_document.digest, &self.image.config.diff_ids)
            && (tree.epoch, tree.reading) == (self.epoch.seconds(), READING)
            && record.version == VERSION
            && record.rootfs.is_none()
            // What an older composer made does not tell its layers, which equal inputs must.
            && record.files.contains_key(place::LAYERS)
    }

    /// Decides everything about it. Equal inputs give equal bytes.
    ///
    /// # Errors
    /// When image and settings don't make a container, or `read` fails.
    pub fn prepare(&self, tree: &ImageTree, target: &dyn Target, read: ReadContent<'_>) -> Result<Prepared> {
        self.with_input(tree, target, read, prepare)?
    }

    /// What `then` makes of everything that decides the container.
    ///
    /// # Errors
    /// When the image's user databases can't be read.
    pub fn with_input<T>(
        &self,
        tree: &ImageTree,
        target: &dyn Target,
        read: ReadContent<'_>,
        then: impl FnOnce(&prepare::Input<'_>) -> T,
    ) -> Result<T> {
        let database = |path| match users(tree, path)? {
            Users::None => Ok(None),
            Users::Empty => Ok(Some(Vec::new())),
            Users::Content(id) => read(id, MAX_USERS_BYTES).map(Some),
        };
        let (passwd, group) = (database(PASSWD)?, database(GROUP)?);
        Ok(then(&prepare::Input {
            source: prepare::Source {
                name: self.name,
                settings: self.settings,
                image: &self.image.config,
                tree,
                passwd: passwd.as_deref(),
                group: group.as_deref(),
                architecture: self.architecture,
            },
            bundle: &self.bundle,
            runtime: self.runtime,
            config: &self.image.config_document.digest,
            image_name: &self.image_name(),
            read: &|leaf| match leaf {
                Leaf::File { content: Some(id), .. } => read(*id, MAX_BYTES),
                Leaf::File { .. } | Leaf::Symlink { .. } => Ok(Vec::new()),
            },
            target,
        }))
    }

    /// What templates get as the image's name: nothing of a path on this machine.
    fn image_name(&self) -> String {
        let text = self.reference.to_string();
        match text.strip_prefix("docker://") {
            Some(name) => name.to_owned(),
            None => self.reference.default_name(),
        }
    }

    /// Puts its record and everything that is placed together. `tree` is the image's, without mount targets.
    ///
    /// # Errors
    /// When a mount target can't be in the tree, or a host file's link has no UTF-8 text.
    pub fn draft(
        &self,
        mut tree: ImageTree,
        root: Root,
        left_out: Vec<LeftOutRecord>,
        prepared: &Prepared,
    ) -> Result<Draft> {
        let name = self.name;
        let host = HostFiles::of(name, &tree, self.settings, prepared)?;
        let left_out = match root {
            Root::Elsewhere => {
                tree = ImageTree::new();
                Vec::new()
            }
            Root::Made | Root::Stands(_) | Root::Adopted(_) => left_out,
        };
        make_mount_targets(&mut tree, &prepared.mount_targets)?;
        let (digest, dump) = dumped(&tree)?;
        let record = self.record(self.tree_record(&tree, digest, left_out, prepared), prepared);
        let mut files = self.documents();
        let mut stats = BTreeMap::new();
        for (file, (bytes, stat)) in &prepared.files {
            files.insert(file.clone(), bytes.clone());
            stats.insert(file.clone(), stat.clone());
        }
        if !matches!(root, Root::Elsewhere) {
            files.insert(place::TREE_DUMP.to_owned(), dump);
        }
        if let Some(tmpfiles) = &prepared.tmpfiles {
            files.insert(place::tmpfiles_name(name), tmpfiles.clone());
        }
        if !prepared.config_json.is_empty() {
            files.insert(place::CONFIG_JSON.to_owned(), prepared.config_json.clone());
        }
        if !prepared.unit.is_empty() {
            files.insert(name.unit(), prepared.unit.clone());
        }
        let placed = outside::leaves(name, prepared, host.leaves);
        Ok(Draft {
            record,
            inputs: self.inputs(),
            tree,
            root,
            files,
            stats,
            directories: host.directories,
            placed,
            clash: if self.settings.unit.replace { Clash::PutAside } else { Clash::Refuse },
            allowed: host.allowed,
        })
    }
}

fn make_mount_targets(tree: &mut ImageTree, targets: &[MountTarget]) -> Result<()> {
    for target in targets {
        target.insert(tree).with_context(|| format!("making the mount target {}", target.path))?;
    }
    Ok(())
}

/// What a record tells of entries that were left out.
pub fn left_out(entries: &[LeftOut]) -> Vec<LeftOutRecord> {
    let told = |entry: &LeftOut| LeftOutRecord { path: shown(entry.path.as_bytes()), kind: entry.kind };
    entries.iter().map(told).collect()
}

/// A path of an image in a record: `/` in front, bytes that are not UTF-8 escaped.
pub fn shown(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) => format!("/{text}"),
        Err(_) => format!("/{}", path.escape_ascii()),
    }
}
