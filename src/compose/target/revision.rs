//! What a new commit is called, and what became of it.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use sysctr_core::digest::Digest;
use sysctr_core::record::Embedded;
use sysctr_core::store::repo::Published;

use super::signing::Signers;

/// What the new commit is called.
#[derive(Debug, Clone, Copy)]
pub struct Revision<'a> {
    /// The ref that is moved to it; it need not exist.
    pub reference: &'a str,
    /// Its subject.
    pub subject: Option<&'a str>,
    /// What comes before it.
    pub parent: Parent,
    /// Seconds since 1970; `None`: the base's, so that the same inputs are the same commit.
    pub timestamp: Option<u64>,
    /// Threads that write objects.
    pub jobs: usize,
    /// Who signs it.
    pub signers: &'a Signers,
}

/// The commit before a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// None, so that the commit depends on its inputs only.
    None,
    /// What the ref names before, if anything.
    Previous,
    /// This one.
    Commit(Digest),
}

/// What became of a new commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was written, and the ref moved to it.
    Written,
    /// The ref named it already; nothing was written.
    Stood,
}

/// A commit that was to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its checksum.
    pub checksum: String,
    /// Whether it is new.
    pub fate: Fate,
    /// What the repository did not have before; the commit object not counted.
    pub published: Published,
    /// Where it was deployed, relative to the sysroot.
    pub deployment: Option<Utf8PathBuf>,
}

/// What a commit says of the containers in its tree: name → digest of the image's configuration.
pub(super) fn containers(embedded: &Embedded) -> BTreeMap<String, String> {
    let all = embedded.containers.iter();
    all.map(|(name, entry)| (name.to_string(), entry.config.to_string())).collect()
}
