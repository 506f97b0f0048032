//! How users name images: `TRANSPORT:PATH[:TAG|@DIGEST]`, as skopeo spells them (containers-transports(5)).

use std::fmt;
use std::str::FromStr;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Where an image lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `oci:DIR`: a layout directory (OCI image layout specification).
    Oci,
    /// `oci-archive:FILE`: a layout in a tar file, compressed or not.
    OciArchive,
    /// `docker-archive:FILE`: what `docker save` writes.
    DockerArchive,
    /// `docker://REGISTRY/NAME`: a registry.
    Docker,
    /// `containers-storage:NAME`: podman's and buildah's store on this machine.
    ContainersStorage,
    /// `dir:DIR`: what `skopeo copy … dir:` writes.
    Dir,
}

/// Who reads a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// [`super::resolve`], with no other program.
    Native,
    /// `skopeo copy`, into a cache.
    Skopeo,
}

/// Transports that only `skopeo copy` knows.
const FOREIGN: [&str; 2] = ["docker-daemon", "ostree"];

/// Which of the images that lie there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The only one; more than one is an error that lists them.
    Only,
    /// By tag (`org.opencontainers.image.ref.name`), for docker-archive by `NAME:TAG`.
    Tag(String),
    /// By digest of the index or the image manifest; for docker-archive of the configuration.
    Digest(Digest),
}

/// A reference to an image, as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    transport: Transport,
    path: Utf8PathBuf,
    selector: Selector,
}

/// Why a text is not an [`ImageRef`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {text:?} {why}")]
pub struct InvalidRef {
    text: String,
    why: String,
}

impl Transport {
    const ALL: [Self; 6] =
        [Self::Oci, Self::OciArchive, Self::DockerArchive, Self::Docker, Self::ContainersStorage, Self::Dir];

    /// As it stands before the first `:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::Docker => "docker",
            Self::ContainersStorage => "containers-storage",
            Self::Dir => "dir",
        }
    }

    /// Who reads it.
    pub fn reader(self) -> Reader {
        match self {
            Self::Oci | Self::OciArchive | Self::DockerArchive => Reader::Native,
            Self::Docker | Self::ContainersStorage | Self::Dir => Reader::Skopeo,
        }
    }
}

impl ImageRef {
    /// Where it lies.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The directory or file, as written; for `docker` registry and repository, for `containers-storage` the name.
    pub fn path(&self) -> &Utf8PathBuf {
        &self.path
    }

    /// Which one.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The same place by digest instead of by tag. A `dir` holds one image and a `containers-storage` renames what it
    /// holds, so these stay as they are.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        let selector = match self.transport {
            Transport::Dir | Transport::ContainersStorage => self.selector.clone(),
            _ => Selector::Digest(digest),
        };
        Self { transport: self.transport, path: self.path.clone(), selector }
    }

    /// What a container of this image is called unless somebody says otherwise: the last component of its name
    /// with its tag, unless that is `latest` (`oci:images/etcd:3.5` → `etcd-3.5`).
    ///
    /// A tag that is itself a whole name (`oci:images:quay.io/coreos/etcd:3.5`, and always for docker-archive) is the
    /// name; an archive's file name loses its `.tar` with what follows. A digest adds nothing. The result may be no
    /// valid [`crate::name::ContainerName`].
    pub fn default_name(&self) -> String {
        let file = self.path.file_name().unwrap_or_default();
        let stem = match self.transport {
            Transport::Oci | Transport::Docker | Transport::Dir => file,
            Transport::ContainersStorage => file.rsplit(']').next().unwrap_or(file),
            Transport::OciArchive | Transport::DockerArchive => {
                file.split_once(".tar").or_else(|| file.split_once(".tgz")).map_or(file, |(stem, _)| stem)
            }
        };
        let (name, tag) = match &self.selector {
            Selector::Only | Selector::Digest(_) => (stem, None),
            Selector::Tag(tag) => {
                let last = tag.rsplit('/').next().unwrap_or(tag);
                match last.split_once(':') {
                    Some((name, tag)) => (name, Some(tag)),
                    None if last.len() < tag.len() || self.transport == Transport::DockerArchive => {
                        (last, None)
                    }
                    None => (stem, Some(tag.as_str())),
                }
            }
        };
        match tag {
            None | Some("latest") => name.to_owned(),
            Some(tag) => format!("{name}-{tag}"),
        }
    }
}

/// Splits `text` at the `@` of a digest, if one ends it: `…@ALGORITHM:HEX`.
fn split_digest(text: &str) -> Option<(&str, &str)> {
    let (front, digest) = text.rsplit_once('@')?;
    let (algorithm, hex) = digest.split_once(':')?;
    let algorithm_fits =
        !algorithm.is_empty() && algorithm.bytes().all(|c| c.is_ascii_alphanumeric() || b"+._-".contains(&c));
    let hex_fits = hex.len() >= 32 && hex.bytes().all(|c| c.is_ascii_hexdigit());
    (algorithm_fits && hex_fits).then_some((front, digest))
}

