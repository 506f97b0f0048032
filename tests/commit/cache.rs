//! The layer cache: what a repository knows of a layer is what reading it gives, whoever asks.

use std::fs;
use std::path::PathBuf;

use camino::{Utf8Path, Utf8PathBuf};
use sysctr_tests::{Crafted, Layer, Packing, crafted};

use crate::bench::{Bench, listing, rev};
use crate::{MODES, assert_clean, done, ostree, printed, utf8};

fn base() -> Layer {
    let many = (0..30).fold(Layer::new().dir("etc").dir("bin"), |layer, number| {
        layer.file(&format!("bin/{number}"), format!("{number}\n").repeat(number + 1))
    });
    many.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nsrv:x:77:77::/srv:/bin/sh\n")
        .file("etc/group", "root:x:0:\nsrv:x:77:\n")
        .hardlink("bin/true", "bin/1")
        .pax(&[("SCHILY.xattr.user.note", "kept")])
        .file("large", vec![b'l'; 3 << 20])
}

fn top(number: u32) -> Layer {
    Layer::new().file("top", format!("{number}")).hardlink("bin/false", "bin/1").file(".wh.large", "")
}

/// Images `a` and `b` on one base, each a container of that name in a manifest of that name.
fn bench() -> Bench {
    let bench = Bench::new();
    put(&bench, "a", &[base(), top(1)]);
    put(&bench, "b", &[base(), top(2)]);
    bench
}

fn put(bench: &Bench, name: &str, layers: &[Layer]) {
    let tars: Vec<_> = layers.iter().map(Layer::bytes).collect();
    let directory = bench.path().join("images").join(name);
    crafted::write(&Crafted::of(&tars, Packing::Gzip).layout(), &directory);
    let container = format!("name = '{name}'\nimage = 'oci:images/{name}'\nrun = {{ user = 'srv' }}\n");
    bench.manifest(name, &format!("group = 'g'\n[[container]]\n{container}"));
}

/// The files of a layer in all images.
fn blobs(bench: &Bench, layer: &Layer) -> Vec<PathBuf> {
    let packed = Packing::Gzip.pack(&layer.bytes());
    let found = printed(
        std::process::Command::new("find")
            .arg(bench.path().join("images"))
            .args(["-type", "f", "-size", "+0"]),
    );
    found
        .lines()
        .map(PathBuf::from)
        .filter(|path| fs::read(path).expect("a step of the test") == packed)
        .collect()
}

fn copy(bench: &Bench, repo: &Utf8Path, name: &str) -> Utf8PathBuf {
    let copy = bench.path().join(name);
    done(std::process::Command::new("cp").args(["-a", "--no-target-directory"]).arg(repo).arg(&copy));
    utf8(&copy).to_owned()
}

fn forget_ref(repo: &Utf8Path) {
    done(&mut ostree(repo.as_std_path(), &["refs", "--delete", "host"]));
}

/// The entries of the cache.
fn entries(repo: &Utf8Path) -> Vec<PathBuf> {
    let found = fs::read_dir(repo.join("extensions/sysctr/layers")).expect("a step of the test");
    let mut found: Vec<_> = found.map(|entry| entry.expect("a step of the test").path()).collect();
    found.sort();
    found
}

#[test]
fn another_image_on_the_same_base_and_a_changed_layer_read_only_what_is_new() {
    for mode in MODES {
        let bench = bench();
        let repo = bench.repo(mode);
        let (fresh, other) = (copy(&bench, &repo, "fresh"), copy(&bench, &repo, "other"));
        bench.compose(&repo, "base", "a", &[]).ok();
        bench.compose(&fresh, "base", "b", &[]).ok();
        for path in blobs(&bench, &base()) {
            fs::write(path, vec![0; Packing::Gzip.pack(&base().bytes()).len()]).unwrap();
        }
        bench.compose(&repo, "base", "b", &[]).ok();
        assert_eq!(rev(&repo, "host"), rev(&fresh, "host"), "{mode}");
        // That it is spoilt is seen by whoever reads it.
        let error = bench.compose(&other, "base", "b", &[]);
        assert!(error.code == 1 && error.stderr.contains("its bytes have the digest"), "{}", error.stderr);
        // The image's own top changes, and the base is not even there.
        put(&bench, "b", &[base(), top(3)]);
        bench.compose(&fresh, "base", "b", &[]).ok();
        let gone = blobs(&bench, &base());
        assert_eq!(gone.len(), 1);
        fs::remove_file(&gone[0]).unwrap();
        let progress = bench.compose(&repo, "base", "b", &["--progress", "json"]).ok().stderr;
        assert_eq!(rev(&repo, "host"), rev(&fresh, "host"), "{mode}");
        let done = |layer: usize| {
            let ends =
                |line: &&str| line.contains("\"done\"") && line.contains(&format!("\"layer\":{layer},"));
            progress.lines().filter(ends).count()
        };
        assert_eq!((done(0), done(1)), (1, 1), "{progress}");
        assert!(!progress.lines().any(|line| line.contains("\"read\"") && line.contains("\"layer\":0,")));
        assert_eq!(entries(&repo).len(), 4);
        bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
        assert_clean(&repo);
    }
}

