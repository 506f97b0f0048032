//! An OSTree commit that is read, and a new commit made from it: with its own modules the only place that knows libostree.
//!
//! libostree reads objects, writes the commit object, holds the repository's lock and moves the ref, all in one
//! transaction. Everything between is core's: directories and files are written by [`sysctr_core::store`].

mod deployments;
mod objects;
mod said;
mod signatures;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use ostree::gio::Cancellable;
use ostree::glib::{self, Variant, VariantDict};
use ostree::prelude::*;
use sysctr_core::digest::Digest;
use sysctr_core::store::object::{DirRef, DirTree, read_dirmeta};
use sysctr_core::store::repo::{Durability, RepoMode};
use sysctr_core::tree::Stat;

use super::signing::Signers;
use super::snapshot::{FileObject, Library};

pub use self::deployments::Deployments;
pub(super) use self::objects::{FileLabels, Reader};
pub use super::composing::Composing;
pub use super::revision::{Fate, Parent, Revision, Written};

/// What a new commit keeps of its base's metadata: what stays true with containers in it. All else describes the
/// base's own bytes, its name or its signature (`ostree.ref-binding` would break every pull of another ref).
const KEPT: &[&str] = &[
    "ostree.architecture",
    "ostree.bootable",
    "ostree.linux",
    "rpmostree.initramfs-args",
    "rpmostree.rpmdb.pkglist",
    "rpmostree.rpmmd-repos",
    "version",
];

/// A commit of a repository, open. Its tree's `/etc` is `usr/etc`.
pub struct Commit {
    repo: ostree::Repo,
    path: Utf8PathBuf,
    checksum: String,
    /// The commit object.
    object: Variant,
    /// Whether a pull left objects of it out.
    partial: bool,
    root: DirRef,
    trees: RefCell<BTreeMap<Digest, Rc<DirTree>>>,
}

/// The new commit's own words.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// Its ref.
    pub reference: &'a str,
    /// Its subject; none is an empty one.
    pub subject: Option<&'a str>,
    /// The commit before it.
    pub parent: Parent,
    /// What the ref names now.
    pub previous: Option<&'a str>,
    /// Seconds since 1970; `None`: the base's.
    pub timestamp: Option<u64>,
    /// Name → digest of the image's configuration.
    pub containers: BTreeMap<String, String>,
    /// Who signs it.
    pub signers: &'a Signers,
}

impl<'a> Message<'a> {
    /// Of a commit that embeds these containers, as the revision calls it.
    pub fn of(
        revision: &Revision<'a>,
        previous: Option<&'a str>,
        containers: BTreeMap<String, String>,
    ) -> Self {
        let Revision { reference, subject, parent, timestamp, signers, .. } = *revision;
        Self { reference, subject, parent, previous, timestamp, containers, signers }
    }
}

impl Commit {
    /// Opens the commit that `rev` names (a ref or a checksum) in the repository at `path`. A ref of the repository comes first,
    /// even if its name reads like the beginning of a checksum.
    ///
    /// # Errors
    /// When there is no such repository or commit, or it can't be read: with the way out.
    pub fn open(path: &Utf8Path, rev: &str) -> Result<Self> {
        Self::found(path, rev, |repo| match head(repo, rev)? {
            Some(checksum) => Ok(Some(checksum)),
            None => Ok(repo.resolve_rev(rev, true)?.map(String::from)),
        })
    }

    /// Opens the commit that a ref of the repository itself names, none of a remote's.
    ///
    /// # Errors
    /// As [`Commit::open`].
    pub fn open_head(path: &Utf8Path, reference: &str) -> Result<Self> {
        Self::found(path, reference, |repo| head(repo, reference))
    }

    fn found(
        path: &Utf8Path,
        rev: &str,
        find: impl FnOnce(&ostree::Repo) -> Result<Option<String>>,
    ) -> Result<Self> {
        let repo = ostree::Repo::new_for_path(path.as_std_path());
        if let Err(error) = repo.open(Cancellable::NONE) {
            let why = if path.exists() { error.to_string() } else { "it does not exist".to_owned() };
            bail!("opening repository {path}: {why}; give the directory that `ostree init` made");
        }
        let found = find(&repo).and_then(|found| match found {
            Some(checksum) => Self::of(repo, path, checksum),
            None => bail!("there is no such ref or commit; `ostree --repo={path} refs` lists the refs"),
        });
        found.with_context(|| format!("opening commit {rev} of repository {path}"))
    }

