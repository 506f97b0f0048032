//! What the target does with one change at a time, and with links that lead elsewhere; reading a tree back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use camino::Utf8Path;
use sysctr_compose::target::sysroot::{Access, Sysroot};
use sysctr_core::epoch::Epoch;
use sysctr_core::inspection::Inspected as _;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::placement::{Change, Found, Ground as _, PlacedLeaf, Placement};
use sysctr_core::record::SpecialKind;
use sysctr_core::tree::{ContentId, Dir, ImageTree, Leaf, Mtime, Node, Stat};

use crate::listing::{assert_same, list};
use crate::steps::{bundle, file, stage};
use crate::{done, make_root, scratch, step};

fn open(root: &Path, access: Access) -> Sysroot {
    Sysroot::open(Utf8Path::from_path(root).unwrap(), access).unwrap()
}

fn commit(root: &Path, changes: Vec<(&str, Change)>) -> Result<(), String> {
    let changes = changes.into_iter().map(|(path, change)| (path.into(), change)).collect();
    let sysroot = open(root, Access::Write);
    let staging = sysroot.begin(Epoch::default()).unwrap();
    let committed = staging.commit(&Placement { changes, ..Placement::default() }, &Interrupt::default());
    committed.map_err(|error| format!("{error:#}"))
}

#[test]
fn changes_that_are_refused() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    step("first", &root).unwrap();
    fs::create_dir(root.join("usr/lib/empty")).unwrap();
    done(Command::new("mkfifo").arg(root.join("usr/lib/fifo")));
    let before = list(&root);
    let link = || Change::Put(PlacedLeaf::Link("x".into()));
    for (path, change, why) in [
        ("usr/lib/systemd", file("x"), "putting usr/lib/systemd: a directory is there already"),
        ("usr/lib/fifo", link(), "putting usr/lib/fifo: a FIFO is there already"),
        ("usr/lib/fifo", Change::Remove, "removing usr/lib/fifo: it is a FIFO, not ours"),
        ("usr/lib/systemd", Change::Remove, "removing usr/lib/systemd: it is a directory, not ours"),
        (
            "usr/lib/empty",
            Change::MakeDirectory(Stat::implied(0o755)),
            "putting usr/lib/empty: a directory is there already",
        ),
        ("usr/../x", link(), "path \"usr/../x\" is not relative to the root and free of `..`"),
        ("/usr/x", link(), "path \"/usr/x\" is not relative to the root and free of `..`"),
        (
            "usr/lib/containers/atomic/.staging/x",
            link(),
            "changing usr/lib/containers/atomic/.staging/x: it is where the change is prepared",
        ),
        (
            "usr/lib/nowhere/x",
            link(),
            "changing usr/lib/nowhere/x: its directory usr/lib/nowhere is not there",
        ),
    ] {
        let error = commit(&root, vec![("usr/lib/first", file("1")), (path, change)]).unwrap_err();
        assert_eq!(error, format!("writing into root {}, which is as it was: {why}", root.display()));
        assert_same(&list(&root), &before, why);
    }
    let elsewhere = {
        let sysroot = open(&root, Access::Write);
        let staging = sysroot.begin(Epoch::default()).unwrap();
        let changes = vec![("usr/lib/web".into(), bundle(&staging, "web", "1").unwrap())];
        staging.commit(&Placement { changes, ..Placement::default() }, &Interrupt::default()).unwrap_err()
    };
    assert!(format!("{elsewhere:#}").ends_with(": bundles lie in usr/lib/containers/atomic"));
    assert_same(&list(&root), &before, "a bundle elsewhere");
}

#[test]
fn what_is_gone_already_needs_no_removing() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let before = list(&root);
    step("remove", &root).unwrap();
    assert_same(&list(&root), &before, "removing nothing");
    // A directory that is not empty stays, with its time stamp.
    commit(
        &root,
        vec![("usr/lib/tmpfiles.d", Change::RemoveDirectory), ("usr/lib/systemd", Change::RemoveDirectory)],
    )
    .unwrap();
    assert!(!root.join("usr/lib/tmpfiles.d").exists());
    assert!(root.join("usr/lib/systemd/system/host.service").exists());
}

