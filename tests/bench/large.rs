//! The image and the hosts that are measured with: hundreds of megabytes of Debian packages (fixtures/large.sh).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sysctr_tests::crafted::blob_name;
use sysctr_tests::{Command, Program, fixture, scratch};

use crate::images::{document, read};

/// Waits until the disk has forgotten what was removed before. An ext4 without a journal leaves a removed file's inode alone for a
/// minute, and looks at each of them whenever it needs one for a new file: creating a file costs up to three times as much then.
fn rest() {
    const FORGOTTEN: Duration = Duration::from_secs(61);
    Command::new("sync").run().expect_ok();
    std::thread::sleep(FORGOTTEN);
}

/// A place to work, with the image and a host.
pub struct Scene {
    work: tempfile::TempDir,
    image: PathBuf,
}

impl Scene {
    /// With a small host as directory `host`, and as ref `host` of the repositories `seed-bare` and `seed-archive`.
    pub fn new() -> Self {
        let scene = Self { work: scratch(), image: fixture::directory("large") };
        let archive = fixture::directory("ostree-host").join("root.tar.zst");
        fs::create_dir(scene.at("host")).expect("a new directory");
        let tar = Command::new("tar").args(["--zstd", "--xattrs", "--numeric-owner", "-xpf"]).arg(archive);
        tar.arg("-C").arg(scene.at("host")).run().expect_ok();
        for mode in ["bare", "archive"] {
            scene.shell(&format!(
                "ostree init --repo=seed-{mode} --mode={mode}; \
                 ostree --repo=seed-{mode} commit -b host --tree=dir=host"
            ));
        }
        rest();
        scene
    }

    /// A path in it.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.work.path().join(name)
    }

    /// The image of this tag.
    pub fn reference(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.image.join("oci").display())
    }

    /// The layout that it is in, for other programs.
    pub fn layout(&self) -> PathBuf {
        self.image.join("oci")
    }

    /// The layers of tag 5, unpacked, from the lowest.
    pub fn tars(&self) -> Vec<PathBuf> {
        let below = (0..4).map(|number| format!("tars/5-{number}.tar"));
        below.chain(["tars/top-1.tar".to_owned()]).map(|name| self.image.join(name)).collect()
    }

    /// The same as they lie in the layout.
    pub fn blobs(&self) -> Vec<PathBuf> {
        let blob = |described: &serde_json::Value| {
            self.layout().join(blob_name(described["digest"].as_str().expect("a digest")))
        };
        let index = read(&self.layout().join("index.json"));
        let listed = index["manifests"].as_array().expect("a list").iter();
        let tag = "org.opencontainers.image.ref.name";
        let five = listed.into_iter().find(|it| it["annotations"][tag] == "5").expect("tag 5");
        let manifest = document(&self.layout(), &five["digest"]);
        manifest["layers"].as_array().expect("a list").iter().map(blob).collect()
    }

    /// `to` becomes what `from` is, by hard links, without what was there.
    pub fn renew(&self, from: &str, to: &str) {
        self.put_away(to);
        self.shell(&format!("cp -al {from} {to}"));
    }

    /// What was made under this name is elsewhere, until the scene is gone: nothing is removed between rounds (see [`rest`]).
    pub fn put_away(&self, name: &str) {
        self.shell(&format!(
            "[ ! -e {name} ] || {{ mkdir -p made; mv -t \"$(mktemp -d -p made)\" {name}; }}"
        ));
    }

    /// The host as a root, `root`, without what was there.
    pub fn renew_root(&self) {
        self.renew("host", "root");
        self.shell("mv root/usr/etc root/etc");
    }

    /// A script in this place, to run.
    pub fn script(&self, script: &str) -> Command {
        Command::new("bash").args(["-euo", "pipefail", "-c", script]).in_dir(self.work.path())
    }

    /// Runs a script in this place.
    pub fn shell(&self, script: &str) {
        self.script(script).run().expect_ok();
    }

    /// The composer on the image, with these arguments before it.
    pub fn compose(&self, tag: &str, arguments: &[&str]) -> Command {
        let composer = Command::new(Program::Composer.path()).args(arguments);
        composer
            .arg("--add-launcher")
            .arg(Program::Launcher.path())
            .args([self.reference(tag), "--name".to_owned(), "large".to_owned()])
            .in_dir(self.work.path())
    }

    /// The composer from ref `base` of `repo` to ref `out`.
    pub fn commit(&self, repo: &str, base: &str, tag: &str) -> Command {
        self.compose(tag, &["--repo", repo, "--base", base, "--ref", "out"])
    }
}
