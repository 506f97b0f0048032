//! What `verify` tells.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use serde_json::{Value, json};
use sysctr_core::generation::GenerationName;
use sysctr_core::inspection::{Finding, printable};
use sysctr_core::name::ContainerName;
use sysctr_core::place;

use crate::active::host::Host;
use crate::repair::Part;

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A container as the host image has it.
    Embedded(ContainerName),
    /// A generation.
    Generation(GenerationName),
    /// The link that says which generation of a container is active.
    Link(ContainerName),
    /// The index and the launcher.
    Host,
}

impl What {
    /// Where most of it lies, relative to the root.
    pub fn path(&self, host: &Host) -> Utf8PathBuf {
        let root = host.path("");
        let path = match self {
            Self::Embedded(name) => host.embedded_bundle(name),
            Self::Generation(name) => host.generations_dir().join(name.to_string()),
            Self::Link(name) => host.active_dir().join(name.as_str()),
            Self::Host => host.path(place::EMBEDDED_JSON),
        };
        path.strip_prefix(&root).unwrap_or(&path).to_owned()
    }

    fn container(&self) -> Option<&ContainerName> {
        match self {
            Self::Embedded(name) | Self::Link(name) => Some(name),
            Self::Generation(name) => Some(&name.container),
            Self::Host => None,
        }
    }

    fn called(&self) -> String {
        match self {
            Self::Embedded(name) => format!("{name} as the host image has it"),
            Self::Generation(name) => name.to_string(),
            Self::Link(name) => format!("what {name} was switched to"),
            Self::Host => "what the host image has".to_owned(),
        }
    }
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As recorded.
    Intact,
    /// Not as recorded.
    Damaged,
    /// It was not as recorded, and is now.
    Repaired,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Damaged => "damaged",
            Self::Repaired => "repaired",
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The program exits with 1.
    Error,
    /// Worth a look: in the host's `/etc` an admin may change what an image brought.
    Warning,
}

impl Severity {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding for programs.
pub fn finding_json(severity: Severity, finding: &Finding) -> Value {
    json!({
        "severity": severity.word(), "container": finding.container, "path": finding.path, "message": finding.message,
    })
}

/// A line for people.
pub fn finding_text(word: &str, finding: &Finding) -> String {
    let container = finding.container.as_ref().map(|name| format!(" {name}:")).unwrap_or_default();
    format!("{word}:{container} {}: {}\n", printable(&finding.path), printable(&finding.message))
}

/// Something that was looked at.
#[derive(Debug)]
pub struct Checked {
    what: What,
    path: Utf8PathBuf,
    /// How it is.
    pub state: State,
    findings: Vec<(Severity, Finding)>,
}

impl Checked {
    /// By what was found, and what is worth a look.
    pub fn new(what: What, host: &Host, findings: Vec<Finding>, warnings: Vec<Finding>) -> Self {
        let admins =
            |finding: &Finding| matches!(what, What::Embedded(_)) && finding.path.starts_with("/etc/");
        let findings: Vec<_> = findings
            .into_iter()
            .map(|finding| (if admins(&finding) { Severity::Warning } else { Severity::Error }, finding))
            .chain(warnings.into_iter().map(|finding| (Severity::Warning, finding)))
            .collect();
        let damaged = findings.iter().any(|(severity, _)| *severity == Severity::Error);
        let state = if damaged { State::Damaged } else { State::Intact };
        Self { path: what.path(host), what, state, findings }
    }

    /// Why it stays as it is.
    pub fn cant_be_repaired(&mut self, why: &str) {
        let finding = Finding {
            container: self.what.container().cloned(),
            path: format!("/{}", self.path),
            message: format!("can't be repaired: {why}"),
        };
        self.findings.push((Severity::Error, finding));
    }

    /// The parts of a generation that differ.
    pub fn parts(&self) -> BTreeSet<Part> {
        let part = |path: &str| if path.starts_with("/etc/") { Part::Etc } else { Part::Bundle };
        let damage = self.findings.iter().filter(|(severity, _)| *severity == Severity::Error);
        damage.map(|(_, finding)| part(&finding.path)).collect()
    }

    /// Whether the same was found.
    pub fn is_as(&self, other: &Self) -> bool {
        self.findings == other.findings
    }

    /// The same after a repair: what was found before stays told.
    pub fn after(mut self, before: Self) -> Self {
        match self.state {
            State::Intact => Self { state: State::Repaired, ..before },
            State::Damaged | State::Repaired => {
                let gone = before.findings.into_iter().filter(|it| !self.findings.contains(it));
                let gone: Vec<_> = gone.collect();
                self.findings.extend(gone);
                self
            }
        }
    }

    fn generation(&self) -> Option<u64> {
        match &self.what {
            What::Generation(name) => Some(name.number.get()),
            What::Embedded(_) | What::Link(_) | What::Host => None,
        }
    }
}

/// The result of `verify`.
#[derive(Debug)]
pub struct Report {
    /// How many containers were looked at.
    pub containers: usize,
    /// What was looked at.
    pub checked: Vec<Checked>,
}

impl Report {
    /// How many of what was looked at are not as recorded.
    pub fn damaged(&self) -> usize {
        self.checked.iter().filter(|checked| checked.state == State::Damaged).count()
    }
}

/// For programs (docs/format.md, "Output of sysctr").
pub fn json(report: &Report) -> Value {
    let bundle = |checked: &Checked| {
        json!({
            "container": checked.what.container(), "generation": checked.generation(),
            "path": format!("/{}", checked.path), "state": checked.state.word(),
        })
    };
    let findings = report.checked.iter().flat_map(|checked| {
        checked.findings.iter().map(|(severity, finding)| {
            let mut found = finding_json(*severity, finding);
            found["generation"] = json!(checked.generation());
            found["repaired"] = json!(checked.state == State::Repaired);
            found
        })
    });
    json!({
        "format": 1, "checked": report.containers,
        "bundles": report.checked.iter().map(bundle).collect::<Value>(),
        "findings": findings.collect::<Value>(),
    })
}

/// For people.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for checked in &report.checked {
        for (severity, finding) in &checked.findings {
            let word = if checked.state == State::Repaired { "repaired" } else { severity.word() };
            text += &finding_text(word, finding);
        }
        text += &format!("{}: {}\n", checked.what.called(), checked.state.word());
    }
    text
}
