//! The root of a host, wherever it is kept, to be looked at.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::placement::{Ground, Present};
use sysctr_core::tree::{ImageTree, Stat, TreePath};

use super::scan::Scan;
use sysctr_core::interrupt::Interrupt;

/// Owner and permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u16,
}

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

/// The questions that a compose, `list` and `verify` have beyond those of a placement. Paths are relative to the root;
/// links in their parents are followed beneath it.
pub trait HostTree: Ground {
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

    /// The names in the directory at `path` in byte order, links followed beneath the root; none if there is no
    /// directory. What is no UTF-8 in a name is replaced.
    ///
    /// # Errors
    /// When it can't be read.
    fn names(&self, path: &Utf8Path) -> Result<Vec<String>>;

    /// Metadata of what lies at `path`, itself not followed; `None` if nothing does. The SELinux label is left out.
    ///
    /// # Errors
    /// When they can't be read.
    fn metadata(&self, path: &Utf8Path) -> Result<Option<Stat>>;

    /// Who may do what with what lies at `path`, itself not followed; `None` for nothing.
    ///
    /// # Errors
    /// When it can't be looked at.
    fn rights(&self, path: &Utf8Path) -> Result<Option<Rights>>;

    /// Reads the tree of the directory at `path` back, contents digested by `jobs` threads.
    ///
    /// # Errors
    /// When it is no directory, the user interrupts, or something in it can't be read and is not told in
    /// [`Scan::unreadable`].
    fn scan(&self, path: &Utf8Path, jobs: usize, interrupt: &Interrupt) -> Result<Scan>;

    /// An image's tree as [`HostTree::scan`] finds it when nothing was changed.
    fn as_kept(&self, tree: ImageTree) -> ImageTree;

    /// The first thing in an image's tree that this kind of host can't keep.
    fn unkept(&self, tree: &ImageTree) -> Option<Unkept>;

    /// What composes put there and has another label than the policy says, in path order; nothing where there is no
    /// policy, or where labels are not part of the host (in a plain root the builder's policy sets them).
    ///
    /// # Errors
    /// When policy or tree can't be read, or the user interrupts.
    fn mislabelled(&self, present: &Present, interrupt: &Interrupt) -> Result<Vec<Mislabelled>>;
}
