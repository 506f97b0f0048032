//! Whose signatures updates must have: those that the manifest of the host image named. Their keys lie in the bundle.

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::place;
use sysctr_core::record::{self, SignatureKind, SignerKey, Signers};
use sysctr_core::skopeo::signatures::{SIGSTORE, only, requirement};

use crate::active::host;

/// The signers of whom one must have signed what a registry gives for an update of what lies in `bundle`.
///
/// # Errors
/// When they or their keys can't be read.
pub fn of(bundle: &Utf8Path) -> Result<Vec<SignerKey>> {
    let path = bundle.join(place::SIGNERS_JSON);
    let Some(bytes) = host::read(&path)? else { return Ok(Vec::new()) };
    let signers: Signers = record::from_json(&bytes, path.as_str())?;
    let key = |(place, signer)| {
        let path = bundle.join(place::signer_key(place));
        let key = std::fs::read(&path).with_context(|| format!("reading {path}"))?;
        Ok(SignerKey { signer, key })
    };
    signers.signers.into_iter().enumerate().map(key).collect()
}

/// Files by which skopeo accepts only what one signer signed.
#[derive(Debug)]
pub struct Policy {
    /// For `--policy`.
    pub file: Utf8PathBuf,
    /// For `--registries.d`, where the host's own would not do.
    pub registries_d: Option<Utf8PathBuf>,
}

impl Policy {
    /// Of this signer for a transport, written into `dir`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn of(signer: &SignerKey, transport: &str, dir: &Utf8Path) -> Result<Self> {
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            crate::durable::make_parent(&path)?;
            std::fs::write(&path, bytes).with_context(|| format!("writing {path}"))?;
            anyhow::Ok(path)
        };
        let key = write("signer.key", &signer.key)?;
        let policy = only(transport, &requirement(signer.signer.kind, key.as_str()));
        let file = write("signer-policy.json", policy.to_string().as_bytes())?;
        let registries_d = match signer.signer.kind {
            // Where they are kept is the host's to know.
            SignatureKind::Gpg => None,
            SignatureKind::Sigstore => {
                write("registries.d/sysctr.yaml", SIGSTORE.as_bytes())?;
                Some(dir.join("registries.d"))
            }
        };
        Ok(Self { file, registries_d })
    }
}
