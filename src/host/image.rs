//! The image that a generation is made from: native sources are read where they lie, all others come by `skopeo copy`, which
//! does what registries need (auth files, mirrors, TLS, policy.json).

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::{ImageRef, Reader, Transport};
use sysctr_core::image::{ResolvedImage, Wanted, resolve_documents};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::record::{Signer, SignerKey};
use sysctr_core::skopeo::{Call, Ear, Failure, Home, Patience, Skopeo};

use crate::progress::{Fetch, Form};
use crate::signers::Policy;

/// Which image.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name.
    pub reference: ImageRef,
    /// What it must be.
    pub pin: Option<Digest>,
    /// One of whom must have signed what a registry gives; none: nobody need.
    pub keys: Vec<SignerKey>,
}

/// How an image is brought.
#[derive(Debug, Clone)]
pub struct Road {
    /// A file with the passwords of registries (containers-auth.json(5)), if not the usual one.
    pub authfile: Option<Utf8PathBuf>,
    /// How long a registry may take.
    pub patience: Patience,
    /// Who hears how far it is.
    pub progress: Form,
    /// The user's wish to stop.
    pub interrupt: Interrupt,
}

/// An image that can be read.
#[derive(Debug)]
pub struct Fetched {
    /// It. Layers that its host has are not there.
    pub image: ResolvedImage,
    /// Bytes of blobs that came.
    pub bytes: u64,
    /// Whose signatures were verified.
    pub signed_by: Vec<Signer>,
}

/// An image on its way, into the directory `dir`.
pub struct Fetcher<'a> {
    /// Which.
    pub source: &'a Source,
    /// What for.
    pub architecture: Architecture,
    /// How.
    pub road: &'a Road,
    /// Where to; what an earlier call left there is not fetched again.
    pub dir: &'a Utf8Path,
}

impl Fetcher<'_> {
    /// The image without its layers, where they can be left out: of registries. Of all other places it comes whole, or is read
    /// where it lies.
    ///
    /// # Errors
    /// When it can't be found or fetched, or is none that we can read.
    pub fn documents(&self) -> Result<Fetched> {
        let Source { reference, pin, .. } = self.source;
        if reference.transport().reader() == Reader::Native {
            let base =
                Utf8PathBuf::from_path_buf(std::env::current_dir().context("finding the current directory")?);
            let base = base
                .map_err(|base| anyhow::anyhow!("the current directory {} is not UTF-8", base.display()))?;
            let architecture = Some(self.architecture);
            let image = resolve_documents(&Wanted { reference, base: &base, architecture, pin: *pin })?;
            return Ok(Fetched { image, bytes: 0, signed_by: Vec::new() });
        }
        let doing = || format!("fetching image {reference}");
        self.make_dirs().with_context(doing)?;
        if reference.transport() == Transport::Docker {
            for digest in self.layers().with_context(doing)? {
                self.leave_out(&digest).with_context(doing)?;
            }
        }
        let (signed_by, signed) = self.signers().with_context(doing)?;
        // What the host itself demands, too.
        let copied = self.copy(None, Ear::Nobody).and_then(|()| self.resolve()).with_context(doing)?;
        if let Some(signed) = signed {
            require_same(&signed, &copied).with_context(doing)?;
        }
        Ok(Fetched { signed_by, ..copied })
    }

    /// Brings the layers that are not there and not `known` by their diff_ids.
    ///
    /// # Errors
    /// When one can't be fetched.
    pub fn layers_of(&self, found: Fetched, known: impl Fn(&Digest) -> bool) -> Result<Fetched> {
        if self.source.reference.transport() != Transport::Docker {
            return Ok(found);
        }
        let missing = missing(&found.image, known);
        if missing.is_empty() {
            return Ok(found);
        }
        let name = self.source.reference.to_string();
        let doing = || format!("fetching image {name}");
        for (digest, _) in &missing {
            let blob = self.blob(digest);
            std::fs::remove_file(&blob).with_context(|| format!("removing {blob}")).with_context(doing)?;
        }
        let fetch = Fetch::begin(self.road.progress, &name, self.architecture, missing);
        let hear = |marks: &[_]| fetch.hear(marks);
        let ear = if fetch.is_heard() { Ear::Marks(&hear) } else { Ear::Nobody };
        let fetched = self.copy(None, ear).and_then(|()| self.resolve()).with_context(doing)?;
        fetch.done();
        require_same(&found, &fetched).with_context(doing)?;
        Ok(Fetched { signed_by: found.signed_by, ..fetched })
    }

    fn make_dirs(&self) -> Result<()> {
        for dir in ["blobs/sha256", "home"].map(|name| self.dir.join(name)) {
            std::fs::create_dir_all(&dir).with_context(|| format!("making directory {dir}"))?;
        }
        Ok(())
    }

    fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// A file without content stands for a blob that need not come.
    fn leave_out(&self, digest: &Digest) -> Result<()> {
        let blob = self.blob(digest);
        if blob.exists() {
            return Ok(());
        }
        std::fs::write(&blob, b"").with_context(|| format!("writing {blob}"))
    }

    fn from(&self) -> ImageRef {
        let Source { reference, pin, .. } = self.source;
        pin.map_or_else(|| reference.clone(), |pin| reference.pinned(pin))
    }

    fn call(&self) -> Call {
        Call::default().args(["--override-os", "linux", "--override-arch", self.architecture.as_str()])
    }

    fn run(&self, call: &Call, ear: Ear<'_>) -> Result<Vec<u8>> {
        let Road { patience, interrupt, .. } = self.road;
        let skopeo = Skopeo { base: Utf8Path::new("/"), patience: *patience, interrupt };
        // Policy, keys and registries are the admin's: in /etc, and for `containers-storage` root's own.
        skopeo.run(call, Home::Users, self.dir, ear)
    }

    /// Digests of the layers' blobs as the registry says. It is a hint: what is left out because of it and is needed is
    /// fetched after all.
    fn layers(&self) -> Result<Vec<Digest>> {
        let authfile = self.road.authfile.as_deref().map(Utf8Path::as_str);
        let call = self.call().args(["inspect", "--no-tags"]).with("--authfile", authfile);
        let said = self.run(&call.args([self.from().to_string()]), Ear::Nobody)?;
        let said: serde_json::Value =
            serde_json::from_slice(&said).context("reading what skopeo says of it")?;
        let layers = said["Layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(layers.iter().filter_map(|digest| digest.as_str()?.parse().ok()).collect())
    }

    /// Copies the documents under each key, and tells whose signatures they have, which are those of one image; other places than
    /// registries have none that could be demanded.
    fn signers(&self) -> Result<(Vec<Signer>, Option<Fetched>)> {
        let (mut signers, mut signed) = (Vec::new(), None);
        let mut refused = None;
        let transport = self.source.reference.transport();
        for key in self.source.keys.iter().filter(|_| transport == Transport::Docker) {
            let policy = Policy::of(key, transport.as_str(), &self.dir.join("signers"))?;
            match self.copy(Some(&policy), Ear::Nobody) {
                Ok(()) => {
                    let copied = self.resolve()?;
                    // A tag may move between two copies.
                    signed.as_ref().map_or(Ok(()), |signed| require_same(signed, &copied))?;
                    signed = Some(copied);
                    signers.push(key.signer.clone());
                }
                Err(error) if error.downcast_ref::<Failure>().is_some_and(Failure::is_refusal) => {
                    refused = refused.or(Some((error, &key.signer)));
                }
                Err(error) => return Err(error),
            }
        }
        match refused {
            Some((error, Signer { key, fingerprint, .. })) if signers.is_empty() => {
                bail!("{error:#}; the host image demands a signature by {key} ({fingerprint})")
            }
            _ => Ok((signers, signed)),
        }
    }

    /// Copies what is not there, accepted by a policy, or by the host's own.
    fn copy(&self, policy: Option<&Policy>, ear: Ear<'_>) -> Result<()> {
        let authfile = self.road.authfile.as_deref().map(Utf8Path::as_str);
        let registries_d = policy.and_then(|policy| policy.registries_d.as_deref());
        let mut call = Call::default()
            .with("--policy", policy.map(|policy| policy.file.as_str()))
            .with("--registries.d", registries_d.map(Utf8Path::as_str))
            .args(["--override-os", "linux", "--override-arch", self.architecture.as_str()])
            // An OCI layout has no place for simple ones.
            .args(["copy", "--preserve-digests", "--remove-signatures"]);
        if let Ear::Nobody = ear {
            call = call.args(["--quiet"]);
        }
        let call = call.with("--src-authfile", authfile);
        let to = format!("oci:{}:image", self.dir);
        self.run(&call.args([self.from().to_string(), to]), ear).map(drop)
    }

    fn resolve(&self) -> Result<Fetched> {
        // Where its name came to mean another one meanwhile, both are there.
        let layout: ImageRef =
            format!("oci:{}:image", self.dir).parse().context("naming the fetched image")?;
        let (architecture, pin) = (Some(self.architecture), self.source.pin);
        let wanted = Wanted { reference: &layout, base: Utf8Path::new("/"), architecture, pin };
        let bytes = size(&self.dir.join("blobs/sha256"))?;
        Ok(Fetched { image: resolve_documents(&wanted)?, bytes, signed_by: Vec::new() })
    }
}

