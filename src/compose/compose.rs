//! The pipeline: what a compose is, one step a line.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use sysctr_core::arch::Architecture;
use sysctr_core::epoch::Epoch;
use sysctr_core::image::flatten::{Limits, flatten};
use sysctr_core::image::{self, Wanted};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{Ground as _, Placement, Planned, Planner, Present};
use sysctr_core::settings::AbsolutePath;

use crate::embed::Chosen;
use crate::ground::Without;
use crate::interrupt::Interrupt;
use crate::launcher;
use crate::manifest::{Container, Manifest, NotUnderstood, Rest};
use crate::progress::Reporter;
use crate::relations::{self, Labels};
use crate::report::ComposeReport;
use crate::shelf::{Nowhere, Shelf};
use crate::target::sysroot::{NarrowOwners, Sysroot};

/// An ELF file's header tells what it is for within these bytes (elf(5)).
const ELF_BYTES: usize = 20;

/// What a compose was asked.
#[derive(Debug)]
pub struct Request<'a> {
    /// The containers.
    pub manifest: &'a Manifest,
    /// The architecture, if the user named one.
    pub architecture: Option<Architecture>,
    /// The launcher to add, if the user gave one.
    pub launcher: Option<&'a Utf8Path>,
    /// Bounds.
    pub limits: Limits,
    /// The time stamp of what no image names.
    pub epoch: Epoch,
}

/// Where a compose reports its progress, and who may stop it.
pub struct Watch<'a> {
    /// Progress.
    pub reporter: &'a Reporter,
    /// The user's wish to stop.
    pub interrupt: &'a Interrupt,
}

/// Embeds the manifest's containers into the target; all or nothing.
///
/// # Errors
/// When a step fails or the user interrupts; the target is as it was.
pub fn compose(request: &Request<'_>, target: &Sysroot, watch: &Watch<'_>) -> Result<ComposeReport> {
    let present = Present::read(target)?;
    let mut decision = Decision::on(target, &present, request)?;
    if decision.is_idle() {
        return decision.report();
    }
    decision.foresee_owners(watch)?;
    let staging = target.begin(request.epoch)?;
    decision.embed(&staging, watch)?;
    let (planned, report) = decision.finish()?;
    staging.commit(&planned, watch.interrupt)?;
    Ok(report)
}

/// Decides the same as [`compose`] and writes nothing.
///
/// # Errors
/// When a compose would fail before it writes.
pub fn plan(request: &Request<'_>, target: &Sysroot, watch: &Watch<'_>) -> Result<ComposeReport> {
    let present = Present::read(target)?;
    let mut decision = Decision::on(target, &present, request)?;
    decision.embed(&Nowhere, watch)?;
    let (_, report) = decision.finish()?;
    Ok(ComposeReport { planned: true, ..report })
}

/// A compose while it is decided.
struct Decision<'a> {
    target: &'a Sysroot,
    planner: Planner<'a, Sysroot>,
    present: &'a Present,
    request: &'a Request<'a>,
    /// Containers whose inputs changed, or that are new.
    chosen: Vec<Chosen<'a>>,
    /// Containers of the group that go away.
    leaving: Vec<ContainerName>,
    warnings: BTreeMap<ContainerName, Vec<String>>,
}

impl<'a> Decision<'a> {
    /// Everything that can be decided without reading a layer.
    fn on(target: &'a Sysroot, present: &'a Present, request: &'a Request<'a>) -> Result<Self> {
        let architecture = architecture(target, request.architecture)?;
        let mut planner = Planner::new(target, present);
        match request.launcher {
            Some(path) => planner.put_launcher(launcher::read(path, architecture)?)?,
            None => launcher::require(target, architecture)?,
        }
        let mut chosen = Vec::new();
        let mut labels = Labels::new();
        for container in &request.manifest.containers {
            let choice = choose(target, request, container, architecture)?;
            planner.foresee(&container.name, &request.manifest.group, choice.clash())?;
            let known = present.embedded.containers.get(&container.name);
            labels.insert(&container.name, choice.image.config.labels.clone());
            if known.is_none_or(|known| known.inputs != choice.inputs()) {
                chosen.push(choice);
            }
        }
        let leaving = leaving(present, request.manifest);
        let warnings = related(target, present, &chosen, &leaving, labels)?;
        Ok(Self { target, planner, present, request, chosen, leaving, warnings })
    }

    /// Whether the target is already what it shall be.
    fn is_idle(&self) -> bool {
        self.chosen.is_empty() && self.leaving.is_empty() && !self.planner.changes_launcher()
    }

    /// Reads the images and decides everything about their containers.
    fn embed(&mut self, shelf: &impl Shelf, watch: &Watch<'_>) -> Result<()> {
        for chosen in &self.chosen {
            let name = &chosen.container.name;
            let progress = watch.reporter.of(name, watch.interrupt);
            let target = Without { sysroot: self.target, own: self.present.records.get(name) };
            let embedded = chosen.embed(self.request.limits, &target, shelf, &progress)?;
            self.warnings.entry(name.clone()).or_default().extend(embedded.warnings);
            self.planner.embed(embedded.draft)?;
        }
        for name in &self.leaving {
            self.planner.remove(name)?;
        }
        Ok(())
    }

