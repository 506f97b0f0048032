//! `sysctr update` and `install`: image → generation → switch. Everything is made beside what runs, then switched to.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroU64;

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;
use sysctr_core::arch::Architecture;
use sysctr_core::container::Subject;
use sysctr_core::digest::Digest;
use sysctr_core::epoch::Epoch;
use sysctr_core::generation::GenerationName;
use sysctr_core::image::ResolvedImage;
use sysctr_core::image::flatten::Progress;
use sysctr_core::image::reference::{ImageRef, Transport};
use sysctr_core::name::{ContainerName, GroupName};
use sysctr_core::place;
use sysctr_core::prepare;
use sysctr_core::record::{Signer, SignerKey};
use sysctr_core::settings::{AbsolutePath, Settings};

use crate::active::decision::{Link, Why};
use crate::active::host::{self, Host};
use crate::active::{self, Active};
use crate::etc;
use crate::image::{self, Fetched, Road, Source};
use crate::make::{self, Made, Making};
use crate::progress::Reading;
use crate::pulled;
use crate::signers;
use crate::stock::{Fetching, LIMITS, NoStore, Stock};
use crate::switch::{self, Failure, Switch, Switched, To};

/// Whose the containers are that were installed here.
const GROUP: &str = "host";

/// What an update or install was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its image; none: where the last one said that updates come from.
    pub image: Option<ImageRef>,
    /// What the image must be.
    pub pin: Option<Digest>,
    /// Values over those that it has.
    pub set: BTreeMap<String, String>,
    /// What happens when it does not become healthy.
    pub failure: Failure,
    /// How its image is brought.
    pub road: Road,
    /// How far it goes.
    pub extent: Extent,
}

/// How far an update goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// To the switch.
    Whole,
    /// Its image comes, nothing is switched (`--download-only`).
    Download,
}

impl Request {
    fn source(&self, reference: ImageRef, keys: Vec<SignerKey>) -> Source {
        Source { reference, pin: self.pin, keys }
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
    /// Bytes that the store did not have before, of an image that was fetched ahead; none: none was.
    pub ahead: Option<u64>,
}

/// Brings a container to what its image is now. The caller holds the lock.
///
/// # Errors
/// When a step fails; the container is what it was before.
pub fn update(host: &Host, name: &ContainerName, request: &Request) -> Result<Updated> {
    let doing = || format!("updating container {name}");
    if request.extent == Extent::Whole {
        etc::require_writable(host).with_context(doing)?;
    }
    let wish = Wish::of(host, name, request).with_context(doing)?;
    bring(host, name, &wish, request).with_context(doing)
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
    let (given, source) = (request.set.clone(), request.source(reference, Vec::new()));
    bring(host, name, &Wish { group, settings, given, source, active: None, home: Home::Stays }, request)
        .with_context(doing)
}

/// What a container shall be.
pub struct Wish {
    /// Whose it is.
    pub group: GroupName,
    /// What its user wants.
    pub settings: Settings,
    /// Those of its values that were given on this host.
    pub given: BTreeMap<String, String>,
    /// Its image.
    pub source: Source,
    /// What it is now.
    pub active: Option<Active>,
    /// Where its next updates come from.
    pub home: Home,
}

/// Where the updates after this one come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// From where this one would have come by itself.
    Stays,
    /// From another place, which only a generation can remember.
    Moves,
}

impl Wish {
    /// What an update wants of a container.
    ///
    /// # Errors
    /// When the container is unknown or held, or nothing says where updates come from.
    pub fn of(host: &Host, name: &ContainerName, request: &Request) -> Result<Self> {
        let active = active::on(host, name)?;
        switch::require_free(host, name)?;
        let given = given(host, name, &active, &request.set)?;
        let mut settings = settings(&active, &given)?;
        let former = image::place_of_updates(settings.update.as_deref(), &active.record.image.source);
        let mut home = Home::Stays;
        let reference = match &request.image {
            // The next update looks there, too; what comes on a stick has no next one.
            Some(image) => {
                let registry = image.transport() == Transport::Docker;
                let former = former.ok();
                if registry && request.extent == Extent::Whole && former.as_ref() != Some(image) {
                    home = Home::Moves;
                }
                let next = if registry { Some(image.clone()) } else { former };
                settings.update = next.map(|image| image.to_string());
                image.clone()
            }
            None => former?,
        };
        let (group, source) = (active.record.group.clone(), request.source(reference, keys(host, &active)?));
        Ok(Self { group, settings, given, source, active: Some(active), home })
    }

