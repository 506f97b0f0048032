//! Finding an image in what `docker save` and `skopeo copy … docker-archive:` write (Docker image specification 1.2,
//! "Combined Image JSON + Filesystem Changeset Format").

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::archive::Origin;
use super::reference::Selector;
use super::{Document, LayerBlob, ResolvedImage, Wanted, blob};
use crate::digest::Digest;

/// One image in `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// Finds the image that is wanted and reads its documents. Its identity is the digest of the configuration.
pub(crate) fn resolve(origin: Origin, wanted: &Wanted<'_>) -> Result<ResolvedImage> {
    let Some(manifest) = origin.read("manifest.json")? else {
        let hint = if origin.read("oci-layout")?.is_some() { "; it is one for oci-archive:" } else { "" };
        bail!("there is no archive of docker save, which has a file manifest.json{hint}");
    };
    let items: Vec<Item> = serde_json::from_slice(&manifest).context("reading manifest.json")?;
    let (item, config) = select(&origin, &items, wanted.reference.selector())?;
    if let Some(pin) = wanted.pin {
        let found = config.digest;
        ensure!(found == pin, "its configuration is not the one with the digest {pin}: it has {found}");
    }
    let layers = item.layers.iter().map(|name| layer(&origin, name)).collect::<Result<Vec<_>>>()?;
    ResolvedImage::new(origin, Vec::new(), None, config, layers, wanted.architecture)
}

fn layer(origin: &Origin, name: &str) -> Result<LayerBlob> {
    let size = origin.size(name)?.with_context(|| format!("there is no layer {name}"))?;
    // The archive gives no digest of a layer's bytes as they lie in it, but the configuration one of those inside.
    Ok(LayerBlob { name: name.to_owned(), digest: None, size })
}

fn select(origin: &Origin, items: &[Item], selector: &Selector) -> Result<(Item, Document)> {
    let there = || {
        let names = items.iter().map(|item| match item.repo_tags.as_deref() {
            None | Some([]) => item.config.clone(),
            Some(tags) => tags.join(", "),
        });
        format!("there are {}", names.collect::<Vec<_>>().join(", "))
    };
    let found = match selector {
        Selector::Only => {
            ensure!(items.len() < 2, "it has more than one image; {}; add NAME:TAG or @DIGEST", there());
            items.first().context("its manifest.json names no image")?
        }
        Selector::Tag(tag) => {
            let wanted = full_name(tag);
            let called = |item: &&Item| item.repo_tags.iter().flatten().any(|tag| full_name(tag) == wanted);
            items.iter().find(called).with_context(|| format!("it has no image {tag:?}; {}", there()))?
        }
        Selector::Digest(digest) => {
            for item in items {
                let document = read_config(origin, item)?;
                if document.digest == *digest {
                    return Ok((item.clone(), document));
                }
            }
            bail!("it has no image whose configuration has the digest {digest}; {}", there());
        }
    };
    Ok((found.clone(), read_config(origin, found)?))
}

fn read_config(origin: &Origin, item: &Item) -> Result<Document> {
    let name = &item.config;
    let bytes = origin.read(name)?.with_context(|| format!("there is no configuration {name}"))?;
    let digest = Digest::of(&bytes);
    // `HEX.json`, or `blobs/sha256/HEX` since Docker 25.
    let hex = name.strip_prefix("blobs/sha256/").or_else(|| name.strip_suffix(".json"));
    if let Some(expected) = hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok())
        && expected != digest
    {
        let wrong = blob::WrongBlob::Digest { expected, found: digest };
        return Err(anyhow::Error::new(wrong).context(format!("reading the image configuration {name}")));
    }
    Ok(Document { digest, bytes })
}

/// A name as Docker completes it: `nginx` is `docker.io/library/nginx:latest`.
fn full_name(name: &str) -> String {
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (name, "latest"),
    };
    let path = match path.split_once('/') {
        None => format!("docker.io/library/{path}"),
        Some((host, rest)) if host == "docker.io" && !rest.contains('/') => {
            format!("docker.io/library/{rest}")
        }
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => path.to_owned(),
        Some(_) => format!("docker.io/{path}"),
    };
    format!("{path}:{tag}")
}

#[cfg(test)]
mod tests;
