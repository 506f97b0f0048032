//! The command line of what brings images.

use camino::Utf8PathBuf;
use clap::Args;
use sysctr_core::arch::Architecture;
use sysctr_core::name::ContainerName;
use sysctr_core::settings::ByteSize;

use super::{OutputArgs, ProgressForm};

/// Where compose, plan, lint and inspect take images from.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// Take all images by the lock's digests from the cache: look up no tag, connect to nothing
    #[arg(long, conflicts_with = "image")]
    pub locked: bool,
    /// Trust.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Patience.
    #[command(flatten)]
    pub patience: PatienceArgs,
}

/// The way to the registry of an image that a command line names; a manifest says it for its own.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// Credentials for the registry of IMAGE (containers-auth.json(5)) [default: the user's own]
    #[arg(long, value_name = "FILE", requires = "image", conflicts_with = "manifest")]
    pub authfile: Option<Utf8PathBuf>,
    /// Whether the registry of IMAGE must have a valid certificate [default: true]
    #[arg(long, value_name = "BOOL", requires = "image", conflicts_with = "manifest")]
    pub tls_verify: Option<bool>,
    /// Key file whose key must have signed IMAGE; may be repeated, and one of them must
    #[arg(long, value_name = "FILE", requires = "image", conflicts_with = "manifest")]
    pub signed_by: Vec<Utf8PathBuf>,
}

/// Who may bring bytes in.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// Policy for what skopeo fetches [default: policy.json beside the manifest, then /etc/containers/policy.json]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<Utf8PathBuf>,
    /// Refuse images of which no signature was verified
    #[arg(long)]
    pub require_signed: bool,
}

/// How long fetching may take.
#[derive(Debug, Args)]
pub struct PatienceArgs {
    /// Seconds that one try to fetch an image may take
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    pub timeout: std::num::NonZeroU32,
    /// Further tries after a failure that may pass
    #[arg(long, value_name = "N", default_value = "3")]
    pub retries: u32,
    /// Images that are fetched at once
    #[arg(long, value_name = "N", default_value = "4")]
    pub parallel: std::num::NonZeroU16,
}

/// `fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// Manifest with the containers of one group (TOML; JSON if its name ends in .json)
    #[arg(short, long, value_name = "FILE")]
    pub manifest: Utf8PathBuf,
    /// Architectures to lock, as GOARCH, beyond those that the lock has
    #[arg(long, value_name = "ARCH")]
    pub arch: Vec<Architecture>,
    /// Look up the tags again and move the lock: of these containers, without a name of all
    #[arg(long, value_name = "NAME", num_args = 0..)]
    pub update: Option<Vec<ContainerName>>,
    /// Bring only what the lock has by its digests; a lock that would have to change is an error
    #[arg(long, conflicts_with_all = ["update", "arch"])]
    pub locked: bool,
    /// Remove from the cache what no lock names that was fetched into it
    #[arg(long)]
    pub prune: bool,
    /// Remove from the cache what was not used for the longest time, until it has at most this size
    #[arg(long, value_name = "SIZE")]
    pub max_cache: Option<ByteSize>,
    /// Trust.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Patience.
    #[command(flatten)]
    pub patience: PatienceArgs,
    /// Form of the progress on stderr
    #[arg(long, value_enum, default_value_t)]
    pub progress: ProgressForm,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}
