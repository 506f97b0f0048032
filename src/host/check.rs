//! `sysctr update --check`: what an update would change. Only the image's documents are fetched; nothing is written but scratch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sysctr_core::digest::Digest;
use sysctr_core::image::ResolvedImage;
use sysctr_core::image::flatten::flatten;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::prepare::Without;
use sysctr_core::record::ImageRecord;
use sysctr_core::store::contents::{Copying, ObjectContents, ObjectStore};

use crate::active::host::{self, Host};
use crate::image::missing;
use crate::make;
use crate::privileges;
use crate::progress::{Form, Reading};
use crate::stock::{Fetching, LIMITS, NoStore, Stock};
use crate::update::{Request, Wish};

/// What an update of one container would do.
#[derive(Debug)]
pub struct Checked {
    name: ContainerName,
    /// The image of what is active.
    old: Option<ImageRecord>,
    /// What it would be made from: reference, index, image manifest, configuration.
    reference: String,
    index: Option<Digest>,
    manifest: Option<Digest>,
    config: Digest,
    verdict: Verdict,
    layers: usize,
    /// Blobs that would be fetched, and their bytes.
    missing: Vec<(Digest, u64)>,
    /// What of the image's configuration is another: what, before, after.
    changes: Vec<(String, Value, Value)>,
    rendered: Rendered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Same,
    Update,
}

/// What only the layers tell.
#[derive(Debug)]
enum Rendered {
    /// All of them are here: bytes that the store lacks, and privileges that are gained, if both configurations are known.
    Known { disk: u64, gained: Option<Vec<String>> },
    /// So many bytes at least, and what is gained by the image's configuration alone.
    Unknown { disk: u64, gained: Vec<String> },
}

/// Looks what an update of a container would change. The caller holds the lock.
///
/// # Errors
/// When it could not be updated, or the image can't be found.
pub fn check(host: &Host, name: &ContainerName, request: &Request) -> Result<Checked> {
    let doing = || format!("looking for an update of container {name}");
    let fetching = Fetching::new(host).with_context(doing)?;
    let wish = Wish::of(host, name, request).with_context(doing)?;
    let stock = Stock::open(host, &request.road, &fetching, NoStore::IsScratch).with_context(doing)?;
    look(&stock, name, &wish, &fetching).with_context(doing)
}

fn look(stock: &Stock<'_>, name: &ContainerName, wish: &Wish, fetching: &Fetching) -> Result<Checked> {
    let image = stock.fetcher(&wish.source, fetching).documents()?.image;
    let config = image.config_document.digest;
    let verdict = if wish.is_met(&config) { Verdict::Same } else { Verdict::Update };
    let missing = missing(&image, |diff_id| stock.has(diff_id));
    let needed = stock.needed(&image);
    let active = wish.active.as_ref();
    let before = active.map(|active| host::read(&active.bundle.join(place::IMAGE_CONFIG))).transpose()?;
    let changes = changes(&before.flatten().unwrap_or_default(), &image.config_document.bytes);
    let rendered = match (verdict, needed.packed) {
        (Verdict::Same, _) => Rendered::Known { disk: 0, gained: Some(Vec::new()) },
        (Verdict::Update, 0) => render(stock, name, wish, &image)?,
        (Verdict::Update, disk) => Rendered::Unknown { disk, gained: by_image(wish, &changes) },
    };
    Ok(Checked {
        name: name.clone(),
        old: active.map(|active| active.record.image.clone()),
        reference: wish.source.reference.to_string(),
        index: image.index,
        manifest: image.manifest.as_ref().map(|document| document.digest),
        config,
        verdict,
        layers: image.layer_count(),
        missing,
        changes,
        rendered,
    })
}

/// What an image's configuration alone says of privileges: its user, unless the settings name one.
fn by_image(wish: &Wish, changes: &[(String, Value, Value)]) -> Vec<String> {
    let user = changes.iter().find(|(what, ..)| what == "User" && wish.settings.run.user.is_none());
    let name = |after: &Value| after.as_str().filter(|name| !name.is_empty()).unwrap_or("root").to_owned();
    user.map(|(_, _, after)| format!("user {}, by the image", name(after))).into_iter().collect()
}

/// The container as it would be; no layer is read.
fn render(stock: &Stock<'_>, name: &ContainerName, wish: &Wish, image: &ResolvedImage) -> Result<Rendered> {
    let host = stock.host;
    let objects = Arc::new(ObjectStore::new(stock.store.begin()?, LIMITS.jobs)?);
    let contents =
        ObjectContents::new(&objects, stock.label()).copying(stock.shipped(image), Copying::WhenRead);
    let heard = Reading::of(Form::None, name.as_str(), &stock.road.interrupt);
    let tree = flatten(image, LIMITS, &contents, &heard)?.tree;
    let runtime = host.runtime(&wish.settings.runtime)?;
    let generation = make::next(host, name)?;
    let subject = wish.subject(name, (image, &[]), &generation, &runtime, stock.architecture);
    let records = host.embedded_records()?;
    let target = Without { target: host, records: &records };
    let mut disk = 0;
    for id in tree.contents() {
        disk += contents.lacks(id)?;
    }
    let mut prepared = subject.prepare(&tree, &target, &|id, max| contents.read(id, max))?;
    make::close_root(&mut prepared.config_json)?;
    let read = |file: &str| match &wish.active {
        Some(active) => host::read(&active.bundle.join(file)),
        None => Ok(None),
    };
    let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let config = read(place::CONFIG_JSON)?.as_deref().and_then(parsed).zip(parsed(&prepared.config_json));
    let unit = read(&name.unit())?;
    let gained = config.zip(unit).map(|((old, new), unit)| {
        let mut gained = privileges::gained(&old, &new);
        gained.extend(privileges::by_unit(&unit, &prepared.unit));
        gained
    });
    Ok(Rendered::Known { disk, gained })
}

