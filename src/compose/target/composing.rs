//! One new commit, from its first staged object to the moved ref.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use rustix::fs::{FlockOperation, Mode, OFlags};
use sysctr_core::digest::Digest;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{
    Adopted, Body, Brought, Bundle, Change, PlacedLeaf, Placement, Policy, bundle_stat,
};
use sysctr_core::record::{Embedded, from_json};
use sysctr_core::store::contents::{ObjectContents, ObjectStore};
use sysctr_core::store::object::{DirRef, DirTree, FileKind, ObjectKind, dirmeta};
use sysctr_core::store::repo::{Durability, Objects, RepoMode};
use sysctr_core::store::tree;
use sysctr_core::tree::{ContentId, Stat};

use super::beneath;
use super::commit::{Commit, Message, Transaction};
use super::graft::{Graft, There};
use super::guard;
use super::host_tree::{HostTree as _, Unkept};
use super::labels::{Kind, Labels};
use super::marks;
use super::revision::{self, Revision, Written};
use super::snapshot::{At, Last, Snapshot};
use sysctr_core::interrupt::Interrupt;

/// A new commit under way. Dropped without [`Composing::commit`], nothing of ours is left behind; libostree may keep an empty
/// directory in the repository's `tmp`, which its next transaction takes.
pub struct Composing<'a> {
    base: &'a Commit,
    revision: Revision<'a>,
    /// What the ref named at the beginning.
    previous: Option<String>,
    durability: Durability,
    contents: Mutex<BTreeMap<ContainerName, ObjectContents>>,
    /// The base's SELinux policy.
    policy: Option<Policy>,
    store: Arc<ObjectStore>,
    transaction: Transaction<'a>,
}

impl Commit {
    /// Begins a new commit.
    ///
    /// # Errors
    /// When the repository's mode or this user can't keep what images have, it can't be written, or the ref's name is
    /// none. Nothing of ours is left behind then.
    pub fn begin<'a>(&'a self, revision: Revision<'a>) -> Result<Composing<'a>> {
        Composing::begin(self, revision)
            .with_context(|| format!("beginning a new commit in repository {}", self.path()))
    }
}

impl<'a> Composing<'a> {
    fn begin(base: &'a Commit, revision: Revision<'a>) -> Result<Self> {
        let (mode, durability) = base.mode()?;
        if mode == RepoMode::Bare {
            guard::may_set_owners().context(
                "it has mode bare, which keeps owners as they are; an archive or bare-user repository takes any user",
            )?;
        }
        let previous = base.resolve(revision.reference)?;
        let policy = Policy::read(base)?;
        let transaction = base.transaction()?;
        let objects = Objects::begin(transaction.directory(), mode)?;
        let store = Arc::new(ObjectStore::new(objects, revision.jobs)?);
        Ok(Self {
            base,
            revision,
            previous,
            durability,
            contents: Mutex::default(),
            policy,
            store,
            transaction,
        })
    }

    /// What the ref named at the beginning.
    pub(super) fn previous(&self) -> Option<&str> {
        self.previous.as_deref()
    }

    /// Where the contents of a container's image go.
    pub fn contents(&self, name: &ContainerName) -> ObjectContents {
        let mut all = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let label = self.policy.as_ref().map(|policy| policy.roots().as_bytes());
        all.entry(name.clone()).or_insert_with(|| ObjectContents::new(&self.store, label)).clone()
    }

    /// Reads back a staged content of at most `max` bytes.
    ///
    /// # Errors
    /// When it can't be read or is larger.
    pub fn content(&self, name: &ContainerName, id: ContentId, max: u64) -> Result<Vec<u8>> {
        self.contents(name).read(id, max).with_context(|| format!("reading a staged content of {name}"))
    }

    /// Makes all changes of `placement` and moves the ref, or does nothing.
    ///
    /// # Errors
    /// When something fails, the user interrupts, or the ref was moved by somebody else since the beginning: the ref
    /// names what it named.
    pub fn commit(self, placement: &Placement, interrupt: &Interrupt) -> Result<Written> {
        let path = self.base.path().to_owned();
        self.change(placement, interrupt)
            .with_context(|| format!("writing into repository {path}, whose refs are as they were"))
    }

    fn change(self, placement: &Placement, interrupt: &Interrupt) -> Result<Written> {
        for (path, change) in &placement.changes {
            if let Change::PutBundle(bundle) = change
                && let Some(tree) = &bundle.tree
                && let Some(Unkept { path: inner, why }) = self.base.unkept(tree)
            {
                bail!("preparing {path}: {inner} of the image: {why}");
            }
        }
        self.store.settle()?;
        let labels = self.labels(placement)?;
        let mut new = New { composing: &self, labels, needed: BTreeSet::new(), interrupt };
        let root = new.tree(placement)?;
        let needed = new.needed;
        let containers = self.containers(placement)?;
        let published = self.store.objects().publish(&needed, self.durability)?;
        interrupt.check()?;
        // Two of us never look at a ref and move it at the same time.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let refs = rustix::fs::openat(self.transaction.directory(), "refs", flags, Mode::empty())
            .context("opening refs")?;
        rustix::fs::flock(&refs, FlockOperation::LockExclusive).context("locking refs")?;
        let reference = self.revision.reference;
        if self.base.resolve(reference)? != self.previous {
            bail!("ref {reference} was moved by another program meanwhile; compose again");
        }
        let message = Message::of(&self.revision, self.previous.as_deref(), containers);
        let (checksum, fate) = self.transaction.finish(root, &message)?;
        self.store.remember(&checksum);
        Ok(Written { checksum, fate, published, deployment: None })
    }

