//! The verbs about the store of images, and how images come.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Result;
use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::ImageRef;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::skopeo::Patience;

use super::{OutputArgs, show};
use crate::active::host::Host;
use crate::image::{Road, Source};
use crate::images;
use crate::progress::Form;
use crate::pull;

/// How an image comes.
#[derive(Debug, Clone, Args)]
pub struct RoadArgs {
    /// Passwords of registries (containers-auth.json(5))
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<Utf8PathBuf>,
    /// Seconds that one try to fetch an image may take
    #[arg(long, value_name = "SECONDS", default_value = "3600")]
    pub timeout: NonZeroU32,
    /// Further tries after a failure that may pass
    #[arg(long, value_name = "N", default_value = "2")]
    pub retries: u32,
    /// Form of the progress on stderr
    #[arg(long, value_enum, default_value_t)]
    pub progress: Form,
}

impl RoadArgs {
    /// As types.
    pub fn road(self, interrupt: &Interrupt) -> Road {
        let Self { authfile, timeout, retries, progress } = self;
        let patience = Patience { timeout: Duration::from_secs(timeout.get().into()), retries };
        Road { authfile, patience, progress, interrupt: interrupt.clone() }
    }
}

/// `pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Image
    pub image: ImageRef,
    /// What the image must be
    #[arg(long, value_name = "sha256:…")]
    pub digest: Option<Digest>,
    /// How it comes.
    #[command(flatten)]
    pub road: RoadArgs,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl PullArgs {
    /// Does what was asked. The caller holds the lock.
    ///
    /// # Errors
    /// When it could not be done; the message is for the user.
    pub fn act(self, host: &Host, interrupt: &Interrupt) -> Result<()> {
        let Self { image, digest, road, output } = self;
        let source = Source { reference: image, pin: digest, keys: Vec::new() };
        let done = pull::pull(host, &source, &road.road(interrupt))?;
        show(output, || pull::text(&done), || pull::json(&done))
    }

    /// For those who have to wait.
    pub fn doing(&self) -> String {
        format!("pulling {}", self.image)
    }
}

/// `images`.
#[derive(Debug, Subcommand)]
pub enum Images {
    /// Show the images of the store
    List(OutputArgs),
    /// Show one image
    Info {
        /// Its reference, or the beginning of its configuration's digest
        image: String,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Remove an image that no container needs
    Remove {
        /// Its reference, or the beginning of its configuration's digest
        image: String,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Remove all images that no container needs
    Prune(OutputArgs),
    /// Read everything that the store holds, and tell what is damaged
    Verify(OutputArgs),
}

impl Images {
    /// Whether nobody need wait for it.
    pub fn only_looks(&self) -> bool {
        matches!(self, Self::List(_) | Self::Info { .. })
    }

    /// Does what was asked. The caller holds the lock, unless it only looks.
    ///
    /// # Errors
    /// When it could not be done, or something is damaged; the message is for the user.
    pub fn act(self, host: &Host, interrupt: &Interrupt) -> Result<()> {
        let removed = |output, removed: &[Digest]| {
            show(output, || images::removed_text(removed), || images::removed_json(removed))
        };
        match self {
            Self::List(output) => {
                let all = images::list(host)?;
                show(output, || images::text(&all), || images::json(&all))
            }
            Self::Info { image, output } => {
                let one = images::info(host, &image)?;
                show(output, || images::text(&one), || images::json(&one))
            }
            Self::Remove { image, output } => removed(output, &images::remove(host, &image)?),
            Self::Prune(output) => removed(output, &images::prune(host)?),
            Self::Verify(output) => {
                let verified = images::verify(host, interrupt)?;
                show(output, || images::verified_text(&verified), || images::verified_json(&verified))?;
                verified.end()
            }
        }
    }

    /// For those who have to wait.
    pub fn doing(&self) -> String {
        match self {
            Self::List(_) | Self::Info { .. } => "looking at images".to_owned(),
            Self::Remove { image, .. } => format!("removing image {image}"),
            Self::Prune(_) => "pruning images".to_owned(),
            Self::Verify(_) => "verifying images".to_owned(),
        }
    }
}
