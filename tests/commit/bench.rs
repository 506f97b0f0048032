//! A host, its repositories and images, and the composer run as users run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sysctr_tests::{Crafted, Image, Layer, Packing, Program, crafted};

use crate::{done, make_repo, make_root, ostree, printed, scratch};

/// A host, its repositories, images, and the composer at work.
pub struct Bench {
    scratch: tempfile::TempDir,
}

/// A composer's end.
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ended {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(self) -> Value {
        let ended = self.ok();
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
    }

    /// One line on standard error, nothing else.
    #[track_caller]
    pub fn error(self, code: i32, message: &str) {
        let expected = format!("sysctr-compose: {message}\n");
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (code, "", expected.as_str()));
    }
}

/// An image with host files of all kinds, users, and a link or two.
pub fn exporter() -> Crafted {
    let base = Layer::new()
        .dir("etc")
        .file("etc/passwd", "root:x:0:0::/root:/bin/sh\nsrv:x:77:77::/srv:/bin/sh\n")
        .file("etc/group", "root:x:0:\nsrv:x:77:\n")
        .dir("bin")
        .file("bin/true", "#!/bin/sh\n")
        .hardlink("bin/false", "bin/true")
        .symlink("sh", "bin/true")
        .file("big", vec![b'b'; 3 << 20]);
    let exports = Layer::new()
        .dir("exports")
        .file("exports/tmpfiles.template", "d /var/lib/${NAME} 0755 root root -\n")
        .dir("exports/hostfs")
        .dir("exports/hostfs/etc")
        .file("exports/hostfs/etc/exporter.conf", "x=1\n")
        .dir("exports/hostfs/usr")
        .dir("exports/hostfs/usr/share")
        .dir("exports/hostfs/usr/share/exporter")
        .file("exports/hostfs/usr/share/exporter/data", "data\n")
        .symlink("exports/hostfs/usr/share/exporter/link", "data");
    Crafted::of(&[base.bytes(), exports.bytes()], Packing::Gzip)
}

/// An image of a few files; another number is another image.
pub fn plain(number: u32) -> Crafted {
    let layer = Layer::new().dir("bin").file("bin/true", format!("#!/bin/sh\n# {number}\n")).dir("data");
    Crafted::one(&layer)
}

pub const THREE: &str = "group = 'g'\n\
    [[container]]\nname = 'exporter'\nimage = 'oci:images/exporter'\n\
    [[container]]\nname = 'one'\nimage = 'oci:images/one'\n\
    [container.run]\nvolumes = { '/data' = '/var/lib/one' }\n\
    [[container]]\nname = 'hello'\nimage = 'oci:images/hello:1'\nunit = { replace = true }\n";

impl Bench {
    /// With one host and three manifests' images.
    pub fn new() -> Self {
        let bench = Self { scratch: scratch() };
        let root = make_root(bench.path());
        for file in ["usr/lib/systemd/systemd", "usr/bin/runc"] {
            fs::copy("/bin/busybox", root.join(file)).expect("busybox-static is installed");
        }
        fs::write(root.join("usr/etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("a step of the test");
        fs::write(root.join("usr/etc/group"), "root:x:0:\n").expect("a step of the test");
        fs::write(root.join("usr/lib/systemd/system/hello.service"), "[Service]\nExecStart=theirs\n")
            .expect("a step of the test");
        for (name, image) in [("exporter", exporter()), ("one", plain(1)), ("two", plain(2))] {
            crafted::write(&image.layout(), &bench.path().join("images").join(name));
        }
        let hello = Image::hello().directory().join("oci");
        done(Command::new("cp").arg("-a").arg(hello).arg(bench.path().join("images/hello")));
        bench.manifest("three", THREE);
        // Ordinary users read it, too.
        done(Command::new("chmod").args(["-R", "a+rX"]).arg(bench.path()));
        bench
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    pub fn manifest(&self, name: &str, text: &str) {
        fs::write(self.path().join(format!("{name}.toml")), text).expect("a step of the test");
    }

    /// A repository with the host as `base`.
    pub fn repo(&self, mode: &str) -> Utf8PathBuf {
        make_repo(self.path(), mode, &self.root())
    }

    /// The composer, run by `wrapper`.
    pub fn run_by(&self, wrapper: &[&str], arguments: &[&str]) -> Ended {
        let composer = Program::Composer.path();
        let composer = composer.to_str().expect("a path of UTF-8");
        let words: Vec<_> =
            wrapper.iter().copied().chain([composer]).chain(arguments.iter().copied()).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(self.path()).env_remove("SOURCE_DATE_EPOCH");
        let output = command.output().expect("the composer was built");
        let text = |bytes| String::from_utf8(bytes).expect("the composer speaks UTF-8");
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.run_by(&[], arguments)
    }

    /// Composes a manifest on `base`.
    pub fn compose(&self, repo: &Utf8Path, base: &str, manifest: &str, more: &[&str]) -> Ended {
        let launcher = Program::Launcher.path();
        let manifest = format!("{manifest}.toml");
        let arguments = ["--repo", repo.as_str(), "--base", base, "--ref", "host", "-m", &manifest];
        let launcher = ["--add-launcher", launcher.to_str().expect("a path of UTF-8")];
        self.run(&[&arguments[..], &launcher, more].concat())
    }

    /// Overwrites all layers; tells what they were.
    pub fn spoil_layers(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let found = printed(Command::new("find").arg(self.path().join("images")).args([
            "-path",
            "*/blobs/*",
            "-type",
            "f",
        ]));
        let blobs = found.lines().map(|path| (PathBuf::from(path), fs::read(path).expect("a blob")));
        let layers: Vec<_> = blobs.filter(|(_, bytes)| !bytes.starts_with(b"{")).collect();
        for (path, bytes) in &layers {
            fs::write(path, vec![0; bytes.len()]).expect("a step of the test");
        }
        layers
    }

    /// Another night's host.
    pub fn nightly(&self, repo: &Utf8Path) {
        fs::write(self.root().join("usr/bin/new"), "nightly").expect("a step of the test");
        fs::write(self.root().join("usr/etc/passwd"), "root:x:0:0::/root:/bin/sh\nsrv:x:9:9::/:/bin/sh\n")
            .expect("a step of the test");
        fs::create_dir_all(self.root().join("usr/share/exporter")).expect("a step of the test");
        fs::write(self.root().join("usr/lib/systemd/system/hello.service"), "[Service]\nExecStart=new\n")
            .expect("a step of the test");
        let tree = format!("--tree=dir={}", self.root().display());
        let time = "--timestamp=@1600100000";
        done(&mut ostree(repo.as_std_path(), &["commit", "--branch=nightly", time, &tree]));
    }
}

/// Makes the repository forget the layers that it knows.
pub fn forget_layers(repo: &Utf8Path) {
    fs::remove_dir_all(repo.join("extensions/sysctr")).expect("a compose read a layer");
}

pub fn listing(repo: &Utf8Path, rev: &str) -> String {
    printed(&mut ostree(repo.as_std_path(), &["ls", "-RCX", rev]))
}

pub fn rev(repo: &Utf8Path, rev: &str) -> String {
    printed(&mut ostree(repo.as_std_path(), &["rev-parse", rev])).trim().to_owned()
}

/// Every file of the repository but its locks and summaries.
pub fn files(repo: &Utf8Path) -> String {
    printed(Command::new("find").arg(repo).args(["-path", "*/tmp", "-prune", "-o", "-type", "f", "-print"]))
}
