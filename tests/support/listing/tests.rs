//! A lister that overlooks something would let everything pass.

use std::os::unix::fs::symlink;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn tree() -> tempfile::TempDir {
    let dir = crate::scratch();
    let path = dir.path();
    fs::create_dir(path.join("d")).unwrap();
    fs::write(path.join("d/file"), "content").unwrap();
    fs::hard_link(path.join("d/file"), path.join("d/second")).unwrap();
    fs::write(path.join("d/alone"), "content").unwrap();
    fs::write(path.join(OsStr::from_bytes(b"d/\xff \n")), "").unwrap();
    symlink("file", path.join("d/link")).unwrap();
    for name in ["d/file", "d/alone", "d"] {
        let file = fs::File::open(path.join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::new(1_000_000, 1)).unwrap();
    }
    dir
}

/// What the lister says after `change`, without times.
fn seen(change: impl FnOnce(&Path), mtimes: Mtimes<'_>) -> Vec<String> {
    let dir = tree();
    let before = Listing::of(dir.path());
    change(dir.path());
    let after = Listing::of(dir.path());
    assert_eq!(before == after, before.digest() == after.digest());
    after.differences(&before, mtimes)
}

#[test]
fn an_unchanged_tree_has_no_differences() {
    assert_eq!(seen(|_| (), Mtimes::All), Vec::<String>::new());
}

#[test]
fn text_is_sorted_escaped_and_complete() {
    let dir = tree();
    let listing = Listing::of(dir.path()).below("d");
    let text: Vec<_> =
        ["alone", "file"].map(|path| listing.get(path).unwrap().line(path.as_bytes(), true)).into();
    let content = "file 7 ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73 0644 0:0";
    assert_eq!(text[0], format!("/alone {content} @1000000.000000001"));
    assert_eq!(text[1], format!("/file {content} same=/file @1000000.000000001"));
    assert!(listing.to_string().contains("/\\xff\\x20\\x0a file 0 "), "{listing}");
    assert!(listing.to_string().contains("/link link -> file 0777 0:0"), "{listing}");
}

#[test]
fn every_kind_of_change_is_seen() {
    let shell = |script: &'static str| {
        move |path: &Path| {
            crate::Command::new("sh").args(["-ec", script]).in_dir(path).run().expect_ok();
        }
    };
    for script in [
        "printf Content >d/alone",
        "printf contents >d/alone",
        "chmod 4644 d/alone",
        "chown 3 d/alone",
        "chgrp 3 d/alone",
        "chown -h 3 d/link",
        "setfattr -n user.x -v y d/alone",
        "setfattr -n user.x -v y d",
        "rm d/alone",
        "touch d/new",
        "mkdir d/new",
        "mkfifo d/new",
        "mknod d/new c 1 3",
        "rm d/alone; mkdir d/alone",
        "ln -sfn elsewhere d/link",
        // The same bytes, but one file more or less.
        "rm d/second; cp -a d/file d/second",
        "rm d/alone; ln d/file d/alone",
        "mv d/alone d/renamed",
    ] {
        assert_ne!(seen(shell(script), Mtimes::None), Vec::<String>::new(), "{script}");
    }
}

#[test]
fn times_count_where_they_are_asked_for() {
    let later = |path: &Path| {
        let file = fs::File::open(path.join("d/alone")).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::new(1_000_000, 2)).unwrap();
    };
    let of = |path: &[u8]| [path.to_vec()].into_iter().collect();
    assert_eq!(seen(later, Mtimes::All).len(), 2);
    assert_eq!(seen(later, Mtimes::None).len(), 0);
    assert_eq!(seen(later, Mtimes::Of(&of(b"d/alone"))).len(), 2);
    assert_eq!(seen(later, Mtimes::Of(&of(b"d/file"))).len(), 0);
}

#[test]
fn a_removed_name_is_no_longer_a_hard_link() {
    let dir = tree();
    let mut listing = Listing::of(dir.path());
    assert!(listing.get("d/second").unwrap().linked_to.is_some());
    listing.remove(b"d/file");
    assert_eq!(listing.get("d/second").unwrap().linked_to, None);
}
