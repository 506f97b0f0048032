//! The fixtures are what fixtures/INDEX.md says, and the judges agree with each other: what a test concludes from them stands.

use std::collections::BTreeMap;

use sysctr_tests::listing::Kind;
use sysctr_tests::oracle::Unpacked;
use sysctr_tests::{Image, Listing, Mtimes, Root};

fn text(listing: &Listing) -> BTreeMap<String, String> {
    let line = |line: &str| line.split_once(' ').map(|(path, rest)| (path.to_owned(), rest.to_owned()));
    listing.to_string().lines().filter_map(line).collect()
}

#[test]
fn the_root_is_a_debian_that_can_boot_and_run_containers() {
    let listing = Listing::of(&Root::debian().path());
    for path in [
        "usr/lib/systemd/systemd",
        "usr/sbin/runc",
        "usr/bin/crun",
        "usr/bin/dbus-daemon",
        "etc/debian_version",
    ] {
        let bytes = listing.get(path).map(|entry| entry.kind.clone());
        assert!(matches!(bytes, Some(Kind::File { .. })), "{path}: {bytes:?}");
    }
}

#[test]
fn all_forms_of_nginx_are_one_tree() {
    let first = Unpacked::by_umoci(&Image::nginx());
    assert_eq!(first.listing.get("usr/sbin/nginx").unwrap().mode, 0o755);
    assert_eq!(first.listing.get("etc/nginx/sites-enabled/default"), None);
    for form in [Image::nginx_zstd(), Image::nginx_oci_archive(), Image::nginx_docker_archive()] {
        let other = Unpacked::by_umoci(&form);
        other.listing.expect_same(&first.listing, Mtimes::Of(&first.named));
        assert_eq!(other.named, first.named);
    }
}

#[test]
fn hello_has_its_program_and_page_only() {
    let unpacked = Unpacked::by_umoci(&Image::hello());
    let paths: Vec<_> =
        unpacked.listing.paths().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(paths, ["", "bin", "bin/busybox", "www", "www/index.html"]);
}

#[test]
fn the_large_image_is_large() {
    let unpacked = Unpacked::by_umoci(&Image::many());
    let files = unpacked.listing.paths().filter(|path| {
        matches!(unpacked.listing.get(path).map(|entry| &entry.kind), Some(Kind::File { .. }))
    });
    let count = files.count();
    assert!(count >= 15_000, "{count} files");
}

#[test]
fn whiteouts_leave_what_their_names_say() {
    let Unpacked { listing, named } = Unpacked::by_umoci(&Image::whiteouts());
    let cases = listing.below("cases");
    let gone = [
        "directory-is-gone/gone",
        "link-is-gone-its-aim-stays/link",
        "one-hard-link-is-gone/first",
        "opaque-is-empty/o/gone",
        "opaque-first-then-new/o/new",
        "opaque-last-keeps-new/o/gone",
        "directory-gone-and-new-one/d/gone",
        "directory-to-file/x/y",
        "directory-to-symlink/x/gone",
    ];
    for path in gone {
        assert_eq!(cases.get(path), None, "{path}");
    }
    for path in ["file-is-gone/gone", "opaque-last-keeps-new/o/new", "whiteout-after-new-of-that-name/name"] {
        assert!(cases.get(path).is_some(), "{path}");
    }
    let leaked = cases.paths().find(|path| path.windows(4).any(|part| part == b".wh."));
    assert_eq!(leaked, None);
    let linked = |path| cases.get(path).unwrap().linked_to.as_deref();
    assert_eq!(linked("hard-link-to-a-lower-layer/b"), Some(&b"hard-link-to-a-lower-layer/a"[..]));
    assert_eq!(linked("hard-link-to-a-replaced-file/below"), None);
    assert_eq!(cases.get("upper-directory-metadata-wins/x").unwrap().mode, 0o2775);
    assert!(!named.contains(&b"cases/directory-is-gone/gone"[..]));
    assert!(named.contains(&b"cases/directory-gone-and-new-one/d"[..]));
}

#[test]
fn odd_entries_are_there_in_every_dialect() {
    let Unpacked { listing, named } = Unpacked::by_umoci(&Image::odd());
    let special = listing.paths().filter(|path| matches!(listing.get(path).unwrap().kind, Kind::Special(..)));
    assert_eq!(special.count(), 3);
    assert!(!named.contains(&b"implied/by"[..]) && named.contains(&b"late"[..]));
    assert!(named.contains(&b"names/not-utf8-\xff\xfe"[..]));
    let first = text(&listing.clone().below("posix"));
    assert_eq!(first.len(), 8, "{first:?}");
    let gnu = Unpacked::by_gnu_tar(&Image::gnu_sparse()).listing.below("gnu-sparse");
    let without_times = |listing: &Listing| -> Vec<String> {
        let strip = |line: &str| line.rsplit_once(" @").map(|(line, _)| line.to_owned());
        listing.to_string().lines().filter_map(strip).collect()
    };
    for dialect in
        ["v7", "oldgnu", "gnu", "ustar", "sparse-0.0", "sparse-0.1", "sparse-1.0", "bsdtar", "bsdtar-gnu"]
    {
        assert_eq!(
            without_times(&listing.clone().below(dialect)),
            without_times(&listing.clone().below("posix")),
            "{dialect}"
        );
    }
    assert_eq!(without_times(&gnu), without_times(&listing.below("posix")));
}

#[test]
fn what_podman_built_has_what_builds_make() {
    let Unpacked { listing, .. } = Unpacked::by_umoci(&Image::built());
    let entry = |path: &str| listing.get(path).unwrap_or_else(|| panic!("no {path}"));
    assert_eq!(entry("usr/local/bin/becomes-root").mode, 0o4755);
    assert!(entry("usr/local/bin/binds-low").xattrs.contains_key(&b"security.capability"[..]));
    assert_eq!(entry("opt/app").owner, (990, 990));
    assert!(matches!(entry("opt/app/data/deep").kind, Kind::File { bytes: 0, .. }));
    assert_eq!(listing.get("opt/gone/a"), None);
    assert_eq!(entry("opt/old").mtime.0, 981_173_106);
    assert!(listing.get("opt/new\nline").is_some() && listing.get("opt/ümläut").is_some());
}