#[test]
fn a_rebuild_reads_nothing_as_long_as_the_objects_are_there() {
    let bench = bench();
    let repo = bench.repo("archive");
    bench.manifest(
        "both",
        &format!("{}{}", manifest(&bench, "a"), manifest(&bench, "b").replace("group = 'g'", "")),
    );
    bench.compose(&repo, "base", "both", &[]).ok();
    bench.compose(&repo, "base", "three", &["--subject", "s"]).ok();
    let three = (rev(&repo, "host"), listing(&repo, "host"));
    bench.compose(&repo, "base", "both", &[]).ok();
    let both = rev(&repo, "host");
    forget_ref(&repo);
    let whole = bench.spoil_layers();
    bench.compose(&repo, "base", "both", &[]).ok();
    assert_eq!(rev(&repo, "host"), both);
    forget_ref(&repo);
    // Host files and templates come from the repository as well.
    bench.compose(&repo, "base", "three", &["--subject", "s"]).ok();
    assert_eq!((rev(&repo, "host"), listing(&repo, "host")), three);
    bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
    forget_ref(&repo);
    done(&mut ostree(repo.as_std_path(), &["prune", "--refs-only"]));
    let error = bench.compose(&repo, "base", "both", &[]);
    assert!(error.code == 1 && error.stderr.contains("its bytes have the digest"), "{}", error.stderr);
    for (path, bytes) in whole {
        fs::write(path, bytes).unwrap();
    }
    let known = entries(&repo).len();
    bench.compose(&repo, "base", "both", &[]).ok();
    assert_eq!(rev(&repo, "host"), both);
    // Those of the other images went with their objects.
    assert!(known > 3 && entries(&repo).len() == 3, "{known} {:?}", entries(&repo));
    assert_clean(&repo);
}

fn manifest(bench: &Bench, name: &str) -> String {
    fs::read_to_string(bench.path().join(format!("{name}.toml"))).expect("a step of the test")
}

#[test]
fn a_broken_entry_is_written_anew_and_none_is_needed() {
    let bench = bench();
    let repo = bench.repo("bare-user");
    bench.compose(&repo, "base", "a", &[]).ok();
    let made = rev(&repo, "host");
    let whole: Vec<_> = entries(&repo).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    assert_eq!(whole.len(), 2);
    type Harm = fn(&mut Vec<u8>);
    let harms: [Harm; 4] =
        [|bytes| bytes.clear(), |bytes| bytes.truncate(100), |bytes| bytes[200] ^= 1, |bytes| bytes.push(0)];
    for harm in harms {
        for (bytes, path) in &whole {
            let mut bytes = bytes.clone();
            harm(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
        forget_ref(&repo);
        let blobs = bench.spoil_layers();
        assert_eq!(bench.compose(&repo, "base", "a", &[]).code, 1);
        for (path, bytes) in blobs {
            fs::write(path, bytes).unwrap();
        }
        bench.compose(&repo, "base", "a", &[]).ok();
        assert_eq!(rev(&repo, "host"), made);
        assert!(whole.iter().all(|(bytes, path)| fs::read(path).unwrap() == *bytes));
    }
    fs::remove_dir_all(repo.join("extensions/sysctr")).unwrap();
    forget_ref(&repo);
    bench.compose(&repo, "base", "a", &[]).ok();
    assert_eq!((rev(&repo, "host"), entries(&repo).len()), (made, 2));
    assert_clean(&repo);
}

#[test]
fn limits_hold_for_what_is_known() {
    let bench = bench();
    let repo = bench.repo("archive");
    bench.compose(&repo, "base", "a", &[]).ok();
    forget_ref(&repo);
    let spoilt = bench.spoil_layers();
    assert!(spoilt.len() > 3);
    for (limit, message) in [
        (["--max-entries", "30"], "the layers have more than 30 entries; raise --max-entries\n"),
        (["--max-bytes", "3000000"], "the layers unpack to more than 3000000 bytes; raise --max-bytes\n"),
    ] {
        let error = bench.compose(&repo, "base", "a", &limit);
        assert!(error.code == 1 && error.stderr.ends_with(message), "{}", error.stderr);
    }
    bench.compose(&repo, "base", "a", &["--max-entries", "40", "--max-bytes", "4000000"]).ok();
    assert_clean(&repo);
}

#[test]
fn a_compose_that_fails_lets_nothing_in() {
    let bench = bench();
    let repo = bench.repo("archive");
    let good = manifest(&bench, "a");
    bench.manifest("bad", &good.replace("'srv'", "'nobody-there'"));
    let error = bench.compose(&repo, "base", "bad", &[]);
    // It is known only after the layers were read.
    assert!(error.code == 1 && error.stderr.contains("nobody-there"), "{}", error.stderr);
    assert!(!repo.join("extensions/sysctr").exists());
    bench.compose(&repo, "base", "a", &[]).ok();
    assert_eq!(entries(&repo).len(), 2);
    assert_clean(&repo);
}
