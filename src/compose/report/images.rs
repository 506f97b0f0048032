//! Which images a compose brings, by digest.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use sysctr_core::digest::Digest;
use sysctr_core::name::ContainerName;
use sysctr_core::placement::Present;
use sysctr_core::record::{ImageRecord, Record, Signer};

use super::{ComposeReport, printable};

/// Which image a container has and had.
#[derive(Debug, Default, Serialize)]
pub struct Identity {
    /// Digest of the image manifest; a docker-archive has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// What is embedded now, if that is another image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// What is known of its signature, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// The image that is replaced.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Before {
    /// Digest of the image manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Digest of the image configuration.
    pub config: Digest,
}

impl ComposeReport {
    /// Adds old and new digests and what `signature` knows of an image and its signers.
    pub fn tell_images(
        &mut self,
        present: &Present,
        records: &BTreeMap<ContainerName, Record>,
        signature: impl Fn(&ContainerName, &[Signer]) -> Option<String>,
    ) {
        for container in &mut self.containers {
            let (old, new) = (present.records.get(&container.name), records.get(&container.name));
            let Some(new) = new.map(|record| &record.image) else { continue };
            let before = old.map(|record| digests(&record.image)).filter(|old| *old != digests(new));
            let signature = signature(&container.name, &new.signed_by);
            container.identity = Identity { manifest: new.manifest, before, signature };
        }
    }
}

fn digests(image: &ImageRecord) -> Before {
    Before { manifest: image.manifest, config: image.config }
}

impl Identity {
    /// The lines for people.
    pub(super) fn write(&self, text: &mut String) {
        let line = match (&self.before, self.manifest) {
            (Some(before), now) => {
                let now = now.map_or_else(|| "an image without a manifest".to_owned(), |now| now.to_string());
                Some(format!("{} → {now}", before.manifest.unwrap_or(before.config)))
            }
            (None, Some(now)) => Some(now.to_string()),
            (None, None) => None,
        };
        for line in line.iter().chain(&self.signature) {
            writeln!(text, "        {}", printable(line)).unwrap_or_default();
        }
    }
}
