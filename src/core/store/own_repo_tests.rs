use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::image::flatten::{ContentStore as _, ContentWriter as _};
use crate::store::contents::{ObjectContents, ObjectStore};
use crate::store::tree::stage;
use crate::tree::{Builder, ContentId, Entry, ImageTree, LayerDiff, Leaf, Stat, TreePath};
use std::sync::Arc;

fn scratch() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = Utf8Path::from_path(dir.path()).unwrap().join("repo");
    (dir, path)
}

/// This user's, since only root may give files away.
fn own(mode: u16) -> Stat {
    Stat {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        ..Stat::implied(mode)
    }
}

fn tree(contents: &ObjectContents) -> ImageTree {
    let id = ContentId { layer: 0, ordinal: 0 };
    let path = |path: &str| TreePath::parse(path.as_bytes()).unwrap();
    let mut writer = contents.begin(id, &path("bin/program"), 7, &own(0o555)).unwrap();
    writer.write(b"content").unwrap();
    let digest = Digest::of(b"content");
    writer.finish(&digest).unwrap();
    let file = |stat, size, content| Leaf::File { stat, size, digest, content };
    let added = vec![
        (path("bin"), Entry::Dir(own(0o750))),
        (path("bin/program"), Entry::Leaf(file(own(0o555), 7, Some(id)))),
        (path("bin/again"), Entry::HardLink(path("bin/program"))),
        (path("bin/link"), Entry::Leaf(Leaf::Symlink { stat: own(0o777), target: (*b"program").into() })),
        (path("empty"), Entry::Leaf(file(own(0o600), 0, None))),
    ];
    let mut builder = Builder::default();
    builder.apply(LayerDiff { added, ..LayerDiff::default() }).unwrap();
    builder.finish().tree
}

fn published(repo: &OwnRepo) -> Digest {
    let store = Arc::new(ObjectStore::new(repo.begin().unwrap(), 1).unwrap());
    let contents = ObjectContents::new(&store, None);
    let tree = tree(&contents);
    store.settle().unwrap();
    let staged = stage(&tree, &contents, None, &|| Ok(())).unwrap();
    let lock = repo.no_pruning().unwrap();
    repo.publish(store.objects(), staged, "web.1", &lock).unwrap().0
}

#[test]
fn what_is_published_is_checked_out_by_links() {
    let (dir, path) = scratch();
    assert!(OwnRepo::open(&path).unwrap().is_none());
    let repo = OwnRepo::open_or_make(&path).unwrap();
    let commit = published(&repo);
    assert_eq!(published(&OwnRepo::open_or_make(&path).unwrap()), commit);
    let root = repo.root(&commit).unwrap().unwrap();
    let parent = rustix::fs::open(dir.path(), directory_flags(), Mode::empty()).unwrap();
    for name in ["first", "second"] {
        repo.check_out(root, &parent, name).unwrap();
        let at = |inner: &str| fs::symlink_metadata(dir.path().join(name).join(inner)).unwrap();
        assert_eq!((at("bin").mode() & 0o7777, at("bin").mtime()), (0o750, 0));
        assert_eq!(fs::read(dir.path().join(name).join("bin/program")).unwrap(), b"content");
        assert_eq!((at("bin/program").mode() & 0o7777, at("bin/program").mtime()), (0o555, 0));
        assert_eq!(at("bin/program").ino(), at("bin/again").ino());
        assert_eq!(fs::read_link(dir.path().join(name).join("bin/link")).unwrap().to_str(), Some("program"));
        assert_eq!((at("empty").len(), at("empty").mode() & 0o7777), (0, 0o600));
    }
    let inode = |name: &str| fs::metadata(dir.path().join(name).join("bin/program")).unwrap().ino();
    assert_eq!(inode("first"), inode("second"));
}

#[test]
fn a_broken_object_is_told_and_not_used() {
    let (_dir, path) = scratch();
    let repo = OwnRepo::open_or_make(&path).unwrap();
    let commit = published(&repo);
    let root = repo.root(&commit).unwrap().unwrap();
    let object = loose_path(RepoMode::Bare, &root.tree, ObjectKind::DirTree);
    let object = path.join("objects").join(object);
    let bytes = fs::read(&object).unwrap();
    fs::write(&object, [&bytes[..], b"x"].concat()).unwrap();
    let error = format!("{:#}", repo.dirtree(&root.tree).unwrap_err());
    assert!(error.ends_with("it is broken"), "{error}");
    fs::remove_file(&object).unwrap();
    let error = format!("{:#}", repo.dirtree(&root.tree).unwrap_err());
    assert!(error.contains("lacks object") && error.contains("ostree fsck"), "{error}");
    assert!(repo.root(&Digest::of(b"unheard of")).unwrap().is_none());
}

#[test]
fn refs_name_commits() {
    let (_dir, path) = scratch();
    let repo = OwnRepo::open_or_make(&path).unwrap();
    assert_eq!(repo.refs().unwrap(), BTreeMap::new());
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    repo.set_ref("web.1", &one).unwrap();
    repo.set_ref("web.2", &one).unwrap();
    repo.set_ref("web.2", &two).unwrap();
    assert_eq!(repo.refs().unwrap(), [("web.1".to_owned(), one), ("web.2".to_owned(), two)].into());
    repo.remove_ref("web.1").unwrap();
    repo.remove_ref("web.1").unwrap();
    assert_eq!(repo.refs().unwrap().len(), 1);
    fs::write(path.join(REFS).join("web.3"), "no checksum\n").unwrap();
    let error = repo.refs().unwrap_err().to_string();
    assert!(error.starts_with("reading ref sysctr/web.3 of the store "), "{error}");
}

#[test]
fn a_store_appears_whole_and_of_its_own_kind() {
    let (dir, path) = scratch();
    // One that was cut off while it was made.
    fs::create_dir_all(dir.path().join("repo.new/objects")).unwrap();
    OwnRepo::open_or_make(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    assert!(!dir.path().join("repo.new").exists());
    fs::write(path.join("config"), "[core]\nrepo_version=1\nmode=archive-z2\n").unwrap();
    let error = OwnRepo::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("it is no OSTree repository of mode bare; move it away"), "{error}");
}