    fn labels(&self, placement: &Placement) -> Result<Option<Labels>> {
        let Some(policy) = &self.policy else { return Ok(None) };
        let scratch = self.store.objects().scratch("policy")?;
        Labels::new(self.base, policy, placement, &scratch).map(Some)
    }

    /// The containers that the new commit embeds.
    fn containers(&self, placement: &Placement) -> Result<BTreeMap<String, String>> {
        let index = Utf8Path::new(place::EMBEDDED_JSON);
        let changed = placement.changes.iter().rev().find(|(path, _)| path == index);
        let bytes = match changed {
            Some((_, Change::Put(PlacedLeaf::File(file)))) => Some(file.bytes.clone()),
            Some(_) => None,
            None => self.base.read_file(index, u64::MAX)?,
        };
        let Some(bytes) = bytes else { return Ok(BTreeMap::new()) };
        let embedded: Embedded = from_json(&bytes, place::EMBEDDED_JSON)?;
        Ok(revision::containers(&embedded))
    }
}

/// The new tree while its objects are staged.
pub(super) struct New<'a> {
    composing: &'a Composing<'a>,
    /// None without a policy.
    pub(super) labels: Option<Labels>,
    /// Everything that the new commit has and its base may lack.
    pub(super) needed: BTreeSet<(Digest, ObjectKind)>,
    pub(super) interrupt: &'a Interrupt,
}

