use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::tree::dump;

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

fn stat(mode: u16) -> Stat {
    Stat::implied(mode)
}

fn file(ordinal: u32) -> Entry {
    let content = Some(ContentId { layer: 0, ordinal });
    let digest = Digest::of(&ordinal.to_le_bytes());
    Entry::Leaf(Leaf::File { stat: stat(0o644), size: 4, digest, content })
}

fn symlink(target: &str) -> Entry {
    Entry::Leaf(Leaf::Symlink { stat: stat(0o777), target: target.as_bytes().into() })
}

fn layer<const N: usize>(added: [(&str, Entry); N]) -> LayerDiff {
    LayerDiff { added: added.map(|(name, entry)| (path(name), entry)).into(), ..LayerDiff::default() }
}

fn without(removed: &[&str], opaque: &[&str], mut diff: LayerDiff) -> LayerDiff {
    diff.removed = removed.iter().map(|name| path(name)).collect();
    diff.opaque = opaque.iter().map(|name| path(name)).collect();
    diff
}

fn build<const N: usize>(layers: [LayerDiff; N]) -> Result<Built, Unfit> {
    let mut builder = Builder::default();
    for diff in layers {
        builder.apply(diff)?;
    }
    Ok(builder.finish())
}

/// Paths of a tree, with `/` for directories, `->` for symbolic links and `=` for second names.
fn listing(built: &Built) -> String {
    let mut first: BTreeMap<LeafId, String> = BTreeMap::new();
    let mut lines = Vec::new();
    for (path, node) in built.tree.walk() {
        let name = String::from_utf8(path.as_bytes().to_vec()).unwrap();
        lines.push(match node {
            Node::Dir(dir) => format!("{name}/{:o}", dir.stat.mode),
            Node::Leaf(id) => match (first.get(id), built.tree.leaf(*id)) {
                (Some(other), _) => format!("{name}={other}"),
                (None, Leaf::Symlink { target, .. }) => format!("{name}->{}", target.escape_ascii()),
                (None, Leaf::File { content, .. }) => {
                    first.insert(*id, name.clone());
                    format!("{name}:{}", content.unwrap().ordinal)
                }
            },
        });
    }
    lines.join(" ")
}

#[test]
fn whiteouts_reach_the_layers_below_only() {
    let lower = || layer([("a/x", file(1)), ("a/y/z", file(2)), ("b", file(3)), ("c/x", file(4))]);
    let upper = without(&["a/y", "b", "none/there"], &["c"], layer([("c/new", file(5)), ("b/in", file(6))]));
    let built = build([lower(), upper]).unwrap();
    assert_eq!(listing(&built), "a/755 a/x:1 b/755 b/in:6 c/755 c/new:5");
    assert_eq!(built.hidden.iter().map(|id| id.ordinal).collect::<Vec<_>>(), [2, 3, 4]);
    let all = without(&[], &[""], layer([("n", file(7))]));
    assert_eq!(listing(&build([lower(), all]).unwrap()), "n:7");
}

#[test]
fn an_opaque_directory_may_take_a_file_s_place() {
    let upper = without(&["f/x"], &["f"], layer([("f", Entry::Dir(stat(0o700))), ("f/new", file(2))]));
    assert_eq!(listing(&build([layer([("f", file(1))]), upper]).unwrap()), "f/700 f/new:2");
}

#[test]
fn an_upper_directory_s_metadata_wins_and_its_content_stays() {
    let built = build([
        layer([("d", Entry::Dir(stat(0o700))), ("d/f", file(1))]),
        layer([("d", Entry::Dir(stat(0o1777))), ("", Entry::Dir(stat(0o711)))]),
    ])
    .unwrap();
    assert_eq!(listing(&built), "d/1777 d/f:1");
    assert_eq!(built.tree.root.stat.mode, 0o711);
}

