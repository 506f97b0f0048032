//! The store's objects that a generation needs, each what its name says before any of them is handed out.

use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::digest::Digest;
use sysctr_core::place;
use sysctr_core::record::Record;
use sysctr_core::store::examine::{Damaged, Mended, Wanted};
use sysctr_core::store::kept::{self, KeptFiles};
use sysctr_core::store::object::{DirRef, labelled};
use sysctr_core::tree::{ImageTree, Leaf, Node, Stat, TreePath, dump};

use super::Repair;
use crate::active::host::read;
use crate::kept::{BUNDLE, ETC, inside};

/// What an object should hold, with its metadata.
type Should = (Stat, Wanted);

impl Repair<'_> {
    /// The image's tree in the store, whole.
    pub(super) fn root(&self, files: &KeptFiles, record: &Record) -> Result<DirRef> {
        let (store, name) = (self.store, self.name.to_string());
        let refs = store.refs()?;
        let commit =
            refs.get(&name).with_context(|| format!("the store {} has no sysctr/{name}", store.path()))?;
        let root = store.root(commit)?;
        let root =
            root.with_context(|| format!("the store {} lacks what sysctr/{name} names", store.path()))?;
        let damaged = store.examine(root, self.interrupt)?;
        if damaged.is_empty() {
            return Ok(root);
        }
        let dump = self.kept(files, &inside(BUNDLE, place::TREE_DUMP))?;
        let expected = dump::unpack(dump, &record.tree.digest)?;
        let (embedded, label) = (self.embedded(), self.store.label(root)?);
        self.mend(&damaged, label.as_deref(), |damaged| {
            let path = TreePath::parse(damaged.path.as_str().as_bytes()).ok()?;
            let Some(Node::Leaf(id)) = expected.node(&path) else { return None };
            let leaf = expected.leaf(*id);
            let wanted = match leaf {
                Leaf::Symlink { target, .. } => Wanted::Link(String::from_utf8(target.to_vec()).ok()?),
                Leaf::File { digest, .. } => {
                    let bundle = self.host.generations_dir().join(self.name.to_string());
                    let mut places = vec![bundle.join(place::ROOTFS).join(&damaged.path)];
                    places.extend(embedded.as_ref().and_then(|tree| self.embedded_place(tree, digest)));
                    Wanted::File(places)
                }
            };
            Some((labelled(leaf.stat(), label.as_deref()), wanted))
        })?;
        Ok(root)
    }

    /// Lets what the store keeps of our files be whole.
    pub(super) fn make_files_whole(&self, root: DirRef) -> Result<()> {
        let damaged = self.store.examine(root, self.interrupt)?;
        let label = self.store.label(root)?;
        self.mend(&damaged, label.as_deref(), |damaged| {
            let bundle = self.host.generations_dir().join(self.name.to_string());
            let homes = [(BUNDLE, bundle), (ETC, self.host.generation_dir(self.name))];
            let place = homes
                .into_iter()
                .find_map(|(part, home)| Some(home.join(damaged.path.strip_prefix(part).ok()?)))?;
            let wanted = match std::fs::read_link(&place) {
                Ok(text) => Wanted::Link(text.into_os_string().into_string().ok()?),
                Err(_) => Wanted::File(vec![place]),
            };
            Some((kept::stat(label.as_deref()), wanted))
        })
    }

    fn mend(
        &self,
        all: &[Damaged],
        label: Option<&[u8]>,
        should: impl Fn(&Damaged) -> Option<Should>,
    ) -> Result<()> {
        let lock = self.store.no_pruning()?;
        let mut lost = Vec::new();
        for damaged in all {
            let (stat, wanted) = should(damaged)
                .unwrap_or_else(|| (labelled(&Stat::implied(0), label), Wanted::File(Vec::new())));
            match self.store.mend(&damaged.checksum, &stat, &wanted, self.interrupt, &lock)? {
                Mended::Anew => {}
                Mended::TakenOut => lost.push(damaged),
            }
        }
        let Some(first) = lost.first() else { return Ok(()) };
        let container = &self.name.container;
        let more = match lost.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        bail!(
            "object {} of the store, /{} of {}{more}, {} and its bytes are nowhere else, so that it was taken out of the store; \
             `sysctr rollback {container}` or `sysctr reset {container}`, and then `sysctr update {container}` fetches it again",
            first.checksum.hex(),
            first.path,
            self.name,
            first.why,
        );
    }

    /// The root of what the host embeds under the name; what can't be read has nothing to give.
    fn embedded(&self) -> Option<ImageTree> {
        let container = &self.name.container;
        let record = self.host.embedded(container).ok()??;
        let dump = read(&self.host.embedded_bundle(container).join(place::TREE_DUMP)).ok()??;
        dump::unpack(&dump, &record.tree.digest).ok()
    }

    fn embedded_place(&self, tree: &ImageTree, wanted: &Digest) -> Option<Utf8PathBuf> {
        let same = |node: &Node| match node {
            Node::Leaf(id) => matches!(tree.leaf(*id), Leaf::File { digest, .. } if digest == wanted),
            Node::Dir(_) => false,
        };
        let (path, _) = tree.walk().find(|(_, node)| same(node))?;
        let path = Utf8Path::from_path(std::path::Path::new(std::str::from_utf8(path.as_bytes()).ok()?))?;
        Some(self.host.embedded_bundle(&self.name.container).join(place::ROOTFS).join(path))
    }
}
