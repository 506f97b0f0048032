//! `sysctr images`: what the store holds, whose it is, and whether it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use camino::Utf8PathBuf;
use serde_json::{Value, json};
use sysctr_core::digest::Digest;
use sysctr_core::generation::GenerationName;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::place;
use sysctr_core::record::{self, Record};
use sysctr_core::store::inventory::{Fault, Inventory, Object};
use sysctr_core::store::object::ObjectKind;
use sysctr_core::store::own_repo::OwnRepo;

use crate::active::host::{self, Host};
use crate::collect;
use crate::kept;
use crate::pulled;

/// An image in the store.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// What it was called when it came.
    references: BTreeSet<String>,
    manifest: Option<Digest>,
    /// Whether it was fetched ahead.
    ahead: bool,
    /// Generations that were made from it and are needed: by a deployment's /etc, or by what runs.
    generations: BTreeSet<GenerationName>,
    objects: BTreeSet<Object>,
    /// Bytes of its objects, and of those that no other image has.
    bytes: u64,
    unshared: u64,
}

/// What the store holds.
#[derive(Debug, Default)]
pub struct Images {
    /// By the digests of their configurations.
    all: BTreeMap<Digest, Image>,
    /// Bytes of all objects that there are.
    bytes: u64,
}

/// What is wrong with the store.
#[derive(Debug, Default)]
pub struct Verified {
    store: Utf8PathBuf,
    objects: usize,
    faults: BTreeMap<Object, Fault>,
    /// Images that need a faulty object: their configuration's digest, name and generations.
    hit: Vec<(Digest, Image)>,
}

fn store(host: &Host) -> Result<Option<OwnRepo>> {
    OwnRepo::open(&host.generations_dir().join(place::STORE))
}

/// What the store of this host holds.
///
/// # Errors
/// When it can't be read.
pub fn list(host: &Host) -> Result<Images> {
    let Some(store) = store(host)? else { return Ok(Images::default()) };
    let inventory = Inventory::of(&store)?;
    let mut images = of_refs(host, &store, &inventory)?;
    let mut users: BTreeMap<Object, u32> = BTreeMap::new();
    for object in images.all.values().flat_map(|image| &image.objects) {
        *users.entry(*object).or_default() += 1;
    }
    for image in images.all.values_mut() {
        for object in &image.objects {
            let bytes = inventory.size(object)?.unwrap_or(0);
            image.bytes += bytes;
            image.unshared += if users.get(object) == Some(&1) { bytes } else { 0 };
        }
    }
    for object in inventory.all()? {
        images.bytes += inventory.size(&object)?.unwrap_or(0);
    }
    Ok(images)
}

/// The images behind the refs, without sizes.
fn of_refs(host: &Host, store: &OwnRepo, inventory: &Inventory<'_>) -> Result<Images> {
    let mut images = Images::default();
    let refs = store.refs()?;
    for (config, pulled) in pulled::all(host)? {
        let image = images.all.entry(config).or_default();
        image.references.insert(pulled.image);
        (image.manifest, image.ahead) = (pulled.manifest, true);
        if let Some(commit) = refs.get(&pulled::ref_name(&config)) {
            image.objects.extend(inventory.needed_by(commit)?);
        }
    }
    for (name, commit) in &refs {
        let Ok(generation) = name.parse::<GenerationName>() else { continue };
        let path = host.generations_dir().join(name).join(place::RECORD_JSON);
        // A bundle that is gone takes its ref along with the next collection.
        let Some(bytes) = host::read(&path)? else { continue };
        let record: Record = record::from_json(&bytes, path.as_str())?;
        let image = images.all.entry(record.image.config).or_default();
        image.references.insert(record.image.source);
        image.manifest = image.manifest.or(record.image.manifest);
        image.generations.insert(generation);
        image.objects.extend(inventory.needed_by(commit)?);
    }
    Ok(images)
}

