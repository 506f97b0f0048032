//! All of an image's templates rendered together: every variable that is missing anywhere is told at once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::brought::{self, Brought, Config, Read};
use super::config::{self, Settled};
use super::faults::Faults;
use super::host_files::{self, Content, HostFile, HostNode};
use super::late::{self, Kept, NO_UUID};
use super::lint::{Places, fields};
use super::settings::{self, ContainerService, ImageSettings};
use super::template::{self, Expanded, Fault, Rendering};
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
/// When image settings can't be read, variables have no value, or a rendered file is not what it has to be: all of it at
/// once ([`Faults`]), each with file and place. A file that can't be expanded is judged by its other lines, as far as
/// lines can be judged alone.
pub fn render(source: &Source<'_>) -> Result<Rendered> {
    let mut warnings = source.brought.warnings.clone();
    let settings = match &source.brought.settings {
        Some(bytes) => ImageSettings::parse(bytes, &mut warnings)?,
        None => ImageSettings::default(),
    };
    let (form, values) = decide(source, &settings, &mut warnings)?;
    let mut faults = Faults::default();
    let mut rendering = Rendering::new(&values.texts, &values.late);
    let texts = Texts::of(source, &settings, &values, &mut rendering);
    let mut used = texts.used(source, &settings);
    let host = texts.host_files(source, &settings, &mut rendering, &mut used, &mut warnings)?;
    let host = faults.take(host);
    faults.places = rendering.into_places();
    let unused = source.set.keys().filter(|name| !used.contains(*name)).cloned().collect();
    let config = faults.take(texts.config(source)).flatten();
    let unit = faults.take(texts.unit(source, form)).flatten();
    let tmpfiles = faults.take(texts.tmpfiles()).flatten();
    faults.finish()?;
    let host = host.unwrap_or_default();
    warnings.extend(config.iter().flat_map(|config| config.warnings.iter().cloned()));
    warnings.extend(unit.iter().flat_map(|unit| unit.warnings.iter().cloned()));
    let wanted = settings.container_service == ContainerService::Wanted;
    let kept = kept(source, &settings, &values, &host).filter(|_| wanted);
    let Host { files: host_files, contents, .. } = host;
    Ok(Rendered { settings, config, unit, form, tmpfiles, host_files, contents, kept, unused, warnings })
}

/// Where the texts of an image's files come from, as far as they can be expanded.
pub fn places(source: &Source<'_>) -> Places {
    let mut places = Places::of(source.brought);
    let settings = source.brought.settings.as_deref().unwrap_or(b"{}");
    let Ok(settings) = ImageSettings::parse(settings, &mut Vec::new()) else { return places };
    let Ok((_, values)) = decide(source, &settings, &mut Vec::new()) else { return places };
    let mut rendering = Rendering::new(&values.texts, &values.late);
    let texts = Texts::of(source, &settings, &values, &mut rendering);
    if let Some((file, config)) = texts.config {
        places.expanded(file, config);
    }
    if source.brought.service.is_some()
        && let Some(service) = texts.service
    {
        places.expanded(unit::FILE, service);
    }
    if let Some(tmpfiles) = texts.tmpfiles {
        places.expanded(tmpfiles::FILE, tmpfiles);
    }
    places
}

fn service<'a>(source: &Source<'a>) -> &'a [u8] {
    source.brought.service.as_deref().unwrap_or(unit::DEFAULT.as_bytes())
}

/// The form, and what variables are in it. Whatever the form, the template's `Type=` has the same value.
fn decide(
    source: &Source<'_>,
    settings: &ImageSettings,
    warnings: &mut Vec<String>,
) -> Result<(Form, Values)> {
    let in_form = |form, warnings: &mut Vec<String>| {
        let built_ins = BuiltIns { form, ..source.built_ins.clone() };
        values::decide(&built_ins, source.set, settings, warnings)
    };
    let form = if source.notify {
        Form::Notify
    } else {
        let values = in_form(Form::Foreground, &mut Vec::new())?;
        unit::form(service(source), &template::expand(service(source), &values.texts), source.runs)
    };
    Ok((form, in_form(form, warnings)?))
}

/// An image's files with their variables replaced, as far as these have values.
struct Texts {
    config: Option<(&'static str, Expanded)>,
    service: Option<Expanded>,
    tmpfiles: Option<Expanded>,
    /// `renameFiles`, if all of them have their values.
    renames: Option<BTreeMap<String, String>>,
}

impl Texts {
    fn of(
        source: &Source<'_>,
        settings: &ImageSettings,
        values: &Values,
        rendering: &mut Rendering<'_>,
    ) -> Self {
        let wanted = settings.container_service == ContainerService::Wanted;
        let config = source.brought.config.as_ref().filter(|_| wanted);
        let config = config.map(|config| render_config(config, values, rendering));
        let service = wanted.then(|| rendering.file(unit::FILE, service(source)));
        let lines = source.brought.tmpfiles.as_ref();
        let tmpfiles = lines.map(|text| rendering.file(tmpfiles::FILE, text));
        let renames = render_renames(source, settings, rendering);
        Self { config, service, tmpfiles, renames }
    }

    /// The variables that they name.
    fn used(&self, source: &Source<'_>, settings: &ImageSettings) -> BTreeSet<String> {
        let mut used = template::variables(service(source));
        if let (Some(_), Some(Config::Template(text))) = (&self.config, &source.brought.config) {
            used.extend(template::variables(text));
        }
        used.extend(source.brought.tmpfiles.iter().flat_map(|text| template::variables(text)));
        used.extend(settings.rename_files.values().flat_map(|text| template::variables(text.as_bytes())));
        used
    }

