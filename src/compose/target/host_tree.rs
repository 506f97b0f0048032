//! The root of a host, wherever it is kept, to be looked at.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::inspection::Inspected;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::placement::Present;
use sysctr_core::tree::{ImageTree, TreePath};

/// What a host can't keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unkept {
    /// Where it lies in the image.
    pub path: TreePath,
    /// What it is and why it can't be kept, with the way out: `its name is not UTF-8, …`.
    pub why: String,
}

/// Something that has another SELinux label than the host's policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mislabelled {
    /// Relative to the root.
    pub path: Utf8PathBuf,
    /// What it has.
    pub found: Option<String>,
    /// What the policy says.
    pub expected: Option<String>,
}

/// The questions that a compose and `list` have beyond those of a placement and an inspection. Paths are relative to the root;
/// links in their parents are followed beneath it.
pub trait HostTree: Inspected {
    /// Whether `path` leads to a regular file that somebody may execute, links followed beneath the root.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn is_program(&self, path: &Utf8Path) -> Result<bool>;

    /// Whether `path` leads to a directory, links followed beneath the root; `None` if it leads to nothing.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn is_directory(&self, path: &Utf8Path) -> Result<Option<bool>>;

    /// The first thing in an image's tree that this kind of host can't keep.
    fn unkept(&self, tree: &ImageTree) -> Option<Unkept>;

    /// What composes put there and has another label than the policy says, in path order; nothing where there is no
    /// policy, or where labels are not part of the host (in a plain root the builder's policy sets them).
    ///
    /// # Errors
    /// When policy or tree can't be read, or the user interrupts.
    fn mislabelled(&self, present: &Present, interrupt: &Interrupt) -> Result<Vec<Mislabelled>>;
}
