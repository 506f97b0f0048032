//! What a commit says besides its tree, held against what a new one would say.

use anyhow::{Context, Result};
use ostree::glib::Variant;
use sysctr_core::store::object::DirRef;

use super::{Commit, Message, Parent};

impl Commit {
    /// Whether `other` is what a new commit with this tree, metadata and time would be. A parent that is only what was there
    /// before does not count.
    pub(super) fn is_said_by(
        &self,
        other: &str,
        root: DirRef,
        metadata: &Variant,
        message: &Message<'_>,
    ) -> Result<bool> {
        // One that is broken is better written anew.
        let other = Self::of(self.repo.clone(), &self.path, other.to_owned());
        let Some(other) = other.ok().filter(|other| !other.partial) else { return Ok(false) };
        Ok(other.root == root && self.says_as(&other, metadata, message)?)
    }

    /// Whether `other`, whatever its tree, says what a new commit made from this one would say.
    pub(in super::super) fn is_origin_of(&self, other: &Self, message: &Message<'_>) -> Result<bool> {
        self.says_as(other, &self.metadata(message), message)
    }

    fn says_as(&self, other: &Self, metadata: &Variant, message: &Message<'_>) -> Result<bool> {
        let text = |index: usize| other.object.child_value(index).get::<String>().unwrap_or_default();
        let parent = other.object.child_value(1);
        let parent = parent.fixed_array::<u8>().unwrap_or_default();
        let same_parent = match message.parent {
            Parent::None => parent.is_empty(),
            Parent::Previous => true,
            Parent::Commit(wanted) => parent == wanted.as_bytes(),
        };
        let time = message.timestamp.map_or_else(|| self.timestamp(), Ok)?;
        Ok(other.object.child_value(0) == *metadata
            && same_parent
            && (text(3).as_str(), text(4).as_str()) == (message.subject.unwrap_or_default(), "")
            && other.timestamp()? == time)
    }

    /// Seconds since 1970.
    pub(super) fn timestamp(&self) -> Result<u64> {
        let stamp = self.object.child_value(5).get::<u64>().context("its time stamp is no number")?;
        Ok(u64::from_be(stamp))
    }
}
