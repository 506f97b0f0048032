//! The offline composer: `manifest → resolve images → read layers → flatten → bundle → units → placement → target`.
//!
//! [`compose`] is the story; [`run`] gives the command line its meaning.

pub mod cli;
pub mod compose;
pub mod embed;
pub mod ground;
pub mod inspect;
pub mod interrupt;
mod launcher;
pub mod lint;
pub mod list;
pub mod manifest;
pub mod progress;
pub mod relations;
pub mod remove;
pub mod report;
pub mod shelf;
pub mod target;
pub mod verify;

use anyhow::{Context, Result};
use camino::Utf8Path;
use sysctr_core::epoch::Epoch;
use sysctr_core::image::flatten::Limits;

use cli::{
    Cli, ComposeArgs, InspectArgs, LimitArgs, LintArgs, OutputArgs, RemoveArgs, SourceArgs, TargetArgs, Verb,
};
use compose::{Request, Watch};
use interrupt::Interrupt;
use manifest::{Manifest, NotUnderstood};
use progress::Reporter;
use remove::{Doomed, LauncherFate};
use report::Report;
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
        Some(Verb::List(args)) => {
            Ok(done(list::list(&open(&args.target, Access::Read)?)?.render(args.output.format)))
        }
        Some(Verb::Verify(args)) => {
            let interrupt = Interrupt::install()?;
            let report = verify::verify(&open(&args.target, Access::Read)?, &args.names, &interrupt)?;
            Ok(judged(&report, &args.output))
        }
        Some(Verb::Remove(args)) => remove(&args).map(done),
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
    let request = Request {
        manifest: &manifest,
        architecture: args.source.arch,
        launcher: args.add_launcher.as_deref(),
        limits: limits(&args.limits),
        epoch: epoch()?,
    };
    let target = open(&args.target, access)?;
    let report = match access {
        Access::Write => compose::compose(&request, &target, &watch)?,
        Access::Read => compose::plan(&request, &target, &watch)?,
    };
    Ok(report.render(args.output.format))
}

fn lint(args: &LintArgs) -> Result<(String, Verdict)> {
    let manifest = manifest(&args.source)?;
    let interrupt = Interrupt::install()?;
    let reporter = Reporter::new(cli::ProgressForm::Auto);
    let request = lint::Request {
        manifest: &manifest,
        architecture: args.source.arch,
        limits: limits(&args.limits),
        epoch: epoch()?,
    };
    let report = lint::lint(&request, &Watch { reporter: &reporter, interrupt: &interrupt })?;
    Ok(judged(&report, &args.output))
}

fn inspect(args: &InspectArgs) -> Result<String> {
    let interrupt = Interrupt::install()?;
    let reporter = Reporter::new(cli::ProgressForm::Auto);
    let watch = Watch { reporter: &reporter, interrupt: &interrupt };
    let report = inspect::inspect(&args.image, args.arch, limits(&args.limits), &watch)?;
    Ok(report.render(args.output.format))
}

fn remove(args: &RemoveArgs) -> Result<String> {
    let interrupt = Interrupt::install()?;
    let doomed = match &args.group {
        Some(group) => Doomed::Group(group.clone()),
        None => Doomed::Names(args.names.clone()),
    };
    let launcher = if args.launcher { LauncherFate::Goes } else { LauncherFate::Stays };
    let target = open(&args.target, Access::Write)?;
    let report = remove::remove(&target, &doomed, launcher, epoch()?, &interrupt)?;
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
            Manifest::single(image.clone(), source.name.clone(), source.set.iter().cloned().collect())
        }
        (None, None) => Err(NotUnderstood::new("give a manifest (-m FILE) or an image").into()),
    }
}

fn open(target: &TargetArgs, access: Access) -> Result<Sysroot> {
    let path: &Utf8Path =
        target.sysroot.as_deref().ok_or_else(|| NotUnderstood::new("give a target (--sysroot DIR)"))?;
    Sysroot::open(path, access)
}

fn limits(args: &LimitArgs) -> Limits {
    Limits {
        jobs: usize::from(args.jobs.get()),
        max_entries: args.max_entries,
        max_bytes: args.max_bytes.bytes(),
        max_window: args.max_window.bytes(),
    }
}

fn epoch() -> Result<Epoch> {
    // What is no UTF-8 is no number either, and must not count as unset.
    let value = std::env::var_os("SOURCE_DATE_EPOCH").map(|value| value.to_string_lossy().into_owned());
    Epoch::from_variable(value.as_deref()).map_err(|error| NotUnderstood::new(error.to_string()).into())
}