    fn of(repo: ostree::Repo, path: &Utf8Path, checksum: String) -> Result<Self> {
        let (object, state) = repo.load_commit(&checksum)?;
        let partial = state.contains(ostree::RepoCommitState::PARTIAL);
        let bytes = |index: usize| -> Result<Digest> {
            let field = object.child_value(index);
            let bytes = field.fixed_array::<u8>().context("a field of it is no checksum")?;
            Ok(Digest::from_bytes(bytes.try_into().context("a field of it is no checksum")?))
        };
        let root = DirRef { tree: bytes(6)?, meta: bytes(7)? };
        let (path, trees) = (path.to_owned(), RefCell::default());
        Ok(Self { repo, path, checksum, object, partial, root, trees })
    }

    /// Refuses a commit whose objects need not all be here.
    ///
    /// # Errors
    /// Then, with the way out.
    pub(super) fn is_whole(&self) -> Result<()> {
        if self.partial {
            bail!(
                "commit {} is not whole: a pull of it was cut off, or left objects out; pull it again",
                self.checksum
            );
        }
        Ok(())
    }

    /// The commit's checksum.
    pub fn checksum(&self) -> &str {
        &self.checksum
    }

    /// The repository's path, for messages.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The root of its tree.
    pub(super) fn root(&self) -> DirRef {
        self.root
    }

    /// The repository's directory.
    pub(super) fn directory(&self) -> std::os::fd::BorrowedFd<'_> {
        self.repo.dfd_borrow()
    }

    /// Which commit the repository's own ref `reference` names now.
    pub(super) fn resolve(&self, reference: &str) -> Result<Option<String>> {
        head(&self.repo, reference)
    }

    /// Whether the repository, or its parent, has this file's object; nothing of it is read.
    pub(super) fn has_file(&self, checksum: &Digest) -> Result<bool> {
        let hex = checksum.hex();
        let has = self.repo.has_object(ostree::ObjectType::File, &hex, Cancellable::NONE);
        has.with_context(|| format!("looking for object {hex}"))
    }

    /// Another handle of the same repository, for another thread.
    pub(super) fn reader(&self) -> Result<Reader> {
        let repo = ostree::Repo::new_for_path(self.path.as_std_path());
        repo.open(Cancellable::NONE).with_context(|| format!("opening repository {}", self.path))?;
        Ok(Reader(repo))
    }

    /// How the repository keeps files, and whether it flushes.
    ///
    /// # Errors
    /// When this mode, or this user, can't keep owners and attributes: with the way out.
    pub(super) fn mode(&self) -> Result<(RepoMode, Durability)> {
        let mode = match self.repo.mode() {
            ostree::RepoMode::Archive => RepoMode::Archive,
            ostree::RepoMode::Bare => RepoMode::Bare,
            ostree::RepoMode::BareUser => RepoMode::BareUser,
            ostree::RepoMode::BareUserOnly => bail!(
                "it has mode bare-user-only, which loses owners and setuid bits; \
                 pull the base into a repository of mode archive or bare-user and compose there"
            ),
            _ => bail!(
                "its mode is none of archive, bare and bare-user; \
                 pull the base into a repository of one of these and compose there"
            ),
        };
        let unsynced = matches!(self.repo.config().boolean("core", "fsync"), Ok(false));
        Ok((mode, if unsynced { Durability::Unsynced } else { Durability::Synced }))
    }

    /// Signs the commit as it stands.
    ///
    /// # Errors
    /// When the repository can't be written, or a key can't be found or used.
    pub(super) fn sign(&self, signers: &Signers) -> Result<()> {
        if signers.is_nobody() {
            return Ok(());
        }
        self.repo.is_writable().context("it can't be written")?;
        signatures::sign(&self.repo, &self.checksum, signers)
    }

    /// Begins a transaction: until it ends, nothing is pruned.
    pub(super) fn transaction(&self) -> Result<Transaction<'_>> {
        self.repo.is_writable().context("it can't be written")?;
        self.repo.prepare_transaction(Cancellable::NONE).context("beginning a transaction")?;
        Ok(Transaction { commit: self, open: true })
    }

    /// The metadata of a commit made from this one, its keys in order.
    fn metadata(&self, message: &Message<'_>) -> Variant {
        let inherited = VariantDict::new(Some(&self.object.child_value(0)));
        let mut all: BTreeMap<&str, Variant> = BTreeMap::new();
        for key in KEPT {
            if let Some(value) = inherited.lookup_value(key, None) {
                all.insert(key, value);
            }
        }
        all.insert("ostree.ref-binding", [message.reference].to_variant());
        all.insert("sysctr.base", self.checksum.to_variant());
        all.insert("sysctr.containers", message.containers.to_variant());
        let entries = all
            .iter()
            .map(|(key, value)| Variant::from_dict_entry(&key.to_variant(), &Variant::from_variant(value)));
        Variant::array_from_iter_with_type(
            glib::VariantTy::new("{sv}").unwrap_or(glib::VariantTy::VARDICT),
            entries,
        )
    }

    fn object_bytes(&self, kind: ostree::ObjectType, checksum: &Digest) -> Result<glib::Bytes> {
        let hex = checksum.hex();
        let variant = self.repo.load_variant(kind, &hex).with_context(|| format!("reading object {hex}"))?;
        let bytes = variant.data_as_bytes();
        if Digest::of(&bytes) != *checksum {
            bail!(
                "reading object {hex}: its bytes have another checksum; `ostree fsck` tells what else is broken"
            );
        }
        Ok(bytes)
    }
}

