//! `plan` against what `compose` then does: the whole report, and every entry of the root.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use sysctr_tests::{Compose, Image, Listing, Mtimes, Root};

/// Images with `/exports` and without, in a host whose /usr/local is the machine's.
fn manifest(containers: &[(&str, &str)]) -> String {
    let one = |(name, settings): &(&str, &str)| {
        let image = if *name == "plain" { Image::payload() } else { Image::exports(shape(name)) };
        format!("[[container]]\nname = '{name}'\nimage = '{}'\n{settings}\n", image.in_manifest())
    };
    format!("group = 'planned'\n{}", containers.iter().map(one).collect::<String>())
}

fn shape(name: &str) -> &'static str {
    match name {
        "etcd" => "etcd",
        "elsewhere" => "hello-world",
        _ => "serve",
    }
}

fn root() -> Root {
    let root = Root::debian();
    std::fs::rename(root.join("etc"), root.join("usr/etc")).unwrap();
    std::fs::remove_dir_all(root.join("usr/local")).unwrap();
    std::os::unix::fs::symlink("../var/usrlocal", root.join("usr/local")).unwrap();
    root
}

/// Plans, looks that nothing changed, composes, and holds both reports and the root against each other.
fn as_planned(root: &Root, manifest: &str) {
    let run = |verb: Option<&'static str>| {
        let compose = Compose::into(root).manifest(manifest).add_launcher();
        let compose = compose.with(&Image::exports("serve")).with(&Image::payload());
        verb.into_iter().fold(compose, Compose::verb).arg("--format").arg("json").run().expect_ok().json()
    };
    let before = Listing::of(&root.path());
    let mut plan = run(Some("plan"));
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
    let done = run(None);
    assert_eq!(plan["planned"].take(), true);
    plan["planned"] = false.into();
    assert_eq!(plan, done);
    told_is_done(&plan, &before, &Listing::of(&root.path()));
}

/// Every path of the plan changed as it says, and no other did; time stamps of directories on the way aside.
fn told_is_done(plan: &serde_json::Value, before: &Listing, after: &Listing) {
    let mut told = BTreeMap::new();
    for path in plan["paths"].as_array().unwrap() {
        let text = path["path"].as_str().unwrap().trim_start_matches('/').to_owned();
        told.insert(text, path["action"].as_str().unwrap().to_owned());
    }
    assert_eq!(plan["changed"], !told.is_empty());
    for (path, action) in &told {
        let found = (before.get(path).is_some(), after.get(path).is_some());
        let expected = match action.as_str() {
            "add" => (false, true),
            "change" => (true, true),
            "remove" => (true, false),
            other => panic!("{other}"),
        };
        // Directories on the list go only when they are empty.
        let stays = action == "remove" && found == (true, true);
        let is_directory =
            |it: &Listing| it.get(path).is_some_and(|it| it.kind == sysctr_tests::listing::Kind::Directory);
        assert!(found == expected || stays && is_directory(after), "{path}: {action}, {found:?}");
    }
    let within = |path: &str| {
        told.keys().any(|told| {
            path == told || path.strip_prefix(told.as_str()).is_some_and(|it| it.starts_with('/'))
        })
    };
    let all: BTreeSet<_> = before.paths().chain(after.paths()).collect();
    for path in all {
        let (old, new) = (before.get(path), after.get(path));
        let same = match (old, new) {
            (Some(old), Some(new)) => (&old.kind, old.mode, old.owner) == (&new.kind, new.mode, new.owner),
            _ => false,
        };
        let text = String::from_utf8_lossy(path);
        assert!(same || within(&text), "{text} is not in the plan");
    }
}

#[test]
fn a_plan_says_the_same_as_the_compose_and_what_comes_of_it() {
    let root = root();
    let first = [("etcd", ""), ("plain", ""), ("serve", ""), ("elsewhere", "rootfs = '/srv/x'")];
    as_planned(&root, &manifest(&first));
    as_planned(&root, &manifest(&first));
    // Another value, another mount target, a root of its own, one container less.
    let second = [
        ("etcd", "set = { ETCD_NAME = 'other' }"),
        ("plain", "run = { tmpfs = ['/new/place'] }"),
        ("elsewhere", ""),
    ];
    as_planned(&root, &manifest(&second));
    as_planned(&root, &manifest(&[]));
}
