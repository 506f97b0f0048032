//! How layers change a tree: one layer as a value, and a tree that layers are applied to (OCI image specification,
//! "Image Layer Filesystem Changeset").

pub mod text;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::lookup::{Resolved, Unresolved};
use super::path::LONGEST_PATH;
use super::{ContentId, Dir, FileName, Found, ImageTree, Leaf, LeafId, Node, SpecialKind, Stat, TreePath};

/// What one layer does. What it removes is removed from the layers below only, so where a whiteout stands in the
/// layer does not matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LayerDiff {
    /// Paths that the layers below lose, with all that is beneath.
    pub removed: BTreeSet<TreePath>,
    /// Directories that lose all that the layers below have in them.
    pub opaque: BTreeSet<TreePath>,
    /// Entries in the layer's order: a later one replaces an earlier one of its name.
    pub added: Vec<(TreePath, Entry)>,
}

/// What a layer has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory: becomes the metadata of one that is there already, else an empty one.
    Dir(Stat),
    /// A file or a symbolic link.
    Leaf(Leaf),
    /// Another name for the leaf at that path.
    HardLink(TreePath),
    /// What no host image can carry; it replaces what was there all the same.
    LeftOut(SpecialKind),
}

/// Why a layer can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The way to an entry leads through a file or a loop of links.
    #[error("entry {path}: {why}")]
    Parent {
        /// The entry.
        path: TreePath,
        /// What is wrong.
        why: String,
    },
    /// The root is something else than a directory.
    #[error("entry {0}: the root can only be a directory")]
    Root(TreePath),
    /// A hard link to nothing.
    #[error("hard link {0} to {1}: there is no such file in this layer so far or in the layers below")]
    NoTarget(TreePath, TreePath),
    /// A hard link to a directory.
    #[error("hard link {0} to {1}: a directory can't have two names")]
    DirTarget(TreePath, TreePath),
    /// Longer than any path of Linux.
    #[error("entry {0}: its path is longer than 4095 bytes once symbolic links are followed")]
    TooLong(TreePath),
}

/// A tree that layers are applied to, from the base upwards.
#[derive(Debug, Default)]
pub struct Builder {
    tree: ImageTree,
    left_out: BTreeMap<TreePath, SpecialKind>,
}

/// All layers, applied.
#[derive(Debug)]
pub struct Built {
    /// The tree; it holds no leaf without a name.
    pub tree: ImageTree,
    /// What would be in the tree if it could.
    pub left_out: BTreeMap<TreePath, SpecialKind>,
    /// Contents of files that are not in the tree any more.
    pub hidden: Vec<ContentId>,
}

impl Builder {
    /// Applies the next layer: first what it removes, then what it adds, in its order.
    ///
    /// A path's parents lead through symbolic links as they do for a process in this root, its last name does not;
    /// parents that nothing names are made (0755, root's). This is how umoci and containerd unpack.
    ///
    /// # Errors
    /// When an entry can't be where it wants to be; the builder is worthless then.
    pub fn apply(&mut self, diff: LayerDiff) -> Result<(), Unfit> {
        for path in &diff.removed {
            self.remove(path)?;
        }
        for path in &diff.opaque {
            self.clear(path)?;
        }
        for (path, entry) in diff.added {
            self.add(&path, entry)?;
        }
        Ok(())
    }

    /// The tree with all layers applied.
    pub fn finish(mut self) -> Built {
        let hidden = self.tree.drop_nameless();
        Built { tree: self.tree, left_out: self.left_out, hidden }
    }

    fn remove(&mut self, path: &TreePath) -> Result<(), Unfit> {
        // Beneath a file there is nothing to remove: a directory that takes a file's place may be opaque.
        if let Some((parent, name)) = path.parent().zip(path.file_name())
            && let Some(parent) = self.real(&parent, path)?
        {
            self.remove_at(&parent, &name);
        }
        Ok(())
    }

