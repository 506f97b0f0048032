//! The contract of updates on disk: what lies in `/etc/containers/atomic` about a generation (docs/format.md, "Generations").
//!
//! A generation has its bundle in `/var`, and in `/etc`, which belongs to one deployment of the host, its unit and what this
//! file describes. So a host rollback brings back the containers that the host had.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::ContainerName;
use crate::place;
use crate::record::Placed;

/// `NAME.N`: the N-th update of a container on this host, from 1. Numbers only grow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationName {
    /// Of which container.
    pub container: ContainerName,
    /// Which.
    pub number: NonZeroU64,
}

impl GenerationName {
    /// The generation of `container` with that number.
    pub fn new(container: &ContainerName, number: NonZeroU64) -> Self {
        Self { container: container.clone(), number }
    }

    /// Where its bundle lies on the running host: an absolute path.
    pub fn bundle(&self) -> Utf8PathBuf {
        Utf8Path::new("/").join(place::GENERATIONS_DIR).join(self.to_string())
    }
}

impl fmt::Display for GenerationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.container, self.number))
    }
}

impl FromStr for GenerationName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let doing = || format!("{text:?} is not the name of a generation, NAME.N");
        let (container, number) = text.rsplit_once('.').with_context(doing)?;
        // `web.01` and `web.+1` would be other names of `web.1`.
        if !number.bytes().all(|digit| digit.is_ascii_digit()) || number.starts_with('0') {
            bail!(doing());
        }
        let number = number.parse().with_context(doing)?;
        Ok(Self { container: container.parse().with_context(doing)?, number })
    }
}

/// `generation.json`: one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Format version; readers refuse a newer one ([`crate::record::VERSION`]).
    pub version: u32,
    /// Where its bundle lies on the host.
    pub bundle: Utf8PathBuf,
    /// What was embedded when it was made.
    pub origin: Origin,
    /// Digest of the bundle's `record.json`.
    pub record: Digest,
    /// The reference that it was made from, for people.
    pub image: String,
    /// The image configuration's digest.
    pub config: Digest,
    /// Values that were given on this host (`--set`), by this update and those before it. They outlive an update of the host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
}

/// What a host embedded under a container's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nothing: the container was installed on the host.
    None,
    /// A container with this [`crate::record::Record::origin`].
    Embedded(Digest),
}

/// `trial.json`: the generation was switched to, and nobody knows yet whether it is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Format version.
    pub version: u32,
    /// The boot that it was begun in (`/proc/sys/kernel/random/boot_id`). Any other boot runs what was before.
    pub boot: String,
    /// What it was before it was on trial.
    pub of: Tried,
    /// The generation that was switched away from; none: the embedded container, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<NonZeroU64>,
}

/// What is on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tried {
    /// A generation that was never seen healthy: if it is not now, it is worth nothing.
    New,
    /// One that was, and is returned to.
    Known,
}

/// `host-files.json`: what a generation has on the host beside its units. Contents lie in its bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFiles {
    /// Format version.
    pub version: u32,
    /// By path relative to the host's root.
    pub files: BTreeMap<Utf8PathBuf, Placed>,
    /// Where they may take the place of the host's own (`allow_conflicts`).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed: BTreeSet<Utf8PathBuf>,
}

/// `written.json`: the files of the host that differ from what it had before updates of one container. Written before any of
/// them is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Format version.
    pub version: u32,
    /// Whose they are; none: they are being changed.
    pub of: Option<Whose>,
    /// By path relative to the host's root.
    pub files: BTreeMap<Utf8PathBuf, Overwritten>,
}

/// Whose host files are in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// The host image's.
    Embedded,
    /// This generation's.
    Generation(NonZeroU64),
}

/// One file that an update wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overwritten {
    /// What may lie there if nobody else changed it; nothing is one of them while it is being written or removed.
    pub known: Vec<Option<Placed>>,
    /// What it gives way to.
    pub before: Before,
}

/// What lay at a path before an update wrote there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// What the host image has in `/usr/etc`, a file or nothing, whichever host image that is by then.
    Image,
    /// Nothing.
    Nothing,
    /// A file or link of which a copy lies beside `written.json` ([`crate::place::put_aside`]).
    Kept,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{from_json, to_json};

    #[test]
    fn names_of_generations() {
        for good in ["web.1", "a.b.20", "v1.2a.3"] {
            assert_eq!(good.parse::<GenerationName>().unwrap().to_string(), good);
        }
        for bad in [
            "web",
            "web.",
            "web.0",
            "web.01",
            "web.+1",
            "web.-1",
            "web.1.2",
            ".1",
            "web.99999999999999999999",
        ] {
            let error = bad.parse::<GenerationName>().unwrap_err().to_string();
            assert_eq!(error, format!("{bad:?} is not the name of a generation, NAME.N"));
        }
    }

    #[test]
    fn documents_read_back() {
        let digest = Digest::of(b"x");
        for origin in [Origin::None, Origin::Embedded(digest)] {
            let generation = Generation {
                version: 1,
                bundle: "/var/lib/containers/atomic/web.1".into(),
                origin,
                record: digest,
                image: "oci:web".into(),
                config: digest,
                set: [("A".to_owned(), "1".to_owned())].into(),
            };
            assert_eq!(from_json::<Generation>(&to_json(&generation), "it").unwrap(), generation);
        }
        let trial = Trial { version: 1, boot: "b".into(), of: Tried::Known, before: NonZeroU64::new(3) };
        assert_eq!(from_json::<Trial>(&to_json(&trial), "it").unwrap(), trial);
        assert_eq!(
            String::from_utf8(to_json(&trial)).unwrap(),
            "{\n  \"before\": 3,\n  \"boot\": \"b\",\n  \"of\": \"known\",\n  \"version\": 1\n}\n"
        );
    }
}
