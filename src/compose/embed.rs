//! One container: from its image's layers to everything that is placed.

mod dumped;
mod outside;
mod standing;
mod users;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sysctr_core::arch::Architecture;
use sysctr_core::digest::{Digest, Hasher};
use sysctr_core::epoch::Epoch;
use sysctr_core::exports::brought::MAX_BYTES;
use sysctr_core::image::ResolvedImage;
use sysctr_core::image::flatten::{Limits, Odd, Progress, READING, flatten};
use sysctr_core::name::GroupName;
use sysctr_core::place;
use sysctr_core::placement::{Clash, Draft, Root};
use sysctr_core::prepare::{self, MountTarget, Prepared, Target, prepare};
use sysctr_core::record::{ImageRecord, LeftOutRecord, Record, Signer, TreeRecord, VERSION, to_json};
use sysctr_core::settings::AbsolutePath;
use sysctr_core::store::layers::KnownLayers;
use sysctr_core::tree::{ContentId, ImageTree, Leaf};

use dumped::dumped;
use outside::HostFiles;
use standing::{Standing, Unfit};
use users::{GROUP, MAX_USERS_BYTES, PASSWD, Users, needed, users};

use crate::manifest::Container;
use crate::shelf::Shelf;

/// A container whose image is known: everything that decides its bytes.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// What the manifest says.
    pub container: &'a Container,
    /// The group that will own it.
    pub group: &'a GroupName,
    /// Its image.
    pub image: ResolvedImage,
    /// The OCI runtime's path on the host.
    pub runtime: AbsolutePath,
    /// The target's architecture.
    pub architecture: Architecture,
    /// The time stamp of what no image names.
    pub epoch: Epoch,
    /// Whose signatures were verified when the image was fetched.
    pub signed_by: Vec<Signer>,
}

/// A container ready to be placed, and what its user should know.
#[derive(Debug)]
pub struct Embedded {
    /// For the planner.
    pub draft: Draft,
    /// One sentence each.
    pub warnings: Vec<String>,
    /// See [`sysctr_core::image::flatten::Flattened::odd`]; none when no layer was read.
    pub odd: Vec<Odd>,
}

/// What stands of a container already, so that its image's layers need not be read.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// What the target has under its name.
    pub here: Option<&'a Record>,
    /// What another commit of the target's repository has under its name.
    pub earlier: Option<Earlier<'a>>,
}

/// A container in another commit of the target's repository.
#[derive(Clone, Copy)]
pub struct Earlier<'a> {
    /// Its record.
    pub record: &'a Record,
    /// The commit's tree.
    pub tree: &'a dyn Target,
    /// The commit's checksum.
    pub commit: &'a str,
}

