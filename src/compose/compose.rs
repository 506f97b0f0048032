//! The pipeline: what a compose is, one step a line.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use sysctr_core::arch::Architecture;
use sysctr_core::epoch::Epoch;
use sysctr_core::image::flatten::{Limits, Odd, flatten};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{Foreseen, Placement, Planned, Planner, Present};
use sysctr_core::prepare::Without;
use sysctr_core::record::Record;
use sysctr_core::settings::AbsolutePath;

use crate::destination::{Change as _, Destination, Idle};
use crate::embed::{self, Chosen, Embedded, Known};
use crate::fetch::images::{Found, Images};
use crate::ground::Seen;
use crate::launcher;
use crate::manifest::{Container, Manifest, NotUnderstood, Rest};
use crate::progress::Reporter;
use crate::relations::{self, Labels};
use crate::report::ComposeReport;
use crate::shelf::{Nowhere, Shelf};
use crate::systemd::{self, Unit, Verdict};
use crate::target::commit::Commit;
use crate::target::host_tree::{HostTree, Unkept};
use sysctr_core::interrupt::Interrupt;

/// An ELF file's header tells what it is for within these bytes (elf(5)).
const ELF_BYTES: usize = 20;

/// What a compose was asked.
pub struct Request<'a> {
    /// The containers.
    pub manifest: &'a Manifest,
    /// Where their images come from.
    pub images: &'a Images<'a>,
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

/// Embeds the manifest's containers; all or nothing.
///
/// # Errors
/// When a step fails or the user interrupts; the destination is as it was.
pub fn compose<D: Destination>(
    request: &Request<'_>,
    destination: &D,
    watch: &Watch<'_>,
) -> Result<ComposeReport> {
    decide(request, destination, |mut decision| {
        if decision.is_idle() && destination.idle() == Idle::Nothing {
            destination.keep()?;
            return decision.finish().map(|(_, report)| report.idle(None));
        }
        if let Some(earlier) = decision.stands()? {
            destination.keep()?;
            return Ok(decision.kept(earlier));
        }
        decision.foresee_owners(watch)?;
        let change = destination.begin(request.epoch)?;
        decision.embed(&change, watch)?;
        let (planned, report) = decision.finish()?;
        let written = change.commit(&planned, watch.interrupt)?;
        Ok(report.with(written))
    })
}

/// Decides the same as [`compose`] and writes nothing.
///
/// # Errors
/// When a compose would fail before it writes.
pub fn plan<D: Destination>(
    request: &Request<'_>,
    destination: &D,
    watch: &Watch<'_>,
) -> Result<ComposeReport> {
    decide(request, destination, |mut decision| {
        let moves = destination.idle() == Idle::Host;
        decision.embed(&Nowhere, watch)?;
        let (_, report) = decision.finish()?;
        Ok(ComposeReport { planned: true, changed: report.changed || moves, ..report })
    })
}

/// Begins to decide, by what the destination embeds, and goes on with `then`.
fn decide<D: Destination>(
    request: &Request<'_>,
    destination: &D,
    then: impl FnOnce(Decision<'_, D>) -> Result<ComposeReport>,
) -> Result<ComposeReport> {
    let (present, earlier) = (Present::read(destination.host())?, Earlier::of(destination));
    then(Decision::on(destination, &present, earlier.as_ref(), request)?)
}

/// What the ref names before it moves: containers in it need not be read from their images again.
struct Earlier<'a> {
    commit: &'a Commit,
    present: Present,
}

impl<'a> Earlier<'a> {
    /// Nothing if there is none; what can't be read there is read from the images.
    fn of(destination: &'a impl Destination) -> Option<Self> {
        let commit = destination.earlier()?;
        let present = Present::read(commit).ok()?;
        Some(Self { commit, present })
    }
}

/// A compose while it is decided.
struct Decision<'a, D: Destination> {
    destination: &'a D,
    planner: Planner<'a, D::Host>,
    present: &'a Present,
    earlier: Option<&'a Earlier<'a>>,
    request: &'a Request<'a>,
    /// Containers whose inputs changed, or that are new.
    chosen: Vec<Chosen<'a>>,
    /// Containers of the group that go away.
    leaving: Vec<ContainerName>,
    warnings: BTreeMap<ContainerName, Vec<String>>,
}

