//! What goes wrong on the way: bounded time, one clear line, and a cache that is never poisoned.

use std::time::{Duration, Instant};

use super::proxy::{Fault, Proxy, Times};
use super::*;

/// Large enough to be under way for a while.
const LARGE: usize = 3_000_000;

struct Scene {
    _server: Server,
    proxy: Proxy,
    site: Site,
    /// Digest of the layer that is spoiled.
    layer: String,
}

fn scene(size: usize) -> Scene {
    let server = Server::plain();
    let proxy = Proxy::of(server.port);
    let made = image(&[1, 2], size);
    server.push(&made, "it:1");
    let reference = format!("docker://127.0.0.1:{}/it:1", proxy.port);
    let site = Site::new(&format!("group = 'g'\n{}", container("it", &reference)));
    Scene { _server: server, proxy, site, layer: digest(&made.layers[1]) }
}

#[test]
fn what_passes_is_tried_again() {
    let scene = scene(1000);
    let Scene { proxy, site, layer, .. } = &scene;
    for fault in
        [Fault::Cut, Fault::Short, Fault::Wrong, Fault::Status(429), Fault::Status(500), Fault::Status(503)]
    {
        std::fs::remove_dir_all(site.path("cache")).unwrap_or_default();
        proxy.mend();
        proxy.spoil(layer, fault, Times::Once);
        site.fetch(&[]).expect_ok();
        let asked = proxy.blobs();
        assert!(asked[layer] >= 2, "{fault:?} {asked:?}");
        site.sound();
    }
}

/// skopeo of Debian 12 asks for a blob from its beginning; what came whole is not asked for again.
#[test]
fn a_blob_that_was_cut_comes_again_and_the_others_do_not() {
    let scene = scene(LARGE);
    let Scene { proxy, site, layer, .. } = &scene;
    proxy.spoil(layer, Fault::Cut, Times::Always);
    site.fetch(&["--retries", "0"]).expect_code(1);
    let asked = proxy.blobs();
    let other = asked.keys().find(|asked| *asked != layer).unwrap();
    assert_eq!(asked[other], 1);
    let other = other.clone();
    proxy.mend();
    site.fetch(&[]).expect_ok();
    assert_eq!((proxy.blobs().get(layer), proxy.blobs().get(&other)), (Some(&1), None));
    site.sound();
}

#[test]
fn what_stays_ends_in_bounded_time_and_loses_nothing() {
    let scene = scene(20_000);
    let Scene { proxy, site, layer, .. } = &scene;
    for (fault, part) in [
        (Fault::Cut, "unexpected EOF"),
        (Fault::Short, "igest did not match"),
        (Fault::Wrong, "igest did not match"),
        (Fault::Status(429), "it took longer than 4 s; --timeout gives it more"),
        (Fault::Status(500), "500"),
        (Fault::Status(404), "404"),
        (Fault::Slow, "it took longer than 4 s; --timeout gives it more"),
        (Fault::Loop, "stopped after 10 redirects"),
    ] {
        std::fs::remove_dir_all(site.path("cache")).unwrap_or_default();
        proxy.mend();
        proxy.spoil(layer, fault, Times::Always);
        let begun = Instant::now();
        let output = site.fetch(&["--timeout", "4", "--retries", "1"]).expect_code(1);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "{fault:?} took {took:?}");
        let told = output.stderr();
        let beginning = "sysctr-compose: fetching container it (amd64) from docker://127.0.0.1:";
        assert!(told.starts_with(beginning) && told.contains(part), "{fault:?}: {told}");
        assert_eq!((told.lines().count(), output.stdout().as_str()), (1, ""), "{fault:?}: {told}");
        assert!(!site.path("sysctr.lock").exists());
        site.sound();
        // The other layer came whole, so the next fetch asks for this one only.
        proxy.mend();
        site.fetch(&[]).expect_ok();
        let asked = proxy.blobs();
        assert_eq!(asked.get(layer), Some(&1), "{fault:?}");
        assert!(asked.len() <= 3, "{asked:?}");
        if fault != Fault::Loop && fault != Fault::Status(404) {
            assert_eq!(asked.len(), 2, "{fault:?}: the whole layer came again: {asked:?}");
        }
        site.sound();
        std::fs::remove_file(site.path("sysctr.lock")).unwrap();
    }
}

#[test]
fn a_corrupt_blob_is_refused_by_a_compose_and_fetched_again_by_fetch() {
    let scene = scene(1000);
    let Scene { proxy, site, layer, .. } = &scene;
    site.fetch(&[]).expect_ok();
    let whole = site.blobs();
    for name in whole.keys() {
        let path = site.path("cache/blobs/sha256").join(name);
        let mut bytes = whole[name].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let root = Root::small();
        let told = site.compose(None, &root, &["--locked"]).run().expect_code(1).stderr();
        assert!(told.contains("its bytes have the digest"), "{told}");
        assert!(told.ends_with("; run sysctr-compose fetch, which brings it again\n"), "{told}");
        assert!(!root.bundle("it").exists());
        proxy.mend();
        site.fetch(&[]).expect_ok();
        assert!(
            proxy.blobs().keys().filter(|asked| **asked != format!("sha256:{name}")).count() <= 1,
            "{name}"
        );
        assert_eq!(site.blobs(), whole);
    }
    assert!(whole.contains_key(&layer[7..]));
}