/// What two image configurations say differently (OCI image specification, "Image Configuration").
fn changes(before: &[u8], after: &[u8]) -> Vec<(String, Value, Value)> {
    let said = |bytes: &[u8]| {
        let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
        document["config"].as_object().cloned().unwrap_or_default()
    };
    let (before, after) = (flat(&said(before)), flat(&said(after)));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let value = |of: &BTreeMap<String, Value>, key: &String| of.get(key).cloned().unwrap_or_default();
    let pairs = keys.into_iter().map(|key| (key.clone(), value(&before, key), value(&after, key)));
    pairs.filter(|(_, before, after)| before != after).collect()
}

/// Variables and labels by their names, everything else as it is.
fn flat(config: &serde_json::Map<String, Value>) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (key, value) in config {
        match (key.as_str(), value) {
            ("Env", Value::Array(all)) => {
                let pairs = all.iter().filter_map(|pair| pair.as_str()?.split_once('='));
                flat.extend(pairs.map(|(name, value)| (format!("Env {name}"), value.into())));
            }
            ("Labels", Value::Object(all)) => {
                flat.extend(all.iter().map(|(name, value)| (format!("Labels {name}"), value.clone())));
            }
            _ => drop(flat.insert(key.clone(), value.clone())),
        }
    }
    flat
}

impl Checked {
    fn fetched(&self) -> u64 {
        self.missing.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// For programs (docs/format.md, "Output").
pub fn json(all: &[Checked]) -> Value {
    let one = |checked: &Checked| {
        let old = checked.old.as_ref();
        let (disk, known, gained) = match &checked.rendered {
            Rendered::Known { disk, gained } => (*disk, gained.is_some(), gained.as_ref()),
            Rendered::Unknown { disk, gained } => (*disk, false, Some(gained)),
        };
        let disk_known = matches!(checked.rendered, Rendered::Known { .. });
        let change = |(what, before, after): &(String, Value, Value)| json!({"what": what, "before": before, "after": after});
        json!({
            "name": checked.name,
            "update": checked.verdict == Verdict::Update,
            "before": old.map(|it| json!({
                "image": it.source, "index": it.index, "manifest": it.manifest, "config": it.config,
            })),
            "after": {
                "image": checked.reference, "index": checked.index, "manifest": checked.manifest, "config": checked.config,
            },
            "layers": checked.layers,
            "missing_layers": checked.missing.iter().map(|(blob, bytes)| json!({"blob": blob, "bytes": bytes})).collect::<Value>(),
            "fetch_bytes": checked.fetched(),
            "disk_bytes": disk,
            "disk_bytes_known": disk_known,
            "changes": checked.changes.iter().map(change).collect::<Value>(),
            "privileges_known": known,
            "privileges_gained": gained.cloned().unwrap_or_default(),
        })
    };
    json!({ "format": 1, "containers": all.iter().map(one).collect::<Value>() })
}

/// For people.
pub fn text(all: &[Checked]) -> String {
    let mut text = String::new();
    for checked in all {
        write(checked, &mut text).unwrap_or_default();
    }
    text
}

fn write(checked: &Checked, text: &mut String) -> std::fmt::Result {
    let Checked { name, reference, config, layers, missing, .. } = checked;
    if checked.verdict == Verdict::Same {
        return writeln!(text, "{name}: nothing to change");
    }
    writeln!(text, "{name}: there is an update, {reference}")?;
    let old = checked.old.as_ref().map_or("none".to_owned(), |old| old.config.to_string());
    writeln!(text, "  image: {old} → {config}")?;
    writeln!(text, "  to fetch: {} bytes, {} of {layers} layers", checked.fetched(), missing.len())?;
    for (what, before, after) in &checked.changes {
        writeln!(text, "  {what}: {before} → {after}")?;
    }
    let unread = format!(
        "told once its layers are here (`sysctr update --download-only {name}`); they have {} bytes packed",
        checked.fetched()
    );
    match &checked.rendered {
        Rendered::Unknown { gained, .. } => {
            gained.iter().try_for_each(|it| writeln!(text, "  gains: {it}"))?;
            writeln!(text, "  on disk, and privileges: {unread}")
        }
        Rendered::Known { disk, gained } => {
            writeln!(text, "  on disk: {disk} bytes")?;
            match gained.as_deref() {
                None => writeln!(text, "  privileges: its configuration is made at each start"),
                Some([]) => writeln!(text, "  privileges: none are gained"),
                Some(gained) => gained.iter().try_for_each(|it| writeln!(text, "  gains: {it}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_configurations_say_differently() {
        let before = json!({"config": {"User": "1", "Env": ["A=1", "B=2"], "Labels": {"x": "y"}}});
        let after = json!({"config": {"Env": ["B=3"], "Labels": {"x": "y", "z": ""}, "Cmd": ["a"]}});
        let told = |change: &(String, Value, Value)| format!("{} {} {}", change.0, change.1, change.2);
        let found = changes(&serde_json::to_vec(&before).unwrap(), &serde_json::to_vec(&after).unwrap());
        let expected = [
            "Cmd null [\"a\"]",
            "Env A \"1\" null",
            "Env B \"2\" \"3\"",
            "Labels z null \"\"",
            "User \"1\" null",
        ];
        assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected);
        assert_eq!(changes(b"", b""), []);
    }
}
