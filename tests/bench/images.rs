//! Images of Debian's own content that share layers, for a registry.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sysctr_tests::crafted::blob_name;
use sysctr_tests::registry::Server;
use sysctr_tests::{Image, Layer, Layout, Random};

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
        let below =
            [Image::nginx(), Image::many()].map(|image| set.layout.take(&image.directory().join("oci")));
        let listed: Vec<_> = (0..count).map(|n| set.image(n, &below[usize::from(n % 10 == 9)])).collect();
        set.layout.list(&listed);
        set
    }

    /// One image with its own layer on those of another; its descriptor.
    fn image(&self, number: usize, (manifest, config): &(Value, Value)) -> Value {
        let (mut manifest, mut config) = (manifest.clone(), config.clone());
        let tar =
            Layer::new().file(&format!("own-{number}"), Random::of(number as u64 + 1).bytes(OWN)).bytes();
        self.layout.on_top(&mut manifest, &mut config, &tar);
        self.layout.image(manifest, &config, &number.to_string())
    }

    /// Puts all into a registry, as `image0:1` and so on.
    pub fn push(&self, server: &Server) {
        for number in 0..self.count {
            server.push_tagged(&self.layout.dir, &number.to_string(), &format!("image{number}:1"));
        }
    }

    /// Puts one of them into a registry under this name and tag.
    pub fn push_as(&self, server: &Server, number: usize, name: &str) {
        server.push_tagged(&self.layout.dir, &number.to_string(), name);
    }

    fn index(&self) -> Value {
        read(&self.layout.dir.join("index.json"))
    }

    /// The layout that they are in; tags are their numbers.
    pub fn dir(&self) -> &Path {
        &self.layout.dir
    }

    /// The layers of one of them as they are fetched: digest → size.
    pub fn layers(&self, number: usize) -> BTreeMap<String, u64> {
        let manifest = document(&self.layout.dir, &self.index()["manifests"][number]["digest"]);
        let layers = manifest["layers"].as_array().expect("a list").iter();
        let pair = |layer: &Value| (layer["digest"].to_string(), layer["size"].as_u64().expect("a size"));
        layers.map(pair).collect()
    }

    /// How large they are, by what a fetch of them left in the blobs of `layout`.
    pub fn size(&self, layout: &Path) -> Size {
        let mut blobs = BTreeMap::new();
        let mut bytes_apart = 0;
        for listed in self.index()["manifests"].as_array().expect("a list") {
            let manifest = document(layout, &listed["digest"]);
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

/// A blob of a layout, which is a document.
pub fn document(layout: &Path, digest: &Value) -> Value {
    read(&layout.join(blob_name(digest.as_str().expect("a digest"))))
}

/// A document.
pub fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a document of a layout")).expect("JSON")
}
