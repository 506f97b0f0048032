//! Crafted tar streams, images and a store in memory, for tests.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use super::flatten::{ContentStore, ContentWriter, Flattened, Limits, Progress, flatten};
use super::{ResolvedImage, Wanted, resolve};
use crate::digest::Digest;
use crate::tree::{ContentId, Stat, TreePath, dump};

/// A tar stream made by hand, block by block.
#[derive(Default, Clone)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// A header that differs from a plain ustar file.
pub(crate) struct Head<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) flag: u8,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) link: &'a [u8],
    pub(crate) magic: &'a [u8; 8],
    pub(crate) mtime: &'a [u8],
    pub(crate) uid: &'a [u8],
}

pub(crate) const USTAR: &[u8; 8] = b"ustar\x0000";
pub(crate) const GNU: &[u8; 8] = b"ustar  \0";
pub(crate) const V7: &[u8; 8] = &[0; 8];

impl Default for Head<'_> {
    fn default() -> Self {
        Self { name: b"", flag: b'0', size: 0, mode: 0o644, link: b"", magic: USTAR, mtime: b"1", uid: b"0" }
    }
}

impl Head<'_> {
    pub(crate) fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, self.name);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, self.uid);
        put(116, b"0");
        put(124, format!("{:011o}", self.size).as_bytes());
        put(136, self.mtime);
        put(156, &[self.flag]);
        put(157, self.link);
        put(257, self.magic);
        seal(&mut block);
        block
    }
}

/// Sets a header's checksum.
pub(crate) fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Tar {
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Content and its padding.
    pub(crate) fn data(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn head(self, head: &Head<'_>) -> Self {
        self.raw(&head.block())
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        let head = Head { name: name.as_bytes(), size: content.len() as u64, ..Head::default() };
        self.head(&head).data(content)
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        self.head(&Head { name: name.as_bytes(), flag: b'5', mode, ..Head::default() })
    }

    /// A link, device or pipe.
    pub(crate) fn other(self, flag: u8, name: &str, link: &str) -> Self {
        self.head(&Head { name: name.as_bytes(), flag, link: link.as_bytes(), ..Head::default() })
    }

    /// An extended header of the type `x` or `g`.
    pub(crate) fn pax(self, flag: u8, records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.head(&Head { name: b"pax", flag, size: body.len() as u64, ..Head::default() }).data(&body)
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

/// One record of an extended header.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let length = (1..).map(|digits| body.len() + digits).find(|length| {
        let digits = length - body.len();
        length.to_string().len() == digits
    });
    [length.unwrap().to_string().into_bytes(), body].concat()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layout directory in the making.
pub(crate) struct Layout {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

impl Layout {
    pub(crate) fn new() -> Self {
        let mut files = BTreeMap::new();
        files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec());
        Self { dir: tempfile::tempdir().unwrap(), files }
    }

    /// Adds a blob and gives its descriptor.
    pub(crate) fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.files.insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    pub(crate) fn json(&mut self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    pub(crate) fn config(architecture: &str, layers: &[&[u8]]) -> Value {
        let diff_ids: Vec<_> = layers.iter().map(|tar| Digest::of(tar).to_string()).collect();
        json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    }

    /// Adds a gzipped image of these tar streams and gives its descriptor.
    pub(crate) fn image(&mut self, architecture: &str, layers: &[&[u8]]) -> Value {
        let blobs: Vec<_> = layers.iter().map(|tar| self.blob(OCI_LAYER, &gzip(tar))).collect();
        let config = self.json(OCI_CONFIG, &Self::config(architecture, layers));
        self.json(OCI_MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": blobs}))
    }

    pub(crate) fn index(&mut self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        self.files.insert("index.json".to_owned(), index.into_bytes());
    }

    pub(crate) fn path(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.dir.path()).unwrap().join("layout")
    }

    pub(crate) fn write(&self) {
        for (name, bytes) in &self.files {
            let path = self.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// The same files as a tar archive.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let tar = self
            .files
            .iter()
            .fold(Tar::default().dir("./", 0o755), |tar, (name, bytes)| tar.file(name, bytes));
        tar.end()
    }

    pub(crate) fn write_archive(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    /// Resolves `reference`, whose path is relative to the directory of this layout.
    pub(crate) fn resolve(&self, reference: &str) -> Result<ResolvedImage, String> {
        self.resolve_pinned(reference, None)
    }

    pub(crate) fn resolve_pinned(
        &self,
        reference: &str,
        pin: Option<Digest>,
    ) -> Result<ResolvedImage, String> {
        let wanted = Wanted {
            reference: &reference.parse().unwrap(),
            base: Utf8Path::from_path(self.dir.path()).unwrap(),
            architecture: Some("amd64".parse().unwrap()),
            pin,
        };
        resolve(&wanted).map_err(|error| format!("{error:#}"))
    }
}

pub(crate) fn tagged(mut descriptor: Value, tag: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    descriptor
}

pub(crate) fn for_platform(mut descriptor: Value, architecture: &str, variant: Option<&str>) -> Value {
    descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
    if let Some(variant) = variant {
        descriptor["platform"]["variant"] = json!(variant);
    }
    descriptor
}

/// Contents in memory; checks that the reader keeps to the contract.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) contents: Mutex<BTreeMap<ContentId, Vec<u8>>>,
    /// Fails at this path.
    pub(crate) full_at: Option<&'static str>,
}

pub(crate) struct MemoryWriter<'a> {
    store: &'a Memory,
    id: ContentId,
    size: u64,
    bytes: Vec<u8>,
}

impl ContentStore for Memory {
    type Writer<'a> = MemoryWriter<'a>;

    fn begin<'a>(&'a self, id: ContentId, path: &TreePath, size: u64, _: &Stat) -> Result<MemoryWriter<'a>> {
        assert!(size > 0, "an empty content was begun");
        if self.full_at.is_some_and(|full| full.as_bytes() == path.as_bytes()) {
            bail!("no space left");
        }
        Ok(MemoryWriter { store: self, id, size, bytes: Vec::new() })
    }

    fn discard(&self, id: ContentId) -> Result<()> {
        assert!(self.contents.lock().unwrap().remove(&id).is_some(), "{id:?} was never stored");
        Ok(())
    }
}

