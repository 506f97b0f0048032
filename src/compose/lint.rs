//! `lint`: a manifest and its images, without a target.

use anyhow::{Context, Result};
use sysctr_core::arch::Architecture;
use sysctr_core::epoch::Epoch;
use sysctr_core::image::flatten::Limits;
use sysctr_core::image::{self, Wanted};
use sysctr_core::prepare::Unseen;
use sysctr_core::settings::AbsolutePath;
use sysctr_core::tree::{ImageTree, Leaf, Node, TreePath, Xattrs};

use crate::compose::Watch;
use crate::embed::{Chosen, Embedded, Known, shown};
use crate::manifest::{Container, Manifest};
use crate::report::{FORMAT, Finding, FindingsReport, Severity};
use crate::shelf::Nowhere;

/// What a lint looks at.
#[derive(Debug)]
pub struct Request<'a> {
    /// The containers.
    pub manifest: &'a Manifest,
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
/// When the user interrupts.
pub fn lint(request: &Request<'_>, watch: &Watch<'_>) -> Result<FindingsReport> {
    let mut findings = Vec::new();
    for container in &request.manifest.containers {
        let looked = look(request, container, watch);
        watch.interrupt.check()?;
        match looked {
            Ok(embedded) => findings.extend(told(container, &embedded)),
            Err(error) => findings.push(finding(container, Severity::Error, None, format!("{error:#}"))),
        }
    }
    Ok(FindingsReport { format: FORMAT, checked: request.manifest.containers.len(), findings })
}

fn look(request: &Request<'_>, container: &Container, watch: &Watch<'_>) -> Result<Embedded> {
    let wanted = Wanted {
        reference: &container.image,
        base: &request.manifest.base,
        architecture: request.architecture,
        pin: container.pin,
    };
    let image = image::resolve(&wanted)?;
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
    };
    let progress = watch.reporter.of(&container.name, watch.interrupt);
    chosen.embed(request.limits, &Unseen, Known::default(), &Nowhere, &progress)
}

fn told(container: &Container, embedded: &Embedded) -> Vec<Finding> {
    let warnings = embedded.warnings.iter();
    let warnings = warnings.map(|text| finding(container, Severity::Warning, None, text.clone()));
    let left_out = embedded.draft.record.tree.left_out.iter().map(|it| {
        let message = "no host image can carry it; it will be left out".to_owned();
        finding(container, Severity::Note, Some(it.path.clone()), message)
    });
    warnings.chain(left_out).chain(modes(container, &embedded.draft.tree)).collect()
}

/// Files of the image that anybody may write, and those that give their users more rights.
fn modes(container: &Container, tree: &ImageTree) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut waiting = vec![(TreePath::root(), &tree.root)];
    while let Some((path, dir)) = waiting.pop() {
        for (name, node) in &dir.children {
            let path = path.join(name);
            let mut find = |severity, message: String| {
                found.push(finding(container, severity, Some(shown(path.as_bytes())), message));
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

fn finding(container: &Container, severity: Severity, path: Option<String>, message: String) -> Finding {
    Finding { severity, container: Some(container.name.clone()), path, message }
}
