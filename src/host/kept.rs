//! What of a generation is ours and not its image's, kept in the store, so that `verify --repair` can make all of it anew.
//!
//! The ref `sysctr/NAME.N.files` names a commit with `bundle/…`, the files beside the root, and `etc/…`, what lies in `/etc` but for
//! the flags that change.

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::generation::GenerationName;
use sysctr_core::place;
use sysctr_core::store::kept::{Kept, KeptFiles, stage};
use sysctr_core::store::own_repo::{NoPruning, OwnRepo};
use sysctr_core::store::repo::Objects;

use crate::active::host::{self, Host};

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
pub fn inside(part: &str, path: impl AsRef<Utf8Path>) -> Utf8PathBuf {
    Utf8Path::new(part).join(path)
}

/// What the store keeps of a generation; nothing when it does not have it whole.
pub fn of(host: &Host, name: &GenerationName) -> Option<KeptFiles> {
    let store = OwnRepo::open(&host.generations_dir().join(place::STORE)).ok()??;
    let root = store.root(store.refs().ok()?.get(&reference(name))?).ok()??;
    store.kept(root).ok()
}

/// A document of a generation that a newer program made, if one did. One that is only called newer, while the store keeps another,
/// is damage.
///
/// # Errors
/// When one can't be read.
pub fn newer(host: &Host, name: &GenerationName, kept: Option<&KeptFiles>) -> Result<Option<Utf8PathBuf>> {
    let (etc, bundle) = (host.generation_dir(name), host.generations_dir().join(name.to_string()));
    let documents = [
        (ETC, &etc, place::GENERATION_JSON),
        (ETC, &etc, place::HOST_FILES_JSON),
        (ETC, &etc, place::TRIAL_JSON),
        (BUNDLE, &bundle, place::RECORD_JSON),
    ];
    for (part, dir, file) in documents {
        let path = dir.join(file);
        let stored = kept.and_then(|kept| kept.get(&inside(part, file)));
        let is_newer = match stored {
            Some(Kept::File(bytes)) => host::is_newer(bytes),
            Some(Kept::Link(_)) => false,
            None => host::read(&path)?.is_some_and(|bytes| host::is_newer(&bytes)),
        };
        if is_newer {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
