//! What `verify` and `lint` find.

use std::fmt::Write as _;

use serde::Serialize;
use sysctr_core::name::ContainerName;

use super::{Report, printable};

/// The result of `verify` and `lint`.
#[derive(Debug, Serialize)]
pub struct FindingsReport {
    /// [`super::FORMAT`].
    pub format: u32,
    /// How many containers were looked at.
    pub checked: usize,
    /// Empty when all is well.
    pub findings: Vec<Finding>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The program exits with 1.
    Error,
    /// Worth a look.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something found.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// The container; none for the index itself.
    pub container: Option<ContainerName>,
    /// The path if it is about one: in the target for `verify`, in the image for `lint`. `/` in front; bytes that are
    /// not UTF-8 are escaped (`\xff`).
    pub path: Option<String>,
    /// The file of the image's `/exports` that it is about, as `exports/service.template`; `lint` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its line there, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What was found, one sentence.
    pub message: String,
}

impl FindingsReport {
    /// Whether any finding is an error.
    pub fn failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

impl Report for FindingsReport {
    fn text(&self) -> String {
        let mut text = String::new();
        for Finding { severity, container, path, file, line, message } in &self.findings {
            let severity = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            let container = container.as_ref().map(|name| format!(" {name}:")).unwrap_or_default();
            let path = path.as_ref().map(|path| format!(" {}:", printable(path))).unwrap_or_default();
            let line = line.map(|line| format!("{line}:")).unwrap_or_default();
            let file = file.as_ref().map(|file| format!(" {}:{line}", printable(file))).unwrap_or_default();
            writeln!(text, "{severity}:{container}{path}{file} {}", printable(message)).unwrap_or_default();
        }
        let outcome = if self.findings.is_empty() { "nothing found" } else { "see above" };
        writeln!(text, "{} containers checked: {outcome}", self.checked).unwrap_or_default();
        text
    }
}
