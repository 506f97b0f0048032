//! Every source of images, the lock that results, and a compose from it.

use serde_json::json;
use sysctr_tests::Root;
use sysctr_tests::crafted;

use super::proxy::Proxy;
use super::*;

#[test]
fn a_warm_fetch_asks_for_nothing_and_a_locked_compose_needs_no_network() {
    let server = Server::plain();
    let proxy = Proxy::of(server.port);
    let one = image(&[1, 2], 4000);
    server.push(&one, "one:1");
    let site = Site::new(&format!(
        "group = 'g'\n{}",
        container("it", &format!("docker://127.0.0.1:{}/one:1", proxy.port))
    ));
    let cold = site.fetch(&[]).expect_ok().stdout();
    assert!(
        cold.contains(&format!("added   it (amd64) docker://127.0.0.1:{}/one:1\n", proxy.port)),
        "{cold}"
    );
    assert!(cold.contains(&manifest_digest(&one)), "{cold}");
    assert_eq!(proxy.blobs().into_values().collect::<Vec<_>>(), [1, 1, 1], "each blob once");
    site.sound();
    proxy.mend();
    let warm = site.command(["fetch", "-m", "containers.toml"]).run().expect_ok().stdout();
    assert!(warm.ends_with("fetched 0 B, sysctr.lock unchanged\n"), "{warm}");
    assert_eq!(proxy.requests(), 0);
    drop(server);
    let root = Root::small();
    let alone = ["unshare", "-n", "strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", "calls"];
    site.compose(None, &root, &["--locked"]).under(alone).run().expect_ok();
    assert_eq!(std::fs::read_to_string(site.path("calls")).unwrap(), "", "it tried to connect");
    assert_eq!(proxy.requests(), 0);
    let record = root.record("it");
    assert_eq!(record["image"]["manifest"], manifest_digest(&one));
    assert_eq!(std::fs::read(root.bundle("it").join("rootfs/file-1")).unwrap().len(), 4000);
    sysctr_tests::Compose::into(&root).verb("verify").run().expect_ok();
}

#[test]
fn twenty_images_fetch_each_shared_blob_once() {
    let server = Server::plain();
    let proxy = Proxy::of(server.port);
    let mut manifest = "group = 'g'\n".to_owned();
    for n in 0..20 {
        server.push(&image(&[1, 100 + n % 4, 200 + n], 3000), &format!("image{n}:1"));
        manifest += &container(&format!("c{n}"), &format!("docker://127.0.0.1:{}/image{n}:1", proxy.port));
    }
    let site = Site::new(&manifest);
    site.fetch(&[]).expect_ok();
    let asked = proxy.blobs();
    // One base, four in the middle, twenty on top, twenty configurations.
    assert_eq!((asked.len(), asked.values().max()), (45, Some(&1)), "{asked:?}");
    site.sound();
    assert_eq!(site.blobs().len(), 45 + 20);
    // The list of names is for others.
    let first = manifest_digest(&image(&[1, 100, 200], 3000));
    let index = std::fs::read_to_string(site.path("cache/index.json")).unwrap();
    assert!(index.contains(&first), "{index}");
}

#[test]
fn a_moved_tag_moves_nothing_until_the_lock_does() {
    let server = Server::plain();
    let (old, new) = (image(&[1], 1000), image(&[2], 1000));
    server.push(&old, "it:1");
    let reference = format!("docker://127.0.0.1:{}/it:1", server.port);
    let site = Site::new(&format!("group = 'g'\n{}", container("it", &reference)));
    site.fetch(&[]).expect_ok();
    let root = Root::small();
    site.compose(None, &root, &["--locked"]).run().expect_ok();
    server.push(&new, "it:1");
    assert!(site.fetch(&[]).expect_ok().stdout().contains("kept    it (amd64)"));
    // Without --locked, too, the lock says which.
    let kept = site.compose(None, &root, &[]).run().expect_ok().stdout();
    assert!(kept.ends_with("nothing to change\n"), "{kept}");
    site.command(["fetch", "-m", "containers.toml", "--update", "other"])
        .run()
        .expect_misunderstood("updating other: the manifest has no container of that name");
    let told = site.command(["fetch", "-m", "containers.toml", "--update", "it"]).run().expect_ok().stdout();
    let moved = format!("        {} → {}\n", manifest_digest(&old), manifest_digest(&new));
    assert!(told.starts_with(&format!("changed it (amd64) {reference}\n{moved}")), "{told}");
    let planned = site.compose(Some("plan"), &root, &["--locked"]).run().expect_ok().stdout();
    assert!(planned.contains(&format!("{moved}        no signature was verified\n")), "{planned}");
    let json = site.compose(Some("plan"), &root, &["--locked", "--format", "json"]).run().expect_ok().json();
    assert_eq!(json["containers"][0]["before"]["manifest"], manifest_digest(&old));
    assert_eq!(json["containers"][0]["manifest"], manifest_digest(&new));
}

