//! What a manifest says about the way to an image's registry.

use anyhow::{Result, ensure};
use sysctr_core::image::reference::{ImageRef, Transport};

/// How an image is brought from its registry. Paths are relative to the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    /// Credentials (containers-auth.json(5)); else the user's own.
    pub authfile: Option<String>,
    /// What a connection must be.
    pub tls: Tls,
    /// Key files, one of whose keys must have signed the image. Empty: nothing is demanded here.
    pub signed_by: Vec<String>,
}

/// What a connection must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// HTTPS with a certificate that is valid.
    #[default]
    Verified,
    /// HTTPS with any certificate, or HTTP.
    Any,
}

impl Registry {
    /// What is said of `image`'s registry, if that can mean anything.
    ///
    /// # Errors
    /// When keys are given that mean nothing for the image's transport, or mean nothing at all.
    pub fn validate(
        image: &ImageRef,
        authfile: Option<String>,
        tls_verify: Option<bool>,
        signed_by: Option<Vec<String>>,
    ) -> Result<Self> {
        let given = [
            ("authfile", authfile.is_some()),
            ("tls_verify", tls_verify.is_some()),
            ("signed_by", signed_by.is_some()),
        ];
        if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
            ensure!(
                image.transport() == Transport::Docker,
                "{key} is for docker:// images; nothing of {image} comes from a registry"
            );
        }
        let keys = signed_by.unwrap_or_default();
        ensure!(!given[2].1 || !keys.is_empty(), "signed_by is empty; name a key file, or leave it out");
        let tls = if tls_verify == Some(false) { Tls::Any } else { Tls::Verified };
        Ok(Self { authfile, tls, signed_by: keys })
    }
}
