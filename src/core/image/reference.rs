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
    pub fn default_name(&self) -> String {
        String::new()
    }
}

impl FromStr for ImageRef {
    type Err = InvalidRef;

    fn from_str(text: &str) -> Result<Self, InvalidRef> {
        Err(InvalidRef { text: text.to_owned(), why: "cannot be read yet".to_owned() })
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
        f.write_str(self.path.as_str())
    }
}
