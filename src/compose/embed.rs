//! One container: from its image's layers to everything that is placed.

mod opened;
mod standing;

use anyhow::{Context, Result};
use camino::Utf8Path;
use sysctr_core::arch::Architecture;
use sysctr_core::container::Subject;
use sysctr_core::digest::Digest;
use sysctr_core::epoch::Epoch;
use sysctr_core::image::ResolvedImage;
use sysctr_core::image::flatten::{Limits, Odd, Progress};
use sysctr_core::name::GroupName;
use sysctr_core::place;
use sysctr_core::placement::{Clash, Draft, Root};
use sysctr_core::prepare::{Prepared, Target, Writer};
use sysctr_core::record::{LeftOutRecord, Record, Signer, SignerKey};
use sysctr_core::settings::AbsolutePath;
use sysctr_core::store::layers::KnownLayers;
use sysctr_core::tree::ImageTree;

use standing::{Standing, Unfit};

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
    /// The keys of those that the manifest names.
    pub keys: Vec<SignerKey>,
}

/// A container ready to be placed, and what its user should know.
#[derive(Debug)]
pub struct Embedded {
    /// For the planner.
    pub draft: Draft,
    /// One sentence each.
    pub warnings: Vec<String>,
    /// Who wrote its unit.
    pub writer: Writer,
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

/// Where a root stands that may be used again.
#[derive(Clone, Copy)]
enum Stands<'a> {
    /// In the target, where it can be changed.
    Here,
    /// In another commit, from which it is taken as it is.
    InCommit(Earlier<'a>),
}

impl<'a> Stands<'a> {
    fn tree(self, target: &'a dyn Target) -> &'a dyn Target {
        match self {
            Self::Here => target,
            Self::InCommit(earlier) => earlier.tree,
        }
    }
}

impl Chosen<'_> {
    /// As the road of all containers takes it.
    fn subject(&self) -> Subject<'_> {
        Subject {
            bundle: Utf8Path::new("/").join(place::bundle(&self.container.name)),
            name: &self.container.name,
            group: self.group,
            settings: &self.container.settings,
            reference: &self.container.image,
            image: &self.image,
            runtime: &self.runtime,
            architecture: self.architecture,
            epoch: self.epoch,
            signed_by: &self.signed_by,
            keys: &self.keys,
        }
    }

    /// See [`Subject::has_root`].
    pub fn has_root(&self, record: &Record) -> bool {
        self.subject().has_root(record)
    }

    /// See [`Subject::inputs`].
    pub fn inputs(&self) -> Digest {
        self.subject().inputs()
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
            match self.reuse(record, Stands::Here, target, shelf) {
                Ok(Some(embedded)) => return Ok(embedded),
                Ok(None) => {}
                Err(error) => match error.downcast_ref::<Unfit>() {
                    Some(why) => unfit = Some(why.to_string()),
                    None => return Err(error.context(doing())),
                },
            }
        }
        if let Some(earlier) = known.earlier.filter(|earlier| self.has_root(earlier.record)) {
            match self.reuse(earlier.record, Stands::InCommit(earlier), target, shelf) {
                Ok(Some(embedded)) => return Ok(embedded),
                Ok(None) => {}
                // Whatever is wrong with the other commit, the image has it all.
                Err(error) => {
                    let why = error.downcast_ref::<Unfit>();
                    unfit = unfit.or(why.map(|why| format!("{why} in commit {}", earlier.commit)));
                }
            }
        }
        let opened = self.open(limits, shelf, progress);
        let read = opened.and_then(|opened| self.make(opened, target));
        let mut embedded = match &unfit {
            Some(why) => read.with_context(|| format!("{} once more, because {why}", doing()))?,
            None => read.with_context(doing)?,
        };
        embedded.warnings.extend(unfit.map(|why| format!("{why}; it was made from the image once more")));
        Ok(embedded)
    }

    /// The container by a root that stands; `None` when the target asks for what can't become of it. An [`Unfit`] error tells
    /// what of it is not as it was made.
    fn reuse(
        &self,
        record: &Record,
        stands: Stands<'_>,
        target: &dyn Target,
        shelf: &impl Shelf,
    ) -> Result<Option<Embedded>> {
        let standing = Standing::open(record, stands.tree(target))?;
        let prepared = self.subject().prepare(standing.tree(), target, &|id, max| standing.read(id, max))?;
        let changes = standing.changes(&prepared.mount_targets)?;
        let root = match (self.container.settings.rootfs.is_some(), changes, stands) {
            (true, _, _) => Root::Elsewhere,
            (false, Some(changes), Stands::Here) => Root::Stands(changes),
            (false, Some(changes), Stands::InCommit(earlier)) if changes.is_empty() => {
                Root::Adopted(earlier.commit.to_owned())
            }
            (false, None | Some(_), _) => return Ok(None),
        };
        standing.stage(&prepared.host, || shelf.store(&self.container.name))?;
        let left_out = record.tree.left_out.clone();
        let (tree, layers) = standing.into_parts();
        self.draft(tree, layers, root, left_out, prepared).map(Some)
    }

    fn draft(
        &self,
        tree: ImageTree,
        layers: Vec<u8>,
        root: Root,
        left_out: Vec<LeftOutRecord>,
        prepared: Prepared,
    ) -> Result<Embedded> {
        let has_root = !matches!(root, Root::Elsewhere);
        let mut draft = self.subject().draft(tree, root, left_out, &prepared)?;
        if has_root {
            draft.files.insert(place::LAYERS.to_owned(), layers);
        }
        Ok(Embedded { draft, warnings: prepared.warnings, writer: prepared.writer, odd: Vec::new() })
    }
}
