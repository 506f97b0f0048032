//! The offline composer: `manifest → resolve images → read layers → flatten → bundle → units → placement → target`.
//!
//! [`compose`] is the story; [`run`] gives the command line its meaning.

pub mod cli;
pub mod compose;
pub mod destination;
pub mod embed;
pub mod fetch;
mod fetching;
pub mod ground;
pub mod inspect;
mod launcher;
pub mod lint;
pub mod list;
pub mod lock;
pub mod manifest;
pub mod progress;
pub mod relations;
pub mod remove;
pub mod report;
pub mod shelf;
pub mod systemd;
pub mod target;
pub mod verify;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use camino::Utf8Path;
use sysctr_core::epoch::Epoch;
use sysctr_core::image::flatten::Limits;

use cli::{
    BaseTrustArgs, Cli, CommitArgs, ComposeArgs, InspectArgs, LimitArgs, LintArgs, LookArgs, OutputArgs,
    PlaceArgs, ReadArgs, RemoveArgs, SignArgs, SourceArgs, TargetArgs, Verb, VerifyArgs,
};
use compose::{Request, Watch};
use destination::Destination;
use manifest::{Container, Manifest, NotUnderstood};
use progress::Reporter;
use remove::{Doomed, LauncherFate};
use report::{ComposeReport, Report};
use sysctr_core::interrupt::Interrupt;
use target::branch::{Base, Before, Branch, Naming, RefName};
use target::commit::{Commit, Deployments};
use target::rollout::{Origin, Rollout};
use target::signing::{PublicKeys, SecretKeys, Signers, Trust};
use target::sysroot::{Access, Sysroot};

/// Whether the program did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done, or nothing to do.
    Done,
    /// Looked, and found what must not be.
    NotDone,
}

/// Does what the command line says; gives the result for stdout.
///
/// # Errors
/// When it can't be done; [`manifest::NotUnderstood`] when it can't be understood.
pub fn run(cli: Cli) -> Result<(String, Verdict)> {
    let done = |text: String| (text, Verdict::Done);
    match cli.verb {
        None => compose_or_plan(&cli.compose, Access::Write).map(done),
        Some(Verb::Plan(args)) => compose_or_plan(&args, Access::Read).map(done),
        Some(Verb::Lint(args)) => lint(&args),
        Some(Verb::Inspect(args)) => inspect(&args).map(done),
        Some(Verb::List(args)) => list(&args).map(done),
        Some(Verb::Verify(args)) => verify(&args),
        Some(Verb::Remove(args)) => remove(&args).map(done),
        Some(Verb::Fetch(args)) => fetching::run(&args).map(done),
        Some(Verb::Schema) => {
            let schema = serde_json::to_string_pretty(&manifest::schema()).context("writing the schema")?;
            Ok(done(schema + "\n"))
        }
    }
}

fn compose_or_plan(args: &ComposeArgs, access: Access) -> Result<String> {
    let manifest = manifest(&args.source)?;
    let interrupt = Interrupt::install()?;
    let reporter = Reporter::new(args.progress);
    let watch = Watch { reporter: &reporter, interrupt: &interrupt };
    let way = fetching::way_of(&args.images, args.source.manifest.as_deref())?;
    let images = fetching::images(way, &manifest, &args.images, &reporter, &interrupt);
    let request = Request {
        manifest: &manifest,
        images: &images,
        architecture: args.source.arch,
        launcher: args.add_launcher.as_deref(),
        limits: limits(&args.limits),
        // No commit keeps time stamps, so what it embeds does not depend on one.
        epoch: Epoch::default(),
    };
    let report = match place(&args.target.place)? {
        Place::Sysroot(path) if args.target.deploy.deployment => {
            apply(&request, &rollout(path, args, access)?, access, &watch)?
        }
        Place::Sysroot(path) => {
            let request = Request { epoch: source_date()?.unwrap_or_default(), ..request };
            apply(&request, &Sysroot::open(path, access)?, access, &watch)?
        }
        Place::Repo(repo) => {
            let base = args.target.base.as_deref();
            let base = base.ok_or_else(|| NotUnderstood::new("composing into a commit: give --base REV"))?;
            let (trust, naming) = (trust(&args.target.trust)?, naming(&args.target.commit, Before::None)?);
            let branch = Branch::open(repo, Base::Rev(base), &trust, naming, jobs(&args.limits))?;
            apply(&request, &branch, access, &watch)?
        }
    };
    Ok(report.render(args.output.format))
}

fn apply(
    request: &Request<'_>,
    destination: &impl Destination,
    access: Access,
    watch: &Watch<'_>,
) -> Result<ComposeReport> {
    match access {
        Access::Write => compose::compose(request, destination, watch),
        Access::Read => compose::plan(request, destination, watch),
    }
}

