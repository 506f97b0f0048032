//! What is told of a new commit.

use std::fmt::Write as _;

use camino::Utf8PathBuf;
use serde::Serialize;

use super::{ComposeReport, printable, size};
use crate::target::branch::Whereabouts;
use crate::target::commit::{Fate, Written};

/// A new commit in a [`ComposeReport`].
#[derive(Debug, Serialize)]
pub struct CommitReport {
    /// The repository, as the user named it.
    pub repo: Utf8PathBuf,
    /// Checksum of the commit that it is made from.
    pub base: String,
    /// The ref that names it.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Its checksum; a plan has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// How many objects the repository lacked; the commit object not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// Their bytes as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Where it was deployed, relative to the sysroot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Utf8PathBuf>,
}

impl ComposeReport {
    /// The same for a target that is a commit.
    #[must_use]
    pub fn at(self, whereabouts: Option<Whereabouts>) -> Self {
        let commit = whereabouts.map(|Whereabouts { repo, reference, base }| {
            let (checksum, objects, bytes, deployment) = (None, None, None, None);
            CommitReport { repo, base, reference, checksum, objects, bytes, deployment }
        });
        Self { commit, ..self }
    }

    /// The same when nothing was to be done: the ref names this commit, or the base.
    #[must_use]
    pub fn idle(mut self, named: Option<&str>) -> Self {
        if let Some(commit) = &mut self.commit {
            commit.checksum = Some(named.unwrap_or(&commit.base).to_owned());
            (commit.objects, commit.bytes) = (Some(0), Some(0));
        }
        self
    }

    /// The same after this was written.
    #[must_use]
    pub fn with(mut self, written: Option<Written>) -> Self {
        if let Some((commit, written)) = self.commit.as_mut().zip(written) {
            self.changed = written.fate == Fate::Written || written.deployment.is_some();
            commit.checksum = Some(written.checksum);
            commit.objects = Some(written.published.objects);
            commit.bytes = Some(written.published.bytes);
            commit.deployment = written.deployment;
        }
        self
    }
}

impl CommitReport {
    pub(super) fn write(&self, text: &mut String) {
        let Self { repo, base, reference, .. } = self;
        writeln!(text, "base    {base}").unwrap_or_default();
        if let Some(checksum) = &self.checksum {
            writeln!(text, "commit  {checksum}").unwrap_or_default();
        }
        write!(text, "ref     {reference} of {}", printable(repo.as_str())).unwrap_or_default();
        if let (Some(objects), Some(bytes)) = (self.objects, self.bytes) {
            write!(text, ": {objects} objects added, {}", size(bytes)).unwrap_or_default();
        }
        text.push('\n');
        if let Some(deployment) = &self.deployment {
            writeln!(text, "boots   {}", printable(deployment.as_str())).unwrap_or_default();
        }
    }
}
