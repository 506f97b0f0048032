//! `sysctr update` and `install`: image → generation → switch. Everything is made beside what runs, then switched to.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use sysctr_core::arch::Architecture;
use sysctr_core::container::Subject;
use sysctr_core::digest::Digest;
use sysctr_core::epoch::Epoch;
use sysctr_core::generation::GenerationName;
use sysctr_core::image::ResolvedImage;
use sysctr_core::image::flatten::{Lacking, Limits, Progress};
use sysctr_core::image::reference::{ImageRef, Transport};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::{ContainerName, GroupName};
use sysctr_core::place;
use sysctr_core::placement::Policy;
use sysctr_core::prepare;
use sysctr_core::settings::Settings;
use sysctr_core::store::layers::KnownLayers;
use sysctr_core::store::own_repo::OwnRepo;

use crate::active::decision::{Hold, Why};
use crate::active::host::{self, Host};
use crate::active::{self, Active};
use crate::durable;
use crate::etc;
use crate::image::{self, KnownBlobs, Source};
use crate::make::{self, FETCHED, Made, Making};
use crate::switch::{Failure, Switch, Switched, To};

/// Whose the containers are that were installed here.
const GROUP: &str = "host";

/// What an update or install was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its image; none: where the last one said that updates come from.
    pub image: Option<ImageRef>,
    /// What the image must be.
    pub pin: Option<Digest>,
    /// Passwords of registries.
    pub authfile: Option<Utf8PathBuf>,
    /// Values over those that it has.
    pub set: BTreeMap<String, String>,
    /// What happens when it does not become healthy.
    pub failure: Failure,
    /// The user's wish to stop.
    pub interrupt: Interrupt,
}

impl Request {
    fn source(&self, reference: ImageRef) -> Source {
        Source { reference, pin: self.pin, authfile: self.authfile.clone() }
    }
}

/// What became of one container.
#[derive(Debug)]
pub struct Updated {
    /// The container.
    pub name: ContainerName,
    /// Its new generation; none: it was what it should be.
    pub made: Option<(Made, Switched)>,
    /// Bytes of blobs that were fetched.
    pub fetched: u64,
}

/// Brings a container to what its image is now. The caller holds the lock.
///
/// # Errors
/// When a step fails; the container is what it was before.
pub fn update(host: &Host, name: &ContainerName, request: &Request) -> Result<Updated> {
    let doing = || format!("updating container {name}");
    etc::require_writable(host).with_context(doing)?;
    let active = active::on(host, name).with_context(doing)?;
    free(host, name, &active).with_context(doing)?;
    let mut settings = settings(&active, &request.set).with_context(doing)?;
    let former = image::place_of_updates(settings.update.as_deref(), &active.record.image.source);
    let reference = match &request.image {
        // The next update looks there, too; what comes on a stick has no next one.
        Some(image) => {
            let registry = image.transport() == Transport::Docker;
            let next = if registry { Some(image.clone()) } else { former.ok() };
            settings.update = next.map(|image| image.to_string());
            image.clone()
        }
        None => former.with_context(doing)?,
    };
    let group = active.record.group.clone();
    let source = request.source(reference);
    bring(host, name, &Wish { group, settings, source, active: Some(active) }, request).with_context(doing)
}

/// Makes a container that this host does not have. The caller holds the lock.
///
/// # Errors
/// When it has one of that name, or a step fails; nothing of it is left then.
pub fn install(host: &Host, name: &ContainerName, settings: Settings, request: &Request) -> Result<Updated> {
    let doing = || format!("installing container {name}");
    etc::require_writable(host).with_context(doing)?;
    if host.embedded(name).with_context(doing)?.is_some()
        || !host.numbers(name).with_context(doing)?.is_empty()
    {
        bail!("{}: this host has one of that name; `sysctr update {name} --image …` changes it", doing());
    }
    let Some(reference) = request.image.clone() else { bail!("{}: no image was named", doing()) };
    let group: GroupName = GROUP.parse().context("naming the group of what is installed")?;
    let mut settings = settings;
    settings.set.extend(request.set.clone());
    let source = request.source(reference);
    bring(host, name, &Wish { group, settings, source, active: None }, request).with_context(doing)
}

/// What a container shall be.
struct Wish {
    group: GroupName,
    settings: Settings,
    source: Source,
    /// What it is now.
    active: Option<Active>,
}

