//! Killed at every system call that changes a file, the next opening leaves the root as it was or as it was to become.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use crate::listing::list;
use crate::{DRIVER, copy, done, make_root, scratch, step};

/// Calls that change files or make changes durable; `openat` only where it creates.
const CALLS: &str = "openat,mkdirat,unlinkat,renameat,renameat2,linkat,symlinkat,fchmod,fchown,fchmodat,fchownat,\
    utimensat,fsetxattr,lsetxattr,fremovexattr,write,pwrite64,ftruncate,fsync,syncfs";

/// Every changing call of a step, as its name and its number among the calls of that name.
fn calls(step: &str, root: &Path, log: &Path) -> Vec<(String, usize)> {
    done(Command::new("strace").args(["-f", "-o"]).arg(log).args(["-e", CALLS, DRIVER, step]).arg(root));
    let mut counts = BTreeMap::new();
    let mut calls = Vec::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let Some((before, arguments)) = line.split_once('(') else { continue };
        let name = before.split_whitespace().last().unwrap().to_owned();
        let count = counts.entry(name.clone()).or_insert(0_usize);
        *count += 1;
        if name != "openat" || arguments.contains("O_CREAT") {
            calls.push((name, *count));
        }
    }
    calls
}

/// Runs a step that is killed when it enters the call; whether it was.
fn killed(step: &str, root: &Path, (call, number): &(String, usize)) -> bool {
    let inject = format!("inject={call}:signal=KILL:when={number}");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", &format!("trace={call}"), "-e", &inject, "-o", "/dev/null", DRIVER, step])
        .arg(root)
        .output()
        .unwrap();
    !output.status.success()
}

/// Kills `name`, made on `before`, at each of its calls; two at a time.
fn kill_everywhere(name: &str, before: &Path, recovery: &str) {
    let scratch = scratch();
    let undisturbed = scratch.path().join("undisturbed");
    copy(before, &undisturbed);
    let calls = calls(name, &undisturbed, &scratch.path().join("log"));
    assert!(calls.len() > 20, "{calls:?}");
    let clean = scratch.path().join("clean");
    copy(before, &clean);
    step(recovery, &clean).unwrap();
    let (before_list, after_list) = (list(&clean), list(&undisturbed));
    let ends = Mutex::new(BTreeMap::<&str, usize>::new());
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (calls, ends) = (&calls, &ends);
            let (before_list, after_list) = (&before_list, &after_list);
            let root = scratch.path().join(format!("root-{half}"));
            scope.spawn(move || {
                for call in calls.iter().skip(half).step_by(2) {
                    copy(before, &root);
                    assert!(killed(name, &root, call), "{name} went on through {call:?}");
                    step("open", &root).unwrap_or_else(|error| panic!("after {call:?}: {error:#}"));
                    let mut found = list(&root);
                    let end = if found == *before_list { "undone" } else { "completed" };
                    if end == "undone" && name != recovery {
                        step(name, &root).unwrap();
                        found = list(&root);
                    }
                    assert_eq!(found, *after_list, "{name} killed at {call:?}, then {end}");
                    *ends.lock().unwrap().entry(end).or_default() += 1;
                    fs::remove_dir_all(&root).unwrap();
                }
            });
        }
    });
    println!("{name} killed at {} calls: {:?}", calls.len(), ends.into_inner().unwrap());
}

#[test]
fn first_compose_killed_everywhere() {
    let scratch = scratch();
    kill_everywhere("first", &make_root(scratch.path()), "open");
}

#[test]
fn second_compose_killed_everywhere() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    step("first", &root).unwrap();
    kill_everywhere("second", &root, "open");
}

#[test]
fn removal_killed_everywhere() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    step("first", &root).unwrap();
    kill_everywhere("remove", &root, "open");
}

/// Ending a cut-off compose can itself be cut off anywhere, before and after the commit point.
#[test]
fn recovery_killed_everywhere() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    step("first", &root).unwrap();
    let probe = scratch.path().join("probe");
    copy(&root, &probe);
    let calls = calls("second", &probe, &scratch.path().join("log"));
    let renames: Vec<_> = calls.iter().filter(|(name, _)| name.starts_with("renameat")).collect();
    // The last rename is the journal's commit; the one before it is the last change.
    let unlinks: Vec<_> = calls.iter().filter(|(name, _)| name == "unlinkat").collect();
    for cut in [renames[renames.len() - 2], unlinks[unlinks.len() / 2]] {
        let cut_off = scratch.path().join("cut-off");
        copy(&root, &cut_off);
        assert!(killed("second", &cut_off, cut));
        kill_everywhere("open", &cut_off, "open");
        fs::remove_dir_all(&cut_off).unwrap();
    }
}
