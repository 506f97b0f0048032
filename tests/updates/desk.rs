//! A host that is not booted: its `sysctr` runs in it, without systemd, so that hundreds of commands take seconds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sysctr_tests::{Command, Compose, Crafted, Output, Root, crafted, memory, scratch};
use tempfile::TempDir;

use crate::bench::{Version, version};

pub struct Desk {
    root: Root,
    images: TempDir,
    /// In memory: `etc/N`, `/etc/containers` of deployment N; `var`, `/var/lib/containers`.
    state: TempDir,
    /// What hosts embed, by number: `/usr/lib/containers/atomic` and the units.
    hosts: TempDir,
    /// The deployment and the host image that the next command runs on.
    pub here: (usize, usize),
}

impl Desk {
    /// A host with these images in /images, and as many host images that embed `web`, each its own.
    pub fn new(images: &[Version], hosts: usize) -> Self {
        let (images_dir, state, hosts_dir) = (scratch(), memory(), scratch());
        for version in images {
            crafted::write(&version.crafted().layout(), &images_dir.path().join(version.name()));
        }
        let root = Root::ostree_host();
        for number in 0..hosts {
            let image = scratch();
            crafted::write(&version(&format!("host {number}")).crafted().layout(), image.path());
            let manifest = format!(
                "group = 'web'\n[[container]]\nname = 'web'\nimage = 'oci:{}'\n",
                image.path().display()
            );
            Compose::into(&root).manifest(manifest).add_launcher().run().expect_ok();
            let script =
                r#"mkdir "$2"; cp -a "$1/usr/lib/containers/atomic" "$1/usr/lib/systemd/system" "$2""#;
            let copy = Command::new("bash").args(["-euc", script, "copy"]).arg(root.path());
            copy.arg(hosts_dir.path().join(number.to_string())).run().expect_ok();
        }
        for dir in ["images", "etc/containers", "var/lib/containers", "sysroot/ostree/deploy"] {
            std::fs::create_dir_all(root.join(dir)).expect("a new directory");
        }
        for dir in ["etc/0", "var"] {
            std::fs::create_dir_all(state.path().join(dir)).expect("a new directory");
        }
        Self { root, images: images_dir, state, hosts: hosts_dir, here: (0, 0) }
    }

    /// One more image in /images.
    pub fn image(&self, name: &str, image: &Crafted) {
        crafted::write(&image.layout(), &self.images.path().join(name));
    }

    /// `sysctr` with these arguments, under these words of strace's.
    pub fn sysctr(&self, strace: &[&str], arguments: &str) -> Output {
        self.command(strace, arguments).run()
    }

    /// The same, not begun yet.
    pub fn command(&self, strace: &[&str], arguments: &str) -> Command {
        let root = self.root.path();
        let sysctr = self.inside(r#"exec "$@""#).args(strace).arg("chroot").arg(root).arg("/usr/bin/sysctr");
        sysctr.args(arguments.split(' '))
    }

    /// A script of a shell where `$root` is the host's root directory and `$state` what outlives a command.
    pub fn shell(&self, script: &str) -> Output {
        self.inside(script).run()
    }

    /// One more image below /images.
    pub fn add(&self, name: &str, image: &Crafted) {
        crafted::write(&image.layout(), &self.images.path().join(name));
    }

    /// This script among the host's mounts; arguments are its own.
    fn inside(&self, script: &str) -> Command {
        let mounts = r#"
            root=$1 state=$2 images=$3 host=$4 deployment=$5; shift 5
            mount --bind "$state/etc/$deployment" "$root/etc/containers"
            mount --bind "$state/var" "$root/var/lib/containers"
            mount --bind "$host/atomic" "$root/usr/lib/containers/atomic"
            mount --bind "$host/system" "$root/usr/lib/systemd/system"
            mount --bind "$images" "$root/images"; mount -t proc proc "$root/proc"; mount --bind /dev "$root/dev"
            mount -t tmpfs tmpfs "$root/sysroot"
            for etc in "$state"/etc/*; do
              at=$root/sysroot/ostree/deploy/os/deploy/${etc##*/}.0/etc/containers
              mkdir -p "$at"; mount --bind "$etc" "$at"
            done
            "#;
        let (deployment, host) = self.here;
        let script = format!("{mounts}{script}");
        let unshare = ["--mount", "--propagation", "private", "bash", "-euc", &script, "desk"];
        let command = Command::new("unshare").args(unshare);
        let command = command.arg(self.root.path()).arg(self.state.path()).arg(self.images.path());
        command.arg(self.hosts.path().join(host.to_string())).arg(deployment.to_string())
    }

    /// What `status` says of web.
    pub fn status(&self) -> Value {
        self.sysctr(&[], "status --format json web").expect_ok().json()["containers"][0].clone()
    }

    /// The image of what is active.
    pub fn active(&self) -> String {
        let status = self.status();
        let word = |key: &str| status[key].as_str().expect("a word").to_owned();
        if word("active") == "embedded" { "embedded".to_owned() } else { word("image") }
    }

    /// `/etc/containers` of a deployment.
    pub fn etc(&self, deployment: usize) -> PathBuf {
        self.state.path().join("etc").join(deployment.to_string())
    }

    /// Its root directory, without what is bound.
    pub fn root(&self) -> PathBuf {
        self.root.path()
    }

    /// Everything that outlives a command.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    pub fn assert_store_clean(&self, story: &str) {
        let store = self.state.path().join("var/atomic/.repo");
        if store.exists() {
            let fsck = Command::new("ostree").args(["fsck", "-q"]).arg(format!("--repo={}", store.display()));
            let output = fsck.run();
            assert_eq!(output.code(), 0, "{story}: {}", output.story());
        }
    }

    /// The bundles that there are. Nothing else may lie about.
    pub fn bundles(&self) -> BTreeSet<String> {
        let known = [".images", ".lock", ".repo", ".web.number"];
        names(&self.state.path().join("var/atomic"))
            .into_iter()
            .filter(|name| !known.contains(&&**name))
            .collect()
    }

    /// The generations that a deployment's `/etc` describes. Nothing else may lie about.
    pub fn described(&self, deployment: usize) -> BTreeSet<String> {
        let known = ["web", ".web.files"];
        let names = names(&self.etc(deployment).join("atomic")).into_iter();
        names.filter(|name| !known.contains(&&**name)).collect()
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    match std::fs::read_dir(dir) {
        Ok(entries) => {
            let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
            entries.map(|entry| name(entry).into_string().expect("UTF-8")).collect()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => panic!("{}: {error}", dir.display()),
    }
}