#[test]
fn what_is_wrong_with_a_lock_is_told_with_its_line() {
    let server = Server::plain();
    server.push(&image(&[1], 1000), "it:1");
    let reference = format!("docker://127.0.0.1:{}/it:1", server.port);
    let site = Site::new(&format!("group = 'g'\n{}", container("it", &reference)));
    let root = Root::small();
    let locked =
        |message: &str| drop(site.compose(None, &root, &["--locked"]).run().expect_misunderstood(message));
    locked("there is no lock sysctr.lock; run sysctr-compose fetch");
    site.command(["fetch", "-m", "containers.toml"]).run().expect_misunderstood(
        "finding the architectures to fetch: no lock tells them; give --arch, such as --arch amd64",
    );
    site.fetch(&[]).expect_ok();
    site.file(
        "containers.toml",
        format!("group = 'g'\n{}", container("it", &reference.replace("it:1", "it:2"))),
    );
    locked(&format!(
        "sysctr.lock:7:1: container it is locked from {reference}, the manifest wants {}; run sysctr-compose fetch",
        reference.replace("it:1", "it:2")
    ));
    site.file(
        "containers.toml",
        format!("group = 'g'\n{}{}", container("it", &reference), container("new", &reference)),
    );
    locked("sysctr.lock: container new is not locked for amd64; run sysctr-compose fetch --arch amd64");
    site.file("containers.toml", format!("group = 'g'\n{}", container("it", &reference)));
    let wrong = site.lock().replace("/it:1", "/it:2");
    site.file("sysctr.lock", wrong);
    locked(
        "sysctr.lock:14:8: the entry of container it was changed after fetch wrote it; restore the lock, or delete it and \
         run sysctr-compose fetch",
    );
    std::fs::remove_file(site.path("sysctr.lock")).unwrap();
    site.fetch(&[]).expect_ok();
    std::fs::remove_dir_all(site.path("cache")).unwrap();
    let output = site.compose(None, &root, &["--locked"]).run();
    output.expect_error(
        "resolving container it: opening the cache WORK/cache: there is none; run sysctr-compose fetch, or name it with \
         SYSCTR_CACHE",
    );
}

#[test]
fn a_guarded_registry_wants_certificate_and_password() {
    let server = Server::guarded();
    server.push(&image(&[1], 1000), "it:1");
    let reference = format!("docker://127.0.0.1:{}/it:1", server.port);
    let manifest =
        |more: &str| format!("group = 'g'\n[[container]]\nname = 'it'\nimage = '{reference}'\n{more}");
    let site = Site::new(&manifest("")).env("HOME", "home").env("XDG_RUNTIME_DIR", "home");
    let refused = |site: &Site, part: &str| {
        let told = site.fetch(&["--retries", "0"]).expect_code(1).stderr();
        let beginning = format!("sysctr-compose: fetching container it (amd64) from {reference}: ");
        assert!(told.starts_with(&beginning) && told.contains(part) && told.lines().count() == 1, "{told}");
        assert!(!site.path("sysctr.lock").exists());
        site.sound();
    };
    refused(&site, "x509: certificate signed by unknown authority");
    let site =
        Site { env: [site.env, vec![("SSL_CERT_FILE".into(), server.certificate())]].concat(), ..site };
    refused(&site, "unauthorized");
    let auth = |password: &str| {
        let pair = Command::new("base64").arg("-w0").input(format!("it:{password}")).run().stdout();
        json!({"auths": {format!("127.0.0.1:{}", server.port): {"auth": pair}}}).to_string()
    };
    site.file("containers.toml", manifest("authfile = 'auth.json'\n"));
    site.file("auth.json", auth("wrong"));
    refused(&site, "unauthorized");
    site.file("auth.json", auth("secret"));
    site.fetch(&[]).expect_ok();
    // The user's own credentials do as well, and tls_verify = false needs no certificate.
    site.file("containers.toml", manifest("tls_verify = false\n"));
    site.file("home/containers/auth.json", auth("secret"));
    std::fs::remove_dir_all(site.path("cache")).unwrap();
    let site =
        Site { env: site.env.into_iter().filter(|(name, _)| name != "SSL_CERT_FILE").collect(), ..site };
    site.fetch(&[]).expect_ok();
}

#[test]
fn a_mirror_beside_the_manifest_is_asked_instead() {
    let server = Server::plain();
    server.push(&image(&[1], 1000), "it:1");
    let mirror = Server::mirror_of(&server);
    let proxy = Proxy::of(mirror.port);
    let site =
        Site::new("group = 'g'\n[[container]]\nname = 'it'\nimage = 'docker://registry.invalid/it:1'\n");
    site.file(
        "registries.conf",
        format!(
            "[[registry]]\nlocation = 'registry.invalid'\n[[registry.mirror]]\nlocation = '127.0.0.1:{}'\ninsecure = true\n",
            proxy.port
        ),
    );
    site.fetch(&[]).expect_ok();
    assert_eq!(proxy.blobs().len(), 2);
    // What the mirror has, it has without the registry behind it.
    drop(server);
    std::fs::remove_dir_all(site.path("cache")).unwrap();
    site.fetch(&["--retries", "0"]).expect_ok();
    site.sound();
}