impl Wish {
    /// Whether it is that already.
    fn is_met(&self, config: &Digest) -> bool {
        let origin = prepare::origin(config, &self.settings);
        self.active.as_ref().is_some_and(|active| active.record.origin == origin)
    }

    /// The same by what a registry's tag names now, before anything is fetched.
    fn seems_met(&self, scratch: &Utf8Path, interrupt: &Interrupt) -> bool {
        let Some(image) = self.active.as_ref().map(|active| &active.record.image) else { return false };
        self.is_met(&image.config)
            && image::peek(&self.source, scratch, interrupt)
                .is_some_and(|digest| [image.index, image.manifest].contains(&Some(digest)))
    }
}

fn bring(host: &Host, name: &ContainerName, wish: &Wish, request: &Request) -> Result<Updated> {
    let fetching = Fetching::new(host)?;
    let mut updated = Updated { name: name.clone(), made: None, fetched: 0 };
    if wish.seems_met(&fetching.dir, &request.interrupt) {
        return Ok(updated);
    }
    let bench = Bench {
        host,
        name,
        store: OwnRepo::open_or_make(&host.generations_dir().join(place::STORE))?,
        policy: Policy::read(host)?,
        architecture: host.architecture()?,
        interrupt: &request.interrupt,
    };
    let mut known = bench.known_blobs()?;
    let made = loop {
        fetching.renew()?;
        let fetched = image::fetch(&wish.source, bench.architecture, &known, &fetching.dir, bench.interrupt)?;
        updated.fetched += fetched.bytes;
        if wish.is_met(&fetched.image.config_document.digest) {
            return Ok(updated);
        }
        match bench.make(wish, &fetched.image) {
            // What the store knows of a layer is less than what this image shows of it.
            Err(error) if !known.is_empty() && error.is::<Lacking>() => known.clear(),
            made => break made?,
        }
    };
    drop(fetching);
    let switch = Switch { host, name, failure: request.failure, interrupt: &request.interrupt };
    let to = To::Generation(made.name.number);
    updated.made = Some((made, switch.to(to)?));
    Ok(updated)
}

/// What generations of one container are made with.
struct Bench<'a> {
    host: &'a Host,
    name: &'a ContainerName,
    store: OwnRepo,
    /// The host's SELinux policy.
    policy: Option<Policy>,
    architecture: Architecture,
    interrupt: &'a Interrupt,
}

impl Bench<'_> {
    fn label(&self) -> Option<&[u8]> {
        self.policy.as_ref().map(|policy| policy.roots().as_bytes())
    }

    fn layers(&self) -> KnownLayers<'_> {
        KnownLayers::new(self.store.dir().as_fd(), self.label())
    }

    /// Blobs of what this host has, whose layers the store knows.
    fn known_blobs(&self) -> Result<KnownBlobs> {
        let layers = self.layers();
        let mut known = KnownBlobs::new();
        for number in self.host.numbers(self.name)? {
            // What can't be read makes nothing known.
            let Ok(opened) = self.host.generation(&GenerationName::new(self.name, number)) else { continue };
            let Some(manifest) = host::read(&opened.bundle.join(place::IMAGE_MANIFEST))? else { continue };
            let pairs = layer_digests(&manifest).into_iter().zip(&opened.record.image.diff_ids);
            known.extend(pairs.filter(|(_, diff_id)| layers.has(diff_id)).map(|(digest, _)| digest));
        }
        Ok(known)
    }

    /// Makes the generation.
    fn make(&self, wish: &Wish, image: &ResolvedImage) -> Result<Made> {
        let layers = self.layers();
        image.find_layers(|diff_id| layers.has(diff_id))?;
        let Self { host, name, .. } = *self;
        let runtime = host.runtime(&wish.settings.runtime)?;
        let generation = make::next(host, name)?;
        let subject = Subject {
            name,
            group: &wish.group,
            settings: &wish.settings,
            reference: &wish.source.reference,
            image,
            bundle: generation.bundle(),
            runtime: &runtime,
            architecture: self.architecture,
            epoch: Epoch::default(),
            signed_by: &[],
        };
        let embedded = host.embedded(name)?;
        let making = Making {
            host,
            store: &self.store,
            label: self.label(),
            embedded: embedded.as_ref(),
            name: &generation,
            limits: LIMITS,
        };
        let mut made = making.make(&subject, &Heard(self.interrupt))?;
        if wish.active.as_ref().is_some_and(|active| !active.record.image.signed_by.is_empty()) {
            made.warnings.push(
                "what it was before was signed when the host image was composed; of updates only this host's policy.json \
                 demands signatures"
                    .to_owned(),
            );
        }
        Ok(made)
    }
}