    fn config(&self, source: &Source<'_>) -> Result<Option<Settled>> {
        // One missing value may be anything between two commas.
        let whole = self.config.as_ref().filter(|(_, expanded)| expanded.faults.is_empty());
        whole.map(|(file, expanded)| config::settle(&expanded.text, file, source.root)).transpose()
    }

    fn unit(&self, source: &Source<'_>, form: Form) -> Result<Option<Fitted>> {
        let Some(expanded) = &self.service else { return Ok(None) };
        if !expanded.faults.is_empty() {
            Faults::of_lines(unit::FILE, unit::wrong_lines(expanded)).finish()?;
            return Ok(None);
        }
        let fit = Fit {
            name: source.built_ins.name,
            form,
            runs: source.runs,
            stop_signal: source.stop_signal,
            stop_timeout: source.stop_timeout,
        };
        unit::fit(expanded, &fit).map(Some)
    }

    fn tmpfiles(&self) -> Result<Option<Fragment>> {
        let Some(expanded) = &self.tmpfiles else { return Ok(None) };
        if !expanded.faults.is_empty() {
            Faults::of_lines(tmpfiles::FILE, tmpfiles::wrong_lines(expanded)).finish()?;
            return Ok(None);
        }
        Ok(Some(tmpfiles::check(expanded)?))
    }

    /// Host files, those that are templates rendered; the inner error is the image's fault.
    fn host_files(
        &self,
        source: &Source<'_>,
        settings: &ImageSettings,
        rendering: &mut Rendering<'_>,
        used: &mut BTreeSet<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Result<Host>> {
        // Without its value a new name may be none at all; then the files are looked at by their old ones, to tell what else
        // lacks.
        let none = BTreeMap::new();
        let renames = self.renames.as_ref().unwrap_or(&none);
        let files = match host_files::list(source.tree, settings, renames, warnings) {
            Ok(files) => files,
            Err(_) if self.renames.is_none() => return Ok(Ok(Host::default())),
            Err(error) => return Ok(Err(error)),
        };
        let mut host = Host { files, ..Host::default() };
        for file in &host.files {
            let HostNode::File { leaf, content: Content::Template, .. } = &file.node else { continue };
            let shown = String::from_utf8_lossy(file.from.as_bytes()).into_owned();
            let text = brought::checked(source.tree.leaf(*leaf), source.read);
            let text = text.with_context(|| format!("reading {shown}"))?;
            used.extend(template::variables(&text));
            host.contents.insert(file.path.clone(), rendering.file(&shown, &text).text);
            host.templates.push((shown, text));
        }
        Ok(Ok(host))
    }
}

fn render_config(
    config: &Config,
    values: &Values,
    rendering: &mut Rendering<'_>,
) -> (&'static str, Expanded) {
    match config {
        Config::Literal(bytes) => (CONFIG, Expanded::literal(bytes)),
        Config::Template(text) => {
            let mut texts = values.texts.clone();
            texts.extend(values.late.iter().map(|name| (name.clone(), NO_UUID.to_owned())));
            (CONFIG_TEMPLATE, rendering.file_with(CONFIG_TEMPLATE, text, &texts))
        }
    }
}

/// `renameFiles` with their variables replaced; faults are told where they stand in the settings.
fn render_renames(
    source: &Source<'_>,
    settings: &ImageSettings,
    rendering: &mut Rendering<'_>,
) -> Option<BTreeMap<String, String>> {
    let written = fields::all(source.brought.settings.as_deref().unwrap_or_default());
    let mut renames = BTreeMap::new();
    let mut whole = true;
    for (from, to) in &settings.rename_files {
        let field = written.iter().rfind(|field| {
            let key = field.path.strip_prefix("renameFiles.");
            key.and_then(settings::normalized).as_deref() == Some(from.as_str())
        });
        let place = |fault: &Fault| {
            let text = field.and_then(|field| field.text.as_ref());
            let before = to.get(..fault.offset).unwrap_or_default().chars().count();
            text.map_or((fault.line, fault.column), |text| text.place(before))
        };
        let expanded = rendering.within(settings::FILE, to.as_bytes(), place);
        whole &= expanded.faults.is_empty();
        renames.insert(from.clone(), String::from_utf8_lossy(&expanded.text).into_owned());
    }
    whole.then_some(renames)
}

#[derive(Default)]
struct Host {
    files: Vec<HostFile>,
    contents: BTreeMap<String, Vec<u8>>,
    /// The templates among them, for what they name.
    templates: Vec<(String, Vec<u8>)>,
}

fn kept(
    source: &Source<'_>,
    settings: &ImageSettings,
    values: &Values,
    host: &Host,
) -> Option<(Vec<u8>, Kept)> {
    let Some(Config::Template(text)) = &source.brought.config else { return None };
    let mut others: Vec<(&str, &[u8])> = vec![(unit::FILE, service(source))];
    others.extend(source.brought.tmpfiles.iter().map(|text| (tmpfiles::FILE, text.as_slice())));
    others.extend(settings.rename_files.values().map(|text| (settings::FILE, text.as_bytes())));
    others.extend(host.templates.iter().map(|(file, text)| (file.as_str(), text.as_slice())));
    Some((text.clone(), late::Kept::new(text, values, source.root, &others)))
}

#[cfg(test)]
mod tests;
