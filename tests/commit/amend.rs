//! Other settings for containers that the base or the ref's commit embeds: no layer is read, and the new tree is the one made
//! from nothing.

use std::fs;

use camino::Utf8Path;

use crate::bench::{Bench, forget_layers};
use crate::{MODES, assert_clean, done, ostree, printed};

/// Digest of the tree that a ref names, whatever commit that is.
fn content(repo: &Utf8Path) -> String {
    let shown = printed(&mut ostree(repo.as_std_path(), &["show", "host"]));
    let line = shown.lines().find_map(|line| line.strip_prefix("ContentChecksum:"));
    line.unwrap_or_else(|| panic!("{shown}")).trim().to_owned()
}

/// Forgets the ref with all that only it names.
fn forget(repo: &Utf8Path) {
    done(&mut ostree(repo.as_std_path(), &["refs", "--delete", "host"]));
    done(&mut ostree(repo.as_std_path(), &["prune", "--refs-only"]));
}

fn manifest(run: &str) -> String {
    format!(
        "group = 'g'\n[[container]]\nname = 'exporter'\nimage = 'oci:images/exporter'\nrun = {{ user = 'srv', {run} }}\n\
         [[container]]\nname = 'one'\nimage = 'oci:images/one'\nrun = {{ {run} }}\n"
    )
}

#[test]
fn an_amended_tree_is_the_tree_made_from_nothing() {
    let bench = Bench::new();
    bench.manifest("first", &manifest("tmpfs = ['/first/inner', '/both/a']"));
    bench.manifest(
        "second",
        &manifest(
            "tmpfs = ['/both/b', '/new/a/b'], env = { A = '1' }, mounts = [{ source = '/x', target = '/etc/x', file = true }]",
        ),
    );
    for mode in MODES {
        let repo = bench.repo(mode);
        let made = ["second", "first"].map(|manifest| {
            bench.compose(&repo, "base", manifest, &[]).ok();
            let made = content(&repo);
            if manifest == "second" {
                forget(&repo);
            }
            made
        });
        assert_ne!(made[0], made[1], "{mode}");
        let layers = bench.spoil_layers();
        forget_layers(&repo);
        let amended = ["second", "first"].map(|manifest| {
            bench.compose(&repo, "host", manifest, &[]).ok();
            content(&repo)
        });
        assert_eq!(amended, made, "{mode}");
        for (path, bytes) in layers {
            fs::write(path, bytes).unwrap();
        }
        assert_clean(&repo);
        bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
    }
}

#[test]
fn a_new_base_and_other_settings_at_once_read_no_layer() {
    let bench = Bench::new();
    bench.manifest("first", &manifest("env = { A = '1' }"));
    bench.manifest("second", &manifest("env = { A = '2' }"));
    let repo = bench.repo("archive");
    bench.nightly(&repo);
    bench.compose(&repo, "nightly", "second", &[]).ok();
    let made = content(&repo);
    forget(&repo);
    bench.compose(&repo, "base", "first", &[]).ok();
    let layers = bench.spoil_layers();
    forget_layers(&repo);
    bench.compose(&repo, "nightly", "second", &[]).ok();
    assert_eq!(content(&repo), made);
    assert!(!layers.is_empty());
    assert_clean(&repo);
    bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
}
