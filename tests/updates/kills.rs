//! `sysctr` killed at every system call that changes a file: what is active is the old one or the new one, the store is whole,
//! and the next command succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sysctr_tests::{Command, memory, scratch, soak};

use crate::bench::version;
use crate::desk::Desk;

/// Calls that change files or make changes durable, by the names that glibc and musl give them; those that open only where they
/// create.
const CALLS: &str = "openat,open,mkdirat,mkdir,unlinkat,unlink,rmdir,renameat,renameat2,rename,linkat,link,symlinkat,symlink,\
    fchmod,chmod,fchown,chown,lchown,fchmodat,fchownat,utimensat,fsetxattr,lsetxattr,write,writev,pwrite64,ftruncate,fsync,syncfs";
/// Of so many calls a run without `SYSCTR_SOAK` takes one.
pub const SAMPLE: usize = 6;

/// Every call of `sysctr` with these arguments that changes files, as its name and how often one thread had made it.
pub fn calls(desk: &Desk, arguments: &str) -> Vec<(String, usize)> {
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
        if !matches!(name, "openat" | "open") || rest.contains("O_CREAT") {
            calls.insert((name.to_owned(), *count));
        }
    }
    calls.into_iter().collect()
}

pub fn copy(from: &Path, to: &Path) {
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
    kill_and_look(desk, arguments, ends, last, &|_| ());
}

/// The same; `look` judges what is there whenever a command has ended well.
fn kill_and_look(desk: &Desk, arguments: &str, ends: &[&str], last: &str, look: &dyn Fn(&str)) {
    let before = memory();
    copy(desk.state(), before.path());
    let calls = calls(desk, arguments);
    assert!(calls.len() > 5, "{calls:?}");
    let step = if soak() { 1 } else { SAMPLE };
    let mut found = BTreeMap::<String, usize>::new();
    for (call, number) in calls.iter().step_by(step) {
        copy(before.path(), desk.state());
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
        assert_eq!(desk.bundles(), desk.described(0), "{story}");
        look(&story);
    }
    println!("{arguments} killed at {} of {} calls: {found:?}", calls.len().div_ceil(step), calls.len());
}

#[test]
fn updates_killed_everywhere() {
    let desk = Desk::new(&[version("1"), version("2")], 1);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    let ends = ["oci:/images/1", "oci:/images/2"];
    kill_everywhere(&desk, "update web --image oci:/images/2", &ends, ends[1]);
    // What was healthy once is not forgotten, however often a return to it is cut off.
    kill_everywhere(&desk, "rollback web --to 1", &ends, ends[0]);
}

#[test]
fn first_updates_and_resets_killed_everywhere() {
    let desk = Desk::new(&[version("1")], 1);
    let ends = ["embedded", "oci:/images/1"];
    kill_everywhere(&desk, "update web --image oci:/images/1", &ends, ends[1]);
    kill_everywhere(&desk, "reset web", &ends, ends[0]);
    // What nothing refers to any more.
    for generation in desk.described(0) {
        std::fs::remove_dir_all(desk.etc(0).join("atomic").join(generation)).expect("a generation");
    }
    kill_everywhere(&desk, "gc", &ends[..1], ends[0]);
}

#[test]
fn repairs_killed_everywhere() {
    let desk = Desk::new(&[version("1")], 1);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    let (bundle, etc) = (desk.state().join("var/atomic/web.1"), desk.etc(0).join("atomic/web.1"));
    // Removed first: the store has the same file.
    for path in
        [bundle.join("config.json"), bundle.join("rootfs/www/index.html"), etc.join("units/web.service")]
    {
        std::fs::remove_file(&path).expect("a file");
        std::fs::write(&path, "changed").expect("a new file");
    }
    let ends = ["oci:/images/1"];
    kill_everywhere(&desk, "verify web --repair", &ends, ends[0]);
    desk.sysctr(&[], "verify web").expect_ok();
}

#[test]
fn host_files_of_updates_killed_everywhere() {
    let with_files = |answer: &str| {
        let version = version(answer).host_file("/etc/containers/web.d/conf", &format!("conf {answer}"));
        version
            .host_file(&format!("/etc/containers/only-{answer}"), answer)
            .host_file("/etc/containers/kept", answer)
    };
    let desk = Desk::new(&[with_files("1"), with_files("2")], 1);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    let at = |path: &str| std::fs::read_to_string(desk.etc(0).join(path)).ok();
    // An admin's word is the last.
    std::fs::write(desk.etc(0).join("kept"), "mine").expect("a file");
    let all = |answer: Option<&str>, story: &str| {
        let expected = answer.map(|answer| format!("conf {answer}"));
        assert_eq!(at("web.d/conf"), expected, "{story}");
        for only in ["1", "2"] {
            assert_eq!(
                at(&format!("only-{only}")).as_deref(),
                Some(only).filter(|_| answer == Some(only)),
                "{story}"
            );
        }
        assert_eq!(at("kept").as_deref(), Some("mine"), "{story}");
        let files = ["web.d", "only-1", "only-2", "kept", "atomic"];
        let names =
            std::fs::read_dir(desk.etc(0)).expect("a directory").map(|it| it.expect("an entry").file_name());
        let strange: Vec<_> = names.filter(|name| !files.iter().any(|file| name == file)).collect();
        assert!(strange.is_empty(), "{story}: {strange:?}");
    };
    let ends = ["oci:/images/1", "oci:/images/2"];
    kill_and_look(&desk, "update web --image oci:/images/2", &ends, ends[1], &|story| all(Some("2"), story));
    let ends = ["embedded", "oci:/images/2"];
    kill_and_look(&desk, "reset web", &ends, ends[0], &|story| all(None, story));
    assert!(!desk.etc(0).join("atomic/.web.files").exists() && !desk.etc(0).join("web.d").exists());
}

#[test]
fn what_is_fetched_ahead_killed_everywhere() {
    let desk = Desk::new(&[version("1"), version("2")], 1);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    let old = "oci:/images/1";
    kill_everywhere(&desk, "update web --image oci:/images/2 --download-only", &[old], old);
    let images = || desk.sysctr(&[], "images list --format json").expect_ok().json()["images"].clone();
    assert_eq!(images().as_array().map(Vec::len), Some(2), "{}", images());
    kill_everywhere(&desk, "images prune", &[old], old);
    assert_eq!(images().as_array().map(Vec::len), Some(1), "{}", images());
}