/// A directory for what is being fetched, closed to others; it goes when this is dropped.
struct Fetching {
    dir: Utf8PathBuf,
}

impl Fetching {
    fn new(host: &Host) -> Result<Self> {
        let fetching = Self { dir: host.generations_dir().join(FETCHED) };
        fetching.renew()?;
        Ok(fetching)
    }

    /// Empties it.
    fn renew(&self) -> Result<()> {
        durable::clear(&self.dir)?;
        let made = std::fs::DirBuilder::new().mode(0o700).create(&self.dir);
        made.with_context(|| format!("making directory {}", self.dir))
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        // There is nobody to tell; what is left is cleared by the next program.
        durable::clear(&self.dir).unwrap_or_default();
    }
}

/// A held container stays what it is.
fn free(host: &Host, name: &ContainerName, active: &Active) -> Result<()> {
    let Some(number) = active.generation else { return Ok(()) };
    let generation = GenerationName::new(name, number);
    let known = host.described(&generation).map(|(_, known)| known);
    if active.why == Why::Held || known.is_ok_and(|known| known.hold == Hold::Held) {
        bail!("it is held at {generation}; `sysctr unhold {name}` lets it go");
    }
    Ok(())
}

/// The settings that the active one was made with, and these values over its own. Defaults of the image are evaluated anew.
fn settings(active: &Active, set: &BTreeMap<String, String>) -> Result<Settings> {
    let path = active.bundle.join(place::SETTINGS_JSON);
    let bytes = host::read(&path)?.with_context(|| format!("reading {path}: there is none"))?;
    let mut settings: Settings = serde_json::from_slice(&bytes).with_context(|| format!("reading {path}"))?;
    settings.set.extend(set.clone());
    Ok(settings)
}

/// The bounds of an image that a compose has by default, too.
const LIMITS: Limits = Limits { jobs: 2, max_entries: 4_000_000, max_bytes: 32 << 30, max_window: 64 << 20 };

/// Digests of the blobs that an image manifest names; a digest that is not sha256 ends the list.
fn layer_digests(manifest: &[u8]) -> Vec<Digest> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap_or_default();
    let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    layers.iter().map_while(|layer| layer["digest"].as_str()?.parse().ok()).collect()
}

/// Hears nothing but the user's wish to stop.
struct Heard<'a>(&'a Interrupt);

impl Progress for Heard<'_> {
    fn layer(&self, _: usize, _: usize, _: u64) {}

    fn advance(&self, _: usize, _: u64) -> Result<()> {
        Ok(self.0.check()?)
    }

    fn done(&self, _: usize) {}
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(all: &[Updated]) -> serde_json::Value {
    let one = |updated: &Updated| {
        let made = updated.made.as_ref();
        serde_json::json!({
            "name": updated.name,
            "generation": made.map(|(made, _)| made.name.number),
            "running": made.map(|(_, switched)| *switched == Switched::Running),
            "fetched_bytes": updated.fetched,
            "stored_bytes": made.map_or(0, |(made, _)| made.stored),
            "warnings": made.map(|(made, _)| made.warnings.clone()).unwrap_or_default(),
        })
    };
    serde_json::json!({ "format": 1, "containers": all.iter().map(one).collect::<serde_json::Value>() })
}

/// For people.
pub fn text(all: &[Updated]) -> String {
    let one = |updated: &Updated| match &updated.made {
        None => format!("{}: nothing to change\n", updated.name),
        Some((made, switched)) => {
            let warnings = made.warnings.iter().map(|warning| format!("  warning: {warning}\n"));
            let state = match switched {
                Switched::Running => "runs",
                Switched::AtNextStart => "is what the next start runs",
            };
            format!("{}: {} {state}\n{}", updated.name, made.name, warnings.collect::<String>())
        }
    };
    all.iter().map(one).collect()
}
