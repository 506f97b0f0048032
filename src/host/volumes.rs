//! Volumes: directories of the host that get the image's content when they are absent, and never again.
//!
//! The copy is made beside and then renamed, so a volume is whole or absent; what a cut-off start left is cleared by the
//! next. What a payload wrote into one volume is never followed as a link on the way to another.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;
use rustix::fs::{Mode, OFlags, RenameFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::VolumeSeed;

use crate::copy;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Makes the volumes that are absent. `rootfs` gives the image's root; it is asked only when something is to be made.
///
/// # Errors
/// When a volume can't be made; it is absent then. When a volume lies inside another and its path leads over a
/// symbolic link there, since a payload may have put it there.
pub fn prepare(
    name: &ContainerName,
    volumes: &[VolumeSeed],
    rootfs: impl Fn() -> Result<PathBuf>,
) -> Result<()> {
    let mut volumes: Vec<_> = volumes.iter().collect();
    // The outer one before what lies inside it.
    volumes.sort();
    for (index, volume) in volumes.iter().enumerate() {
        let host = Utf8Path::new(volume.host.as_str());
        let doing = || format!("preparing volume {host} of container {name}");
        let outer = volumes[..index].iter().rev().map(|outer| Utf8Path::new(outer.host.as_str()));
        let way = Way::to(host, outer.clone().find(|outer| host.starts_with(outer) && host != *outer));
        if way.is_directory().with_context(doing)? {
            continue;
        }
        let private = place::state_dir(name);
        let (parent, own_name) = way.parent(&private).with_context(doing)?;
        let rootfs = rootfs()?;
        seed(&parent, own_name, &rootfs, Path::new(volume.image.as_str())).with_context(doing)?;
    }
    Ok(())
}

/// The way to a volume: from where links count as the admin's, and on from where they may be a payload's.
struct Way<'a> {
    trusted: &'a Utf8Path,
    rest: &'a Utf8Path,
    resolve: ResolveFlags,
}

impl<'a> Way<'a> {
    fn to(host: &'a Utf8Path, outer: Option<&'a Utf8Path>) -> Self {
        let trusted = outer.unwrap_or(Utf8Path::new("/"));
        let rest = host.strip_prefix(trusted).unwrap_or(host);
        let resolve = match outer {
            Some(_) => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            None => ResolveFlags::empty(),
        };
        Self { trusted, rest, resolve }
    }

    fn open(&self, directory: impl std::os::fd::AsFd, path: &Utf8Path) -> Result<OwnedFd, Errno> {
        let path = if path == "" { Utf8Path::new(".") } else { path };
        openat2(directory, path.as_std_path(), DIRECTORY, Mode::empty(), self.resolve)
    }

    fn start(&self) -> Result<OwnedFd> {
        Ok(rustix::fs::open(self.trusted.as_std_path(), DIRECTORY, Mode::empty())?)
    }

    fn is_directory(&self) -> Result<bool> {
        match self.start().map(|start| self.open(start, self.rest))? {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::NOTDIR) => bail!("it is not a directory; move it away"),
            Err(Errno::LOOP) => bail!("a symbolic link inside {} is on its way; remove it", self.trusted),
            Err(error) => Err(error.into()),
        }
    }

    /// The directory that the volume lies in, made where it is missing: root's, 0755, but `private` 0700, so that an
    /// image's setuid files are out of users' reach.
    fn parent(&self, private: &Utf8Path) -> Result<(OwnedFd, &'a str)> {
        let own_name = self.rest.file_name().context("it has no name")?;
        let mut directory = self.start()?;
        let mut path = self.trusted.to_owned();
        for component in self.rest.parent().into_iter().flat_map(Utf8Path::components) {
            path.push(component);
            let component = Utf8Path::new(component.as_str());
            directory = match self.open(&directory, component) {
                Err(Errno::NOENT) => {
                    let mode = Mode::from_raw_mode(if path == private { 0o700 } else { 0o755 });
                    match rustix::fs::mkdirat(&directory, component.as_std_path(), mode) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error).with_context(|| format!("making {path}")),
                    }
                    let made = self.open(&directory, component).with_context(|| format!("opening {path}"))?;
                    rustix::fs::fchmod(&made, mode).with_context(|| format!("setting the mode of {path}"))?;
                    made
                }
                opened => opened.with_context(|| format!("opening {path}"))?,
            };
        }
        Ok((directory, own_name))
    }
}

fn seed(parent: &OwnedFd, name: &str, rootfs: &Path, image: &Path) -> Result<()> {
    // Two starts of one container at once must not clear each other's copy.
    rustix::fs::flock(parent, rustix::fs::FlockOperation::LockExclusive).context("locking its parent")?;
    let absent =
        matches!(rustix::fs::statat(parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
    if !absent {
        return Ok(());
    }
    let beside = format!(".{name}.sysctr-tmp");
    clear(parent.as_fd(), &beside)?;
    rustix::fs::mkdirat(parent, &beside, Mode::RWXU).context("making its copy beside")?;
    let target = rustix::fs::openat(parent, &beside, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        .context("opening its copy")?;
    match source(rootfs, image)? {
        Some(source) => copy::tree(&source, &target)?,
        None => rustix::fs::fchmod(&target, Mode::from_raw_mode(0o755)).context("setting its mode")?,
    }
    // One call for all files: a volume may have thousands.
    rustix::fs::syncfs(&target).context("writing its copy to disk")?;
    rustix::fs::renameat_with(parent, &beside, parent, name, RenameFlags::NOREPLACE)
        .context("putting it in place")?;
    rustix::fs::fsync(parent).context("writing its name to disk")
}

/// The image's directory, links followed inside the image only; none when the image lacks it.
fn source(rootfs: &Path, image: &Path) -> Result<Option<OwnedFd>> {
    let root = rustix::fs::open(rootfs, DIRECTORY, Mode::empty())
        .with_context(|| format!("opening {}", rootfs.display()))?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, image, DIRECTORY, Mode::empty(), inside) {
        Ok(source) => Ok(Some(source)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR) => bail!("{} is not a directory in the image", image.display()),
        Err(error) => Err(error).with_context(|| format!("opening {} of the image", image.display())),
    }
}

fn clear(parent: BorrowedFd<'_>, name: &str) -> Result<()> {
    // By descriptor, so that nothing on the way can be exchanged; std removes without following links.
    let path = format!("/proc/self/fd/{}/{name}", parent.as_raw_fd());
    match std::fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(&path),
        Ok(_) => std::fs::remove_file(&path),
        Err(_) => return Ok(()),
    }
    .with_context(|| format!("clearing {name}, which a cut-off start left"))
}