/// What is deployed in a physical sysroot, to be composed on.
fn rollout(path: &Utf8Path, args: &ComposeArgs, access: Access) -> Result<Rollout> {
    let TargetArgs { deploy, trust: trusted, commit, .. } = &args.target;
    let deployments = Deployments::open(path, deploy.stateroot.as_deref(), access)?;
    let reference = match &commit.reference {
        Some(reference) => reference.clone(),
        None => format!("sysctr/{}", deployments.stateroot())
            .parse()
            .context("naming a ref after the stateroot; give --ref REF")?,
    };
    let origin = if deploy.detach_origin { Origin::Detached } else { Origin::Kept };
    let naming = called(reference, commit, Before::None)?;
    Rollout::open(deployments, origin, &trust(trusted)?, naming, jobs(&args.limits))
}

fn list(args: &ReadArgs) -> Result<String> {
    let report = match place(&args.target.place)? {
        Place::Sysroot(path) => list::list(&Sysroot::open(path, Access::Read)?)?,
        Place::Repo(repo) => list::list(&commit(repo, &args.target)?)?,
    };
    Ok(report.render(args.output.format))
}

fn verify(args: &VerifyArgs) -> Result<(String, Verdict)> {
    let interrupt = Interrupt::install()?;
    let report = match place(&args.target.place)? {
        Place::Sysroot(path) => verify::verify(&Sysroot::open(path, Access::Read)?, &args.names, &interrupt)?,
        Place::Repo(repo) => verify::verify(&commit(repo, &args.target)?, &args.names, &interrupt)?,
    };
    Ok(judged(&report, &args.output))
}

fn lint(args: &LintArgs) -> Result<(String, Verdict)> {
    let manifest = manifest(&args.source)?;
    let interrupt = Interrupt::install()?;
    let reporter = Reporter::new(cli::ProgressForm::Auto);
    let way = fetching::way_of(&args.images, args.source.manifest.as_deref())?;
    let images = fetching::images(way, &manifest, &args.images, &reporter, &interrupt);
    let request = lint::Request {
        manifest: &manifest,
        images: &images,
        architecture: args.source.arch,
        limits: limits(&args.limits),
        epoch: source_date()?.unwrap_or_default(),
    };
    let report = lint::lint(&request, &Watch { reporter: &reporter, interrupt: &interrupt })?;
    Ok(judged(&report, &args.output))
}

fn inspect(args: &InspectArgs) -> Result<String> {
    let interrupt = Interrupt::install()?;
    let reporter = Reporter::new(cli::ProgressForm::Auto);
    let (manifest, container) = inspected(args)?;
    let way = fetching::way_of(&args.images, args.manifest.as_deref())?;
    let images = fetching::images(way, &manifest, &args.images, &reporter, &interrupt);
    let request = inspect::Request {
        container: &container,
        images: &images,
        architecture: args.arch,
        limits: limits(&args.limits),
    };
    let report = inspect::inspect(&request, &Watch { reporter: &reporter, interrupt: &interrupt })?;
    Ok(report.render(args.output.format))
}

/// The container whose image is inspected, and its manifest.
fn inspected(args: &InspectArgs) -> Result<(Manifest, Container)> {
    let manifest = match (&args.manifest, &args.image) {
        (Some(path), _) => Manifest::read(path)?,
        (None, Some(image)) => {
            // Whatever the image is called, it will be no container.
            let name = "image".parse().context("naming the image")?;
            let registry = fetching::registry(image, &args.registry)?;
            Manifest::single(image.clone(), Some(name), BTreeMap::new(), registry)?
        }
        (None, None) => return Err(NotUnderstood::new("give an image, or a manifest (-m FILE)").into()),
    };
    let container = match (&args.name, &manifest.containers[..]) {
        (None, [only]) => only,
        (None, _) => return Err(NotUnderstood::new("inspecting a manifest's image: give --name NAME").into()),
        (Some(name), all) => all.iter().find(|container| container.name == *name).ok_or_else(|| {
            NotUnderstood::new(format!("inspecting {name}: the manifest has no container of that name"))
        })?,
    };
    let container = container.clone();
    Ok((manifest, container))
}