impl Images {
    /// The only image that is called so: by its reference, or by the beginning of its configuration's digest.
    ///
    /// # Errors
    /// When there is none, or several.
    fn named(&self, name: &str) -> Result<(&Digest, &Image)> {
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let is_hex = hex.len() >= 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let called = |(config, image): &(&Digest, &Image)| {
            image.references.contains(name) || is_hex && config.hex().starts_with(hex)
        };
        let found: Vec<_> = self.all.iter().filter(called).collect();
        match found[..] {
            [one] => Ok(one),
            [] => bail!("the store has no image {name}; `sysctr images list` shows what it has"),
            _ => {
                let all: Vec<_> = found.iter().map(|(config, _)| config.to_string()).collect();
                bail!("several images are called {name}; name one of them: {}", all.join(", "))
            }
        }
    }
}

/// One image.
///
/// # Errors
/// When the store can't be read, or has no image of that name.
pub fn info(host: &Host, name: &str) -> Result<Images> {
    let images = list(host)?;
    let (config, image) = images.named(name)?;
    Ok(Images { all: BTreeMap::from([(*config, image.clone())]), bytes: images.bytes })
}

/// Removes images that were fetched ahead: this one, or all. The caller holds the lock.
///
/// # Errors
/// When it is unknown or a generation needs it, or something can't be removed; pruning needs `ostree`.
pub fn remove(host: &Host, name: &str) -> Result<Vec<Digest>> {
    let doing = || format!("removing image {name}");
    collect::collect(host).with_context(doing)?;
    let images = list(host).with_context(doing)?;
    let (config, image) = images.named(name).with_context(doing)?;
    let needed: Vec<_> = image.generations.iter().map(ToString::to_string).collect();
    if !needed.is_empty() {
        bail!(
            "{}: {} of it, which a deployment of this host or a running container needs",
            doing(),
            match &needed[..] {
                [one] => format!("{one} is made"),
                all => format!("{} are made", all.join(", ")),
            }
        );
    }
    let Some(store) = store(host)? else { return Ok(Vec::new()) };
    pulled::forget(host, &store, config).with_context(doing)?;
    collect::prune(host).with_context(doing)?;
    Ok(vec![*config])
}

/// Removes all images that were fetched ahead and that no generation was made from, and what else nothing needs. The caller holds
/// the lock.
///
/// # Errors
/// As [`remove`].
pub fn prune(host: &Host) -> Result<Vec<Digest>> {
    let doing = "pruning images";
    collect::collect(host).context(doing)?;
    let Some(store) = store(host)? else { return Ok(Vec::new()) };
    let images = of_refs(host, &store, &Inventory::of(&store)?).context(doing)?;
    let mut removed = Vec::new();
    for (config, image) in images.all.iter().filter(|(_, image)| image.ahead) {
        pulled::forget(host, &store, config).context(doing)?;
        if image.generations.is_empty() {
            removed.push(*config);
        }
    }
    collect::prune(host).context(doing)?;
    Ok(removed)
}

/// Reads every object of the store whole.
///
/// # Errors
/// When the store can't be read, or the user interrupts. Damage is no error here.
pub fn verify(host: &Host, interrupt: &Interrupt) -> Result<Verified> {
    let Some(store) = store(host)? else { return Ok(Verified::default()) };
    let inventory = Inventory::of(&store)?;
    let mut images = of_refs(host, &store, &inventory)?;
    let mut objects = inventory.all()?;
    // Of a generation's files, too; and of refs that no image is known of.
    for (name, commit) in store.refs()? {
        let needed = inventory.needed_by(&commit)?;
        if let Some(generation) = kept::generation_of(&name)
            && let Some(image) = images.all.values_mut().find(|image| image.generations.contains(&generation))
        {
            image.objects.extend(&needed);
        }
        objects.extend(needed);
    }
    objects.extend(images.all.values().flat_map(|image| &image.objects));
    let faults = inventory.check(&objects, interrupt)?;
    let is_hit = |image: &Image| image.objects.iter().any(|object| faults.contains_key(object));
    let hit = images.all.into_iter().filter(|(_, image)| is_hit(image)).collect();
    Ok(Verified { store: store.path().to_owned(), objects: objects.len(), faults, hit })
}

