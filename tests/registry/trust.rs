//! Signatures made by real tools, and images that must not get in.

use serde_json::json;
use sysctr_tests::{Root, crafted};

use super::keys::Keys;
use super::*;

/// A registry, two keys, and a site whose image is signed by the first.
struct Scene {
    server: Server,
    keys: Keys,
    site: Site,
    /// Fingerprints.
    release: String,
    other: String,
    image: Crafted,
}

impl Scene {
    fn new() -> Self {
        let server = Server::plain();
        let keys = Keys::new();
        let site = Site::new("");
        let release = keys.make("release@example.org", &site.path("keys/release.gpg"));
        let other = keys.make("other@example.org", &site.path("keys/other.gpg"));
        let lookaside = site.path("lookaside");
        let places =
            format!("lookaside: 'file://{0}'\n    lookaside-staging: 'file://{0}'", lookaside.display());
        site.file("registries.d/it.yaml", format!("docker:\n  127.0.0.1:{}:\n    {places}\n", server.port));
        let scene = Self { server, keys, site, release, other, image: image(&[1], 1000) };
        scene.sign(&scene.image, "it:1", &scene.release);
        scene.manifest("it:1", "signed_by = ['keys/release.gpg']\n");
        scene
    }

    fn manifest(&self, image: &str, more: &str) {
        let reference = format!("docker://127.0.0.1:{}/{image}", self.server.port);
        self.site.file("containers.toml", format!("group = 'g'\n{}{more}", container("it", &reference)));
    }

    /// Pushes an image and signs it by skopeo.
    fn sign(&self, image: &Crafted, name: &str, fingerprint: &str) {
        let work = scratch();
        crafted::write(&image.layout(), work.path());
        let skopeo = Command::new("skopeo").arg("--registries.d").arg(self.site.path("registries.d"));
        let skopeo = skopeo.args([
            "copy",
            "-q",
            "--preserve-digests",
            "--dest-tls-verify=false",
            "--sign-by",
            fingerprint,
        ]);
        let to = format!("docker://127.0.0.1:{}/{name}", self.server.port);
        let from = format!("oci:{}", work.path().display());
        skopeo.args([&from, &to]).env("GNUPGHOME", self.keys.home()).run().expect_ok();
    }

    /// Signs the image under a name by the key `keys/cosign.key`, in the form that cosign gives signatures in a registry.
    fn cosign(&self, name: &str) {
        let reference = format!("127.0.0.1:{}/{name}", self.server.port);
        let image = json!({"docker-manifest-digest": manifest_digest(&self.image)});
        let critical = json!({"identity": {"docker-reference": reference}, "image": image,
            "type": "cosign container image signature"});
        let payload = json!({"critical": critical, "optional": null}).to_string().into_bytes();
        let sign =
            Command::new("openssl").args(["dgst", "-sha256", "-sign"]).arg(self.site.path("keys/cosign.key"));
        let signature = sign.input(payload.clone()).run().expect_ok();
        let signature = Command::new("base64").arg("-w0").input(signature.bytes()).run().expect_ok().stdout();
        let mut made = Crafted::packed(vec![payload.clone()], vec![digest(&payload)], Packing::Plain);
        made.media_types = vec!["application/vnd.dev.cosign.simplesigning.v1+json".to_owned()];
        let annotations = json!({"dev.cosignproject.cosign/signature": signature});
        made.manifest = json!({"layers": {"0": {"annotations": annotations}}});
        let tag = manifest_digest(&self.image).replace(':', "-");
        self.server.push(&made, &format!("it:{tag}.sig"));
    }

    /// The directory of an image's signatures.
    fn signatures(&self, image: &Crafted) -> PathBuf {
        self.site.path("lookaside").join(format!("it@{}", manifest_digest(image).replace(':', "=")))
    }

    /// A fetch must say this, and leave neither lock nor image.
    #[track_caller]
    fn refuses(&self, args: &[&str], message: &str) {
        let image = self.site.path("containers.toml");
        let text = std::fs::read_to_string(image).unwrap();
        let reference = text
            .lines()
            .find_map(|line| line.strip_prefix("image = "))
            .unwrap()
            .trim_matches('\'')
            .to_owned();
        let message = format!("fetching container it (amd64) from {reference}: {message}");
        self.site.fetch(&[&["--retries", "0"], args].concat()).expect_error(&message);
        assert!(!self.site.path("sysctr.lock").exists());
        assert_eq!(self.site.blobs().len(), 0, "something of it is in the cache");
    }
}

