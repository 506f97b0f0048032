//! Finding a path in a tree as a process chrooted into it would, and adding mount targets.

use super::path::quoted;
use super::{Dir, FileName, ImageTree, Leaf, Node, Stat, TreePath};
use crate::digest::Digest;

/// As many links as Linux follows in one path (path_resolution(7), `MAXSYMLINKS`).
const MOST_LINKS: u32 = 40;

/// Where a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// A directory, maybe the root.
    Dir(&'a Dir),
    /// A regular file.
    File(&'a Leaf),
    /// Nothing; [`Resolved::path`] is where it would be, and some of its parents may be missing too.
    Missing,
}

/// A path whose symbolic links were all followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The path without symbolic links, as far as the tree has it; what is missing follows as it was asked for.
    pub path: TreePath,
    /// What lies there.
    pub found: Found<'a>,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// More than 40 symbolic links, as a loop has.
    #[error("path {0} leads through more than 40 symbolic links")]
    Loop(String),
    /// A regular file where a directory is needed.
    #[error("path {0} leads through {1}, which is not a directory")]
    NotADirectory(String, TreePath),
    /// A NUL byte or a component of more than 255 bytes.
    #[error("path {0} has a name that no file system holds")]
    Name(String),
}

/// Why a mount target can't be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotInserted {
    /// Something is there.
    #[error("{0} is there already")]
    Exists(TreePath),
    /// The parent is missing or not a directory.
    #[error("{0} has no parent directory")]
    NoParent(TreePath),
}

impl ImageTree {
    /// Where `path` leads to in a process whose root this tree is: every symbolic link is followed, the last one
    /// too, absolute ones from this root; `..` stays within it. A leading `/` may be missing, it changes nothing.
    ///
    /// Beneath a missing directory `..` is taken by name.
    ///
    /// # Errors
    /// When links form a loop, a file stands where a directory is needed, or a name is none.
    pub fn resolve(&self, path: &[u8]) -> Result<Resolved<'_>, Unresolved> {
        let mut trail = Trail::new(self);
        let mut rest = pending(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                trail.up();
                continue;
            }
            let name = FileName::new(&name).ok_or_else(|| Unresolved::Name(quoted(path)))?;
            let Some(target) = trail.down(name).map_err(|at| Unresolved::NotADirectory(quoted(path), at))?
            else {
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(Unresolved::Loop(quoted(path)));
            }
            if target.first() == Some(&b'/') {
                trail = Trail::new(self);
            }
            rest.extend(pending(target));
        }
        Ok(trail.end())
    }

    /// Adds a directory for a mount: root's, 0755, no time stamp. `path` has no symbolic link in it
    /// ([`Resolved::path`]).
    ///
    /// # Errors
    /// When something is there already or the parent is not a directory; the tree is as it was then.
    pub fn insert_directory(&mut self, path: &TreePath) -> Result<(), NotInserted> {
        self.insert(path, |_| Node::Dir(Box::new(Dir::empty(Stat::implied(0o755)))))
    }

    /// Adds an empty file for a mount: root's, 0644, no time stamp. As [`Self::insert_directory`] else.
    ///
    /// # Errors
    /// When something is there already or the parent is not a directory; the tree is as it was then.
    pub fn insert_file(&mut self, path: &TreePath) -> Result<(), NotInserted> {
        self.insert(path, |tree| {
            let (stat, digest) = (Stat::implied(0o644), Digest::of(b""));
            Node::Leaf(tree.add_leaf(Leaf::File { stat, size: 0, digest, content: None }))
        })
    }

    fn insert(&mut self, path: &TreePath, make: impl FnOnce(&mut Self) -> Node) -> Result<(), NotInserted> {
        let exists = || NotInserted::Exists(path.clone());
        let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(exists)?;
        let dir = self.dir(&parent).ok_or_else(|| NotInserted::NoParent(path.clone()))?;
        if dir.children.contains_key(&name) {
            return Err(exists());
        }
        let node = make(self);
        if let Some(dir) = self.dir_mut(&parent) {
            dir.children.insert(name, node);
        }
        Ok(())
    }

    /// The directory at `path`, no symbolic link followed.
    pub(super) fn dir(&self, path: &TreePath) -> Option<&Dir> {
        path.parts().try_fold(&self.root, |dir, part| match dir.children.get(part) {
            Some(Node::Dir(inner)) => Some(&**inner),
            _ => None,
        })
    }

    /// The directory at `path`, no symbolic link followed.
    pub(crate) fn dir_mut(&mut self, path: &TreePath) -> Option<&mut Dir> {
        path.parts().try_fold(&mut self.root, |dir, part| match dir.children.get_mut(part) {
            Some(Node::Dir(inner)) => Some(&mut **inner),
            _ => None,
        })
    }
}

/// The components of `path` but `.`, the first one last, so that a stack yields them in order.
fn pending(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.rev().map(<[u8]>::to_vec).collect()
}

/// The way from the root to where a resolution stands: directories, maybe a file, maybe names that lead to nothing.
struct Trail<'a> {
    tree: &'a ImageTree,
    dirs: Vec<&'a Dir>,
    file: Option<&'a Leaf>,
    names: Vec<FileName>,
}

