//! How users name images: `TRANSPORT:PATH[:TAG|@DIGEST]`.

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
}

/// Transports that `skopeo copy` reads for us.
const FOREIGN: [&str; 5] = ["docker", "containers-storage", "dir", "docker-daemon", "ostree"];

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
    const ALL: [Self; 3] = [Self::Oci, Self::OciArchive, Self::DockerArchive];

    /// As it stands before the first `:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
        }
    }
}

impl ImageRef {
    /// Where it lies.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The directory or file, as written.
    pub fn path(&self) -> &Utf8PathBuf {
        &self.path
    }

    /// Which one.
    pub fn selector(&self) -> &Selector {
        &self.selector
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
            Transport::Oci => file,
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
        return Err(format!("has no transport; natively read are {known}, such as oci:{text}"));
    };
    if let Some(transport) = Transport::ALL.into_iter().find(|known| known.as_str() == name) {
        return Ok((transport, rest));
    }
    if FOREIGN.contains(&name) {
        return Err(format!(
            "has the transport {name}:, which is not read natively; copy it first: skopeo copy {text} oci:DIR:TAG"
        ));
    }
    Err(format!(
        "has the unknown transport {name:?}; natively read are {known}, by `skopeo copy` also {}:",
        FOREIGN.join(":, ")
    ))
}

impl FromStr for ImageRef {
    type Err = InvalidRef;

    fn from_str(text: &str) -> Result<Self, InvalidRef> {
        let invalid = |why| InvalidRef { text: text.to_owned(), why };
        let (transport, rest) = transport(text).map_err(invalid)?;
        let (path, selector) = split(rest).map_err(invalid)?;
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
        write!(f, "{}:{}", self.transport.as_str(), self.path)?;
        match &self.selector {
            Selector::Only => Ok(()),
            Selector::Tag(tag) => write!(f, ":{tag}"),
            Selector::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn table_of_references() {
        let digest = || Selector::Digest(Digest::of(b""));
        let tag = |tag: &str| Selector::Tag(tag.to_owned());
        for (text, transport, path, selector, name) in [
            ("oci:etcd", Transport::Oci, "etcd", Selector::Only, "etcd"),
            ("oci:images/etcd:3.5", Transport::Oci, "images/etcd", tag("3.5"), "etcd-3.5"),
            ("oci:images/etcd:latest", Transport::Oci, "images/etcd", tag("latest"), "etcd"),
            (
                "oci:i:quay.io/coreos/etcd:3.5",
                Transport::Oci,
                "i",
                tag("quay.io/coreos/etcd:3.5"),
                "etcd-3.5",
            ),
            (&format!("oci:etcd@sha256:{HEX}"), Transport::Oci, "etcd", digest(), "etcd"),
            ("oci-archive:/a/etcd.tar.gz:v1", Transport::OciArchive, "/a/etcd.tar.gz", tag("v1"), "etcd-v1"),
            ("oci-archive:x@y.tar", Transport::OciArchive, "x@y.tar", Selector::Only, "x@y"),
            ("docker-archive:a.tar:nginx:1", Transport::DockerArchive, "a.tar", tag("nginx:1"), "nginx-1"),
            ("docker-archive:a.tar:nginx", Transport::DockerArchive, "a.tar", tag("nginx"), "nginx"),
            ("docker-archive:a.tar", Transport::DockerArchive, "a.tar", Selector::Only, "a"),
        ] {
            let reference: ImageRef = text.parse().unwrap();
            assert_eq!(reference, ImageRef { transport, path: path.into(), selector }, "{text}");
            assert_eq!(reference.to_string(), text);
            assert_eq!(reference.default_name(), name, "{text}");
        }
        let colon: ImageRef = format!("docker-archive:a.tar:@sha256:{HEX}").parse().unwrap();
        assert_eq!(colon.to_string(), format!("docker-archive:a.tar@sha256:{HEX}"));
    }

    #[test]
    fn what_is_no_reference_says_why_and_the_way_out() {
        for (text, message) in [
            (
                "docker://docker.io/library/nginx:1",
                "image \"docker://docker.io/library/nginx:1\" has the transport docker:, which is not read natively; \
                 copy it first: skopeo copy docker://docker.io/library/nginx:1 oci:DIR:TAG",
            ),
            (
                "ftp:x",
                "image \"ftp:x\" has the unknown transport \"ftp\"; natively read are oci:, oci-archive:, \
                 docker-archive:, by `skopeo copy` also docker:, containers-storage:, dir:, docker-daemon:, ostree:",
            ),
            (
                "nginx",
                "image \"nginx\" has no transport; natively read are oci:, oci-archive:, docker-archive:, such as \
                 oci:nginx",
            ),
            ("oci:", "image \"oci:\" has no path after oci:"),
            ("oci:d:", "image \"oci:d:\" has an empty tag; leave out the last `:`"),
            ("oci:d:a b", "image \"oci:d:a b\" has the tag \"a b\", which has white space"),
            (
                "oci:d:@sha256:12",
                "image \"oci:d:@sha256:12\" has the digest \"sha256:12\", which is not `sha256:` and 64 hexadecimal \
                 digits",
            ),
            (
                &format!("oci:d:1@sha256:{HEX}"),
                &format!("image \"oci:d:1@sha256:{HEX}\" names a tag and a digest; choose one"),
            ),
            (
                &format!("oci:d@sha512:{HEX}{HEX}"),
                &format!(
                    "image \"oci:d@sha512:{HEX}{HEX}\" cannot be read: digest \"sha512:{HEX}{HEX}\" is not a sha256 \
                     digest; only sha256 is supported"
                ),
            ),
        ] {
            assert_eq!(text.parse::<ImageRef>().unwrap_err().to_string(), message, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_spelled_so_that_it_parses_the_same(rest in "[a-z@:./0-9-]{0,24}", digest in any::<bool>()) {
            let text = format!("oci-archive:{rest}{}", if digest { format!("@sha256:{HEX}") } else { String::new() });
            if let Ok(reference) = text.parse::<ImageRef>() {
                prop_assert_eq!(reference.to_string().parse::<ImageRef>().unwrap(), reference);
            }
        }
    }
}
