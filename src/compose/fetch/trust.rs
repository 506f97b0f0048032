//! Who may bring bytes in: policies (containers-policy.json(5)) and keys, from beside the manifest or from the machine, never
//! from the user's home.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::Transport;
use sysctr_core::record::{SignatureKind, Signer, SignerKey};
use sysctr_core::skopeo::signatures;

use super::staging::Staging;
use crate::manifest::Container;

/// The policy beside a manifest.
const POLICY: &str = "policy.json";
/// The machine's.
const OF_MACHINE: &str = "/etc/containers/policy.json";

/// Which images are accepted without a verified signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Those that policy and manifest accept.
    AsWritten,
    /// None.
    Signed,
}

/// Policy, keys and registries' configuration of one manifest.
#[derive(Debug)]
pub struct Trust {
    /// `None`: there is none anywhere, and nothing is demanded.
    policy: Option<Policy>,
    /// Where registries keep signatures (containers-registries.d(5)), beside the manifest.
    pub registries_d: Option<Utf8PathBuf>,
    /// Mirrors and the like (containers-registries.conf(5)), beside the manifest.
    pub registries_conf: Option<Utf8PathBuf>,
    /// What is demanded beyond that.
    pub demand: Demand,
}

#[derive(Debug)]
struct Policy {
    path: Utf8PathBuf,
    value: Value,
}

/// Something that a signature may fulfil.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Who that would be.
    pub signer: Signer,
    /// Whether the manifest names it (`signed_by`).
    pub origin: Origin,
    /// An element of a policy.
    requirement: Value,
}

/// Who names a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The manifest: one of these must fit.
    Manifest,
    /// The policy: skopeo decides which must fit; we note which do.
    Policy,
}

impl Trust {
    /// Looks for what lies beside the manifest, in `base`; `policy` takes the place of the policies there.
    ///
    /// # Errors
    /// When the policy can't be read.
    pub fn find(base: &Utf8Path, policy: Option<&Utf8Path>, demand: Demand) -> Result<Self> {
        let there = |path: Utf8PathBuf| path.exists().then_some(path);
        let beside = |name: &str| there(base.join(name));
        let found =
            policy.map(Utf8Path::to_owned).or_else(|| beside(POLICY)).or_else(|| there(OF_MACHINE.into()));
        let policy = found.map(|path| Policy::read(&path)).transpose()?;
        Ok(Self {
            policy,
            registries_d: beside("registries.d"),
            registries_conf: beside("registries.conf"),
            demand,
        })
    }

    /// Whether anything but “everything is accepted” is said.
    pub fn policy(&self) -> Option<&Utf8Path> {
        self.policy.as_ref().map(|policy| &*policy.path)
    }

    /// Whether a policy, a key or a demand decides if `container`'s image is accepted.
    pub fn has_a_say(&self, container: &Container) -> bool {
        let of_policy = self.policy.as_ref().is_some_and(|it| !it.accepts_all(container.image.transport()));
        of_policy || !container.registry.signed_by.is_empty() || self.demand != Demand::AsWritten
    }

    /// The policy for skopeo: the one that was found, else one that accepts everything.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn policy_file(&self, staging: &Staging) -> Result<Utf8PathBuf> {
        match &self.policy {
            Some(policy) => super::cache::absolute(&policy.path),
            None => write(staging, &json!({"default": [{"type": "insecureAcceptAnything"}]})),
        }
    }

    /// What could tell who signed `container`'s image.
    ///
    /// # Errors
    /// When a key file can't be read, or is of no kind that we know.
    pub fn candidates(
        &self,
        container: &Container,
        base: &Utf8Path,
        staging: &Staging,
    ) -> Result<Vec<Candidate>> {
        let home = staging.join("home");
        let demanded = container.registry.signed_by.iter().map(|key| {
            let kind =
                kind_of(&base.join(key)).with_context(|| format!("reading the key {key} of signed_by"))?;
            Candidate::new(signatures::requirement(kind, key), Origin::Manifest, base, &home)
        });
        let mut candidates = demanded.collect::<Result<Vec<_>>>()?;
        let known: BTreeSet<String> = candidates.iter().map(|it| it.requirement.to_string()).collect();
        let policy = self.policy.iter().flat_map(|policy| policy.requirements(container.image.transport()));
        for requirement in policy.filter(|requirement| !known.contains(&requirement.to_string())) {
            candidates.push(Candidate::new(requirement, Origin::Policy, base, &home)?);
        }
        Ok(candidates)
    }

    /// Registries' configuration for trying a candidate; made up for sigstore where the manifest has none, because its
    /// signatures are not looked for otherwise.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn registries_d(&self, candidate: &Candidate, staging: &Staging) -> Result<Option<Utf8PathBuf>> {
        if self.registries_d.is_some() || candidate.signer.kind == SignatureKind::Gpg {
            return self.registries_d.as_deref().map(super::cache::absolute).transpose();
        }
        let dir = staging.join("registries.d");
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(dir.join("sysctr.yaml"), signatures::SIGSTORE))
            .with_context(|| format!("writing {dir}"))?;
        Ok(Some(dir))
    }
}

