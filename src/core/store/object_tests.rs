use proptest::prelude::*;

use super::*;

fn stat(uid: u32, gid: u32, mode: u16, xattrs: &[(&str, &[u8])]) -> Stat {
    let all: Xattrs = xattrs.iter().map(|(name, value)| (name.as_bytes().into(), (*value).into())).collect();
    let xattrs = (!all.is_empty()).then(|| Box::new(all));
    Stat { uid, gid, mode, mtime: None, xattrs }
}

fn checksum(stat: &Stat, kind: FileKind<'_>, content: &[u8]) -> String {
    file_checksum(stat, kind, content).hex()
}

/// Golden values: what `ostree ls -C` (libostree 2022.7) says about the same files in a repository of mode `bare`.
#[test]
fn file_checksums_are_those_of_libostree() {
    let big = "v".repeat(3000);
    let many: &[(&str, &[u8])] = &[("user.big", big.as_bytes()), ("user.a", b"1")];
    for (stat, kind, content, expected) in [
        (
            stat(5, 7, 0o666, &[("user.b", b"two")]),
            FileKind::Regular,
            "w\n",
            "e34e6b0b76812dc53ea990a355cba7cb95056f00a5dcec7016067bfaa0d00024",
        ),
        (
            stat(0, 0, 0o4755, &[]),
            FileKind::Regular,
            "hello\n",
            "c688010bf754528d6f28cb951a5ba57b572aa355124acb4f305afedb810e09df",
        ),
        (
            stat(0, 0, 0o644, &[]),
            FileKind::Regular,
            "",
            "cc700d46f407c6c5ab2d5dde474366a928b7398277e61162e7f8ec06f469f07e",
        ),
        (
            stat(0, 0, 0, &[]),
            FileKind::Regular,
            "z\n",
            "94bb31e0d3a8174d2b3f140957541304eadd0462ba5d765dedb552a95c5d47e0",
        ),
        (
            stat(0, 0, 0o777, &[]),
            FileKind::Symlink("/x/y"),
            "",
            "1794e940e94bc1d70ba1edd2dcccd81b66ca0664dc3a1c01cfffea8a8d6bfef0",
        ),
        (
            stat(1000, 100_000, 0o640, many),
            FileKind::Regular,
            "w\n",
            "b02d63ae6c890c758dec7e9aa1f8f98f60bd35b64654ac4a93537286db072803",
        ),
    ] {
        assert_eq!(checksum(&stat, kind, content.as_bytes()), expected, "{content:?} of {stat:?}");
    }
}