impl<'a, D: Destination> Decision<'a, D> {
    /// Everything that can be decided without reading a layer.
    fn on(
        destination: &'a D,
        present: &'a Present,
        earlier: Option<&'a Earlier<'a>>,
        request: &'a Request<'a>,
    ) -> Result<Self> {
        let target = destination.host();
        let architecture = architecture(target, request.architecture)?;
        let mut planner = Planner::new(target, present);
        match request.launcher {
            Some(path) => planner.put_launcher(launcher::read(path, architecture)?)?,
            None => launcher::require(target, architecture)?,
        }
        request.images.prepare(architecture)?;
        let mut chosen = Vec::new();
        let mut labels = Labels::new();
        let mut layers = None;
        for container in &request.manifest.containers {
            let choice = choose(target, request, container, architecture)?;
            planner.foresee(&container.name, &request.manifest.group, choice.clash())?;
            let known = present.embedded.containers.get(&container.name);
            labels.insert(&container.name, choice.image.config.labels.clone());
            if known.is_none_or(|known| known.inputs != choice.inputs()) {
                let there = earlier.map(|earlier| &earlier.present);
                let standing = [Some(present), there].into_iter().flatten();
                if layers.is_none() {
                    layers = destination.known_layers()?;
                }
                choice.find_layers(
                    standing.filter_map(|it| it.records.get(&container.name)),
                    layers.as_ref(),
                )?;
                chosen.push(choice);
            }
        }
        let leaving = leaving(present, request.manifest);
        leaving.iter().for_each(|name| planner.leaves(name));
        let warnings = related(target, present, &chosen, &leaving, labels)?;
        Ok(Self { destination, planner, present, earlier, request, chosen, leaving, warnings })
    }

    /// Whether the target is already what it shall be.
    fn is_idle(&self) -> bool {
        self.chosen.is_empty() && self.leaving.is_empty() && !self.planner.changes_launcher()
    }

    /// What the ref names, if that is what would be made of all this: the same base, inputs, launcher and program. Nothing of
    /// its tree is looked at but the index.
    fn stands(&self) -> Result<Option<&'a Earlier<'a>>> {
        let Some(earlier) = self.earlier else { return Ok(None) };
        let made = &earlier.present.embedded;
        let chosen = self.chosen.iter().map(|chosen| Foreseen {
            name: &chosen.container.name,
            group: chosen.group,
            inputs: chosen.inputs(),
        });
        let stands = self.planner.comes_to(made, chosen) && self.destination.is_made_with(made)?;
        Ok(stands.then_some(earlier))
    }

    /// Reads the images and decides everything about their containers.
    fn embed(&mut self, shelf: &impl Shelf, watch: &Watch<'_>) -> Result<()> {
        let host = self.destination.host();
        let mut units = Vec::new();
        for chosen in &self.chosen {
            let name = &chosen.container.name;
            let here = self.present.records.get(name);
            let target = Without { target: &Seen(host), records: &self.present.records };
            let earlier = self.earlier.map(|earlier| (earlier, Seen(earlier.commit)));
            let earlier = earlier.as_ref().and_then(|(earlier, tree)| {
                let record = earlier.present.records.get(name).filter(|record| chosen.has_root(record))?;
                let root = place::bundle(name).join(place::ROOTFS);
                // One that lost objects would hand that on to every commit after it.
                earlier.commit.holds(&root).is_ok_and(|holds| holds).then_some(())?;
                Some(embed::Earlier { record, tree, commit: earlier.commit.checksum() })
            });
            let progress = watch.reporter.of(name, watch.interrupt);
            let known = Known { here, earlier };
            let embedded = chosen.embed(self.request.limits, &target, known, shelf, &progress);
            let embedded = embedded.map_err(|error| self.request.images.explain(chosen.container, error))?;
            keepable(host, chosen, &embedded)?;
            units.extend(Unit::of(&embedded));
            self.warnings.entry(name.clone()).or_default().extend(embedded.warnings);
            self.planner.embed(embedded.draft)?;
        }
        for name in &self.leaving {
            self.planner.remove(name)?;
        }
        if let Verdict::Said(said) = systemd::judge(&units) {
            for (name, sentences) in said {
                self.warnings.entry(name).or_default().extend(sentences);
            }
        }
        Ok(())
    }

