//! One image through `skopeo copy` into the cache.
//!
//! The copy keeps every byte (`--preserve-digests`), so what the policy accepted is what the cache gets.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use anyhow::{Context, Result, anyhow, bail, ensure};
use camino::Utf8PathBuf;
use serde_json::Value;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::{ImageRef, Transport};
use sysctr_core::image::stored::{Parts, led_to};
use sysctr_core::record::Signer;

use super::cache::State;
use super::hint::Hint;
use super::progress::Progress;
use super::staging::Staging;
use super::trust::{Candidate, Demand, Origin};
use super::{Fetcher, Task};
use crate::lock::Locked;
use crate::manifest::Tls;
use sysctr_core::skopeo::Failure;
use sysctr_core::skopeo::Mark;
use sysctr_core::skopeo::{Call, Ear, Home};

/// An image that was fetched.
pub struct Pulled {
    /// What it is.
    pub locked: Locked,
    /// Bytes that are new in the cache.
    pub bytes: u64,
}

impl Fetcher<'_> {
    /// Fetches an image and finds out who signed it. Nothing of it is in the cache before policy and keys accepted it;
    /// whole blobs of an image that could not be finished stay for the next try.
    ///
    /// # Errors
    /// When the source can't be read, the policy or the manifest's keys refuse it, or it is not what was expected.
    pub(super) fn pull(&self, task: &Task<'_>, hint: &Hint, progress: &Progress<'_>) -> Result<Pulled> {
        let staging = Staging::new(&self.cache)?;
        if let Some(manifest) = self.asked_for_nothing(task, hint)? {
            let (manifest, _) = staging.write(manifest, self.interrupt)?;
            return self.finish(task, hint, (manifest, Vec::new()), &staging, progress);
        }
        for layer in hint.layers() {
            if self.cache.state(layer, self.interrupt)? == State::Whole {
                self.cache.touch(layer);
                staging.lend(&self.cache, layer)?;
            }
        }
        let missing = self.missing(hint);
        let hear = |marks: &[Mark]| watch(&missing, marks, &staging, progress);
        let ear = if progress.is_heard() { Ear::Marks(&hear) } else { Ear::Nobody };
        match self.copies(task, &staging, ear) {
            Ok(done) => self.finish(task, hint, done, &staging, progress),
            Err(error) => {
                self.interrupt.check()?;
                // What came whole need not come again, unless somebody refused the image.
                if error.downcast_ref::<Failure>().is_some_and(|failure| !failure.is_refusal()) {
                    self.keep(&staging, progress)?;
                }
                Err(error)
            }
        }
    }

    /// The image manifest, if nothing is left to copy and nobody has a say in it.
    fn asked_for_nothing<'h>(&self, task: &Task<'_>, hint: &'h Hint) -> Result<Option<&'h [u8]>> {
        if self.trust.has_a_say(task.container) {
            return Ok(None);
        }
        let Some((manifest, blobs)) = hint.image() else { return Ok(None) };
        for blob in &blobs {
            if self.cache.state(blob, self.interrupt)? != State::Whole {
                return Ok(None);
            }
        }
        blobs.iter().for_each(|blob| self.cache.touch(blob));
        Ok(Some(manifest))
    }

    /// All of it is in the staging directory or in the cache.
    fn finish(
        &self,
        task: &Task<'_>,
        hint: &Hint,
        (manifest, signers): (Digest, Vec<Signer>),
        staging: &Staging,
        progress: &Progress<'_>,
    ) -> Result<Pulled> {
        let index = self.index(hint, manifest, staging)?;
        let bytes = self.keep(staging, progress)?;
        let parts = self.parts(task, index, manifest)?;
        Ok(Pulled { locked: Locked::new(task.container.image.clone(), parts, signers), bytes })
    }

    /// Copies under the manifest's keys, then under the policy, then under each key of the policy to see whose signature
    /// it is. Only the first copy that is accepted brings layers.
    fn copies(&self, task: &Task<'_>, staging: &Staging, ear: Ear<'_>) -> Result<(Digest, Vec<Signer>)> {
        let candidates = self.trust.candidates(task.container, self.base, staging)?;
        let (demanded, noted): (Vec<_>, Vec<_>) =
            candidates.iter().partition(|candidate| candidate.origin == Origin::Manifest);
        let (mut signers, mut found) = self.signers(&demanded, task, staging, ear)?;
        if let (Some((candidate, failure)), true) = (found.refusals.first(), signers.is_empty()) {
            let keys = &task.container.registry.signed_by;
            let wanted = if keys.len() == 1 { &candidate.signer.key } else { &keys.join(" or ") };
            bail!("{failure}; signed_by demands a signature by {wanted}");
        }
        if signers.is_empty() || self.trust.policy().is_some() {
            let copied = self.copy(task, &self.trust.policy_file(staging)?, None, staging, ear);
            found.manifests.insert(copied.map_err(|error| self.by_policy(error))?);
            let (more, seen) = self.signers(&noted, task, staging, ear)?;
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
        ear: Ear<'_>,
    ) -> Result<(Vec<Signer>, Found<'c>)> {
        let mut signers = Vec::new();
        let mut found = Found::default();
        for candidate in candidates {
            let policy = candidate.policy_file(task.container.image.transport(), staging)?;
            match self.copy(task, &policy, Some(candidate), staging, ear) {
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
        ear: Ear<'_>,
    ) -> Result<Digest> {
        let source = self.source(task);
        let transport = source.transport();
        let registries_d = match candidate {
            Some(candidate) => self.trust.registries_d(candidate, staging)?,
            None => self.trust.registries_d.as_deref().map(super::cache::absolute).transpose()?,
        };
        let digest_file = staging.join("digest");
        let call = self.global(task, Some(policy))?.with("--registries.d", registries_d.as_deref());
        let call = call.args(["copy", "--remove-signatures", "--dest-oci-accept-uncompressed-layers"]);
        let call = call.args(matches!(ear, Ear::Nobody).then_some("--quiet"));
        // Its layers have to be packed anew.
        let kept = (transport != Transport::ContainersStorage).then_some("--preserve-digests");
        let call = call.args(kept).args(["--dest-shared-blob-dir", staging.join("blobs").as_str()]);
        let call = call.args(["--digestfile", digest_file.as_str()]);
        let call = self.access(call, task, "--src-authfile", "--src-tls-verify");
        let call = call.args([source.to_string(), format!("oci:{}:image", staging.join("layout"))]);
        let home = if transport == Transport::ContainersStorage { Home::Users } else { Home::Empty };
        self.skopeo().run(&call, home, staging.dir(), ear)?;
        let text = std::fs::read_to_string(&digest_file).with_context(|| format!("reading {digest_file}"))?;
        Ok(text.trim().parse()?)
    }

    /// The place to fetch from: by tag, or by the digest that the lock has.
    fn source(&self, task: &Task<'_>) -> ImageRef {
        task.expected.map_or_else(|| task.container.image.clone(), Locked::from)
    }

    pub(super) fn global(&self, task: &Task<'_>, policy: Option<&Utf8PathBuf>) -> Result<Call> {
        let conf = self.trust.registries_conf.as_deref().map(super::cache::absolute).transpose()?;
        let call =
            Call::default().args(["--override-os", "linux", "--override-arch", task.architecture.as_str()]);
        Ok(call.with("--registries-conf", conf).with("--policy", policy))
    }

    /// Credentials and TLS, by the names that a verb of skopeo gives them.
    pub(super) fn access(&self, call: Call, task: &Task<'_>, authfile: &str, tls_verify: &str) -> Call {
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

/// Tells how far the missing layers are: those under way as skopeo draws them, those that came by their files.
fn watch(missing: &BTreeMap<Digest, u64>, marks: &[Mark], staging: &Staging, progress: &Progress<'_>) {
    for (&layer, &size) in missing {
        if let Some(size) = staging.arrived(&layer) {
            progress.whole(layer, size);
        } else if let Some(mark) = marks.iter().rfind(|mark| layer.hex().starts_with(&mark.blob)) {
            progress.blob(layer, mark.bytes, size);
        }
    }
    progress.at(staging.bytes());
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
