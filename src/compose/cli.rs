//! The command line as types. Parsing does nothing; [`crate::run`] gives it meaning.

pub mod fetching;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sysctr_core::arch::Architecture;
use sysctr_core::image::reference::ImageRef;
use sysctr_core::name::{ContainerName, GroupName};
use sysctr_core::settings::ByteSize;

use crate::target::branch::{Before, RefName};
use fetching::{FetchArgs, ImageArgs, RegistryArgs};

/// How an image is named, for the help.
const IMAGE_FORMS: &str = "oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], \
                           docker://REGISTRY/NAME[:TAG|@DIGEST], containers-storage:NAME, dir:DIR";

/// Embeds OCI images as system containers into a host image: the root of a system that is not booted, or an OSTree commit.
///
/// Exit status: 0 done or nothing to do, 1 not done (the target is as it was), 2 not understood (command line or
/// manifest). Results go to stdout, everything else to stderr.
#[derive(Debug, Parser)]
#[command(name = "sysctr-compose", version, long_version = long_version())]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, max_term_width = 100)]
#[command(help_expected = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do instead of composing.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// What to compose.
    #[command(flatten)]
    pub compose: ComposeArgs,
}

fn long_version() -> String {
    format!("{} (records of version {})", env!("CARGO_PKG_VERSION"), sysctr_core::record::VERSION)
}

/// The verbs. Without one, sysctr-compose composes.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show everything that a compose would add, change and remove; write nothing
    Plan(Box<ComposeArgs>),
    /// Check a manifest and its images without a target's help
    Lint(LintArgs),
    /// Show an image's labels, exports and variables
    Inspect(InspectArgs),
    /// Show what is embedded
    List(ReadArgs),
    /// Check every embedded file against its record
    Verify(VerifyArgs),
    /// Remove containers with everything that belongs to them
    Remove(RemoveArgs),
    /// Bring a manifest's images into the cache and write sysctr.lock beside it
    Fetch(FetchArgs),
    /// Print the manifest's JSON schema
    Schema,
}

/// What is looked at or changed: a root directory, or a commit of a repository.
#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = false)]
pub struct PlaceArgs {
    /// Root directory of a system that is not booted
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<Utf8PathBuf>,
    /// OSTree repository, whose commits hold root directories
    #[arg(long, value_name = "DIR", requires = "reference", group = "commits")]
    pub repo: Option<Utf8PathBuf>,
}

/// What a compose changes.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Ref or checksum of the commit that the new commit is made from
    #[arg(long, value_name = "REV", requires = "repo", conflicts_with = "sysroot")]
    pub base: Option<String>,
    /// Deploying it.
    #[command(flatten)]
    pub deploy: DeployArgs,
    /// Who must have signed the base.
    #[command(flatten)]
    pub trust: BaseTrustArgs,
    /// The new commit.
    #[command(flatten)]
    pub commit: CommitArgs,
}

/// How a new commit is deployed.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// DIR is a physical ostree sysroot that is not booted: make a new commit from what is deployed there, and deploy it
    #[arg(long, requires = "sysroot", group = "commits")]
    pub deployment: bool,
    /// Stateroot whose deployment is built on [default: that of what boots]
    #[arg(long, value_name = "NAME", requires = "deployment", alias = "os")]
    pub stateroot: Option<String>,
    /// Let the new deployment follow REF even if the one before follows a remote or an image
    #[arg(long, requires = "deployment")]
    pub detach_origin: bool,
}

/// What a new commit is called.
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// Ref that moves to the new commit; it need not exist [default with --deployment: sysctr/STATEROOT]
    #[arg(id = "reference", long = "ref", value_name = "REF", requires = "commits")]
    pub reference: Option<RefName>,
    /// Subject of the new commit
    #[arg(long, value_name = "TEXT", requires = "commits")]
    pub subject: Option<String>,
    /// Commit before the new one: none, previous (what the ref names now), or a ref or checksum
    #[arg(long, value_name = "REV", requires = "commits")]
    pub parent: Option<Before>,
    /// Who signs it.
    #[command(flatten)]
    pub sign: SignArgs,
}

/// Who signs a new commit, in the words of `ostree commit`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// Sign the new commit with this GnuPG key; may be repeated
    #[arg(long, value_name = "KEY-ID", requires = "commits")]
    pub gpg_sign: Vec<String>,
    /// GnuPG's directory with the secret key [default: GnuPG's own]
    #[arg(long, value_name = "DIR", requires = "gpg_sign")]
    pub gpg_homedir: Option<Utf8PathBuf>,
    /// Sign the new commit with the secret ed25519 keys of this file: base64, one a line
    #[arg(long, value_name = "FILE", requires = "commits")]
    pub sign_from_file: Option<Utf8PathBuf>,
}

