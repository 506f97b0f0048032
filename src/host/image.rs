//! The image that a generation is made from: native sources are read where they lie, all others come by `skopeo copy`, which
//! does what registries need (auth files, mirrors, TLS, policy.json).

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::{ImageRef, Reader};
use sysctr_core::image::{ResolvedImage, Wanted, resolve_documents};

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
    skopeo(&from, architecture, source.authfile.as_deref(), dir)
        .with_context(|| format!("fetching image {reference}"))?;
    let layout: ImageRef = format!("oci:{dir}").parse().context("naming the fetched image")?;
    let wanted = Wanted { reference: &layout, base: Utf8Path::new("/"), architecture, pin: *pin };
    let image = resolve_documents(&wanted).with_context(|| format!("fetching image {reference}"))?;
    Ok(Fetched { image, bytes: size(&blobs)? })
}

fn skopeo(
    from: &ImageRef,
    architecture: Option<Architecture>,
    authfile: Option<&Utf8Path>,
    dir: &Utf8Path,
) -> Result<()> {
    let mut command = Command::new("skopeo");
    command.args(["--override-os", "linux"]);
    if let Some(architecture) = architecture {
        command.args(["--override-arch", architecture.as_str()]);
    }
    command.args(["copy", "--quiet", "--preserve-digests"]);
    if let Some(authfile) = authfile {
        command.arg("--src-authfile").arg(authfile);
    }
    command.arg(from.to_string()).arg(format!("oci:{dir}:image")).stdin(Stdio::null());
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("it needs the program skopeo, which this host lacks; use an archive, or install it")
        }
        output => output.context("running skopeo")?,
    };
    if output.status.success() {
        return Ok(());
    }
    bail!("skopeo says: {}", said(&String::from_utf8_lossy(&output.stderr)))
}

/// The last message of skopeo's log, which has `msg="…"` for people.
fn said(log: &str) -> String {
    let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    let message = last.split_once("msg=\"").and_then(|(_, rest)| rest.rsplit_once('"'));
    message.map_or(last, |(message, _)| message).replace("\\\"", "\"").replace("\\n", " ")
}

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
    fn what_skopeo_says_is_told_in_one_line() {
        let log = "time=\"2026-01-01T00:00:00Z\" level=fatal msg=\"initializing source docker://x: pinging \\\"x\\\": refused\"\n\n";
        assert_eq!(said(log), "initializing source docker://x: pinging \"x\": refused");
        assert_eq!(said("plain words\n"), "plain words");
        assert_eq!(said(""), "nothing");
    }

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
