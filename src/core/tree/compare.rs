//! Where two trees differ, for people.

use std::collections::BTreeMap;

use super::path::quoted;
use super::{Dir, ImageTree, Leaf, LeafId, Mtime, Node, Stat, TreePath, Xattrs};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: TreePath,
    /// What, one clause: `is missing`, `mode is 0755, not 0644`.
    pub what: String,
}

/// Lists in path order where `found` differs from `expected`. Entries for which `expected` has no time stamp must
/// have that of `implied`. Content ids are not compared.
pub fn differences(expected: &ImageTree, found: &ImageTree, implied: Mtime) -> Vec<Difference> {
    let mut comparison = Comparison { implied, differences: Vec::new() };
    comparison.stats(&TreePath::root(), &expected.root.stat, &found.root.stat);
    let (first_names, found_first_names) = (first_names(expected), first_names(found));
    let mut left = expected.walk().peekable();
    let mut right = found.walk().peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let wanted = if order.is_le() { left.next() } else { None };
        let there = if order.is_ge() { right.next() } else { None };
        match (wanted, there) {
            (Some((path, _)), None) => comparison.add(&path, "is missing".to_owned()),
            (None, Some((path, _))) => comparison.add(&path, "is not of the image".to_owned()),
            (Some((path, Node::Dir(a))), Some((_, Node::Dir(b)))) => comparison.dirs(&path, a, b),
            (Some((path, Node::Leaf(a))), Some((_, Node::Leaf(b)))) => {
                comparison.leaves(&path, expected.leaf(*a), found.leaf(*b));
                comparison.names(&path, first_names.get(a), found_first_names.get(b));
            }
            (Some((path, Node::Dir(_))), Some(_)) => comparison.add(&path, "is no directory".to_owned()),
            (Some((path, Node::Leaf(_))), Some(_)) => comparison.add(&path, "is a directory".to_owned()),
            (None, None) => break,
        }
    }
    comparison.differences
}

/// Whether `found` may be `expected` out of an OSTree commit, which keeps neither time stamps nor hard links: no entry has the time stamp
/// that it should have. Those that should have 0, ostree's own, tell nothing. Then [`ImageTree::as_committed`] is what can be compared.
pub fn lost_its_times(expected: &ImageTree, found: &ImageTree, implied: Mtime) -> bool {
    let time = |tree: &ImageTree, node: &Node| {
        let stat = match node {
            Node::Dir(dir) => &dir.stat,
            Node::Leaf(id) => tree.leaf(*id).stat(),
        };
        stat.mtime.unwrap_or(implied)
    };
    let there: BTreeMap<_, _> = found.walk().map(|(path, node)| (path, time(found, node))).collect();
    let telling = |wanted: &Mtime| wanted.seconds != 0;
    let mut wanted = expected.walk().map(|(path, node)| (path, time(expected, node)));
    wanted.all(|(path, wanted)| !telling(&wanted) || there.get(&path).is_none_or(|there| *there != wanted))
}

/// Of each leaf, the first of its names.
fn first_names(tree: &ImageTree) -> BTreeMap<LeafId, TreePath> {
    let mut names = BTreeMap::new();
    for (path, node) in tree.walk() {
        if let Node::Leaf(id) = node {
            names.entry(*id).or_insert(path);
        }
    }
    names
}

struct Comparison {
    implied: Mtime,
    differences: Vec<Difference>,
}

impl Comparison {
    fn add(&mut self, path: &TreePath, what: String) {
        self.differences.push(Difference { path: path.clone(), what });
    }

    fn dirs(&mut self, path: &TreePath, expected: &Dir, found: &Dir) {
        self.stats(path, &expected.stat, &found.stat);
    }

    fn leaves(&mut self, path: &TreePath, expected: &Leaf, found: &Leaf) {
        match (expected, found) {
            (Leaf::File { size: a, digest: c, .. }, Leaf::File { size: b, digest: d, .. }) => {
                if a != b {
                    self.add(path, format!("has {b} bytes, not {a}"));
                } else if c != d {
                    self.add(path, format!("its content is {d}, not {c}"));
                }
            }
            (Leaf::Symlink { target: a, .. }, Leaf::Symlink { target: b, .. }) => {
                if a != b {
                    self.add(path, format!("links to {}, not {}", quoted(b), quoted(a)));
                }
            }
            (Leaf::File { .. }, Leaf::Symlink { .. }) => {
                return self.add(path, "is a symbolic link, not a regular file".to_owned());
            }
            (Leaf::Symlink { .. }, Leaf::File { .. }) => {
                return self.add(path, "is a regular file, not a symbolic link".to_owned());
            }
        }
        self.stats(path, expected.stat(), found.stat());
    }

