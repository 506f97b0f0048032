//! Files that an image brings for its host: the tree `/exports/hostfs`, renamed (A§4.11), placed where the target keeps
//! such paths ([`ground`]), and told apart by who owns them ([`owners`]).

pub mod ground;
mod mount_unit;
pub mod owners;
mod seeds;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::settings::{ImageSettings, normalized};
use super::{HOST_FILES, brought};
use crate::tree::lookup::{Found, Resolved};
use crate::tree::path::quoted;
use crate::tree::{Dir, ImageTree, Leaf, LeafId, Node, Stat, TreePath};
pub use ground::{Ground, Lies, Rights};
pub use mount_unit::MountUnit;
pub use seeds::{Decided, Placed, Seeding, decide};

/// Something for the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFile {
    /// Its place in the image.
    pub from: TreePath,
    /// Its path on the host, renamed; normalized and absolute.
    pub path: String,
    /// What it is.
    pub node: HostNode,
}

/// What a host file is. Owner, mode and attributes stay as in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostNode {
    /// A directory. One that the target has already stays as it is there.
    Directory(Stat),
    /// A regular file.
    File {
        /// In the image's tree.
        leaf: LeafId,
        /// Its metadata.
        stat: Stat,
        /// Whether its variables are to be replaced.
        content: Content,
    },
    /// A symbolic link with this text.
    Symlink(Stat, Vec<u8>),
}

/// What is done with a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Copied.
    AsItIs,
    /// Rendered: it stands in `installedFilesTemplate`.
    Template,
}

impl HostFile {
    /// The inode's metadata.
    pub fn stat(&self) -> &Stat {
        match &self.node {
            HostNode::Directory(stat) | HostNode::File { stat, .. } | HostNode::Symlink(stat, _) => stat,
        }
    }

    /// Whether it is a file that may be run.
    pub fn is_program(&self) -> bool {
        matches!(&self.node, HostNode::File { stat, .. } if stat.mode & 0o111 != 0)
    }
}

/// Where `path` goes: rebuilt component by component, each prefix replaced when `renames` has it, the replacement being
/// what the next component is appended to (A§4.11, 3).
pub fn renamed(path: &str, renames: &BTreeMap<String, String>) -> String {
    let mut renamed = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        renamed.push('/');
        renamed.push_str(name);
        if let Some(other) = renames.get(&renamed) {
            renamed.clone_from(other);
        }
    }
    renamed
}

/// All host files in path order, parents before what they hold. `renames` are the image's `renameFiles`, their variables
/// replaced. Empty when the image has no `hostfs`.
///
/// # Errors
/// When a name is no UTF-8, a new path can't be one, two files come to one path, or one comes to lie in a file.
pub fn list(
    tree: &ImageTree,
    settings: &ImageSettings,
    renames: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<Vec<HostFile>> {
    let renames = checked(renames)?;
    if !brought::exists(tree, HOST_FILES) {
        return Ok(Vec::new());
    }
    let Resolved { path: start, found } =
        tree.resolve(HOST_FILES.as_bytes()).with_context(|| format!("reading /{HOST_FILES}"))?;
    let dir = match found {
        Found::Dir(dir) => dir,
        Found::File(_) => bail!("reading /{HOST_FILES}: it is no directory"),
        Found::Missing => bail!("reading /{HOST_FILES}: it is a link that leads to nothing in the image"),
    };
    let mut listing = Listing { tree, settings, renames: &renames, start, files: BTreeMap::new() };
    listing.walk(dir, &listing.start.clone(), "")?;
    listing.check_parents()?;
    for (from, _) in renames.iter().filter(|(from, _)| !listing.matched(from)) {
        warnings.push(format!("{}: renameFiles: no host file lies at {from}", super::settings::FILE));
    }
    for path in &settings.installed_files_template {
        let is_template =
            |file: &&HostFile| matches!(file.node, HostNode::File { content: Content::Template, .. });
        let host =
            |file: &HostFile| normalized(&listing.original(&file.from)).as_deref() == Some(path.as_str());
        if !listing.files.values().filter(is_template).any(|file| file.path == *path || host(file)) {
            warnings.push(format!(
                "{}: installedFilesTemplate: no regular host file lies at {path}",
                super::settings::FILE
            ));
        }
    }
    Ok(listing.files.into_values().collect())
}

fn checked(renames: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let check = |(from, to): (&String, &String)| {
        let to = normalized(to).with_context(|| {
            format!(
                "reading {}: renameFiles: {from} becomes {to:?}, not an absolute path free of `..`",
                super::settings::FILE
            )
        })?;
        Ok((from.clone(), to))
    };
    renames.iter().map(check).collect()
}

struct Listing<'a> {
    tree: &'a ImageTree,
    settings: &'a ImageSettings,
    renames: &'a BTreeMap<String, String>,
    /// Where they lie, links followed.
    start: TreePath,
    files: BTreeMap<Utf8PathBuf, HostFile>,
}