    /// Whether it is that already, and nothing else stands in for it.
    pub fn is_met(&self, config: &Digest) -> bool {
        let origin = prepare::origin(config, &self.settings);
        let is_it =
            |active: &Active| active.record.origin == origin && !matches!(active.why, Why::Unusable(_));
        self.home == Home::Stays && self.active.as_ref().is_some_and(is_it)
    }

    /// The container as this generation of it would be.
    pub fn subject<'a>(
        &'a self,
        name: &'a ContainerName,
        (image, signed_by): (&'a ResolvedImage, &'a [Signer]),
        generation: &GenerationName,
        runtime: &'a AbsolutePath,
        architecture: Architecture,
    ) -> Subject<'a> {
        Subject {
            name,
            group: &self.group,
            settings: &self.settings,
            reference: &self.source.reference,
            image,
            bundle: generation.bundle(),
            runtime,
            architecture,
            epoch: Epoch::default(),
            signed_by,
            keys: &self.source.keys,
        }
    }

    /// Whether it is that already by what a registry's tag names now, before anything is fetched.
    fn seems_met(&self, road: &Road, scratch: &Utf8Path) -> bool {
        let Some(image) = self.active.as_ref().map(|active| &active.record.image) else { return false };
        self.is_met(&image.config)
            && image::peek(&self.source, road, scratch)
                .is_some_and(|digest| [image.index, image.manifest].contains(&Some(digest)))
    }
}

fn bring(host: &Host, name: &ContainerName, wish: &Wish, request: &Request) -> Result<Updated> {
    let fetching = Fetching::new(host)?;
    let mut updated = Updated { name: name.clone(), made: None, fetched: 0, ahead: None };
    if wish.seems_met(&request.road, &fetching.dir) {
        return Ok(updated);
    }
    let stock = Stock::open(host, &request.road, &fetching, NoStore::IsMade)?;
    let pulled = match request.extent {
        Extent::Whole => BTreeMap::new(),
        Extent::Download => pulled::all(host)?,
    };
    let here = Cell::new(false);
    let enough = |image: &ResolvedImage| {
        let config = image.config_document.digest;
        let met = wish.is_met(&config);
        here.set(!met && request.extent == Extent::Download && pulled.contains_key(&config));
        if !met && request.extent == Extent::Whole {
            // Before its layers are fetched for nothing.
            switch::require_unmasked(name)?;
        }
        Ok(met || here.get())
    };
    let heard = Reading::of(request.road.progress, name.as_str(), &request.road.interrupt);
    if request.extent == Extent::Download {
        let store = |fetched: &Fetched| pulled::store(&stock, &wish.source.reference, &fetched.image, &heard);
        (updated.ahead, updated.fetched) = stock.with_image(&wish.source, &fetching, enough, store)?;
        updated.ahead = updated.ahead.or(here.get().then_some(0));
        return Ok(updated);
    }
    let make = |fetched: &Fetched| make(&stock, name, wish, fetched, &heard);
    let (made, fetched) = stock.with_image(&wish.source, &fetching, enough, make)?;
    updated.fetched = fetched;
    let Some(made) = made else { return Ok(updated) };
    drop(fetching);
    let switch = Switch { host, name, failure: request.failure, interrupt: &request.road.interrupt };
    let to = To::Generation(made.name.number);
    let config = made.config;
    updated.made = Some((made, switch.to(to)?));
    // It is the generation's from now on. One that stays is pruned some day.
    pulled::forget(host, &stock.store, &config).unwrap_or_default();
    Ok(updated)
}

