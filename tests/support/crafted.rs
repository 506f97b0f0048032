//! Images made byte by byte, so that a test can say what is wrong with one. Nothing here is shared with the code under
//! test: headers, digests and documents are written from the specifications.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::listing::hex;

/// Bytes of a tar stream in the making (POSIX.1-2017, pax, "ustar Interchange Format").
#[derive(Debug, Clone, Default)]
pub struct Layer {
    tar: Vec<u8>,
}

/// `sha256:` and the digest of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

impl Layer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A member with a header of its own.
    ///
    /// # Panics
    /// When name or link are longer than a header holds.
    #[must_use]
    pub fn member(self, kind: u8, name: &str, link: &str, size: u64) -> Self {
        self.header(kind, if kind == b'5' { 0o755 } else { 0o644 }, name, link, size)
    }

    fn header(mut self, kind: u8, mode: u32, name: &str, link: &str, size: u64) -> Self {
        let mut header = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        assert!(name.len() <= 100 && link.len() <= 100, "a ustar header holds 100 bytes");
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{size:011o}").as_bytes());
        put(136, format!("{:011o}", 1_500_000_000).as_bytes());
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.tar.extend(header);
        self
    }

    /// A directory.
    #[must_use]
    pub fn dir(self, name: &str) -> Self {
        self.member(b'5', name, "", 0)
    }

    /// A regular file.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.member(b'0', name, "", content.len() as u64).raw(content)
    }

    /// A regular file that all may execute.
    #[must_use]
    pub fn program(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.header(b'0', 0o755, name, "", content.len() as u64).raw(content)
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.member(b'2', name, target, 0)
    }

    /// A hard link.
    #[must_use]
    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.member(b'1', name, target, 0)
    }

    /// The records of a PAX extended header for the next member.
    #[must_use]
    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        let record = |(key, value): &(&str, &str)| {
            let rest = format!(" {key}={value}\n");
            // The length counts its own digits.
            let length = (1..).find(|n: &usize| n.to_string().len() + rest.len() == *n);
            format!("{}{rest}", length.expect("some length fits"))
        };
        let text: String = records.iter().map(record).collect();
        self.member(b'x', "PaxHeaders/next", "", text.len() as u64).raw(text.as_bytes())
    }

    /// Bytes as they are, filled up to a whole block.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.tar.extend(bytes);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
        self
    }

    /// The stream with its end mark.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.tar[..], &[0; 1024]].concat()
    }
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zstd with a window of 2 to this power.
    Zstd(u32),
}

impl Packing {
    /// Compresses.
    ///
    /// # Panics
    /// Never, in memory.
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => bytes.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
            }
            Self::Zstd(window_log) => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("an encoder");
                encoder.window_log(window_log).expect("a window");
                encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
            }
        }
    }

    /// The media type of a layer (OCI image specification, "Image Layer Filesystem Changeset").
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// An image. Its public parts can be changed before it is written; digests follow, but for what is told otherwise.
#[derive(Debug, Clone)]
pub struct Crafted {
    /// The blobs of the layers.
    pub layers: Vec<Vec<u8>>,
    /// Media types of the layers.
    pub media_types: Vec<String>,
    /// The image configuration.
    pub config: Value,
    /// Put over the image manifest's keys; an array's elements by their number as key.
    pub manifest: Value,
    /// Put over the keys of the index's only descriptor.
    pub descriptor: Value,
}

/// Files of a layout or an archive by name.
pub type Files = BTreeMap<String, Vec<u8>>;

impl Crafted {
    /// Of one gzip layer.
    pub fn one(layer: &Layer) -> Self {
        Self::of(&[layer.bytes()], Packing::Gzip)
    }

    /// Of these tar streams.
    pub fn of(tars: &[Vec<u8>], packing: Packing) -> Self {
        let blobs = tars.iter().map(|tar| packing.pack(tar)).collect();
        let diff_ids = tars.iter().map(|tar| digest(tar)).collect();
        Self::packed(blobs, diff_ids, packing)
    }

    /// Of blobs that are compressed already.
    pub fn packed(layers: Vec<Vec<u8>>, diff_ids: Vec<String>, packing: Packing) -> Self {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let media_types = layers.iter().map(|_| packing.media_type().to_owned()).collect();
        Self { layers, media_types, config, manifest: json!({}), descriptor: json!({}) }
    }

    /// The bytes of the image configuration.
    pub fn config_bytes(&self) -> Vec<u8> {
        self.config.to_string().into_bytes()
    }

