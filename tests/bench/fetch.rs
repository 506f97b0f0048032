//! `fetch` beside `skopeo copy` and `skopeo sync`: the same images from the same registry on loopback.

use std::fs;
use std::path::Path;

use sysctr_tests::registry::Server;
use sysctr_tests::{Command, Program, scratch};

use crate::images::Set;
use crate::rounds::{Side, compare};
use crate::rows::Rows;

const IMAGES: usize = 20;

pub fn run(rounds: usize) -> Rows {
    let (server, work) = (Server::plain(), scratch());
    let set = Set::make(&work.path().join("images"), IMAGES);
    set.push(&server);
    let scene = Scene { port: server.port, work: work.path() };
    scene.write();
    scene.sysctr().run().expect_ok();
    let size = set.size(&scene.at("sysctr"));
    let mb = |bytes: u64| bytes / 1_000_000;
    println!(
        "  {IMAGES} images, {} blobs, {} MB; {} MB if nothing were shared",
        size.blobs,
        mb(size.bytes),
        mb(size.bytes_apart)
    );
    let fresh = |name: &'static str| move || scene.clear(name);
    let fetched = compare(
        "into an empty place",
        rounds,
        vec![
            Side::new("sysctr-compose fetch", scene.at("sysctr"), || scene.forget(), || scene.sysctr()),
            Side::new("skopeo copy, one after another", scene.at("copy"), fresh("copy"), || scene.copy()),
            Side::new("skopeo copy, four at once", scene.at("four"), fresh("four"), || scene.copy_four()),
            Side::new("skopeo sync", scene.at("sync"), fresh("sync"), || scene.sync()),
        ],
    );
    let nothing = || {};
    let again = compare(
        "tags looked up again, nothing new",
        rounds,
        vec![
            Side::new("sysctr-compose fetch --update", scene.at("sysctr"), nothing, || scene.update()),
            Side::new("skopeo copy, one after another", scene.at("copy"), nothing, || scene.copy()),
        ],
    );
    fetched.and(again)
}

/// Where the sides work.
#[derive(Clone, Copy)]
struct Scene<'a> {
    port: u16,
    work: &'a Path,
}

impl Scene<'_> {
    fn at(&self, name: &str) -> std::path::PathBuf {
        self.work.join(name)
    }

    fn clear(&self, name: &str) {
        let dir = self.at(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("a directory of ours");
        }
        fs::create_dir(&dir).expect("a new directory");
    }

    /// Without the lock, too, which tells what to expect.
    fn forget(&self) {
        self.clear("sysctr");
        let lock = self.at("sysctr.lock");
        if lock.exists() {
            fs::remove_file(lock).expect("a file of ours");
        }
    }

    /// Manifest, list for sync, and a place for each side.
    fn write(&self) {
        let port = self.port;
        let containers = (0..IMAGES).map(|n| {
            format!(
                "[[container]]\nname = 'c{n}'\nimage = 'docker://127.0.0.1:{port}/image{n}:1'\ntls_verify = false\n"
            )
        });
        let manifest = format!("group = 'bench'\n{}", containers.collect::<String>());
        fs::write(self.at("containers.toml"), manifest).expect("a new file");
        let images = (0..IMAGES).map(|n| format!("    image{n}: ['1']\n")).collect::<String>();
        let list = format!("127.0.0.1:{port}:\n  tls-verify: false\n  images:\n{images}");
        fs::write(self.at("sync.yml"), list).expect("a new file");
        for name in ["sysctr", "copy", "four", "sync"] {
            self.clear(name);
        }
    }

    fn fetch(&self, more: &[&str]) -> Command {
        let fetch =
            Command::new(Program::Composer.path()).args(["fetch", "-m", "containers.toml"]).args(more);
        fetch.in_dir(self.work).env("SYSCTR_CACHE", self.at("sysctr"))
    }

    fn sysctr(&self) -> Command {
        self.fetch(&["--arch", "amd64"])
    }

    fn update(&self) -> Command {
        self.fetch(&["--update"])
    }

    /// Every image into the same layout, which keeps shared layers once.
    fn copy(&self) -> Command {
        let script = format!(
            "for n in $(seq 0 {last}); do \
               skopeo copy -q --src-tls-verify=false docker://127.0.0.1:{port}/image$n:1 oci:copy:image$n; \
             done",
            last = IMAGES - 1,
            port = self.port
        );
        self.shell(&script)
    }

    /// A layout for each, as its list of names can't be written by several; blobs in one place.
    fn copy_four(&self) -> Command {
        let script = format!(
            "seq 0 {last} | xargs -P 4 -I N skopeo copy -q --src-tls-verify=false --dest-shared-blob-dir four/blobs \
             docker://127.0.0.1:{port}/imageN:1 oci:four/N:1",
            last = IMAGES - 1,
            port = self.port
        );
        self.shell(&script)
    }

    /// A directory for each image, where nothing is shared.
    fn sync(&self) -> Command {
        self.shell("skopeo sync --src yaml --dest dir sync.yml sync")
    }

    fn shell(&self, script: &str) -> Command {
        Command::new("bash").args(["-euo", "pipefail", "-c", script]).in_dir(self.work)
    }
}
