//! Killed or failing at every system call that changes a file: the root is as it was, or as it was to become.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use crate::listing::{assert_same, list};
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

/// Runs a step under strace, which does `what` when the step enters the call; gives what the step said if it failed.
fn injected(step: &str, root: &Path, (call, number): &(String, usize), what: &str) -> Option<String> {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", &format!("trace={call}"), "-o", "/dev/null"])
        .args(["-e", &format!("inject={call}:{what}:when={number}"), DRIVER, step])
        .arg(root)
        .output()
        .unwrap();
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

/// Where the roots of a test come from.
pub struct Roots<'a> {
    /// Makes a fresh one at a path.
    pub fresh: &'a (dyn Fn(&Path) + Sync),
    /// Takes one away.
    pub discard: &'a (dyn Fn(&Path) + Sync),
}

/// Disturbs `name`, made on a fresh root, at each of its calls, two at a time; then the root, opened again, must be as
/// it was or as it was to become.
pub fn disturb_everywhere(name: &str, what: &str, roots: &Roots<'_>) {
    let scratch = scratch();
    let clean = scratch.path().join("clean");
    (roots.fresh)(&clean);
    step("open", &clean).unwrap();
    let before = list(&clean);
    let undisturbed = scratch.path().join("undisturbed");
    (roots.fresh)(&undisturbed);
    let calls = calls(name, &undisturbed, &scratch.path().join("log"));
    assert!(calls.len() > 20, "{calls:?}");
    let after = list(&undisturbed);
    let ends = Mutex::new(BTreeMap::<&str, usize>::new());
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (calls, ends, before, after) = (&calls, &ends, &before, &after);
            let root = scratch.path().join(format!("root-{half}"));
            scope.spawn(move || {
                for call in calls.iter().skip(half).step_by(2) {
                    (roots.fresh)(&root);
                    let said = injected(name, &root, call, what);
                    assert!(said.is_some() || what != KILL, "{name} went on through {call:?}");
                    let later = ["compose again to end it", "a power cut may lose them"];
                    if let Some(said) = said.filter(|_| what != KILL)
                        && !later.iter().any(|later| said.contains(later))
                    {
                        assert_same(
                            &list(&root),
                            before,
                            &format!("{name} disturbed at {call:?} said {said}"),
                        );
                    }
                    let end = end(name, &root, call, before, after);
                    *ends.lock().unwrap().entry(end).or_default() += 1;
                    (roots.discard)(&root);
                }
            });
        }
    });
    (roots.discard)(&clean);
    (roots.discard)(&undisturbed);
    println!("{name} disturbed by {what} at {} calls: {:?}", calls.len(), ends.into_inner().unwrap());
}

fn end(name: &str, root: &Path, call: &(String, usize), before: &str, after: &str) -> &'static str {
    step("open", root).unwrap_or_else(|error| panic!("after {call:?}: {error:#}"));
    if list(root) == *before && before != after {
        step(name, root).unwrap_or_else(|error| panic!("again after {call:?}: {error:#}"));
        assert_same(&list(root), after, &format!("{name} disturbed at {call:?}, undone and made again"));
        return "undone";
    }
    assert_same(&list(root), after, &format!("{name} disturbed at {call:?}"));
    "completed"
}

const KILL: &str = "signal=KILL";

fn disturb_copies(name: &str, what: &str, before: &Path) {
    let (fresh, discard) = (|to: &Path| copy(before, to), |root: &Path| fs::remove_dir_all(root).unwrap());
    disturb_everywhere(name, what, &Roots { fresh: &fresh, discard: &discard });
}

#[test]
fn first_compose_killed_everywhere() {
    let scratch = scratch();
    disturb_copies("first", KILL, &make_root(scratch.path()));
}

#[test]
fn second_compose_killed_everywhere() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    step("first", &root).unwrap();
    disturb_copies("second", KILL, &root);
}

#[test]
fn removal_killed_everywhere() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    step("first", &root).unwrap();
    disturb_copies("remove", KILL, &root);
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
    let of = |call: &str| calls.iter().filter(|(name, _)| name == call).collect::<Vec<_>>();
    // The last rename is the journal's commit; the one before it is the last change.
    let (renames, unlinks) = (of("renameat"), of("unlinkat"));
    for cut in [renames[renames.len() - 2], unlinks[unlinks.len() / 2]] {
        let cut_off = scratch.path().join("cut-off");
        copy(&root, &cut_off);
        injected("second", &cut_off, cut, KILL).expect("a kill");
        disturb_copies("open", KILL, &cut_off);
        fs::remove_dir_all(&cut_off).unwrap();
    }
}

#[test]
fn an_error_of_any_call_leaves_the_root_as_it_was() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    disturb_copies("first", "error=ENOSPC", &root);
    step("first", &root).unwrap();
    disturb_copies("second", "error=EIO", &root);
}

#[test]
fn an_interrupt_at_any_change_leaves_the_root_as_it_was() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    step("first", &root).unwrap();
    let before = list(&root);
    let log = scratch.path().join("log");
    let probe = scratch.path().join("probe");
    copy(&root, &probe);
    let mut interrupted = 0;
    for call in calls("second", &probe, &log).iter().filter(|(name, _)| name == "renameat") {
        if let Some(said) = injected("second", &root, call, "signal=INT") {
            assert!(said.contains("which is as it was"), "{said}");
            assert!(said.contains("interrupted"), "{said}");
            assert_same(&list(&root), &before, &format!("{call:?}"));
            interrupted += 1;
        }
        if list(&root) != before {
            break;
        }
    }
    assert!(interrupted > 10, "{interrupted}");
}
