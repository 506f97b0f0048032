//! A ref that names what a compose would make stays; whatever decides its bytes is noticed.

use std::fs;

use camino::Utf8Path;
use serde_json::Value;
use sysctr_tests::{Program, crafted};

use crate::bench::{Bench, THREE, files, forget_layers, plain, rev};
use crate::{assert_clean, done, ostree, printed};

#[test]
fn whatever_decides_the_bytes_moves_the_ref() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    let compose = |base: &str, more: &[&str]| bench.compose(&repo, base, "three", more).ok();
    compose("base", &[]);
    let first = rev(&repo, "host");
    // Each as if nobody had composed before, too.
    let moved = |what: &str, base: &str, more: &[&str]| {
        compose(base, more);
        let made = rev(&repo, "host");
        assert_ne!(made, first, "{what}");
        forget_layers(&repo);
        done(&mut ostree(repo.as_std_path(), &["refs", "--delete", "host"]));
        compose(base, more);
        assert_eq!(rev(&repo, "host"), made, "{what}");
    };
    let back = |what: &str| {
        compose("base", &[]);
        assert_eq!(rev(&repo, "host"), first, "{what}");
        let again = compose("base", &[]);
        assert!(again.stdout.ends_with("nothing to change\n"), "{what}: {}", again.stdout);
    };
    bench.nightly(&repo);
    moved("another base", "nightly", &[]);
    back("the base");
    for naming in [["--subject", "s"], ["--parent", "base"]] {
        moved("another naming", "base", &naming);
        back("the naming");
    }
    for manifest in [
        THREE.replace("/var/lib/one", "/var/lib/other"),
        THREE.replace("unit = { replace = true }", "unit = { replace = true, restart = 'no' }"),
        THREE.replace("name = 'one'", "name = 'another'"),
        THREE.replace("group = 'g'", "group = 'another'"),
    ] {
        bench.manifest("three", &manifest);
        moved("another manifest", "base", &[]);
        bench.manifest("three", THREE);
        back("the manifest");
    }
    let image = bench.path().join("images/one");
    fs::remove_dir_all(&image).unwrap();
    crafted::write(&plain(3).layout(), &image);
    moved("another image", "base", &[]);
    fs::remove_dir_all(&image).unwrap();
    crafted::write(&plain(1).layout(), &image);
    back("the image");
    assert_clean(&repo);
}

#[test]
fn another_launcher_moves_the_ref() {
    let bench = Bench::new();
    let repo = bench.repo("bare-user");
    let launcher = bench.path().join("launcher");
    fs::copy(Program::Launcher.path(), &launcher).unwrap();
    let compose = || {
        let target = ["--repo", repo.as_str(), "--base", "base", "--ref", "host", "-m", "three.toml"];
        bench.run(&[&target[..], &["--add-launcher", launcher.to_str().unwrap()]].concat()).ok()
    };
    compose();
    let first = rev(&repo, "host");
    assert!(compose().stdout.ends_with("nothing to change\n"));
    let mut bytes = fs::read(&launcher).unwrap();
    bytes.push(0);
    fs::write(&launcher, bytes).unwrap();
    compose();
    assert_ne!(rev(&repo, "host"), first);
    bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
}

/// Removes the object of the directory at this path, by which everything below it would be found.
fn hide(repo: &Utf8Path, path: &str) {
    let line = printed(&mut ostree(repo.as_std_path(), &["ls", "-dC", "host", path]));
    let checksum = line.split_whitespace().nth(4).expect("a checksum");
    let object = repo.join(format!("objects/{}/{}.dirtree", &checksum[..2], &checksum[2..]));
    fs::remove_file(object).expect("an object");
}

#[test]
fn nothing_is_read_of_a_root_that_stands() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    bench.compose(&repo, "base", "three", &[]).ok();
    hide(&repo, "/usr/lib/containers/atomic/exporter/rootfs");
    let whole = bench.spoil_layers();
    forget_layers(&repo);
    let before = (rev(&repo, "host"), files(&repo));
    let again = bench.compose(&repo, "base", "three", &["--format", "json"]).json();
    assert_eq!((rev(&repo, "host"), files(&repo)), before);
    assert_eq!((&again["changed"], &again["paths"]), (&false.into(), &Value::Array(Vec::new())));
    let commit = &again["commit"];
    assert_eq!((&commit["checksum"], &commit["objects"]), (&before.0.as_str().into(), &0.into()));
    let actions = again["containers"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap());
    assert_eq!(actions.collect::<Vec<_>>(), ["add"; 3]);
    // Without the ref nothing stands, and all of it is made.
    for (path, bytes) in whole {
        fs::write(path, bytes).unwrap();
    }
    done(&mut ostree(repo.as_std_path(), &["refs", "--delete", "host"]));
    bench.compose(&repo, "base", "three", &[]).ok();
    assert_eq!(rev(&repo, "host"), before.0);
    assert_clean(&repo);
}
