//! `inspect IMAGE`: what an image says about itself, what it brings in `/exports`, and which values its files want.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::Serialize;
use sysctr_core::arch::Architecture;
use sysctr_core::digest::Digest;
use sysctr_core::exports::CONFIG_TEMPLATE;
use sysctr_core::exports::brought::{self, Brought, MAX_BYTES, contents};
use sysctr_core::exports::settings::ImageSettings;
use sysctr_core::exports::values::Class;
use sysctr_core::exports::variables::{Variable, used};
use sysctr_core::image::ResolvedImage;
use sysctr_core::image::flatten::{Limits, flatten};
use sysctr_core::image::reference::Reader;
use sysctr_core::name::ContainerName;
use sysctr_core::record::Signer;
use sysctr_core::tree::{Dir, ImageTree, Leaf, Node, TreePath};

use crate::compose::Watch;
use crate::fetch::images::{Found, Images};
use crate::manifest::{Container, NotUnderstood};
use crate::report::{FORMAT, Report, printable};
use crate::shelf::{Kept, Nowhere, Shelf as _};
use sysctr_core::container::shown as spelled;

/// The result.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// [`FORMAT`].
    pub format: u32,
    /// As the user wrote it.
    pub image: String,
    /// Digest of its image manifest; a docker-archive has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Digest of its configuration.
    pub config: Digest,
    /// Whose signatures were verified.
    pub signed_by: Vec<Signer>,
    /// GOARCH name.
    pub architecture: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Files, links and empty directories of `/exports`.
    pub exports: Vec<String>,
    /// By name.
    pub variables: Vec<ShownVariable>,
    /// What has no effect or means something else than it seems to.
    pub warnings: Vec<String>,
}

/// One variable of its templates.
#[derive(Debug, Serialize)]
pub struct ShownVariable {
    /// Its name.
    pub name: String,
    /// What it needs.
    pub class: ShownClass,
    /// The image's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The files that name it.
    pub files: Vec<String>,
    /// Whether an admin may set it for one host (`/etc/sysctr/NAME.toml`), which reaches the configuration only.
    pub per_host: bool,
}

/// What a variable needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShownClass {
    /// Nothing: the image has a default.
    Default,
    /// A value in `set`.
    MustBeSet,
    /// Nothing: sysctr has a default; `set` replaces it.
    SetByHost,
    /// Nothing: sysctr decides it alone.
    Fixed,
    /// Nothing: it gets its value at each start.
    BoundAtStart,
}

/// What is inspected.
pub struct Request<'a> {
    /// Whose image.
    pub container: &'a Container,
    /// Where it comes from.
    pub images: &'a Images<'a>,
    /// The architecture to choose.
    pub architecture: Option<Architecture>,
    /// Bounds.
    pub limits: Limits,
}

/// Reads the image; what nobody reads in place is fetched into the cache first.
///
/// # Errors
/// When it can't be fetched or read, or what it brings in `/exports` is not what it has to be.
pub fn inspect(request: &Request<'_>, watch: &Watch<'_>) -> Result<Inspection> {
    let reference = &request.container.image;
    let doing = || format!("inspecting {reference}");
    prepare(request)?;
    let found = request.images.resolve(request.container, request.architecture).and_then(|found| {
        found.image.find_layers(|_| false)?;
        Ok(found)
    });
    let Found { image, signed_by, .. } = found.with_context(doing)?;
    let opened = Opened::of(&image, request.limits, watch);
    let opened = opened.map_err(|error| request.images.explain(request.container, error));
    let opened = opened.with_context(doing)?;
    let tree = &opened.tree;
    let read = |leaf: &Leaf| opened.content(leaf);
    let mut warnings = Vec::new();
    let mut variables = BTreeMap::new();
    if let Some(brought) = Brought::find(tree, &read).with_context(doing)? {
        warnings.extend(brought.warnings.iter().cloned());
        let settings = match &brought.settings {
            Some(bytes) => ImageSettings::parse(bytes, &mut warnings).with_context(doing)?,
            None => ImageSettings::default(),
        };
        variables = used(&brought, &settings, tree, &read).with_context(doing)?;
    }
    Ok(Inspection {
        format: FORMAT,
        image: reference.to_string(),
        manifest: image.manifest.as_ref().map(|document| document.digest),
        signed_by,
        config: image.config_document.digest,
        architecture: image.config.architecture.clone(),
        labels: image.config.labels.clone(),
        exports: exports(tree)?,
        variables: variables.into_iter().map(shown).collect(),
        warnings,
    })
}

