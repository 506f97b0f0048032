//! A `RUN` line of a Containerfile, by podman, without network, on overlayfs.

use std::fs;
use std::path::{Path, PathBuf};

use sysctr_tests::{Command, Compose, scratch};
use tempfile::TempDir;

use crate::{expect_composed, expect_runs, ostree_host, unpack, workshop};

const EMBEDDED: &str = "usr/lib/containers/atomic";

/// A storage of podman's own, which the test takes away with its mounts.
struct Storage {
    at: TempDir,
}

impl Storage {
    fn new() -> Self {
        Self { at: scratch() }
    }

    fn podman(&self) -> Command {
        let place = |name: &str| self.at.path().join(name);
        let podman = Command::new("podman").arg("--root").arg(place("storage")).arg("--runroot");
        podman.arg(place("run")).args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"])
    }

    /// The base image: the host with /etc in its place, as bootc's images have it.
    fn import_base(&self) {
        let root = self.at.path().join("base");
        unpack(&ostree_host(), &root);
        fs::rename(root.join("usr/etc"), root.join("etc")).expect("a step of the test");
        let tar = self.at.path().join("base.tar");
        let pack = Command::new("tar").args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-cf"]);
        pack.arg(&tar).arg("-C").arg(&root).arg(".").run().expect_ok();
        self.podman().args(["import", "--quiet"]).arg(&tar).arg("localhost/host:1").run().expect_ok();
        fs::remove_file(tar).expect("a step of the test");
        fs::remove_dir_all(root).expect("a step of the test");
    }

    /// Builds the example's Containerfile in `context`, by `isolation`'s options.
    #[track_caller]
    fn build(&self, context: &Path, base: &str, tag: &str, isolation: &[&str]) -> String {
        let digest = "cat sysctr-compose sysctr containers.toml images/* | sha256sum | cut -c1-64";
        let inputs = Command::new("sh").args(["-c", digest]).in_dir(context).run().expect_ok();
        // crun refuses machines with both versions of cgroups.
        let build = self.podman().args(["--runtime", "/usr/sbin/runc", "build", "--layers", "-t", tag]);
        let build = build.args(isolation).arg(format!("--build-arg=BASE={base}"));
        let build = build.arg(format!("--build-arg=INPUTS={}", inputs.stdout().trim()));
        build.arg(context).run().expect_ok().stdout()
    }

    /// The image's root, unpacked by umoci from what podman pushes.
    fn unpacked(&self, tag: &str) -> PathBuf {
        let (layout, bundle) = (self.at.path().join("layout"), self.at.path().join("bundle"));
        for old in [&layout, &bundle] {
            if old.exists() {
                fs::remove_dir_all(old).expect("a step of the test");
            }
        }
        let to = format!("oci:{}:x", layout.display());
        self.podman().args(["push", "--quiet", tag, &to]).run().expect_ok();
        let image = format!("{}:x", layout.display());
        Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle).run().expect_ok();
        bundle.join("rootfs")
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // The storage may be mounted on itself.
        Command::new("umount").args(["--quiet", "--lazy"]).arg(self.at.path().join("storage/overlay")).run();
    }
}

#[test]
fn a_run_line_embeds_and_a_later_layer_replaces() {
    let storage = Storage::new();
    storage.import_base();
    let context = workshop(&["containerfile/Containerfile"]);
    for name in ["sysctr-compose", "sysctr"] {
        fs::rename(context.path().join("bin").join(name), context.path().join(name))
            .expect("a step of the test");
    }
    let no_network = ["--isolation", "oci", "--network", "none"];
    let said = storage.build(context.path(), "localhost/host:1", "localhost/composed:1", &no_network);
    assert!(said.contains("added   hello") && !said.contains("Using cache"), "{said}");
    let root = storage.unpacked("localhost/composed:1");
    expect_composed(&root);
    expect_runs(&root);
    assert!(!root.join("run/sysctr-build/containers.toml").exists(), "the build context is in the image");
    let again = storage.build(context.path(), "localhost/host:1", "localhost/composed:1", &no_network);
    assert!(again.contains("Using cache"), "{again}");

    // The bundles are in lower layers now, where directories can't be renamed; one changes, one goes.
    let manifest = context.path().join("containers.toml");
    let text = fs::read_to_string(&manifest).expect("a step of the test");
    let changed = text.replace("name = \"hello\"", "name = \"hello\"\nrun = { stop_timeout = \"7s\" }");
    fs::write(&manifest, &changed).expect("a step of the test");
    let chroot = ["--isolation", "chroot"];
    let said = storage.build(context.path(), "localhost/composed:1", "localhost/composed:2", &chroot);
    assert!(said.contains("changed hello") && said.contains("kept    tools"), "{said}");
    let root = storage.unpacked("localhost/composed:2");
    expect_composed(&root);
    expect_runs(&root);
    let unit =
        fs::read_to_string(root.join("usr/lib/systemd/system/hello.service")).expect("a step of the test");
    assert!(unit.contains("TimeoutStopSec=12"), "{unit}");

    let only_hello = changed.split("# Owners").next().expect("a step of the test");
    fs::write(&manifest, only_hello).expect("a step of the test");
    storage.build(context.path(), "localhost/composed:2", "localhost/composed:3", &no_network);
    let root = storage.unpacked("localhost/composed:3");
    Compose::into_dir(&root).verb("verify").run().expect_ok();
    let left: Vec<_> =
        ["tools", ".staging"].into_iter().filter(|name| root.join(EMBEDDED).join(name).exists()).collect();
    assert_eq!(left, Vec::<&str>::new());
}
