//! `verify`: every file of every container against its record.

use anyhow::Result;
use camino::Utf8Path;
use sysctr_core::inspection::{self, Inspection, MAX_FILE_BYTES};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{Present, label_rule};
use sysctr_core::record::{Embedded, from_json};

use crate::report::{FORMAT, Finding, FindingsReport, Severity};
use crate::target::host_tree::{HostTree, Mislabelled};

/// Checks the containers of these names, or all and the launcher when there are none.
///
/// # Errors
/// When the index can't be read, or has no container of a name. What is wrong with a container is a finding.
pub fn verify(
    target: &dyn HostTree,
    names: &[ContainerName],
    interrupt: &Interrupt,
) -> Result<FindingsReport> {
    let index = target.read(place::EMBEDDED_JSON.as_ref(), MAX_FILE_BYTES)?;
    let embedded: Embedded = match index {
        Some(bytes) => from_json(&bytes, place::EMBEDDED_JSON)?,
        None => Embedded::nothing(),
    };
    for name in names {
        if !embedded.containers.contains_key(name) {
            anyhow::bail!("verifying container {name}: it is not embedded; `list` shows what is");
        }
    }
    let wanted = |name: &ContainerName| names.is_empty() || names.contains(name);
    let mut findings = Vec::new();
    let mut checked = 0;
    for (name, entry) in embedded.containers.iter().filter(|(name, _)| wanted(name)) {
        checked += 1;
        let container = Some(name);
        Inspection { ground: target, container, interrupt, findings: &mut findings }.embedded(name, entry)?;
    }
    if names.is_empty() {
        let mut inspection =
            Inspection { ground: target, container: None, interrupt, findings: &mut findings };
        inspection.index(&embedded)?;
        labels(target, &mut inspection, &embedded)?;
    }
    let findings = findings.into_iter().map(Finding::from).collect();
    Ok(FindingsReport { format: FORMAT, checked, findings })
}

/// The rule about containers, and the labels of what a commit has.
fn labels(target: &dyn HostTree, inspection: &mut Inspection<'_>, embedded: &Embedded) -> Result<()> {
    let Some(rule) = &embedded.label_rule else { return Ok(()) };
    for path in label_rule::lacking(target, rule)? {
        inspection
            .find(&format!("/{path}"), "does not have the rule about containers as its last line in force");
    }
    let found = Present::read(target).and_then(|present| target.mislabelled(&present, inspection.interrupt));
    let found = inspection.told(Utf8Path::new(place::EMBEDDED_DIR), found).unwrap_or_default();
    for Mislabelled { path, found, expected } in found {
        let [found, expected] = [found, expected].map(|label| label.unwrap_or_else(|| "none".to_owned()));
        inspection.find(&format!("/{path}"), format!("has the label {found}, not {expected}"));
    }
    Ok(())
}

impl From<inspection::Finding> for Finding {
    fn from(found: inspection::Finding) -> Self {
        let inspection::Finding { container, path, message } = found;
        Self { severity: Severity::Error, container, path: Some(path), file: None, line: None, message }
    }
}