impl Verified {
    /// Whether nothing is wrong.
    ///
    /// # Errors
    /// With the number of faults and what to do, if something is.
    pub fn end(&self) -> Result<()> {
        if self.faults.is_empty() {
            return Ok(());
        }
        bail!(
            "verifying the store: {} of {} objects are damaged or missing; remove the damaged ones from {}/objects, then \
             `sysctr reset NAME` and `sysctr update NAME` bring what a container needs, `sysctr images remove` and `sysctr pull` an \
             image that none has",
            self.faults.len(),
            self.objects,
            self.store
        )
    }
}

fn object_json((object, fault): (&Object, &Fault)) -> Value {
    let fault = match fault {
        Fault::Missing => "missing",
        Fault::Damaged => "damaged",
    };
    json!({"object": file_of(object), "fault": fault})
}

/// As `ostree fsck` calls it.
fn file_of((checksum, kind): &Object) -> String {
    let extension = match kind {
        ObjectKind::File => "file",
        ObjectKind::DirTree => "dirtree",
        ObjectKind::DirMeta => "dirmeta",
        ObjectKind::Commit => "commit",
    };
    let hex = checksum.hex();
    format!("{}/{}.{extension}", &hex[..2], &hex[2..])
}

/// For programs (docs/format.md, "Output").
pub fn verified_json(verified: &Verified) -> Value {
    let hit = |(config, image): &(Digest, Image)| json!({"config": config, "images": image.references, "generations": generations(image)});
    json!({
        "format": 1,
        "checked": verified.objects,
        "faults": verified.faults.iter().map(object_json).collect::<Value>(),
        "hit": verified.hit.iter().map(hit).collect::<Value>(),
    })
}

/// For people.
pub fn verified_text(verified: &Verified) -> String {
    let mut text = String::new();
    for (object, fault) in &verified.faults {
        let what = if *fault == Fault::Missing { "is missing" } else { "is damaged" };
        writeln!(text, "object {} {what}", file_of(object)).unwrap_or_default();
    }
    for (config, image) in &verified.hit {
        let made = generations(image).join(", ");
        let made = if made.is_empty() { "no container" } else { &made };
        writeln!(text, "hit: image {config} ({}), used by {made}", names(image)).unwrap_or_default();
    }
    if verified.faults.is_empty() {
        writeln!(text, "{} objects are what they should be", verified.objects).unwrap_or_default();
    }
    text
}

fn generations(image: &Image) -> Vec<String> {
    image.generations.iter().map(ToString::to_string).collect()
}

fn names(image: &Image) -> String {
    image.references.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// For programs (docs/format.md, "Output").
pub fn json(images: &Images) -> Value {
    let one = |(config, image): (&Digest, &Image)| {
        json!({
            "config": config,
            "manifest": image.manifest,
            "images": image.references,
            "pulled": image.ahead,
            "generations": generations(image),
            "objects": image.objects.len(),
            "bytes": image.bytes,
            "unshared_bytes": image.unshared,
        })
    };
    json!({ "format": 1, "bytes": images.bytes, "images": images.all.iter().map(one).collect::<Value>() })
}

/// For people.
pub fn text(images: &Images) -> String {
    if images.all.is_empty() {
        return "the store holds no images\n".to_owned();
    }
    let mut text = format!("{:12} {:>14} {:>14} {:24} IMAGE\n", "CONFIG", "BYTES", "UNSHARED", "USED BY");
    for (config, image) in &images.all {
        let used = generations(image).join(",");
        let used = if used.is_empty() { "-" } else { &used };
        let (short, Image { bytes, unshared, .. }) = (&config.hex()[..12], image);
        writeln!(text, "{short} {bytes:14} {unshared:14} {used:24} {}", names(image)).unwrap_or_default();
    }
    text
}

/// For programs: what was removed.
pub fn removed_json(removed: &[Digest]) -> Value {
    json!({ "format": 1, "removed": removed })
}

/// For people.
pub fn removed_text(removed: &[Digest]) -> String {
    removed.iter().map(|config| format!("removed image {config}\n")).collect()
}