    fn stats(&mut self, path: &TreePath, expected: &Stat, found: &Stat) {
        if expected.mode != found.mode {
            self.add(path, format!("mode is {:04o}, not {:04o}", found.mode, expected.mode));
        }
        if (expected.uid, expected.gid) != (found.uid, found.gid) {
            let (a, b) = (expected, found);
            self.add(path, format!("owner is {}:{}, not {}:{}", b.uid, b.gid, a.uid, a.gid));
        }
        let (wanted, there) = (expected.mtime.unwrap_or(self.implied), found.mtime.unwrap_or(self.implied));
        if wanted != there {
            let spell = |time: Mtime| format!("{}.{:09}", time.seconds, time.nanoseconds);
            self.add(path, format!("mtime is {}, not {}", spell(there), spell(wanted)));
        }
        if expected.xattrs != found.xattrs {
            let what = format!("attributes are {}, not {}", list(&found.xattrs), list(&expected.xattrs));
            self.add(path, what);
        }
    }

    /// Names of one inode here must be names of one inode there: the first of them tells.
    fn names(&mut self, path: &TreePath, expected: Option<&TreePath>, found: Option<&TreePath>) {
        if expected == found {
            return;
        }
        let what = match expected {
            Some(first) if first != path => format!("is no hard link to {first}"),
            _ => format!("is a hard link to {}", found.map(ToString::to_string).unwrap_or_default()),
        };
        self.add(path, what);
    }
}

fn list(xattrs: &Option<Box<Xattrs>>) -> String {
    let Some(xattrs) = xattrs else {
        return "none".to_owned();
    };
    let pairs = xattrs.iter();
    let spelled = pairs.map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()));
    spelled.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::tree::FileName;

    fn file(mode: u16, text: &str) -> Leaf {
        let stat = Stat { mtime: None, ..Stat::implied(mode) };
        Leaf::File { stat, size: text.len() as u64, digest: Digest::of(text.as_bytes()), content: None }
    }

    fn tree(files: &[(&str, Leaf)], links: &[(&str, usize)]) -> ImageTree {
        let mut tree = ImageTree::new();
        let mut ids = Vec::new();
        for (name, leaf) in files {
            let id = tree.add_leaf(leaf.clone());
            ids.push(id);
            tree.root.children.insert(FileName::new(name.as_bytes()).unwrap(), Node::Leaf(id));
        }
        for (name, index) in links {
            tree.root.children.insert(FileName::new(name.as_bytes()).unwrap(), Node::Leaf(ids[*index]));
        }
        tree
    }

    fn told(a: &ImageTree, b: &ImageTree) -> Vec<String> {
        let implied = Mtime { seconds: 1, nanoseconds: 0 };
        differences(a, b, implied).iter().map(|it| format!("{} {}", it.path, it.what)).collect()
    }

    #[test]
    fn equal_trees_do_not_differ() {
        let one = tree(&[("a", file(0o644, "x")), ("b", file(0o600, "y"))], &[("c", 0)]);
        assert_eq!(told(&one, &one.clone()), Vec::<String>::new());
    }

    #[test]
    fn a_tree_out_of_a_commit_is_told_by_its_times() {
        let (implied, ostree) = (Mtime { seconds: 1, nanoseconds: 0 }, Mtime { seconds: 0, nanoseconds: 0 });
        let at = |leaf: Leaf, mtime: Mtime| {
            let mut leaf = leaf;
            leaf.stat_mut().mtime = Some(mtime);
            leaf
        };
        let files =
            |a: Mtime, b: Mtime| tree(&[("a", at(file(0o644, "x"), a)), ("b", at(file(0o600, "y"), b))], &[]);
        let (seven, eight) = (Mtime { seconds: 7, nanoseconds: 0 }, Mtime { seconds: 8, nanoseconds: 0 });
        let image = files(seven, implied);
        assert!(lost_its_times(&image, &files(ostree, ostree), implied));
        assert!(lost_its_times(&image, &files(eight, eight), implied));
        assert!(!lost_its_times(&image, &files(ostree, implied), implied));
        assert!(!lost_its_times(&image, &files(seven, ostree), implied));
        assert!(lost_its_times(&files(ostree, seven), &files(ostree, ostree), implied));
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        let one = tree(&[("a", file(0o644, "x")), ("b", file(0o600, "y"))], &[("c", 0)]);
        let other = tree(&[("a", file(0o755, "x")), ("c", file(0o644, "x")), ("d", file(0o644, ""))], &[]);
        assert_eq!(
            told(&one, &other),
            [
                "\"/a\" mode is 0755, not 0644",
                "\"/b\" is missing",
                "\"/c\" is no hard link to \"/a\"",
                "\"/d\" is not of the image"
            ]
        );
        let link = Leaf::Symlink { stat: Stat::implied(0o777), target: b"a".as_slice().into() };
        let linked = tree(&[("a", file(0o644, "z")), ("b", link), ("c", file(0o644, "x"))], &[]);
        assert_eq!(told(&one, &linked)[1], "\"/b\" is a symbolic link, not a regular file");
        assert!(told(&one, &linked)[0].starts_with("\"/a\" its content is sha256:"));
    }
}