#[test]
fn directories_are_those_of_libostree() {
    let mut small = DirTree::default();
    for number in 1..=40 {
        let digest =
            file_checksum(&stat(0, 2, 0o644, &[]), FileKind::Regular, format!("{number}\n").as_bytes());
        small.files.insert(format!("file-{number}"), digest);
    }
    let mut large = DirTree::default();
    for number in 1000..2000 {
        let digest = file_checksum(&stat(0, 0, 0o644, &[]), FileKind::Regular, b"");
        large.files.insert(format!("{}{number}", "n".repeat(60)), digest);
    }
    let mut root = DirTree::default();
    let many: &[(&str, &[u8])] = &[("user.a", b"1"), ("user.big", &[b'v'; 3000])];
    let big = file_checksum(&stat(1000, 100_000, 0o640, many), FileKind::Regular, b"w\n");
    root.files.insert("big".to_owned(), big);
    let meta = Digest::of(&dirmeta(&stat(0, 0, 0o755, &[])));
    let tree = Digest::of(&large.to_bytes());
    root.dirs.insert("many".to_owned(), DirRef { tree, meta });
    // Framing offsets of one, two and four bytes.
    for (tree, expected) in [
        (DirTree::default(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (small, "e68b2fbe7c08ab6c69b3e307f3ca18e344f6d579ec95c4b74714e906a2d76dd0"),
        (large, "f3a3e97da3ce75ec4fec29fc50335821905c0cabbbd2313a18b86455fa98ab02"),
        (root, "dd2ba540729d24352a39ff37e8edd5b20e0f8870742cec95dbdd355e05495a81"),
    ] {
        let bytes = tree.to_bytes();
        assert_eq!(Digest::of(&bytes).hex(), expected);
        assert_eq!(DirTree::read(&bytes).unwrap(), tree);
    }
    for (stat, expected) in [
        (stat(0, 0, 0o755, &[]), "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"),
        (
            stat(1, 2, 0o2770, &[("user.q", b"qq")]),
            "e7887d5fa7883d56d76780da07bb62112e67b0f26f477283fafcf1f889e08b54",
        ),
    ] {
        let bytes = dirmeta(&stat);
        assert_eq!(Digest::of(&bytes).hex(), expected);
        assert_eq!(read_dirmeta(&bytes).unwrap(), stat);
    }
}

#[test]
fn hostile_objects_are_errors() {
    let digest = Digest::of(b"");
    let entry = |name: &[u8]| tuple(&[Member::Variable(&text(name)), Member::Variable(digest.as_bytes())]);
    let tree = |names: &[&[u8]]| {
        let files = array(names.iter().map(|name| entry(name)));
        tuple(&[Member::Variable(&files), Member::Variable(&[])])
    };
    assert!(DirTree::read(&tree(&[b"a", b"b"])).is_ok());
    for (names, message) in [
        (&[b"b" as &[u8], b"a"] as &[&[u8]], "no directory's names in normal form"),
        (&[b"a", b"a"], "no directory's names in normal form"),
        (&[b".."], "\"..\" is no name"),
        (&[b"a/b"], "\"a/b\" is no name"),
        (&[b""], "\"\" is no name"),
        (&[b"\xff"], "not UTF-8"),
    ] {
        let error = format!("{:#}", DirTree::read(&tree(names)).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
    assert!(DirTree::read(b"").is_err());
    assert!(read_dirmeta(b"short").is_err());
    let mut file = dirmeta(&stat(0, 0, 0o755, &[]));
    file[9] ^= 1;
    assert!(read_dirmeta(&file).is_err());
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,3}", "[ -.0-~äß]{1,80}", "[a-z]{200,255}"]
        .prop_filter("a name", |name| crate::tree::FileName::new(name.as_bytes()).is_some())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        files in proptest::collection::btree_map(name(), any::<[u8; 32]>(), 0..300),
        dirs in proptest::collection::btree_map(name(), any::<[u8; 64]>(), 0..50),
    ) {
        let mut tree = DirTree::default();
        for (name, bytes) in files {
            tree.files.insert(name, Digest::from_bytes(bytes));
        }
        for (name, bytes) in dirs {
            tree.files.remove(&name);
            let (tree_bytes, meta) = bytes.split_at(32);
            let digest = |bytes: &[u8]| Digest::from_bytes(bytes.try_into().unwrap());
            tree.dirs.insert(name, DirRef { tree: digest(tree_bytes), meta: digest(meta) });
        }
        prop_assert_eq!(DirTree::read(&tree.to_bytes()).unwrap(), tree);
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(tree) = DirTree::read(&bytes) {
            prop_assert_eq!(tree.to_bytes(), bytes.clone());
        }
        if let Ok(stat) = read_dirmeta(&bytes) {
            prop_assert_eq!(dirmeta(&stat), bytes);
        }
    }
}

/// Golden values: `ostree commit --no-bindings --timestamp=@0` (libostree 2022.7) of an empty directory of root with 0755.
#[test]
fn commits_are_those_of_libostree() {
    let hex = |hex| Digest::from_hex(hex).unwrap();
    let root = DirRef {
        tree: hex("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        meta: hex("446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"),
    };
    assert_eq!(Digest::of(&dirmeta(&Stat::implied(0o755))), root.meta);
    let bytes = commit(root, "web.1");
    assert_eq!(Digest::of(&bytes).hex(), "b99c7867560d6785531356fa8aaab4d9965ee37f6c3323994da9c1dc47ba137c");
    for subject in ["", "web.1", "a name of sixteen", &"long".repeat(100)] {
        let bytes = commit(root, subject);
        assert_eq!(read_commit(&bytes).unwrap(), root, "{subject}");
        for cut in 0..bytes.len() {
            assert!(read_commit(&bytes[..cut]).is_err(), "{subject} cut to {cut}");
        }
        assert!(read_commit(&[&bytes[..], b"\0"].concat()).is_err());
    }
}