/// The keys of those signers that the manifest names, which updates on the host will be held against.
///
/// # Errors
/// When a key can't be read, or is another than the one whose signature was verified.
pub fn keys(container: &Container, base: &Utf8Path, signed_by: &[Signer]) -> Result<Vec<SignerKey>> {
    let named = signed_by.iter().filter(|signer| container.registry.signed_by.contains(&signer.key));
    let read = |signer: &Signer| {
        let doing = || format!("reading the key {} of signed_by, which updates on the host need", signer.key);
        let key = std::fs::read(base.join(&signer.key)).with_context(doing)?;
        if signer.kind == SignatureKind::Sigstore && Digest::of(&key).hex() != signer.fingerprint {
            bail!("{}: it is another than {} that signed the image", doing(), signer.fingerprint);
        }
        Ok(SignerKey { signer: signer.clone(), key })
    };
    named.map(read).collect()
}

impl Policy {
    fn read(path: &Utf8Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading the policy {path}"))?;
        let value = serde_json::from_slice(&bytes).with_context(|| format!("reading the policy {path}"))?;
        Ok(Self { path: path.to_owned(), value })
    }

    /// Its lists of requirements for a transport, the default's with them.
    fn lists(&self, transport: Transport) -> impl Iterator<Item = &Value> {
        let scopes = &self.value["transports"][transport.as_str()];
        let scopes = scopes.as_object().into_iter().flat_map(|scopes| scopes.values());
        scopes.chain([&self.value["default"]])
    }

    /// Whether no image of a transport can be refused by it.
    fn accepts_all(&self, transport: Transport) -> bool {
        let accepts = |one: &Value| one["type"] == "insecureAcceptAnything";
        self.lists(transport)
            .all(|list| list.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(accepts)))
    }

    /// Every demand for a signature that it has for a transport, once.
    fn requirements(&self, transport: Transport) -> Vec<Value> {
        let lists = self.lists(transport).filter_map(Value::as_array);
        let mut found: Vec<Value> = Vec::new();
        for requirement in lists.flatten() {
            let is_signature = matches!(requirement["type"].as_str(), Some("signedBy" | "sigstoreSigned"));
            if is_signature && !found.contains(requirement) {
                found.push(requirement.clone());
            }
        }
        found
    }
}

impl Candidate {
    fn new(requirement: Value, origin: Origin, base: &Utf8Path, home: &Utf8Path) -> Result<Self> {
        let kind = match requirement["type"].as_str() {
            Some("signedBy") => SignatureKind::Gpg,
            _ => SignatureKind::Sigstore,
        };
        let (key, fingerprint) = match requirement["keyPath"].as_str() {
            Some(path) => {
                let told = fingerprint(kind, &base.join(path), home);
                (path.to_owned(), told.with_context(|| format!("reading the key {path}"))?)
            }
            None => {
                let data = requirement["keyData"].as_str().unwrap_or_default();
                ("keyData".to_owned(), Digest::of(data.as_bytes()).hex())
            }
        };
        Ok(Self { signer: Signer { kind, key, fingerprint }, origin, requirement })
    }

    /// A policy that only this one's signature fulfils.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn policy_file(&self, transport: Transport, staging: &Staging) -> Result<Utf8PathBuf> {
        write(staging, &signatures::only(transport.as_str(), &self.requirement))
    }
}

fn write(staging: &Staging, policy: &Value) -> Result<Utf8PathBuf> {
    let path = staging.join("policy.json");
    std::fs::write(&path, policy.to_string()).with_context(|| format!("writing {path}"))?;
    Ok(path)
}

/// A sigstore key is a PEM public key, all else must be OpenPGP.
fn kind_of(path: &Utf8Path) -> Result<SignatureKind> {
    let bytes = std::fs::read(path)?;
    let pem = bytes.windows(26).any(|window| window == b"-----BEGIN PUBLIC KEY-----");
    Ok(if pem { SignatureKind::Sigstore } else { SignatureKind::Gpg })
}

fn fingerprint(kind: SignatureKind, path: &Utf8Path, home: &Utf8Path) -> Result<String> {
    match kind {
        SignatureKind::Sigstore => Ok(Digest::of(&std::fs::read(path)?).hex()),
        SignatureKind::Gpg => openpgp_fingerprint(path, home),
    }
}

/// Fingerprints of the primary keys in a file, as gpg tells them with the empty `home`.
fn openpgp_fingerprint(path: &Utf8Path, home: &Utf8Path) -> Result<String> {
    std::fs::metadata(path)?;
    let mut command = Command::new("gpg");
    command.args(["--homedir", home.as_str(), "--batch", "--no-options", "--no-keyring"]);
    command.args(["--trust-model", "always", "--with-colons", "--show-keys", "--", path.as_str()]);
    let output = command.stdin(Stdio::null()).output().context("running gpg; install the package gnupg")?;
    ensure!(output.status.success(), "it is no OpenPGP key");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = Vec::new();
    let mut primary = false;
    for fields in text.lines().map(|line| line.split(':').collect::<Vec<_>>()) {
        match fields.first().copied() {
            Some("pub") => primary = true,
            Some("fpr") if primary => {
                found.extend(fields.get(9).map(|text| (*text).to_owned()));
                primary = false;
            }
            _ => {}
        }
    }
    if found.is_empty() {
        bail!("it has no OpenPGP public key");
    }
    Ok(found.join(" or "))
}