    fn remove_at(&mut self, parent: &TreePath, name: &FileName) {
        if let Some(dir) = self.tree.dir_mut(parent) {
            dir.children.remove(name);
        }
        self.forget_left_out(&parent.join(name), true);
    }

    fn clear(&mut self, path: &TreePath) -> Result<(), Unfit> {
        let Some(real) = self.real(path, path)? else { return Ok(()) };
        let real = real.into_owned();
        if let Some(dir) = self.tree.dir_mut(&real) {
            dir.children.clear();
            self.forget_left_out(&real, false);
        }
        Ok(())
    }

    fn add(&mut self, path: &TreePath, entry: Entry) -> Result<(), Unfit> {
        let Some((parent, name)) = self.locate(path)? else {
            let Entry::Dir(stat) = entry else { return Err(Unfit::Root(path.clone())) };
            self.tree.root.stat = stat;
            return Ok(());
        };
        if parent.as_bytes().len() + 1 + name.as_bytes().len() > LONGEST_PATH {
            return Err(Unfit::TooLong(path.clone()));
        }
        self.make_parents(&parent, path)?;
        if let Entry::Dir(stat) = entry {
            self.add_dir(&parent, name, stat);
            return Ok(());
        }
        // Before a hard link's target is looked up: a link to itself is one to nothing.
        self.remove_at(&parent, &name);
        let id = match entry {
            Entry::Leaf(leaf) => Some(self.tree.add_leaf(leaf)),
            Entry::HardLink(target) => self.link_target(path, &target, &parent.join(&name))?,
            Entry::LeftOut(kind) => {
                self.left_out.insert(parent.join(&name), kind);
                None
            }
            Entry::Dir(_) => None,
        };
        if let Some((id, dir)) = id.zip(self.tree.dir_mut(&parent)) {
            dir.children.insert(name, Node::Leaf(id));
        }
        Ok(())
    }

    fn add_dir(&mut self, parent: &TreePath, name: FileName, stat: Stat) {
        if let Some(dir) = self.tree.dir_mut(parent) {
            match dir.children.get_mut(&name) {
                Some(Node::Dir(there)) => there.stat = stat,
                _ => {
                    self.left_out.remove(&parent.join(&name));
                    dir.children.insert(name, Node::Dir(Box::new(Dir::empty(stat))));
                }
            }
        }
    }

    /// The leaf that `target` names; `None` if that was left out, and then `real` is too.
    fn link_target(
        &mut self,
        path: &TreePath,
        target: &TreePath,
        real: &TreePath,
    ) -> Result<Option<LeafId>, Unfit> {
        let missing = || Unfit::NoTarget(path.clone(), target.clone());
        let directory = || Unfit::DirTarget(path.clone(), target.clone());
        let (parent, name) = self.locate_for(target, path)?.ok_or_else(directory)?;
        let node = self.tree.dir(&parent).and_then(|dir| dir.children.get(&name));
        match node {
            Some(Node::Leaf(id)) => Ok(Some(*id)),
            Some(Node::Dir(_)) => Err(directory()),
            None => {
                let kind = *self.left_out.get(&parent.join(&name)).ok_or_else(missing)?;
                self.left_out.insert(real.clone(), kind);
                Ok(None)
            }
        }
    }

    /// The real directory and the name of `path`; `None` for the root.
    fn locate(&self, path: &TreePath) -> Result<Option<(TreePath, FileName)>, Unfit> {
        self.locate_for(path, path)
    }