fn remove(args: &RemoveArgs) -> Result<String> {
    let interrupt = Interrupt::install()?;
    let doomed = match &args.group {
        Some(group) => Doomed::Group(group.clone()),
        None => Doomed::Names(args.names.clone()),
    };
    let launcher = if args.launcher { LauncherFate::Goes } else { LauncherFate::Stays };
    let report = match place(&args.target.place)? {
        Place::Sysroot(path) => {
            let target = Sysroot::open(path, Access::Write)?;
            remove::remove(&target, &doomed, launcher, source_date()?.unwrap_or_default(), &interrupt)?
        }
        Place::Repo(repo) => {
            let naming = naming(&args.target.commit, Before::Previous)?;
            let target = Branch::open(repo, Base::Previous, &Trust::default(), naming, 1)?;
            remove::remove(&target, &doomed, launcher, Epoch::default(), &interrupt)?
        }
    };
    Ok(report.render(args.output.format))
}

fn judged(report: &report::FindingsReport, output: &OutputArgs) -> (String, Verdict) {
    let verdict = if report.failed() { Verdict::NotDone } else { Verdict::Done };
    (report.render(output.format), verdict)
}

fn manifest(source: &SourceArgs) -> Result<Manifest> {
    match (&source.manifest, &source.image) {
        (Some(path), _) => Manifest::read(path),
        (None, Some(image)) => {
            let (name, set) = (source.name.clone(), source.set.iter().cloned().collect());
            Manifest::single(image.clone(), name, set, fetching::registry(image, &source.registry)?)
        }
        (None, None) => Err(NotUnderstood::new("give a manifest (-m FILE) or an image").into()),
    }
}

/// Where the target lies.
enum Place<'a> {
    Sysroot(&'a Utf8Path),
    Repo(&'a Utf8Path),
}

fn place(args: &PlaceArgs) -> Result<Place<'_>> {
    match (&args.sysroot, &args.repo) {
        (Some(path), None) => Ok(Place::Sysroot(path)),
        (None, Some(path)) => Ok(Place::Repo(path)),
        _ => Err(NotUnderstood::new("give one target: --sysroot DIR, or --repo DIR with --ref").into()),
    }
}

/// The commit that is looked at.
fn commit(repo: &Utf8Path, args: &LookArgs) -> Result<Commit> {
    let rev = args.reference.as_deref();
    Commit::open(repo, rev.ok_or_else(|| NotUnderstood::new("looking at a commit: give --ref REV"))?)
}

/// What the new commit is called; without `--parent`, it comes after `before`.
fn naming(args: &CommitArgs, before: Before) -> Result<Naming> {
    let reference = args.reference.clone();
    let reference = reference.ok_or_else(|| NotUnderstood::new("making a commit: give --ref REF"))?;
    called(reference, args, before)
}

fn called(reference: RefName, args: &CommitArgs, before: Before) -> Result<Naming> {
    let seconds = |epoch: Epoch| {
        let seconds = u64::try_from(epoch.seconds()).map_err(|_| {
            NotUnderstood::new("making a commit: SOURCE_DATE_EPOCH is before 1970, which no commit can say")
        })?;
        // Above the year 9999 libostree writes a commit that it can't read.
        if seconds > 253_402_300_799 {
            return Err(NotUnderstood::new("making a commit: SOURCE_DATE_EPOCH is after the year 9999"));
        }
        Ok(seconds)
    };
    Ok(Naming {
        reference,
        subject: args.subject.clone(),
        before: args.parent.clone().unwrap_or(before),
        timestamp: source_date()?.map(seconds).transpose()?,
        signers: signers(&args.sign)?,
    })
}

fn signers(args: &SignArgs) -> Result<Signers> {
    Ok(Signers {
        gpg: args.gpg_sign.clone(),
        gpg_home: args.gpg_homedir.clone(),
        ed25519: args.sign_from_file.as_deref().map(SecretKeys::read).transpose()?,
    })
}

fn trust(args: &BaseTrustArgs) -> Result<Trust> {
    Ok(Trust {
        gpg_keyring: args.verify_base_gpg.clone(),
        gpg_remote: args.verify_base_remote.clone(),
        ed25519: args.verify_base_key.as_deref().map(PublicKeys::read).transpose()?,
    })
}

fn jobs(args: &LimitArgs) -> usize {
    usize::from(args.jobs.get())
}

fn limits(args: &LimitArgs) -> Limits {
    Limits {
        jobs: jobs(args),
        max_entries: args.max_entries,
        max_bytes: args.max_bytes.bytes(),
        max_window: args.max_window.bytes(),
    }
}

/// `SOURCE_DATE_EPOCH`, if it is set.
fn source_date() -> Result<Option<Epoch>> {
    // What is no UTF-8 is no number either, and must not count as unset.
    let value = std::env::var_os("SOURCE_DATE_EPOCH").map(|value| value.to_string_lossy().into_owned());
    let read = value.map(|value| Epoch::from_variable(Some(&value))).transpose();
    read.map_err(|error| NotUnderstood::new(error.to_string()).into())
}
