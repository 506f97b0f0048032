//! A new commit made from what a deployment has, and deployed after it: both or neither.

use anyhow::{Context, Result, bail};
use sysctr_core::placement::Placement;

use super::branch::{Base, Branch, Naming};
use super::commit::{Composing, Deployments, Written};
use super::signing::Trust;
use sysctr_core::interrupt::Interrupt;

/// What becomes of an origin from which an upgrade would take commits without the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is refused.
    Kept,
    /// It gives way.
    Detached,
}

/// A new commit to be made and deployed.
#[derive(Debug)]
pub struct Rollout {
    deployments: Deployments,
    branch: Branch,
}

/// A new commit under way, to be deployed.
pub struct RollingOut<'a> {
    deployments: &'a Deployments,
    reference: String,
    composing: Composing<'a>,
}

impl Rollout {
    /// Opens what the deployment has as base.
    ///
    /// # Errors
    /// As [`Branch::open`]; also when an upgrade of the deployment would take its next commit from elsewhere.
    pub fn open(
        deployments: Deployments,
        origin: Origin,
        trust: &Trust,
        naming: Naming,
        jobs: usize,
    ) -> Result<Self> {
        if let (Some(followed), Origin::Kept) = (deployments.foreign_origin(), origin) {
            bail!(
                "composing for stateroot {}: its deployment follows {followed}, and the next upgrade would take that and \
                 lose the containers; --detach-origin makes it follow ref {} instead, which composes move",
                deployments.stateroot(),
                naming.reference
            );
        }
        let base = deployments.checksum();
        let branch = Branch::open(&deployments.repo(), Base::Rev(&base), trust, naming, jobs)?;
        Ok(Self { deployments, branch })
    }

    /// The new commit.
    pub fn branch(&self) -> &Branch {
        &self.branch
    }

    /// Begins the new commit.
    ///
    /// # Errors
    /// As [`Branch::begin`].
    pub fn begin(&self) -> Result<RollingOut<'_>> {
        let (deployments, reference) = (&self.deployments, self.branch.whereabouts().reference);
        Ok(RollingOut { deployments, reference, composing: self.branch.begin()? })
    }
}

impl<'a> RollingOut<'a> {
    /// The new commit.
    pub fn composing(&self) -> &Composing<'a> {
        &self.composing
    }

    /// Makes all changes of `placement`, moves the ref, and deploys what it names unless that is what is deployed.
    ///
    /// # Errors
    /// As [`Composing::commit`]; when it can't be deployed, ref and deployments are as they were.
    pub fn commit(self, placement: &Placement, interrupt: &Interrupt) -> Result<Written> {
        let before = self.composing.previous().map(str::to_owned);
        let written = self.composing.commit(placement, interrupt)?;
        if written.checksum == self.deployments.checksum() {
            return Ok(written);
        }
        match self.deployments.deploy(&written.checksum, &self.reference) {
            Ok(deployment) => Ok(Written { deployment: Some(deployment), ..written }),
            Err(error) => {
                let back = self.deployments.put_back(&self.reference, &written.checksum, before.as_deref());
                back.with_context(|| format!("putting ref {} back after {error:#}", self.reference))?;
                Err(error)
            }
        }
    }
}
