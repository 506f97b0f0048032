//! The layers that this host has, in its store or in what it embeds, and the road of an image to whoever wants it.

use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::ResolvedImage;
use sysctr_core::image::flatten::{Lacking, Limits};
use sysctr_core::place;
use sysctr_core::placement::Policy;
use sysctr_core::store::layers::KnownLayers;
use sysctr_core::store::own_repo::OwnRepo;
use sysctr_core::store::shipped::Shipped;

use crate::active::host::Host;
use crate::durable;
use crate::image::{Fetched, Fetcher, Road, Source, missing};
use crate::shipped::Embedded;
use crate::space::Needed;

/// The bounds of an image that a compose has by default, too.
pub const LIMITS: Limits =
    Limits { jobs: 2, max_entries: 4_000_000, max_bytes: 32 << 30, max_window: 64 << 20 };

/// In the directory of generations: what is being fetched.
pub const FETCHED: &str = ".fetched";

/// What there is of layers, and what decides how new ones are stored.
pub struct Stock<'a> {
    /// The host.
    pub host: &'a Host,
    /// Its store.
    pub store: OwnRepo,
    /// What it is for.
    pub architecture: Architecture,
    /// How images come.
    pub road: &'a Road,
    /// The host's SELinux policy.
    policy: Option<Policy>,
    embedded: Embedded,
}

/// What stands where a host has no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoStore {
    /// One is made.
    IsMade,
    /// An empty one in scratch: nothing of the host is written.
    IsScratch,
}

impl<'a> Stock<'a> {
    /// Of this host.
    ///
    /// # Errors
    /// When host or store can't be read, or the store can't be made.
    pub fn open(host: &'a Host, road: &'a Road, fetching: &Fetching, none: NoStore) -> Result<Self> {
        let path = host.generations_dir().join(place::STORE);
        let store = match (OwnRepo::open(&path)?, none) {
            (Some(store), _) => store,
            (None, NoStore::IsMade) => OwnRepo::open_or_make(&path)?,
            (None, NoStore::IsScratch) => OwnRepo::open_or_make(&fetching.dir.join("store"))?,
        };
        let (architecture, policy) = (host.architecture()?, Policy::read(host)?);
        Ok(Self { host, store, architecture, road, policy, embedded: Embedded::find(host)? })
    }

    /// The SELinux label of everything in a root, if the host has a policy.
    pub fn label(&self) -> Option<&[u8]> {
        self.policy.as_ref().map(|policy| policy.roots().as_bytes())
    }

    /// Whether a layer need not be read.
    pub fn has(&self, diff_id: &Digest) -> bool {
        self.stores(diff_id) || self.embedded.bytes(diff_id).is_some()
    }

    /// Whether the store has a layer.
    fn stores(&self, diff_id: &Digest) -> bool {
        KnownLayers::new(self.store.dir().as_fd(), self.label()).has(diff_id)
    }

    /// Roots that contents of the image's layers are copied from.
    pub fn shipped(&self, image: &ResolvedImage) -> Arc<Shipped> {
        self.embedded.open(&image.config.diff_ids, &self.road.interrupt)
    }

    /// On the way into `fetching`.
    pub fn fetcher<'f>(&'f self, source: &'f Source, fetching: &'f Fetching) -> Fetcher<'f> {
        Fetcher { source, architecture: self.architecture, road: self.road, dir: &fetching.dir }
    }

    /// Finds an image, fetches what this host lacks of it, and does with it what `then` says, unless its documents are enough; tells
    /// how many bytes of blobs came. What comes goes again.
    ///
    /// # Errors
    /// When the image can't be found or fetched, there is no room for it, or `then` fails.
    pub fn with_image<T>(
        &self,
        source: &Source,
        fetching: &Fetching,
        enough: impl Fn(&ResolvedImage) -> Result<bool>,
        then: impl Fn(&Fetched) -> Result<T>,
    ) -> Result<(Option<T>, u64)> {
        let fetcher = self.fetcher(source, fetching);
        let mut found = fetcher.documents()?;
        if enough(&found.image)? {
            return Ok((None, found.bytes));
        }
        self.needed(&found.image).require(self.host)?;
        found = fetcher.layers_of(found, |diff_id| self.has(diff_id))?;
        match then(&found) {
            // What is known of a layer is less than what this image shows of it.
            Err(error) if error.is::<Lacking>() && !missing(&found.image, |_| false).is_empty() => {
                found = fetcher.layers_of(found, |_| false)?;
                Ok((Some(then(&found)?), found.bytes))
            }
            done => Ok((Some(done?), found.bytes)),
        }
    }

    /// What an image needs on this host, at most, as far as can be told before its layers are read.
    pub fn needed(&self, image: &ResolvedImage) -> Needed {
        let layers = || (0..image.layer_count()).zip(&image.config.diff_ids);
        let unread = layers().filter(|(_, diff_id)| !self.has(diff_id));
        let copied = layers().filter(|(_, diff_id)| !self.stores(diff_id));
        Needed {
            fetched: missing(image, |diff_id| self.has(diff_id)).iter().map(|(_, bytes)| bytes).sum(),
            packed: unread.map(|(index, _)| image.layer_size(index)).sum(),
            copied: copied.filter_map(|(_, diff_id)| self.embedded.bytes(diff_id)).sum(),
        }
    }
}

/// A directory for what is being fetched, closed to others; it goes when this is dropped.
pub struct Fetching {
    /// It.
    pub dir: Utf8PathBuf,
}

impl Fetching {
    /// Makes it, empty.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new(host: &Host) -> Result<Self> {
        let fetching = Self { dir: host.generations_dir().join(FETCHED) };
        durable::clear(&fetching.dir)?;
        let made = std::fs::DirBuilder::new().mode(0o700).create(&fetching.dir);
        made.with_context(|| format!("making directory {}", fetching.dir))?;
        Ok(fetching)
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        // There is nobody to tell; what is left is cleared by the next program.
        durable::clear(&self.dir).unwrap_or_default();
    }
}
