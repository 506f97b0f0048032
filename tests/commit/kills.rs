//! Killed anywhere, the ref is the old or the new commit, and the next run leaves nothing behind.
//!
//! `make test` takes a sample, `make soak` the whole.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::{DRIVER, assert_clean, done, make_repo, make_root, ostree, printed};

fn driver(step: &str, repo: &camino::Utf8Path) -> Command {
    let mut command = Command::new(DRIVER);
    command.args([step, repo.as_str(), "base", "host", "2"]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn killed_at_moments_of_the_whole_run() {
    // In memory: each run flushes its file system.
    let scratch = tempfile::Builder::new().prefix("sysctr-commit-").tempdir_in("/dev/shm").unwrap();
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "archive", &root);
    let rev = |reference: &str| {
        let output = ostree(repo.as_std_path(), &["rev-parse", reference]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    let without = || {
        done(&mut ostree(repo.as_std_path(), &["refs", "--delete", "host"]));
        done(&mut ostree(repo.as_std_path(), &["prune", "--refs-only"]));
    };
    done(&mut driver("first", &repo));
    let new = rev("host").unwrap();
    without();
    let started = std::time::Instant::now();
    done(&mut driver("first", &repo));
    let took = started.elapsed();
    let mut cut_off = 0;
    let moments: u32 = if sysctr_tests::soak() { 100 } else { 10 };
    for moment in 0..moments {
        // Every other time, all objects are there already.
        if moment % 2 == 0 {
            without()
        } else {
            done(&mut ostree(repo.as_std_path(), &["refs", "--delete", "host"]));
        }
        let mut child = driver("first", &repo).spawn().unwrap();
        std::thread::sleep(took * moment / moments);
        child.kill().unwrap();
        cut_off += u32::from(!child.wait().unwrap().success());
        let after = rev("host");
        assert!(after.is_none() || after.as_ref() == Some(&new), "moment {moment}");
        done(&mut ostree(repo.as_std_path(), &["fsck", "--quiet"]));
        done(&mut driver("first", &repo));
        assert_eq!(rev("host").as_ref(), Some(&new), "moment {moment}");
        assert_clean(&repo);
    }
    assert!(cut_off > moments * 2 / 5, "only {cut_off} of {moments} runs were cut off");
}

/// What changes files or makes changes durable, or is a step towards it.
const CALLS: &[&str] = &[
    "mkdirat",
    "renameat2",
    "renameat",
    "linkat",
    "symlinkat",
    "fchmod",
    "fsetxattr",
    "unlinkat",
    "syncfs",
    "fsync",
    "write",
];

/// How often each of these calls is made by an undisturbed run.
fn count(call: &str, repo: &camino::Utf8Path, log: &std::path::Path) -> usize {
    done(Command::new("strace").args(["-f", "-o"]).arg(log).args([
        "-e",
        call,
        DRIVER,
        "small",
        repo.as_str(),
        "base",
        "host",
        "1",
    ]));
    std::fs::read_to_string(log)
        .expect("a step of the test")
        .lines()
        .filter(|line| line.contains(&format!("{call}(")))
        .count()
}

/// The entries of the layer cache.
fn layers(repo: &camino::Utf8Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(found) = std::fs::read_dir(repo.join("extensions/sysctr/layers")) else { return BTreeMap::new() };
    let paths = found.map(|entry| entry.expect("a step of the test").path());
    paths.map(|path| (path.display().to_string(), std::fs::read(path).expect("a step of the test"))).collect()
}

fn disturb(what: &str) {
    let scratch =
        tempfile::Builder::new().prefix("sysctr-commit-").tempdir_in("/dev/shm").expect("a step of the test");
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "archive", &root);
    let fresh = scratch.path().join("fresh");
    done(Command::new("cp").args(["-a", "--no-target-directory"]).arg(&repo).arg(&fresh));
    let reset = || {
        std::fs::remove_dir_all(&repo).expect("a step of the test");
        done(Command::new("cp").args(["-a", "--no-target-directory"]).arg(&fresh).arg(&repo));
    };
    done(&mut driver("small", &repo));
    let known = layers(&repo);
    assert_eq!(known.len(), 1);
    let new = printed(&mut ostree(repo.as_std_path(), &["rev-parse", "host"]));
    let mut disturbed = 0;
    let (stride, least) = if sysctr_tests::soak() { (1, 40) } else { (9, 10) };
    for call in CALLS {
        reset();
        for number in (1..=count(call, &repo, &scratch.path().join("log"))).step_by(stride) {
            reset();
            let output = Command::new("strace")
                .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
                .args(["-e", &format!("inject={call}:{what}:when={number}")])
                .args([DRIVER, "small", repo.as_str(), "base", "host", "1"])
                .output()
                .expect("a step of the test");
            disturbed += usize::from(!output.status.success());
            let after =
                ostree(repo.as_std_path(), &["rev-parse", "host"]).output().expect("a step of the test");
            let moved = after.status.success();
            assert!(!moved || after.stdout == new.as_bytes(), "{call} {number}");
            done(&mut ostree(repo.as_std_path(), &["fsck", "--quiet"]));
            let left = layers(&repo);
            assert!(left.is_empty() || moved && left == known, "{call} {number}");
            done(&mut driver("small", &repo));
            assert_eq!(layers(&repo), known, "{call} {number}");
            assert_eq!(
                printed(&mut ostree(repo.as_std_path(), &["rev-parse", "host"])),
                new,
                "{call} {number}"
            );
            assert_clean(&repo);
        }
    }
    assert!(disturbed > least, "only {disturbed} runs were disturbed");
}

#[test]
fn killed_at_every_call() {
    disturb("signal=KILL");
}

#[test]
fn full_at_every_call() {
    disturb("error=ENOSPC");
}

#[test]
fn broken_at_every_call() {
    disturb("error=EIO");
}
