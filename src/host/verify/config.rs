//! `sysctr verify --config`: what admins set in `/etc/sysctr`, as a start would take it.

use anyhow::Result;
use serde_json::{Value, json};
use sysctr_core::inspection::Finding;
use sysctr_core::name::ContainerName;

use super::report::{Severity, finding_json, finding_text};
use crate::active::host::{self, Host};
use crate::{active, list, set};

/// What was found.
#[derive(Debug)]
pub struct Report {
    checked: usize,
    findings: Vec<(Severity, Finding)>,
}

impl Report {
    /// Whether something is wrong.
    pub fn failed(&self) -> bool {
        self.findings.iter().any(|(severity, _)| *severity == Severity::Error)
    }
}

/// Checks the values of these containers; of all, and files for containers that this host does not have, without names.
///
/// # Errors
/// When what there is can't be read.
pub fn verify(host: &Host, names: &[ContainerName]) -> Result<Report> {
    let known = list::names()?;
    let all = if names.is_empty() { &known[..] } else { names };
    let mut report = Report { checked: all.len(), findings: Vec::new() };
    for name in all {
        report.container(host, name);
    }
    if names.is_empty() {
        for file in host::names(set::DIRECTORY.into())? {
            let named = file.strip_suffix(".toml").and_then(|name| name.parse::<ContainerName>().ok());
            if !named.is_some_and(|name| known.contains(&name)) {
                let path = format!("{}/{file}", set::DIRECTORY);
                let message = "is read by nobody: this host has no container of that name".to_owned();
                report.findings.push((Severity::Warning, Finding { container: None, path, message }));
            }
        }
    }
    Ok(report)
}

impl Report {
    fn container(&mut self, host: &Host, name: &ContainerName) {
        let path = set::path(name).into_string();
        let mut find = |severity, message: String| {
            self.findings
                .push((severity, Finding { container: Some(name.clone()), path: path.clone(), message }));
        };
        match active::on(host, name).and_then(|active| set::check(&active)) {
            Err(error) => find(Severity::Error, format!("{error:#}")),
            Ok(doubts) => {
                for unknown in doubts.unknown {
                    let message =
                        format!("set.{unknown} has no effect: no template of the container names it");
                    find(Severity::Error, message);
                }
                doubts.others.into_iter().for_each(|other| find(Severity::Warning, other));
            }
        }
    }
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(report: &Report) -> Value {
    let findings = report.findings.iter().map(|(severity, finding)| finding_json(*severity, finding));
    json!({ "format": 1, "checked": report.checked, "findings": findings.collect::<Value>() })
}

/// For people.
pub fn text(report: &Report) -> String {
    let lines = report.findings.iter().map(|(severity, finding)| finding_text(severity.word(), finding));
    let outcome = if report.findings.is_empty() { "nothing found" } else { "see above" };
    let lines: String = lines.collect();
    format!("{lines}{} containers checked: {outcome}\n", report.checked)
}