impl ContentWriter for MemoryWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn hole(&mut self, bytes: u64) -> Result<()> {
        self.bytes.resize(self.bytes.len() + usize::try_from(bytes).unwrap(), 0);
        Ok(())
    }

    fn finish(self, digest: &Digest) -> Result<()> {
        assert_eq!(self.bytes.len() as u64, self.size);
        assert_eq!(Digest::of(&self.bytes), *digest);
        let before = self.store.contents.lock().unwrap().insert(self.id, self.bytes);
        assert_eq!(before, None, "{:?} was stored twice", self.id);
        Ok(())
    }
}

/// Counts what it hears.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) layers: Mutex<BTreeMap<usize, (u64, u64, bool)>>,
    /// Ends the reading at once.
    pub(crate) interrupt: bool,
}

impl Progress for Heard {
    fn layer(&self, index: usize, _: usize, size: u64) {
        self.layers.lock().unwrap().insert(index, (size, 0, false));
    }

    fn advance(&self, index: usize, bytes: u64) -> Result<()> {
        if self.interrupt {
            bail!("interrupted");
        }
        let mut layers = self.layers.lock().unwrap();
        let layer = layers.get_mut(&index).unwrap();
        assert!(bytes > layer.1);
        layer.1 = bytes;
        Ok(())
    }

    fn done(&self, index: usize) {
        self.layers.lock().unwrap().get_mut(&index).unwrap().2 = true;
    }
}

pub(crate) const LIMITS: Limits =
    Limits { jobs: 2, max_entries: 1000, max_bytes: 16 << 20, max_window: 8 << 20 };

/// Flattens in one and in several threads, which must agree; errors as one line.
pub(crate) fn flattened(image: &ResolvedImage, limits: Limits) -> Result<(Flattened, Memory), String> {
    let run = |jobs| {
        let store = Memory::default();
        let flat = flatten(image, Limits { jobs, ..limits }, &store, &Heard::default());
        flat.map(|flat| (flat, store)).map_err(|error| format!("{error:#}"))
    };
    let (one, many) = (run(1), run(limits.jobs));
    match (&one, &many) {
        (Ok((one, one_store)), Ok((many, many_store))) => {
            assert_eq!(dump::write(&one.tree), dump::write(&many.tree));
            assert_eq!(one.left_out, many.left_out);
            assert_eq!(*one_store.contents.lock().unwrap(), *many_store.contents.lock().unwrap());
        }
        (Err(one), Err(many)) => assert_eq!(one, many),
        _ => panic!("one thread and several do not agree: {:?} {:?}", one.err(), many.err()),
    }
    many
}

/// Flattens an image of these tar streams.
pub(crate) fn flatten_tars(tars: &[&[u8]]) -> Result<(Flattened, Memory), String> {
    let mut layout = Layout::new();
    let image = layout.image("amd64", tars);
    layout.index(&[image]);
    layout.write();
    flattened(&layout.resolve("oci:layout")?, LIMITS)
}

/// The dump of an image of one layer, without the root's line; or the error, without its beginning.
pub(crate) fn dump_of(tar: &[u8]) -> String {
    match flatten_tars(&[tar]) {
        Ok((flat, _)) => {
            let text = String::from_utf8(dump::write(&flat.tree)).unwrap();
            text.split_once('\n').unwrap().1.to_owned()
        }
        Err(error) => error.split_once("): ").map_or(error.clone(), |(_, reason)| reason.to_owned()),
    }
}
