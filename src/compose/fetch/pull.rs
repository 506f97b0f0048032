//! One image through `skopeo copy` into the cache.
//!
//! The copy keeps every byte (`--preserve-digests`), so what the policy accepted is what the cache gets. What a registry says
//! beforehand (`skopeo inspect --raw`) decides nothing but which layers are lent from the cache.

use std::collections::BTreeSet;
use std::ffi::OsString;

use anyhow::{Context, Result, anyhow, bail, ensure};
use camino::Utf8PathBuf;
use serde_json::Value;
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::{ImageRef, Transport};
use sysctr_core::image::stored::{Parts, led_to};
use sysctr_core::record::Signer;

use super::cache::State;
use super::skopeo::{Call, Home};
use super::staging::Staging;
use super::trust::{Candidate, Demand, Origin};
use super::words::Failure;
use super::{Fetcher, Task};
use crate::lock::Locked;
use crate::manifest::Tls;

/// What a source says of an image before it is fetched. Not checked by anybody.
#[derive(Debug, Default)]
pub struct Hint {
    /// The bytes that the reference leads to, if these are an image index.
    index: Option<Vec<u8>>,
    /// Layers that the cache lacks, with their sizes.
    pub missing: BTreeSet<Digest>,
    /// The layers' bytes that are missing.
    pub bytes: u64,
    /// Layers that the cache has.
    held: Vec<Digest>,
}

/// An image that was fetched.
pub struct Pulled {
    /// What it is.
    pub locked: Locked,
    /// Bytes that are new in the cache.
    pub bytes: u64,
}

