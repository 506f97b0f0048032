//! What was signed when the host image was composed must be signed when it is updated.

use std::fs;

use sysctr_tests::{Command, Compose, crafted, scratch};

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
        let scene = Self { machine, keys, release, other };
        let at = scene.machine.path("lookaside");
        let (port, at) = (scene.machine.server.port, at.display());
        let places = format!("lookaside: 'file://{at}'\n    lookaside-staging: 'file://{at}'");
        let registry = format!("docker:\n  127.0.0.1:{port}:\n    {places}\n");
        scene.write("etc/registries.d/it.yaml", &registry);
        let insecure = format!("[[registry]]\nlocation = '127.0.0.1:{port}'\ninsecure = true\n");
        scene.write("etc/registries.conf.d/it.conf", &insecure);
        scene.publish("1", Some(&scene.release));
        let manifest = format!(
            "group = 'web'\n[[container]]\nname = 'web'\nimage = '{}'\ntls_verify = false\nsigned_by = ['release.gpg']\n",
            scene.tag()
        );
        let compose = Compose::into(&scene.machine.root).manifest(manifest).add_launcher();
        fs::create_dir(compose.work_dir().join("registries.d")).expect("a new directory");
        let compose = compose.file("registries.d/it.yaml", &registry);
        let compose = compose.env("SYSCTR_CACHE", scene.machine.path("cache"));
        let key = scene.machine.path("keys/release.gpg");
        fs::copy(key, compose.work_dir().join("release.gpg")).expect("a key");
        compose.run().expect_ok();
        scene
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

    fn refused(&self, active: &str) {
        let refused = self.machine.sysctr("update web").expect_code(1);
        let end = format!("; the host image demands a signature by release.gpg ({})\n", self.release);
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
}
