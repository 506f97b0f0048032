//! Killed at every system call that changes a file, by strace's injection.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use sysctr_tests::{Compose, Image, Listing, Output, Root, memory};
use tempfile::TempDir;

use crate::{BARE, expect_tree, manifest, renew, soak};

/// Calls that change files or make changes durable; `openat` only where it creates.
const CALLS: &str = "openat,mkdirat,unlinkat,renameat,renameat2,linkat,symlinkat,fchmod,fchown,fchmodat,fchownat,\
    utimensat,fsetxattr,lsetxattr,fremovexattr,write,pwrite64,ftruncate,fsync,syncfs";

/// `make test` kills at one of so many calls while things are only made beside, and at one of so many after the commit;
/// at every call between.
const STRIDES: (usize, usize) = (23, 3);

/// One call of a run: its name, and which of that name it is.
#[derive(Debug)]
struct Call {
    name: String,
    number: usize,
}

/// A root, and what it was before.
struct Ground {
    scratch: TempDir,
}

impl Ground {
    fn new() -> Self {
        let (ground, root) = (Self { scratch: memory() }, Root::small_in_memory());
        root.age();
        renew(&root.path(), &ground.before());
        ground
    }

    fn before(&self) -> PathBuf {
        self.scratch.path().join("before")
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    fn renew(&self) {
        renew(&self.before(), &self.root());
    }

    /// The tree before the first compose becomes that after it.
    fn with_first(self) -> Self {
        self.renew();
        self.first().run().expect_ok();
        renew(&self.root(), &self.before());
        self
    }

    fn compose(&self) -> Compose {
        // One thread: strace counts the calls of each.
        Compose::into_dir(&self.root()).arg("--jobs").arg("1")
    }

    fn first(&self) -> Compose {
        let (hello, whiteouts) = (Image::hello(), Image::whiteouts());
        let mounts = "run = { tmpfs = ['/first/inner'] }";
        let text = manifest(&[("hello", &hello, mounts), ("whiteouts", &whiteouts, BARE)]);
        self.compose().manifest(text).with(&hello).with(&whiteouts).add_launcher()
    }

    /// One container is changed, so that its root stays but for mount targets, one added, one removed.
    fn second(&self) -> Compose {
        let (hello, whiteouts) = (Image::hello(), Image::whiteouts());
        let changed = "enable = false\nrun = { env = { SECOND = '1' }, tmpfs = ['/second/inner'] }";
        let text = manifest(&[("hello", &hello, changed), ("later", &whiteouts, BARE)]);
        self.compose().manifest(text).with(&hello).with(&whiteouts).add_launcher()
    }

    fn removal(&self) -> Compose {
        let removal = Compose::into_dir(&self.root()).verb("remove");
        removal.arg("hello").arg("whiteouts").arg("--launcher")
    }
}

/// Every changing call of a run, and which of them are from the journal to the commit.
fn calls(change: &Compose, log: &Path) -> (Vec<Call>, RangeInclusive<usize>) {
    let strace = ["strace", "-f", "-qq", "-o"].map(Path::new).into_iter();
    let command = change.command().under(strace.chain([log, "-e".as_ref(), CALLS.as_ref()]));
    command.run().expect_ok();
    let (mut counts, mut calls, mut journals) = (BTreeMap::new(), Vec::new(), Vec::new());
    for line in std::fs::read_to_string(log).expect("strace's log").lines() {
        let Some((before, arguments)) = line.split_once('(') else { continue };
        let name = before.split_whitespace().last().expect("strace names calls").to_owned();
        let count = counts.entry(name.clone()).or_insert(0_usize);
        *count += 1;
        if name != "openat" || arguments.contains("O_CREAT") {
            if arguments.contains("\"journal.new\"") {
                journals.push(calls.len());
            }
            calls.push(Call { name, number: *count });
        }
    }
    // Each is created and renamed; a directory's flush makes the commit last.
    let [prepared, _, _, committed] = journals[..] else {
        panic!("a change writes two journals: {journals:?}")
    };
    (calls, prepared..=committed + 1)
}

/// Runs `change` until it is killed when it enters `call`.
fn killed(change: &Compose, Call { name, number }: &Call) {
    let (trace, kill) = (format!("trace={name}"), format!("inject={name}:signal=KILL:when={number}"));
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &kill];
    change.command().under(strace).run().expect_code(137);
}

/// Kills `change` everywhere. The next run is the same again or, at every other call, leads `back`.
fn kill_everywhere(ground: &Ground, title: &str, change: &Compose, back: &Compose) {
    let (before, root) = (Listing::of(&ground.before()), ground.root());
    ground.renew();
    let (calls, decisive) = calls(change, &ground.scratch.path().join("log"));
    assert!(calls.len() > 50, "{calls:?}");
    let after = Listing::of(&root);
    assert_ne!(before, after);
    let (mut ends, mut kills) = (BTreeMap::new(), 0);
    let stride = |index| if index < *decisive.start() { STRIDES.0 } else { STRIDES.1 };
    let sampled = |index| soak() || decisive.contains(&index) || index % stride(index) == 0;
    for (index, call) in calls.iter().enumerate().filter(|(index, _)| sampled(*index)) {
        ground.renew();
        killed(change, call);
        let (next, expected) = if kills % 2 == 0 { (change, &after) } else { (back, &before) };
        let output = next.run();
        let end = end(&output).unwrap_or_else(|| panic!("{title} killed at {call:?}: {}", output.story()));
        let story =
            || format!("{title} killed at {call:?}, call {index} of {}; {}", calls.len(), output.story());
        expect_tree(&root, expected, story);
        *ends.entry((kills % 2 == 0, end)).or_insert(0) += 1;
        kills += 1;
    }
    println!(
        "{title} killed at {kills} of {} calls; (the same again, what the next run found): {ends:?}",
        calls.len()
    );
}

/// What a run after a kill found; `None` if it did not succeed.
fn end(output: &Output) -> Option<&'static str> {
    let (said, stderr) = (output.stdout(), output.stderr());
    match output.code() {
        0 if said.ends_with("nothing to change\n") => Some("nothing to do"),
        0 => Some("all to do"),
        // A removal that was completed, or the removal of what was undone.
        1 if stderr.ends_with("it is not embedded; embedded is nothing\n") => Some("nothing to remove"),
        _ => None,
    }
}

#[test]
fn a_first_compose_killed_everywhere() {
    let ground = Ground::new();
    kill_everywhere(&ground, "a first compose", &ground.first(), &ground.removal());
}

#[test]
fn a_changed_compose_killed_everywhere() {
    let ground = Ground::new().with_first();
    kill_everywhere(&ground, "a changed compose", &ground.second(), &ground.first());
}

#[test]
fn a_removal_killed_everywhere() {
    let ground = Ground::new().with_first();
    kill_everywhere(&ground, "a removal", &ground.removal(), &ground.first());
}
