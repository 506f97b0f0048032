//! The image that a generation is made from: native sources are read where they lie, all others come by `skopeo copy`, which
//! does what registries need (auth files, mirrors, TLS, policy.json).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::{ImageRef, Reader, Transport};
use sysctr_core::image::{ResolvedImage, Wanted, resolve_documents};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::skopeo::{Call, Ear, Home, Patience, Skopeo};

/// Which image.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name.
    pub reference: ImageRef,
    /// What it must be.
    pub pin: Option<Digest>,
    /// A file with the passwords of registries (containers-auth.json(5)), if not the usual one.
    pub authfile: Option<Utf8PathBuf>,
}

/// Blobs that need not come, since the store knows the layers that they hold.
pub type KnownBlobs = std::collections::BTreeSet<Digest>;

/// An image that can be read.
#[derive(Debug)]
pub struct Fetched {
    /// It.
    pub image: ResolvedImage,
    /// Bytes of blobs that came.
    pub bytes: u64,
}

/// Finds the image, fetched into `dir` if it must be, which does not exist. Blobs that are `known` are left out there: a file
/// without content stands for each.
///
/// # Errors
/// When it can't be found or fetched, or is none that we can read.
pub fn fetch(
    source: &Source,
    architecture: Architecture,
    known: &KnownBlobs,
    dir: &Utf8Path,
    interrupt: &Interrupt,
) -> Result<Fetched> {
    let Source { reference, pin, .. } = source;
    let architecture = Some(architecture);
    if reference.transport().reader() == Reader::Native {
        let base =
            Utf8PathBuf::from_path_buf(std::env::current_dir().context("finding the current directory")?);
        let base =
            base.map_err(|base| anyhow::anyhow!("the current directory {} is not UTF-8", base.display()))?;
        let image = resolve_documents(&Wanted { reference, base: &base, architecture, pin: *pin })?;
        return Ok(Fetched { image, bytes: 0 });
    }
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).with_context(|| format!("making directory {blobs}"))?;
    for digest in known {
        let blob = blobs.join(digest.hex());
        std::fs::write(&blob, b"").with_context(|| format!("writing {blob}"))?;
    }
    let from = pin.map_or_else(|| reference.clone(), |pin| reference.pinned(pin));
    skopeo(&from, architecture, source.authfile.as_deref(), dir, interrupt)
        .with_context(|| format!("fetching image {reference}"))?;
    let layout: ImageRef = format!("oci:{dir}").parse().context("naming the fetched image")?;
    let wanted = Wanted { reference: &layout, base: Utf8Path::new("/"), architecture, pin: *pin };
    let image = resolve_documents(&wanted).with_context(|| format!("fetching image {reference}"))?;
    Ok(Fetched { image, bytes: size(&blobs)? })
}

/// The digest of what a registry's tag names now, be it an index or an image manifest. It is a hint, since nobody checked it against
/// a policy; a host that has that image already need not ask for more. None from other places, and from a registry that does not
/// tell.
pub fn peek(source: &Source, scratch: &Utf8Path, interrupt: &Interrupt) -> Option<Digest> {
    if source.reference.transport() != Transport::Docker || source.pin.is_some() {
        return None;
    }
    let call = Call::default()
        .args(["inspect", "--raw"])
        .with("--authfile", source.authfile.as_deref().map(Utf8Path::as_str))
        .args([source.reference.to_string()]);
    std::fs::create_dir_all(scratch.join("home")).ok()?;
    let skopeo = Skopeo { base: Utf8Path::new("/"), patience: HINT, interrupt };
    skopeo.run(&call, Home::Users, scratch, Ear::Nobody).ok().map(|bytes| Digest::of(&bytes))
}

fn skopeo(
    from: &ImageRef,
    architecture: Option<Architecture>,
    authfile: Option<&Utf8Path>,
    dir: &Utf8Path,
    interrupt: &Interrupt,
) -> Result<()> {
    let home = dir.join("home");
    std::fs::create_dir_all(&home).with_context(|| format!("making directory {home}"))?;
    let call = Call::default()
        .args(["--override-os", "linux"])
        .with("--override-arch", architecture.map(Architecture::as_str))
        .args(["copy", "--quiet", "--preserve-digests"])
        .with("--src-authfile", authfile.map(Utf8Path::as_str))
        .args([from.to_string(), format!("oci:{dir}:image")]);
    let skopeo = Skopeo { base: Utf8Path::new("/"), patience: PATIENCE, interrupt };
    // Policy, keys and registries are the admin's: in /etc, and for `containers-storage` root's own.
    skopeo.run(&call, Home::Users, dir, Ear::Nobody).map(drop)
}

/// How long a registry may take: each try an hour, so that large images come over slow lines.
const PATIENCE: Patience = Patience { timeout: Duration::from_secs(3600), retries: 2 };

/// A hint is not worth waiting for.
const HINT: Patience = Patience { timeout: Duration::from_secs(30), retries: 0 };

fn size(blobs: &Utf8Path) -> Result<u64> {
    let mut bytes = 0;
    for blob in std::fs::read_dir(blobs).with_context(|| format!("reading {blobs}"))? {
        bytes += blob?.metadata()?.len();
    }
    Ok(bytes)
}

/// Where the next update looks, if nobody says: what the settings say, or the registry that the image came from.
///
/// # Errors
/// When neither says anything that a host can ask again.
pub fn place_of_updates(update: Option<&str>, image: &str) -> Result<ImageRef> {
    let asked = update.unwrap_or(image);
    let reference: ImageRef =
        asked.parse().with_context(|| format!("reading {asked:?}, where updates come from"))?;
    ensure!(
        update.is_some() || reference.transport().as_str() == "docker",
        "nothing says where updates come from: it was made from {image}; give --image"
    );
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_updates_come_from() {
        let place = |update, image| {
            place_of_updates(update, image).map(|it| it.to_string()).map_err(|it| it.to_string())
        };
        assert_eq!(place(Some("docker://r/a:1"), "oci:a"), Ok("docker://r/a:1".into()));
        assert_eq!(place(None, "docker://r/a:1"), Ok("docker://r/a:1".into()));
        let error = "nothing says where updates come from: it was made from oci:images/a; give --image";
        assert_eq!(place(None, "oci:images/a"), Err(error.into()));
    }
}