/// Whose signatures the base must have.
#[derive(Debug, Args)]
pub struct BaseTrustArgs {
    /// Refuse a base that no GnuPG key of this file (`gpg --export`) signed
    #[arg(long, value_name = "KEYRING", requires = "commits")]
    pub verify_base_gpg: Option<Utf8PathBuf>,
    /// Refuse a base that no GnuPG key of this remote of the repository signed
    #[arg(long, value_name = "REMOTE", requires = "commits")]
    pub verify_base_remote: Option<String>,
    /// Refuse a base that no ed25519 key of this file signed: public keys in base64, one a line
    #[arg(long, value_name = "FILE", requires = "commits")]
    pub verify_base_key: Option<Utf8PathBuf>,
}

/// What `list` and `verify` look at.
#[derive(Debug, Args)]
pub struct LookArgs {
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Ref or checksum of the commit
    #[arg(id = "reference", long = "ref", value_name = "REV", requires = "repo", conflicts_with = "sysroot")]
    pub reference: Option<String>,
}

/// What `remove` changes.
#[derive(Debug, Args)]
pub struct RemoveTargetArgs {
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// The new commit.
    #[command(flatten)]
    pub commit: CommitArgs,
}

/// Which containers.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// Manifest with the containers of one group (TOML; JSON if its name ends in .json)
    #[arg(short, long, value_name = "FILE", required_unless_present = "image", conflicts_with = "image")]
    pub manifest: Option<Utf8PathBuf>,
    /// One image instead of a manifest.
    #[arg(value_name = "IMAGE", help = format!("One image instead of a manifest: {IMAGE_FORMS}"))]
    pub image: Option<ImageRef>,
    /// Name of that one container [default: from the image's name]
    #[arg(long, value_name = "NAME", requires = "image", conflicts_with = "manifest")]
    pub name: Option<ContainerName>,
    /// A value for that one container's templates
    #[arg(long, value_name = "KEY=VALUE", requires = "image", conflicts_with = "manifest")]
    #[arg(value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// The way to its registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Architecture to choose from an index, as GOARCH [default: the target's]
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<Architecture>,
}

/// What bounds a compose.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Threads that unpack
    #[arg(long, value_name = "N", default_value = "2")]
    pub jobs: std::num::NonZeroU16,
    /// Most entries that all layers of an image may have together
    #[arg(long, value_name = "N", default_value = "4000000")]
    pub max_entries: u64,
    /// Most bytes that all layers of an image may unpack to
    #[arg(long, value_name = "SIZE", default_value = "32G")]
    pub max_bytes: ByteSize,
    /// Largest window of a zstd layer, which is the memory that it needs
    #[arg(long, value_name = "SIZE", default_value = "64M")]
    pub max_window: ByteSize,
}

/// How to talk.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Form of the result on stdout
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `--format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs; docs/format.md describes it
    Json,
}

/// `--progress`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressForm {
    /// Bars on a terminal, else nothing
    #[default]
    Auto,
    /// Bars
    Bar,
    /// One JSON object a line on stderr
    Json,
    /// Nothing
    None,
}

/// Compose and plan.
#[derive(Debug, Args)]
pub struct ComposeArgs {
    /// Which target.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Which containers.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Where images come from.
    #[command(flatten)]
    pub images: ImageArgs,
    /// Put this host program (`sysctr`) into the target, with its generator link
    #[arg(long, value_name = "FILE")]
    pub add_launcher: Option<Utf8PathBuf>,
    /// Bounds.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Form of the progress on stderr
    #[arg(long, value_enum, default_value_t)]
    pub progress: ProgressForm,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `lint`.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Which containers.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Where images come from.
    #[command(flatten)]
    pub images: ImageArgs,
    /// Bounds.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The image.
    #[arg(value_name = "IMAGE", help = format!("Image: {IMAGE_FORMS}"))]
    #[arg(required_unless_present = "manifest", conflicts_with = "manifest")]
    pub image: Option<ImageRef>,
    /// The way to its registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Manifest, one of whose containers' image is shown
    #[arg(short, long, value_name = "FILE")]
    pub manifest: Option<Utf8PathBuf>,
    /// That container [default: the only one]
    #[arg(long, value_name = "NAME", requires = "manifest")]
    pub name: Option<ContainerName>,
    /// Architecture to choose, as GOARCH [default: the only one, of what is read in place]
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<Architecture>,
    /// Where images come from.
    #[command(flatten)]
    pub images: ImageArgs,
    /// Bounds.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `list`.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Which target.
    #[command(flatten)]
    pub target: LookArgs,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Containers [default: all, and the index itself]
    #[arg(value_name = "NAME")]
    pub names: Vec<ContainerName>,
    /// Which target.
    #[command(flatten)]
    pub target: LookArgs,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Containers
    #[arg(value_name = "NAME", required_unless_present_any = ["group", "launcher"])]
    pub names: Vec<ContainerName>,
    /// All containers of this group
    #[arg(long, value_name = "GROUP", conflicts_with = "names")]
    pub group: Option<GroupName>,
    /// Also the launcher that a compose added
    #[arg(long)]
    pub launcher: bool,
    /// Which target.
    #[command(flatten)]
    pub target: RemoveTargetArgs,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is not KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound_and_all_has_help() {
        super::Cli::command().debug_assert();
    }
}
