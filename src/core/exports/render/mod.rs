//! All of an image's templates rendered together: every variable that is missing anywhere is told at once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::brought::{self, Brought, Config, Read};
use super::config::{self, Settled};
use super::host_files::{self, Content, HostFile, HostNode};
use super::late::{self, Kept, NO_UUID};
use super::settings::{self, ContainerService, ImageSettings};
use super::template::{self, Rendering};
use super::tmpfiles::{self, Fragment};
use super::unit::{self, Fit, Fitted, Runs};
use super::values::{self, BuiltIns, Values};
use super::{CONFIG, CONFIG_TEMPLATE, Form};
use crate::settings::{Duration, Signal};
use crate::tree::ImageTree;

/// What rendering needs to know.
pub struct Source<'a> {
    /// What the image brings.
    pub brought: &'a Brought,
    /// The image's root.
    pub tree: &'a ImageTree,
    /// Reads contents of it.
    pub read: Read<'a>,
    /// Built-in variables; the form is decided here.
    pub built_ins: BuiltIns<'a>,
    /// The manifest's `set`.
    pub set: &'a BTreeMap<String, String>,
    /// The image's label `atomic.run`.
    pub runs: Runs,
    /// The manifest's `unit.notify`, which outweighs the template's `Type=`.
    pub notify: bool,
    /// What asks the payload to stop.
    pub stop_signal: &'a Signal,
    /// How long systemd waits for a stop.
    pub stop_timeout: Duration,
    /// Where the root lies: `rootfs`, or an absolute path on the host.
    pub root: &'a str,
}