    /// The bytes of the image manifest.
    pub fn manifest_bytes(&self) -> Vec<u8> {
        let layers = self.layers.iter().zip(&self.media_types);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &self.config_bytes()),
            "layers": layers.map(|(blob, media_type)| descriptor(media_type, blob)).collect::<Vec<_>>(),
        });
        put_over(&mut manifest, &self.manifest);
        manifest.to_string().into_bytes()
    }

    /// Its descriptor in an index.
    pub fn listed(&self) -> Value {
        let manifest = self.manifest_bytes();
        let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        put_over(&mut listed, &self.descriptor);
        listed
    }

    /// The files of an OCI layout.
    pub fn layout(&self) -> Files {
        layout(&[self])
    }

    /// The files of a docker-archive, named `TAG`.
    pub fn docker(&self, tag: &str) -> Files {
        let config = format!("{}.json", &digest(&self.config_bytes())[7..]);
        let layers = (0..self.layers.len()).map(|index| format!("{index}/layer.tar"));
        let item = json!({"Config": config, "RepoTags": [tag], "Layers": layers.clone().collect::<Vec<_>>()});
        let mut files: Files = layers.zip(self.layers.iter().cloned()).collect();
        files.insert(config, self.config_bytes());
        files.insert("manifest.json".to_owned(), json!([item]).to_string().into_bytes());
        files
    }
}

/// The files of an OCI layout with several images.
pub fn layout(images: &[&Crafted]) -> Files {
    let mut files = Files::new();
    for image in images {
        let documents = [image.manifest_bytes(), image.config_bytes()];
        for blob in image.layers.iter().chain(&documents) {
            files.insert(blob_name(&digest(blob)), blob.clone());
        }
    }
    let listed: Vec<_> = images.iter().map(|image| image.listed()).collect();
    let index = json!({"schemaVersion": 2, "manifests": listed});
    files.insert("index.json".to_owned(), index.to_string().into_bytes());
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files
}

/// Where a layout has the blob of this digest.
pub fn blob_name(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// Files as a directory.
///
/// # Panics
/// When they can't be written.
pub fn write(files: &Files, directory: &Path) {
    for (name, bytes) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a parent")).expect("a new directory");
        std::fs::write(path, bytes).expect("a file in a scratch directory");
    }
}

/// Files as a tar archive.
pub fn archive(files: &Files) -> Vec<u8> {
    files.iter().fold(Layer::new(), |tar, (name, bytes)| tar.file(name, bytes)).bytes()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn put_over(value: &mut Value, over: &Value) {
    let Some(over) = over.as_object() else {
        *value = over.clone();
        return;
    };
    for (key, inner) in over {
        match key.parse::<usize>() {
            Ok(index) => put_over(&mut value[index], inner),
            Err(_) => put_over(&mut value[key.as_str()], inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, scratch};

    /// What the tests call broken must be so by their own doing only: GNU tar and skopeo take the unbroken forms.
    #[test]
    fn others_read_what_is_crafted() {
        let work = scratch();
        let layer = Layer::new().dir("d").file("d/f", "text").symlink("l", "d/f").hardlink("h", "d/f");
        let layer = layer.pax(&[("path", "d/called by pax")]).file("short", "");
        std::fs::write(work.path().join("layer.tar"), layer.bytes()).unwrap();
        let tar = Command::new("tar").args(["-tf"]).arg(work.path().join("layer.tar")).run().expect_ok();
        assert_eq!(tar.stdout(), "d/\nd/f\nl\nh\nd/called by pax\n".replace("d/\n", "d\n"));
        let tars = [layer.bytes(), Layer::new().file("x", "").bytes()];
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd(20)] {
            let image = Crafted::of(&tars, packing);
            write(&image.layout(), &work.path().join(format!("{packing:?}")));
            std::fs::write(work.path().join("oci.tar"), archive(&image.layout())).unwrap();
            let forms = [format!("oci:{packing:?}"), "oci-archive:oci.tar".to_owned()];
            for (number, form) in forms.iter().enumerate() {
                let to = format!("dir:{packing:?}{number}");
                Command::new("skopeo").args(["copy", "-q", form, &to]).in_dir(work.path()).run().expect_ok();
            }
        }
        let docker = Crafted::of(&tars, Packing::Plain).docker("localhost/x:1");
        std::fs::write(work.path().join("docker.tar"), archive(&docker)).unwrap();
        let skopeo = Command::new("skopeo").args(["copy", "-q", "docker-archive:docker.tar", "dir:docker"]);
        skopeo.in_dir(work.path()).run().expect_ok();
    }
}