impl Fetcher<'_> {
    /// Asks the source which layers to expect.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub(super) fn hint(&self, task: &Task<'_>) -> Result<Hint> {
        let mut hint = Hint::default();
        if let Some(expected) = task.expected {
            for layer in &expected.parts.layers {
                self.expect(&mut hint, layer.digest, layer.size)?;
            }
        }
        if task.container.image.transport() != Transport::Docker {
            return Ok(hint);
        }
        let staging = Staging::new(&self.cache)?;
        if let Some(expected) = task.expected {
            if let Some(index) = expected.parts.index.filter(|index| self.cache.document(index).is_none()) {
                hint.index = Some(self.raw(task, &task.container.image.pinned(index), &staging)?);
            }
            return Ok(hint);
        }
        let mut bytes = self.raw(task, &task.container.image, &staging)?;
        let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if document["manifests"].is_array() {
            let instance = instance(&document, task.architecture);
            hint.index = Some(std::mem::take(&mut bytes));
            // Without one, the copy says what there is.
            let Some(instance) = instance else { return Ok(hint) };
            bytes = self.raw(task, &task.container.image.pinned(instance), &staging)?;
            document = serde_json::from_slice(&bytes).unwrap_or_default();
        }
        for layer in document["layers"].as_array().into_iter().flatten() {
            if let Some(digest) = layer["digest"].as_str().and_then(|text| text.parse().ok()) {
                self.expect(&mut hint, digest, layer["size"].as_u64().unwrap_or_default())?;
            }
        }
        Ok(hint)
    }

    fn expect(&self, hint: &mut Hint, layer: Digest, size: u64) -> Result<()> {
        if self.cache.state(&layer, self.interrupt)? == State::Whole {
            hint.held.push(layer);
        } else if hint.missing.insert(layer) {
            hint.bytes += size;
        }
        Ok(())
    }

    fn raw(&self, task: &Task<'_>, image: &ImageRef, staging: &Staging) -> Result<Vec<u8>> {
        let call = self.global(task, None)?.args(["inspect", "--raw"]);
        let call = self.access(call, task, "--authfile", "--tls-verify").args([image.to_string()]);
        self.skopeo().run(&call, Home::Empty, staging, &|| {})
    }

    /// Fetches an image and finds out who signed it. Nothing of it is in the cache before policy and keys accepted it;
    /// whole blobs of an image that could not be finished stay for the next try.
    ///
    /// # Errors
    /// When the source can't be read, the policy or the manifest's keys refuse it, or it is not what was expected.
    pub(super) fn pull(&self, task: &Task<'_>, hint: &Hint, tick: &dyn Fn(u64)) -> Result<Pulled> {
        let staging = Staging::new(&self.cache)?;
        for layer in hint.held.iter().chain(&hint.missing) {
            if self.cache.state(layer, self.interrupt)? == State::Whole {
                self.cache.touch(layer);
                staging.lend(&self.cache, layer)?;
            }
        }
        let copied = self.copies(task, &staging, &|| tick(staging.bytes()));
        let (manifest, signers) = match copied {
            Ok(done) => done,
            Err(error) => {
                self.interrupt.check()?;
                // What came whole need not come again, unless somebody refused the image.
                if error.downcast_ref::<Failure>().is_some_and(|failure| !failure.is_refusal()) {
                    staging.keep_whole(&self.cache, self.interrupt)?;
                }
                return Err(error);
            }
        };
        let index = self.index(hint, manifest, &staging)?;
        let bytes = staging.keep_whole(&self.cache, self.interrupt)?;
        let parts = self.parts(task, index, manifest)?;
        Ok(Pulled { locked: Locked::new(task.container.image.clone(), parts, signers), bytes })
    }

    /// Copies under the manifest's keys, then under the policy, then under each key of the policy to see whose signature
    /// it is. Only the first copy that is accepted brings layers.
    fn copies(&self, task: &Task<'_>, staging: &Staging, tick: &dyn Fn()) -> Result<(Digest, Vec<Signer>)> {
        let candidates = self.trust.candidates(task.container, self.base, staging)?;
        let (demanded, noted): (Vec<_>, Vec<_>) =
            candidates.iter().partition(|candidate| candidate.origin == Origin::Manifest);
        let (mut signers, mut found) = self.signers(&demanded, task, staging, tick)?;
        if let (Some((candidate, failure)), true) = (found.refusals.first(), signers.is_empty()) {
            let keys = &task.container.registry.signed_by;
            let wanted = if keys.len() == 1 { &candidate.signer.key } else { &keys.join(" or ") };
            bail!("{failure}; signed_by demands a signature by {wanted}");
        }
        if signers.is_empty() || self.trust.policy().is_some() {
            let copied = self.copy(task, &self.trust.policy_file(staging)?, None, staging, tick);
            found.manifests.insert(copied.map_err(|error| self.by_policy(error))?);
            let (more, seen) = self.signers(&noted, task, staging, tick)?;
            signers.extend(more);
            found.manifests.extend(seen.manifests);
        }
        if self.trust.demand == Demand::Signed && signers.is_empty() {
            bail!(
                "no signature of it was verified, and --require-signed wants one; name the key with signed_by"
            );
        }
        let mut manifests = found.manifests.into_iter();
        match (manifests.next(), manifests.next()) {
            (Some(manifest), None) => Ok((manifest, signers)),
            _ => bail!("its tag moved while it was fetched; try again"),
        }
    }

    /// Tries each candidate alone.
    fn signers<'c>(
        &self,
        candidates: &[&'c Candidate],
        task: &Task<'_>,
        staging: &Staging,
        tick: &dyn Fn(),
    ) -> Result<(Vec<Signer>, Found<'c>)> {
        let mut signers = Vec::new();
        let mut found = Found::default();
        for candidate in candidates {
            let policy = candidate.policy_file(task.container.image.transport(), staging)?;
            match self.copy(task, &policy, Some(candidate), staging, tick) {
                Ok(manifest) => {
                    found.manifests.insert(manifest);
                    signers.push(candidate.signer.clone());
                }
                Err(error) => match error.downcast::<Failure>() {
                    Ok(failure) if failure.is_refusal() => found.refusals.push((candidate, failure)),
                    Ok(failure) => return Err(failure.into()),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok((signers, found))
    }

    fn by_policy(&self, error: anyhow::Error) -> anyhow::Error {
        match (error.downcast_ref::<Failure>(), self.trust.policy()) {
            (Some(failure), Some(policy)) if failure.is_refusal() => {
                anyhow!("{failure}; the policy {policy} decides that")
            }
            _ => error,
        }
    }

    /// One `skopeo copy` into the staging directory; the digest of the image manifest that came.
    fn copy(
        &self,
        task: &Task<'_>,
        policy: &Utf8PathBuf,
        candidate: Option<&Candidate>,
        staging: &Staging,
        tick: &dyn Fn(),
    ) -> Result<Digest> {
        let source = self.source(task);
        let transport = source.transport();
        let registries_d = match candidate {
            Some(candidate) => self.trust.registries_d(candidate, staging)?,
            None => self.trust.registries_d.as_deref().map(super::cache::absolute).transpose()?,
        };
        let digest_file = staging.join("digest");
        let call = self.global(task, Some(policy))?.with("--registries.d", registries_d.as_deref());
        let call =
            call.args(["copy", "--quiet", "--remove-signatures", "--dest-oci-accept-uncompressed-layers"]);
        // Its layers have to be packed anew.
        let kept = (transport != Transport::ContainersStorage).then_some("--preserve-digests");
        let call = call.args(kept).args(["--dest-shared-blob-dir", staging.join("blobs").as_str()]);
        let call = call.args(["--digestfile", digest_file.as_str()]);
        let call = self.access(call, task, "--src-authfile", "--src-tls-verify");
        let call = call.args([source.to_string(), format!("oci:{}:image", staging.join("layout"))]);
        let home = if transport == Transport::ContainersStorage { Home::Users } else { Home::Empty };
        self.skopeo().run(&call, home, staging, tick)?;
        let text = std::fs::read_to_string(&digest_file).with_context(|| format!("reading {digest_file}"))?;
        Ok(text.trim().parse()?)
    }

    /// The place to fetch from: by tag, or by the digest that the lock has.
    fn source(&self, task: &Task<'_>) -> ImageRef {
        task.expected.map_or_else(|| task.container.image.clone(), Locked::from)
    }

    fn global(&self, task: &Task<'_>, policy: Option<&Utf8PathBuf>) -> Result<Call> {
        let conf = self.trust.registries_conf.as_deref().map(super::cache::absolute).transpose()?;
        let call =
            Call::default().args(["--override-os", "linux", "--override-arch", task.architecture.as_str()]);
        Ok(call.with("--registries-conf", conf).with("--policy", policy))
    }

    /// Credentials and TLS, by the names that a verb of skopeo gives them.
    fn access(&self, call: Call, task: &Task<'_>, authfile: &str, tls_verify: &str) -> Call {
        if task.container.image.transport() != Transport::Docker {
            return call;
        }
        let registry = &task.container.registry;
        let credentials = registry.authfile.clone().map(OsString::from).or_else(users_credentials);
        let call = call.with(authfile, credentials);
        call.args((registry.tls == Tls::Any).then(|| format!("{tls_verify}=false")))
    }

    /// Notes the index that the reference led to, if it lists the image.
    fn index(&self, hint: &Hint, manifest: Digest, staging: &Staging) -> Result<Option<Digest>> {
        let Some(bytes) = &hint.index else { return Ok(None) };
        let index: Value = serde_json::from_slice(bytes).context("reading its image index")?;
        let manifests = index["manifests"].as_array().into_iter().flatten();
        let listed =
            manifests.filter_map(|one| one["digest"].as_str()).any(|one| one == manifest.to_string());
        ensure!(listed, "its tag moved while it was fetched; try again");
        let (digest, _) = staging.write(&bytes[..], self.interrupt)?;
        Ok(Some(digest))
    }

    /// What the image is made of, as the cache now has it.
    fn parts(&self, task: &Task<'_>, index: Option<Digest>, manifest: Digest) -> Result<Parts> {
        let index = index.or_else(|| task.expected.and_then(|expected| expected.parts.index));
        let image = led_to(self.cache.dir(), index, manifest, Some(task.architecture))?;
        let parts = Parts::of(&image).context("a layer has no digest")?;
        if let Some(expected) = task.expected
            && expected.parts != parts
        {
            bail!(
                "it is not the image {} that the lock has; run sysctr-compose fetch --update",
                expected.parts.identity()
            );
        }
        Ok(parts)
    }
}

/// What trying candidates showed.
#[derive(Default)]
struct Found<'a> {
    manifests: BTreeSet<Digest>,
    refusals: Vec<(&'a Candidate, Failure)>,
}

/// The image manifest that an index has for an architecture. A guess: skopeo chooses.
fn instance(index: &Value, architecture: Architecture) -> Option<Digest> {
    let fits = |one: &&Value| {
        one["platform"]["os"] == "linux" && one["platform"]["architecture"] == architecture.as_str()
    };
    let found = index["manifests"].as_array()?.iter().find(fits)?;
    found["digest"].as_str()?.parse().ok()
}

/// Where the user's own credentials are: they open doors, and decide nothing about what comes in.
fn users_credentials() -> Option<OsString> {
    let file = |variable: &str, rest: &str| {
        let path = std::path::PathBuf::from(std::env::var_os(variable)?).join(rest);
        path.is_file().then(|| path.into_os_string())
    };
    std::env::var_os("REGISTRY_AUTH_FILE")
        .or_else(|| file("XDG_RUNTIME_DIR", "containers/auth.json"))
        .or_else(|| file("XDG_CONFIG_HOME", "containers/auth.json"))
        .or_else(|| file("HOME", ".config/containers/auth.json"))
        .or_else(|| file("HOME", ".docker/config.json"))
}