/// Makes the generation.
fn make(
    stock: &Stock<'_>,
    name: &ContainerName,
    wish: &Wish,
    fetched: &Fetched,
    progress: &impl Progress,
) -> Result<Made> {
    let image = &fetched.image;
    image.find_layers(|diff_id| stock.has(diff_id))?;
    let host = stock.host;
    let runtime = host.runtime(&wish.settings.runtime)?;
    let generation = make::next(host, name)?;
    let subject = wish.subject(name, (image, &fetched.signed_by), &generation, &runtime, stock.architecture);
    let embedded = host.embedded(name)?;
    let making = Making {
        host,
        store: &stock.store,
        label: stock.label(),
        shipped: stock.shipped(image),
        embedded: embedded.as_ref(),
        name: &generation,
        set: &wish.given,
        limits: LIMITS,
    };
    let mut made = making.make(&subject, progress)?;
    if wish.active.as_ref().is_some_and(|active| !active.record.image.signed_by.is_empty())
        && fetched.signed_by.is_empty()
    {
        made.warnings.push(UNSIGNED.to_owned());
    }
    Ok(made)
}

/// Of an update from an archive, and of one whose signers the manifest did not name.
const UNSIGNED: &str =
    "what it was before was signed; of this nobody's signature was demanded but by this host's policy.json";

/// What signatures the host image demands now, whatever is active; of what it does not embed, the active one's own.
fn keys(host: &Host, active: &Active) -> Result<Vec<SignerKey>> {
    let name = &active.record.name;
    match host.embedded(name)? {
        Some(embedded) => signers::of(&host.embedded_bundle(name), &embedded),
        None => signers::of(&active.bundle, &active.record),
    }
}

/// The values that were given on this host up to now: they stay when an update of the host superseded the generation that has them.
fn given(
    host: &Host,
    name: &ContainerName,
    active: &Active,
    now: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let last = match &active.why {
        Why::Superseded(number) => Some(*number),
        Why::Unusable(_) => described(host, name),
        _ => active.generation,
    };
    let mut given = BTreeMap::new();
    if let Some(number) = last {
        let described = host.described(&GenerationName::new(name, number));
        let (generation, _) = described.map_err(|why| anyhow::anyhow!("{why}"))?;
        given = generation.set;
    }
    given.extend(now.clone());
    Ok(given)
}

/// What was switched to and can't be used, if `/etc` still describes it.
fn described(host: &Host, name: &ContainerName) -> Option<NonZeroU64> {
    let number = match host.link(name) {
        Link::To(number) => Some(number),
        Link::Absent | Link::Unreadable(_) => None,
    };
    let known = number.filter(|number| host.described(&GenerationName::new(name, *number)).is_ok());
    if known.is_none() {
        eprintln!(
            "sysctr: which values were given to container {name} on this host can't be read, so those of the host image count; --set \
             gives them again"
        );
    }
    known
}

/// The settings that the active one was made with, and these values over its own. Defaults of the image are evaluated anew.
fn settings(active: &Active, set: &BTreeMap<String, String>) -> Result<Settings> {
    let path = active.bundle.join(place::SETTINGS_JSON);
    let bytes = host::read(&path)?.with_context(|| format!("reading {path}: there is none"))?;
    let mut settings: Settings = serde_json::from_slice(&bytes).with_context(|| format!("reading {path}"))?;
    settings.set.extend(set.clone());
    Ok(settings)
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(all: &[Updated]) -> serde_json::Value {
    let one = |updated: &Updated| {
        let made = updated.made.as_ref();
        serde_json::json!({
            "name": updated.name,
            "generation": made.map(|(made, _)| made.name.number),
            "running": made.map(|(_, switched)| *switched == Switched::Running),
            "downloaded": updated.ahead.is_some(),
            "fetched_bytes": updated.fetched,
            "stored_bytes": made.map_or(0, |(made, _)| made.stored) + updated.ahead.unwrap_or(0),
            "warnings": made.map(|(made, _)| made.warnings.clone()).unwrap_or_default(),
        })
    };
    serde_json::json!({ "format": 1, "containers": all.iter().map(one).collect::<serde_json::Value>() })
}

/// For people.
pub fn text(all: &[Updated]) -> String {
    let one = |updated: &Updated| match &updated.made {
        None if updated.ahead.is_some() => format!("{}: its update is here\n", updated.name),
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
