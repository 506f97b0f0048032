//! Host files decided: what the host image carries, what systemd-tmpfiles makes at boot below `/var`, and which programs
//! are bound there from the bundle, since a copy would never change again.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::ground::{Ground, Keeper, Lies, Rights, keeper};
use super::mount_unit::{self, MountUnit};
use super::{Content, HostFile, HostNode};
use crate::digest::Digest;
use crate::place;
use crate::tree::Stat;
use crate::tree::path::quoted;

/// What decides where host files go.
pub struct Seeding<'a> {
    /// The container's unit, if it has one; bound programs come before it.
    pub unit: Option<&'a str>,
    /// The bundle on the host, absolute.
    pub bundle: &'a Utf8Path,
    /// Host paths at which the manifest lets a file of the target be replaced.
    pub allow_conflicts: &'a [String],
}

/// A host file that the host image carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where, relative to the target's root.
    pub at: Utf8PathBuf,
    /// What.
    pub file: HostFile,
}

/// Everything about an image's host files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// What the host image carries, parents before what they hold; what the target has already is left out.
    pub placed: Vec<Placed>,
    /// tmpfiles.d(5) lines for what lies below `/var`.
    pub tmpfiles: String,
    /// Rendered files that those lines copy, or programs that are rendered: file name in the bundle directory → host file.
    pub kept: BTreeMap<String, HostFile>,
    /// Units that bind programs.
    pub mounts: Vec<MountUnit>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Decides about all host files.
///
/// # Errors
/// When the target has something else at a path and the manifest does not allow it, or keeps the path where no host image
/// can put something.
pub fn decide(ground: &impl Ground, files: &[HostFile], seeding: &Seeding<'_>) -> Result<Decided> {
    let mut decided = Decided::default();
    let mut taken = BTreeMap::new();
    for file in files {
        let kept = keeper(ground, Utf8Path::new(&file.path))?;
        if !take(&mut taken, kept.path(), file)? {
            continue;
        }
        match kept {
            Keeper::Image(at) => decided.place(ground, at, file, seeding)?,
            Keeper::Machine(at) => decided.seed(&at, file, seeding)?,
        }
    }
    for allowed in seeding.allow_conflicts {
        if !files.iter().any(|file| file.path == *allowed) {
            decided.warnings.push(format!("allow_conflicts: the image has no host file {allowed}"));
        }
    }
    Ok(decided)
}

/// Notes that `file` comes to lie at `at`; false for a directory that another one is at already, by a link of the target.
///
/// # Errors
/// When something else lies there: only one of them would reach the host.
fn take<'a>(
    taken: &mut BTreeMap<Utf8PathBuf, &'a HostFile>,
    at: Utf8PathBuf,
    file: &'a HostFile,
) -> Result<bool> {
    let directory = |file: &HostFile| matches!(file.node, HostNode::Directory(_));
    match taken.get(&at) {
        Some(other) if directory(other) && directory(file) => Ok(false),
        Some(other) => bail!(
            "placing host file {}: {} comes to lie at {at} too, by links of the target; leave one of them out, or give it \
             another path by renameFiles",
            file.path,
            other.path
        ),
        None => {
            taken.insert(at, file);
            Ok(true)
        }
    }
}

