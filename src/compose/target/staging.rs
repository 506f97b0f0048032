//! One change of the target, from its staging directory to its commit or its end.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use sysctr_core::epoch::Epoch;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{Change, Placement};
use sysctr_core::tree::{ContentId, Stat};

use super::assemble::Assembler;
use super::beneath::{self, Stamp};
use super::contents::StagedContents;
use super::guard;
use super::journal::State;
use super::marks::{self, Mark};
use super::owners::Owners;
use super::plan::{Plan, plan};
use super::recover::{self, End, STAGING};
use super::swap::Swap;
use super::sysroot::Sysroot;
use sysctr_core::interrupt::Interrupt;

/// A change under way. Dropped without [`Staging::commit`], nothing of it is left behind.
#[derive(Debug)]
pub struct Staging<'a> {
    root: &'a Sysroot,
    epoch: Epoch,
    dir: OwnedFd,
    /// What the way to staging gets back.
    marks: Vec<Mark>,
    /// Whether the change's end was reached.
    ended: bool,
}

impl<'a> Staging<'a> {
    /// Makes the staging directory, and the directories on the way to it.
    pub(super) fn begin(root: &'a Sysroot, epoch: Epoch) -> Result<Self> {
        let mut marks = Vec::new();
        match make(root.fd(), Stamp(epoch.seconds(), 0), &mut marks) {
            Ok(dir) => Ok(Self { root, epoch, dir, marks, ended: false }),
            Err(error) => Err(match recover::end(root.fd(), &marks) {
                Ok(_) => error,
                Err(second) => error.context(format!("undoing it: {second:#}")),
            }),
        }
    }

    /// Where the contents of a container's image go.
    ///
    /// # Errors
    /// When their directory can't be made.
    pub fn contents(&self, name: &ContainerName) -> Result<StagedContents> {
        let open = || {
            let all = beneath::enter(&self.dir, "contents")?;
            match beneath::stat(&all, name.as_str())? {
                Some(_) => beneath::enter(&all, name.as_str()),
                None => beneath::make_dir(&all, name.as_str(), 0o700),
            }
        };
        open().map(StagedContents::new).with_context(|| format!("staging contents of {name}"))
    }

    /// Reads back a staged content of at most `max` bytes.
    ///
    /// # Errors
    /// When it can't be read or is larger.
    pub fn content(&self, name: &ContainerName, id: ContentId, max: u64) -> Result<Vec<u8>> {
        let contents = self.contents(name)?;
        contents.read(id, max).with_context(|| format!("reading a staged content of {name}"))
    }

    /// Makes all changes of `placement`, in its order, or none.
    ///
    /// # Errors
    /// When something fails or the user interrupts before the last change was made: the target is as it was. When
    /// clearing up fails after that, the message says so; the next compose ends it.
    pub fn commit(mut self, placement: &Placement, interrupt: &Interrupt) -> Result<()> {
        self.ended = true;
        let committed = self.change(placement, interrupt);
        let ended = recover::end(self.root.fd(), &self.marks);
        let path = self.root.path();
        match (committed, ended) {
            (Ok(()), Ok(_)) => Ok(()),
            (Ok(()), Err(error)) => Err(error.context(format!(
                "clearing up in root {path}, where all changes are decided; compose again to end it"
            ))),
            (Err(error), Ok(End::Undone)) => {
                Err(error.context(format!("writing into root {path}, which is as it was")))
            }
            (Err(error), Ok(End::Completed)) => Err(error.context(format!(
                "flushing root {path}; all changes were made, but a power cut may lose them"
            ))),
            (Err(error), Err(second)) => Err(error.context(format!(
                "writing into root {path}; undoing it failed too ({second:#}); compose again to end it"
            ))),
        }
    }

    /// Everything up to the commit point.
    fn change(&self, placement: &Placement, interrupt: &Interrupt) -> Result<()> {
        guard::owners_mapped(placement)?;
        let Plan { mut journal, changes } =
            plan(self.root.fd(), &self.marks, self.epoch.seconds(), placement)?;
        let swap = Swap::create(self.root.fd(), &self.dir)?;
        let owners = Owners::new(Stamp(self.epoch.seconds(), 0));
        let assembler = Assembler { staging: &self.dir, owners, interrupt };
        // Bundles take the staged contents away, of which host files are copies.
        let mut steps: Vec<_> = journal.operations.iter().zip(changes).enumerate().collect();
        steps.sort_by_key(|(_, (_, change))| matches!(change, Change::PutBundle(_)));
        for (number, (operation, change)) in steps {
            let (into, name) = (swap.new_side(), number.to_string());
            match change {
                Change::MakeDirectory(stat) => assembler.directory(into, &name, stat),
                Change::Put(leaf) => assembler.leaf(into, &name, leaf),
                Change::PutBundle(bundle) => assembler.bundle(into, &name, bundle),
                Change::AdoptBundle(_) | Change::Remove | Change::RemoveDirectory => Ok(()),
            }
            .with_context(|| format!("preparing {}", operation.path))?;
        }
        rustix::fs::syncfs(&self.dir).context("flushing the file system")?;
        journal.write(&self.dir)?;
        swap.make(&mut journal, interrupt)?;
        rustix::fs::syncfs(&self.dir).context("flushing the file system")?;
        journal.state = State::Committed;
        journal.write(&self.dir)
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // There is nobody to tell; what is left behind is ended by the next compose.
            recover::end(self.root.fd(), &self.marks).map(drop).unwrap_or_default();
        }
    }
}

/// Makes staging. `marks` has what was touched, also after an error.
fn make(root: &OwnedFd, epoch: Stamp, marks: &mut Vec<Mark>) -> Result<OwnedFd> {
    let embedded = embedded(root, epoch, marks)?;
    let staging = beneath::make_dir(embedded, STAGING, 0o700)
        .with_context(|| format!("making {}", place::STAGING_DIR))?;
    beneath::make_dir(&staging, "contents", 0o700)?;
    Ok(staging)
}

/// The embedded directory, made with its parents where it is missing.
fn embedded(root: &OwnedFd, epoch: Stamp, marks: &mut Vec<Mark>) -> Result<OwnedFd> {
    let mut above: Option<(OwnedFd, &Utf8Path)> = None;
    for path in marks::chain().rev() {
        let dir = match (beneath::open_dir(root, path)?, above) {
            (Some(dir), _) => dir,
            (None, Some((parent, above))) => {
                if marks.is_empty() {
                    mark(&parent, above, true, marks)?;
                }
                let (_, name) = beneath::split(path)?;
                let dir = beneath::make_dir(&parent, name, 0o755)
                    .with_context(|| format!("making directory {path}"))?;
                let stat = Stat::implied(0o755);
                Owners::new(epoch).directory(&dir, &stat)?;
                if above != marks[0].path {
                    // It got an entry, and it is ours.
                    Owners::new(epoch).directory(&parent, &stat)?;
                }
                dir
            }
            (None, None) => bail!("directory {path} is not there"),
        };
        above = Some((dir, path));
    }
    let Some((dir, path)) = above else { bail!("the way to {} is empty", place::EMBEDDED_DIR) };
    if marks.is_empty() {
        mark(&dir, path, false, marks)?;
    }
    Ok(dir)
}

fn mark(dir: &OwnedFd, path: &Utf8Path, made: bool, marks: &mut Vec<Mark>) -> Result<()> {
    let mark = Mark { path: path.to_owned(), mtime: Stamp::of(&rustix::fs::fstat(dir.as_fd())?), made };
    mark.set(dir)?;
    marks.push(mark);
    Ok(())
}