/// Path and selector of what follows the transport.
fn split_for(transport: Transport, rest: &str) -> Result<(&str, Selector), String> {
    match transport {
        Transport::Oci | Transport::OciArchive | Transport::DockerArchive => split(rest),
        Transport::Dir => Ok((rest, Selector::Only)),
        Transport::ContainersStorage => split_name(rest),
        Transport::Docker => {
            let name = rest.strip_prefix("//").ok_or("has no // after docker:")?;
            let (path, selector) = split_name(name)?;
            if !path.contains('/') {
                return Err("has no registry; spell it docker://REGISTRY/NAME, such as \
                            docker://docker.io/library/NAME"
                    .to_owned());
            }
            Ok((path, selector))
        }
    }
}

/// A name with its tag behind the last `:` of its last component: `[STORE]HOST:PORT/NAME:TAG`.
fn split_name(rest: &str) -> Result<(&str, Selector), String> {
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("has white space in its name".to_owned());
    }
    let (front, digest) = match split_digest(rest) {
        Some((front, digest)) => (front, Some(digest)),
        None => (rest, None),
    };
    let last = front.rfind(['/', ']']).map_or(0, |at| at + 1);
    let colon = front[last..].rfind(':').map(|at| last + at);
    match (colon, digest) {
        (Some(_), Some(_)) => Err("names a tag and a digest; choose one".to_owned()),
        (None, Some(digest)) => {
            let digest = digest.parse().map_err(|error| format!("cannot be read: {error}"))?;
            Ok((front, Selector::Digest(digest)))
        }
        (Some(at), None) if at + 1 == front.len() => {
            Err("has an empty tag; leave out the last `:`".to_owned())
        }
        (Some(at), None) => Ok((&front[..at], Selector::Tag(front[at + 1..].to_owned()))),
        (None, None) => Ok((front, Selector::Only)),
    }
}

fn split(rest: &str) -> Result<(&str, Selector), String> {
    if let Some((front, digest)) = split_digest(rest) {
        // Both `FILE@DIGEST` and `FILE:@DIGEST` are in use.
        let path = front.strip_suffix(':').unwrap_or(front);
        if path.contains(':') {
            return Err("names a tag and a digest; choose one".to_owned());
        }
        let digest = digest.parse().map_err(|error| format!("cannot be read: {error}"))?;
        return Ok((path, Selector::Digest(digest)));
    }
    match rest.split_once(':') {
        None => Ok((rest, Selector::Only)),
        Some((_, "")) => Err("has an empty tag; leave out the last `:`".to_owned()),
        Some((_, tag)) if tag.starts_with('@') => {
            Err(format!("has the digest {:?}, which is not `sha256:` and 64 hexadecimal digits", &tag[1..]))
        }
        Some((_, tag)) if tag.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err(format!("has the tag {tag:?}, which has white space"))
        }
        Some((path, tag)) => Ok((path, Selector::Tag(tag.to_owned()))),
    }
}

fn transport(text: &str) -> Result<(Transport, &str), String> {
    let known = Transport::ALL.map(Transport::as_str).map(|name| format!("{name}:")).join(", ");
    let Some((name, rest)) = text.split_once(':') else {
        return Err(format!("has no transport; known are {known}, such as oci:{text}"));
    };
    if let Some(transport) = Transport::ALL.into_iter().find(|known| known.as_str() == name) {
        return Ok((transport, rest));
    }
    if FOREIGN.contains(&name) {
        return Err(format!(
            "has the transport {name}:, which is not read; copy it first: skopeo copy {text} oci:DIR:TAG"
        ));
    }
    Err(format!("has the unknown transport {name:?}; known are {known}"))
}

impl FromStr for ImageRef {
    type Err = InvalidRef;

    fn from_str(text: &str) -> Result<Self, InvalidRef> {
        let invalid = |why| InvalidRef { text: text.to_owned(), why };
        let (transport, rest) = transport(text).map_err(invalid)?;
        let (path, selector) = split_for(transport, rest).map_err(invalid)?;
        if path.is_empty() {
            return Err(invalid(format!("has no path after {}:", transport.as_str())));
        }
        if path.contains('\0') {
            return Err(invalid("has a NUL byte in its path".to_owned()));
        }
        Ok(Self { transport, path: path.into(), selector })
    }
}

impl TryFrom<String> for ImageRef {
    type Error = InvalidRef;

    fn try_from(text: String) -> Result<Self, InvalidRef> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(reference: ImageRef) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slashes = if self.transport == Transport::Docker { "//" } else { "" };
        write!(f, "{}:{slashes}{}", self.transport.as_str(), self.path)?;
        match &self.selector {
            Selector::Only => Ok(()),
            Selector::Tag(tag) => write!(f, ":{tag}"),
            Selector::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests;