#[test]
fn files_and_directories_take_each_other_s_place() {
    let built = build([
        layer([("d/f", file(1)), ("f", file(2))]),
        layer([("d", file(3)), ("f", Entry::Dir(stat(0o700))), ("f/g", file(4))]),
    ])
    .unwrap();
    assert_eq!(listing(&built), "d:3 f/700 f/g:4");
}

#[test]
fn the_last_entry_of_a_name_wins() {
    let built = build([layer([
        ("a", file(1)),
        ("a", file(2)),
        ("d", Entry::Dir(stat(0o700))),
        ("d/x", file(3)),
        ("d", file(4)),
        ("e", symlink("d")),
        ("e", Entry::Dir(stat(0o711))),
    ])])
    .unwrap();
    assert_eq!(listing(&built), "a:2 d:4 e/711");
    assert_eq!(built.hidden.iter().map(|id| id.ordinal).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn parents_lead_through_links_as_in_a_chroot_and_the_last_name_does_not() {
    let lower =
        || layer([("usr/lib/a", file(1)), ("lib", symlink("/usr/lib")), ("up", symlink("../../new"))]);
    let through = layer([("lib/b", file(2)), ("up/x", file(3)), ("lib/h", Entry::HardLink(path("lib/a")))]);
    assert_eq!(
        listing(&build([lower(), through]).unwrap()),
        "lib->/usr/lib new/755 new/x:3 up->../../new usr/755 usr/lib/755 usr/lib/a:1 usr/lib/b:2 usr/lib/h=usr/lib/a"
    );
    let replaced = layer([("lib", Entry::Dir(stat(0o755))), ("lib/b", file(2))]);
    assert_eq!(
        listing(&build([lower(), replaced]).unwrap()),
        "lib/755 lib/b:2 up->../../new usr/755 usr/lib/755 usr/lib/a:1"
    );
    let removed = without(&["lib/a"], &[], LayerDiff::default());
    assert_eq!(
        listing(&build([lower(), removed]).unwrap()),
        "lib->/usr/lib up->../../new usr/755 usr/lib/755"
    );
}

#[test]
fn hard_links_across_layers_are_one_leaf() {
    let built = build([
        layer([("a", file(1)), ("s", symlink("a")), ("b", Entry::HardLink(path("a")))]),
        layer([("c", Entry::HardLink(path("b"))), ("t", Entry::HardLink(path("s"))), ("a", file(2))]),
    ])
    .unwrap();
    assert_eq!(listing(&built), "a:2 b:1 c=b s->a t->a");
    let (s, t) = (built.tree.node(&path("s")), built.tree.node(&path("t")));
    assert_eq!(s, t);
    assert!(built.hidden.is_empty());
}

#[test]
fn what_was_left_out_replaces_and_is_replaced() {
    let special = |kind| Entry::LeftOut(kind);
    let built = build([
        layer([
            ("dev/null", special(SpecialKind::CharacterDevice)),
            ("dev/pipe", special(SpecialKind::Fifo)),
            ("gone", file(1)),
            ("later", special(SpecialKind::Socket)),
            ("parent", special(SpecialKind::Fifo)),
        ]),
        without(
            &["dev/pipe"],
            &[],
            layer([
                ("gone", special(SpecialKind::BlockDevice)),
                ("later", file(2)),
                ("null", Entry::HardLink(path("dev/null"))),
                ("parent/x", file(3)),
            ]),
        ),
    ])
    .unwrap();
    assert_eq!(listing(&built), "dev/755 later:2 parent/755 parent/x:3");
    let left_out: Vec<_> = built.left_out.iter().map(|(path, kind)| (path.to_string(), *kind)).collect();
    assert_eq!(
        left_out,
        [
            ("\"/dev/null\"".to_owned(), SpecialKind::CharacterDevice),
            ("\"/gone\"".to_owned(), SpecialKind::BlockDevice),
            ("\"/null\"".to_owned(), SpecialKind::CharacterDevice),
        ]
    );
    let kept = without(&[], &["dev"], LayerDiff::default());
    let cleared = build([layer([("dev/null", special(SpecialKind::CharacterDevice))]), kept]).unwrap();
    assert!(cleared.left_out.is_empty());
}

#[test]
fn what_does_not_fit_says_where() {
    let deep = |name: &str| [name, &"x".repeat(200)].join("/");
    let long = |n: usize| (0..n).fold(String::from("l"), |name, _| deep(&name));
    for (diff, message) in [
        (layer([("f", file(1)), ("f/x", file(2))]), "entry \"/f/x\": its parent \"/f\" is not a directory"),
        (
            layer([("l", symlink("l")), ("l/x", file(2))]),
            "entry \"/l/x\": path \"l\" leads through more than 40 symbolic links",
        ),
        (layer([("", file(1))]), "entry \"/\": the root can only be a directory"),
        (
            layer([("a", file(1)), ("a", Entry::HardLink(path("a")))]),
            "hard link \"/a\" to \"/a\": there is no such file in this layer so far or in the layers below",
        ),
        (
            layer([("a", Entry::HardLink(path("../../etc/x".trim_start_matches("../"))))]),
            "hard link \"/a\" to \"/etc/x\": there is no such file in this layer so far or in the layers below",
        ),
        (
            layer([("d/e", Entry::Dir(stat(0o755))), ("a", Entry::HardLink(path("d")))]),
            "hard link \"/a\" to \"/d\": a directory can't have two names",
        ),
        (
            layer([
                ("l", symlink(&long(12))),
                (&long(12), file(1)),
                ("a", Entry::HardLink(TreePath::root())),
            ]),
            "entry \"/l/",
        ),
    ] {
        let error = build([diff]).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

/// The same rules in the slow and obvious way: a map from paths to things, every path resolved by text.
mod oracle {
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    pub enum Thing {
        Dir(u16),
        File(u32),
        Link(String),
    }

    #[derive(Debug, PartialEq, Eq)]
    pub enum Blocked {
        File,
        Loop,
    }

    #[derive(Debug, Default)]
    pub struct Files(pub BTreeMap<String, Thing>);

    fn above(path: &str) -> &str {
        path.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    impl Files {
        pub fn real(&self, path: &str, links: u32) -> Result<String, Blocked> {
            let mut at = String::new();
            let mut parts = path.split('/').filter(|part| !part.is_empty());
            while let Some(part) = parts.next() {
                if part == ".." {
                    at = above(&at).to_owned();
                    continue;
                }
                if matches!(self.0.get(&at), Some(Thing::File(_))) {
                    return Err(Blocked::File);
                }
                let next = if at.is_empty() { part.to_owned() } else { format!("{at}/{part}") };
                let Some(Thing::Link(target)) = self.0.get(&next) else {
                    at = next;
                    continue;
                };
                let rest = parts.collect::<Vec<_>>().join("/");
                let from = if target.starts_with('/') { "" } else { &at };
                let again = format!("{from}/{target}/{rest}");
                return if links == 40 { Err(Blocked::Loop) } else { self.real(&again, links + 1) };
            }
            if matches!(self.0.get(&at), Some(Thing::File(_))) { Err(Blocked::File) } else { Ok(at) }
        }

        pub fn place(&self, path: &str) -> Result<String, Blocked> {
            let name = path.rsplit('/').next().unwrap();
            let parent = self.real(above(path), 0)?;
            Ok(if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") })
        }

        pub fn remove(&mut self, real: &str) {
            self.0.retain(|at, _| at != real && !at.starts_with(&format!("{real}/")));
        }

        pub fn clear(&mut self, real: &str) {
            self.0.retain(|at, _| !real.is_empty() && !at.starts_with(&format!("{real}/")));
        }

        pub fn add(&mut self, path: &str, thing: Thing) -> Result<(), Blocked> {
            let real = self.place(path)?;
            let mut parent = above(&real).to_owned();
            while !parent.is_empty() {
                self.0.entry(parent.clone()).or_insert(Thing::Dir(0o755));
                parent = above(&parent).to_owned();
            }
            if !matches!((self.0.get(&real), &thing), (Some(Thing::Dir(_)), Thing::Dir(_))) {
                self.remove(&real);
            }
            self.0.insert(real, thing);
            Ok(())
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Remove(String),
    Clear(String),
    Dir(String, u16),
    File(String, u32),
    Link(String, String),
}

fn names() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("/"))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let targets = ("/?", names(), "(/\\.\\.)?").prop_map(|(root, name, up)| format!("{root}{name}{up}"));
    let step = prop_oneof![
        1 => names().prop_map(Step::Remove),
        1 => names().prop_map(Step::Clear),
        3 => (names(), 0u16..0o1000).prop_map(|(name, mode)| Step::Dir(name, mode)),
        5 => (names(), any::<u32>()).prop_map(|(name, id)| Step::File(name, id)),
        2 => (names(), targets).prop_map(|(name, target)| Step::Link(name, target)),
    ];
    proptest::collection::vec(step, 0..8)
}

fn as_diff(steps: &[Step]) -> LayerDiff {
    let mut diff = LayerDiff::default();
    for step in steps {
        match step {
            Step::Remove(name) => drop(diff.removed.insert(path(name))),
            Step::Clear(name) => drop(diff.opaque.insert(path(name))),
            Step::Dir(name, mode) => diff.added.push((path(name), Entry::Dir(stat(*mode)))),
            Step::File(name, id) => diff.added.push((path(name), file(*id))),
            Step::Link(name, target) => diff.added.push((path(name), symlink(target))),
        }
    }
    diff
}

fn by_oracle(layers: &[Vec<Step>]) -> Option<String> {
    let mut files = oracle::Files::default();
    for steps in layers {
        let mut whiteouts: Vec<_> = steps.iter().collect();
        whiteouts.sort_by_key(|step| match step {
            Step::Remove(name) => (0, path(name)),
            Step::Clear(name) => (1, path(name)),
            _ => (2, TreePath::root()),
        });
        for step in whiteouts {
            let done = match step {
                Step::Remove(name) => files.place(name).map(|real| files.remove(&real)),
                Step::Clear(name) => files.real(name, 0).map(|real| files.clear(&real)),
                Step::Dir(name, mode) => files.add(name, oracle::Thing::Dir(*mode)),
                Step::File(name, id) => files.add(name, oracle::Thing::File(*id)),
                Step::Link(name, target) => files.add(name, oracle::Thing::Link(target.clone())),
            };
            match (done, step) {
                (Ok(()), _) | (Err(oracle::Blocked::File), Step::Remove(_) | Step::Clear(_)) => {}
                (Err(_), _) => return None,
            }
        }
    }
    let mut lines: Vec<_> = files.0.into_iter().collect();
    lines.sort_by_key(|(name, _)| path(name));
    let line = |(name, thing)| match thing {
        oracle::Thing::Dir(mode) => format!("{name}/{mode:o}"),
        oracle::Thing::File(id) => format!("{name}:{id}"),
        oracle::Thing::Link(target) => format!("{name}->{target}"),
    };
    Some(lines.into_iter().map(line).collect::<Vec<_>>().join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn layers_add_up_as_the_naive_way_has_it(layers in proptest::collection::vec(steps(), 1..4)) {
        let mut builder = Builder::default();
        let fit = layers.iter().try_for_each(|steps| builder.apply(as_diff(steps)));
        let built = fit.is_ok().then(|| builder.finish());
        prop_assert_eq!(built.as_ref().map(listing), by_oracle(&layers), "{:?}", fit);
        if let Some(built) = built {
            let text = dump::write(&built.tree);
            prop_assert_eq!(dump::write(&dump::read(&text).unwrap()), text);
        }
    }
}
