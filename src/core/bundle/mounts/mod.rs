//! What the container sees mounted: sysctr's own defaults (`own`), what the image declares and what the user asks for
//! (`asked`), settled into one list.
//!
//! The user wins over the image, the image over the defaults, at the same place after the image's symbolic links were
//! followed; two wishes of the user for one place are an error. Below a directory of the host that the user binds,
//! nothing of image or defaults is mounted: the runtime would make its mount point in the host's directory.

mod asked;
mod own;
mod tmpfs;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::{MountTargetKind, Source};
use crate::record::VolumeSeed;
use crate::settings::AbsolutePath;
use crate::settings::Phase;
use crate::tree::{ImageTree, TreePath};

/// Who wants a mount; who comes later wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Own,
    Image,
    User,
}

/// What has to be at a mount's place in the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Exactly this.
    Only(MountTargetKind),
    /// What the image has there; this, where it has nothing.
    Else(MountTargetKind),
}

/// One mount of `config.json`, but for its destination.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Who asks for it, for messages: `run.mounts[0].target`.
    pub label: String,
    /// See [`Place`].
    pub place: Place,
    /// The runtime specification's `type`.
    pub kind: &'static str,
    /// The runtime specification's `source`.
    pub source: String,
    /// The runtime specification's `options`.
    pub options: Vec<String>,
    rank: Rank,
    /// For a volume: its directory on the host.
    volume: Option<AbsolutePath>,
    /// For a bind of the user: the host's path.
    bound: Option<AbsolutePath>,
}

/// A mount and where it is wanted, before the image's symbolic links are followed.
struct Wanted {
    target: String,
    mount: Mount,
}

/// The mounts of a container and what follows from them.
#[derive(Debug)]
pub struct Mounts {
    /// By their place without symbolic links, so parents come before what lies in them.
    pub list: BTreeMap<TreePath, Mount>,
    /// See [`super::Bundle::volumes`].
    pub volumes: Vec<VolumeSeed>,
    /// See [`super::Bundle::empty_if_missing`].
    pub empty_if_missing: Vec<AbsolutePath>,
    /// See [`super::Bundle::host_paths`].
    pub host_paths: Vec<AbsolutePath>,
    /// `linux.rootfsPropagation`.
    pub root_propagation: &'static str,
}

/// Decides all mounts.
///
/// # Errors
/// When two wishes of the user meet, one can't be fulfilled, or a place leads out of what can be mounted on.
pub fn decide(source: &Source<'_>, warnings: &mut Vec<String>) -> Result<Mounts> {
    let mut wanted = own::mounts(source, warnings);
    wanted.extend(asked::by_image(source)?);
    wanted.extend(asked::by_user(source, warnings)?);
    let list = settle(source, wanted, warnings)?;
    let volumes = seeds(&list)?;
    let host_paths = host_paths(source, &list, &volumes);
    if source.settings.unit.phase == Phase::Early {
        for volume in &volumes {
            warnings.push(format!(
                "unit.phase: early starts before /var is mounted, but the volume {} lives in {}; use sysinit, or \
                 \"tmpfs\" in run.volumes",
                volume.image, volume.host
            ));
        }
    }
    let empty_if_missing = own::HOST_FILES
        .into_iter()
        .filter(|file| list.values().any(|mount| mount.rank == Rank::Own && mount.source == *file))
        .map(|file| absolute(file.to_owned()))
        .collect::<Result<_>>()?;
    let root_propagation = asked::root_propagation(&source.settings.run);
    Ok(Mounts { list, volumes, empty_if_missing, host_paths, root_propagation })
}

/// The mounts that the user asks for alone, as they lie over a configuration that the image brings.
///
/// # Errors
/// As [`decide`].
pub fn by_user(source: &Source<'_>, warnings: &mut Vec<String>) -> Result<Mounts> {
    let list = settle(source, asked::by_user(source, warnings)?, warnings)?;
    let volumes = seeds(&list)?;
    let host_paths = host_paths(source, &list, &volumes);
    let root_propagation = asked::root_propagation(&source.settings.run);
    Ok(Mounts { list, volumes, empty_if_missing: Vec::new(), host_paths, root_propagation })
}

fn host_paths(
    source: &Source<'_>,
    list: &BTreeMap<TreePath, Mount>,
    volumes: &[VolumeSeed],
) -> Vec<AbsolutePath> {
    let mut paths: Vec<AbsolutePath> = volumes.iter().map(|volume| volume.host.clone()).collect();
    paths.extend(list.values().filter_map(|mount| mount.bound.clone()));
    paths.extend(source.settings.unit.environment_files.iter().cloned());
    paths.sort();
    paths.dedup();
    paths
}

impl Mount {
    /// Whether nothing of the image's is mounted below it.
    pub fn hides(&self) -> bool {
        self.bound.is_some()
    }
}

