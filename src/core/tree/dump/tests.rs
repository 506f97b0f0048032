use proptest::prelude::*;

use super::*;
use crate::tree::{Builder, ContentId, Entry, LayerDiff, Xattrs};

fn sample() -> ImageTree {
    let stat = |mode, seconds, nanoseconds| Stat {
        uid: 1000,
        gid: 4_000_000_000,
        mode,
        mtime: Some(Mtime { seconds, nanoseconds }),
        xattrs: None,
    };
    let xattrs: Xattrs = [
        ((*b"security.capability").as_slice().into(), (*b"\x01\0").as_slice().into()),
        ((*b"user.a=b c").as_slice().into(), Box::default()),
    ]
    .into();
    let mut capable = stat(0o4755, -2, 500_000_000);
    capable.xattrs = Some(Box::new(xattrs));
    let content = Some(ContentId { layer: 0, ordinal: 1 });
    let added = [
        (&b"z"[..], Entry::Dir(stat(0o1777, 0, 0))),
        (
            b"a/sbin\xff",
            Entry::Leaf(Leaf::File { stat: capable, size: 3, digest: Digest::of(b"abc"), content }),
        ),
        (
            b"a b",
            Entry::Leaf(Leaf::Symlink { stat: stat(0o777, 1, 2), target: (*b"../\\\n").as_slice().into() }),
        ),
    ];
    let mut diff = LayerDiff::default();
    for (name, entry) in added {
        diff.added.push((TreePath::parse(name).unwrap(), entry));
    }
    for (name, target) in [(&b"z/1"[..], &b"a/sbin\xff"[..]), (b"2", b"a b")] {
        let [name, target] = [name, target].map(|name| TreePath::parse(name).unwrap());
        diff.added.push((name, Entry::HardLink(target)));
    }
    let mut builder = Builder::default();
    builder.apply(diff).unwrap();
    builder.finish().tree
}

const GOLDEN: &str = r"/ d 0755 0 0 -
/2 l 0777 1000 4000000000 1.000000002 ../\x5c\x0a
/a d 0755 0 0 -
/a/sbin\xff f 4755 1000 4000000000 -2.500000000 3 sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad security.capability=0100 user.a\x3db\x20c=
/a\x20b h /2
/z d 1777 1000 4000000000 0.000000000
/z/1 h /a/sbin\xff
";

#[test]
fn a_tree_is_spelled_as_its_grammar_says_and_reads_back() {
    let text = write(&sample());
    assert_eq!(String::from_utf8(text.clone()).unwrap(), GOLDEN);
    let tree = read(&text).unwrap();
    assert_eq!(write(&tree), text);
    let first = tree.node(&TreePath::parse(b"a/sbin\xff").unwrap());
    assert_eq!(first, tree.node(&TreePath::parse(b"z/1").unwrap()));
}

#[test]
fn what_is_no_dump_names_the_line() {
    let root = "/ d 0755 0 0 -\n";
    for (text, message) in [
        ("", "reading a tree dump: its last line is cut off"),
        ("/a d 0755 0 0 -\n", "line 1: is not the root, which stands first"),
        (
            &format!("{root}/b d 0755 0 0 -\n/a d 0755 0 0 -\n"),
            "line 3: is \"/a\", which does not stand in order",
        ),
        (&format!("{root}/a/b d 0755 0 0 -\n"), "line 2: is \"/a/b\", whose parent is missing"),
        (&format!("{root}/a d 755 0 0 -\n"), "line 2: is not spelled as dumps are"),
        (&format!("{root}/a d 0755 0 0 - \n"), "line 2: has an attribute without `=`"),
        (&format!("{root}/a h /b\n"), "line 2: is a link to \"/b\", which is no file above it"),
        (&format!("{root}/a c 0755 0 0 - 1\n"), "line 2: has the unknown type \"c\""),
        (&format!("{root}/a/../b d 0755 0 0 -\n"), "line 2: name \"a/../b\" has a `..` component"),
        (&format!("{root}/a d 10000 0 0 -\n"), "line 2: has the mode 10000"),
        (&format!("{root}{root}"), "line 2: is \"/\", which does not stand in order"),
    ] {
        let error = format!("{:#}", read(text.as_bytes()).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
}

proptest! {
    #[test]
    fn any_metadata_reads_back(
        name in proptest::collection::vec(any::<u8>(), 1..20),
        target in proptest::collection::vec(any::<u8>(), 1..20),
        (uid, gid, mode) in (any::<u32>(), any::<u32>(), 0u16..=0o7777),
        mtime in proptest::option::of((any::<i64>(), 0u32..1_000_000_000)),
        xattrs in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..9),
            proptest::collection::vec(any::<u8>(), 0..9),
            0..3
        ),
    ) {
        let Ok(path) = TreePath::parse(&name) else { return Ok(()) };
        prop_assume!(!path.is_root());
        let mtime = mtime.map(|(seconds, nanoseconds)| Mtime { seconds, nanoseconds });
        let xattrs: Xattrs = xattrs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let xattrs = (!xattrs.is_empty()).then(|| Box::new(xattrs));
        let leaf = Leaf::Symlink { stat: Stat { uid, gid, mode, mtime, xattrs }, target: target.into() };
        let mut builder = Builder::default();
        builder.apply(LayerDiff { added: vec![(path.clone(), Entry::Leaf(leaf.clone()))], ..Default::default() }).unwrap();
        let text = write(&builder.finish().tree);
        let tree = read(&text).unwrap();
        let Some(Node::Leaf(id)) = tree.node(&path) else { panic!("{path} is missing") };
        prop_assert_eq!(tree.leaf(*id), &leaf);
        prop_assert_eq!(write(&tree), text);
    }
}
