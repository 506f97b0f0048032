//! The examples of manifests/hooks, exactly those files, each in the surroundings for which it is made: podman's and mkosi's own; of
//! rpm-ostree and osbuild, which Debian lacks, everything that they put around a hook.

mod ci;
mod containerfile;
mod mkosi;
mod osbuild;
mod rpm_ostree;

use std::fs;
use std::path::{Path, PathBuf};

use sysctr_tests::runtime::Session;
use sysctr_tests::unit::Unit;
use sysctr_tests::{Command, Compose, dist_dir, fixture, scratch, source_dir};
use tempfile::TempDir;

/// A file or directory of manifests/hooks.
fn hooks(path: &str) -> PathBuf {
    source_dir().join("manifests/hooks").join(path)
}

/// A directory with what `hooks` of manifests/hooks are, `containers.toml`, `images/`, and the two programs in `bin/`.
fn workshop(names: &[&str]) -> TempDir {
    let work = scratch();
    let copy = |from: &Path| {
        Command::new("cp").arg("-a").arg(from).arg(work.path()).run().expect_ok();
    };
    names.iter().map(|name| hooks(name)).chain([hooks("containers.toml")]).for_each(|path| copy(&path));
    let images = work.path().join("images");
    fs::create_dir(&images).expect("a step of the test");
    let made = fixture::directory("hook-images");
    for name in ["hello.tar", "tools.tar"] {
        fs::copy(made.join(name), images.join(name)).expect("a step of the test");
    }
    fs::create_dir(work.path().join("bin")).expect("a step of the test");
    for name in ["sysctr-compose", "sysctr"] {
        fs::copy(dist_dir().join(name), work.path().join("bin").join(name)).expect("`make build` makes it");
    }
    work
}

/// `PATH` with the programs of a workshop in front, as on a build machine where they are installed.
fn path(work: &TempDir) -> String {
    format!("{}:{}", work.path().join("bin").display(), std::env::var("PATH").expect("a step of the test"))
}

/// The base tree in the form of an OSTree commit.
fn ostree_host() -> PathBuf {
    fixture::directory("ostree-host").join("root.tar.zst")
}

fn unpack(archive: &Path, root: &Path) {
    fs::create_dir_all(root).expect("a step of the test");
    let tar = ["--zstd", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"];
    Command::new("tar").args(tar).arg(archive).arg("-C").arg(root).run().expect_ok();
}

/// Both containers of the examples are in `root`, every file as its record says.
#[track_caller]
fn expect_composed(root: &Path) {
    let list = Compose::into_dir(root).verb("list").arg("--format=json").run().expect_ok().json();
    let names: Vec<_> =
        list["containers"].as_array().expect("a step of the test").iter().map(|each| &each["name"]).collect();
    assert_eq!(names, ["hello", "tools"]);
    let verified = Compose::into_dir(root).verb("verify").arg("--format=json").run().expect_ok().json();
    assert_eq!(verified["findings"], serde_json::json!([]), "{verified}");
}

/// The unit of `hello` in `root` starts it, it answers, and the unit stops it.
#[track_caller]
fn expect_runs(root: &Path) {
    let unit = Unit::of(root, "hello");
    let told = Session::new().boot("hello").start(&unit).fetch(8081).stop(&unit).run_in(root).expect_ok();
    assert!(told.stdout().ends_with("hello from a container with four entries\n"), "{}", told.story());
}
