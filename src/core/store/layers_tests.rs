use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::image::ResolvedImage;
use crate::image::flatten::{Flattened, LeftOut, Limits, Odd, flatten};
use crate::image::testing::{Heard, LIMITS, Layout, Tar, tagged};
use crate::store::contents::{Copying, ObjectContents, ObjectStore};
use crate::store::object::{FileKind, file_checksum};
use crate::store::repo::{Durability, RepoMode};
use crate::store::shipped::Shipped;
use crate::tree::{ContentId, Node, dump};

/// A repository as `ostree init` makes it.
pub(in crate::store) fn repo() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    for name in ["objects", "tmp", "extensions"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    dir
}

pub(in crate::store) fn store(repo: &Path) -> Arc<ObjectStore> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let fd = rustix::fs::open(repo, flags, Mode::empty()).unwrap();
    Arc::new(ObjectStore::new(Objects::begin(&fd, RepoMode::Archive).unwrap(), 2).unwrap())
}

/// The file of each entry.
fn entries(repo: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(repo.join(DIRECTORY.join("/"))) else { return Vec::new() };
    let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// What comes of an image: its tree, what was left out, what is odd, and the object of each name of a file.
pub(in crate::store) type Seen = (Vec<u8>, Vec<LeftOut>, Vec<Odd>, Vec<Digest>);

/// Imports an image as a compose does.
fn import(repo: &Path, image: &ResolvedImage, label: Option<&[u8]>, limits: Limits) -> Result<Seen, String> {
    import_with(repo, image, label, limits, None)
}

/// The same as an update does, which may copy from these roots.
pub(in crate::store) fn import_with(
    repo: &Path,
    image: &ResolvedImage,
    label: Option<&[u8]>,
    limits: Limits,
    shipped: Option<Shipped>,
) -> Result<Seen, String> {
    let store = store(repo);
    let mut contents = ObjectContents::new(&store, label);
    if let Some(shipped) = shipped {
        contents = contents.copying(Arc::new(shipped), Copying::WhenNeeded);
    }
    let flat = flatten(image, limits, &contents, &Heard::default()).map_err(|error| format!("{error:#}"))?;
    store.settle().unwrap();
    let Flattened { tree, left_out, odd } = flat;
    let mut objects = Vec::new();
    for (_, node) in tree.walk() {
        let Node::Leaf(leaf) = node else { continue };
        let Leaf::File { stat, size, digest, content: Some(id) } = tree.leaf(*leaf) else { continue };
        let bytes = contents.read(*id, *size).unwrap();
        assert_eq!(Digest::of(&bytes), *digest);
        let object = contents.object(*id, stat).unwrap();
        let stat = crate::store::object::labelled(stat, label);
        assert_eq!(object, file_checksum(&stat, FileKind::Regular, &bytes));
        objects.push(object);
    }
    let needed = objects.iter().map(|object| (*object, ObjectKind::File)).collect::<BTreeSet<_>>();
    store.objects().publish(&needed, Durability::Unsynced).unwrap();
    store.remember(&Digest::of(b"commit").hex());
    Ok((dump::write(&tree), left_out, odd, objects))
}

/// An image for each name, of these tar streams.
pub(in crate::store) fn images<const N: usize>(all: [(&str, Vec<&[u8]>); N]) -> (Layout, [ResolvedImage; N]) {
    let layout = written(&all);
    let resolved = all.map(|(name, _)| layout.resolve(&format!("oci:layout:{name}")).unwrap());
    (layout, resolved)
}

/// A layout with an image for each of `tops`, called by its number: on the `shared` layers, with none or one of its own.
pub(in crate::store) fn stacked(shared: &[Vec<u8>], tops: &[Option<Vec<u8>>]) -> Layout {
    let layers = |top| shared.iter().chain(top).map(Vec::as_slice).collect();
    let all: Vec<_> =
        tops.iter().enumerate().map(|(number, top)| (number.to_string(), layers(top))).collect();
    written(&all)
}

fn written(all: &[(impl AsRef<str>, Vec<&[u8]>)]) -> Layout {
    let mut layout = Layout::new();
    let listed: Vec<_> =
        all.iter().map(|(name, tars)| tagged(layout.image("amd64", tars), name.as_ref())).collect();
    layout.index(&listed);
    layout.write();
    layout
}

/// Overwrites all layers.
pub(in crate::store) fn spoil(layout: &Layout) {
    for (name, bytes) in layout.files.iter().filter(|(_, bytes)| !bytes.starts_with(b"{")) {
        fs::write(layout.path().join(name), vec![0; bytes.len()]).unwrap();
    }
}

pub(in crate::store) fn mend(layout: &Layout) {
    layout.write();
}

fn lower() -> Vec<u8> {
    Tar::default()
        .dir("d", 0o700)
        .file("d/f", b"lower")
        .file("hidden", b"in the one")
        .file("kept", b"k")
        .end()
}

fn upper() -> Vec<u8> {
    Tar::default().file(".wh.hidden", b"").file("d/g", b"upper").other(b'1', "h", "d/f").end()
}

#[test]
fn a_known_layer_is_not_read_and_costs_the_same() {
    let (lower, upper, other) = (lower(), upper(), Tar::default().file(".wh.hidden", b"").end());
    let (layout, [one, two]) = images([("one", vec![&lower, &upper]), ("two", vec![&lower, &other, &upper])]);
    let repo = repo();
    let made = import(repo.path(), &one, None, LIMITS).unwrap();
    assert_eq!(entries(repo.path()).len(), 2);
    let expected = import(self::repo().path(), &two, None, LIMITS).unwrap();
    // The layer in the middle is new.
    let whole =
        layout.files.iter().find(|(_, bytes)| **bytes == crate::image::testing::gzip(&other)).unwrap();
    spoil(&layout);
    fs::write(layout.path().join(whole.0), whole.1).unwrap();
    assert_eq!(import(repo.path(), &one, None, LIMITS).unwrap(), made);
    assert_eq!(import(repo.path(), &two, None, LIMITS).unwrap(), expected);
    let bytes = (lower.len() + upper.len()) as u64;
    import(repo.path(), &one, None, Limits { max_entries: 7, max_bytes: bytes, ..LIMITS }).unwrap();
    for (limits, message) in [
        (Limits { max_entries: 6, ..LIMITS }, "the layers have more than 6 entries; raise --max-entries"),
        (Limits { max_bytes: bytes - 1, ..LIMITS }, "bytes; raise --max-bytes"),
    ] {
        let error = import(repo.path(), &one, None, limits).unwrap_err();
        assert!(error.starts_with("reading layer 2 of 2 (sha256:") && error.ends_with(message), "{error}");
    }
    let heard = Heard::default();
    let again = store(repo.path());
    flatten(&one, LIMITS, &ObjectContents::new(&again, None), &heard).unwrap();
    let heard = heard.layers.into_inner().unwrap();
    assert!(heard.len() == 2 && heard.values().all(|(_, read, done)| (*read, *done) == (0, true)));
}

#[test]
fn a_file_that_no_tree_had_is_read_when_one_has_it() {
    let (lower, upper) = (lower(), upper());
    let (layout, [hides, shows]) = images([("hides", vec![&lower, &upper]), ("shows", vec![&lower])]);
    let repo = repo();
    let hidden = import(repo.path(), &hides, None, LIMITS).unwrap();
    let before =
        entries(repo.path()).iter().map(|path| fs::metadata(path).unwrap().ino()).collect::<Vec<_>>();
    spoil(&layout);
    let error = import(repo.path(), &shows, None, LIMITS).unwrap_err();
    assert!(error.contains("its bytes have the digest"), "{error}");
    mend(&layout);
    let shown = import(repo.path(), &shows, None, LIMITS).unwrap();
    assert_eq!(shown, import(self::repo().path(), &shows, None, LIMITS).unwrap());
    let after = entries(repo.path()).iter().map(|path| fs::metadata(path).unwrap().ino()).collect::<Vec<_>>();
    assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
    // Now both are there.
    spoil(&layout);
    assert_eq!(import(repo.path(), &shows, None, LIMITS).unwrap(), shown);
    assert_eq!(import(repo.path(), &hides, None, LIMITS).unwrap(), hidden);
}

#[test]
fn two_images_of_one_compose_share_what_is_staged() {
    let (lower, upper) = (lower(), upper());
    let (layout, [hides, shows]) = images([("hides", vec![&lower, &upper]), ("shows", vec![&lower])]);
    let repo = repo();
    let store = store(repo.path());
    let first = ObjectContents::new(&store, None);
    flatten(&hides, LIMITS, &first, &Heard::default()).unwrap();
    spoil(&layout);
    let second = ObjectContents::new(&store, None);
    let flat = flatten(&shows, LIMITS, &second, &Heard::default()).unwrap();
    let id = flat.tree.contents().nth(1).unwrap();
    assert_eq!(second.read(id, 100).unwrap(), b"in the one");
    assert!(first.read(id, 100).is_err(), "it is hidden there");
    assert_eq!(second.read(ContentId { ordinal: 3, ..id }, 100).unwrap(), b"k");
    let labelled = ObjectContents::new(&store, Some(b"a:b:c:s0"));
    assert!(flatten(&shows, LIMITS, &labelled, &Heard::default()).is_err(), "another label");
}

#[test]
fn an_entry_that_is_not_as_it_was_written_is_none_and_written_anew() {
    let tar = lower();
    let (layout, [image, other]) = images([("image", vec![&tar]), ("other", vec![&upper()])]);
    let repo = repo();
    let made = import(repo.path(), &image, None, LIMITS).unwrap();
    let path = entries(repo.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let mut broken = vec![Vec::new(), b"foreign".to_vec(), whole[..whole.len() - 1].to_vec(), MAGIC.to_vec()];
    for at in [0, 9, 20, 60, whole.len() / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        broken.push(flipped);
    }
    for bytes in broken {
        fs::write(&path, bytes).unwrap();
        spoil(&layout);
        assert!(import(repo.path(), &image, None, LIMITS).is_err());
        mend(&layout);
        assert_eq!(import(repo.path(), &image, None, LIMITS).unwrap(), made);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    // One of another layer in its place, and one that a newer program wrote.
    assert!(import(repo.path(), &other, None, LIMITS).is_err(), "its link leads nowhere");
    let key = Key { diff_id: other.config.diff_ids[0], label: None };
    fs::copy(&path, path.with_file_name(key.file_name())).unwrap();
    assert!(Known::of_bytes(&whole).unwrap().layer(&key, 0).is_err());
    assert!(import(repo.path(), &other, None, LIMITS).unwrap_err().contains("there is no such file"));
}

#[test]
fn another_label_has_its_own_entry() {
    let tar = lower();
    let (layout, [image]) = images([("image", vec![&tar])]);
    let repo = repo();
    let plain = import(repo.path(), &image, None, LIMITS).unwrap();
    spoil(&layout);
    assert!(import(repo.path(), &image, Some(b"u:r:t:s0"), LIMITS).is_err());
    mend(&layout);
    let labelled = import(repo.path(), &image, Some(b"u:r:t:s0"), LIMITS).unwrap();
    assert_ne!(labelled.3, plain.3);
    spoil(&layout);
    assert_eq!(import(repo.path(), &image, Some(b"u:r:t:s0"), LIMITS).unwrap(), labelled);
    assert_eq!(import(repo.path(), &image, None, LIMITS).unwrap(), plain);
    assert_eq!(entries(repo.path()).len(), 2);
    let dir = fs::File::open(repo.path()).unwrap();
    let diff_id = &image.config.diff_ids[0];
    for (label, known) in [(None, true), (Some(&b"u:r:t:s0"[..]), true), (Some(b"x"), false)] {
        assert_eq!(KnownLayers::new(dir.as_fd(), label).has(diff_id), known);
    }
}

#[test]
fn entries_go_with_their_objects() {
    let tar = lower();
    let (layout, [image]) = images([("image", vec![&tar])]);
    let repo = repo();
    let made = import(repo.path(), &image, None, LIMITS).unwrap();
    let dir = repo.path().join(DIRECTORY.join("/"));
    fs::write(dir.join("somebody's"), "x").unwrap();
    fs::write(dir.join(format!("{}-{}", "0".repeat(64), "1".repeat(16))), "x").unwrap();
    let empty = Digest::of(b"").hex();
    prune(store(repo.path()).objects(), &empty).unwrap();
    assert_eq!(entries(repo.path()).len(), 2, "the one that is no entry went");
    // A file that is hidden in the tree is not missed; one of the tree is.
    let object = made.3[1].hex();
    fs::remove_file(repo.path().join("objects").join(&object[..2]).join(format!("{}.filez", &object[2..])))
        .unwrap();
    prune(store(repo.path()).objects(), &empty).unwrap();
    assert_eq!(entries(repo.path()), [dir.join("somebody's")]);
    assert_eq!(import(repo.path(), &image, None, LIMITS).unwrap(), made);
    // It was read meanwhile, and the object is there again.
    spoil(&layout);
    assert_eq!(import(repo.path(), &image, None, LIMITS).unwrap(), made);
    // Bounded, and every one has its turn.
    for number in 0..200_u32 {
        let name = Digest::of(&number.to_be_bytes()).hex();
        fs::write(dir.join(format!("{name}-{}", "1".repeat(16))), "x").unwrap();
    }
    let left = |_| {
        prune(store(repo.path()).objects(), &Digest::of(b"start").hex()).unwrap();
        entries(repo.path()).len()
    };
    let counts: Vec<_> = (0..5).map(left).collect();
    assert!(counts[0] >= 138 && counts[4] == 2, "{counts:?}");
}

#[test]
fn a_repository_that_can_keep_no_entry_is_no_error() {
    let tar = lower();
    let (_layout, [image]) = images([("image", vec![&tar])]);
    let repo = repo();
    fs::write(repo.path().join("extensions/sysctr"), "a file").unwrap();
    let made = import(repo.path(), &image, None, LIMITS).unwrap();
    assert_eq!(import(repo.path(), &image, None, LIMITS).unwrap(), made);
    assert_eq!(fs::read(repo.path().join("extensions/sysctr")).unwrap(), b"a file");
}

#[test]
fn an_object_with_other_bytes_is_not_believed() {
    let tar = Tar::default().file("f", b"true").end();
    let (_layout, [image]) = images([("image", vec![&tar])]);
    let repo = repo();
    let made = import(repo.path(), &image, None, LIMITS).unwrap();
    let hex = made.3[0].hex();
    let path = repo.path().join("objects").join(&hex[..2]).join(format!("{}.filez", &hex[2..]));
    let other = Objects::begin(fs::File::open(repo.path()).unwrap(), RepoMode::Archive).unwrap();
    let forged = other.write_file(&crate::tree::Stat::implied(0o644), FileKind::Regular, b"fals").unwrap();
    fs::rename(
        repo.path().join("tmp/sysctr-0").join(loose_path(RepoMode::Archive, &forged, ObjectKind::File)),
        path,
    )
    .unwrap();
    let store = store(repo.path());
    let contents = ObjectContents::new(&store, None);
    let flat = flatten(&image, LIMITS, &contents, &Heard::default()).unwrap();
    let error = contents.read(flat.tree.contents().next().unwrap(), 100).unwrap_err().to_string();
    assert_eq!(error, format!("object {hex} has other bytes; `ostree fsck` tells what else is broken"));
}

#[derive(Debug, Clone)]
enum Step {
    Remove(String),
    Clear(String),
    Dir(String, u32),
    File(String, u8),
    Attributes(String, u8),
    Link(String, String),
    HardLink(String, String),
    Fifo(String),
}

fn named() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("/"))
}

pub(in crate::store) fn layer() -> impl Strategy<Value = Vec<u8>> {
    let step = prop_oneof![
        2 => named().prop_map(Step::Remove),
        1 => named().prop_map(Step::Clear),
        3 => (named(), 0u32..0o1000).prop_map(|(name, mode)| Step::Dir(name, mode)),
        6 => (named(), 0u8..4).prop_map(|(name, id)| Step::File(name, id)),
        2 => (named(), 0u8..4).prop_map(|(name, id)| Step::Attributes(name, id)),
        1 => (named(), named()).prop_map(|(name, target)| Step::Link(name, target)),
        2 => (named(), named()).prop_map(|(name, target)| Step::HardLink(name, target)),
        1 => named().prop_map(Step::Fifo),
    ];
    proptest::collection::vec(step, 0..7).prop_map(|steps| steps.iter().fold(Tar::default(), with).end())
}

fn with(tar: Tar, step: &Step) -> Tar {
    let beside = |name: &str, prefix: &str| match name.rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/{prefix}{name}"),
        None => format!("{prefix}{name}"),
    };
    match step {
        Step::Remove(name) => tar.file(&beside(name, ".wh."), b""),
        Step::Clear(name) => tar.file(&format!("{name}/.wh..wh..opq"), b""),
        Step::Dir(name, mode) => tar.dir(name, *mode),
        // An empty one now and then.
        Step::File(name, id) => tar.file(name, &vec![b'a' + id; usize::from(*id) * 3]),
        Step::Attributes(name, id) => {
            let records: [(&str, &[u8]); 2] = [("SCHILY.xattr.user.x", &[*id, 0, b'\n']), ("mtime", b"5.25")];
            tar.pax(b'x', &records).file(name, b"with attributes")
        }
        Step::Link(name, target) => tar.other(b'2', name, target),
        Step::HardLink(name, target) => tar.other(b'1', name, target),
        Step::Fifo(name) => tar.other(b'6', name, ""),
    }
}

#[test]
fn what_is_known_is_what_is_read() {
    let shared = proptest::collection::vec(layer(), 1..4);
    let tops = proptest::collection::vec(proptest::option::of(layer()), 2..4);
    let fit = AtomicUsize::new(0);
    let check = |(shared, tops): (Vec<Vec<u8>>, Vec<Option<Vec<u8>>>)| {
        let (layout, known) = (stacked(&shared, &tops), repo());
        for number in 0..tops.len() {
            let image = layout.resolve(&format!("oci:layout:{number}")).unwrap();
            let fresh = import(repo().path(), &image, None, LIMITS);
            prop_assert_eq!(&import(known.path(), &image, None, LIMITS), &fresh);
            if fresh.is_ok() {
                fit.fetch_add(1, Ordering::Relaxed);
                spoil(&layout);
                prop_assert_eq!(&import(known.path(), &image, None, LIMITS), &fresh);
                mend(&layout);
            }
        }
        Ok(())
    };
    TestRunner::new(Config::with_cases(150)).run(&(shared, tops), check).unwrap();
    // Many of them are none, as of files that have something in them.
    assert!(fit.load(Ordering::Relaxed) > 50, "only {fit:?}");
}
