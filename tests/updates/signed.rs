//! What was signed when the host image was composed must be signed when it is updated.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use sysctr_tests::{Command, Compose, Root, crafted, scratch};

use crate::bench::version;
use crate::keys::Keys;
use crate::registry::Machine;

/// A host that embeds an image of the registry, signed by one key; another one is nobody's.
struct Scene {
    machine: Machine,
    keys: Keys,
    release: String,
    other: String,
}

impl Scene {
    fn new() -> Self {
        let (machine, keys) = (Machine::empty(), Keys::new());
        let release = keys.make("release@example.org", &machine.path("keys/release.gpg"));
        let other = keys.make("other@example.org", &machine.path("keys/other.gpg"));
        let mut scene = Self { machine, keys, release, other };
        scene.write("etc/registries.d/it.yaml", &scene.registry());
        let port = scene.machine.server.port;
        let insecure = format!("[[registry]]\nlocation = '127.0.0.1:{port}'\ninsecure = true\n");
        scene.write("etc/registries.conf.d/it.conf", &insecure);
        scene.publish("1", Some(&scene.release));
        scene.compose("signed_by = ['release.gpg']", "release");
        scene
    }

    /// Where signatures lie.
    fn registry(&self) -> String {
        let at = self.machine.path("lookaside");
        let (port, at) = (self.machine.server.port, at.display());
        let places = format!("lookaside: 'file://{at}'\n    lookaside-staging: 'file://{at}'");
        format!("docker:\n  127.0.0.1:{port}:\n    {places}\n")
    }