#[test]
fn who_signed_is_in_the_lock_and_in_the_record() {
    let scene = Scene::new();
    let site = &scene.site;
    let told = site.fetch(&[]).expect_ok().stdout();
    assert!(told.contains(&format!("        signed by {} (keys/release.gpg)\n", scene.release)), "{told}");
    let line =
        format!("  {{ kind = \"gpg\", key = \"keys/release.gpg\", fingerprint = \"{}\" }},\n", scene.release);
    assert!(site.lock().contains(&line), "{}", site.lock());
    let root = Root::small();
    let planned = site.compose(Some("plan"), &root, &["--locked"]).run().expect_ok().stdout();
    assert!(planned.contains(&format!("signed by {} (keys/release.gpg)", scene.release)), "{planned}");
    site.compose(None, &root, &["--locked", "--require-signed"]).run().expect_ok();
    let signer = json!([{"kind": "gpg", "key": "keys/release.gpg", "fingerprint": scene.release}]);
    assert_eq!(root.record("it")["image"]["signed_by"], signer);
    // The manifest demands another key: the lock no longer does.
    scene.manifest("it:1", "signed_by = ['keys/other.gpg']\n");
    site.compose(None, &root, &["--locked"]).run().expect_misunderstood(
        "sysctr.lock:14:1: container it is locked without a signature by keys/other.gpg; run sysctr-compose fetch",
    );
    scene.manifest("it:1", "signed_by = ['keys/other.gpg', 'keys/release.gpg']\n");
    site.compose(None, &root, &["--locked"]).run().expect_ok();
}

#[test]
fn what_is_not_signed_as_demanded_is_refused_each_in_its_own_words() {
    let scene = Scene::new();
    let demands = "; signed_by demands a signature by keys/release.gpg";
    let unsigned = image(&[2], 1000);
    scene.server.push(&unsigned, "it:unsigned");
    scene.manifest("it:unsigned", "signed_by = ['keys/release.gpg']\n");
    scene.refuses(&[], &format!("it is not signed{demands}"));
    // A signature for another digest.
    let stolen = scene.signatures(&unsigned);
    std::fs::create_dir_all(&stolen).unwrap();
    std::fs::copy(scene.signatures(&scene.image).join("signature-1"), stolen.join("signature-1")).unwrap();
    let right = manifest_digest(&scene.image);
    scene.refuses(&[], &format!("its signature is for an image with another digest: {right}{demands}"));
    std::fs::write(stolen.join("signature-1"), "no signature").unwrap();
    scene.refuses(&[], &format!("its signature is damaged{demands}"));
    // Another key.
    let foreign = image(&[3], 1000);
    scene.sign(&foreign, "it:foreign", &scene.other);
    scene.manifest("it:foreign", "signed_by = ['keys/release.gpg']\n");
    scene.refuses(
        &[],
        &format!("its signature is not by the key that is wanted: by {}{demands}", scene.other),
    );
    // A tag that was put on another signed image afterwards.
    scene.server.push(&scene.image, "it:2");
    scene.manifest("it:2", "signed_by = ['keys/release.gpg']\n");
    let identity = format!("127.0.0.1:{}/it:1", scene.server.port);
    scene.refuses(&[], &format!("its signature is for another name or tag: {identity}{demands}"));
    // A tag that was moved to an image that nobody signed.
    scene.server.push(&image(&[4], 1000), "it:1");
    scene.manifest("it:1", "signed_by = ['keys/release.gpg']\n");
    scene.refuses(&[], &format!("it is not signed{demands}"));
}

