//! Policies that one signer's signature fulfils, and nothing else (containers-policy.json(5)).

use serde_json::{Value, json};

use crate::record::SignatureKind;

/// Registries' configuration (containers-registries.d(5)) under which sigstore signatures are looked for, which they are not
/// otherwise.
pub const SIGSTORE: &str = "default-docker:\n  use-sigstore-attachments: true\n";

/// A demand for a signature by the key in a file.
pub fn requirement(kind: SignatureKind, key: &str) -> Value {
    match kind {
        SignatureKind::Gpg => json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": key}),
        SignatureKind::Sigstore => json!({"type": "sigstoreSigned", "keyPath": key}),
    }
}

/// A policy that accepts only what fulfils the requirement.
pub fn only(transport: &str, requirement: &Value) -> Value {
    json!({"default": [{"type": "reject"}], "transports": {transport: {"": [requirement]}}})
}
