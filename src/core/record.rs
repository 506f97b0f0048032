//! The contract between composer and launcher: what lies beside a bundle (`record.json`) and what the whole host
//! embeds (`embedded.json`). docs/format.md describes both for other readers.
//!
//! Both are JSON with sorted keys, two-space indentation and a final newline, so that equal values are equal bytes.

mod made;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::{ContainerName, GroupName};
use crate::settings::{AbsolutePath, Duration, Fallback, Health, Phase, Signal};
pub use crate::tree::SpecialKind;
use crate::tree::Stat;
pub use made::Made;

/// The format version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// `record.json`: one embedded container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format version; readers refuse a newer one.
    pub version: u32,
    /// The container.
    pub name: ContainerName,
    /// The group that owns it.
    pub group: GroupName,
    /// Where its root came from.
    pub image: ImageRecord,
    /// SHA-256 over the config digest and the settings that reach bundle and unit; not over the tool's version.
    /// A generation on the host is superseded when this changes.
    pub origin: Digest,
    /// Where `sysctr update` looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
    /// The OCI runtime's path on the host.
    pub runtime: AbsolutePath,
    /// What runs when the active generation can't be read.
    pub fallback: Fallback,
    /// What the launcher has to know.
    pub launch: Launch,
    /// A directory of the host that is the root instead of the image's; then the bundle has none, and `tree` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<AbsolutePath>,
    /// The root file system.
    pub tree: TreeRecord,
    /// Other files of the bundle directory → digest of their bytes. `rootfs` and `record.json` are not among them.
    pub files: BTreeMap<String, Digest>,
    /// What belongs to the container outside its bundle directory, by path relative to the target's root.
    pub placed: BTreeMap<Utf8PathBuf, Placed>,
    /// What the host makes of it at boot, by absolute path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made: BTreeMap<String, Made>,
}

/// Which image, by digest. Tags and names are hints for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The reference as the user wrote it.
    pub source: String,
    /// The image index that the reference led to, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// The image manifest; a docker-archive has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// The image configuration.
    pub config: Digest,
    /// Digests of the uncompressed layers, from the base upwards.
    pub diff_ids: Vec<Digest>,
    /// GOARCH name of the image's architecture.
    pub architecture: String,
    /// Whose signatures were verified when the image was fetched; none for sources that carry no signatures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<Signer>,
}

/// Whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// The form of the signature.
    pub kind: SignatureKind,
    /// The key file, as manifest or policy names it: a hint for people.
    pub key: String,
    /// Of an OpenPGP key its fingerprint, of a sigstore key SHA-256 of its file; ` or ` joins several, of which one signed.
    pub fingerprint: String,
}

/// A signer whose public key is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerKey {
    /// Who.
    pub signer: Signer,
    /// The key file's bytes.
    pub key: Vec<u8>,
}

/// `signers.json`: one of these must have signed what a registry gives for an update. Their keys lie beside it
/// ([`crate::place::signer_key`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signers {
    /// Format version; readers refuse a newer one.
    pub version: u32,
    /// They, in the order of their keys.
    pub signers: Vec<Signer>,
}

/// The form of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureKind {
    /// Simple signing with an OpenPGP key.
    Gpg,
    /// A sigstore signature with a key.
    Sigstore,
}

/// What the launcher has to know beyond `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// How systemd follows the payload.
    pub mode: LaunchMode,
    /// When in the boot the unit starts.
    pub phase: Phase,
    /// What asks the payload to stop.
    pub stop_signal: Signal,
    /// How long a stop waits before it kills.
    pub stop_timeout: Duration,
    /// When the payload counts as up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How many processes and threads the container may have; its unit may have 128 more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<std::num::NonZeroU64>,
    /// Directories of the host that are filled from the image when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeSeed>,
    /// Bind sources which are replaced by an empty file where the host has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub empty_if_missing: Vec<AbsolutePath>,
    /// Files of `KEY=VALUE` lines merged into the payload's environment at start; no leading `-`, a missing one is an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<AbsolutePath>,
    /// Whether `$CREDENTIALS_DIRECTORY` of the unit is bound to `/run/credentials` in the container.
    #[serde(default)]
    pub credentials: bool,
}

/// How systemd follows the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchMode {
    /// `Type=forking` with a PID file; nothing of ours stays resident.
    Detached,
    /// The runtime stays in the foreground and systemd waits for nothing but its end.
    Foreground,
    /// `Type=notify`; the runtime stays in the foreground.
    Notify,
}

/// A volume on the host and what fills it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VolumeSeed {
    /// The directory on the host.
    pub host: AbsolutePath,
    /// The directory below the bundle's `rootfs` whose content and metadata it gets.
    pub image: AbsolutePath,
}

/// The root file system in short; `tree.dump.zst` has it in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRecord {
    /// Digest of the uncompressed dump, so of names, metadata and contents of all entries.
    pub digest: Digest,
    /// Number of entries, the root not counted.
    pub entries: u64,
    /// Bytes in regular files; hard links count once.
    pub bytes: u64,
    /// Seconds since 1970: the time stamp of entries to which the image gives none.
    pub epoch: i64,
    /// Which reading of layers made it ([`crate::image::flatten::READING`]).
    #[serde(default = "first_reading", skip_serializing_if = "is_first_reading")]
    pub reading: u32,
    /// Paths that the image lacks and that were made because something is mounted there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_targets: Vec<String>,
    /// Device nodes, FIFOs and sockets of the image that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutRecord>,
}

