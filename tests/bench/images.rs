//! Images of Debian's own content that share layers, for a registry.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sysctr_tests::crafted::{blob_name, digest};
use sysctr_tests::registry::Server;
use sysctr_tests::{Image, Layer, Packing};

/// Bytes of each image's own layer, which don't compress.
const OWN: usize = 1 << 20;

/// A layout with images of several names.
pub struct Set {
    layout: Layout,
    /// How many images it has; their tags are the numbers below.
    pub count: usize,
}

/// What its images are, for people.
pub struct Size {
    /// Blobs that are not image manifests.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The same when every image's blobs are counted, shared or not.
    pub bytes_apart: u64,
}

impl Set {
    /// `count` images in `dir`: one in ten a Python with many files, the rest a web server, on the same Debian base, each with a
    /// small layer of its own.
    pub fn make(dir: &Path, count: usize) -> Self {
        let set = Self { layout: Layout::new(dir), count };
        let below = [Image::nginx(), Image::many()].map(|image| set.take(&image.directory().join("oci")));
        let listed: Vec<_> = (0..count).map(|n| set.image(n, &below[usize::from(n % 10 == 9)])).collect();
        set.layout.list(&listed);
        set
    }

    /// Takes over the blobs of a layout's only image; gives its image manifest and configuration.
    fn take(&self, layout: &Path) -> (Value, Value) {
        for entry in fs::read_dir(layout.join("blobs/sha256")).expect("a layout") {
            let path = entry.expect("a blob").path();
            let to = self.layout.dir.join("blobs/sha256").join(path.file_name().expect("a name"));
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

    /// One image with its own layer on those of another; its descriptor.
    fn image(&self, number: usize, (manifest, config): &(Value, Value)) -> Value {
        let (mut manifest, mut config) = (manifest.clone(), config.clone());
        let tar = Layer::new().file(&format!("own-{number}"), noise(number as u64 + 1, OWN)).bytes();
        let (layer, diff_id) = self.layout.layer(&tar, Packing::Gzip);
        push(&mut manifest["layers"], layer);
        push(&mut config["rootfs"]["diff_ids"], json!(diff_id));
        config.as_object_mut().expect("an object").remove("history");
        self.layout.image(manifest, &config, &number.to_string())
    }

    /// Puts all into a registry, as `image0:1` and so on.
    pub fn push(&self, server: &Server) {
        for number in 0..self.count {
            server.push_tagged(&self.layout.dir, &number.to_string(), &format!("image{number}:1"));
        }
    }

    /// How large they are, by what a fetch of them left in the blobs of `layout`.
    pub fn size(&self, layout: &Path) -> Size {
        let read = |digest: &Value| -> Value {
            let name = blob_name(digest.as_str().expect("a digest"));
            serde_json::from_slice(&fs::read(layout.join(name)).expect("it was fetched")).expect("JSON")
        };
        let index: Value =
            serde_json::from_slice(&fs::read(self.layout.dir.join("index.json")).expect("a layout"))
                .expect("JSON");
        let mut blobs = std::collections::BTreeMap::new();
        let mut bytes_apart = 0;
        for listed in index["manifests"].as_array().expect("a list") {
            let manifest = read(&listed["digest"]);
            for described in
                manifest["layers"].as_array().expect("a list").iter().chain([&manifest["config"]])
            {
                let size = described["size"].as_u64().expect("a size");
                bytes_apart += size;
                blobs.insert(described["digest"].to_string(), size);
            }
        }
        Size { blobs: blobs.len(), bytes: blobs.values().sum(), bytes_apart }
    }
}

fn push(list: &mut Value, value: Value) {
    list.as_array_mut().expect("a list").push(value);
}

/// Bytes that don't compress.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = sysctr_tests::Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..bytes.div_ceil(3))
        .flat_map(|_| random.below(1 << 24).to_le_bytes().into_iter().take(3))
        .take(bytes)
        .collect()
}

/// A layout being written, of which no more than a layer is in memory.
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// In this directory.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).expect("a new directory");
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a new file");
        Self { dir: dir.to_owned() }
    }

    /// One more layer: its descriptor and its `diff_id`.
    pub fn layer(&self, tar: &[u8], packing: Packing) -> (Value, String) {
        (self.blob(packing.media_type(), &packing.pack(tar)), digest(tar))
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
