//! File systems that are not a plain directory: overlayfs, as in a Containerfile's RUN; rofiles-fuse, as under rpm-ostree;
//! one that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sysctr_tests::private_mounts;

use crate::kills::{Roots, disturb_everywhere};
use crate::listing::{assert_same, list};
use crate::{copy, done, make_root, scratch, step};

/// Lazily: another thread's child may hold our handles between its fork and its exec.
pub fn unmount(root: &Path) {
    done(Command::new("umount").arg("--lazy").arg(root));
}

/// An overlay over `lower`, its upper side beside it.
fn overlay(lower: &Path, root: &Path) {
    let beside = |name: &str| root.with_extension(name);
    for dir in [root, &beside("upper"), &beside("work")] {
        if dir != root {
            fs::remove_dir_all(dir).unwrap_or_default();
        }
        fs::create_dir_all(dir).unwrap();
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        beside("upper").display(),
        beside("work").display()
    );
    done(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(root));
    // A RUN begins with the root directory as the layers have it.
    let reference = format!("--reference={}", lower.display());
    done(Command::new("touch").arg(reference).arg(root));
}

/// What the steps lead to in a plain directory.
fn plainly(before: &Path, steps: &[&str], scratch: &Path) -> String {
    let plain = scratch.join("plain");
    copy(before, &plain);
    steps.iter().for_each(|each| step(each, &plain).unwrap());
    let listed = list(&plain);
    fs::remove_dir_all(plain).unwrap();
    listed
}

#[test]
fn bundles_in_lower_layers_are_replaced_and_removed() {
    private_mounts();
    let scratch = scratch();
    let lower = make_root(scratch.path());
    let without = list(&lower);
    step("first", &lower).unwrap();
    let (below, root) = (list(&lower), scratch.path().join("merged"));

    overlay(&lower, &root);
    let moved = fs::rename(root.join("usr/lib/containers/atomic/old"), root.join("usr/lib/old"));
    assert_eq!(moved.unwrap_err().raw_os_error(), Some(18), "directories of lower layers can't be renamed");
    let error = step("fails", &root).unwrap_err();
    assert!(format!("{error:#}").contains("which is as it was: changing usr/lib/not-there/x.service: its"));
    assert_same(&list(&root), &below, "after an error");
    step("second", &root).unwrap();
    assert_same(&list(&root), &plainly(&lower, &["second"], scratch.path()), "second");
    unmount(&root);

    overlay(&lower, &root);
    step("remove", &root).unwrap();
    assert_same(&list(&root), &without, "remove");
    unmount(&root);
    assert_same(&list(&lower), &below, "the lower layer");
}

#[test]
fn killed_everywhere_over_lower_layers() {
    private_mounts();
    let scratch = scratch();
    let lower = make_root(scratch.path());
    step("first", &lower).unwrap();
    let (fresh, discard) = (|root: &Path| overlay(&lower, root), |root: &Path| unmount(root));
    for name in ["second", "remove"] {
        disturb_everywhere(name, "signal=KILL", &Roots { fresh: &fresh, discard: &discard });
    }
}

/// A checkout whose files are hard links into a repository, seen through rofiles-fuse: unmounted when dropped.
struct Rofiles {
    root: PathBuf,
    /// The same without rofiles-fuse, which gives every name an inode number of its own.
    checkout: PathBuf,
}

impl Rofiles {
    fn mount(repository: &Path, scratch: &Path) -> Self {
        let (checkout, root) = (scratch.join("checkout"), scratch.join("rofiles"));
        done(Command::new("cp").args(["-al"]).arg(repository).arg(&checkout));
        fs::create_dir(&root).unwrap();
        done(Command::new("rofiles-fuse").arg(&checkout).arg(&root));
        Self { root, checkout }
    }
}

impl Drop for Rofiles {
    fn drop(&mut self) {
        unmount(&self.root);
    }
}

#[test]
fn a_checkout_under_rofiles_fuse_is_changed_and_its_repository_is_not() {
    private_mounts();
    let scratch = scratch();
    let repository = make_root(scratch.path());
    step("first", &repository).unwrap();
    let in_repository = list(&repository);
    let mount = Rofiles::mount(&repository, scratch.path());
    let unit = mount.root.join("usr/lib/systemd/system/web.service");
    assert_eq!(fs::write(&unit, "x").unwrap_err().raw_os_error(), Some(30), "shared files are read-only");

    step("fails", &mount.root).unwrap_err();
    assert_same(&list(&mount.checkout), &in_repository, "after an error");
    step("second", &mount.root).unwrap();
    assert_same(&list(&mount.checkout), &plainly(&repository, &["second"], scratch.path()), "second");
    assert_same(&list(&repository), &in_repository, "the repository");
}

/// Every size of a file system between too small and large enough.
#[test]
fn a_full_file_system_leaves_the_root_as_it_was() {
    private_mounts();
    let scratch = scratch();
    let before = make_root(scratch.path());
    let (listed, after) = (list(&before), plainly(&before, &["first"], scratch.path()));
    let root = scratch.path().join("small");
    fs::create_dir(&root).unwrap();
    let entries = String::from_utf8(done(Command::new("find").arg(&before)).stdout).unwrap().lines().count();
    for (limit, first, by) in [("nr_inodes", entries + 2, 1), ("nr_blocks", 3, 1)] {
        let mut failures = 0;
        for size in (first..).step_by(by) {
            done(
                Command::new("mount")
                    .args(["-t", "tmpfs", "-o", &format!("{limit}={size},mode=755"), "tmpfs"])
                    .arg(&root),
            );
            copy(&before, &root);
            let made = step("first", &root);
            let found = list(&root);
            unmount(&root);
            let Err(error) = made else {
                assert_same(&found, &after, "large enough");
                break;
            };
            let error = format!("{error:#}");
            assert!(error.ends_with("No space left on device (os error 28)"), "{limit}={size}: {error}");
            assert_same(&found, &listed, &format!("{limit}={size}: {error}"));
            failures += 1;
        }
        println!("{limit}: {failures} sizes were too small");
        assert!(failures > 5, "{limit}: {failures}");
    }
}

#[test]
fn a_root_of_several_file_systems_is_left_as_it_was() {
    private_mounts();
    let scratch = scratch();
    let root = make_root(scratch.path());
    let units = root.join("usr/lib/systemd/system");
    done(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "tmpfs"]).arg(&units));
    let before = list(&root);
    let error = format!("{:#}", step("first", &root).unwrap_err());
    assert!(
        error.ends_with(
            "changing usr/lib/systemd/system/web.service: moving the new into its place: it is on another file system \
             than usr/lib/containers/atomic; compose before that is mounted"
        ),
        "{error}"
    );
    assert_same(&list(&root), &before, "after an error");
    unmount(&units);
}