#[test]
fn removing_everything_leaves_the_root_as_before_the_first_compose() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let before = list(&root);
    step("first", &root).unwrap();
    step("remove", &root).unwrap();
    assert_same(&list(&root), &before, "first, then remove");
}

/// Links in parents are resolved as on the host itself, and none leads out of the root.
#[test]
fn links_stay_beneath_the_root() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "theirs").unwrap();
    let before = list(&outside);
    fs::rename(root.join("usr/lib"), root.join("usr/lib-real")).unwrap();
    symlink("/usr/lib-real", root.join("usr/lib")).unwrap();
    symlink("../../../outside", root.join("usr/lib-real/escape")).unwrap();
    symlink(outside.join("secret"), root.join("usr/lib-real/leaf")).unwrap();

    step("first", &root).unwrap();
    assert!(root.join("usr/lib-real/containers/atomic/web/rootfs/bin/su").exists());
    let error = commit(&root, vec![("usr/lib/escape/unit", file("ours"))]).unwrap_err();
    assert!(
        error.ends_with("changing usr/lib/escape/unit: its directory usr/lib/escape is not there"),
        "{error}"
    );
    {
        let sysroot = open(&root, Access::Read);
        assert_eq!(sysroot.probe("usr/lib/escape/secret".into()).unwrap(), Found::Nothing);
        assert_eq!(sysroot.read("usr/lib/escape/secret".into(), 100).unwrap(), None);
        assert_eq!(sysroot.read("usr/lib/leaf".into(), 100).unwrap(), None);
        let text = outside.join("secret").to_str().unwrap().to_owned();
        assert_eq!(sysroot.probe("usr/lib/leaf".into()).unwrap(), Found::Link(text));
    }
    // A link in the place is replaced itself.
    commit(&root, vec![("usr/lib/leaf", file("ours"))]).unwrap();
    assert!(root.join("usr/lib-real/leaf").symlink_metadata().unwrap().is_file());
    // The same way down, when the root has such a directory.
    fs::create_dir(root.join("outside")).unwrap();
    commit(&root, vec![("usr/lib/escape/unit", file("ours"))]).unwrap();
    assert_eq!(fs::read_to_string(root.join("outside/unit")).unwrap(), "ours");
    assert_same(&list(&outside), &before, "outside");
}

#[test]
fn looking_and_reading() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    fs::write(root.join("etc/motd"), "hello").unwrap();
    done(Command::new("touch").args(["-d", "@5.000000007"]).arg(root.join("etc/motd")));
    done(Command::new("chmod").arg("4711").arg(root.join("etc/motd")));
    done(Command::new("mkfifo").arg(root.join("etc/fifo")));
    let sysroot = open(&root, Access::Read);
    let mtime = Mtime { seconds: 5, nanoseconds: 7 };
    assert_eq!(sysroot.probe("etc/motd".into()).unwrap(), Found::File { mode: 0o4711, size: 5, mtime });
    assert_eq!(sysroot.probe("etc".into()).unwrap(), Found::Directory);
    assert_eq!(sysroot.probe("lib".into()).unwrap(), Found::Link("usr/lib".into()));
    assert_eq!(sysroot.probe("lib/systemd".into()).unwrap(), Found::Directory);
    assert_eq!(sysroot.probe("etc/fifo".into()).unwrap(), Found::Special);
    assert_eq!(sysroot.probe("etc/motd/x".into()).unwrap(), Found::Nothing);
    assert_eq!(sysroot.read("etc/motd".into(), 5).unwrap().unwrap(), b"hello");
    let error = |path: &str| {
        let error = format!("{:#}", sysroot.read(path.into(), 4).unwrap_err());
        error.replace(root.to_str().unwrap(), "ROOT")
    };
    assert_eq!(error("etc/motd"), "reading etc/motd in root ROOT: etc/motd has more than 4 bytes");
    assert_eq!(error("etc/fifo"), "reading etc/fifo in root ROOT: etc/fifo is no regular file");
    assert_eq!(error("usr"), "reading usr in root ROOT: usr is no regular file");
}

