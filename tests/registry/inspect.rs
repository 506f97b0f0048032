//! `inspect` and `lint` of images that have to be fetched first.

use serde_json::json;
use sysctr_tests::crafted;

use super::proxy::Proxy;
use super::*;

/// An image with a template that wants a value.
fn exporter() -> Crafted {
    let config = r#"{"ociVersion": "1.0.2", "process": {"args": ["/bin/true"], "cwd": "/", "env": ["GREETING=$GREETING"]},
        "root": {"path": "rootfs"}}"#;
    let layer = Layer::new().dir("exports").file("exports/config.json.template", config);
    let mut made = Crafted::of(&[layer.dir("bin").program("bin/true", "#!/bin/sh\n").bytes()], Packing::Gzip);
    made.config["config"]["Labels"] = json!({"version": "7"});
    made
}

/// A registry that wants a password, and what opens it.
fn guarded() -> (Server, Site, String) {
    let server = Server::guarded();
    server.push(&exporter(), "it:1");
    let reference = format!("docker://127.0.0.1:{}/it:1", server.port);
    let site = Site::new("").env("HOME", "home").env("XDG_RUNTIME_DIR", "home");
    let pair = Command::new("base64").arg("-w0").input("it:secret").run().stdout();
    let auths = json!({"auths": {format!("127.0.0.1:{}", server.port): {"auth": pair}}});
    site.file("auth.json", auths.to_string());
    (server, site, reference)
}

#[test]
fn an_image_of_a_registry_is_inspected_by_way_of_the_cache() {
    let (server, site, reference) = guarded();
    let inspect = |args: &[&str]| site.command(["inspect", &reference]).args(args).run();
    inspect(&[]).expect_misunderstood(&format!("inspecting {reference}: give --arch, such as --arch amd64"));
    let way = ["--arch", "amd64", "--retries", "0", "--tls-verify=false"];
    let told = inspect(&way).expect_code(1).stderr();
    let beginning = format!("sysctr-compose: fetching container image (amd64) from {reference}: ");
    assert!(told.starts_with(&beginning) && told.contains("unauthorized"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let way = [&way[..], &["--authfile", "auth.json"]].concat();
    let json = inspect(&[&way[..], &["--format", "json"]].concat()).expect_ok().json();
    assert_eq!((&json["image"], &json["labels"]["version"]), (&json!(reference), &json!("7")));
    assert_eq!(json["manifest"], manifest_digest(&exporter()));
    let files = ["exports/config.json.template"];
    let wanted = json!([{"name": "GREETING", "class": "must-be-set", "files": files, "per_host": true}]);
    assert_eq!(json["variables"], wanted);
    site.sound();
    // The policy has a say in it, as in every fetch.
    site.file("policy.json", json!({"default": [{"type": "reject"}]}).to_string());
    let told = inspect(&way).expect_code(1).stderr();
    assert!(told.ends_with(": the policy rejects it; the policy WORK/policy.json decides that\n"), "{told}");
    std::fs::remove_file(site.path("policy.json")).unwrap();
    let told = inspect(&[&way[..], &["--require-signed"]].concat()).expect_code(1).stderr();
    assert!(told.contains("no signature of it was verified, and --require-signed wants one"), "{told}");
    // So has lint.
    let lint = site.command(["lint", &reference]).args(&way);
    let told = lint.run().expect_code(1).stdout();
    assert!(told.contains("GREETING"), "{told}");
    site.command(["lint", &reference]).args(&way).args(["--set", "GREETING=hello"]).run().expect_ok();
    let told = site.command(["lint", &reference, "--arch", "amd64", "--retries", "0", "--tls-verify=false"]);
    let told = told.run().expect_code(1).stderr();
    assert!(told.contains("unauthorized") && told.lines().count() == 1, "{told}");
    drop(server);
}

#[test]
fn an_image_of_a_lock_is_inspected_without_a_network() {
    let server = Server::plain();
    let proxy = Proxy::of(server.port);
    server.push(&exporter(), "it:1");
    server.push(&image(&[1], 1000), "other:1");
    let [one, other] = ["it:1", "other:1"].map(|name| format!("docker://127.0.0.1:{}/{name}", proxy.port));
    let site = Site::new(&format!("group = 'g'\n{}{}", container("it", &one), container("other", &other)));
    let inspect = |args: &[&str]| site.command(["inspect", "-m", "containers.toml"]).args(args);
    inspect(&[]).run().expect_misunderstood("inspecting a manifest's image: give --name NAME");
    inspect(&["--name", "no"])
        .run()
        .expect_misunderstood("inspecting no: the manifest has no container of that name");
    let offline = ["--name", "it", "--arch", "amd64", "--locked"];
    inspect(&offline).run().expect_misunderstood("there is no lock sysctr.lock; run sysctr-compose fetch");
    // By the manifest's own way, without a lock; only what is asked for.
    let told = inspect(&["--name", "it", "--arch", "amd64"]).run().expect_ok().stdout();
    assert!(told.contains(&format!("image manifest {}\n", manifest_digest(&exporter()))), "{told}");
    assert_eq!(proxy.blobs().len(), 2, "{:?}", proxy.blobs());
    site.fetch(&[]).expect_ok();
    proxy.mend();
    let told = inspect(&offline).under(["unshare", "-n"]).run().expect_ok().stdout();
    assert!(
        told.starts_with(&format!("{one} for amd64, ")) && told.contains("GREETING: must be set"),
        "{told}"
    );
    assert_eq!(proxy.requests(), 0);
    // A damaged cache is told with the way out.
    let layer = site.path("cache/blobs/sha256").join(&digest(&exporter().layers[0])[7..]);
    let bytes = std::fs::read(&layer).unwrap();
    std::fs::write(&layer, vec![0; bytes.len()]).unwrap();
    let told = inspect(&offline).run().expect_code(1).stderr();
    assert!(told.ends_with("; run sysctr-compose fetch, which brings it again\n"), "{told}");
}

#[test]
fn directories_and_stores_of_others_are_inspected() {
    let site = Site::new("");
    crafted::write(&exporter().layout(), &site.path("layout"));
    let store = format!(
        "containers-storage:[vfs@{}+{}]localhost/it:1",
        site.path("store").display(),
        site.path("run").display()
    );
    for (to, exact) in [("dir:dir", true), (store.as_str(), false)] {
        Command::new("skopeo")
            .args(["copy", "-q", "oci:layout", to])
            .in_dir(site.work.path())
            .run()
            .expect_ok();
        let told =
            site.command(["inspect", to, "--arch", "amd64", "--format", "json"]).run().expect_ok().json();
        assert_eq!(told["config"], digest(&exporter().config_bytes()), "{to}");
        assert_eq!(told["manifest"] == manifest_digest(&exporter()), exact, "{to}");
        assert_eq!(told["variables"][0]["name"], "GREETING", "{to}");
        let lint = site.command(["lint", to, "--arch", "amd64", "--name", "it", "--set", "GREETING=x"]);
        lint.run().expect_ok();
        let wrong = site.command(["inspect", to, "--arch", "arm64"]).run().expect_code(1).stderr();
        assert!(
            wrong.contains(": it is for linux/amd64, wanted is linux/arm64; choose another image"),
            "{to}: {wrong}"
        );
        let refused = site.command(["inspect", to, "--arch", "amd64", "--tls-verify=false"]).run();
        let why = format!("tls_verify is for docker:// images; nothing of {to} comes from a registry");
        refused.expect_misunderstood(&why.replace(&site.work.path().display().to_string(), "WORK"));
    }
}
