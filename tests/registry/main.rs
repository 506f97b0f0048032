//! `fetch`, `sysctr.lock` and `--locked` against Debian's docker-registry and skopeo, with a proxy of our own between them.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod architectures;
mod ci;
mod corruption;
mod faults;
mod inspect;
mod keys;
mod kills;
mod progress;
mod proxy;
mod sources;
mod trust;
mod update;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sysctr_tests::crafted::{Crafted, Layer, Packing, digest};
use sysctr_tests::registry::Server;
use sysctr_tests::{Command, Output, Program, Random, Root, scratch};
use tempfile::TempDir;

/// A directory with a manifest, and a cache.
struct Site {
    work: TempDir,
    env: Vec<(String, PathBuf)>,
}

impl Site {
    /// With this manifest, and an empty cache.
    fn new(manifest: &str) -> Self {
        let work = scratch();
        let site = Self { work, env: Vec::new() };
        let site = site.env("SYSCTR_CACHE", "cache");
        site.file("containers.toml", manifest);
        site
    }

    /// With a variable that names a path below its directory.
    fn env(mut self, name: &str, path: impl AsRef<Path>) -> Self {
        let path = self.path(path);
        self.env.push((name.to_owned(), path));
        self
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.work.path().join(name)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn lock(&self) -> String {
        std::fs::read_to_string(self.path("sysctr.lock")).unwrap()
    }

    /// The composer with these arguments.
    fn command<T: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = T>) -> Command {
        let mut command = Command::new(Program::Composer.path()).args(args).in_dir(self.work.path());
        for (name, value) in &self.env {
            command = command.env(name, value);
        }
        command.call(self.work.path(), "WORK")
    }

    /// `fetch` for amd64 with more arguments.
    fn fetch(&self, args: &[&str]) -> Output {
        self.command(["fetch", "-m", "containers.toml", "--arch", "amd64"]).args(args).run()
    }

    /// Composes into `root`; a verb of the same arguments with `plan`.
    fn compose(&self, verb: Option<&str>, root: &Root, args: &[&str]) -> Command {
        let command = self.command(verb).args(["-m", "containers.toml", "--sysroot"]).arg(root.path());
        command.arg("--add-launcher").arg(Program::Launcher.path()).args(args).call(&root.path(), "ROOT")
    }

    /// Every blob of the cache has the digest that it is named by, and nothing is under way.
    #[track_caller]
    fn sound(&self) {
        for (name, bytes) in self.blobs() {
            assert_eq!(digest(&bytes), format!("sha256:{name}"), "the cache is poisoned");
        }
        assert_eq!(std::fs::read_dir(self.path("cache/tmp")).unwrap().count(), 0, "something was left");
    }

    fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.path("cache/blobs/sha256")).unwrap().map(|entry| entry.unwrap());
        entries.map(|it| (it.file_name().into_string().unwrap(), std::fs::read(it.path()).unwrap())).collect()
    }
}

/// `[[container]]` for an image of a registry without TLS.
fn container(name: &str, image: &str) -> String {
    format!("[[container]]\nname = '{name}'\nimage = '{image}'\ntls_verify = false\n")
}

/// A layer with one file of bytes that don't compress, the same for the same `seed`.
fn layer(seed: u64, size: usize) -> Vec<u8> {
    let bytes = Random::of(seed).bytes(size);
    Layer::new().file(&format!("file-{seed}"), bytes).bytes()
}

/// An image of such layers.
fn image(seeds: &[u64], size: usize) -> Crafted {
    Crafted::of(&seeds.iter().map(|&seed| layer(seed, size)).collect::<Vec<_>>(), Packing::Gzip)
}

/// Digest of an image's manifest.
fn manifest_digest(image: &Crafted) -> String {
    digest(&image.manifest_bytes())
}