#[test]
fn a_policy_beside_the_manifest_decides_and_the_home_does_not() {
    let scene = Scene::new();
    let site = &scene.site;
    let scope = format!("127.0.0.1:{}/it", scene.server.port);
    let signed = |key: &str| json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": key}]);
    let policy = |key: &str| {
        let transports = json!({"docker": {&scope: signed(key)}});
        json!({"default": [{"type": "reject"}], "transports": transports}).to_string()
    };
    scene.manifest("it:1", "");
    // The user's home would reject all, and has no say.
    site.file("home/.config/containers/policy.json", json!({"default": [{"type": "reject"}]}).to_string());
    site.file("policy.json", policy("keys/other.gpg"));
    let who = format!("its signature is not by the key that is wanted: by {}", scene.release);
    scene.refuses(
        &[],
        &format!("{who}; the policy {} decides that", site.path("policy.json").display())
            .replace(&site.work.path().display().to_string(), "WORK"),
    );
    site.file("policy.json", policy("keys/release.gpg"));
    site.file("reject.json", json!({"default": [{"type": "reject"}]}).to_string());
    scene.refuses(&["--policy", "reject.json"], "the policy rejects it; the policy reject.json decides that");
    let command = site.command(["fetch", "-m", "containers.toml", "--arch", "amd64", "--require-signed"]);
    let told = command.env("HOME", site.path("home")).run().expect_ok().stdout();
    assert!(told.contains(&format!("signed by {} (keys/release.gpg)", scene.release)), "{told}");
}

#[test]
fn a_policy_guards_directories_too_and_signatures_can_be_demanded_of_all() {
    let scene = Scene::new();
    let site = &scene.site;
    crafted::write(&scene.image.layout(), &site.path("layout"));
    Command::new("skopeo")
        .args(["copy", "-q", "oci:layout", "dir:dir"])
        .in_dir(site.work.path())
        .run()
        .expect_ok();
    site.file("reject.json", json!({"default": [{"type": "reject"}]}).to_string());
    site.file("containers.toml", "group = 'g'\n[[container]]\nname = 'it'\nimage = 'dir:dir'\n");
    scene.refuses(&["--policy", "reject.json"], "the policy rejects it; the policy reject.json decides that");
    scene.refuses(
        &["--require-signed"],
        "no signature of it was verified, and --require-signed wants one; name the key with signed_by",
    );
    site.file("containers.toml", "group = 'g'\n[[container]]\nname = 'it'\nimage = 'oci:layout'\n");
    let uncheckable = "signature can't be checked: layouts and archives carry no signatures; fetch it from a registry, or check it before";
    scene.refuses(&["--require-signed"], &format!("its {uncheckable}"));
    let root = Root::small();
    let planned = site.compose(Some("plan"), &root, &[]).run().expect_ok().stdout();
    assert!(planned.contains(&format!("        {uncheckable}\n")), "{planned}");
    site.compose(None, &root, &["--require-signed"]).run().expect_error(
        "resolving container it: no signature of oci:layout was verified, and --require-signed wants one: layouts and \
         archives carry no signatures; fetch it from a registry, or check it before",
    );
}

/// Debian 12 builds skopeo without sigstore; what a sigstore key demands must not get in by that, signed or not.
#[test]
fn a_sigstore_key_lets_nothing_in_and_the_reason_is_told() {
    let scene = Scene::new();
    let key = scene.site.path("keys/cosign.pub");
    let private =
        Command::new("openssl").args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let private = private.run().expect_ok();
    let public = Command::new("openssl").args(["pkey", "-pubout"]).input(private.bytes()).run().expect_ok();
    std::fs::write(&key, public.bytes()).unwrap();
    scene.site.file("keys/cosign.key", private.bytes());
    scene.manifest("it:1", "signed_by = ['keys/cosign.pub']\n");
    let demands = "; signed_by demands a signature by keys/cosign.pub";
    scene.refuses(&[], &format!("it is not signed{demands}"));
    std::fs::remove_dir_all(scene.site.path("registries.d")).unwrap();
    scene.refuses(&[], &format!("it is not signed{demands}"));
    // A right signature, as cosign makes it. Where registries keep such is known without being told.
    scene.cosign("it:1");
    let reason = "its sigstore signature can't be checked, because Debian built this skopeo without sigstore; use an OpenPGP \
                  key, or fetch with a skopeo that has it";
    scene.refuses(&[], &format!("{reason}{demands}"));
    // The same demand by a policy.
    scene.site.file("registries.d/it.yaml", "default-docker:\n  use-sigstore-attachments: true\n");
    let wants = json!([{"type": "sigstoreSigned", "keyPath": "keys/cosign.pub"}]);
    let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": {"": wants}}});
    scene.site.file("sigstore.json", policy.to_string());
    scene.manifest("it:1", "");
    scene
        .refuses(&["--policy", "sigstore.json"], &format!("{reason}; the policy sigstore.json decides that"));
}
