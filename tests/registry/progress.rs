//! What `fetch` tells while it fetches: each blob, never backwards, and its whole size when it is whole.

use serde_json::Value;
use sysctr_tests::crafted;

use super::proxy::{Fault, Proxy, Times};
use super::*;

/// Takes about a second at the steady pace of the proxy.
const SIZE: usize = 700_000;

/// What was told of each blob of a container, in order.
fn told(output: &Output) -> BTreeMap<(String, String), Vec<(u64, u64)>> {
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in output.stderr().lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert_eq!(event["architecture"], "amd64", "{line}");
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        let number = |key: &str| event[key].as_u64().unwrap();
        assert!(!text("image").is_empty(), "{line}");
        if event["event"] == "blob" {
            let of = told.entry((text("container"), text("blob"))).or_default();
            of.push((number("bytes"), number("total")));
        }
    }
    told
}

/// Every blob of the cache was told of, forwards only, to its end and no further.
#[track_caller]
fn sound(site: &Site, output: &Output) -> BTreeMap<(String, String), Vec<(u64, u64)>> {
    site.sound();
    let told = told(output);
    let sizes: BTreeMap<_, _> =
        site.blobs().iter().map(|(name, bytes)| (format!("sha256:{name}"), bytes.len() as u64)).collect();
    let named: Vec<_> = told.keys().map(|(_, blob)| blob.clone()).collect();
    assert!(sizes.keys().all(|blob| named.contains(blob)), "{named:?} {sizes:?}");
    for ((_, blob), steps) in &told {
        let size = sizes[blob];
        assert!(steps.is_sorted_by(|one, next| one.0 < next.0), "{blob} went back: {steps:?}");
        assert!(steps.iter().all(|(_, total)| *total == size), "{blob} has {size}: {steps:?}");
        let whole = steps.iter().filter(|(bytes, _)| *bytes == size).count();
        assert_eq!((whole, steps.last()), (1, Some(&(size, size))), "{blob}: {steps:?}");
    }
    told
}

/// Steps of a layer that were told while it was under way.
fn between(steps: &[(u64, u64)]) -> usize {
    steps.iter().filter(|(bytes, total)| 0 < *bytes && bytes < total).count()
}

fn scene(layers: &[u64]) -> (Server, Proxy, Site, Crafted) {
    let server = Server::plain();
    let proxy = Proxy::of(server.port);
    let made = image(layers, SIZE);
    server.push(&made, "it:1");
    let reference = format!("docker://127.0.0.1:{}/it:1", proxy.port);
    let site = Site::new(&format!("group = 'g'\n{}", container("it", &reference)));
    (server, proxy, site, made)
}

#[test]
fn each_blob_is_told_of_while_it_comes() {
    let (_server, proxy, site, made) = scene(&[1, 2, 3]);
    proxy.spoil("/blobs/", Fault::Steady, Times::Always);
    let output = site.fetch(&["--progress", "json"]).expect_ok();
    let told = sound(&site, &output);
    // Three layers, configuration, image manifest.
    assert_eq!(told.len(), 5, "{told:?}");
    for layer in &made.layers {
        let steps = &told[&("it".to_owned(), digest(layer))];
        assert!(between(steps) >= 2, "{steps:?}");
    }
    assert!(output.stderr().contains(&format!("\"image\":\"docker://127.0.0.1:{}/it:1\"", proxy.port)));
}

#[test]
fn what_another_image_brings_is_told_once() {
    let (server, proxy, site, _) = scene(&[1, 2]);
    server.push(&image(&[1, 3], SIZE), "other:1");
    let other = container("other", &format!("docker://127.0.0.1:{}/other:1", proxy.port));
    let manifest = std::fs::read_to_string(site.path("containers.toml")).unwrap() + &other;
    site.file("containers.toml", manifest);
    let output = site.fetch(&["--progress", "json"]).expect_ok();
    let told = sound(&site, &output);
    assert_eq!(told.len(), site.blobs().len(), "a blob belongs to the image that brings it: {told:?}");
    // What is there is no news.
    let warm = site.fetch(&["--progress", "json"]).expect_ok();
    assert_eq!(warm.stderr(), "");
}

#[test]
fn a_blob_that_begins_anew_does_not_go_back() {
    let (_server, proxy, site, made) = scene(&[1, 2]);
    let layer = digest(&made.layers[1]);
    proxy.spoil(&layer, Fault::Cut, Times::Once);
    let output = site.fetch(&["--progress", "json"]).expect_ok();
    assert_eq!(proxy.blobs()[&layer], 2);
    sound(&site, &output);
    // A fetch that fails tells what came, and one line of its reason.
    std::fs::remove_dir_all(site.path("cache")).unwrap();
    std::fs::remove_file(site.path("sysctr.lock")).unwrap();
    proxy.spoil(&layer, Fault::Cut, Times::Always);
    let told = site.fetch(&["--progress", "json", "--retries", "0"]).expect_code(1).stderr();
    let events: Vec<_> = told.lines().collect();
    let (reason, events) = events.split_last().unwrap();
    assert!(reason.starts_with("sysctr-compose: fetching container it"), "{told}");
    let whole = digest(&made.layers[0]);
    let size = made.layers[0].len();
    assert!(
        events.iter().any(|line| line.contains(&whole) && line.contains(&format!("\"bytes\":{size},"))),
        "{told}"
    );
}

#[test]
fn other_sources_tell_of_their_blobs_too() {
    let site = Site::new(
        "group = 'g'\n\
         [[container]]\nname = 'oci'\nimage = 'oci:layout'\n\
         [[container]]\nname = 'docker'\nimage = 'docker-archive:d.tar:x:1'\n\
         [[container]]\nname = 'dir'\nimage = 'dir:dir'\n",
    );
    let oci = image(&[1], SIZE);
    crafted::write(&oci.layout(), &site.path("layout"));
    site.file("d.tar", crafted::archive(&image(&[2], 1000).docker("x:1")));
    crafted::write(&image(&[3], 1000).layout(), &site.path("other"));
    let skopeo = Command::new("skopeo").args(["copy", "-q", "oci:other", "dir:dir"]);
    skopeo.in_dir(site.work.path()).run().expect_ok();
    let output = site.fetch(&["--progress", "json"]).expect_ok();
    let told = sound(&site, &output);
    assert!(between(&told[&("oci".to_owned(), digest(&oci.layers[0]))]) >= 1, "{told:?}");
}

#[test]
fn a_terminal_gets_a_bar_for_each_blob() {
    let (_server, proxy, site, made) = scene(&[1, 2]);
    proxy.spoil("/blobs/", Fault::Steady, Times::Always);
    let composer = Program::Composer.path();
    let line = format!("{} fetch -m containers.toml --arch amd64", composer.display());
    let script = Command::new("script").args(["-q", "-e", "-c", &line, "/dev/null"]);
    let script = script.in_dir(site.work.path()).env("SYSCTR_CACHE", site.path("cache"));
    let drawn = script.env("TERM", "xterm").env("COLUMNS", "120").run().expect_ok().stdout();
    assert!(drawn.contains("it amd64"), "{drawn}");
    for layer in &made.layers {
        assert!(drawn.contains(&digest(layer)[7..19]), "no bar of {}: {drawn}", digest(layer));
    }
    assert!(drawn.contains("fetched 1."), "{drawn}");
    site.sound();
}
