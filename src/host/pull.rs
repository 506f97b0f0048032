//! `sysctr pull`: an image into the store, for a container that comes later.

use std::cell::Cell;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sysctr_core::digest::Digest;
use sysctr_core::image::ResolvedImage;

use crate::active::host::Host;
use crate::image::{Fetched, Road, Source};
use crate::progress::Reading;
use crate::pulled;
use crate::stock::{Fetching, NoStore, Stock};

/// What came.
#[derive(Debug)]
pub struct Done {
    image: String,
    config: Digest,
    /// Bytes of blobs that were fetched.
    fetched: u64,
    /// Bytes that the store did not have before.
    stored: u64,
}

/// Brings an image into the store. The caller holds the lock.
///
/// # Errors
/// When it can't be found, fetched or stored; the store holds what it held then.
pub fn pull(host: &Host, source: &Source, road: &Road) -> Result<Done> {
    let name = source.reference.to_string();
    let doing = || format!("pulling image {name}");
    let fetching = Fetching::new(host).with_context(doing)?;
    let stock = Stock::open(host, road, &fetching, NoStore::IsMade).with_context(doing)?;
    let there = pulled::all(host).with_context(doing)?;
    let config = Cell::new(None);
    let enough = |image: &ResolvedImage| {
        config.set(Some(image.config_document.digest));
        Ok(there.contains_key(&image.config_document.digest))
    };
    let heard = Reading::of(road.progress, &name, &road.interrupt);
    let store = |fetched: &Fetched| pulled::store(&stock, &source.reference, &fetched.image, &heard);
    let (stored, fetched) = stock.with_image(source, &fetching, enough, store).with_context(doing)?;
    let config = config.get().with_context(doing)?;
    Ok(Done { image: name, config, fetched, stored: stored.unwrap_or(0) })
}

/// For programs (docs/format.md, "Output").
pub fn json(done: &Done) -> Value {
    json!({
        "format": 1,
        "image": done.image,
        "config": done.config,
        "fetched_bytes": done.fetched,
        "stored_bytes": done.stored,
    })
}

/// For people.
pub fn text(done: &Done) -> String {
    format!("{} is in the store as {}\n", done.image, done.config)
}