impl Listing<'_> {
    fn walk(&mut self, dir: &Dir, from: &TreePath, path: &str) -> Result<()> {
        for (name, node) in &dir.children {
            let from = from.join(name);
            let Ok(name) = std::str::from_utf8(name.as_bytes()) else {
                bail!("reading /{HOST_FILES}: {from} is no UTF-8; a host file's name must be");
            };
            if name.chars().any(char::is_control) {
                bail!("reading /{HOST_FILES}: {from} has a control character; a host file's name can't");
            }
            let path = format!("{path}/{name}");
            let file = self.file(node, from.clone(), &path);
            self.enter(file)?;
            if let Node::Dir(dir) = node {
                self.walk(dir, &from, &path)?;
            }
        }
        Ok(())
    }

    fn file(&self, node: &Node, from: TreePath, path: &str) -> HostFile {
        let renamed = renamed(path, self.renames);
        let listed = |path: &str| self.settings.installed_files_template.iter().any(|listed| listed == path);
        let node = match node {
            Node::Dir(dir) => HostNode::Directory(dir.stat.clone()),
            Node::Leaf(id) => match self.tree.leaf(*id) {
                Leaf::Symlink { stat, target } => HostNode::Symlink(stat.clone(), target.to_vec()),
                Leaf::File { stat, .. } => {
                    let template = listed(path) || listed(&renamed);
                    let content = if template { Content::Template } else { Content::AsItIs };
                    HostNode::File { leaf: *id, stat: stat.clone(), content }
                }
            },
        };
        HostFile { from, path: renamed, node }
    }

    fn enter(&mut self, file: HostFile) -> Result<()> {
        let path = Utf8PathBuf::from(&file.path);
        if let Some(other) = self.files.get(&path) {
            let directory = |file: &HostFile| matches!(file.node, HostNode::Directory(_));
            if directory(other) && directory(&file) {
                return Ok(());
            }
            bail!(
                "reading /{HOST_FILES}: {} and {} both become {path}; mend renameFiles",
                quoted(other.from.as_bytes()),
                quoted(file.from.as_bytes())
            );
        }
        self.files.insert(path, file);
        Ok(())
    }

    /// Renaming may put something into what is no directory.
    fn check_parents(&self) -> Result<()> {
        for (path, file) in &self.files {
            for parent in path.ancestors().skip(1) {
                if let Some(other) = self.files.get(parent)
                    && !matches!(other.node, HostNode::Directory(_))
                {
                    bail!(
                        "reading /{HOST_FILES}: {} becomes {path}, but {parent} is no directory",
                        file.from
                    );
                }
            }
        }
        Ok(())
    }

    /// A host file's path before renaming.
    fn original(&self, from: &TreePath) -> String {
        let text = String::from_utf8_lossy(from.as_bytes());
        let below = text.strip_prefix(&*String::from_utf8_lossy(self.start.as_bytes())).unwrap_or_default();
        format!("/{}", below.trim_start_matches('/'))
    }

    /// Whether a key of `renameFiles` had an effect: something lies at it, or at what another key makes of it.
    fn matched(&self, key: &str) -> bool {
        let key = Utf8Path::new(key);
        self.files.values().any(|file| Utf8PathBuf::from(self.original(&file.from)).starts_with(key))
            || self.renames.values().any(|to| key.starts_with(to))
    }
}

#[cfg(test)]
pub(super) mod tests;