impl Mounts {
    /// Whether `path`, without symbolic links, is a mount's place or lies below one.
    pub fn cover(&self, path: &TreePath) -> bool {
        self.list.keys().any(|place| path.starts_with(place))
    }
}

fn settle(
    source: &Source<'_>,
    mut wanted: Vec<Wanted>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<TreePath, Mount>> {
    // Shorter ones first, so that what a longer one leads through is known.
    wanted.sort_by_key(|wanted| wanted.target.bytes().filter(|&byte| byte == b'/').count());
    let mut list: BTreeMap<TreePath, Mount> = BTreeMap::new();
    for Wanted { target, mount } in wanted {
        let place = locate(source.tree, &list, &target).with_context(|| mount.label.clone())?;
        if mount.rank == Rank::Image && (place.is_root() || made_by_runtime(&place)) {
            warnings.push(format!("{} is ignored: the runtime makes what is there", mount.label));
            continue;
        }
        refuse_place(source, &place, &mount)?;
        match list.get(&place) {
            Some(earlier) if earlier.rank == Rank::User && mount.rank == Rank::User => bail!(
                "{}: {} mounts something at {place} already; keep one of them",
                mount.label,
                earlier.label
            ),
            Some(earlier) if earlier.rank >= mount.rank => {}
            _ => {
                list.insert(place, mount);
            }
        }
    }
    let bound: Vec<TreePath> =
        list.iter().filter(|(_, mount)| mount.bound.is_some()).map(|(place, _)| place.clone()).collect();
    list.retain(|place, mount| {
        mount.rank == Rank::User || !bound.iter().any(|bound| place != bound && place.starts_with(bound))
    });
    Ok(list)
}

/// Where `target` leads to. What lies below a mount is not the image's, so its links are not followed there.
fn locate(tree: &ImageTree, list: &BTreeMap<TreePath, Mount>, target: &str) -> Result<TreePath> {
    for (end, _) in target.match_indices('/').filter(|(end, _)| *end > 0) {
        let outer = tree.resolve(&target.as_bytes()[..end])?.path;
        if list.contains_key(&outer) {
            let rest = TreePath::parse(&target.as_bytes()[end + 1..])?;
            return Ok(rest.components().fold(outer, |path, name| path.join(&name)));
        }
    }
    Ok(tree.resolve(target.as_bytes())?.path)
}

fn refuse_place(source: &Source<'_>, place: &TreePath, mount: &Mount) -> Result<()> {
    let label = &mount.label;
    if place.is_root() {
        bail!("{label}: nothing can be mounted on the root; it is the image's");
    }
    if std::str::from_utf8(place.as_bytes()).is_err() {
        bail!("{label}: the image leads it to {place}, which is not UTF-8; config.json can't name it");
    }
    if mount.rank == Rank::User && below(place, b"proc") {
        bail!("{label}: {place} is the kernel's; runtimes mount nothing there");
    }
    if mount.rank == Rank::User && mount.bound.is_none() && made_by_runtime(place) {
        bail!("{label}: {place} is made by the runtime; choose another place, or bind it by run.mounts");
    }
    if mount.rank == Rank::User
        && !source.settings.unit.credentials.is_empty()
        && place.as_bytes() == b"run/credentials"
    {
        bail!("{label}: unit.credentials appear at {place}; choose another place");
    }
    Ok(())
}

fn below(place: &TreePath, top: &[u8]) -> bool {
    TreePath::parse(top).is_ok_and(|top| place.starts_with(&top))
}

fn made_by_runtime(place: &TreePath) -> bool {
    below(place, b"proc") || below(place, b"sys") || place.as_bytes() == b"dev"
}

fn seeds(list: &BTreeMap<TreePath, Mount>) -> Result<Vec<VolumeSeed>> {
    let mut seeds: Vec<VolumeSeed> = Vec::new();
    for (place, mount) in list {
        let Some(host) = &mount.volume else { continue };
        if let Some(other) = seeds.iter().find(|seed| seed.host == *host) {
            bail!(
                "{}: {host} is the directory of the volume {} already; give it another",
                mount.label,
                other.image
            );
        }
        let image = absolute(destination(place)).with_context(|| mount.label.clone())?;
        seeds.push(VolumeSeed { host: host.clone(), image });
    }
    seeds.sort();
    Ok(seeds)
}

fn absolute(path: String) -> Result<AbsolutePath> {
    Ok(AbsolutePath::try_from(path)?)
}

/// A mount's place as `config.json` spells it. `refuse_place` lets only UTF-8 through.
pub fn destination(place: &TreePath) -> String {
    format!("/{}", String::from_utf8_lossy(place.as_bytes()))
}

fn options(list: &[&str]) -> Vec<String> {
    list.iter().map(|&option| option.to_owned()).collect()
}
