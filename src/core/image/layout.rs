//! Finding an image in an OCI layout (OCI image specification, "Image Layout", "Image Index", "Image Manifest"),
//! with the media types of OCI and of Docker's version 2.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::archive::Origin;
use super::reference::Selector;
use super::{Document, LayerBlob, ResolvedImage, Wanted};
use crate::arch::Architecture;
use crate::digest::Digest;

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// The suffix is a hint only: the bytes tell the compression.
const LAYERS: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
/// Nested indexes below this are a loop or a prank.
const DEEPEST: usize = 4;

/// A descriptor (OCI image specification, "Content Descriptors").
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: i64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    /// A document that is both (CVE-2021-41190) is neither.
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    manifests: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

/// Finds the image that is wanted and reads its documents.
pub(crate) fn resolve(origin: Origin, wanted: &Wanted<'_>) -> Result<ResolvedImage> {
    let listed = listed(&origin)?;
    let chosen = select(&origin, listed, wanted)?;
    let mut trail = Vec::new();
    let manifest = descend(&origin, chosen, wanted.architecture, &mut trail)?;
    if let Some(pin) = wanted.pin {
        let found: Vec<_> = trail.iter().chain([&manifest]).map(|document| document.digest).collect();
        let spelled = found.iter().map(Digest::to_string).collect::<Vec<_>>().join(", ");
        ensure!(
            found.contains(&pin),
            "it is not the one with the digest {pin}: from index to image manifest it has {spelled}"
        );
    }
    finish(origin, manifest, trail, wanted.architecture)
}

/// What `index.json` lists.
fn listed(origin: &Origin) -> Result<Vec<Descriptor>> {
    let Some(marker) = origin.read("oci-layout")? else {
        let hint = match origin {
            Origin::Archive(_) if origin.read("manifest.json")?.is_some() => {
                "; it is one for docker-archive:"
            }
            _ => "",
        };
        bail!("there is no OCI layout, which has a file oci-layout{hint}");
    };
    let marker: Marker = serde_json::from_slice(&marker).context("reading oci-layout")?;
    let version = marker.image_layout_version;
    ensure!(
        version.starts_with("1."),
        "its layout has the version {version:?}; version 1 is the one that is known"
    );
    let index = origin.read("index.json")?.context("its layout has no index.json")?;
    let index: Index = serde_json::from_slice(&index).context("reading index.json")?;
    Ok(index.manifests)
}

/// The descriptor that the reference means, with others for other platforms if they share its name.
fn select(origin: &Origin, listed: Vec<Descriptor>, wanted: &Wanted<'_>) -> Result<Descriptor> {
    let fitting = match wanted.reference.selector() {
        Selector::Digest(digest) => {
            let there = there(&listed);
            return find(origin, listed, digest, 0)?
                .with_context(|| format!("it has no image with the digest {digest}; {there}"));
        }
        Selector::Tag(tag) => {
            let fitting: Vec<_> = listed.iter().filter(|one| one.is_called(tag)).cloned().collect();
            ensure!(!fitting.is_empty(), "it has no image with the tag {tag:?}; {}", there(&listed));
            fitting
        }
        Selector::Only => listed.clone(),
    };
    ensure!(!fitting.is_empty(), "it has no image");
    let different: BTreeSet<_> = fitting.iter().map(|one| &one.digest).collect();
    if different.len() == 1 {
        return fitting.into_iter().next().context("it has no image");
    }
    let names: BTreeSet<_> = fitting.iter().map(Descriptor::names).collect();
    ensure!(
        names.len() == 1 && fitting.iter().all(|one| one.platform.is_some()),
        "it has more than one image that fits; {}; add a tag or @DIGEST",
        there(&listed)
    );
    choose(fitting, wanted.architecture)
}

/// The descriptor of `digest` in a list or in the indexes that it lists.
fn find(
    origin: &Origin,
    listed: Vec<Descriptor>,
    digest: &Digest,
    depth: usize,
) -> Result<Option<Descriptor>> {
    let spelled = digest.to_string();
    let (indexes, manifests): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|one| INDEXES.contains(&&*one.media_type) && one.digest != spelled);
    if let Some(found) = manifests.into_iter().find(|one| one.digest == spelled) {
        return Ok(Some(found));
    }
    for index in indexes.iter().filter(|_| depth < DEEPEST) {
        let (_, inside) = read_index(origin, index)?;
        if let Some(found) = find(origin, inside, digest, depth + 1)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl Descriptor {
    /// Tag and, from containerd, full name.
    fn names(&self) -> Vec<&str> {
        let name = |key: &str| self.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
        ["org.opencontainers.image.ref.name", "io.containerd.image.name"]
            .into_iter()
            .filter_map(name)
            .collect()
    }

    fn is_called(&self, tag: &str) -> bool {
        self.names().contains(&tag)
    }

    /// What BuildKit adds to an index about its images.
    fn is_attestation(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| platform.architecture == "unknown")
    }
}