impl Decided {
    fn place(
        &mut self,
        ground: &impl Ground,
        at: Utf8PathBuf,
        file: &HostFile,
        seeding: &Seeding<'_>,
    ) -> Result<()> {
        let directory = matches!(file.node, HostNode::Directory(_));
        let lies = match ground.lies(&at)? {
            // A directory of the image is there already when the target's link leads to one, or to nothing yet.
            Lies::Link(_) if directory => return Ok(()),
            lies => lies,
        };
        let allowed = seeding.allow_conflicts.contains(&file.path);
        match (lies, directory) {
            (Lies::Directory, true) => {
                let stat = file.stat();
                let wanted = Rights { uid: stat.uid, gid: stat.gid, mode: stat.mode };
                if let Some(found) = ground.rights(&at)?.filter(|found| *found != wanted && !allowed) {
                    self.warnings.push(format!(
                        "host file {}: the target's own directory /{at} stays {found}, where the image has {wanted}; \
                         change it in the target, or put it into allow_conflicts if that is well",
                        file.path
                    ));
                }
                return Ok(());
            }
            (Lies::Nothing, _) => {}
            (Lies::File | Lies::Link(_), false) if allowed => {}
            (lies, _) => {
                let what = match lies {
                    Lies::Directory => "a directory",
                    Lies::File => "a file",
                    Lies::Link(_) => "a symbolic link",
                    Lies::Nothing | Lies::Other => "a special file",
                };
                let way = if matches!(lies, Lies::File | Lies::Link(_)) && !directory {
                    "put it into allow_conflicts to replace it, or remove it from the target"
                } else {
                    "remove it from the target"
                };
                bail!("placing host file {}: the target has {what} at /{at}; {way}", file.path);
            }
        }
        self.placed.push(Placed { at, file: file.clone() });
        Ok(())
    }

    /// Below `/var`, lines of systemd-tmpfiles make what is missing at boot and leave alone what is there.
    fn seed(&mut self, at: &Utf8Path, file: &HostFile, seeding: &Seeding<'_>) -> Result<()> {
        let stat = file.stat();
        // `:` spares a directory that the machine has already; without it systemd would set mode and owner at each boot.
        let once = |stat: &Stat| format!(":{:04o} :{} :{}", stat.mode, stat.uid, stat.gid);
        let path = super::super::tmpfiles::field(at.as_str());
        // What is bound from the bundle has them.
        let copied = !matches!(&file.node, HostNode::File { stat, .. } if stat.mode & 0o111 != 0);
        if copied && stat.xattrs.is_some() {
            self.warnings.push(format!("{}: extended attributes do not reach {at}", file.path));
        }
        match &file.node {
            // `/var/lib` and its like are every host's own.
            HostNode::Directory(_) if at.components().count() <= 3 => {}
            HostNode::Directory(stat) => self.line(&format!("d {path} {} - -", once(stat))),
            HostNode::Symlink(_, target) => {
                let Ok(target) = std::str::from_utf8(target) else {
                    bail!("placing host file {}: its target {} is no UTF-8", file.path, quoted(target));
                };
                if target.chars().any(char::is_control) || target.trim() != target {
                    bail!("placing host file {}: tmpfiles.d can't make a link to {target:?}", file.path);
                }
                self.line(&format!("L {path} - - - - {}", target.replace('%', "%%")));
            }
            HostNode::File { stat, content, .. } => {
                let source = self.source(file, *content, seeding.bundle);
                if stat.mode & 0o111 == 0 {
                    // A copy has its source's mode and owner. What we render is root's, so another owner must be said.
                    let owner = match content {
                        Content::Template if (stat.uid, stat.gid) != (0, 0) => {
                            format!("{:04o} {} {}", stat.mode, stat.uid, stat.gid)
                        }
                        _ => "- - -".to_owned(),
                    };
                    let source = source.as_str().replace('%', "%%");
                    self.line(&format!("C {path} {owner} - {source}"));
                } else {
                    self.line(&format!("f {path} 0000 0 0 - -"));
                    self.mounts.push(mount_unit::bind(&source, at, seeding.unit));
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) {
        self.tmpfiles.push_str(line);
        self.tmpfiles.push('\n');
    }

    /// Where a file's bytes lie on the host: in the container's root, or rendered beside it.
    fn source(&mut self, file: &HostFile, content: Content, bundle: &Utf8Path) -> Utf8PathBuf {
        match content {
            Content::AsItIs => {
                bundle.join(place::ROOTFS).join(String::from_utf8_lossy(file.from.as_bytes()).as_ref())
            }
            Content::Template => {
                let digest = Digest::of(file.path.as_bytes()).to_string();
                let hex = digest.split_once(':').map_or(digest.as_str(), |(_, hex)| hex);
                let name = format!("host-file-{}", &hex[..16]);
                self.kept.insert(name.clone(), file.clone());
                bundle.join(name)
            }
        }
    }
}
