use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::image::flatten::{ContentStore as _, ContentWriter as _};
use crate::store::contents::{ObjectContents, ObjectStore};
use crate::store::object::{FileKind, file_checksum};
use crate::tree::{ContentId, Stat, TreePath};

fn repo() -> (tempfile::TempDir, OwnedFd) {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::create_dir(dir.path().join("objects")).unwrap();
    fs::create_dir(dir.path().join("tmp")).unwrap();
    let fd = rustix::fs::open(dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    (dir, fd)
}

fn left(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir.join("tmp")).unwrap();
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
}

fn path(dir: &Path, mode: RepoMode, checksum: &Digest) -> std::path::PathBuf {
    dir.join("objects").join(loose_path(mode, checksum, ObjectKind::File))
}

#[test]
fn nothing_is_in_the_repository_before_it_is_published() {
    for mode in [RepoMode::Archive, RepoMode::BareUser] {
        let (dir, fd) = repo();
        let objects = Objects::begin(&fd, mode).unwrap();
        let stat = Stat { uid: 7, ..Stat::implied(0o4755) };
        let file = objects.write_file(&stat, FileKind::Regular, b"content").unwrap();
        let unneeded = objects.write_file(&stat, FileKind::Regular, b"another").unwrap();
        assert_eq!(file, file_checksum(&stat, FileKind::Regular, b"content"));
        assert!(!path(dir.path(), mode, &file).exists());
        let needed = BTreeSet::from([(file, ObjectKind::File)]);
        let published = objects.publish(&needed, Durability::Unsynced).unwrap();
        let stored = fs::metadata(path(dir.path(), mode, &file)).unwrap();
        assert_eq!(published, Published { objects: 1, bytes: stored.len() });
        assert!(!path(dir.path(), mode, &unneeded).exists());
        if mode == RepoMode::BareUser {
            assert_eq!((stored.permissions().mode() & 0o7777, stored.mtime()), (0o755, 0));
        }
        let mut content = Vec::new();
        objects.content(&file).unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, b"content");
        assert_eq!(objects.publish(&needed, Durability::Unsynced).unwrap(), Published::default());
        let never = BTreeSet::from([(Digest::of(b"never"), ObjectKind::DirTree)]);
        let error = format!("{:#}", objects.publish(&never, Durability::Unsynced).unwrap_err());
        assert!(error.ends_with("it was not written"), "{error}");
        drop(objects);
        assert_eq!(left(dir.path()), Vec::<String>::new());
    }
}

#[test]
fn what_a_writer_left_is_swept_and_what_one_uses_is_not() {
    let (dir, fd) = repo();
    fs::create_dir_all(dir.path().join("tmp/sysctr-0/ab")).unwrap();
    fs::write(dir.path().join("tmp/sysctr-0/ab/object.file"), "x").unwrap();
    fs::write(dir.path().join("tmp/sysctr-0/stream-1"), "x").unwrap();
    fs::write(dir.path().join("tmp/other"), "x").unwrap();
    // What libostree itself forgets when it is killed.
    fs::write(dir.path().join("tmp/staging-boot-a-lock"), "").unwrap();
    fs::create_dir(dir.path().join("tmp/staging-boot-b")).unwrap();
    fs::write(dir.path().join("tmp/staging-boot-b-lock"), "").unwrap();
    let one = Objects::begin(&fd, RepoMode::Archive).unwrap();
    assert!(!dir.path().join("tmp/sysctr-0/ab").exists());
    let two = Objects::begin(&fd, RepoMode::Archive).unwrap();
    assert_ne!(one.name, two.name);
    let file = one.write_file(&Stat::implied(0o644), FileKind::Regular, b"x").unwrap();
    assert!(one.has(&file, ObjectKind::File).unwrap());
    assert!(!two.has(&file, ObjectKind::File).unwrap());
    drop((one, two));
    let mut left = left(dir.path());
    left.sort();
    assert_eq!(left, ["other", "staging-boot-b", "staging-boot-b-lock"]);
}

#[test]
fn contents_become_the_same_objects_in_pieces_or_whole() {
    for (mode, size) in [(RepoMode::Archive, 10), (RepoMode::BareUser, 10), (RepoMode::Archive, 5 << 20)] {
        let (_dir, fd) = repo();
        let store = Arc::new(ObjectStore::new(Objects::begin(&fd, mode).unwrap(), 2).unwrap());
        let contents = ObjectContents::new(&store, None);
        let id = ContentId { layer: 0, ordinal: 3 };
        let stat = Stat::implied(0o644);
        let path = TreePath::parse(b"a").unwrap();
        let bytes: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
        let begin = || contents.begin(id, &path, bytes.len() as u64, &stat).unwrap();
        let mut writer = begin();
        bytes.chunks(70_000).for_each(|chunk| writer.write(chunk).unwrap());
        writer.finish(&Digest::of(&bytes)).unwrap();
        assert_eq!(contents.read(id, 1 << 30).unwrap(), bytes);
        assert!(contents.read(id, bytes.len() as u64 - 1).is_err());
        for stat in [stat.clone(), Stat { gid: 4, ..Stat::implied(0o600) }] {
            let checksum = contents.object(id, &stat).unwrap();
            assert_eq!(checksum, file_checksum(&stat, FileKind::Regular, &bytes));
        }
        // Fewer bytes than were begun.
        assert!(begin().finish(&Digest::of(b"")).is_err());
        contents.discard(id).unwrap();
        assert!(contents.object(id, &stat).is_err());
    }
}

#[test]
fn an_attribute_with_an_empty_value_is_refused() {
    let (_dir, fd) = repo();
    let objects = Objects::begin(&fd, RepoMode::Archive).unwrap();
    let mut stat = Stat::implied(0o644);
    stat.xattrs.get_or_insert_default().insert((*b"user.flag").into(), (*b"").into());
    let error = objects.write_file(&stat, FileKind::Regular, b"").unwrap_err().to_string();
    assert_eq!(error, "its attribute \"user.flag\" has an empty value, which OSTree can't keep");
}