impl Library for Commit {
    fn dirtree(&self, checksum: &Digest) -> Result<Rc<DirTree>> {
        if let Some(tree) = self.trees.borrow().get(checksum) {
            return Ok(Rc::clone(tree));
        }
        let bytes = self.object_bytes(ostree::ObjectType::DirTree, checksum)?;
        let tree = DirTree::read(&bytes).with_context(|| format!("reading object {}", checksum.hex()))?;
        let tree = Rc::new(tree);
        self.trees.borrow_mut().insert(*checksum, Rc::clone(&tree));
        Ok(tree)
    }

    fn dirmeta(&self, checksum: &Digest) -> Result<Stat> {
        let bytes = self.object_bytes(ostree::ObjectType::DirMeta, checksum)?;
        read_dirmeta(&bytes).with_context(|| format!("reading object {}", checksum.hex()))
    }

    fn file(&self, checksum: &Digest) -> Result<FileObject> {
        objects::load(&self.repo, checksum).map(|(object, _)| object)
    }
}

/// Which commit a ref of the repository itself names. Not by libostree's search, which takes `beef` for the beginning of a checksum
/// and finds a remote's ref by its bare name.
fn head(repo: &ostree::Repo, reference: &str) -> Result<Option<String>> {
    let flags = ostree::RepoListRefsExtFlags::EXCLUDE_REMOTES;
    let mut heads = repo.list_refs_ext(None, flags, Cancellable::NONE).context("reading its refs")?;
    Ok(heads.remove(reference))
}

/// A transaction under way. Dropped, it is aborted.
pub(super) struct Transaction<'a> {
    commit: &'a Commit,
    open: bool,
}

impl Transaction<'_> {
    /// The repository's directory.
    pub(super) fn directory(&self) -> std::os::fd::BorrowedFd<'_> {
        self.commit.repo.dfd_borrow()
    }

    /// Writes the commit object of this tree, whose objects are in the repository, and moves the ref to it. Does neither if
    /// the ref names such a commit already.
    pub(super) fn finish(mut self, root: DirRef, message: &Message<'_>) -> Result<(String, Fate)> {
        let (commit, repo) = (self.commit, &self.commit.repo);
        let metadata = commit.metadata(message);
        if let Some(previous) = message.previous
            && commit.is_said_by(previous, root, &metadata, message)?
        {
            signatures::sign(repo, previous, message.signers)?;
            // Ended, not aborted: libostree clears its staging directory only then.
            repo.commit_transaction(Cancellable::NONE).context("ending the transaction")?;
            self.open = false;
            return Ok((previous.to_owned(), Fate::Stood));
        }
        let tree = ostree::MutableTree::from_checksum(repo, &root.tree.hex(), &root.meta.hex());
        let file = repo.write_mtree(&tree, Cancellable::NONE).context("reading the new tree")?;
        let Ok(file) = file.downcast::<ostree::RepoFile>() else { bail!("the new tree is no tree") };
        let time = message.timestamp.map_or_else(|| commit.timestamp(), Ok)?;
        let parent = match message.parent {
            Parent::None => None,
            Parent::Previous => message.previous.map(str::to_owned),
            Parent::Commit(checksum) => Some(checksum.hex()),
        };
        let checksum = repo
            .write_commit_with_time(
                parent.as_deref(),
                message.subject,
                None,
                Some(&metadata),
                &file,
                time,
                Cancellable::NONE,
            )
            .context("writing the commit")?;
        // Beside the commit object in the transaction: no ref ever names a commit that lacks them.
        signatures::sign(repo, &checksum, message.signers)?;
        repo.transaction_set_ref(None, message.reference, Some(&checksum));
        repo.commit_transaction(Cancellable::NONE).context("committing the transaction")?;
        self.open = false;
        // It is whole now, even if it stood before, lost an object, and fsck noted that.
        repo.mark_commit_partial(&checksum, false).context("noting that the commit is whole")?;
        Ok((checksum.into(), Fate::Written))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            // There is nobody to tell; what it staged is removed by libostree's next transaction.
            self.commit.repo.abort_transaction(Cancellable::NONE).unwrap_or_default();
        }
    }
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commit")
            .field("path", &self.path)
            .field("checksum", &self.checksum)
            .finish_non_exhaustive()
    }
}