fn first_reading() -> u32 {
    1
}

fn is_first_reading(reading: &u32) -> bool {
    *reading == first_reading()
}

/// An entry of the image that no host image can carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutRecord {
    /// Its path, `/` in front; bytes that are not UTF-8 are escaped (`\xff`).
    pub path: String,
    /// What it was.
    pub kind: SpecialKind,
}

/// Something outside the bundle directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Placed {
    /// A regular file; of root, mode 0644, unless metadata say otherwise.
    File {
        /// Digest of its bytes.
        digest: Digest,
        /// Of a host file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata>,
    },
    /// A symbolic link.
    Link {
        /// Its text.
        target: String,
        /// Text of the host's own link that it took the place of (`unit.replace`); put back by remove.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaced: Option<String>,
        /// Of a host file; else it is root's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata>,
    },
    /// A directory of the image's host files that the target did not have. It goes with the last thing in it.
    Directory {
        /// Its own.
        metadata: Metadata,
    },
}

/// Owner, mode and attributes of a host file, as the image has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Permission bits as four octal digits; a link has `0777`.
    pub mode: String,
    /// Extended attributes: name, bytes that are not ASCII letters escaped, → value in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

impl From<&Stat> for Metadata {
    fn from(stat: &Stat) -> Self {
        let attributes = stat.xattrs.iter().flat_map(|xattrs| xattrs.iter());
        let hex = |value: &[u8]| value.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            uid: stat.uid,
            gid: stat.gid,
            mode: format!("{:04o}", stat.mode),
            xattrs: attributes.map(|(name, value)| (name.escape_ascii().to_string(), hex(value))).collect(),
        }
    }
}

/// `embedded.json`: the index of what a target embeds. It is readable by all; it holds no secret and no clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedded {
    /// Format version; readers refuse a newer one.
    pub version: u32,
    /// The composer that wrote it.
    pub tool: String,
    /// Containers by name.
    pub containers: BTreeMap<ContainerName, EmbeddedContainer>,
    /// The launcher, if we put it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<Digest>,
    /// The rule in the SELinux policy's files about the roots of all containers; none without a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_rule: Option<LabelRule>,
    /// Directories that composes made outside [`crate::place::EMBEDDED_DIR`], relative to the target's root. They go with what they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<Utf8PathBuf>,
}

/// A line that composes wrote into files of the SELinux policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRule {
    /// The line.
    pub rule: String,
    /// The files that it is the last line of, relative to the target's root.
    pub files: BTreeMap<Utf8PathBuf, Before>,
}

/// What stood at a path before the first compose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// Nothing.
    Missing,
    /// A file.
    There,
}

/// One container in `embedded.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddedContainer {
    /// The group that owns it.
    pub group: GroupName,
    /// The reference as the user wrote it.
    pub image: String,
    /// The image configuration's digest.
    pub config: Digest,
    /// Digest over everything that decides its bytes, the tool's rendering version included. Equal inputs need no
    /// second look at the image's layers.
    pub inputs: Digest,
    /// See [`Record::origin`].
    pub origin: Digest,
    /// Digest of its `record.json`.
    pub record: Digest,
}

impl Embedded {
    /// A target that embeds nothing yet.
    pub fn nothing() -> Self {
        Self {
            version: VERSION,
            tool: tool(),
            containers: BTreeMap::new(),
            launcher: None,
            label_rule: None,
            directories: Vec::new(),
        }
    }
}

/// Name and version of the program, as records hold it.
pub fn tool() -> String {
    format!("sysctr {}", env!("CARGO_PKG_VERSION"))
}

/// A value as the bytes of a record: sorted keys, two spaces, final newline.
///
/// # Panics
/// Never: all our values have string keys.
pub fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    // By way of `Value`, whose maps are sorted, since struct fields keep their order.
    let value = serde_json::to_value(value).expect("records have string keys only");
    let mut bytes = serde_json::to_vec_pretty(&value).expect("a JSON value can always be written");
    bytes.push(b'\n');
    bytes
}

/// Reads a record of a version that we know.
///
/// # Errors
/// When `bytes` are not such a record, or its version is newer than [`VERSION`]. `what` names it in the message.
pub fn from_json<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(bytes).with_context(|| format!("reading {what}"))?;
    if version > VERSION {
        bail!(
            "reading {what}: it has format version {version}, this program knows up to {VERSION}; use a newer sysctr"
        );
    }
    serde_json::from_slice(bytes).with_context(|| format!("reading {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_reads_back_and_is_sorted() {
        let embedded = Embedded { launcher: Some(Digest::of(b"x")), ..Embedded::nothing() };
        let json = to_json(&embedded);
        assert_eq!(from_json::<Embedded>(&json, "embedded.json").unwrap(), embedded);
        let text = String::from_utf8(json).unwrap();
        assert!(text.find("\"containers\"") < text.find("\"launcher\""), "{text}");
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn a_newer_version_is_refused_before_its_fields_are_read() {
        let error = from_json::<Record>(br#"{"version": 2, "strange": []}"#, "record.json of x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "reading record.json of x: it has format version 2, this program knows up to 1; use a newer sysctr"
        );
    }
}