impl New<'_> {
    fn tree(&mut self, placement: &Placement) -> Result<DirRef> {
        let base = self.composing.base;
        let snapshot = Snapshot { library: base, root: base.root() };
        let mut graft = Graft::new(base, base.root());
        self.make_home(&snapshot, &mut graft, placement)?;
        for (path, change) in &placement.changes {
            self.interrupt.check()?;
            beneath::split(path)?;
            let resolved = snapshot.resolve(path, Last::Kept)?;
            self.apply(&mut graft, &resolved.path, change).with_context(|| format!("preparing {path}"))?;
        }
        graft.write(|tree| self.names(tree))
    }

    /// Makes the way to the containers as far as it is missing, unless the placement does or needs none.
    fn make_home(
        &mut self,
        snapshot: &Snapshot<'_, Commit>,
        graft: &mut Graft<'_, Commit>,
        placement: &Placement,
    ) -> Result<()> {
        let changes = || placement.changes.iter();
        let puts = |change: &Change| {
            matches!(change, Change::Put(_) | Change::PutBundle(_) | Change::AdoptBundle(_))
        };
        if !changes().any(|(path, change)| path.starts_with(place::EMBEDDED_DIR) && puts(change)) {
            return Ok(());
        }
        for path in marks::chain().rev() {
            let made =
                changes().any(|(other, change)| other == path && matches!(change, Change::MakeDirectory(_)));
            let resolved = snapshot.resolve(path, Last::Followed)?.path;
            if !made && graft.there(&resolved)? == There::Nothing {
                let meta = self.directory(&resolved, &Stat::implied(0o755))?;
                graft.make_dir(&resolved, meta).with_context(|| format!("making /{path}"))?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, graft: &mut Graft<'_, Commit>, path: &Utf8Path, change: &Change) -> Result<()> {
        match (change, graft.there(path)?) {
            (Change::MakeDirectory(stat), There::Nothing) => {
                let meta = self.directory(path, stat)?;
                graft.make_dir(path, meta)
            }
            (Change::Put(leaf), There::Nothing | There::File) => {
                graft.put_file(path, self.placed(path, leaf)?)
            }
            (Change::PutBundle(bundle), There::Nothing | There::Dir) => {
                graft.put_dir(path, self.bundle(path, bundle)?)
            }
            (Change::AdoptBundle(adopted), There::Nothing | There::Dir) => {
                graft.put_dir(path, self.adopted(adopted, path)?)
            }
            (Change::Remove, _) => graft.remove(path),
            (Change::RemoveDirectory, There::Dir) if graft.is_empty(path)? => graft.remove(path),
            (Change::RemoveDirectory, _) => Ok(()),
            (_, There::Dir) => bail!("a directory is there already"),
            (_, There::File) => bail!("a file or symbolic link is there already"),
        }
    }

    /// A bundle whose root another commit has, all of its objects; with another label they are made anew.
    fn adopted(&mut self, adopted: &Adopted, path: &Utf8Path) -> Result<DirRef> {
        let commit = Commit::open(self.composing.base.path(), &adopted.commit)?;
        let snapshot = Snapshot { library: &commit, root: commit.root() };
        match snapshot.resolve(&path.join(place::ROOTFS), Last::Kept)?.at {
            At::Dir(rootfs) => {
                let rootfs = self.relabelled(&commit, rootfs)?;
                self.bundle_of(&adopted.name, path, &adopted.files, Some(rootfs))
            }
            At::Nothing | At::File(_) => bail!("commit {} has no rootfs there", adopted.commit),
        }
    }

    /// A bundle directory with these files.
    fn bundle_of(
        &mut self,
        name: &ContainerName,
        path: &Utf8Path,
        files: &BTreeMap<String, PlacedLeaf>,
        rootfs: Option<DirRef>,
    ) -> Result<DirRef> {
        let mut tree = DirTree::default();
        for (name, leaf) in files {
            beneath::split(name.as_str().into())?;
            let checksum = self.placed(&path.join(name), leaf).with_context(|| format!("making {name}"))?;
            tree.files.insert(name.clone(), checksum);
        }
        tree.dirs.extend(rootfs.map(|rootfs| (place::ROOTFS.to_owned(), rootfs)));
        Ok(DirRef { tree: self.names(&tree)?, meta: self.directory(path, &bundle_stat(name))? })
    }

    pub(super) fn names(&mut self, tree: &DirTree) -> Result<Digest> {
        self.object(ObjectKind::DirTree, &tree.to_bytes())
    }

    pub(super) fn metadata(&mut self, stat: &Stat) -> Result<Digest> {
        self.object(ObjectKind::DirMeta, &dirmeta(stat))
    }

    fn object(&mut self, kind: ObjectKind, bytes: &[u8]) -> Result<Digest> {
        let checksum = self.composing.store.objects().write_metadata(kind, bytes)?;
        self.needed.insert((checksum, kind));
        Ok(checksum)
    }

    pub(super) fn file(&mut self, stat: &Stat, kind: FileKind<'_>, content: &[u8]) -> Result<Digest> {
        let checksum = self.composing.store.objects().write_file(stat, kind, content)?;
        self.needed.insert((checksum, ObjectKind::File));
        Ok(checksum)
    }

    /// Stages a file that comes in pieces.
    pub(super) fn stream(
        &mut self,
        stat: &Stat,
        size: u64,
        pieces: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<Digest> {
        let mut stream = self.composing.store.objects().stream(stat, size)?;
        pieces(&mut |some| stream.write(some))?;
        let checksum = stream.finish()?;
        self.needed.insert((checksum, ObjectKind::File));
        Ok(checksum)
    }

    /// The metadata of a directory at this path.
    fn directory(&mut self, path: &Utf8Path, stat: &Stat) -> Result<Digest> {
        match &self.labels {
            Some(labels) => self.metadata(&labels.labelled(path, Kind::Directory, stat)?),
            None => self.metadata(stat),
        }
    }

    /// A file or link at this path.
    fn file_at(
        &mut self,
        path: &Utf8Path,
        stat: &Stat,
        kind: FileKind<'_>,
        content: &[u8],
    ) -> Result<Digest> {
        let is = match kind {
            FileKind::Regular => Kind::Regular,
            FileKind::Symlink(_) => Kind::Link,
        };
        match &self.labels {
            Some(labels) => self.file(&labels.labelled(path, is, stat)?, kind, content),
            None => self.file(stat, kind, content),
        }
    }

    fn placed(&mut self, path: &Utf8Path, leaf: &PlacedLeaf) -> Result<Digest> {
        match leaf {
            PlacedLeaf::File(file) => {
                self.file_at(path, &Stat::implied(file.mode), FileKind::Regular, &file.bytes)
            }
            PlacedLeaf::Link(text) => self.file_at(path, &Stat::implied(0o777), FileKind::Symlink(text), b""),
            PlacedLeaf::Brought(brought) => self.brought(path, brought),
        }
    }

    fn brought(&mut self, path: &Utf8Path, brought: &Brought) -> Result<Digest> {
        match &brought.body {
            Body::Bytes(bytes) => self.file_at(path, &brought.stat, FileKind::Regular, bytes),
            Body::Link(text) => self.file_at(path, &brought.stat, FileKind::Symlink(text), b""),
            Body::Content { container, id, size, .. } => {
                let bytes = self.composing.content(container, *id, *size)?;
                self.file_at(path, &brought.stat, FileKind::Regular, &bytes)
            }
        }
    }

    fn bundle(&mut self, path: &Utf8Path, bundle: &Bundle) -> Result<DirRef> {
        let contents = self.composing.contents(&bundle.name);
        let label = self.labels.as_ref().map(Labels::roots);
        let interrupt = self.interrupt;
        let stage = |of| tree::stage(of, &contents, label, &|| Ok(interrupt.check()?));
        let rootfs = bundle.tree.as_ref().map(stage).transpose()?;
        let rootfs = rootfs.map(|rootfs| {
            self.needed.extend(rootfs.objects);
            rootfs.root
        });
        self.bundle_of(&bundle.name, path, &bundle.files, rootfs)
    }
}
