//! `sysctr` killed at every system call that changes a file: what is active is the old one or the new one, the store is whole,
//! and the next command succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sysctr_tests::{Command, Compose, Output, Root, crafted, memory, scratch, soak};
use tempfile::TempDir;

use crate::bench::{Version, version};

/// Calls that change files or make changes durable; `openat` only where it creates.
const CALLS: &str = "openat,mkdirat,mkdir,unlinkat,unlink,rmdir,renameat,renameat2,rename,linkat,symlinkat,symlink,fchmod,\
    fchown,fchmodat,fchownat,utimensat,fsetxattr,lsetxattr,write,pwrite64,ftruncate,fsync,syncfs";
/// Of so many calls a run without `SYSCTR_SOAK` takes one.
const SAMPLE: usize = 6;

/// A host that is not booted: its program runs in it, without systemd.
struct Desk {
    root: Root,
    images: TempDir,
    /// `/etc/containers` and `/var/lib/containers`, in memory.
    state: TempDir,
}

impl Desk {
    fn new(versions: &[Version]) -> Self {
        let desk = Self { root: Root::debian(), images: scratch(), state: memory() };
        crafted::write(&version("0").crafted().layout(), &desk.images.path().join("0"));
        for version in versions {
            crafted::write(&version.crafted().layout(), &desk.images.path().join(version.name()));
        }
        let image = desk.images.path().join("0");
        let manifest =
            format!("group = 'web'\n[[container]]\nname = 'web'\nimage = 'oci:{}'\n", image.display());
        Compose::into(&desk.root).manifest(manifest).add_launcher().run().expect_ok();
        for dir in ["images", "etc/containers", "var/lib/containers"] {
            std::fs::create_dir_all(desk.root.join(dir)).expect("a new directory");
        }
        for dir in ["etc", "var"] {
            std::fs::create_dir(desk.state.path().join(dir)).expect("a new directory");
        }
        desk
    }

    /// `sysctr` with these arguments, under these words of strace's.
    fn sysctr(&self, strace: &[&str], arguments: &str) -> Output {
        let script = r#"
            root=$1 state=$2 images=$3; shift 3
            mount --bind "$state/etc" "$root/etc/containers"; mount --bind "$state/var" "$root/var/lib/containers"
            mount --bind "$images" "$root/images"; mount -t proc proc "$root/proc"
            exec "$@""#;
        let command = Command::new("unshare").args([
            "--mount",
            "--propagation",
            "private",
            "bash",
            "-euc",
            script,
            "desk",
        ]);
        let command = command.arg(self.root.path()).arg(self.state.path()).arg(self.images.path());
        let command = command.args(strace).arg("chroot").arg(self.root.path()).arg("/usr/bin/sysctr");
        command.args(arguments.split(' ')).run()
    }

    /// The image of what is active.
    fn active(&self) -> String {
        let status = self.sysctr(&[], "status --format json web").expect_ok().json();
        let container = &status["containers"][0];
        let word = |key: &str| container[key].as_str().expect("a word").to_owned();
        if word("active") == "embedded" { "embedded".to_owned() } else { word("image") }
    }

    fn store(&self) -> PathBuf {
        self.state.path().join("var/atomic/.repo")
    }

    fn assert_store_clean(&self, story: &str) {
        if self.store().exists() {
            let fsck =
                Command::new("ostree").args(["fsck", "-q"]).arg(format!("--repo={}", self.store().display()));
            let output = fsck.run();
            assert!(output.code() == 0, "{story}: {}", output.story());
        }
    }

    /// Bundles and descriptions are the same generations, and nothing else lies about.
    fn assert_tidy(&self, story: &str) {
        let generations = |dir: &str, but: &[&str]| -> BTreeSet<String> {
            let entries = std::fs::read_dir(self.state.path().join(dir)).expect("a directory");
            let names =
                entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
            names.filter(|name| !but.contains(&name.as_str())).collect()
        };
        let bundles = generations("var/atomic", &[".lock", ".repo", ".web.number"]);
        assert_eq!(bundles, generations("etc/atomic", &["web"]), "{story}");
    }
}

/// Every call of `sysctr` with these arguments that changes files, as its name and how often one thread had made it.
fn calls(desk: &Desk, arguments: &str) -> Vec<(String, usize)> {
    let log = scratch();
    let log = log.path().join("log");
    let trace = ["strace", "-f", "-o", log.to_str().expect("UTF-8"), "-e", CALLS];
    desk.sysctr(&trace, arguments).expect_ok();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut calls = BTreeSet::new();
    for line in std::fs::read_to_string(log).expect("strace's log").lines() {
        let Some((before, rest)) = line.split_once('(') else { continue };
        let mut words = before.split_whitespace();
        let (Some(thread), Some(name), None) = (words.next(), words.next(), words.next()) else { continue };
        let count = counts.entry((thread.to_owned(), name.to_owned())).or_default();
        *count += 1;
        if name != "openat" || rest.contains("O_CREAT") {
            calls.insert((name.to_owned(), *count));
        }
    }
    calls.into_iter().collect()
}

fn copy(from: &Path, to: &Path) {
    for dir in ["etc", "var"] {
        // What is bound must stay the same directory.
        let script = r#"rm -rf "$2"; cp -a "$1" "$2""#;
        Command::new("bash")
            .args(["-euc", script, "copy"])
            .arg(from.join(dir))
            .arg(to.join(dir))
            .run()
            .expect_ok();
    }
}

/// Kills `arguments` at each call; `ends` are the states that may be found then, `last` what the same command leads to.
fn kill_everywhere(desk: &Desk, arguments: &str, ends: &[&str], last: &str) {
    let before = memory();
    copy(desk.state.path(), before.path());
    let calls = calls(desk, arguments);
    assert!(calls.len() > 5, "{calls:?}");
    let step = if soak() { 1 } else { SAMPLE };
    let mut found = BTreeMap::<String, usize>::new();
    for (call, number) in calls.iter().step_by(step) {
        copy(before.path(), desk.state.path());
        let story = format!("{arguments} killed at {call} number {number}");
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={number}"));
        let killed =
            desk.sysctr(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject], arguments);
        assert!(killed.code() != 0, "{story}: it went on: {}", killed.story());
        let active = desk.active();
        assert!(ends.contains(&active.as_str()), "{story}: active is {active}");
        *found.entry(active).or_default() += 1;
        desk.assert_store_clean(&story);
        let again = desk.sysctr(&[], arguments);
        assert!(again.code() == 0, "{story}: {}", again.story());
        assert_eq!(desk.active(), last, "{story}: {}", again.story());
        desk.assert_tidy(&story);
    }
    println!("{arguments} killed at {} of {} calls: {found:?}", calls.len().div_ceil(step), calls.len());
}

#[test]
fn updates_killed_everywhere() {
    let desk = Desk::new(&[version("1"), version("2")]);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    let ends = ["oci:/images/1", "oci:/images/2"];
    kill_everywhere(&desk, "update web --image oci:/images/2", &ends, ends[1]);
}

#[test]
fn first_updates_and_resets_killed_everywhere() {
    let desk = Desk::new(&[version("1")]);
    let ends = ["embedded", "oci:/images/1"];
    kill_everywhere(&desk, "update web --image oci:/images/1", &ends, ends[1]);
    kill_everywhere(&desk, "reset web", &ends, ends[0]);
}
