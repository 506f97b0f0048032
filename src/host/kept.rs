//! What of a generation is ours and not its image's, kept in the store, so that `verify --repair` can make all of it anew.
//!
//! The ref `sysctr/NAME.N.files` names a commit with `bundle/…`, the files beside the root, and `etc/…`, what lies in `/etc` but for
//! the flags that change.

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use sysctr_core::generation::GenerationName;
use sysctr_core::store::kept::{KeptFiles, stage};
use sysctr_core::store::own_repo::{NoPruning, OwnRepo};
use sysctr_core::store::repo::Objects;

/// In the commit: files of the bundle's directory.
pub const BUNDLE: &str = "bundle";
/// In the commit: files of the directory in `/etc`.
pub const ETC: &str = "etc";
const SUFFIX: &str = ".files";

/// The ref's name.
pub fn reference(name: &GenerationName) -> String {
    format!("{name}{SUFFIX}")
}

/// Whose ref it is: the generation's own, or that of its files.
pub fn generation_of(reference: &str) -> Option<GenerationName> {
    reference.strip_suffix(SUFFIX).unwrap_or(reference).parse().ok()
}

/// Keeps them.
///
/// # Errors
/// When the store can't be written.
pub fn keep(
    store: &OwnRepo,
    objects: &Objects,
    name: &GenerationName,
    files: &KeptFiles,
    label: Option<&[u8]>,
    lock: &NoPruning,
) -> Result<()> {
    let reference = reference(name);
    let keeping = || format!("keeping the files of {name} in the store {}", store.path());
    let staged = stage(objects, files, label).with_context(keeping)?;
    let (commit, _) = store.publish(objects, staged, &reference, lock)?;
    store.set_ref(&reference, &commit)
}

/// A path of the bundle, or of `/etc`, in the commit.
pub fn inside(part: &str, path: impl AsRef<Utf8Path>) -> camino::Utf8PathBuf {
    Utf8Path::new(part).join(path)
}
