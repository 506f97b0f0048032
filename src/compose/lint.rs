//! `lint`: a manifest and its images, without a target.

use anyhow::{Context, Result};
use sysctr_core::arch::Architecture;
use sysctr_core::epoch::Epoch;
use sysctr_core::exports::brought::Brought;
use sysctr_core::exports::lint::{Advice, advise, locate};
use sysctr_core::exports::template::{Fault, Faults};
use sysctr_core::image::flatten::Limits;
use sysctr_core::prepare::Unseen;
use sysctr_core::settings::AbsolutePath;
use sysctr_core::tree::{ImageTree, Leaf, Node, TreePath, Xattrs};

use crate::compose::Watch;
use crate::embed::{Chosen, Embedded, Known};
use crate::fetch::images::{Found, Images};
use crate::inspect::Opened;
use crate::manifest::{Container, Manifest};
use crate::report::{FORMAT, Finding, FindingsReport, Severity};
use crate::shelf::Nowhere;
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
    let Found { image, signed_by } = request.images.resolve(container, request.architecture)?;
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
    };
    let progress = watch.reporter.of(&container.name, watch.interrupt);
    // Also of an image that can't be composed, its author wants to know everything.
    let opened = Opened::of(&chosen.image, request.limits, watch)?;
    let brought = Brought::find(&opened.tree, &|leaf| opened.content(leaf));
    let brought = brought.ok().flatten().unwrap_or_default();
    match chosen.embed(request.limits, &Unseen, Known::default(), &Nowhere, &progress) {
        Ok(embedded) => findings.extend(told(container, &brought, &embedded)),
        Err(error) => findings.extend(wrong(container, &brought, &error)),
    }
    let advice = advise(&brought).into_iter();
    findings.extend(advice.map(|advice| advised(container, Severity::Warning, advice)));
    findings.extend(modes(container, &opened.tree));
    Ok(())
}

fn told(container: &Container, brought: &Brought, embedded: &Embedded) -> Vec<Finding> {
    let warnings = embedded.warnings.iter().map(|text| match locate(brought, text) {
        Some(advice) => advised(container, Severity::Warning, advice),
        None => finding(container, Severity::Warning, text.clone()),
    });
    let left_out = embedded.draft.record.tree.left_out.iter().map(|it| {
        let message = "no host image can carry it; it will be left out".to_owned();
        Finding { path: Some(it.path.clone()), ..finding(container, Severity::Note, message) }
    });
    warnings.chain(left_out).collect()
}

/// What keeps it from being composed; each place of the templates that can't be expanded is one of its own.
fn wrong(container: &Container, brought: &Brought, error: &anyhow::Error) -> Vec<Finding> {
    if let Some(Faults(faults)) = error.downcast_ref() {
        let fault = |(file, fault): &(String, Fault)| Finding {
            file: Some(file.clone()),
            line: Some(fault.line),
            ..finding(container, Severity::Error, fault.to_string())
        };
        return faults.iter().map(fault).collect();
    }
    let text = format!("{error:#}");
    match locate(brought, &text) {
        Some(advice) => vec![advised(container, Severity::Error, advice)],
        None => vec![finding(container, Severity::Error, text)],
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
                        find(Severity::Note, format!("it runs with its owner's rights: {bits}"));
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
