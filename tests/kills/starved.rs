//! A target without room, and one that can't be written.

use std::collections::BTreeSet;
use std::path::Path;

use sysctr_tests::{Command, Compose, Image, Listing, Output, Root, memory, private_mounts};
use tempfile::TempDir;

use crate::{BARE, expect_tree, manifest, renew};

/// A root on a small file system of its own.
struct Mounted {
    scratch: TempDir,
    base: Root,
}

impl Mounted {
    fn new() -> Self {
        private_mounts();
        let mounted = Self { scratch: memory(), base: Root::small_in_memory() };
        mounted.base.age();
        mounted
    }

    /// A fresh file system with the base, then bounded to what is in it and so much more.
    fn with_room(&self, bytes: Option<u64>, inodes: Option<u64>) {
        let disk = self.scratch.path();
        Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(disk).run().expect_ok();
        renew(&self.base.path(), &self.root());
        let used = rustix::fs::statvfs(disk).expect("a mounted directory");
        let size =
            bytes.map(|room| format!(",size={}", (used.f_blocks - used.f_bfree) * used.f_frsize + room));
        let inodes = inodes.map(|room| format!(",nr_inodes={}", used.f_files - used.f_ffree + room));
        let bounds = format!("remount{}{}", size.unwrap_or_default(), inodes.unwrap_or_default());
        Command::new("mount").args(["-o", &bounds]).arg(disk).run().expect_ok();
    }

    fn root(&self) -> std::path::PathBuf {
        self.scratch.path().join("root")
    }

    fn unmount(&self) {
        // Another thread's child may hold our handles between its fork and its exec.
        Command::new("umount").arg("--lazy").arg(self.scratch.path()).run().expect_ok();
    }

    fn compose(&self) -> Compose {
        compose(&self.root())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // After a failure; the directory could not be removed otherwise.
        Command::new("umount").args(["--quiet", "--lazy"]).arg(self.scratch.path()).run();
    }
}

fn compose(root: &Path) -> Compose {
    let (hello, whiteouts) = (Image::hello(), Image::whiteouts());
    let text = manifest(&[("hello", &hello, ""), ("whiteouts", &whiteouts, BARE)]);
    Compose::into_dir(root).manifest(text).with(&hello).with(&whiteouts).add_launcher()
}

/// The one line of a failed compose, without its numbers.
#[track_caller]
fn complaint(output: &Output) -> String {
    let said = output.stderr();
    let one_line = said.starts_with("sysctr-compose: ") && said.lines().count() == 1;
    assert!(output.code() == 1 && one_line && output.stdout().is_empty(), "{}", output.story());
    said.trim_end().to_owned()
}

/// Gives more and more room until it is enough; tells what was said on the way.
fn starve(
    mounted: &Mounted,
    step: u64,
    bounds: impl Fn(u64) -> (Option<u64>, Option<u64>),
) -> BTreeSet<String> {
    mounted.with_room(None, None);
    let before = Listing::of(&mounted.root());
    let compose = mounted.compose();
    compose.run().expect_ok();
    let after = Listing::of(&mounted.root());
    mounted.unmount();
    let mut complaints = BTreeSet::new();
    for number in 0..200 {
        let (bytes, inodes) = bounds(number * step);
        mounted.with_room(bytes, inodes);
        let output = compose.run();
        let enough = output.code() == 0;
        expect_tree(&mounted.root(), if enough { &after } else { &before }, || output.story());
        mounted.unmount();
        if enough {
            println!("enough at {number} steps of {step}, after {complaints:#?}");
            assert!(number > 10, "{number}");
            return complaints;
        }
        let complaint = complaint(&output);
        assert!(complaint.ends_with(": No space left on device (os error 28)"), "{complaint}");
        complaints.insert(complaint);
    }
    panic!("never enough: {complaints:#?}");
}

#[test]
fn a_full_disk_leaves_the_root_as_it_was() {
    let complaints = starve(&Mounted::new(), 256 << 10, |room| (Some(room), None));
    assert!(complaints.len() >= 3, "{complaints:#?}");
}

#[test]
fn a_disk_without_inodes_leaves_the_root_as_it_was() {
    let complaints = starve(&Mounted::new(), 5, |room| (None, Some(room)));
    assert!(complaints.len() >= 5, "{complaints:#?}");
    // Each says once what it was about.
    let twice = |complaint: &&String| complaint.matches("/bin/true").count() > 1;
    assert_eq!(complaints.iter().find(twice), None);
}

#[test]
fn a_read_only_root_stays_as_it_is() {
    private_mounts();
    let root = Root::small_in_memory();
    let before = Listing::of(&root.path());
    let path = root.path();
    Command::new("mount").args(["--bind", "-o", "ro"]).args([&path, &path]).run().expect_ok();
    let output = compose(&path).run();
    let removal = Compose::into(&root).verb("remove").arg("--launcher").run();
    let plan = compose(&path).verb("plan").run();
    expect_tree(&path, &before, || output.story());
    Command::new("umount").arg("--lazy").arg(&path).run().expect_ok();
    let message = "opening root ROOT: usr/lib is on a read-only file system; mount it writable";
    output.expect_error(message);
    removal.expect_error(message);
    plan.expect_ok();
}
