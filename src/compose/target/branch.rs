//! A ref, and the commit that the next one on it is made from.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::Digest;
use sysctr_core::placement::Policy;
use sysctr_core::record::Embedded;
use sysctr_core::store::layers::KnownLayers;

use super::commit::{Commit, Composing, Message, Parent, Revision};
use super::revision;
use super::signing::{Signers, Trust};

/// The name of a ref of this repository: `fedora/x86_64/host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefName(String);

/// What comes before a new commit, as a user says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Before {
    /// `none`, so that the commit depends on its inputs only.
    #[default]
    None,
    /// `previous`: what the ref names now, if anything.
    Previous,
    /// A ref or a checksum.
    Rev(String),
}

/// What a new commit is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base<'a> {
    /// A ref or a checksum.
    Rev(&'a str),
    /// What the ref names now.
    Previous,
}

/// What a new commit is called.
#[derive(Debug)]
pub struct Naming {
    /// The ref that moves to it; it need not exist.
    pub reference: RefName,
    /// Its subject.
    pub subject: Option<String>,
    /// What comes before it.
    pub before: Before,
    /// Seconds since 1970; `None`: the base's.
    pub timestamp: Option<u64>,
    /// Who signs it.
    pub signers: Signers,
}

/// A new commit to be made, and what it is made from.
#[derive(Debug)]
pub struct Branch {
    base: Commit,
    /// What the ref named when this was opened.
    stood: Option<String>,
    /// The same, open; `None` also if it can't be.
    earlier: Option<Commit>,
    naming: Naming,
    parent: Parent,
    jobs: usize,
}

/// Where a new commit goes, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// The repository.
    pub repo: Utf8PathBuf,
    /// The ref.
    pub reference: String,
    /// Checksum of the base.
    pub base: String,
}

impl Branch {
    /// Opens the repository, the base, and what the ref names. As many threads as `jobs` will write.
    ///
    /// # Errors
    /// When one of them does not exist or is not whole, the base is not signed as `trust` asks, or the repository's mode
    /// can't keep what images have.
    pub fn open(repo: &Utf8Path, base: Base<'_>, trust: &Trust, naming: Naming, jobs: usize) -> Result<Self> {
        let base = match base {
            Base::Rev(rev) => Commit::open(repo, rev)?,
            Base::Previous => Commit::open_head(repo, naming.reference.as_str())?,
        };
        let usable = base.mode().and_then(|_| base.is_whole());
        usable.with_context(|| format!("composing in repository {repo}"))?;
        base.is_trusted(trust)?;
        let reference = naming.reference.as_str();
        let stood = base.resolve(reference).with_context(|| format!("looking for ref {reference}"))?;
        let earlier = stood.as_ref().and_then(|checksum| Commit::open(repo, checksum).ok());
        let earlier = earlier.filter(|earlier| earlier.is_whole().is_ok());
        let parent = match &naming.before {
            Before::None => Parent::None,
            Before::Previous => Parent::Previous,
            Before::Rev(rev) => {
                let parent = Commit::open(repo, rev).context("finding the parent")?;
                Parent::Commit(format!("sha256:{}", parent.checksum()).parse::<Digest>()?)
            }
        };
        Ok(Self { base, stood, earlier, naming, parent, jobs })
    }

    /// What the new commit is made from.
    pub fn base(&self) -> &Commit {
        &self.base
    }

    /// What the ref names, if that can be read.
    pub fn earlier(&self) -> Option<&Commit> {
        self.earlier.as_ref()
    }

    /// Whether the ref names the base already, so that a compose without changes changes nothing.
    pub fn is_at_base(&self) -> bool {
        self.stood.as_deref() == Some(self.base.checksum())
    }

    /// Whether what the ref names was made from the base and is called as a new commit would be that embeds this.
    ///
    /// # Errors
    /// When a commit can't be read.
    pub fn is_made_with(&self, embedded: &Embedded) -> Result<bool> {
        let Some(earlier) = &self.earlier else { return Ok(false) };
        let containers = revision::containers(embedded);
        self.base.is_origin_of(earlier, &Message::of(&self.revision(), self.stood.as_deref(), containers))
    }

    /// What a new commit is called.
    fn revision(&self) -> Revision<'_> {
        let Naming { reference, subject, timestamp, signers, .. } = &self.naming;
        Revision {
            reference: reference.as_str(),
            subject: subject.as_deref(),
            parent: self.parent,
            timestamp: *timestamp,
            jobs: self.jobs,
            signers,
        }
    }

    /// Signs what the ref names when it stays.
    ///
    /// # Errors
    /// When a key can't be found or used.
    pub fn keep(&self) -> Result<()> {
        let (repo, reference) = (self.base.path(), &self.naming.reference);
        let signed = self.earlier.as_ref().unwrap_or(&self.base).sign(&self.naming.signers);
        signed.with_context(|| format!("signing what ref {reference} of repository {repo} names"))
    }

    /// Where the new commit goes.
    pub fn whereabouts(&self) -> Whereabouts {
        Whereabouts {
            repo: self.base.path().to_owned(),
            reference: self.naming.reference.to_string(),
            base: self.base.checksum().to_owned(),
        }
    }

    /// The layers that the repository knows from earlier composes, with the label that the base's policy gives.
    ///
    /// # Errors
    /// When the policy can't be read.
    pub fn known_layers(&self) -> Result<KnownLayers<'_>> {
        let policy = Policy::read(&self.base)?;
        let label = policy.as_ref().map(|policy| policy.roots().as_bytes());
        Ok(KnownLayers::new(self.base.directory(), label))
    }

    /// Begins the new commit.
    ///
    /// # Errors
    /// As [`Commit::begin`]; also when the ref was moved since it was looked at.
    pub fn begin(&self) -> Result<Composing<'_>> {
        let composing = self.base.begin(self.revision())?;
        // What is adopted from the earlier commit is safe from here: nobody prunes what a ref names.
        if composing.previous() != self.stood.as_deref() {
            bail!("ref {} was moved by another program meanwhile; compose again", self.naming.reference);
        }
        Ok(composing)
    }
}

impl RefName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no [`RefName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRef(&'static str);

impl FromStr for RefName {
    type Err = InvalidRef;

    /// libostree's rule (`ostree_validate_rev`), for refs of this repository only.
    fn from_str(text: &str) -> Result<Self, InvalidRef> {
        let part = |part: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            !part.is_empty() && part.chars().all(fits) && !part.starts_with(['-', '.'])
        };
        if text.contains(':') {
            return Err(InvalidRef("it names a ref of a remote, which only a pull moves"));
        }
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidRef("it is a checksum, not the name of a ref"));
        }
        if !text.split('/').all(part) {
            return Err(InvalidRef("a ref is made of letters, digits, `-`, `.`, `_` and `/`"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<&str> for Before {
    fn from(text: &str) -> Self {
        match text {
            "none" => Self::None,
            "previous" => Self::Previous,
            rev => Self::Rev(rev.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_refs() {
        for good in ["host", "fedora/39/x86_64/host", "a.b-c_d/1"] {
            assert_eq!(good.parse::<RefName>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", "a ref is made of"),
            ("a//b", "a ref is made of"),
            ("../b", "a ref is made of"),
            ("-x", "a ref is made of"),
            (".x", "a ref is made of"),
            ("a/.x", "a ref is made of"),
            ("a b", "a ref is made of"),
            ("origin:host", "it names a ref of a remote"),
            (&"0".repeat(64), "it is a checksum"),
        ] {
            assert!(bad.parse::<RefName>().unwrap_err().to_string().starts_with(why), "{bad}");
        }
    }
}
