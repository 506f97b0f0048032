//! Fetches that are killed or run at once: the cache stays sound, and the next fetch goes on.

use std::time::Duration;

use rustix::process::Signal;

use super::proxy::{Fault, Proxy, Times};
use super::*;

#[test]
fn a_killed_fetch_leaves_a_sound_cache_and_keeps_what_came_whole() {
    let server = Server::plain();
    let proxy = Proxy::of(server.port);
    let made = image(&[1, 2, 3], 60_000);
    server.push(&made, "it:1");
    let reference = format!("docker://127.0.0.1:{}/it:1", proxy.port);
    let site = Site::new(&format!("group = 'g'\n{}", container("it", &reference)));
    let rounds = if sysctr_tests::soak() { 60 } else { 8 };
    for round in 0..rounds {
        std::fs::remove_dir_all(site.path("cache")).unwrap_or_default();
        std::fs::remove_file(site.path("sysctr.lock")).unwrap_or_default();
        proxy.mend();
        // One layer never ends, the others come: the kill finds some of it done.
        proxy.spoil(&digest(&made.layers[1]), Fault::Slow, Times::Always);
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::TERM };
        let mut running = site.command(["fetch", "-m", "containers.toml", "--arch", "amd64"]).start();
        std::thread::sleep(Duration::from_millis(37 * (round + 1)));
        running.signal(signal);
        let killed = running.end();
        assert_ne!(killed.code(), 0, "{}", killed.story());
        assert!(!site.path("sysctr.lock").exists());
        if site.path("cache/blobs/sha256").exists() {
            for (name, bytes) in site.blobs() {
                assert_eq!(digest(&bytes), format!("sha256:{name}"), "the cache is poisoned");
            }
        }
        proxy.mend();
        end_orphans(&site);
        site.fetch(&[]).expect_ok();
        site.sound();
    }
}

/// A skopeo that outlives its killed fetch holds the cache, so that its directory is not swept before it ends. One that was just
/// begun still has the fetch's program, so what tells is where it works.
fn end_orphans(site: &Site) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let works_there =
            || std::fs::read_link(entry.path().join("cwd")).is_ok_and(|path| path == site.work.path());
        if !works_there() {
            continue;
        }
        let number = entry.file_name().to_string_lossy().parse().unwrap();
        let process = rustix::process::Pid::from_raw(number).unwrap();
        rustix::process::kill_process(process, Signal::KILL).ok();
        while works_there() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn fetches_at_once_share_a_cache() {
    let server = Server::plain();
    let manifest: String = (0..6).fold("group = 'g'\n".to_owned(), |text, n| {
        server.push(&image(&[1, n + 10], 30_000), &format!("image{n}:1"));
        text + &container(&format!("c{n}"), &format!("docker://127.0.0.1:{}/image{n}:1", server.port))
    });
    let first = Site::new(&manifest);
    let sites: Vec<_> = (0..3).map(|_| Site { env: first.env.clone(), ..Site::new(&manifest) }).collect();
    let args = ["fetch", "-m", "containers.toml", "--arch", "amd64"];
    let running: Vec<_> = sites.iter().map(|site| site.command(args).start()).collect();
    running.into_iter().for_each(|one| drop(one.end().expect_ok()));
    first.fetch(&["--prune"]).expect_ok();
    first.sound();
    assert!(sites.iter().all(|site| site.lock() == first.lock()));
    assert_eq!(first.blobs().len(), 1 + 6 + 6 + 6);
}