    fn locate_for(&self, path: &TreePath, entry: &TreePath) -> Result<Option<(TreePath, FileName)>, Unfit> {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(None) };
        let real = self.real(&parent, entry)?.map(Cow::into_owned);
        real.map(|real| Some((real, name))).ok_or_else(|| not_a_directory(entry, &parent))
    }

    /// `path` with its symbolic links followed, `None` if a file is in the way; for `entry`, which the error names.
    fn real<'p>(&self, path: &'p TreePath, entry: &TreePath) -> Result<Option<Cow<'p, TreePath>>, Unfit> {
        let mut dir = &self.tree.root;
        for part in path.parts() {
            match dir.children.get(part) {
                Some(Node::Dir(inner)) => dir = inner,
                Some(Node::Leaf(_)) => return Ok(self.followed(path, entry)?.map(Cow::Owned)),
                None => break,
            }
        }
        Ok(Some(Cow::Borrowed(path)))
    }

    fn followed(&self, path: &TreePath, entry: &TreePath) -> Result<Option<TreePath>, Unfit> {
        match self.tree.resolve(path.as_bytes()) {
            Ok(Resolved { found: Found::File(_), .. }) | Err(Unresolved::NotADirectory(..)) => Ok(None),
            Ok(Resolved { path, .. }) => Ok(Some(path)),
            Err(error) => Err(Unfit::Parent { path: entry.clone(), why: error.to_string() }),
        }
    }

    /// Makes the directories of `parent` that are missing.
    fn make_parents(&mut self, parent: &TreePath, entry: &TreePath) -> Result<(), Unfit> {
        let mut dir = &mut self.tree.root;
        let mut made = None;
        for (depth, part) in parent.parts().enumerate() {
            if !dir.children.contains_key(part) {
                let name = FileName::new(part).ok_or_else(|| Unfit::TooLong(entry.clone()))?;
                dir.children.insert(name, Node::Dir(Box::new(Dir::empty(Stat::implied(0o755)))));
                made.get_or_insert(depth);
            }
            match dir.children.get_mut(part) {
                Some(Node::Dir(inner)) => dir = inner,
                // `real` followed every link, so this is none.
                _ => return Err(not_a_directory(entry, parent)),
            }
        }
        if let Some(depth) = made.filter(|_| !self.left_out.is_empty()) {
            let mut path = TreePath::root();
            for (at, name) in parent.components().enumerate() {
                path = path.join(&name);
                if at >= depth {
                    self.left_out.remove(&path);
                }
            }
        }
        Ok(())
    }

    /// Strikes what was left out beneath `path`, and `path` itself if `also_itself`.
    fn forget_left_out(&mut self, path: &TreePath, also_itself: bool) {
        if self.left_out.is_empty() {
            return;
        }
        let beneath = self.left_out.range(path.clone()..).map(|(at, _)| at);
        let gone = beneath.take_while(|at| at.starts_with(path)).filter(|at| also_itself || *at != path);
        for at in gone.cloned().collect::<Vec<_>>() {
            self.left_out.remove(&at);
        }
    }
}

impl ImageTree {
    /// Drops the leaves that have no name (any more), and tells their contents.
    fn drop_nameless(&mut self) -> Vec<ContentId> {
        let mut named = vec![false; self.leaves.len()];
        each_name(&mut self.root, &mut |id| named[id.0 as usize] = true);
        if named.iter().all(|named| *named) {
            return Vec::new();
        }
        let mut hidden = Vec::new();
        let mut at = named.iter();
        self.leaves.retain(|leaf| {
            let keep = at.next() == Some(&true);
            if let (false, Leaf::File { content: Some(content), .. }) = (keep, leaf) {
                hidden.push(*content);
            }
            keep
        });
        let mut next = 0;
        let renamed: Vec<u32> = named
            .iter()
            .map(|named| {
                next += u32::from(*named);
                next.saturating_sub(1)
            })
            .collect();
        each_name(&mut self.root, &mut |id| *id = LeafId(renamed[id.0 as usize]));
        hidden
    }
}

fn not_a_directory(entry: &TreePath, parent: &TreePath) -> Unfit {
    Unfit::Parent { path: entry.clone(), why: format!("its parent {parent} is not a directory") }
}

/// Calls `act` for every name of a leaf.
fn each_name(dir: &mut Dir, act: &mut impl FnMut(&mut LeafId)) {
    // Depth is bounded by the longest path, which has at most 2048 names.
    for node in dir.children.values_mut() {
        match node {
            Node::Leaf(id) => act(id),
            Node::Dir(inner) => each_name(inner, act),
        }
    }
}

#[cfg(test)]
mod tests;
