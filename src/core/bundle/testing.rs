//! Images and settings for tests, made by hand.

use super::Source;
use crate::arch::Architecture;
use crate::digest::Digest;
use crate::image::ImageConfig;
use crate::name::ContainerName;
use crate::settings::Settings;
use crate::tree::{Dir, FileName, ImageTree, Leaf, Node, Stat, TreePath};

/// Everything that a container is made from.
#[derive(Debug)]
pub struct Case {
    pub name: ContainerName,
    pub settings: Settings,
    pub image: ImageConfig,
    pub tree: ImageTree,
    pub passwd: Option<Vec<u8>>,
    pub group: Option<Vec<u8>>,
    pub architecture: Architecture,
}

impl Default for Case {
    /// A container `web` of an image that runs `/bin/web` and has nothing else.
    fn default() -> Self {
        Self {
            name: "web".parse().unwrap(),
            settings: Settings::default(),
            image: ImageConfig { entrypoint: vec!["/bin/web".into()], ..ImageConfig::default() },
            tree: tree(&["bin/", "bin/web"]),
            passwd: None,
            group: None,
            architecture: "amd64".parse().unwrap(),
        }
    }
}

impl Case {
    /// `text` is TOML's inline spelling of settings, as JSON.
    pub fn with_settings(text: &str) -> Self {
        let mut value = serde_json::to_value(Settings::default()).unwrap();
        merge(&mut value, serde_json::from_str(text).unwrap());
        Self { settings: serde_json::from_value(value).unwrap(), ..Self::default() }
    }

    pub fn source(&self) -> Source<'_> {
        Source {
            name: &self.name,
            settings: &self.settings,
            image: &self.image,
            tree: &self.tree,
            passwd: self.passwd.as_deref(),
            group: self.group.as_deref(),
            architecture: self.architecture,
        }
    }
}

fn merge(value: &mut serde_json::Value, over: serde_json::Value) {
    match (value, over) {
        (serde_json::Value::Object(map), serde_json::Value::Object(over)) => {
            for (key, inner) in over {
                merge(map.entry(key).or_insert(serde_json::Value::Null), inner);
            }
        }
        (value, over) => *value = over,
    }
}

/// A tree of lines: `dir/`, `dir/ MODE UID GID`, `file`, `link -> target`; parents stand before.
pub fn tree(lines: &[&str]) -> ImageTree {
    let mut tree = ImageTree::new();
    for line in lines {
        if let Some((name, target)) = line.split_once(" -> ") {
            let target = target.as_bytes().into();
            let leaf = tree.add_leaf(Leaf::Symlink { stat: Stat::implied(0o777), target });
            put(&mut tree, name, Node::Leaf(leaf));
            continue;
        }
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        if let Some(name) = name.strip_suffix('/') {
            let mode = words.next().map_or(0o755, |mode| u16::from_str_radix(mode, 8).unwrap());
            let mut id = || words.next().map_or(0, |id| id.parse().unwrap());
            let stat = Stat { uid: id(), gid: id(), ..Stat::implied(mode) };
            put(&mut tree, name, Node::Dir(Box::new(Dir::empty(stat))));
        } else {
            let digest = Digest::of(b"");
            let leaf =
                tree.add_leaf(Leaf::File { stat: Stat::implied(0o755), size: 0, digest, content: None });
            put(&mut tree, name, Node::Leaf(leaf));
        }
    }
    tree
}

fn put(tree: &mut ImageTree, name: &str, node: Node) {
    let (parents, last) = TreePath::parse(name.as_bytes()).unwrap().split_last().unwrap();
    let mut dir = &mut tree.root;
    for parent in parents {
        match dir.children.get_mut::<FileName>(&parent) {
            Some(Node::Dir(inner)) => dir = inner,
            _ => panic!("{name} has no parent"),
        }
    }
    assert!(dir.children.insert(last, node).is_none(), "{name} stands here twice");
}
