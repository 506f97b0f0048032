//! The sysroot target on real file systems: what it writes, and that errors and kills leave the root as it was.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod changes;
mod kills;
mod listing;
mod mounts;
mod refusals;
mod steps;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use camino::Utf8Path;
use sysctr_core::interrupt::Interrupt;

/// The driver's program.
const DRIVER: &str = env!("CARGO_BIN_EXE_target-driver");

/// Where small roots are made: in memory, since each test flushes the file system often.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sysctr-target-").tempdir_in("/dev/shm").unwrap()
}

/// A root with a few directories of a host, a unit of its own, and time stamps that nobody would invent.
fn make_root(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    for inner in ["usr/lib/systemd/system", "usr/lib/tmpfiles.d", "usr/bin", "etc"] {
        fs::create_dir_all(root.join(inner)).unwrap();
    }
    fs::write(root.join("usr/lib/systemd/system/host.service"), "[Service]\nExecStart=theirs\n").unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    age(&root);
    root
}

/// Gives every entry a time stamp of its own.
fn age(root: &Path) {
    let script = r#"n=0; find "$1" -depth -print0 | while IFS= read -r -d "" f; do
        n=$((n+1)); touch -h -d "@$((1500000000+n)).$((100000000+n))" "$f"; done"#;
    done(Command::new("bash").args(["-c", script, "age"]).arg(root));
}

/// Runs a command that must succeed.
fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Makes a step in this process.
fn step(step: &str, root: &Path) -> anyhow::Result<()> {
    steps::run(step, Utf8Path::from_path(root).unwrap(), &Interrupt::default())
}

/// A copy of a root, everything kept.
fn copy(from: &Path, to: &Path) {
    done(Command::new("cp").args(["-a", "--no-target-directory"]).arg(from).arg(to));
}
