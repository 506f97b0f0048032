//! Fixtures by name; fixtures/make.sh makes and keeps them, fixtures/INDEX.md describes them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command::Command;
use crate::{memory, scratch, source_dir};

/// Where fixtures are kept between runs.
pub fn cache_dir() -> PathBuf {
    std::env::var_os("SYSCTR_TEST_CACHE").map_or_else(|| PathBuf::from("/var/cache/sysctr"), PathBuf::from)
}

/// The directory of a fixture, made when the cache lacks it.
///
/// # Panics
/// With its log's end when it can't be made.
pub fn directory(name: &str) -> PathBuf {
    let made = Command::new("bash").arg(source_dir().join("fixtures/make.sh")).arg(name).run().expect_ok();
    PathBuf::from(OsStr::from_bytes(made.bytes().trim_ascii_end()))
}

/// A system's root directory of a test's own.
#[derive(Debug)]
pub struct Root {
    // Dropped with the root.
    scratch: TempDir,
}

impl Root {
    /// A fresh Debian 12 root with systemd, runc and crun.
    pub fn debian() -> Self {
        let root = Self { scratch: scratch() };
        let archive = directory("root").join("root.tar.zst");
        std::fs::create_dir(root.path()).expect("a new directory");
        let tar = Command::new("tar").args(["--zstd", "--xattrs", "--numeric-owner", "-xpf"]).arg(archive);
        tar.arg("-C").arg(root.path()).run().expect_ok();
        root
    }

    /// The same with libostree's programs, as an OSTree host has it, `/etc` in its place.
    pub fn ostree_host() -> Self {
        let root = Self { scratch: scratch() };
        let archive = directory("ostree-host").join("root.tar.zst");
        std::fs::create_dir(root.path()).expect("a new directory");
        let tar = Command::new("tar").args(["--zstd", "--xattrs", "--numeric-owner", "-xpf"]).arg(archive);
        tar.arg("-C").arg(root.path()).run().expect_ok();
        std::fs::rename(root.join("usr/etc"), root.join("etc")).expect("the tree has no /etc of its own");
        root
    }

    /// The least that a compose accepts: systemd's and runc's programs and the usual directories, nothing to boot.
    pub fn small() -> Self {
        Self::small_below(scratch())
    }

    /// The same in memory: for tests that make changes by the hundred, each with its flushes.
    pub fn small_in_memory() -> Self {
        Self::small_below(memory())
    }

    fn small_below(scratch: TempDir) -> Self {
        let root = Self { scratch };
        for directory in ["usr/bin", "usr/lib/systemd/system", "usr/lib/tmpfiles.d", "etc", "var", "run"] {
            std::fs::create_dir_all(root.join(directory)).expect("a new directory");
        }
        // Real programs, because the machine type is read from systemd's.
        std::fs::copy("/bin/busybox", root.join("usr/lib/systemd/systemd"))
            .expect("busybox-static is installed");
        std::fs::copy("/bin/busybox", root.join("usr/bin/runc")).expect("busybox-static is installed");
        root
    }

    /// Its directory.
    pub fn path(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// Gives every entry a time stamp that nobody would invent, the same whenever and wherever the root was made.
    pub fn age(&self) {
        let script = r#"n=0; find "$1" -depth -print0 | LC_ALL=C sort -z | while IFS= read -r -d "" path; do
            n=$((n + 1)); touch -h -d "@$((1500000000 + n)).$((100000000 + n))" "$path"; done"#;
        Command::new("bash").args(["-c", script, "age"]).arg(self.path()).run().expect_ok();
    }

    /// A path in it.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path().join(path)
    }

    /// The directory of an embedded container.
    pub fn bundle(&self, name: &str) -> PathBuf {
        self.join("usr/lib/containers/atomic").join(name)
    }

    /// The record of an embedded container.
    ///
    /// # Panics
    /// When there is none.
    pub fn record(&self, name: &str) -> serde_json::Value {
        let path = self.bundle(name).join("record.json");
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// An image of the fixtures, in one of its forms.
#[derive(Debug, Clone)]
pub struct Image {
    fixture: &'static str,
    /// What stands before the path in a reference: `oci`, `oci-archive`, `docker-archive`.
    transport: &'static str,
    /// Path in the fixture's directory.
    file: &'static str,
    tag: &'static str,
}

impl Image {
    const fn oci(fixture: &'static str, tag: &'static str) -> Self {
        Self { fixture, transport: "oci", file: "oci", tag }
    }

    /// nginx from Debian packages: three layers.
    pub fn nginx() -> Self {
        Self::oci("nginx", "1")
    }

    /// The same with zstd layers.
    pub fn nginx_zstd() -> Self {
        Self { file: "zstd", ..Self::nginx() }
    }

    /// The same as an OCI archive.
    pub fn nginx_oci_archive() -> Self {
        Self { transport: "oci-archive", file: "nginx.oci.tar", ..Self::nginx() }
    }

    /// The same as a docker-archive, made by skopeo.
    pub fn nginx_docker_archive() -> Self {
        Self {
            transport: "docker-archive",
            file: "nginx.docker.tar",
            tag: "localhost/nginx:1",
            ..Self::nginx()
        }
    }

    /// A static web server on nothing.
    pub fn hello() -> Self {
        Self::oci("hello", "1")
    }

    /// tests/payloads/payload.c, as root.
    pub fn payload() -> Self {
        Self::oci("payload", "1")
    }

    /// The same as user 1000.
    pub fn payload_user() -> Self {
        Self::oci("payload", "user")
    }

    /// At least 15 000 files.
    pub fn many() -> Self {
        Self::oci("many", "1")
    }

    /// Each kind of whiteout.
    pub fn whiteouts() -> Self {
        Self::oci("whiteouts", "1")
    }

    /// Seldom entries and old tar dialects.
    pub fn odd() -> Self {
        Self::oci("odd", "1")
    }

    /// Sparse files in GNU tar's own old form.
    pub fn gnu_sparse() -> Self {
        Self::oci("odd", "gnu-sparse")
    }

    /// Built by podman, with zstd layers.
    pub fn built() -> Self {
        Self::oci("built", "1")
    }

    /// A shape of fixtures/exports, or `serve`.
    pub const fn exports(shape: &'static str) -> Self {
        Self::oci("exports-images", shape)
    }

    /// A program of a Debian package with `/exports`: `etcd`, `net-snmp`, `qemu-guest-agent`, `open-vm-tools`.
    pub const fn system(name: &'static str) -> Self {
        Self::oci("system-images", name)
    }

    /// Name of its fixture.
    pub fn fixture(&self) -> &'static str {
        self.fixture
    }

    /// The fixture's directory, made when absent.
    pub fn directory(&self) -> PathBuf {
        directory(self.fixture)
    }

    /// Its reference with the real path.
    pub fn reference(&self) -> String {
        self.reference_in(&self.directory())
    }

    /// Its reference in a manifest whose `images/` directory it is in: `oci:images/nginx/oci:1`.
    pub fn in_manifest(&self) -> String {
        self.reference_in(&Path::new("images").join(self.fixture))
    }

    fn reference_in(&self, directory: &Path) -> String {
        format!("{}:{}:{}", self.transport, directory.join(self.file).display(), self.tag)
    }
}
