//! `lint`: a manifest and its images, without a target.

use anyhow::{Context, Result};
use sysctr_core::arch::Architecture;
use sysctr_core::epoch::Epoch;
use sysctr_core::exports::brought::Brought;
use sysctr_core::exports::faults::Faults;
use sysctr_core::exports::lint::{Advice, Places, advise};
use sysctr_core::exports::template::Fault;
use sysctr_core::image::flatten::Limits;
use sysctr_core::prepare::Unseen;
use sysctr_core::settings::AbsolutePath;
use sysctr_core::tree::{ImageTree, Leaf, Node, TreePath, Xattrs};

use crate::compose::Watch;
use crate::embed::{Chosen, Embedded};
use crate::fetch::images::{Found, Images};
use crate::manifest::{Container, Manifest};
use crate::report::{FORMAT, Finding, FindingsReport, Severity};
use crate::shelf::Nowhere;
use crate::systemd::{self, Unit, Verdict};
use sysctr_core::container::shown;

/// What a lint looks at.
pub struct Request<'a> {
    /// The containers.
    pub manifest: &'a Manifest,
    /// Where their images come from.
    pub images: &'a Images<'a>,
    /// The architecture to choose from an index.
    pub architecture: Option<Architecture>,
    /// Bounds.
    pub limits: Limits,
    /// The time stamp of what no image names.
    pub epoch: Epoch,
}

/// Reads every image and prepares every container; what keeps one from being composed is a finding.
///
/// # Errors
/// When the user interrupts, or the images can't be fetched.
pub fn lint(request: &Request<'_>, watch: &Watch<'_>) -> Result<FindingsReport> {
    if let Some(architecture) = request.architecture {
        request.images.prepare(architecture)?;
    }
    let mut findings = Vec::new();
    for container in &request.manifest.containers {
        let looked = look(request, container, watch, &mut findings);
        watch.interrupt.check()?;
        if let Err(error) = looked {
            findings.push(finding(container, Severity::Error, format!("{error:#}")));
        }
    }
    Ok(FindingsReport { format: FORMAT, checked: request.manifest.containers.len(), findings })
}

/// An error is what hinders looking at all.
fn look(
    request: &Request<'_>,
    container: &Container,
    watch: &Watch<'_>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let Found { image, signed_by, keys } = request.images.resolve(container, request.architecture)?;
    image.find_layers(|_| false)?;
    let architecture = image.config.architecture.parse()?;
    let asked = &container.settings.runtime;
    let runtime = if asked.starts_with('/') { asked.clone() } else { format!("/usr/bin/{asked}") };
    let chosen = Chosen {
        container,
        group: &request.manifest.group,
        image,
        runtime: AbsolutePath::try_from(runtime).context("reading `runtime`")?,
        architecture,
        epoch: request.epoch,
        signed_by,
        keys,
    };
    let progress = watch.reporter.of(&container.name, watch.interrupt);
    let opened = chosen.open(request.limits, &Nowhere, &progress)?;
    // Also of an image that can't be composed, its author wants to know everything.
    let brought = Brought::find(opened.tree(), &|leaf| chosen.content(&opened, leaf));
    let brought = brought.ok().flatten().unwrap_or_default();
    let places = chosen.places(&opened, &Unseen);
    let modes = modes(container, opened.tree());
    match chosen.try_make(opened, &Unseen) {
        Ok(embedded) => {
            findings.extend(told(container, &places, &embedded));
            findings.extend(judged(container, &places, &embedded));
        }
        Err(error) => findings.extend(wrong(container, &places, &error)),
    }
    let advice = advise(&brought).into_iter();
    findings.extend(advice.map(|advice| advised(container, Severity::Warning, advice)));
    findings.extend(modes);
    Ok(())
}

