//! From packages to a disk: a host's commit, composes into it, a deployment.

use std::path::PathBuf;

use sysctr_tests::{Command, Compose, fixture, memory, source_dir};
use tempfile::TempDir;

use crate::machine::{Form, HostKind, Kernel};

/// A repository with the host of a suite as `base`.
pub struct Host {
    work: TempDir,
    kind: HostKind,
}

/// A disk; what a boot writes stays on it.
pub struct Disk {
    work: TempDir,
    kernel: Kernel,
}

impl Host {
    /// Made from the fixtures.
    pub fn of(kind: HostKind) -> Self {
        let host = Self { work: memory(), kind };
        let make = Command::new("bash").arg(source_dir().join("tests/boot/host.sh"));
        let make = make.arg(fixture::directory(&format!("boot-{}", kind.suite)));
        let make = make.arg(fixture::directory(kind.kernel.fixture())).arg(host.repo());
        let quadlet = format!("{}:1", fixture::directory("payload").join("oci").display());
        make.args((kind.form == Form::Composefs).then_some("composefs"))
            .env("QUADLET", quadlet)
            .run()
            .expect_ok();
        host
    }

    fn repo(&self) -> PathBuf {
        self.work.path().join("repo")
    }

    /// Composes a manifest into the host; `reference` names the result.
    pub fn compose(&self, reference: &str, prepare: impl FnOnce(Compose) -> Compose) {
        let compose = prepare(Compose::into_commit(&self.repo(), "base", reference)).add_launcher();
        compose.run().expect_ok();
    }

    /// A disk with the first of these commits deployed, whose origin is `host`, and the objects of the others.
    pub fn disk(&self, commits: &[&str]) -> Disk {
        let disk = Disk { work: memory(), kernel: self.kind.kernel };
        let make = Command::new("bash").arg(source_dir().join("tests/boot/disk.sh")).arg(self.repo());
        let own = if self.kind.form == Form::Composefs { "yes" } else { "" };
        make.arg(disk.path()).arg("host").args(commits).env("OWN_OSTREE", own).run().expect_ok();
        disk
    }
}

impl Disk {
    /// Whose kernel it has.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Its image.
    pub fn path(&self) -> PathBuf {
        self.work.path().join("disk")
    }
}
