//! A container whose root stands in another commit already, made from equal inputs: no layer is read. What depends on the
//! target (its users, its places for host files, what it has already) is decided anew, by the same road.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use camino::Utf8PathBuf;
use sysctr_core::digest::Digest;
use sysctr_core::place;
use sysctr_core::placement::{Body, Ground, PlacedLeaf};
use sysctr_core::prepare::Target;
use sysctr_core::record::Record;
use sysctr_core::tree::{ContentId, Dir, ImageTree, Leaf, LeafId, Node, TreePath, dump};

use super::{Chosen, Embedded, Source};

/// No dump is larger.
const MAX_DUMP_BYTES: u64 = 1 << 30;

/// A container that stands somewhere.
pub struct Standing<'a> {
    /// Where.
    pub ground: &'a dyn Ground,
    /// Its record.
    pub record: &'a Record,
}

impl Chosen<'_> {
    /// Decides everything about the container as [`Chosen::embed`] does, by its root that stands already and has equal
    /// inputs. `None` when the target asks for another root (other mount targets).
    ///
    /// # Errors
    /// When what stands there can't be read or is not what its record says, or image and settings don't make a
    /// container.
    pub fn adopt(&self, standing: &Standing<'_>, target: &dyn Target) -> Result<Option<Embedded>> {
        let doing =
            || format!("embedding container {} by its root in an earlier commit", self.container.name);
        let root = Root::read(standing).with_context(doing)?;
        let read = |id, max| root.read_content(standing, id, max);
        let left_out = standing.record.tree.left_out.clone();
        let source = Source { tree: root.tree.clone(), left_out, read: &read };
        let mut embedded = self.settle(source, target).with_context(doing)?;
        if embedded.draft.record.tree != standing.record.tree {
            return Ok(None);
        }
        for (_, leaf) in &mut embedded.draft.placed {
            let PlacedLeaf::Brought(brought) = leaf else { continue };
            if let Body::Content { id, size, digest, .. } = &brought.body {
                let bytes = read(*id, *size).with_context(doing)?;
                ensure!(Digest::of(&bytes) == *digest, "{}: its content is another", doing());
                brought.body = Body::Bytes(bytes);
            }
        }
        Ok(Some(embedded))
    }
}

/// The image's root, as it was before mount targets were made.
struct Root {
    tree: ImageTree,
    /// Where the contents lie.
    paths: BTreeMap<ContentId, TreePath>,
}

impl Root {
    fn read(standing: &Standing<'_>) -> Result<Self> {
        let record = standing.record;
        let path = place::bundle(&record.name).join(place::TREE_DUMP);
        let compressed = standing.ground.read(&path, MAX_DUMP_BYTES)?;
        let compressed = compressed.with_context(|| format!("{path} is missing"))?;
        let text = zstd::decode_all(&compressed[..]).with_context(|| format!("reading {path}"))?;
        ensure!(Digest::of(&text) == record.tree.digest, "{path} is not the dump that the record names");
        let mut tree = dump::read(&text)?;
        // Children come after their parents.
        for target in record.tree.mount_targets.iter().rev() {
            let path = TreePath::parse(target.trim_start_matches('/').as_bytes())?;
            take_out(&mut tree, &path).with_context(|| format!("taking out the mount target {target}"))?;
        }
        let mut contents = Vec::new();
        for (path, node) in tree.walk() {
            if let Node::Leaf(id) = node {
                contents.push((*id, path));
            }
        }
        let mut paths = BTreeMap::new();
        for (ordinal, (id, path)) in (0..).zip(contents) {
            number(&mut tree, id, ordinal, path, &mut paths);
        }
        Ok(Self { tree, paths })
    }

    fn read_content(&self, standing: &Standing<'_>, id: ContentId, max: u64) -> Result<Vec<u8>> {
        let path = self.paths.get(&id).context("it has no such content")?;
        let path = std::str::from_utf8(path.as_bytes()).context("its path is no UTF-8")?;
        let path: Utf8PathBuf = place::bundle(&standing.record.name).join(place::ROOTFS).join(path);
        let bytes = standing.ground.read(&path, max)?;
        bytes.with_context(|| format!("{path} is missing"))
    }
}

/// Gives the content of a leaf its number, unless another of its names did.
fn number(
    tree: &mut ImageTree,
    id: LeafId,
    ordinal: u32,
    path: TreePath,
    paths: &mut BTreeMap<ContentId, TreePath>,
) {
    if let Leaf::File { size, content: content @ None, .. } = tree.leaf_mut(id)
        && *size > 0
    {
        let id = ContentId { layer: 0, ordinal };
        *content = Some(id);
        paths.insert(id, path);
    }
}

fn take_out(tree: &mut ImageTree, path: &TreePath) -> Result<()> {
    let (parent, name) = path.parent().zip(path.file_name()).context("it is the root")?;
    let mut dir: &mut Dir = &mut tree.root;
    for part in parent.components() {
        match dir.children.get_mut(&part) {
            Some(Node::Dir(inner)) => dir = inner,
            _ => anyhow::bail!("its parent is no directory"),
        }
    }
    match dir.children.remove(&name) {
        None => anyhow::bail!("it is not there"),
        Some(Node::Dir(taken)) => {
            ensure!(taken.children.is_empty(), "something lies in it");
            Ok(())
        }
        Some(Node::Leaf(_)) => Ok(()),
    }
}
