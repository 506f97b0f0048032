//! What is asked for when nothing, or little, is missing.

use serde_json::json;
use sysctr_tests::crafted;

use super::architectures::{for_architecture, index};
use super::proxy::Proxy;
use super::*;

struct Scene {
    server: Server,
    proxy: Proxy,
    site: Site,
}

impl Scene {
    /// A site with these containers, by image.
    fn new(images: &[&str]) -> Self {
        let server = Server::plain();
        let proxy = Proxy::of(server.port);
        let site = Site::new("");
        let scene = Self { server, proxy, site };
        scene.manifest(images);
        scene
    }

    fn manifest(&self, images: &[&str]) {
        let containers: String = images
            .iter()
            .map(|image| {
                let reference = format!("docker://127.0.0.1:{}/{image}", self.proxy.port);
                container(&image.replace(':', "-"), &reference)
            })
            .collect();
        self.site.file("containers.toml", format!("group = 'g'\n{containers}"));
    }

    fn update(&self) -> String {
        self.proxy.mend();
        self.site.command(["fetch", "-m", "containers.toml", "--update"]).run().expect_ok().stdout()
    }

    fn asked(&self) -> Vec<String> {
        self.proxy.blobs().into_keys().collect()
    }
}

#[test]
fn an_update_asks_for_no_blob_that_is_there() {
    let scene = Scene::new(&["it:1"]);
    let made = image(&[1, 2], 3000);
    scene.server.push(&made, "it:1");
    scene.site.fetch(&[]).expect_ok();
    let told = scene.update();
    assert!(told.ends_with("fetched 0 B, sysctr.lock unchanged\n"), "{told}");
    assert_eq!(scene.asked(), [""; 0]);
    assert!(scene.proxy.requests() > 0, "the tag was not looked up");
    // The same image under another name, beside one whose top layer moved.
    scene.server.push(&made, "it:2");
    let moved = image(&[1, 3], 3000);
    scene.server.push(&moved, "it:1");
    scene.manifest(&["it:1", "it:2"]);
    let told = scene.update();
    let mut new = [digest(&moved.config_bytes()), digest(&moved.layers[1])];
    new.sort();
    assert_eq!(scene.asked(), new, "{told}");
    scene.site.sound();
    assert!(scene.site.lock().contains(&manifest_digest(&made)), "{}", scene.site.lock());
    scene.site.compose(None, &Root::small(), &["--locked"]).run().expect_ok();
}

#[test]
fn an_index_that_moved_for_other_machines_moves_no_blob() {
    let scene = Scene::new(&["multi:1"]);
    let push = |other: u64| {
        let images = [("amd64", for_architecture("amd64", 7)), ("arm64", for_architecture("arm64", other))];
        let (files, top) = index(&images);
        let layout = scratch();
        crafted::write(&files, layout.path());
        scene.server.push_layout(layout.path(), "multi:1", &["--all"]);
        top
    };
    let before = push(8);
    scene.site.fetch(&[]).expect_ok();
    let after = push(9);
    let told = scene.update();
    assert!(told.starts_with("changed multi-1 (amd64)"), "{told}");
    assert_eq!(scene.asked(), [""; 0]);
    let lock = scene.site.lock();
    assert!(lock.contains(&after) && !lock.contains(&before), "{lock}");
    scene.site.sound();
    scene.site.compose(None, &Root::small(), &["--locked"]).run().expect_ok();
}

#[test]
fn a_lost_document_is_all_that_is_asked_for() {
    let scene = Scene::new(&["it:1"]);
    let made = image(&[1, 2], 3000);
    scene.server.push(&made, "it:1");
    scene.site.fetch(&[]).expect_ok();
    let manifest = scene.site.path("cache/blobs/sha256").join(&manifest_digest(&made)[7..]);
    std::fs::write(&manifest, "{}").unwrap();
    scene.proxy.mend();
    scene.site.fetch(&["--locked"]).expect_code(2);
    scene.site.command(["fetch", "-m", "containers.toml", "--locked"]).run().expect_ok();
    assert_eq!(scene.asked(), [""; 0]);
    scene.site.sound();
}

/// A registry's word decides nothing where a policy has a say: what is in the cache is held against the policy again.
#[test]
fn an_update_of_what_is_there_is_under_the_policy_too() {
    let scene = Scene::new(&["it:1"]);
    scene.server.push(&image(&[1], 1000), "it:1");
    scene.site.fetch(&[]).expect_ok();
    let scope = format!("127.0.0.1:{}/it", scene.proxy.port);
    let transports = json!({"docker": {scope: [{"type": "reject"}]}});
    let accepts = json!([{"type": "insecureAcceptAnything"}]);
    scene.site.file("reject.json", json!({"default": accepts, "transports": transports}).to_string());
    let reference = format!("docker://127.0.0.1:{}/it:1", scene.proxy.port);
    let update = ["fetch", "-m", "containers.toml", "--update", "--policy", "reject.json"];
    scene.site.command(update).run().expect_error(&format!(
        "fetching container it-1 (amd64) from {reference}: the policy rejects it; the policy reject.json decides that"
    ));
    scene.site.command([&update[..4], &["--require-signed"]].concat()).run().expect_error(&format!(
        "fetching container it-1 (amd64) from {reference}: no signature of it was verified, and --require-signed wants one; \
         name the key with signed_by"
    ));
}