impl Chosen<'_> {
    /// Digest over everything that decides the container's bytes. Every part is preceded by its length, so that
    /// different parts never make the same text.
    pub fn inputs(&self) -> Digest {
        let index = self.image.index.map(String::from).unwrap_or_default();
        let manifest = self.image.manifest.as_ref().map(|it| it.digest.to_string()).unwrap_or_default();
        let parts = [
            prepare::RENDERING.to_string(),
            self.container.name.to_string(),
            self.group.to_string(),
            self.container.image.to_string(),
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
        let last = [&to_json(&self.container.settings)[..], &signed_by];
        let last = last.into_iter().filter(|part| !part.is_empty());
        let mut hasher = Hasher::default();
        for part in parts.iter().map(String::as_bytes).chain(last) {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finish()
    }

    /// What happens when a unit of the host has its name.
    pub fn clash(&self) -> Clash {
        if self.container.settings.unit.replace { Clash::PutAside } else { Clash::Refuse }
    }

    /// Looks whether the image's layers are there, but for those that are known, and unless one of `standing` has what they
    /// make.
    ///
    /// # Errors
    /// When one is missing or has another size.
    pub fn find_layers<'r>(
        &self,
        mut standing: impl Iterator<Item = &'r Record>,
        known: Option<&KnownLayers<'_>>,
    ) -> Result<()> {
        if standing.any(|record| self.has_root(record)) {
            return Ok(());
        }
        let Container { name, image, .. } = self.container;
        let found = self.image.find_layers(|diff_id| known.is_some_and(|known| known.has(diff_id)));
        let found = found.with_context(|| format!("reading image {image}"));
        found.with_context(|| format!("resolving container {name}"))
    }

    /// Decides everything about the container. Contents go to `shelf`. The image's layers are not read when what is known of
    /// the container has the same image and nothing of it that is needed was changed.
    ///
    /// # Errors
    /// When the image's layers can't be read, or image and settings don't make a container.
    pub fn embed(
        &self,
        limits: Limits,
        target: &dyn Target,
        known: Known<'_>,
        shelf: &impl Shelf,
        progress: &impl Progress,
    ) -> Result<Embedded> {
        let doing = || format!("embedding container {} from {}", self.container.name, self.container.image);
        let mut unfit = None;
        if let Some(record) = known.here.filter(|record| self.has_root(record)) {
            match self.amend(record, target, shelf) {
                Ok(Some(embedded)) => return Ok(embedded),
                Ok(None) => {}
                Err(error) => match error.downcast_ref::<Unfit>() {
                    Some(why) => unfit = Some(why.to_string()),
                    None => return Err(error.context(doing())),
                },
            }
        }
        if let Some(earlier) = known.earlier.filter(|earlier| self.has_root(earlier.record)) {
            match self.adopt(earlier, target, shelf) {
                Ok(Some(embedded)) => return Ok(embedded),
                Ok(None) => {}
                // Whatever is wrong with the other commit, the image has it all.
                Err(error) => {
                    let why = error.downcast_ref::<Unfit>();
                    unfit = unfit.or(why.map(|why| format!("{why} in commit {}", earlier.commit)));
                }
            }
        }
        let read = self.read(limits, target, shelf, progress);
        let mut embedded = match &unfit {
            Some(why) => read.with_context(|| format!("{} once more, because {why}", doing()))?,
            None => read.with_context(doing)?,
        };
        embedded.warnings.extend(unfit.map(|why| format!("{why}; it was made from the image once more")));
        Ok(embedded)
    }

    /// Whether an embedded container has the root that this one's layers make, but for mount targets.
    fn has_root(&self, record: &Record) -> bool {
        let (image, tree) = (&record.image, &record.tree);
        (image.config, &image.diff_ids) == (self.image.config_document.digest, &self.image.config.diff_ids)
            && (tree.epoch, tree.reading) == (self.epoch.seconds(), READING)
            && record.version == VERSION
    }

    /// The container by the layers of its image.
    fn read(
        &self,
        limits: Limits,
        target: &dyn Target,
        shelf: &impl Shelf,
        progress: &impl Progress,
    ) -> Result<Embedded> {
        let name = &self.container.name;
        let mut store = shelf.store(name)?;
        let flattened = flatten(&self.image, limits, &store, progress)?;
        if let Some(second) = shelf.again(&store, &needed(&flattened.tree)?) {
            flatten(&self.image, limits, &second, progress)?;
            store = second;
        }
        let read = |id, max| shelf.content(name, &store, id, max);
        let prepared = self.prepare(&flattened.tree, target, &read)?;
        let left_out = flattened.left_out.iter();
        let left_out =
            left_out.map(|it| LeftOutRecord { path: shown(it.path.as_bytes()), kind: it.kind }).collect();
        let embedded = self.draft(flattened.tree, Root::Made, left_out, prepared)?;
        Ok(Embedded { odd: flattened.odd, ..embedded })
    }

    /// The container by what the target has of it; `None` when that can't become what it shall be. An [`Unfit`] error
    /// tells what of it is not as it was made.
    fn amend(&self, record: &Record, target: &dyn Target, shelf: &impl Shelf) -> Result<Option<Embedded>> {
        let standing = Standing::open(record, target)?;
        let prepared = self.prepare(standing.tree(), target, &|id, max| standing.read(id, max))?;
        let Some(changes) = standing.changes(&prepared.mount_targets)? else { return Ok(None) };
        standing.stage(&prepared.host, || shelf.store(&self.container.name))?;
        let left_out = record.tree.left_out.clone();
        self.draft(standing.into_tree(), Root::Stands(changes), left_out, prepared).map(Some)
    }

    /// The container by its root in another commit; `None` when the target asks for other mount targets. An [`Unfit`] error
    /// tells what of it is not as it was made.
    fn adopt(
        &self,
        earlier: Earlier<'_>,
        target: &dyn Target,
        shelf: &impl Shelf,
    ) -> Result<Option<Embedded>> {
        let Earlier { record, tree, commit } = earlier;
        let standing = Standing::open(record, tree)?;
        let prepared = self.prepare(standing.tree(), target, &|id, max| standing.read(id, max))?;
        if standing.changes(&prepared.mount_targets)?.is_none_or(|changes| !changes.is_empty()) {
            return Ok(None);
        }
        standing.stage(&prepared.host, || shelf.store(&self.container.name))?;
        let left_out = record.tree.left_out.clone();
        let root = Root::Adopted(commit.to_owned());
        self.draft(standing.into_tree(), root, left_out, prepared).map(Some)
    }

    fn prepare(&self, tree: &ImageTree, target: &dyn Target, read: ReadContent<'_>) -> Result<Prepared> {
        let database = |path| match users(tree, path)? {
            Users::None => Ok(None),
            Users::Empty => Ok(Some(Vec::new())),
            Users::Content(id) => read(id, MAX_USERS_BYTES).map(Some),
        };
        let (passwd, group) = (database(PASSWD)?, database(GROUP)?);
        prepare(&prepare::Input {
            source: prepare::Source {
                name: &self.container.name,
                settings: &self.container.settings,
                image: &self.image.config,
                tree,
                passwd: passwd.as_deref(),
                group: group.as_deref(),
                architecture: self.architecture,
            },
            runtime: &self.runtime,
            config: &self.image.config_document.digest,
            image_name: &self.image_name(),
            read: &|leaf| match leaf {
                Leaf::File { content: Some(id), .. } => read(*id, MAX_BYTES),
                Leaf::File { .. } | Leaf::Symlink { .. } => Ok(Vec::new()),
            },
            target,
        })
    }

    /// What templates get as the image's name: nothing of a path on this machine.
    fn image_name(&self) -> String {
        let text = self.container.image.to_string();
        match text.strip_prefix("docker://") {
            Some(name) => name.to_owned(),
            None => self.container.image.default_name(),
        }
    }

    /// `tree` is the image's.
    fn draft(
        &self,
        mut tree: ImageTree,
        root: Root,
        left_out: Vec<LeftOutRecord>,
        prepared: Prepared,
    ) -> Result<Embedded> {
        let name = &self.container.name;
        make_mount_targets(&mut tree, &prepared.mount_targets)?;
        let (digest, dump) = dumped(&tree)?;
        let tree_record = TreeRecord {
            digest,
            entries: tree.entries(),
            bytes: tree.file_bytes(),
            epoch: self.epoch.seconds(),
            reading: READING,
            mount_targets: prepared
                .mount_targets
                .iter()
                .map(|target| shown(target.path.as_bytes()))
                .collect(),
            left_out,
        };
        let record = self.record(tree_record, &prepared);
        let mut files = self.documents();
        let mut stats = BTreeMap::new();
        for (file, (bytes, stat)) in &prepared.files {
            files.insert(file.clone(), bytes.clone());
            stats.insert(file.clone(), stat.clone());
        }
        files.insert(place::TREE_DUMP.to_owned(), dump);
        if let Some(tmpfiles) = &prepared.tmpfiles {
            files.insert(place::tmpfiles_name(name), tmpfiles.clone());
        }
        if !prepared.config_json.is_empty() {
            files.insert(place::CONFIG_JSON.to_owned(), prepared.config_json.clone());
        }
        if !prepared.unit.is_empty() {
            files.insert(name.unit(), prepared.unit.clone());
        }
        let host = HostFiles::of(name, &tree, &self.container.settings, &prepared.host, &prepared.contents)?;
        let placed = outside::leaves(name, &prepared, host.leaves);
        let draft = Draft {
            record,
            inputs: self.inputs(),
            tree,
            root,
            files,
            stats,
            directories: host.directories,
            placed,
            clash: self.clash(),
            allowed: host.allowed,
        };
        Ok(Embedded { draft, warnings: prepared.warnings, odd: Vec::new() })
    }

    fn record(&self, tree: TreeRecord, prepared: &Prepared) -> Record {
        let settings = &self.container.settings;
        Record {
            version: VERSION,
            name: self.container.name.clone(),
            group: self.group.clone(),
            image: ImageRecord {
                source: self.container.image.to_string(),
                index: self.image.index,
                manifest: self.image.manifest.as_ref().map(|it| it.digest),
                config: self.image.config_document.digest,
                diff_ids: self.image.config.diff_ids.clone(),
                architecture: self.image.config.architecture.clone(),
                signed_by: self.signed_by.clone(),
            },
            origin: prepare::origin(&self.image.config_document.digest, settings),
            update: settings.update.clone(),
            runtime: self.runtime.clone(),
            fallback: settings.fallback,
            launch: prepared.launch.clone(),
            tree,
            files: BTreeMap::new(),
            placed: BTreeMap::new(),
        }
    }

    /// What an update needs to render the container again.
    fn documents(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::from([
            (place::IMAGE_CONFIG.to_owned(), self.image.config_document.bytes.clone()),
            (place::SETTINGS_JSON.to_owned(), to_json(&self.container.settings)),
        ]);
        if let Some(manifest) = &self.image.manifest {
            files.insert(place::IMAGE_MANIFEST.to_owned(), manifest.bytes.clone());
        }
        files
    }
}

/// Reads a content of the image of at most so many bytes.
type ReadContent<'a> = &'a dyn Fn(ContentId, u64) -> Result<Vec<u8>>;

fn make_mount_targets(tree: &mut ImageTree, targets: &[MountTarget]) -> Result<()> {
    for target in targets {
        target.insert(tree).with_context(|| format!("making the mount target {}", target.path))?;
    }
    Ok(())
}

/// A path of an image in a record: `/` in front, bytes that are not UTF-8 escaped.
pub(crate) fn shown(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) => format!("/{text}"),
        Err(_) => format!("/{}", path.escape_ascii()),
    }
}
