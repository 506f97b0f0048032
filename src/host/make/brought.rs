//! Files that an image brings for its host, in a generation: their contents go into the bundle, and from there to their places when
//! it is switched to.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::StatVfsMountFlags;
use sysctr_core::container::ReadContent;
use sysctr_core::generation::{GenerationName, HostFiles};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{Body, Brought, Draft, PlacedLeaf, boot_clashes};
use sysctr_core::record::{Metadata, Placed, Record, VERSION};

use crate::active::host::Host;
use crate::durable::{make_parent, write_new};
use crate::host_files;

/// They.
pub struct HostThings {
    /// What the host gets.
    pub files: HostFiles,
    /// What lies in the bundle, by path from the host's root.
    pub bundled: BTreeMap<Utf8PathBuf, Placed>,
    /// In the bundle, by path relative to it.
    contents: Vec<(Utf8PathBuf, Brought)>,
}

impl HostThings {
    /// Takes them out of a draft, which keeps units and tmpfiles lines; their contents are read.
    ///
    /// # Errors
    /// When a content can't be read.
    pub fn take(draft: &mut Draft, generation: &GenerationName, read: ReadContent<'_>) -> Result<Self> {
        let bundle = Utf8Path::new(place::GENERATIONS_DIR).join(generation.to_string());
        let seeds = bundle.join(place::SEEDS);
        let allowed = draft.allowed.clone();
        let files = HostFiles { version: VERSION, files: BTreeMap::new(), allowed };
        let mut things = Self { files, bundled: BTreeMap::new(), contents: Vec::new() };
        for (path, stat) in std::mem::take(&mut draft.directories) {
            // Attributes of directories are not kept.
            let metadata = Metadata { xattrs: BTreeMap::new(), ..Metadata::from(&stat) };
            things.files.files.insert(path, Placed::Directory { metadata });
        }
        for (path, leaf) in std::mem::take(&mut draft.placed) {
            let PlacedLeaf::Brought(brought) = leaf else {
                draft.placed.push((path, leaf));
                continue;
            };
            let placed = PlacedLeaf::Brought(brought.clone()).record(None);
            let brought = whole(*brought, read).with_context(|| format!("reading host file /{path}"))?;
            let inner = if let Ok(inner) = path.strip_prefix(&seeds) {
                Utf8Path::new(place::SEEDS).join(inner)
            } else {
                things.files.files.insert(path.clone(), placed.clone());
                Utf8Path::new(place::HOST_FILES).join(&path)
            };
            things.bundled.insert(bundle.join(&inner), placed);
            things.contents.push((inner, brought));
        }
        // Only host files ask for it.
        things.files.allowed.retain(|path| things.files.files.contains_key(path));
        Ok(things)
    }

    /// Refuses what this host has no place for, by name, and what is another container's. Tells what its user should know.
    ///
    /// # Errors
    /// When something is refused.
    pub fn check(
        &self,
        host: &Host,
        draft: &Draft,
        standing: &BTreeMap<ContainerName, Record>,
    ) -> Result<Vec<String>> {
        for path in self.files.files.keys() {
            placeable(host, path)?;
        }
        let own = &draft.record.name;
        for (other, record) in standing.iter().filter(|(other, _)| *other != own) {
            let both = self
                .files
                .files
                .iter()
                .filter_map(|(path, placed)| Some((path, placed, record.placed.get(path)?)));
            for (path, placed, theirs) in both {
                if placed == theirs && (self.files.allowed.contains(path) || is_directory(placed)) {
                    continue;
                }
                bail!(
                    "its host file /{path} belongs to container {other} already{}",
                    if placed == theirs {
                        "; `allow_conflicts` of both lets them share it"
                    } else {
                        ", and differs"
                    }
                );
            }
        }
        boot_clashes(&draft.record, standing.iter(), &draft.allowed)
    }

    /// Writes the contents into a bundle; nothing is flushed.
    ///
    /// # Errors
    /// When one can't be written.
    pub fn write(&self, bundle: &Utf8Path) -> Result<()> {
        for (path, Brought { stat, body }) in &self.contents {
            let path = bundle.join(path);
            let doing = || format!("writing {path}");
            make_parent(&path)?;
            match body {
                Body::Link(text) => symlink(text, &path).with_context(doing)?,
                Body::Bytes(bytes) => write_new(&path, bytes, 0o600)?,
                Body::Content { .. } => bail!("{}: its content was not read", doing()),
            }
            host_files::set(&path, stat).with_context(doing)?;
            if let (Body::Bytes(_), Some(mtime)) = (body, stat.mtime) {
                let time =
                    SystemTime::UNIX_EPOCH + Duration::new(u64::try_from(mtime.seconds)?, mtime.nanoseconds);
                File::open(&path).and_then(|file| file.set_modified(time)).with_context(doing)?;
            }
        }
        Ok(())
    }
}

fn is_directory(placed: &Placed) -> bool {
    matches!(placed, Placed::Directory { .. })
}

/// With its bytes.
fn whole(brought: Brought, read: ReadContent<'_>) -> Result<Brought> {
    let body = match brought.body {
        Body::Content { id, size, .. } => Body::Bytes(read(id, size)?),
        other => other,
    };
    Ok(Brought { body, ..brought })
}

/// Whether a running host keeps what is written at `path`.
fn placeable(host: &Host, path: &Utf8Path) -> Result<()> {
    if path.starts_with(place::ACTIVE_DIR) {
        bail!("its host file /{path} lies where sysctr keeps what is active");
    }
    if path.starts_with("etc") {
        return Ok(());
    }
    if host.path("run/ostree-booted").exists() {
        bail!(
            "its host file /{path} belongs into the host image, where only a compose can place it; compose a new host image \
             with it"
        );
    }
    let there = path.ancestors().skip(1).map(|above| host.path(above)).find(|above| above.is_dir());
    let there = there.unwrap_or_else(|| host.path(""));
    let found = rustix::fs::statvfs(there.as_std_path()).with_context(|| format!("looking at {there}"))?;
    if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
        bail!(
            "its host file /{path} can't be placed, since {there} is read-only; compose a new host image with it"
        );
    }
    Ok(())
}