/// For messages: what can be chosen.
fn there(listed: &[Descriptor]) -> String {
    let one = |one: &Descriptor| match one.names().first() {
        Some(name) => (*name).to_owned(),
        None => format!("@{}", one.digest),
    };
    let all: BTreeSet<_> = listed.iter().map(one).collect();
    if all.is_empty() {
        return "there are none".to_owned();
    }
    format!("there are {}", all.into_iter().collect::<Vec<_>>().join(", "))
}

/// The image manifest that a descriptor leads to, and the indexes on the way.
fn descend(
    origin: &Origin,
    descriptor: Descriptor,
    architecture: Option<Architecture>,
    trail: &mut Vec<Document>,
) -> Result<Document> {
    let media_type = &*descriptor.media_type;
    if MANIFESTS.contains(&media_type) {
        return read_document(origin, &descriptor).context("reading the image manifest");
    }
    if media_type.starts_with("application/vnd.docker.distribution.manifest.v1") {
        bail!("{} is a Docker manifest of version 1; convert it first with skopeo copy", descriptor.digest);
    }
    ensure!(
        INDEXES.contains(&media_type),
        "{} has the media type {media_type:?}, which is neither an image manifest nor an image index",
        descriptor.digest
    );
    ensure!(trail.len() < DEEPEST, "its image indexes are nested more than {DEEPEST} deep");
    let (document, inside) = read_index(origin, &descriptor)?;
    trail.push(document);
    let fitting = inside.into_iter().filter(|one| {
        [INDEXES, MANIFESTS].concat().contains(&&*one.media_type)
            || one.media_type.starts_with("application/vnd.docker.distribution.manifest.v1")
    });
    descend(origin, choose(fitting.collect(), architecture)?, architecture, trail)
}

/// The image for the wanted platform; without one, the only image.
fn choose(mut listed: Vec<Descriptor>, architecture: Option<Architecture>) -> Result<Descriptor> {
    listed.retain(|one| !one.is_attestation());
    let spelled = |platform: &Platform| {
        let variant = platform.variant.as_ref().map(|variant| format!("/{variant}"));
        format!("{}/{}{}", platform.os, platform.architecture, variant.unwrap_or_default())
    };
    let platforms: BTreeSet<_> = listed.iter().filter_map(|one| one.platform.as_ref()).map(spelled).collect();
    let Some(architecture) = architecture else {
        let platforms: Vec<_> = platforms.into_iter().collect();
        ensure!(listed.len() < 2, "it has images for {}; choose one with --arch", platforms.join(", "));
        return listed.pop().context("it has no image");
    };
    let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture.as_str();
    let (named, unnamed): (Vec<_>, Vec<_>) = listed.into_iter().partition(|one| one.platform.is_some());
    // The plainest variant runs on the most machines; equal ones keep the index's order.
    let fitting = named.into_iter().filter(|one| one.platform.as_ref().is_some_and(fits));
    let plainest = fitting.min_by_key(|one| plainness(architecture, one.platform.as_ref()));
    if let Some(found) = plainest {
        return Ok(found);
    }
    let mut unnamed = unnamed.into_iter();
    match (unnamed.next(), unnamed.next()) {
        // Its configuration will tell.
        (Some(only), None) => Ok(only),
        _ => bail!(
            "it has no image for linux/{architecture}; there are {}",
            if platforms.is_empty() {
                "none that name a platform".to_owned()
            } else {
                platforms.into_iter().collect::<Vec<_>>().join(", ")
            }
        ),
    }
}

/// Smaller is plainer: the architecture's usual variant, then others by name.
fn plainness(architecture: Architecture, platform: Option<&Platform>) -> (u8, String) {
    let variant = platform.and_then(|platform| platform.variant.clone()).unwrap_or_default();
    let usual = match architecture.as_str() {
        "arm64" => "v8",
        "arm" => "v7",
        "amd64" => "v1",
        _ => "",
    };
    (u8::from(!variant.is_empty() && variant != usual), variant)
}

fn read_document(origin: &Origin, descriptor: &Descriptor) -> Result<Document> {
    let (name, digest, size) = found(origin, descriptor)?;
    let (bytes, _) = origin.open(&name)?.with_context(|| format!("there is no {name}"))?;
    let bytes = super::blob::read_all(bytes, Some(digest), size).with_context(|| format!("blob {digest}"))?;
    Ok(Document { digest, bytes })
}

