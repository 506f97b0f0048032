//! What the command line says about fetching, given its meaning.

use std::time::Duration;

use anyhow::Result;
use sysctr_core::image::reference::ImageRef;

use crate::cli::fetching::{FetchArgs, ImageArgs, PatienceArgs, RegistryArgs, TrustArgs};
use crate::fetch::cache::{Cache, place};
use crate::fetch::images::{Images, Means, Way, Wish, way};
use crate::fetch::trust::{Demand, Trust};
use crate::fetch::verb::{Prune, Request, Update, fetch};
use crate::fetch::{Fetcher, base_of};
use crate::lock::path_beside;
use crate::manifest::{Manifest, NotUnderstood, Registry};
use crate::progress::Reporter;
use crate::report::Report as _;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::skopeo::Patience;

/// Does `sysctr-compose fetch`; gives the result for stdout.
///
/// # Errors
/// See [`fetch`].
pub fn run(args: &FetchArgs) -> Result<String> {
    let manifest = Manifest::read(&args.manifest)?;
    let interrupt = Interrupt::install()?;
    let reporter = Reporter::new(args.progress);
    let base = base_of(&manifest.base)?;
    let fetcher = Fetcher {
        cache: Cache::open(&place()?, &interrupt)?,
        base: &base,
        trust: Trust::find(&base, args.trust.policy.as_deref(), demand(&args.trust))?,
        patience: patience(&args.patience),
        jobs: usize::from(args.patience.parallel.get()),
        reporter: &reporter,
        interrupt: &interrupt,
    };
    let request = Request {
        manifest: &manifest,
        lock: &path_beside(&args.manifest),
        architectures: &args.arch,
        update: match &args.update {
            _ if args.locked => Update::Never,
            None => Update::Nothing,
            Some(names) if names.is_empty() => Update::All,
            Some(names) => Update::Names(names.clone()),
        },
        prune: if args.prune { Prune::Unnamed } else { Prune::Nothing },
        limit: args.max_cache.as_ref().map(|size| size.bytes()),
    };
    Ok(fetch(&request, &fetcher)?.render(args.output.format))
}

/// Where the lock says that images are, for a command line.
///
/// # Errors
/// When a lock is wanted and there is none, or it can't be understood.
pub fn way_of(args: &ImageArgs, manifest: Option<&camino::Utf8Path>) -> Result<Way> {
    way(if args.locked { Wish::Locked } else { Wish::Free }, manifest)
}

/// The images of a manifest.
pub fn images<'a>(
    way: Way,
    manifest: &'a Manifest,
    args: &'a ImageArgs,
    reporter: &'a Reporter,
    interrupt: &'a Interrupt,
) -> Images<'a> {
    let means = Means {
        policy: args.trust.policy.as_deref(),
        demand: demand(&args.trust),
        patience: patience(&args.patience),
        jobs: usize::from(args.patience.parallel.get()),
        reporter,
        interrupt,
    };
    Images::new(way, manifest, means)
}

/// The way to the registry of an image that the command line names.
///
/// # Errors
/// [`NotUnderstood`] when the image comes from none.
pub fn registry(image: &ImageRef, args: &RegistryArgs) -> Result<Registry> {
    let keys: Vec<_> = args.signed_by.iter().map(ToString::to_string).collect();
    let keys = (!keys.is_empty()).then_some(keys);
    let authfile = args.authfile.as_ref().map(ToString::to_string);
    let registry = Registry::validate(image, authfile, args.tls_verify, keys);
    registry.map_err(|error| NotUnderstood::new(error.to_string()).into())
}

fn demand(args: &TrustArgs) -> Demand {
    if args.require_signed { Demand::Signed } else { Demand::AsWritten }
}

fn patience(args: &PatienceArgs) -> Patience {
    Patience { timeout: Duration::from_secs(u64::from(args.timeout.get())), retries: args.retries }
}