    /// The host becomes one that embeds what the registry has now; this key is its manifest's `release.gpg`.
    fn compose(&mut self, signed_by: &str, key: &str) {
        self.machine.root = Root::small();
        let manifest = format!(
            "group = 'web'\n[[container]]\nname = 'web'\nimage = '{}'\ntls_verify = false\n{signed_by}\n",
            self.tag()
        );
        let compose = Compose::into(&self.machine.root).manifest(manifest).add_launcher();
        fs::create_dir(compose.work_dir().join("registries.d")).expect("a new directory");
        let compose = compose.file("registries.d/it.yaml", &self.registry());
        let compose = compose.env("SYSCTR_CACHE", self.machine.path("cache"));
        let key = self.machine.path(&format!("keys/{key}.gpg"));
        fs::copy(key, compose.work_dir().join("release.gpg")).expect("a key");
        fs::copy(self.machine.path("keys/other.gpg"), compose.work_dir().join("second.gpg")).expect("a key");
        compose.run().expect_ok();
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.machine.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn tag(&self) -> String {
        format!("docker://127.0.0.1:{}/web:stable", self.machine.server.port)
    }

    /// The tag names this version from now on, signed by this key.
    fn publish(&self, answer: &str, signer: Option<&str>) {
        let work = scratch();
        crafted::write(&version(answer).crafted().layout(), work.path());
        let skopeo = Command::new("skopeo").arg("--registries.d").arg(self.machine.path("etc/registries.d"));
        let skopeo = skopeo.args(["copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]);
        let skopeo = signer.iter().fold(skopeo, |skopeo, signer| skopeo.args(["--sign-by", signer]));
        let skopeo = skopeo.arg(format!("oci:{}", work.path().display())).arg(self.tag());
        skopeo.env("GNUPGHOME", self.keys.home()).run().expect_ok();
    }

    /// Where those of a version lie.
    fn signatures(&self, answer: &str) -> PathBuf {
        let digest = crafted::digest(&version(answer).crafted().manifest_bytes());
        self.machine.path("lookaside").join(format!("web@{}", digest.replace(':', "=")))
    }

    fn refused(&self, active: &str) {
        self.refused_without(&self.release, active);
    }

    fn refused_without(&self, key: &str, active: &str) {
        let refused = self.machine.sysctr("update web").expect_code(1);
        let end = format!("; the host image demands a signature by release.gpg ({key})\n");
        assert!(refused.stderr().ends_with(&end), "{}", refused.story());
        assert_eq!(self.machine.page(), format!("version {active}"));
    }
}

#[test]
fn an_update_must_be_signed_by_who_signed_what_was_composed() {
    let scene = Scene::new();
    let machine = &scene.machine;
    assert_eq!(machine.updated("")["generation"], serde_json::Value::Null);
    scene.publish("2", None);
    scene.refused("1");
    scene.publish("2", Some(&scene.other));
    scene.refused("1");
    scene.publish("2", Some(&scene.release));
    assert_eq!(machine.updated("")["warnings"], serde_json::json!([]));
    assert_eq!(machine.page(), "version 2");
    let record = fs::read(machine.path("var/atomic/web.1/record.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    assert_eq!(record["image"]["signed_by"][0]["fingerprint"], scene.release.as_str());
    // An archive has no signature, which is told; what comes after it must have one again.
    let archive = crafted::archive(&version("3").crafted().layout());
    fs::write(machine.path("three.tar"), archive).expect("an archive");
    let updated = machine.updated("--image oci-archive:three.tar");
    let warning = "what it was before was signed; of this nobody's signature was demanded but by this host's policy.json";
    assert_eq!(updated["warnings"], serde_json::json!([warning]));
    scene.publish("4", Some(&scene.other));
    scene.refused("3");
    scene.publish("4", Some(&scene.release));
    machine.updated("");
    assert_eq!(machine.page(), "version 4");
    // Who takes the demand away from a bundle does not take it away.
    let signers = machine.root.bundle("web").join("signers.json");
    fs::rename(&signers, machine.path("signers.json")).expect("a file");
    let refused = machine.sysctr("update web").expect_code(1);
    assert!(
        refused.stderr().contains("signers.json, by which updates must be signed: it is missing"),
        "{}",
        refused.story()
    );
    fs::rename(machine.path("signers.json"), &signers).expect("a file");
    machine.sysctr("update web").expect_ok();
}

#[test]
fn the_host_image_says_which_signatures_are_demanded_whatever_is_active() {
    let mut scene = Scene::new();
    scene.compose("", "release");
    scene.publish("2", None);
    scene.machine.updated("");
    assert_eq!(scene.machine.page(), "version 2");
    // The next host image has what the first one had, and demands a signature.
    scene.publish("1", Some(&scene.release));
    scene.compose("signed_by = ['release.gpg']", "release");
    assert_eq!(scene.machine.page(), "version 2");
    scene.publish("3", None);
    scene.refused("2");
    scene.publish("3", Some(&scene.release));
    scene.machine.updated("");
    assert_eq!(scene.machine.page(), "version 3");
    // One whose key is another.
    scene.publish("1", Some(&scene.other));
    scene.compose("signed_by = ['release.gpg']", "other");
    assert_eq!(scene.machine.page(), "version 3");
    scene.publish("4", Some(&scene.release));
    scene.refused_without(&scene.other, "3");
    scene.publish("4", Some(&scene.other));
    scene.machine.updated("");
    assert_eq!(scene.machine.page(), "version 4");
}

#[test]
fn signers_are_those_of_one_image_even_when_the_tag_moves_meanwhile() {
    let mut scene = Scene::new();
    // Signed by both, as the compose sees it.
    scene.publish("1", Some(&scene.release));
    let signature = |scene: &Scene, number: u32| scene.signatures("1").join(format!("signature-{number}"));
    let first = fs::read(signature(&scene, 1)).expect("a signature");
    scene.publish("1", Some(&scene.other));
    fs::write(signature(&scene, 2), first).expect("a signature");
    scene.compose("signed_by = ['release.gpg', 'second.gpg']", "release");
    // 2 has the one signature, 3 the other, and the tag moves after the first was looked at.
    scene.publish("3", Some(&scene.other));
    scene.publish("2", Some(&scene.release));
    let (tag, moved) = (scene.tag(), scene.machine.path("moved"));
    let three = crafted::digest(&version("3").crafted().manifest_bytes());
    let from = tag.replace(":stable", &format!("@{three}"));
    let wrapper = format!(
        "#!/bin/sh\n/usr/bin/skopeo \"$@\"; ended=$?\ncase \"$*\" in *signer-policy.json*) test -e {moved} || {{ touch {moved}; \
         /usr/bin/skopeo copy -q --preserve-digests --src-tls-verify=false --dest-tls-verify=false {from} {tag} || exit 9; }};; esac\n\
         exit $ended\n",
        moved = moved.display()
    );
    scene.write("bin/skopeo", &wrapper);
    fs::set_permissions(scene.machine.path("bin/skopeo"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let before = format!("export PATH={}:$PATH", scene.machine.path("bin").display());
    let refused = scene.machine.sysctr_after(&before, "update web").expect_code(1);
    let end = "its name came to mean another image meanwhile; try again\n";
    assert!(moved.exists() && refused.stderr().ends_with(end), "{}", refused.story());
    scene.machine.updated("");
    let record = fs::read(scene.machine.path("var/atomic/web.1/record.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let signers = record["image"]["signed_by"].as_array().expect("a list");
    assert_eq!(signers.len(), 1, "{record}");
    assert_eq!(signers[0]["fingerprint"], scene.other.as_str());
}