    /// Refuses owners that the destination can't write before anything is staged. That costs a reading of the layers, in a
    /// user namespace only.
    fn foresee_owners(&self, watch: &Watch<'_>) -> Result<()> {
        let Some(owners) = self.destination.narrow_owners()? else { return Ok(()) };
        // Of a root that is not embedded nothing is written.
        for chosen in self.chosen.iter().filter(|chosen| chosen.container.settings.rootfs.is_none()) {
            let name = &chosen.container.name;
            let doing = || format!("embedding container {name} from {}", chosen.container.image);
            let progress = watch.reporter.of(name, watch.interrupt);
            let store = Nowhere.store(name)?;
            let flattened = flatten(&chosen.image, self.request.limits, &store, &progress);
            flattened.and_then(|flattened| owners.tree(&flattened.tree)).with_context(doing)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(Placement, ComposeReport)> {
        let Self { planner, present, request, warnings, destination, .. } = self;
        let Planned { placement, records } = planner.finish()?;
        let report = report(request, present, &records, &placement, &warnings);
        Ok((placement, report.at(destination.whereabouts())))
    }

    /// What is told when `earlier` stays.
    fn kept(self, earlier: &Earlier<'_>) -> ComposeReport {
        let Self { present, request, warnings, destination, .. } = self;
        let report = report(request, present, &earlier.present.records, &Placement::default(), &warnings);
        report.at(destination.whereabouts()).idle(Some(earlier.commit.checksum()))
    }
}

/// What `placement` does to a target that embeds `present` and will embed `records`.
fn report(
    request: &Request<'_>,
    present: &Present,
    records: &BTreeMap<ContainerName, Record>,
    placement: &Placement,
    warnings: &BTreeMap<ContainerName, Vec<String>>,
) -> ComposeReport {
    let touched =
        |name: &ContainerName| request.manifest.containers.iter().any(|container| container.name == *name);
    let mut report = ComposeReport::new(present, records, placement, warnings, touched);
    report.tell_images(present, records, |name, signed_by| request.images.signature(name, signed_by));
    report
}

/// Refuses what this kind of host can't keep.
fn keepable(host: &dyn HostTree, chosen: &Chosen<'_>, embedded: &Embedded) -> Result<()> {
    let Some(Unkept { path, why }) = host.unkept(&embedded.draft.tree) else { return Ok(()) };
    // Links may have led the entry elsewhere; its own name stays.
    let same = |odd: &&Odd| odd.path == path || odd.path.file_name() == path.file_name();
    let layer = embedded.odd.iter().rfind(same);
    let layer = layer.map(|odd| format!("layer {}, ", odd.layer + 1)).unwrap_or_default();
    bail!(
        "embedding container {} from {}: {layer}entry {path}: {why}",
        chosen.container.name,
        chosen.container.image
    )
}

/// Holds the labels of new and changed containers against those of all that will be embedded.
fn related<'a>(
    target: &dyn HostTree,
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
    target: &dyn HostTree,
    request: &'a Request<'a>,
    container: &'a Container,
    architecture: Architecture,
) -> Result<Chosen<'a>> {
    let found = request.images.resolve(container, Some(architecture));
    let Found { image, signed_by, keys } =
        found.with_context(|| format!("resolving container {}", container.name))?;
    Ok(Chosen {
        container,
        group: &request.manifest.group,
        image,
        runtime: runtime(target, container)?,
        architecture,
        epoch: request.epoch,
        signed_by,
        keys,
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
fn architecture(target: &dyn HostTree, asked: Option<Architecture>) -> Result<Architecture> {
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
fn runtime(target: &dyn HostTree, container: &Container) -> Result<AbsolutePath> {
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
