//! Roots that are none, or not to be written, each with its message; locks; what a cut-off compose means to readers.

use std::fs;
use std::path::Path;
use std::process::Command;

use camino::Utf8Path;
use sysctr_compose::target::sysroot::{Access, Sysroot};
use sysctr_tests::private_mounts;

use crate::listing::{assert_same, list};
use crate::mounts::unmount;
use crate::{DRIVER, done, make_root, scratch, step};

fn open(path: &Path, access: Access) -> Result<Sysroot, String> {
    Sysroot::open(Utf8Path::from_path(path).unwrap(), access).map_err(|error| format!("{error:#}"))
}

fn refusal(path: &Path, access: Access) -> String {
    let error = open(path, access).expect_err("a refusal");
    error.strip_prefix(&format!("opening root {}: ", path.display())).expect("the root in front").to_owned()
}

#[test]
fn what_is_no_root() {
    let scratch = scratch();
    let at = |name: &str| scratch.path().join(name);
    for access in [Access::Read, Access::Write] {
        assert_eq!(refusal(&at("none"), access), "it does not exist");
        fs::write(at("file"), "").unwrap();
        assert_eq!(refusal(&at("file"), access), "it is not a directory");
        fs::create_dir_all(at("empty")).unwrap();
        assert_eq!(
            refusal(&at("empty"), access),
            "it has no directory usr, so it is not the root of a system"
        );
        // Where a link leads is looked up beneath the root.
        fs::create_dir_all(at("linked")).unwrap();
        fs::remove_file(at("linked/usr")).unwrap_or_default();
        std::os::unix::fs::symlink("/bin", at("linked/usr")).unwrap();
        assert_eq!(
            refusal(&at("linked"), access),
            "it has no directory usr, so it is not the root of a system"
        );
        fs::create_dir_all(at("physical/ostree/deploy/os")).unwrap();
        assert_eq!(
            refusal(&at("physical"), access),
            "it is a physical ostree sysroot: its systems are read-only checkouts in ostree/deploy; compose into a \
             commit of its repository and deploy that (--deployment does both), or into the commit alone (--repo \
             DIR/ostree/repo --base REV --ref REF)"
        );
    }
    // A bootc image has a repository, and is a root.
    fs::create_dir_all(at("bootc/sysroot/ostree/repo")).unwrap();
    fs::create_dir_all(at("bootc/ostree/repo")).unwrap();
    fs::create_dir_all(at("bootc/usr")).unwrap();
    open(&at("bootc"), Access::Write).unwrap();
}

#[test]
fn the_root_of_a_running_host() {
    private_mounts();
    done(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]));
    fs::create_dir_all("/run/systemd/system").unwrap();
    assert_eq!(
        refusal(Path::new("/"), Access::Write),
        "it is the root of a running host; `sysctr install` is the way to add a container there \
         (in the build of a container image, / is allowed)"
    );
}

#[test]
fn a_read_only_root() {
    private_mounts();
    let scratch = scratch();
    let root = make_root(scratch.path());
    done(Command::new("mount").arg("--bind").arg(&root).arg(&root));
    done(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&root));
    assert_eq!(refusal(&root, Access::Write), "usr/lib is on a read-only file system; mount it writable");
    open(&root, Access::Read).unwrap();
    unmount(&root);
}

const WAYS_OUT: &str = "run as root, or in a user namespace that has all owners (podman unshare, unshare \
    --map-auto --map-root-user), or compose into a commit of an archive or bare-user repository (--repo), which needs \
    neither";

#[test]
fn users_who_may_not_set_owners() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let before = list(&root);
    let said = |command: &mut Command| {
        let output = command.args([DRIVER, "first"]).arg(&root).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let error = said(Command::new("setpriv").arg("--bounding-set=-chown,-setfcap"));
    let expected = format!(
        "this user may not set the owners that images need (CAP_CHOWN, CAP_SETFCAP missing); {WAYS_OUT}"
    );
    assert!(error.contains(&expected), "{error}");
    let error = said(Command::new("unshare").arg("--map-root-user"));
    let expected = format!("user 1000 is not in this user namespace; {WAYS_OUT}");
    assert!(error.contains(&expected), "{error}");
    assert_same(&list(&root), &before, "after refusals");
}

#[test]
fn one_writer_or_many_readers() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let before = list(&root);
    let busy = "another sysctr-compose works on it; try again when it is done";
    let readers = [open(&root, Access::Read).unwrap(), open(&root, Access::Read).unwrap()];
    assert_eq!(refusal(&root, Access::Write), busy);
    drop(readers);
    let writer = open(&root, Access::Write).unwrap();
    assert_eq!(refusal(&root, Access::Write), busy);
    assert_eq!(refusal(&root, Access::Read), busy);
    drop(writer);
    open(&root, Access::Read).unwrap();
    assert_same(&list(&root), &before, "after locking");
}

#[test]
fn a_cut_off_compose_is_an_error_to_readers_and_cleared_by_writers() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    step("first", &root).unwrap();
    let before = list(&root);
    let staging = root.join("usr/lib/containers/atomic/.staging");
    fs::create_dir_all(staging.join("contents/web/0")).unwrap();
    assert_eq!(
        refusal(&root, Access::Read),
        "a compose was cut off and left usr/lib/containers/atomic/.staging; run sysctr-compose on it again, which \
         clears that"
    );
    fs::write(staging.join("journal"), r#"{"version": 2, "later": true}"#).unwrap();
    assert_eq!(
        refusal(&root, Access::Write),
        "ending a compose that was cut off: reading the journal: it has version 2, from a newer sysctr-compose; use \
         that one"
    );
    fs::remove_file(staging.join("journal")).unwrap();
    open(&root, Access::Write).unwrap();
    assert!(!staging.exists());
    // The time stamp of the embedded directory was lost to this test, not to a compose.
    done(Command::new("touch").args(["-d", "@1700000000"]).arg(staging.parent().unwrap()));
    assert_same(&list(&root), &before, "after clearing");
}