/// File name, digest and size of a blob, which is there and has the size that its descriptor says.
fn found(origin: &Origin, descriptor: &Descriptor) -> Result<(String, Digest, u64)> {
    let (name, digest, size) = described(descriptor)?;
    look(origin, &name, &digest, size)?;
    Ok((name, digest, size))
}

/// File name, digest and size of a blob.
fn described(descriptor: &Descriptor) -> Result<(String, Digest, u64)> {
    let digest: Digest = descriptor.digest.parse()?;
    let size = u64::try_from(descriptor.size).ok();
    let size = size.with_context(|| format!("blob {digest} has the size {}", descriptor.size))?;
    Ok((format!("blobs/sha256/{}", digest.hex()), digest, size))
}

/// Looks whether a blob is there and has this size.
pub(super) fn look(origin: &Origin, name: &str, digest: &Digest, expected: u64) -> Result<()> {
    let found = origin.size(name)?.with_context(|| format!("there is no {name}"))?;
    if found != expected {
        let wrong = super::blob::WrongBlob::Size { expected, found, more: false };
        return Err(anyhow::Error::new(wrong).context(format!("blob {digest}")));
    }
    Ok(())
}

fn read_index(origin: &Origin, descriptor: &Descriptor) -> Result<(Document, Vec<Descriptor>)> {
    let document = read_document(origin, descriptor).context("reading the image index")?;
    let index: Index = serde_json::from_slice(&document.bytes)
        .with_context(|| format!("reading the image index {}", document.digest))?;
    check_media_type(index.media_type.as_deref(), descriptor)?;
    ensure!(
        index.layers.is_none() && index.config.is_none(),
        "{} is an image index that has layers too; it can't be both",
        document.digest
    );
    Ok((document, index.manifests))
}

/// Whether an image index leads to the image manifest `wanted`.
pub(super) fn leads_to(origin: &Origin, index: &Document, wanted: &Digest) -> Result<bool> {
    let parsed: Index = serde_json::from_slice(&index.bytes)
        .with_context(|| format!("reading the image index {}", index.digest))?;
    Ok(find(origin, parsed.manifests, wanted, 0)?.is_some())
}

fn check_media_type(own: Option<&str>, descriptor: &Descriptor) -> Result<()> {
    ensure!(
        own.is_none_or(|own| own == descriptor.media_type),
        "{} calls itself {:?}, its descriptor says {:?}",
        descriptor.digest,
        own.unwrap_or_default(),
        descriptor.media_type
    );
    Ok(())
}

/// Reads what an image manifest names, but the layers.
pub(super) fn finish(
    origin: Origin,
    document: Document,
    trail: Vec<Document>,
    architecture: Option<Architecture>,
) -> Result<ResolvedImage> {
    let digest = document.digest;
    let manifest: Manifest = serde_json::from_slice(&document.bytes)
        .with_context(|| format!("reading the image manifest {digest}"))?;
    let version = manifest.schema_version;
    ensure!(version == 2, "the image manifest {digest} has the schema version {version}; 2 is known");
    ensure!(
        manifest.manifests.is_none(),
        "{digest} is an image manifest that lists others too; it can't be both"
    );
    ensure!(
        manifest.media_type.as_deref().is_none_or(|own| MANIFESTS.contains(&own)),
        "the image manifest {digest} calls itself {:?}",
        manifest.media_type.unwrap_or_default()
    );
    let media_type = &*manifest.config.media_type;
    ensure!(
        CONFIGS.contains(&media_type),
        "its configuration has the media type {media_type:?}; it is an artifact of another kind and no image"
    );
    let config_document =
        read_document(&origin, &manifest.config).context("reading the image configuration")?;
    let layers = manifest.layers.iter().map(as_blob).collect::<Result<Vec<_>>>()?;
    ResolvedImage::new(origin, trail, Some(document), config_document, layers, architecture)
}

fn as_blob(layer: &Descriptor) -> Result<LayerBlob> {
    let Descriptor { digest, media_type, .. } = layer;
    if media_type.contains(".nondistributable.") || media_type.contains(".foreign.") {
        bail!("layer {digest} is of the kind {media_type:?}, which lies elsewhere and is not read");
    }
    ensure!(
        LAYERS.contains(&&**media_type),
        "layer {digest} has the media type {media_type:?}, which is not known"
    );
    let (name, digest, size) = described(layer).context("looking for a layer")?;
    Ok(LayerBlob { name, digest: Some(digest), size })
}

#[cfg(test)]
mod tests;