/// What systemd's own checker says about the unit.
fn judged(container: &Container, places: &Places, embedded: &Embedded) -> Vec<Finding> {
    match systemd::judge(&Vec::from_iter(Unit::of(embedded))) {
        Verdict::Said(said) => {
            let sentences = said.into_values().flatten();
            sentences.map(|sentence| placed(container, Severity::Warning, places, sentence)).collect()
        }
        Verdict::Silent(why) => {
            vec![finding(
                container,
                Severity::Note,
                format!("the unit was held against sysctr's table only: {why}"),
            )]
        }
    }
}

fn told(container: &Container, places: &Places, embedded: &Embedded) -> Vec<Finding> {
    let warnings = embedded.warnings.iter();
    let warnings = warnings.map(|text| placed(container, Severity::Warning, places, text.clone()));
    let left_out = embedded.draft.record.tree.left_out.iter().map(|it| {
        let message = "no host image can carry it; it will be left out".to_owned();
        Finding { path: Some(it.path.clone()), ..finding(container, Severity::Note, message) }
    });
    warnings.chain(left_out).collect()
}

/// What keeps it from being composed, each thing a finding of its own.
fn wrong(container: &Container, places: &Places, error: &anyhow::Error) -> Vec<Finding> {
    let Some(Faults { places: unexpanded, others }) = error.downcast_ref() else {
        return vec![placed(container, Severity::Error, places, format!("{error:#}"))];
    };
    let fault = |(file, fault): &(String, Fault)| Finding {
        file: Some(file.clone()),
        line: Some(fault.line),
        ..finding(container, Severity::Error, fault.to_string())
    };
    let other = |error: &anyhow::Error| placed(container, Severity::Error, places, format!("{error:#}"));
    unexpanded.iter().map(fault).chain(others.iter().map(other)).collect()
}

/// A sentence at its place, if it has one.
fn placed(container: &Container, severity: Severity, places: &Places, sentence: String) -> Finding {
    match places.locate(&sentence) {
        Some(advice) => advised(container, severity, advice),
        None => finding(container, severity, sentence),
    }
}

fn advised(container: &Container, severity: Severity, advice: Advice) -> Finding {
    let Advice { file, line, message } = advice;
    Finding { file: Some(file), line, ..finding(container, severity, message) }
}

/// Files of the image that anybody may write, and those that give their users more rights.
fn modes(container: &Container, tree: &ImageTree) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut waiting = vec![(TreePath::root(), &tree.root)];
    while let Some((path, dir)) = waiting.pop() {
        for (name, node) in &dir.children {
            let path = path.join(name);
            let mut find = |severity, message: String| {
                let path = Some(shown(path.as_bytes()));
                found.push(Finding { path, ..finding(container, severity, message) });
            };
            match node {
                Node::Dir(inner) => {
                    // A sticky directory is made for all.
                    if inner.stat.mode & 0o1002 == 0o002 {
                        find(Severity::Warning, "everybody may write into this directory".to_owned());
                    }
                    waiting.push((path, inner));
                }
                Node::Leaf(id) => {
                    let Leaf::File { stat, .. } = tree.leaf(*id) else { continue };
                    if stat.mode & 0o002 != 0 {
                        find(Severity::Warning, "everybody may write this file".to_owned());
                    }
                    let capability = |xattrs: &Xattrs| xattrs.contains_key(&b"security.capability"[..]);
                    if stat.mode & 0o111 != 0 && stat.mode & 0o6000 != 0 {
                        let bits = format!("mode {:04o} of {}:{}", stat.mode, stat.uid, stat.gid);
                        let whose = match stat.mode & 0o6000 {
                            0o4000 => "its owner's",
                            0o2000 => "its group's",
                            _ => "its owner's and its group's",
                        };
                        find(Severity::Note, format!("it runs with {whose} rights: {bits}"));
                    } else if stat.xattrs.as_deref().is_some_and(capability) {
                        find(Severity::Note, "it has file capabilities".to_owned());
                    }
                }
            }
        }
    }
    found.sort_by(|one, other| (one.severity, &one.path).cmp(&(other.severity, &other.path)));
    found
}

fn finding(container: &Container, severity: Severity, message: String) -> Finding {
    let container = Some(container.name.clone());
    Finding { severity, container, path: None, file: None, line: None, message }
}