/// An image's files, rendered and checked.
#[derive(Debug)]
pub struct Rendered {
    /// The image settings.
    pub settings: ImageSettings,
    /// The runtime configuration; `None` when the image brings none, and one is made from its own configuration.
    pub config: Option<Settled>,
    /// The unit; `None` when the image is host files only.
    pub unit: Option<Fitted>,
    /// How systemd follows the payload.
    pub form: Form,
    /// tmpfiles lines; `None` when the image brings none, and lines are made for what it binds.
    pub tmpfiles: Option<Fragment>,
    /// Host files, renamed.
    pub host_files: Vec<HostFile>,
    /// Contents of the host files that are templates, by their renamed path.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// The configuration's template and what the launcher needs to render it again.
    pub kept: Option<(Vec<u8>, Kept)>,
    /// Names in `set` that no template uses.
    pub unused: BTreeSet<String>,
    /// What the user should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Renders and checks everything. Equal sources give equal values.
///
/// # Errors
/// When image settings can't be read, variables have no value (all of them are told, with file and place), or a rendered
/// file is not what it has to be.
pub fn render(source: &Source<'_>) -> Result<Rendered> {
    let mut warnings = source.brought.warnings.clone();
    let settings = match &source.brought.settings {
        Some(bytes) => ImageSettings::parse(bytes, &mut warnings)?,
        None => ImageSettings::default(),
    };
    let wanted = settings.container_service == ContainerService::Wanted;
    let service = source.brought.service.as_deref().unwrap_or(unit::DEFAULT.as_bytes());
    let form = if source.notify { Form::Notify } else { unit::form(service, source.runs) };
    let built_ins = BuiltIns { form, ..source.built_ins.clone() };
    let values = values::decide(&built_ins, source.set, &settings, &mut warnings)?;

    let mut rendering = Rendering::new(&values.texts, &values.late);
    let mut used = BTreeSet::new();
    let config = source.brought.config.as_ref().filter(|_| wanted);
    let config = config.map(|config| render_config(config, &values, &mut rendering, &mut used));
    let unit = wanted.then(|| rendering.file(unit::FILE, service));
    let lines = source.brought.tmpfiles.as_ref().map(|text| rendering.file(tmpfiles::FILE, text));
    let renames = render_renames(source, &settings, &mut rendering);
    let clean = rendering.is_clean();
    // Without its value a new name may be none at all; then the files are looked at by their old ones, to tell what else lacks.
    let renames = if clean { renames } else { Default::default() };
    let host = render_host_files(source, &settings, &renames, &mut rendering, &mut used, &mut warnings);
    // Without its value a new name may be none at all, so that missing values are told first.
    let host = match host {
        Err(error) if clean => return Err(error),
        host => host,
    };
    rendering.finish()?;
    let host = host?;

    used.extend(template::variables(service));
    used.extend(source.brought.tmpfiles.iter().flat_map(|text| template::variables(text)));
    used.extend(settings.rename_files.values().flat_map(|text| template::variables(text.as_bytes())));
    let unused = source.set.keys().filter(|name| !used.contains(*name)).cloned().collect();
    let config = config.map(|(file, bytes)| config::settle(&bytes, file, source.root)).transpose()?;
    let fit = Fit {
        name: source.built_ins.name,
        form,
        runs: source.runs,
        stop_signal: source.stop_signal,
        stop_timeout: source.stop_timeout,
    };
    let unit = unit.map(|bytes| unit::fit(&bytes, &fit)).transpose()?;
    let tmpfiles = lines.map(|bytes| tmpfiles::check(&bytes)).transpose()?;
    warnings.extend(config.iter().flat_map(|config| config.warnings.iter().cloned()));
    warnings.extend(unit.iter().flat_map(|unit| unit.warnings.iter().cloned()));
    let kept = kept(source, &values, service, &host).filter(|_| wanted);
    let Host { files: host_files, contents, .. } = host;
    Ok(Rendered { settings, config, unit, form, tmpfiles, host_files, contents, kept, unused, warnings })
}

fn render_config(
    config: &Config,
    values: &Values,
    rendering: &mut Rendering<'_>,
    used: &mut BTreeSet<String>,
) -> (&'static str, Vec<u8>) {
    match config {
        Config::Literal(bytes) => (CONFIG, bytes.clone()),
        Config::Template(text) => {
            used.extend(template::variables(text));
            let mut texts = values.texts.clone();
            texts.extend(values.late.iter().map(|name| (name.clone(), NO_UUID.to_owned())));
            (CONFIG_TEMPLATE, rendering.file_with(CONFIG_TEMPLATE, text, &texts))
        }
    }
}

/// `renameFiles` with their variables replaced; faults are told with the line of the settings that the text stands in.
fn render_renames(
    source: &Source<'_>,
    settings: &ImageSettings,
    rendering: &mut Rendering<'_>,
) -> BTreeMap<String, String> {
    let written = source.brought.settings.as_deref().unwrap_or_default();
    let place = |text: &str| {
        let at = written.windows(text.len().max(1)).position(|window| window == text.as_bytes());
        let before = String::from_utf8_lossy(&written[..at.unwrap_or(0)]).into_owned();
        (before.matches('\n').count(), before.rsplit('\n').next().unwrap_or_default().chars().count())
    };
    let mut renames = BTreeMap::new();
    for (from, to) in &settings.rename_files {
        let rendered = rendering.within(settings::FILE, place(to), to.as_bytes());
        renames.insert(from.clone(), String::from_utf8_lossy(&rendered).into_owned());
    }
    renames
}

#[derive(Default)]
struct Host {
    files: Vec<HostFile>,
    contents: BTreeMap<String, Vec<u8>>,
    /// The templates among them, for what they name.
    templates: Vec<(String, Vec<u8>)>,
}

fn render_host_files(
    source: &Source<'_>,
    settings: &ImageSettings,
    renames: &BTreeMap<String, String>,
    rendering: &mut Rendering<'_>,
    used: &mut BTreeSet<String>,
    warnings: &mut Vec<String>,
) -> Result<Host> {
    let files = host_files::list(source.tree, settings, renames, warnings)?;
    let mut host = Host { files, ..Host::default() };
    for file in &host.files {
        let HostNode::File { leaf, content: Content::Template, .. } = &file.node else { continue };
        let shown = String::from_utf8_lossy(file.from.as_bytes()).into_owned();
        let text = brought::checked(source.tree.leaf(*leaf), source.read);
        let text = text.with_context(|| format!("reading {shown}"))?;
        used.extend(template::variables(&text));
        host.contents.insert(file.path.clone(), rendering.file(&shown, &text));
        host.templates.push((shown, text));
    }
    Ok(host)
}

fn kept(source: &Source<'_>, values: &Values, service: &[u8], host: &Host) -> Option<(Vec<u8>, Kept)> {
    let Some(Config::Template(text)) = &source.brought.config else { return None };
    let mut others: Vec<(&str, &[u8])> = vec![(unit::FILE, service)];
    others.extend(source.brought.tmpfiles.iter().map(|text| (tmpfiles::FILE, text.as_slice())));
    others.extend(host.templates.iter().map(|(file, text)| (file.as_str(), text.as_slice())));
    Some((text.clone(), late::Kept::new(text, values, source.root, &others)))
}

#[cfg(test)]
mod tests;