#[test]
fn staged_contents_can_be_read_back() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let before = list(&root);
    let sysroot = open(&root, Access::Write);
    let staging = sysroot.begin(Epoch::default()).unwrap();
    let name = "web".parse().unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    stage(&staging, &name, 7, &bytes).unwrap();
    let id = ContentId { layer: 0, ordinal: 7 };
    assert!(staging.content(&name, id, bytes.len() as u64).unwrap() == bytes);
    let error = format!("{:#}", staging.content(&name, id, 9).unwrap_err());
    assert_eq!(error, "reading a staged content of web: 7 has more than 9 bytes");
    drop(staging);
    assert_same(&list(&root), &before, "dropped");
}

/// The tree that was written, as it must read back: no content ids, and the epoch where no time was named.
fn expected(tree: &ImageTree, dir: &Dir, into: &mut ImageTree, links: &mut Vec<(Node, Node)>) -> Dir {
    let stamped = |stat: &Stat| {
        let epoch = Mtime { seconds: 1_700_000_000, nanoseconds: 0 };
        Stat { mtime: stat.mtime.or(Some(epoch)), ..stat.clone() }
    };
    let mut copy = Dir::empty(stamped(&dir.stat));
    for (name, node) in &dir.children {
        let node = match node {
            Node::Dir(inner) => Node::Dir(Box::new(expected(tree, inner, into, links))),
            Node::Leaf(id) => match links.iter().find(|(from, _)| from == node) {
                Some((_, to)) => to.clone(),
                None => {
                    let leaf = match tree.leaf(*id).clone() {
                        Leaf::File { stat, size, digest, .. } => {
                            Leaf::File { stat: stamped(&stat), size, digest, content: None }
                        }
                        Leaf::Symlink { stat, target } => Leaf::Symlink { stat: stamped(&stat), target },
                    };
                    let to = Node::Leaf(into.add_leaf(leaf));
                    links.push((node.clone(), to.clone()));
                    to
                }
            },
        };
        copy.children.insert(name.clone(), node);
    }
    copy
}

#[test]
fn a_tree_reads_back_as_it_was_written() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let place = "usr/lib/containers/atomic/web/rootfs";
    let change = {
        let sysroot = open(&root, Access::Write);
        let staging = sysroot.begin(Epoch::default()).unwrap();
        bundle(&staging, "web", "1").unwrap()
    };
    step("first", &root).unwrap();
    let Change::PutBundle(bundle) = change else { unreachable!() };
    let mut tree = ImageTree::new();
    let made = bundle.tree.as_ref().expect("a bundle with a root");
    tree.root = expected(made, &made.root, &mut tree, &mut Vec::new());
    // Things that only lie there, as somebody may have put them.
    let fifo = root.join(place).join("zz-fifo");
    done(Command::new("mkfifo").arg(&fifo));
    done(Command::new("touch").args(["-d", "@1700000000"]).arg(root.join(place)));

    let sysroot = open(&root, Access::Read);
    for jobs in [1, 2, 7] {
        let scan = sysroot.scan(place.into(), jobs, &Interrupt::default()).unwrap();
        let entries = |tree: &ImageTree| -> Vec<String> {
            let leaf = |node: &Node| match node {
                Node::Dir(dir) => format!("{:?}", dir.stat),
                Node::Leaf(id) => format!("{id:?} {:?}", tree.leaf(*id)),
            };
            tree.walk().map(|(path, node)| format!("{path} {}", leaf(node))).collect()
        };
        assert_eq!(entries(&scan.tree), entries(&tree));
        assert_eq!(scan.tree.root, tree.root);
        let specials: Vec<_> = scan.specials.iter().map(|(path, kind)| (path.to_string(), *kind)).collect();
        assert_eq!(specials, [("\"/zz-fifo\"".to_owned(), SpecialKind::Fifo)]);
    }
}
