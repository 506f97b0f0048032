//! OCI layouts with images that share blobs and are too large for memory, or stand on images of the fixtures.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::crafted::{Packing, blob_name, digest};

/// A layout being written, of which no more than a layer is in memory.
#[derive(Debug)]
pub struct Layout {
    /// Where it lies.
    pub dir: PathBuf,
}

impl Layout {
    /// In this directory.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).expect("a new directory");
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a new file");
        Self { dir: dir.to_owned() }
    }

    /// Takes over the blobs of a layout's only image; gives its image manifest and configuration.
    ///
    /// # Panics
    /// When it can't be read.
    pub fn take(&self, layout: &Path) -> (Value, Value) {
        for entry in fs::read_dir(layout.join("blobs/sha256")).expect("a layout") {
            let path = entry.expect("a blob").path();
            let to = self.dir.join("blobs/sha256").join(path.file_name().expect("a name"));
            fs::copy(&path, to).expect("room for a blob");
        }
        let read = |name: &str| -> Value {
            let bytes = fs::read(layout.join(name)).expect("a document");
            serde_json::from_slice(&bytes).expect("a document is JSON")
        };
        let blob = |described: &Value| read(&blob_name(described["digest"].as_str().expect("a digest")));
        let manifest = blob(&read("index.json")["manifests"][0]);
        let config = blob(&manifest["config"]);
        (manifest, config)
    }

    /// One more layer: its descriptor and its `diff_id`.
    pub fn layer(&self, tar: &[u8], packing: Packing) -> (Value, String) {
        (self.blob(packing.media_type(), &packing.pack(tar)), digest(tar))
    }

    /// An image manifest and configuration with one more layer on top; the history, which would not fit any longer, goes.
    ///
    /// # Panics
    /// When they are none.
    pub fn on_top(&self, manifest: &mut Value, config: &mut Value, tar: &[u8]) {
        let (layer, diff_id) = self.layer(tar, Packing::Gzip);
        push(&mut manifest["layers"], layer);
        push(&mut config["rootfs"]["diff_ids"], json!(diff_id));
        config.as_object_mut().expect("an object").remove("history");
    }

    /// One more image of this image manifest, but for its configuration; its descriptor with the tag.
    pub fn image(&self, mut manifest: Value, config: &Value, tag: &str) -> Value {
        let media_type = "application/vnd.oci.image.config.v1+json";
        manifest["config"] = self.blob(media_type, config.to_string().as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let mut listed = self.blob(media_type, manifest.to_string().as_bytes());
        listed["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        listed
    }

    /// The list of its images.
    pub fn list(&self, images: &[Value]) {
        self.write("index.json", json!({"schemaVersion": 2, "manifests": images}).to_string().as_bytes());
    }

    /// The layout with one image, `1`, of these layers.
    pub fn whole(self, layers: &[(Value, String)]) {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let blobs: Vec<_> = layers.iter().map(|(blob, _)| blob).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "layers": blobs});
        let diff_ids: Vec<_> = layers.iter().map(|(_, diff_id)| diff_id).collect();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let listed = self.image(manifest, &config, "1");
        self.list(&[listed]);
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        self.write(&blob_name(&digest(bytes)), bytes);
        json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.join(name), bytes).expect("room for a file");
    }
}

fn push(list: &mut Value, value: Value) {
    list.as_array_mut().expect("a list").push(value);
}
