//! A lock's one spelling.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use camino::Utf8Path;
use sysctr_core::digest::Digest;
use sysctr_core::record::{SignatureKind, Signer};

use super::{Key, Lock, Locked, VERSION};

const HEAD: &str =
    "# Written by `sysctr-compose fetch`, to be reviewed and kept with the manifest; not to be edited.\n";

impl Lock {
    /// Its text.
    pub fn render(&self) -> String {
        let mut text = format!("{HEAD}version = {VERSION}\n");
        for (key, image) in &self.images {
            text += "\n";
            text += &sealed(&entry(key, image));
        }
        text
    }

    /// Writes it to `path`: beside, then renamed.
    ///
    /// # Errors
    /// When that can't be done; the old lock is still there.
    pub fn write(&self, path: &Utf8Path) -> Result<()> {
        let doing = || format!("writing lock {path}");
        // Two fetches beside one manifest never write one file.
        let beside = path.with_extension(format!("lock.{}.new", std::process::id()));
        let write = || {
            std::fs::write(&beside, self.render())?;
            std::fs::File::open(&beside)?.sync_all()?;
            std::fs::rename(&beside, path)?;
            // The name is as durable as the bytes.
            let dir = path.parent().filter(|dir| !dir.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
            std::fs::File::open(dir)?.sync_all()
        };
        let written = write();
        if written.is_err() {
            std::fs::remove_file(&beside).ok();
        }
        written.with_context(doing)
    }
}

/// The seal of an entry's text: it is found when anybody but `fetch` changed it.
pub(super) fn seal(entry: &str) -> Digest {
    Digest::of(entry.as_bytes())
}

fn sealed(entry: &str) -> String {
    format!("{entry}seal = {}\n", quoted(&seal(entry).to_string()))
}

/// An entry without its seal.
pub(super) fn entry((name, architecture): &Key, image: &Locked) -> String {
    let mut text = "[[image]]\n".to_owned();
    let mut put = |key: &str, value: &str| writeln!(text, "{key} = {}", quoted(value)).unwrap_or_default();
    put("container", name.as_str());
    put("architecture", architecture.as_str());
    put("source", &image.source.to_string());
    put("from", &image.from().to_string());
    if let Some(index) = image.parts.index {
        put("index", &index.to_string());
    }
    if let Some(manifest) = image.parts.manifest {
        put("manifest", &manifest.to_string());
    }
    put("config", &image.parts.config.to_string());
    let layers = image.parts.layers.iter().map(|layer| {
        let (diff_id, digest) = (quoted(&layer.diff_id.to_string()), quoted(&layer.digest.to_string()));
        format!("{{ diff_id = {diff_id}, digest = {digest}, size = {} }}", layer.size)
    });
    text += &list("layers", layers);
    if !image.signed_by().is_empty() {
        text += &list("signed_by", image.signed_by().iter().map(signer));
    }
    text
}

fn list(key: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.map(|line| format!("  {line},\n")).collect();
    if lines.is_empty() { format!("{key} = []\n") } else { format!("{key} = [\n{lines}]\n") }
}

fn signer(signer: &Signer) -> String {
    let kind = match signer.kind {
        SignatureKind::Gpg => "gpg",
        SignatureKind::Sigstore => "sigstore",
    };
    let (key, fingerprint) = (quoted(&signer.key), quoted(&signer.fingerprint));
    format!("{{ kind = {}, key = {key}, fingerprint = {fingerprint} }}", quoted(kind))
}

/// A basic string (TOML 1.0, "String").
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)).unwrap_or_default(),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
