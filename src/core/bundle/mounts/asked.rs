//! The mounts that the image declares (its Volumes) and that the user asks for.

use anyhow::{Context, Result, bail};

use super::tmpfs::{Content, Tmpfs};
use super::{Mount, Place, Rank, Wanted, options};
use crate::bundle::{MountTargetKind, Source};
use crate::place;
use crate::settings::{self, AbsolutePath, Propagation, Run, Volume};

/// The longest name of a volume's directory that we make up; the launcher prepares it under a longer one.
const LONGEST_NAME: usize = 200;

/// The image's Volumes that the user says nothing about: directories below `/var/lib/sysctr/NAME`.
pub fn by_image(source: &Source<'_>) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    for text in &source.image.volumes {
        let label = format!("the image's volume {text:?}");
        let path = AbsolutePath::try_from(text.clone()).with_context(|| label.clone())?;
        if source.settings.run.volumes.contains_key(&path) {
            continue;
        }
        let host = default_directory(source, &path, &label)?;
        wanted.push(volume(&path, host, label, Rank::Image));
    }
    Ok(wanted)
}

/// `run.mounts`, `run.volumes`, `run.tmpfs` and `run.devices`.
pub fn by_user(source: &Source<'_>, warnings: &mut Vec<String>) -> Result<Vec<Wanted>> {
    let run = &source.settings.run;
    let mut wanted: Vec<Wanted> =
        run.mounts.iter().enumerate().map(|(index, mount)| bind(index, mount)).collect();
    for (path, volume) in &run.volumes {
        wanted.push(chosen_volume(source, path, volume, warnings)?);
    }
    for (index, path) in run.tmpfs.iter().enumerate() {
        let content = Content::Empty;
        wanted.push(in_memory(source, path, content, format!("run.tmpfs[{index}]"), warnings));
    }
    for (index, path) in run.devices.iter().enumerate() {
        wanted.push(device(index, path)?);
    }
    Ok(wanted)
}

/// `linux.rootfsPropagation`: mounts can spread into the container only if its root lets them (mount_namespaces(7)).
pub fn root_propagation(run: &Run) -> &'static str {
    let any = |wanted| run.mounts.iter().any(|mount| mount.propagation == wanted);
    match (any(Propagation::Shared), any(Propagation::Slave)) {
        (true, _) => "shared",
        (_, true) => "slave",
        _ => "private",
    }
}

fn bind(index: usize, wish: &settings::Mount) -> Wanted {
    let propagation = match wish.propagation {
        Propagation::Private => "rprivate",
        Propagation::Slave => "rslave",
        Propagation::Shared => "rshared",
    };
    let access = if wish.ro { "ro" } else { "rw" };
    let kind = if wish.file { MountTargetKind::File } else { MountTargetKind::Directory };
    let mount = Mount {
        label: format!("run.mounts[{index}].target"),
        place: Place::Else(kind),
        kind: "bind",
        source: wish.source.as_str().to_owned(),
        options: options(&["rbind", access, propagation]),
        rank: Rank::User,
        volume: None,
        bound: Some(wish.source.clone()),
    };
    Wanted { target: wish.target.as_str().to_owned(), mount }
}

fn chosen_volume(
    source: &Source<'_>,
    path: &AbsolutePath,
    wish: &Volume,
    warnings: &mut Vec<String>,
) -> Result<Wanted> {
    let label = format!("run.volumes.{:?}", path.as_str());
    match wish {
        Volume::Tmpfs => Ok(in_memory(source, path, Content::OfImage, label, warnings)),
        Volume::Host(host) if host.as_str() == "/" => bail!("{label}: / can't be a volume's directory"),
        Volume::Host(host) => Ok(volume(path, host.clone(), label, Rank::User)),
    }
}

fn volume(path: &AbsolutePath, host: AbsolutePath, label: String, rank: Rank) -> Wanted {
    let mount = Mount {
        label,
        place: Place::Only(MountTargetKind::Directory),
        kind: "bind",
        source: host.as_str().to_owned(),
        options: options(&["rbind", "rw", "nosuid", "nodev", "rprivate"]),
        rank,
        volume: Some(host),
        bound: None,
    };
    Wanted { target: path.as_str().to_owned(), mount }
}

fn in_memory(
    source: &Source<'_>,
    path: &AbsolutePath,
    content: Content,
    label: String,
    warnings: &mut Vec<String>,
) -> Wanted {
    let target_kind = MountTargetKind::StickyDirectory;
    let tmpfs = Tmpfs { target: path.as_str(), content, target_kind };
    let mount = Mount {
        label,
        place: Place::Only(target_kind),
        kind: "tmpfs",
        source: "tmpfs".to_owned(),
        options: tmpfs.options(source, warnings),
        rank: Rank::User,
        volume: None,
        bound: None,
    };
    Wanted { target: path.as_str().to_owned(), mount }
}

/// A bind of the node, since its numbers are the host's and not known yet (docs/decisions.md, "Devices are bound").
fn device(index: usize, path: &AbsolutePath) -> Result<Wanted> {
    if !path.as_str().starts_with("/dev/") {
        bail!("run.devices[{index}]: {path} is not below /dev; other nodes are bound by run.mounts");
    }
    let mount = Mount {
        label: format!("run.devices[{index}]"),
        place: Place::Only(MountTargetKind::File),
        kind: "bind",
        source: path.as_str().to_owned(),
        options: options(&["bind", "rw", "nosuid", "noexec", "rprivate"]),
        rank: Rank::User,
        volume: None,
        bound: None,
    };
    Ok(Wanted { target: path.as_str().to_owned(), mount })
}

/// `/var/lib/sysctr/NAME/` and the path with `-` for `/`; a `-` or `~` of its own gets a `~` in front, so that two paths
/// never share a name: `/var/lib/my-app` → `var-lib-my~-app`.
fn default_directory(source: &Source<'_>, path: &AbsolutePath, label: &str) -> Result<AbsolutePath> {
    let mut name = String::new();
    for character in path.as_str().chars().skip(1) {
        match character {
            '/' => name.push('-'),
            '-' | '~' => name.extend(['~', character]),
            _ => name.push(character),
        }
    }
    if name.len() > LONGEST_NAME {
        bail!("{label}: its path is too long for a directory name; give it a directory in run.volumes");
    }
    let directory = place::state_dir(source.name).join(name);
    AbsolutePath::try_from(directory.into_string()).with_context(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Reads a directory name back; `None` if it is none that we make.
    fn path_of(name: &str) -> Option<String> {
        let mut path = String::from("/");
        let mut characters = name.chars();
        while let Some(character) = characters.next() {
            match character {
                '-' => path.push('/'),
                '~' => path.push(characters.next()?),
                _ => path.push(character),
            }
        }
        Some(path)
    }

    proptest! {
        #[test]
        fn a_volumes_directory_tells_its_path(path in "(/[-~._a z]{1,6}){1,4}") {
            let Ok(path) = super::AbsolutePath::try_from(path) else { return Ok(()) };
            prop_assume!(path.as_str() != "/");
            let case = crate::bundle::testing::Case::default();
            let directory = super::default_directory(&case.source(), &path, "x").unwrap();
            let name = directory.as_str().strip_prefix("/var/lib/sysctr/web/").unwrap();
            prop_assert!(!name.contains('/'));
            let read = path_of(name);
            prop_assert_eq!(read.as_deref(), Some(path.as_str()));
        }
    }
}
