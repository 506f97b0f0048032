//! Host files decided: what the host image carries, what systemd-tmpfiles makes at boot below `/var`, and which programs
//! are bound there, since a copy would never change again. What is copied or bound lies in the host image, too, by its path
//! below [`Seeding::factory`], as systemd's own seeds do.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::ground::{Ground, Keeper, Lies, Rights, keeper};
use super::mount_unit::{self, MountUnit};
use super::{HostFile, HostNode};
use crate::tree::Stat;
use crate::tree::path::quoted;

/// What decides where host files go.
pub struct Seeding<'a> {
    /// The container's unit, if it has one; bound programs come before it.
    pub unit: Option<&'a str>,
    /// Where the host keeps what is copied and bound, absolute.
    pub factory: &'a Utf8Path,
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
    /// The host files that those lines and [`Self::mounts`] make, by absolute path.
    pub seeds: BTreeMap<Utf8PathBuf, HostFile>,
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
            Keeper::Machine(at) => decided.seed(ground, &at, file, seeding)?,
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
    fn seed(
        &mut self,
        ground: &impl Ground,
        at: &Utf8Path,
        file: &HostFile,
        seeding: &Seeding<'_>,
    ) -> Result<()> {
        let stat = file.stat();
        // `:` spares a directory that the machine has already; without it systemd would set mode and owner at each boot.
        let once = |stat: &Stat| format!(":{:04o} :{} :{}", stat.mode, stat.uid, stat.gid);
        let path = super::super::tmpfiles::field(at.as_str());
        // What is bound from the host image has them.
        if !file.is_program() && stat.xattrs.is_some() {
            self.warnings.push(format!("{}: extended attributes do not reach {at}", file.path));
        }
        self.spare(ground, at, file, seeding)?;
        match &file.node {
            // `/var/lib` and its like are every host's own.
            HostNode::Directory(_) if at.components().count() <= 3 => return Ok(()),
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
            HostNode::File { .. } => {
                let source = Utf8PathBuf::from(format!("{}{at}", seeding.factory));
                let kept = Utf8PathBuf::from(source.as_str().trim_start_matches('/'));
                self.place(ground, kept, file, seeding)?;
                if file.is_program() {
                    self.line(&format!("f {path} 0000 0 0 - -"));
                    self.mounts.push(mount_unit::bind(&source, at, seeding.unit, &file.path));
                } else {
                    // A copy has its source's mode and owner.
                    self.line(&format!("C {path} - - - - {}", source.as_str().replace('%', "%%")));
                }
            }
        }
        self.seeds.insert(at.to_owned(), file.clone());
        Ok(())
    }

    /// What the target itself has below `/var` stays, so the image's would never get there.
    fn spare(
        &mut self,
        ground: &impl Ground,
        at: &Utf8Path,
        file: &HostFile,
        seeding: &Seeding<'_>,
    ) -> Result<()> {
        let directory = matches!(file.node, HostNode::Directory(_));
        let allowed = seeding.allow_conflicts.contains(&file.path);
        match (ground.lies(Utf8Path::new(at.as_str().trim_start_matches('/')))?, directory) {
            (Lies::Nothing, _) | (Lies::Directory | Lies::Link(_), true) => Ok(()),
            (Lies::File, false) if allowed && file.is_program() => Ok(()),
            (Lies::File | Lies::Link(_), false) if allowed => {
                self.warnings.push(format!("host file {}: the target's own {at} stays", file.path));
                Ok(())
            }
            (Lies::File | Lies::Link(_), false) => bail!(
                "placing host file {}: the target has {at}, and what is there below /var stays; remove it from the target, \
                 or put it into allow_conflicts if that is well",
                file.path
            ),
            (Lies::File | Lies::Directory | Lies::Other, _) => bail!(
                "placing host file {}: the target has something else at {at}; remove it from the target",
                file.path
            ),
        }
    }

    fn line(&mut self, line: &str) {
        self.tmpfiles.push_str(line);
        self.tmpfiles.push('\n');
    }
}
