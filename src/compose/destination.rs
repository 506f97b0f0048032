//! What a compose or a remove changes: a host that is looked at, and the one way to change it.

use anyhow::Result;
use sysctr_core::epoch::Epoch;
use sysctr_core::placement::Placement;
use sysctr_core::record::Embedded;
use sysctr_core::store::layers::KnownLayers;

use crate::shelf::Shelf;
use crate::target::branch::{Branch, Whereabouts};
use crate::target::commit::{Commit, Composing, Written};
use crate::target::host_tree::HostTree;
use crate::target::rollout::{RollingOut, Rollout};
use crate::target::sysroot::{NarrowOwners, Staging, Sysroot};
use sysctr_core::interrupt::Interrupt;

/// A destination.
pub trait Destination {
    /// What it is as it stands.
    type Host: HostTree;
    /// A change of it under way.
    type Change<'a>: Change
    where
        Self: 'a;

    /// The host that is changed, or that the new one is made from.
    fn host(&self) -> &Self::Host;

    /// Another host of the same repository, whose containers may be taken instead of reading their images again.
    fn earlier(&self) -> Option<&Commit>;

    /// Layers whose contents a change begun here will most likely have without reading them; `None`: none.
    ///
    /// # Errors
    /// When they can't be told.
    fn known_layers(&self) -> Result<Option<KnownLayers<'_>>>;

    /// What is to be written when nothing of the host changes.
    fn idle(&self) -> Idle;

    /// Whether the earlier host is what a change begun here would make if it came to embed this.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn is_made_with(&self, embedded: &Embedded) -> Result<bool>;

    /// Begins a change. What the target makes and no image names gets `epoch` as its time stamp.
    ///
    /// # Errors
    /// When it can't be written. Nothing is left behind then.
    fn begin(&self, epoch: Epoch) -> Result<Self::Change<'_>>;

    /// Sees to it that what stays is as the user asked, when nothing is to be written.
    ///
    /// # Errors
    /// When that fails.
    fn keep(&self) -> Result<()>;

    /// Where a new commit goes, if one is made.
    fn whereabouts(&self) -> Option<Whereabouts>;

    /// The owners that can be written there; `None` when all can.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn narrow_owners(&self) -> Result<Option<NarrowOwners>>;
}

/// What is to be written when nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Nothing: it is all there.
    Nothing,
    /// The host goes to another place, unchanged.
    Host,
}

/// A change under way. Dropped, nothing of it is left behind.
pub trait Change: Shelf {
    /// Makes all changes of `placement`, or none; tells the new commit, if one is made.
    ///
    /// # Errors
    /// When something fails or the user interrupts: the destination is as it was, or the message says what is left.
    fn commit(self, placement: &Placement, interrupt: &Interrupt) -> Result<Option<Written>>;
}

impl Destination for Sysroot {
    type Host = Self;
    type Change<'a> = Staging<'a>;

    fn host(&self) -> &Self {
        self
    }

    fn earlier(&self) -> Option<&Commit> {
        None
    }

    fn known_layers(&self) -> Result<Option<KnownLayers<'_>>> {
        Ok(None)
    }

    fn idle(&self) -> Idle {
        Idle::Nothing
    }

    fn is_made_with(&self, _: &Embedded) -> Result<bool> {
        Ok(false)
    }

    fn begin(&self, epoch: Epoch) -> Result<Staging<'_>> {
        Sysroot::begin(self, epoch)
    }

    fn keep(&self) -> Result<()> {
        Ok(())
    }

    fn whereabouts(&self) -> Option<Whereabouts> {
        None
    }

    fn narrow_owners(&self) -> Result<Option<NarrowOwners>> {
        NarrowOwners::read()
    }
}

impl Change for Staging<'_> {
    fn commit(self, placement: &Placement, interrupt: &Interrupt) -> Result<Option<Written>> {
        Staging::commit(self, placement, interrupt).map(|()| None)
    }
}

impl Destination for Branch {
    type Host = Commit;
    type Change<'a> = Composing<'a>;

    fn host(&self) -> &Commit {
        self.base()
    }

    fn earlier(&self) -> Option<&Commit> {
        Branch::earlier(self)
    }

    fn known_layers(&self) -> Result<Option<KnownLayers<'_>>> {
        Branch::known_layers(self).map(Some)
    }

    fn idle(&self) -> Idle {
        if self.is_at_base() { Idle::Nothing } else { Idle::Host }
    }

    fn is_made_with(&self, embedded: &Embedded) -> Result<bool> {
        Branch::is_made_with(self, embedded)
    }

    /// No commit keeps time stamps.
    fn begin(&self, _: Epoch) -> Result<Composing<'_>> {
        Branch::begin(self)
    }

    /// It is signed.
    fn keep(&self) -> Result<()> {
        Branch::keep(self)
    }

    fn whereabouts(&self) -> Option<Whereabouts> {
        Some(Branch::whereabouts(self))
    }

    /// Objects keep owners as data; who can't keep a bare repository's is refused when it is opened.
    fn narrow_owners(&self) -> Result<Option<NarrowOwners>> {
        Ok(None)
    }
}

impl Change for Composing<'_> {
    fn commit(self, placement: &Placement, interrupt: &Interrupt) -> Result<Option<Written>> {
        Composing::commit(self, placement, interrupt).map(Some)
    }
}

impl Destination for Rollout {
    type Host = Commit;
    type Change<'a> = RollingOut<'a>;

    fn host(&self) -> &Commit {
        self.branch().base()
    }

    fn earlier(&self) -> Option<&Commit> {
        self.branch().earlier()
    }

    fn known_layers(&self) -> Result<Option<KnownLayers<'_>>> {
        Destination::known_layers(self.branch())
    }

    fn idle(&self) -> Idle {
        self.branch().idle()
    }

    /// Even if the ref names it: it is deployed once more.
    fn is_made_with(&self, _: &Embedded) -> Result<bool> {
        Ok(false)
    }

    /// No commit keeps time stamps.
    fn begin(&self, _: Epoch) -> Result<RollingOut<'_>> {
        Rollout::begin(self)
    }

    fn keep(&self) -> Result<()> {
        self.branch().keep()
    }

    fn whereabouts(&self) -> Option<Whereabouts> {
        Some(self.branch().whereabouts())
    }

    fn narrow_owners(&self) -> Result<Option<NarrowOwners>> {
        self.branch().narrow_owners()
    }
}

impl Change for RollingOut<'_> {
    fn commit(self, placement: &Placement, interrupt: &Interrupt) -> Result<Option<Written>> {
        RollingOut::commit(self, placement, interrupt).map(Some)
    }
}