#[test]
fn other_sources_come_into_the_cache_too() {
    let (oci, docker, dir, stored) =
        (image(&[1], 1000), image(&[2], 1000), image(&[3], 1000), image(&[4], 1000));
    let site = Site::new(
        "group = 'g'\n\
         [[container]]\nname = 'oci'\nimage = 'oci:layout'\n\
         [[container]]\nname = 'archive'\nimage = 'oci-archive:a.tar'\n\
         [[container]]\nname = 'docker'\nimage = 'docker-archive:d.tar:x:1'\n\
         [[container]]\nname = 'dir'\nimage = 'dir:dir'\n",
    );
    crafted::write(&oci.layout(), &site.path("layout"));
    site.file("a.tar", crafted::archive(&oci.layout()));
    site.file("d.tar", crafted::archive(&docker.docker("x:1")));
    crafted::write(&dir.layout(), &site.path("other"));
    crafted::write(&stored.layout(), &site.path("stored"));
    Command::new("skopeo")
        .args(["copy", "-q", "oci:other", "dir:dir"])
        .in_dir(site.work.path())
        .run()
        .expect_ok();
    // A store of its own, so that the machine's is left alone.
    let store =
        format!("[vfs@{}+{}]localhost/stored:1", site.path("store").display(), site.path("run").display());
    let to = format!("containers-storage:{store}");
    Command::new("skopeo").args(["copy", "-q", "oci:stored", &to]).in_dir(site.work.path()).run().expect_ok();
    let more = format!("[[container]]\nname = 'stored'\nimage = 'containers-storage:{store}'\n");
    let manifest = std::fs::read_to_string(site.path("containers.toml")).unwrap() + &more;
    site.file("containers.toml", manifest);
    site.fetch(&[]).expect_ok();
    site.sound();
    for gone in ["layout", "a.tar", "d.tar", "dir", "store", "other"] {
        let path = site.path(gone);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
        }
    }
    let root = Root::small();
    site.compose(None, &root, &["--locked"]).run().expect_ok();
    let config = |image: &Crafted| json!(digest(&image.config_bytes()));
    for (name, image) in
        [("oci", &oci), ("archive", &oci), ("docker", &docker), ("dir", &dir), ("stored", &stored)]
    {
        assert_eq!(root.record(name)["image"]["config"], config(image), "{name}");
    }
    assert_eq!(root.record("dir")["image"]["manifest"], manifest_digest(&dir));
    assert_eq!(root.record("docker")["image"].get("manifest"), None);
}

#[test]
fn without_a_lock_a_compose_fetches_by_itself() {
    let server = Server::plain();
    server.push(&image(&[1], 1000), "it:1");
    let reference = format!("docker://127.0.0.1:{}/it:1", server.port);
    let site = Site::new(&format!("group = 'g'\n{}", container("it", &reference)));
    let root = Root::small();
    site.compose(Some("plan"), &root, &[]).run().expect_ok();
    site.compose(None, &root, &[]).run().expect_ok();
    assert!(!site.path("sysctr.lock").exists());
    assert_eq!(root.record("it")["image"]["source"], reference);
    site.command(["lint", "-m", "containers.toml", "--arch", "amd64"]).run().expect_ok();
    site.sound();
}

#[test]
fn the_cache_is_pruned_by_all_its_locks_and_kept_small() {
    let server = Server::plain();
    for n in 1..4 {
        server.push(&image(&[n], 20_000), &format!("it:{n}"));
    }
    let manifest = |n: u64| {
        format!("group = 'g'\n{}", container("it", &format!("docker://127.0.0.1:{}/it:{n}", server.port)))
    };
    let (one, two) = (Site::new(&manifest(1)), Site::new(&manifest(2)));
    let two = Site { env: one.env.clone(), ..two };
    one.fetch(&[]).expect_ok();
    two.fetch(&[]).expect_ok();
    assert_eq!(one.blobs().len(), 6);
    one.file("containers.toml", manifest(3));
    one.fetch(&[]).expect_ok();
    let told = one.fetch(&["--prune"]).expect_ok().stdout();
    assert!(told.contains("removed 3 blobs (20."), "{told}");
    two.compose(None, &Root::small(), &["--locked"]).run().expect_ok();
    // What two needs was used last but one; one's own stays whatever the limit.
    one.fetch(&["--max-cache", "25K"]).expect_ok();
    let left: usize = one.blobs().values().map(Vec::len).sum();
    assert!((20_000..=25 << 10).contains(&left), "{left}");
    let told = one.fetch(&["--max-cache", "10K"]).expect_code(1).stderr();
    assert!(
        told.contains("what this lock names has 2") && told.contains("allow more with --max-cache"),
        "{told}"
    );
    one.compose(None, &Root::small(), &["--locked"]).run().expect_ok();
}
