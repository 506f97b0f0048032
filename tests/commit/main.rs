//! The commit target against libostree's own programs: what it writes, and that errors and kills leave the ref as it was.

mod amend;
mod bench;
mod cache;
mod component;
mod judged;
mod kills;
mod labels;
mod oracle;
mod refusals;
mod signing;
mod standing;
mod steps;
mod verbs;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};

/// The driver's program.
pub const DRIVER: &str = env!("CARGO_BIN_EXE_commit-driver");
/// Every mode that is accepted.
pub const MODES: [&str; 3] = ["archive", "bare", "bare-user"];

/// A directory on a real disk, open to other users.
pub fn scratch() -> tempfile::TempDir {
    let dir =
        tempfile::Builder::new().prefix("sysctr-commit-").tempdir_in("/var/tmp").expect("a step of the test");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a step of the test");
    dir
}

/// Runs a command that must succeed.
pub fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// What a command that must succeed prints.
pub fn printed(command: &mut Command) -> String {
    String::from_utf8(done(command).stdout).expect("a step of the test")
}

/// `ostree --repo=REPO …`.
pub fn ostree(repo: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("ostree");
    command.arg(format!("--repo={}", repo.display())).args(arguments);
    command
}

/// The path as the composer takes it.
pub fn utf8(path: &Path) -> &Utf8Path {
    Utf8Path::from_path(path).expect("a step of the test")
}

/// A root with a few directories of a host, in the form that commits have.
pub fn make_root(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    for inner in
        ["usr/lib/systemd/system", "usr/lib/tmpfiles.d", "usr/lib/containers", "usr/bin", "usr/etc", "var"]
    {
        fs::create_dir_all(root.join(inner)).expect("a step of the test");
    }
    fs::write(root.join("usr/lib/systemd/system/host.service"), "[Service]\nExecStart=theirs\n")
        .expect("a step of the test");
    fs::write(root.join("usr/etc/os-release"), "ID=test\n").expect("a step of the test");
    fs::write(root.join("usr/bin/tool"), "#!/bin/sh\n").expect("a step of the test");
    fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o4711))
        .expect("a step of the test");
    symlink("usr/lib", root.join("lib")).expect("a step of the test");
    symlink("/usr/bin", root.join("bin")).expect("a step of the test");
    done(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(root.join("usr/lib")));
    root
}

/// A repository of `mode` with that root as `base`.
pub fn make_repo(dir: &Path, mode: &str, root: &Path) -> Utf8PathBuf {
    let repo = dir.join(format!("repo-{mode}"));
    done(&mut ostree(&repo, &["init", &format!("--mode={mode}")]));
    let tree = format!("--tree=dir={}", root.display());
    done(&mut ostree(
        &repo,
        &[
            "commit",
            "--branch=base",
            "--timestamp=@1600000000",
            "--add-metadata-string=version=42",
            "--add-metadata-string=ostree.linux=6.1.0",
            "--add-metadata-string=ostree.composefs.digest.v0=of-the-base",
            "--add-metadata-string=rpmostree.inputhash=of-the-base",
            &tree,
        ],
    ));
    utf8(&repo).to_owned()
}

/// Every object is whole, and nothing of a writer is left.
pub fn assert_clean(repo: &Utf8Path) {
    done(&mut ostree(repo.as_std_path(), &["fsck", "--quiet"]));
    let left: Vec<_> = fs::read_dir(repo.join("tmp"))
        .expect("a step of the test")
        .map(|entry| {
            entry.expect("a step of the test").file_name().into_string().expect("a step of the test")
        })
        .filter(|name| name != "cache")
        .collect();
    assert_eq!(left, Vec::<String>::new(), "left in tmp");
}