/// A signature holds for what was there when it was looked at: for the configuration, and by its diff_ids for every layer.
fn require_same(before: &Fetched, after: &Fetched) -> Result<()> {
    let configuration = |fetched: &Fetched| fetched.image.config_document.digest;
    ensure!(
        configuration(before) == configuration(after),
        "its name came to mean another image meanwhile; try again"
    );
    Ok(())
}

/// Blobs with their bytes of layers that are not there and not `known` by their diff_ids.
pub fn missing(image: &ResolvedImage, known: impl Fn(&Digest) -> bool) -> Vec<(Digest, u64)> {
    let layers = (0..image.layer_count()).zip(&image.config.diff_ids);
    let missing = layers.filter(|(index, diff_id)| !image.has_layer(*index) && !known(diff_id));
    let blobs = missing.filter_map(|(index, _)| Some((image.layer_digest(index)?, image.layer_size(index))));
    // An image may have a layer twice.
    blobs.collect::<std::collections::BTreeMap<_, _>>().into_iter().collect()
}

/// The digest of what a registry's tag names now, be it an index or an image manifest. It is a hint, since nobody checked it against
/// a policy; a host that has that image already need not ask for more. None from other places, and from a registry that does not
/// tell.
pub fn peek(source: &Source, road: &Road, scratch: &Utf8Path) -> Option<Digest> {
    if source.reference.transport() != Transport::Docker || source.pin.is_some() {
        return None;
    }
    let call = Call::default()
        .args(["inspect", "--raw"])
        .with("--authfile", road.authfile.as_deref().map(Utf8Path::as_str))
        .args([source.reference.to_string()]);
    std::fs::create_dir_all(scratch.join("home")).ok()?;
    let skopeo = Skopeo { base: Utf8Path::new("/"), patience: HINT, interrupt: &road.interrupt };
    skopeo.run(&call, Home::Users, scratch, Ear::Nobody).ok().map(|bytes| Digest::of(&bytes))
}

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
