//! Physical sysroots, made and judged by `ostree admin`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Command, Output};
use crate::compose::Program;
use crate::{fixture, scratch};

/// A physical sysroot of a test's own.
#[derive(Debug)]
pub struct Sysroot {
    // Dropped with the sysroot.
    scratch: tempfile::TempDir,
}

impl Sysroot {
    /// With a stateroot `debian` and nothing deployed.
    ///
    /// # Panics
    /// When ostree can't make it.
    pub fn empty() -> Self {
        let host = Self { scratch: scratch() };
        let sysroot = host.sysroot();
        fs::create_dir(&sysroot).expect("a new directory");
        Command::new("ostree").args(["admin", "init-fs"]).arg(&sysroot).run().expect_ok();
        // There is no boot loader to be told; the entries are what one would read.
        host.repo(&["config", "set", "sysroot.bootloader", "none"]).expect_ok();
        host.repo(&["config", "set", "core.fsync", "false"]).expect_ok();
        host.admin(&["os-init", "debian"]).expect_ok();
        host
    }

    /// With the small Debian host as ref `debian/host`, and that deployed.
    ///
    /// # Panics
    /// When ostree can't make it.
    pub fn deployed() -> Self {
        let host = Self::empty();
        let root = host.path().join("root");
        fs::create_dir(&root).expect("a new directory");
        let archive = fixture::directory("ostree-host").join("root.tar.zst");
        let tar =
            Command::new("tar").args(["--zstd", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]);
        tar.arg(archive).arg("-C").arg(&root).run().expect_ok();
        // nspawn needs no kernel, `ostree admin deploy` the names of one.
        let kernel = root.join("usr/lib/modules/6.1.0");
        fs::create_dir_all(&kernel).expect("a new directory");
        fs::write(kernel.join("vmlinuz"), "kernel\n").expect("a new file");
        fs::write(kernel.join("initramfs.img"), "initramfs\n").expect("a new file");
        let tree = format!("--tree=dir={}", root.display());
        host.repo(&[
            "commit",
            "--branch=debian/host",
            "--timestamp=@1600000000",
            "--bootable",
            "--consume",
            &tree,
        ])
        .expect_ok();
        let arguments = ["--karg=root=LABEL=root", "--karg=quiet", "--karg=console=ttyS0,115200"];
        host.admin(&[&["deploy", "--os=debian"], &arguments[..], &["debian/host"]].concat()).expect_ok();
        host
    }

    /// The test's own directory.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The sysroot.
    pub fn sysroot(&self) -> PathBuf {
        self.path().join("sysroot")
    }

    /// `ostree admin VERB --sysroot=… …`.
    pub fn admin(&self, arguments: &[&str]) -> Output {
        let command = Command::new("ostree").args(["admin", arguments[0]]);
        command.arg(format!("--sysroot={}", self.sysroot().display())).args(&arguments[1..]).run()
    }

    /// `ostree --repo=SYSROOT/ostree/repo …`.
    pub fn repo(&self, arguments: &[&str]) -> Output {
        let repo = format!("--repo={}", self.sysroot().join("ostree/repo").display());
        Command::new("ostree").arg(repo).args(arguments).run()
    }

    /// The commit that a ref names.
    pub fn rev(&self, reference: &str) -> String {
        self.repo(&["rev-parse", reference]).expect_ok().stdout().trim().to_owned()
    }

    /// Checksums of the deployments, what boots first, with their origins.
    ///
    /// # Panics
    /// When ostree says something that nobody knows.
    pub fn deployments(&self) -> Vec<(String, String)> {
        let status = self.admin(&["status"]).expect_ok().stdout();
        let mut found = Vec::new();
        for line in status.lines() {
            let words: Vec<_> = line.split_whitespace().filter(|word| *word != "*").collect();
            match words[..] {
                ["debian", deployment, ..] => {
                    let checksum = deployment.split_once('.').expect("a serial number").0;
                    found.push((checksum.to_owned(), String::new()));
                }
                ["origin", "refspec:", refspec] => {
                    refspec.clone_into(&mut found.last_mut().expect("a deployment").1);
                }
                _ => {}
            }
        }
        found
    }

    /// The directory of the deployment that boots first.
    ///
    /// # Panics
    /// When nothing is deployed.
    pub fn deployment(&self) -> PathBuf {
        let status = self.admin(&["status"]).expect_ok().stdout();
        let word = status.split_whitespace().skip_while(|word| *word != "debian").nth(1);
        self.sysroot().join("ostree/deploy/debian/deploy").join(word.expect("a deployment"))
    }

    /// The kernel arguments of what boots first, without ostree's own.
    ///
    /// # Panics
    /// When there is no entry for it.
    pub fn kernel_arguments(&self) -> String {
        let entries = fs::read_dir(self.sysroot().join("boot/loader/entries")).expect("entries");
        let texts =
            entries.map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("an entry"));
        let value = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.expect("a key of the entry").trim().to_owned()
        };
        let newest = texts.max_by_key(|text| value(text, "version ").parse::<u32>().expect("a number"));
        let options = value(&newest.expect("an entry"), "options ");
        options.split(' ').filter(|option| !option.starts_with("ostree=")).collect::<Vec<_>>().join(" ")
    }

    /// The composer on the sysroot's deployment, with the launcher.
    pub fn compose(&self, more: &[&str]) -> Output {
        let composer = Command::new(Program::Composer.path()).arg("--sysroot").arg(self.sysroot());
        let composer = composer.arg("--add-launcher").arg(Program::Launcher.path()).arg("--deployment");
        composer.args(more).in_dir(self.path()).run()
    }
}

impl Drop for Sysroot {
    fn drop(&mut self) {
        // ostree makes the roots of deployments immutable.
        let script = r#"chattr -f -i "$1"/ostree/deploy/*/deploy/*.[0-9] "$1"/boot || :"#;
        Command::new("bash").args(["-c", script, "drop"]).arg(self.sysroot()).run();
    }
}
