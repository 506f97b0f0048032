//! Whose signatures updates must have: those that the manifest of the host image named. Their keys lie in the bundle.

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::Digest;
use sysctr_core::place;
use sysctr_core::record::{self, Record, SignatureKind, SignerKey, Signers};
use sysctr_core::skopeo::signatures::{SIGSTORE, only, requirement};

use crate::active::host;

/// The signers of whom one must have signed what a registry gives for an update of what lies in `bundle`, whose record this is.
///
/// # Errors
/// When they or their keys can't be read, or are not as recorded: what is missing must not count as nothing demanded.
pub fn of(bundle: &Utf8Path, record: &Record) -> Result<Vec<SignerKey>> {
    let path = bundle.join(place::SIGNERS_JSON);
    if !record.files.contains_key(place::SIGNERS_JSON) {
        return Ok(Vec::new());
    }
    let bytes = recorded(bundle, record, place::SIGNERS_JSON)?;
    let signers: Signers = record::from_json(&bytes, path.as_str())?;
    let key = |(place, signer)| {
        let key = recorded(bundle, record, &place::signer_key(place))?;
        Ok(SignerKey { signer, key })
    };
    signers.signers.into_iter().enumerate().map(key).collect()
}

/// The bytes of a file of a bundle, as its record has them.
fn recorded(bundle: &Utf8Path, record: &Record, file: &str) -> Result<Vec<u8>> {
    let path = bundle.join(file);
    let bytes = host::read(&path)?;
    let is_right = |bytes: &Vec<u8>| record.files.get(file) == Some(&Digest::of(bytes));
    bytes.filter(is_right).with_context(|| {
        format!(
            "reading {path}, by which updates must be signed: it is missing or not as recorded; `sysctr verify --repair {}` makes a \
             generation whole again, deploying the host image again what that has",
            record.name
        )
    })
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