    /// Refuses owners that a user namespace lacks before anything is staged. That costs a reading of the layers, there
    /// only.
    fn foresee_owners(&self, watch: &Watch<'_>) -> Result<()> {
        let Some(owners) = NarrowOwners::read()? else { return Ok(()) };
        for chosen in &self.chosen {
            let name = &chosen.container.name;
            let doing = || format!("embedding container {name} from {}", chosen.container.image);
            let progress = watch.reporter.of(name, watch.interrupt);
            let store = Nowhere.store(name)?;
            let flattened = flatten(&chosen.image, self.request.limits, &store, &progress);
            flattened.and_then(|flattened| owners.tree(&flattened.tree)).with_context(doing)?;
        }
        Ok(())
    }

    fn report(self) -> Result<ComposeReport> {
        self.finish().map(|(_, report)| report)
    }

    fn finish(self) -> Result<(Placement, ComposeReport)> {
        let Planned { placement, records } = self.planner.finish()?;
        let touched = |name: &ContainerName| {
            self.request.manifest.containers.iter().any(|container| container.name == *name)
        };
        let report = ComposeReport::new(self.present, &records, &placement, &self.warnings, touched);
        Ok((placement, report))
    }
}

/// Holds the labels of new and changed containers against those of all that will be embedded.
fn related<'a>(
    target: &Sysroot,
    present: &'a Present,
    chosen: &[Chosen<'a>],
    leaving: &[ContainerName],
    mut labels: Labels<'a>,
) -> Result<BTreeMap<ContainerName, Vec<String>>> {
    for name in present.records.keys().filter(|name| !leaving.contains(name)) {
        if !labels.contains_key(name) {
            labels.insert(name, relations::embedded(target, name)?);
        }
    }
    let names = chosen.iter().map(|chosen| &chosen.container.name);
    names.map(|name| Ok((name.clone(), relations::check(name, &labels)?))).collect()
}

/// Resolves one container's image and runtime.
fn choose<'a>(
    target: &Sysroot,
    request: &'a Request<'a>,
    container: &'a Container,
    architecture: Architecture,
) -> Result<Chosen<'a>> {
    let wanted = Wanted {
        reference: &container.image,
        base: &request.manifest.base,
        architecture: Some(architecture),
        pin: container.pin,
    };
    let image = image::resolve(&wanted).with_context(|| format!("resolving container {}", container.name))?;
    Ok(Chosen {
        container,
        group: &request.manifest.group,
        image,
        runtime: runtime(target, container)?,
        architecture,
        epoch: request.epoch,
    })
}

/// The embedded containers of the manifest's group that it does not name.
fn leaving(present: &Present, manifest: &Manifest) -> Vec<ContainerName> {
    if manifest.rest == Rest::Keep {
        return Vec::new();
    }
    let wanted = |name: &ContainerName| manifest.containers.iter().any(|container| container.name == *name);
    let members = present.embedded.containers.iter().filter(|(_, entry)| entry.group == manifest.group);
    members.map(|(name, _)| name).filter(|name| !wanted(name)).cloned().collect()
}

/// The architecture that the target is for: systemd's. Never the builder's.
fn architecture(target: &Sysroot, asked: Option<Architecture>) -> Result<Architecture> {
    let systemd = target.head(place::SYSTEMD.as_ref(), ELF_BYTES)?;
    match (systemd.as_deref().and_then(Architecture::of_elf), asked) {
        (Some(found), Some(asked)) if found != asked => {
            bail!("composing for {asked}: /{} of the target is for {found}", place::SYSTEMD)
        }
        (Some(found), _) => Ok(found),
        (None, Some(asked)) => Ok(asked),
        (None, None) => Err(NotUnderstood::new(format!(
            "finding the target's architecture: it has no /{} that tells; give --arch",
            place::SYSTEMD
        ))
        .into()),
    }
}

/// The OCI runtime's path on the host: a name is looked up where systemd would, a path must be there.
fn runtime(target: &Sysroot, container: &Container) -> Result<AbsolutePath> {
    let asked = &container.settings.runtime;
    let candidates = if asked.starts_with('/') {
        vec![asked.clone()]
    } else {
        ["/usr/bin", "/usr/sbin"].iter().map(|dir| format!("{dir}/{asked}")).collect()
    };
    for candidate in &candidates {
        if target.is_program(Utf8Path::new(candidate.trim_start_matches('/')))? {
            return AbsolutePath::try_from(candidate.clone())
                .with_context(|| format!("looking for the runtime of container {}", container.name));
        }
    }
    bail!(
        "looking for the runtime of container {}: the target has no program {}; \
         install it there, or name another with `runtime`",
        container.name,
        candidates.join(" or ")
    )
}