impl<'a> Trail<'a> {
    fn new(tree: &'a ImageTree) -> Self {
        Self { tree, dirs: vec![&tree.root], file: None, names: Vec::new() }
    }

    fn missing(&self) -> bool {
        self.file.is_none() && self.names.len() >= self.dirs.len()
    }

    fn path(&self) -> TreePath {
        self.names.iter().fold(TreePath::root(), |path, name| path.join(name))
    }

    fn up(&mut self) {
        if self.file.take().is_none() && !self.missing() && self.dirs.len() > 1 {
            self.dirs.pop();
        }
        self.names.pop();
    }

    /// Goes to `name`; if that is a symbolic link, stays and gives its target. Fails with the path of a file that
    /// stands where a directory is needed.
    fn down(&mut self, name: FileName) -> Result<Option<&'a [u8]>, TreePath> {
        if self.file.is_some() {
            return Err(self.path());
        }
        let node = if self.missing() { None } else { self.dirs[self.dirs.len() - 1].children.get(&name) };
        match node {
            Some(Node::Dir(dir)) => self.dirs.push(dir),
            Some(Node::Leaf(id)) => match self.tree.leaf(*id) {
                Leaf::Symlink { target, .. } => return Ok(Some(target)),
                file @ Leaf::File { .. } => self.file = Some(file),
            },
            None => {}
        }
        self.names.push(name);
        Ok(None)
    }

    fn end(self) -> Resolved<'a> {
        let found = match self.file {
            Some(file) => Found::File(file),
            None if self.missing() => Found::Missing,
            None => Found::Dir(self.dirs[self.dirs.len() - 1]),
        };
        Resolved { path: self.path(), found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap()
    }

    fn tree() -> ImageTree {
        let mut tree = ImageTree::new();
        for dir in ["etc", "run", "usr", "usr/bin", "var"] {
            tree.insert_directory(&path(dir)).unwrap();
        }
        tree.insert_file(&path("etc/passwd")).unwrap();
        for (name, target) in [
            ("var/run", "/run"),
            ("bin", "usr/bin"),
            ("var/out", "../../../../etc"),
            ("etc/mtab", "../proc/self/mounts"),
            ("loop", "./loop"),
            ("etc/dot", "./../etc/passwd"),
            ("chain", "var/run/../out"),
        ] {
            let stat = Stat::implied(0o777);
            let target = target.as_bytes().into();
            tree.insert(&path(name), |tree| Node::Leaf(tree.add_leaf(Leaf::Symlink { stat, target })))
                .unwrap();
        }
        tree
    }

    #[test]
    fn links_are_followed_beneath_the_root() {
        let tree = tree();
        let kind = |found: &Found<'_>| match found {
            Found::Dir(_) => 'd',
            Found::File(_) => 'f',
            Found::Missing => '-',
        };
        for (asked, led_to, found) in [
            ("/", "", 'd'),
            ("", "", 'd'),
            ("/etc/./passwd", "etc/passwd", 'f'),
            ("var/run", "run", 'd'),
            ("/var/run/x/y", "run/x/y", '-'),
            ("/bin/", "usr/bin", 'd'),
            ("/bin/sh", "usr/bin/sh", '-'),
            ("/var/out/passwd", "etc/passwd", 'f'),
            ("/../../etc/passwd", "etc/passwd", 'f'),
            ("/etc/mtab", "proc/self/mounts", '-'),
            ("/etc/dot", "etc/passwd", 'f'),
            // `var/run/..` is the parent of /run, not of the link.
            ("/chain", "out", '-'),
            ("/new/a/../b", "new/b", '-'),
            ("/new/../etc/passwd", "etc/passwd", 'f'),
            ("/bin/..", "usr", 'd'),
        ] {
            let resolved = tree.resolve(asked.as_bytes()).unwrap();
            assert_eq!((resolved.path, kind(&resolved.found)), (path(led_to), found), "{asked}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_an_error() {
        let tree = tree();
        for (asked, message) in [
            ("/loop/x", "path \"/loop/x\" leads through more than 40 symbolic links"),
            (
                "/etc/passwd/x",
                "path \"/etc/passwd/x\" leads through \"/etc/passwd\", which is not a directory",
            ),
            ("/a\0b", "path \"/a\\0b\" has a name that no file system holds"),
        ] {
            assert_eq!(tree.resolve(asked.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_mount_target_is_added_once_and_below_a_directory() {
        let mut tree = tree();
        assert_eq!(tree.insert_file(&path("etc")), Err(NotInserted::Exists(path("etc"))));
        assert_eq!(tree.insert_directory(&TreePath::root()), Err(NotInserted::Exists(TreePath::root())));
        for orphan in ["a/b", "etc/passwd/x", "bin/x"] {
            assert_eq!(tree.insert_directory(&path(orphan)), Err(NotInserted::NoParent(path(orphan))));
        }
        tree.insert_file(&path("etc/resolv.conf")).unwrap();
        let Found::File(Leaf::File { stat, size: 0, digest, content: None }) =
            tree.resolve(b"/etc/resolv.conf").unwrap().found
        else {
            panic!("not an empty file");
        };
        assert_eq!((stat, *digest), (&Stat::implied(0o644), Digest::of(b"")));
    }
}