fn prepare(request: &Request<'_>) -> Result<()> {
    let Request { container, images, architecture, .. } = request;
    match architecture {
        Some(architecture) => images.prepare_one(container, *architecture),
        None if container.image.transport().reader() == Reader::Skopeo => {
            let why = format!("inspecting {}: give --arch, such as --arch amd64", container.image);
            Err(NotUnderstood::new(why).into())
        }
        None => Ok(()),
    }
}

/// An image's tree, and what lies in its `/exports`.
struct Opened {
    /// Its root.
    pub tree: ImageTree,
    name: ContainerName,
    store: Kept,
}

impl Opened {
    /// Reads its layers.
    ///
    /// # Errors
    /// When they can't be read, or the user interrupts.
    pub fn of(image: &ResolvedImage, limits: Limits, watch: &Watch<'_>) -> Result<Self> {
        // Progress and contents are known by a container's name; this one is nobody's.
        let name = "image".parse().context("naming the image")?;
        let mut store = Nowhere.store(&name)?;
        let progress = watch.reporter.of(&name, watch.interrupt);
        let tree = flatten(image, limits, &store, &progress)?.tree;
        if let Some(second) = Nowhere.again(&store, &contents(&tree)) {
            flatten(image, limits, &second, &progress)?;
            store = second;
        }
        Ok(Self { tree, name, store })
    }

    /// The bytes of a file of `/exports`.
    ///
    /// # Errors
    /// When it lies elsewhere or is too large.
    pub fn content(&self, leaf: &Leaf) -> Result<Vec<u8>> {
        match leaf {
            Leaf::File { content: Some(id), .. } => Nowhere.content(&self.name, &self.store, *id, MAX_BYTES),
            Leaf::File { .. } | Leaf::Symlink { .. } => Ok(Vec::new()),
        }
    }
}

fn shown((name, variable): (String, Variable)) -> ShownVariable {
    let (class, default) = match variable.class {
        Class::Default(text) => (ShownClass::Default, Some(text)),
        Class::MustBeSet => (ShownClass::MustBeSet, None),
        Class::SetByHost => (ShownClass::SetByHost, None),
        Class::Fixed => (ShownClass::Fixed, None),
        Class::BoundAtStart => (ShownClass::BoundAtStart, None),
    };
    let per_host = class != ShownClass::Fixed && variable.files.contains(CONFIG_TEMPLATE);
    ShownVariable { name, class, default, files: variable.files.into_iter().collect(), per_host }
}

/// What lies in `/exports`, directories that hold something left out.
fn exports(tree: &ImageTree) -> Result<Vec<String>> {
    fn walk(dir: &Dir, path: &TreePath, found: &mut Vec<String>) {
        for (name, node) in &dir.children {
            let path = path.join(name);
            match node {
                Node::Dir(inner) if inner.children.is_empty() => found.push(spelled(path.as_bytes()) + "/"),
                Node::Dir(inner) => walk(inner, &path, found),
                Node::Leaf(_) => found.push(spelled(path.as_bytes())),
            }
        }
    }
    let mut found = Vec::new();
    let top = TreePath::parse(b"exports")?;
    if let Some((_, dir)) = brought::directory(tree) {
        walk(dir, &top, &mut found);
    }
    Ok(found)
}

impl Report for Inspection {
    fn text(&self) -> String {
        let mut text = format!("{} for {}, configuration {}\n", self.image, self.architecture, self.config);
        if let Some(manifest) = &self.manifest {
            writeln!(text, "image manifest {manifest}").unwrap_or_default();
        }
        for Signer { fingerprint, key, .. } in &self.signed_by {
            writeln!(text, "signed by {fingerprint} ({})", printable(key)).unwrap_or_default();
        }
        let mut section = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                writeln!(text, "{title}:").unwrap_or_default();
                lines.iter().for_each(|line| writeln!(text, "  {line}").unwrap_or_default());
            }
        };
        section("labels", self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect());
        section("exports", self.exports.clone());
        let line = |it: &ShownVariable| {
            let class = match (it.class, &it.default) {
                (ShownClass::Default, Some(text)) => format!("default {text:?}"),
                (ShownClass::Default, None) => "default".to_owned(),
                (ShownClass::MustBeSet, _) => "must be set".to_owned(),
                (ShownClass::SetByHost, _) => "set by the host, may be set".to_owned(),
                (ShownClass::Fixed, _) => "decided by sysctr".to_owned(),
                (ShownClass::BoundAtStart, _) => "bound at start, may be set".to_owned(),
            };
            let files = if it.files.is_empty() { "nothing names it".to_owned() } else { it.files.join(", ") };
            let per_host = if it.per_host { "; also per host" } else { "" };
            format!("{}: {class}{per_host} ({files})", it.name)
        };
        section("variables", self.variables.iter().map(line).collect());
        section("warnings", self.warnings.clone());
        text
    }
}
