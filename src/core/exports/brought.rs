//! What an image has in `/exports`, found in its tree (A§1.1).

use anyhow::{Context, Result, bail};

use super::{CONFIG, CONFIG_TEMPLATE, HOST_FILES, settings, tmpfiles, unit};
use crate::tree::lookup::{Found, Resolved};
use crate::tree::{ContentId, Dir, ImageTree, Leaf, Node, TreePath};

/// The directory, relative to the image's root.
pub const DIRECTORY: &str = "exports";

/// Largest file of `/exports` that is read, and largest host file that is a template.
pub const MAX_BYTES: u64 = 4 << 20;

/// Reads the content of a regular file of the image; the file has at most [`MAX_BYTES`].
pub type Read<'a> = &'a dyn Fn(&Leaf) -> Result<Vec<u8>>;

/// The files that an image brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought {
    /// `manifest.json`.
    pub settings: Option<Vec<u8>>,
    /// The runtime configuration.
    pub config: Option<Config>,
    /// `service.template`.
    pub service: Option<Vec<u8>>,
    /// `tmpfiles.template`; one that is empty means something else than none.
    pub tmpfiles: Option<Vec<u8>>,
    /// What has no effect, one sentence each.
    pub warnings: Vec<String>,
}

/// A runtime configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// `config.json`: no variables.
    Literal(Vec<u8>),
    /// `config.json.template`.
    Template(Vec<u8>),
}

impl Config {
    /// What messages call it.
    pub fn file(&self) -> &'static str {
        match self {
            Self::Literal(_) => CONFIG,
            Self::Template(_) => CONFIG_TEMPLATE,
        }
    }
}

impl Brought {
    /// What `tree` has; `None` when there is nothing of ours in `/exports`, so that the image is an ordinary one.
    ///
    /// # Errors
    /// When something there is no regular file, too large or unreadable.
    pub fn find(tree: &ImageTree, read: Read<'_>) -> Result<Option<Self>> {
        let file = |path: &str| content(tree, path, read);
        let mut warnings = Vec::new();
        let config = match (file(CONFIG)?, file(CONFIG_TEMPLATE)?) {
            (Some(literal), template) => {
                let beside = if template.is_some() { "; the template beside it has no effect" } else { "" };
                warnings.push(format!("{CONFIG} is no template: its variables are not replaced{beside}"));
                Some(Config::Literal(literal))
            }
            (None, template) => template.map(Config::Template),
        };
        for name in ["rpm.spec", "rpm.spec.template", "container.rpm"] {
            if exists(tree, &format!("exports/{name}")) {
                warnings.push(format!("exports/{name} has no effect: no package is built or installed"));
            }
        }
        let brought = Self {
            settings: file(settings::FILE)?,
            config,
            service: file(unit::FILE)?,
            tmpfiles: file(tmpfiles::FILE)?,
            warnings,
        };
        let nothing = Self { warnings: brought.warnings.clone(), ..Self::default() };
        let any = brought != nothing || !brought.warnings.is_empty() || exists(tree, HOST_FILES);
        Ok(any.then_some(brought))
    }
}

/// `/exports` of the image and where it lies, links followed within the image as a process in it would; `None` when it
/// has no such directory.
pub fn directory(tree: &ImageTree) -> Option<(TreePath, &Dir)> {
    match tree.resolve(DIRECTORY.as_bytes()) {
        Ok(Resolved { path, found: Found::Dir(dir) }) => Some((path, dir)),
        Ok(_) | Err(_) => None,
    }
}

/// What an image without anything of ours seems to have meant for us.
pub fn overlooked(tree: &ImageTree) -> Option<String> {
    let has = |dir: &Dir, name: &str| dir.children.contains_key(name.as_bytes());
    if directory(tree).is_none() && has(&tree.root, DIRECTORY) {
        return Some(format!(
            "/{DIRECTORY} of the image has no effect: it leads to no directory in the image"
        ));
    }
    let Ok(Resolved { found: Found::Dir(dir), .. }) = tree.resolve(b"export") else { return None };
    let ours = [CONFIG, CONFIG_TEMPLATE, settings::FILE, unit::FILE, tmpfiles::FILE, HOST_FILES];
    let name = ours.iter().filter_map(|path| path.strip_prefix("exports/")).find(|name| has(dir, name))?;
    let lone = !has(&tree.root, DIRECTORY);
    lone.then(|| format!("/export/{name} of the image has no effect: the directory's name is /{DIRECTORY}"))
}

/// Whether there is an entry at `path`, which begins with `exports/`; itself not followed.
pub(super) fn exists(tree: &ImageTree, path: &str) -> bool {
    let name = path.strip_prefix("exports/").unwrap_or(path);
    directory(tree).is_some_and(|(_, dir)| dir.children.contains_key(name.as_bytes()))
}

/// The bytes of the file at `path`, links followed within the image.
fn content(tree: &ImageTree, path: &str, read: Read<'_>) -> Result<Option<Vec<u8>>> {
    if !exists(tree, path) {
        return Ok(None);
    }
    let doing = || format!("reading {path}");
    match tree.resolve(path.as_bytes()).with_context(doing)?.found {
        Found::File(leaf) => checked(leaf, read).with_context(doing).map(Some),
        Found::Dir(_) => bail!("reading {path}: it is a directory"),
        Found::Missing => bail!("reading {path}: it is a link that leads to nothing"),
    }
}

/// The bytes of a leaf that is a regular file.
///
/// # Errors
/// When it is none, too large or unreadable.
pub fn checked(leaf: &Leaf, read: Read<'_>) -> Result<Vec<u8>> {
    match leaf {
        Leaf::File { size: 0, .. } => Ok(Vec::new()),
        Leaf::File { size, .. } if *size > MAX_BYTES => bail!("it has {size} bytes, more than {MAX_BYTES}"),
        Leaf::File { .. } => read(leaf),
        Leaf::Symlink { .. } => bail!("it is no regular file"),
    }
}

/// The contents that [`Read`] may be asked for: a caller that stores nothing needs these, wherever links led to them.
pub fn contents(tree: &ImageTree) -> Vec<ContentId> {
    let mut found = Vec::new();
    let mut enter = |leaf: &Leaf| match leaf {
        Leaf::File { content: Some(id), size, .. } if *size <= MAX_BYTES => found.push(*id),
        Leaf::File { .. } | Leaf::Symlink { .. } => {}
    };
    for path in [CONFIG, CONFIG_TEMPLATE, settings::FILE, unit::FILE, tmpfiles::FILE] {
        if let Ok(Resolved { found: Found::File(leaf), .. }) = tree.resolve(path.as_bytes()) {
            enter(leaf);
        }
    }
    // Either may be a link that leads elsewhere.
    let host_files = tree.resolve(HOST_FILES.as_bytes()).ok();
    let host_files = host_files.and_then(|it| if let Found::Dir(dir) = it.found { Some(dir) } else { None });
    let mut waiting: Vec<&Dir> = directory(tree).map(|it| it.1).into_iter().chain(host_files).collect();
    while let Some(dir) = waiting.pop() {
        for node in dir.children.values() {
            match node {
                Node::Dir(inner) => waiting.push(inner),
                Node::Leaf(id) => enter(tree.leaf(*id)),
            }
        }
    }
    found
}

/// Whether a content may be asked for by [`Read`]: what a caller that stores nothing has to keep while it reads layers.
pub fn may_be_read(path: &TreePath, size: u64) -> bool {
    size <= MAX_BYTES && path.as_bytes().starts_with(b"exports/")
}
