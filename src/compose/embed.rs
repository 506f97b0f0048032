//! One container: from its image's layers to everything that is placed.

mod outside;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use anyhow::{Context, Result, ensure};
use sysctr_core::arch::Architecture;
use sysctr_core::digest::{Digest, Hasher};
use sysctr_core::epoch::Epoch;
use sysctr_core::exports::brought::{MAX_BYTES, contents};
use sysctr_core::image::ResolvedImage;
use sysctr_core::image::flatten::{Flattened, Limits, Progress, flatten};
use sysctr_core::name::GroupName;
use sysctr_core::place;
use sysctr_core::placement::{Clash, Draft};
use sysctr_core::prepare::{self, MountTarget, Prepared, Target, prepare};
use sysctr_core::record::{ImageRecord, LeftOutRecord, Record, TreeRecord, VERSION, to_json};
use sysctr_core::settings::AbsolutePath;
use sysctr_core::tree::lookup::Found;
use sysctr_core::tree::{ContentId, ImageTree, Leaf, dump};

use outside::HostFiles;

use crate::manifest::Container;
use crate::shelf::Shelf;

/// Largest `/etc/passwd` or `/etc/group` of an image that we read.
const MAX_USERS_BYTES: u64 = 1 << 20;
/// What zstd's own command line takes by default: dumps compress well at once.
const DUMP_LEVEL: i32 = 3;
/// Lines of a dump that are digested and compressed at once.
const DUMP_BUFFER: usize = 64 << 10;

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
}

/// A container ready to be placed, and what its user should know.
#[derive(Debug)]
pub struct Embedded {
    /// For the planner.
    pub draft: Draft,
    /// One sentence each.
    pub warnings: Vec<String>,
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
        ];
        let mut hasher = Hasher::default();
        for part in parts.iter().map(String::as_bytes).chain([&to_json(&self.container.settings)[..]]) {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finish()
    }

    /// What happens when a unit of the host has its name.
    pub fn clash(&self) -> Clash {
        if self.container.settings.unit.replace { Clash::PutAside } else { Clash::Refuse }
    }

    /// Reads the image's layers and decides everything about the container. Contents go to `shelf`.
    ///
    /// # Errors
    /// When the image's layers can't be read, or image and settings don't make a container.
    pub fn embed(
        &self,
        limits: Limits,
        target: &dyn Target,
        shelf: &impl Shelf,
        progress: &impl Progress,
    ) -> Result<Embedded> {
        let name = &self.container.name;
        let doing = || format!("embedding container {name} from {}", self.container.image);
        let mut store = shelf.store(name)?;
        let flattened = flatten(&self.image, limits, &store, progress).with_context(doing)?;
        let databases = ["etc/passwd", "etc/group"].map(|path| users(&flattened.tree, path));
        let [passwd, group] = databases.map(|found| found.with_context(doing));
        let (passwd, group) = (passwd?, group?);
        let users = [&passwd, &group].into_iter().filter_map(Users::content);
        let needed: Vec<_> = users.chain(contents(&flattened.tree)).collect();
        if let Some(second) = shelf.again(&store, &needed) {
            flatten(&self.image, limits, &second, progress).with_context(doing)?;
            store = second;
        }
        let read = |users: Users| match users {
            Users::None => Ok(None),
            Users::Empty => Ok(Some(Vec::new())),
            Users::Content(id) => {
                shelf.content(name, &store, id, MAX_USERS_BYTES).map(Some).with_context(doing)
            }
        };
        let (passwd, group) = (read(passwd)?, read(group)?);
        let prepared = prepare(&prepare::Input {
            source: prepare::Source {
                name,
                settings: &self.container.settings,
                image: &self.image.config,
                tree: &flattened.tree,
                passwd: passwd.as_deref(),
                group: group.as_deref(),
                architecture: self.architecture,
            },
            runtime: &self.runtime,
            config: &self.image.config_document.digest,
            image_name: &self.image_name(),
            read: &|leaf| match leaf {
                Leaf::File { content: Some(id), .. } => shelf.content(name, &store, *id, MAX_BYTES),
                Leaf::File { .. } | Leaf::Symlink { .. } => Ok(Vec::new()),
            },
            target,
        })
        .with_context(doing)?;
        self.draft(flattened, prepared)
    }

    /// What templates get as the image's name: nothing of a path on this machine.
    fn image_name(&self) -> String {
        let text = self.container.image.to_string();
        match text.strip_prefix("docker://") {
            Some(name) => name.to_owned(),
            None => self.container.image.default_name(),
        }
    }

    fn draft(&self, flattened: Flattened, prepared: Prepared) -> Result<Embedded> {
        let name = &self.container.name;
        let Flattened { mut tree, left_out } = flattened;
        make_mount_targets(&mut tree, &prepared.mount_targets)?;
        let (digest, dump) = dumped(&tree)?;
        let tree_record = TreeRecord {
            digest,
            entries: tree.entries(),
            bytes: tree.file_bytes(),
            epoch: self.epoch.seconds(),
            mount_targets: prepared
                .mount_targets
                .iter()
                .map(|target| shown(target.path.as_bytes()))
                .collect(),
            left_out: left_out
                .iter()
                .map(|it| LeftOutRecord { path: shown(it.path.as_bytes()), kind: it.kind })
                .collect(),
        };
        let record = self.record(tree_record, &prepared);
        let mut files = self.documents();
        let mut modes = BTreeMap::new();
        for (file, (bytes, mode)) in &prepared.files {
            files.insert(file.clone(), bytes.clone());
            modes.insert(file.clone(), *mode);
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
            files,
            modes,
            directories: host.directories,
            placed,
            clash: self.clash(),
            allowed: host.allowed,
        };
        Ok(Embedded { draft, warnings: prepared.warnings })
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

/// The image's own user or group database.
enum Users {
    /// It has none.
    None,
    /// It has nobody.
    Empty,
    /// It is this file.
    Content(ContentId),
}

impl Users {
    fn content(&self) -> Option<ContentId> {
        match self {
            Self::None | Self::Empty => None,
            Self::Content(id) => Some(*id),
        }
    }
}

/// The database at `path`, links followed.
fn users(tree: &ImageTree, path: &str) -> Result<Users> {
    match tree.resolve(path.as_bytes())?.found {
        Found::File(Leaf::File { content: Some(id), size, .. }) => {
            ensure!(
                *size <= MAX_USERS_BYTES,
                "reading /{path} of the image: it has {size} bytes, more than {MAX_USERS_BYTES}"
            );
            Ok(Users::Content(*id))
        }
        Found::File(_) => Ok(Users::Empty),
        Found::Dir(_) | Found::Missing => Ok(Users::None),
    }
}

/// Digest of the tree's dump, and the dump compressed. It is never whole in memory: of a million entries it has 150 MB.
fn dumped(tree: &ImageTree) -> Result<(Digest, Vec<u8>)> {
    let compressor = zstd::Encoder::new(Vec::new(), DUMP_LEVEL).context("compressing the tree's dump")?;
    let mut tee =
        BufWriter::with_capacity(DUMP_BUFFER, Digesting { inner: compressor, hasher: Hasher::default() });
    dump::write_to(tree, &mut tee).context("compressing the tree's dump")?;
    let Digesting { inner, hasher } = tee
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .context("compressing the tree's dump")?;
    Ok((hasher.finish(), inner.finish().context("compressing the tree's dump")?))
}

/// Digests what it passes on.
struct Digesting<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

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
