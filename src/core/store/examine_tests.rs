use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::store::kept::{Kept, KeptFiles, stage, stat};

struct Shelf {
    _dir: tempfile::TempDir,
    repo: OwnRepo,
    root: DirRef,
    elsewhere: Utf8PathBuf,
}

/// A store that keeps two files and a link. Only root may make files that are root's.
fn shelf() -> Option<Shelf> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = Utf8Path::from_path(dir.path()).unwrap().to_owned();
    let repo = OwnRepo::open_or_make(&path.join("repo")).unwrap();
    let objects = repo.begin().unwrap();
    let lock = repo.no_pruning().unwrap();
    let staged = stage(&objects, &files(), None).unwrap();
    let root = staged.root;
    repo.publish(&objects, staged, "web.1.files", &lock).unwrap();
    Some(Shelf { _dir: dir, repo, root, elsewhere: path.join("elsewhere") })
}

fn files() -> KeptFiles {
    let file = |text: &str| Kept::File(text.into());
    let all =
        [("bundle/a", file("one")), ("bundle/b", file("two")), ("etc/units/c", Kept::Link("../x".into()))];
    all.into_iter().map(|(path, kept)| (path.into(), kept)).collect()
}

impl Shelf {
    fn damaged(&self) -> Vec<(String, String)> {
        let all = self.repo.examine(self.root, &Interrupt::default()).unwrap();
        all.into_iter().map(|it| (it.path.into(), it.why)).collect()
    }

    fn mend(&self, wanted: &Wanted) -> Mended {
        let all = self.repo.examine(self.root, &Interrupt::default()).unwrap();
        let lock = self.repo.no_pruning().unwrap();
        let [damaged] = &all[..] else { panic!("{all:?}") };
        self.repo.mend(&damaged.checksum, &stat(None), wanted, &Interrupt::default(), &lock).unwrap()
    }

    fn name_of(&self, text: &str) -> String {
        file_checksum(&stat(None), FileKind::Regular, text.as_bytes()).hex()
    }

    fn object(&self, text: &str) -> Utf8PathBuf {
        self.repo.object_path(&file_checksum(&stat(None), FileKind::Regular, text.as_bytes()))
    }
}

#[test]
fn what_is_kept_reads_back() {
    let Some(shelf) = shelf() else { return };
    assert_eq!(shelf.damaged(), []);
    assert_eq!(shelf.repo.kept(shelf.root).unwrap(), files());
    fs::write(shelf.object("one"), "won").unwrap();
    let error = format!("{:#}", shelf.repo.kept(shelf.root).unwrap_err());
    assert!(error.ends_with("it is broken"), "{error}");
}

#[test]
fn what_was_kept_under_another_label_reads_back() {
    let Some(shelf) = shelf() else { return };
    let objects = shelf.repo.begin().unwrap();
    let label = &b"system_u:object_r:old_t:s0"[..];
    // Where the kernel knows no labels, the attribute can't be written, and the names alone are looked at.
    let staged = match stage(&objects, &files(), Some(label)) {
        Ok(staged) => staged,
        Err(error) => panic!("{error:#}"),
    };
    let (root, lock) = (staged.root, shelf.repo.no_pruning().unwrap());
    shelf.repo.publish(&objects, staged, "web.2.files", &lock).unwrap();
    assert_eq!(shelf.repo.label(root).unwrap().as_deref(), Some(label));
    assert_eq!(shelf.repo.kept(root).unwrap(), files());
    assert_eq!(shelf.repo.label(shelf.root).unwrap(), None);
}

#[test]
fn an_object_is_made_anew_from_bytes_that_make_its_checksum_only() {
    let Some(shelf) = shelf() else { return };
    fs::write(shelf.object("one"), "won").unwrap();
    assert_eq!(shelf.damaged().len(), 1);
    assert!(shelf.damaged()[0].1.starts_with("has the checksum "));
    fs::write(&shelf.elsewhere, "one").unwrap();
    assert_eq!(shelf.mend(&Wanted::File(vec![shelf.elsewhere.clone()])), Mended::Anew);
    assert_eq!(shelf.damaged(), []);
    // Its own bytes are right, only its mode is not.
    fs::set_permissions(shelf.object("two"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(shelf.mend(&Wanted::File(Vec::new())), Mended::Anew);
    assert_eq!(shelf.damaged(), []);
    // Nobody has them any more.
    fs::write(shelf.object("two"), "too").unwrap();
    assert_eq!(shelf.mend(&Wanted::File(vec![shelf.elsewhere.clone()])), Mended::TakenOut);
    assert_eq!(shelf.damaged(), [("bundle/b".to_owned(), "is missing".to_owned())]);
}

#[test]
fn a_link_is_made_anew_from_its_text() {
    let Some(shelf) = shelf() else { return };
    let object = shelf.repo.object_path(&file_checksum(&stat(None), FileKind::Symlink("../x"), b""));
    fs::remove_file(&object).unwrap();
    fs::write(&object, "../x").unwrap();
    assert_eq!(shelf.damaged()[0].0, "etc/units/c");
    assert_eq!(shelf.mend(&Wanted::Link("../x".into())), Mended::Anew);
    assert_eq!(shelf.damaged(), []);
}

#[test]
fn an_object_that_cant_be_made_anew_stays_as_it_was() {
    let Some(shelf) = shelf() else { return };
    let object = shelf.object("one");
    fs::write(&object, "won").unwrap();
    fs::write(&shelf.elsewhere, "one").unwrap();
    // Where objects are published, something is in the way.
    let blocked = shelf.repo.path().join("tmp").join(format!("damaged-{}", shelf.name_of("one")));
    fs::create_dir(&blocked).unwrap();
    let checksum = file_checksum(&stat(None), FileKind::Regular, b"one");
    let lock = shelf.repo.no_pruning().unwrap();
    let wanted = Wanted::File(vec![shelf.elsewhere.clone()]);
    shelf.repo.mend(&checksum, &stat(None), &wanted, &Interrupt::default(), &lock).unwrap_err();
    assert_eq!(fs::read_to_string(&object).unwrap(), "won");
    fs::remove_dir(&blocked).unwrap();
    // A place that can't be read is no place without the bytes.
    let loop_ = shelf.elsewhere.with_file_name("x".repeat(300));
    let wanted = Wanted::File(vec![loop_]);
    let error = shelf.repo.mend(&checksum, &stat(None), &wanted, &Interrupt::default(), &lock).unwrap_err();
    assert!(format!("{error:#}").contains("File name too long"), "{error:#}");
    assert_eq!(fs::read_to_string(&object).unwrap(), "won");
}
