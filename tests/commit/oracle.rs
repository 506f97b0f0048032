//! The same change through the sysroot target and `ostree commit` is the same tree, object by object.

use std::fs;
use std::process::Command;

use camino::Utf8Path;
use sysctr_compose::target::commit::Commit;
use sysctr_compose::target::host_tree::HostTree as _;
use sysctr_compose::target::sysroot::{Access, Sysroot};
use sysctr_core::epoch::Epoch;
use sysctr_core::inspection::Inspected as _;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::placement::{Adopted, Bundle, Change, Found, Ground as _};
use sysctr_core::tree::compare::differences;
use sysctr_core::tree::{ImageTree, Leaf, Mtime};

use crate::steps::{bundle, placement, revision, run};
use crate::{DRIVER, MODES, assert_clean, done, make_repo, make_root, ostree, printed, scratch, utf8};

/// Every entry with metadata, attributes and all checksums.
fn listing(repo: &Utf8Path, reference: &str) -> String {
    printed(&mut ostree(repo.as_std_path(), &["ls", "-RCX", reference]))
}

#[test]
fn the_tree_is_what_the_sysroot_target_and_ostree_make() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    for mode in MODES {
        let repo = make_repo(scratch.path(), mode, &root);
        let copy = scratch.path().join(format!("copy-{mode}"));
        done(Command::new("cp").args(["-a", "--no-target-directory"]).arg(&root).arg(&copy));
        let mut base = "base";
        for (step, reference) in [("first", "first"), ("second", "second")] {
            run(step, &repo, base, reference, 2).unwrap();
            let sysroot = Sysroot::open(utf8(&copy), Access::Write).unwrap();
            let staging = sysroot.begin(Epoch::default()).unwrap();
            let changes =
                placement(step, |name, version| bundle(&staging.contents(name)?, name, version)).unwrap();
            staging.commit(&changes, &Interrupt::default()).unwrap();
            drop(sysroot);
            let tree = format!("--tree=dir={}", copy.display());
            done(&mut ostree(repo.as_std_path(), &["commit", "--branch=oracle", "--timestamp=@1", &tree]));
            assert_eq!(listing(&repo, reference), listing(&repo, "oracle"), "{mode} {step}");
            assert_clean(&repo);
            base = reference;
        }
    }
}

#[test]
fn unchanged_directories_stay_and_removing_all_is_the_base() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "archive", &root);
    // An object that no change needs may even be missing: it is not read.
    let line = printed(&mut ostree(repo.as_std_path(), &["ls", "-C", "base", "/usr/bin/tool"]));
    let checksum = line.split_whitespace().nth(4).unwrap();
    let object = repo.join(format!("objects/{}/{}.filez", &checksum[..2], &checksum[2..]));
    fs::rename(&object, repo.join("aside")).unwrap();
    run("first", &repo, "base", "host", 1).unwrap();
    fs::rename(repo.join("aside"), &object).unwrap();
    run("remove", &repo, "host", "host", 1).unwrap();
    assert_eq!(listing(&repo, "host"), listing(&repo, "base"));
    assert_clean(&repo);
}

#[test]
fn the_same_commit_from_any_mode_user_umask_and_number_of_threads() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let driver = scratch.path().join("driver");
    fs::copy(DRIVER, &driver).unwrap();
    let mut checksums = Vec::new();
    for (number, mode) in MODES.into_iter().cycle().take(9).enumerate() {
        let (jobs, umask) = [("1", "022"), ("2", "077"), ("8", "0")][number / 3];
        let fresh = scratch.path().join(format!("fresh-{number}"));
        fs::create_dir(&fresh).unwrap();
        let repo = make_repo(&fresh, mode, &root);
        let mut command = Command::new("setpriv");
        if mode != "bare" && number / 3 == 1 {
            done(Command::new("chown").args(["-R", "1234:1234"]).arg(&repo));
            command.args(["--reuid=1234", "--regid=1234", "--clear-groups"]);
        }
        let script = format!("umask {umask}; TZ=Asia/Tokyo exec \"$@\"");
        command.args(["--", "sh", "-c", &script, "sh"]).arg(&driver);
        let checksum = printed(command.args(["first", repo.as_str(), "base", "host", jobs]));
        let again = run("first", &repo, "base", "host", 2).unwrap();
        assert_eq!((again.checksum.as_str(), again.published.objects), (checksum.trim(), 0));
        checksums.push(checksum);
        assert_clean(&repo);
    }
    checksums.dedup();
    assert_eq!(checksums.len(), 1, "{checksums:?}");
}

#[test]
fn metadata_is_the_bases_as_far_as_it_stays_true() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "archive", &root);
    let base = printed(&mut ostree(repo.as_std_path(), &["rev-parse", "base"]));
    run("first", &repo, "base", "host", 1).unwrap();
    let show = printed(&mut ostree(repo.as_std_path(), &["show", "--raw", "host"]));
    for expected in [
        "'version': <'42'>",
        "'ostree.linux': <'6.1.0'>",
        "'ostree.ref-binding': <['host']>",
        &format!("'sysctr.base': <'{}'>", base.trim()),
        "'sysctr.containers': <{'old': 'sha256:",
    ] {
        assert!(show.contains(expected), "{expected} in {show}");
    }
    assert!(!show.contains("of-the-base"), "{show}");
    let time = printed(&mut ostree(repo.as_std_path(), &["log", "host"]));
    assert!(time.contains("2020-09-13 12:26:40 +0000"), "{time}");
    // Sizes are the base's objects' only.
    let sized = ["commit", "--branch=sized", "--generate-sizes", "--timestamp=@1", "--tree=ref=base"];
    done(&mut ostree(repo.as_std_path(), &sized));
    run("first", &repo, "sized", "of-sized", 1).unwrap();
    let raw = |rev: &str| printed(&mut ostree(repo.as_std_path(), &["show", "--raw", rev]));
    assert!(raw("sized").contains("ostree.sizes") && !raw("of-sized").contains("ostree.sizes"));
    // A commit whose ref-binding is another's could not be pulled.
    let other = scratch.path().join("other");
    done(&mut ostree(&other, &["init", "--mode=archive"]));
    done(&mut ostree(&other, &["pull-local", repo.as_str(), "host"]));
    done(&mut ostree(&other, &["fsck", "--quiet"]));
}

#[test]
fn a_commit_is_ground_and_is_read_back() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    for mode in MODES {
        let repo = make_repo(scratch.path(), mode, &root);
        run("first", &repo, "base", "host", 2).unwrap();
        let commit = Commit::open(&repo, "host").unwrap();
        let probe = |path: &str| commit.probe(path.into()).unwrap();
        let time = Mtime { seconds: 0, nanoseconds: 0 };
        assert_eq!(probe("etc/os-release"), Found::File { mode: 0o644, size: 8, mtime: time });
        assert_eq!(probe("etc"), Found::Link("usr/etc".to_owned()));
        assert_eq!(probe("usr/etc"), Found::Directory);
        assert_eq!(probe("lib"), Found::Link("usr/lib".to_owned()));
        assert_eq!(probe("lib/systemd/system/web.service"), probe("usr/lib/systemd/system/web.service"));
        assert_eq!(probe("usr/nothing/here"), Found::Nothing);
        assert_eq!(probe("usr/bin/tool/x"), Found::Nothing);
        assert_eq!(commit.read("bin/../etc/os-release".into(), 8).unwrap().unwrap(), b"ID=test\n");
        assert_eq!(commit.read("usr/nothing".into(), 8).unwrap(), None);
        assert!(commit.read("etc/os-release".into(), 7).is_err());
        assert!(commit.is_program("bin/tool".into()).unwrap());
        assert!(!commit.is_program("etc/os-release".into()).unwrap());
        assert_eq!(commit.names("lib/containers/atomic".into()).unwrap(), ["embedded.json", "old", "web"]);

        let rootfs = "usr/lib/containers/atomic/web/rootfs".into();
        let scan = commit.scan(rootfs, 2, &Interrupt::default()).unwrap();
        let (name, keep) = ("web".parse().unwrap(), Commit::open(&repo, "base").unwrap());
        let composing = keep.begin(crate::steps::revision("none", 1)).unwrap();
        let mut expected =
            bundle(&composing.contents(&name), &name, "1").unwrap().tree.expect("a root").as_committed();
        assert_eq!(differences(&expected, &scan.tree, time), []);
        let entry = expected.node(&sysctr_core::tree::TreePath::parse(b"same").unwrap());
        let Some(sysctr_core::tree::Node::Leaf(id)) = entry.cloned() else { panic!("no leaf") };
        if let Leaf::File { digest, .. } = expected.leaf_mut(id) {
            *digest = sysctr_core::digest::Digest::of(b"another");
        }
        assert_eq!(differences(&expected, &scan.tree, time).len(), 1);
    }
}

#[test]
fn a_composed_commit_is_deployed_like_any_other() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "bare", &root);
    run("first", &repo, "base", "host", 2).unwrap();
    let checkout = scratch.path().join("checkout");
    let target = checkout.to_str().unwrap().to_owned();
    done(&mut ostree(repo.as_std_path(), &["checkout", "-H", "host", &target]));
    let rootfs = checkout.join("usr/lib/containers/atomic/web/rootfs");
    let capability = printed(Command::new("getcap").arg(rootfs.join("su")));
    assert!(capability.contains("cap_net_bind_service"), "{capability}");
    assert_eq!(fs::read(rootfs.join("same")).unwrap(), b"the same everywhere\n");
    // A static delta of what was composed applies.
    done(&mut ostree(repo.as_std_path(), &["static-delta", "generate", "--from=base", "--to=host"]));
    assert_clean(&repo);
}

#[test]
fn a_new_base_takes_the_bundles_of_the_commit_before_without_reading_them() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "bare-user", &root);
    let before = run("first", &repo, "base", "host", 2).unwrap();
    fs::write(root.join("usr/bin/new"), "nightly").unwrap();
    let tree = format!("--tree=dir={}", root.display());
    done(&mut ostree(repo.as_std_path(), &["commit", "--branch=base", "--timestamp=@1600000001", &tree]));
    let from_scratch = run("first", &repo, "base", "again", 2).unwrap();

    let base = Commit::open(&repo, "base").unwrap();
    let composing = base.begin(revision("host", 1)).unwrap();
    let mut changes = placement("first", |name, version| {
        let files = crate::steps::files(version);
        Ok(Bundle { name: name.clone(), tree: Some(ImageTree::new()), files })
    })
    .unwrap();
    for (_, change) in &mut changes.changes {
        if let Change::PutBundle(bundle) = change {
            let files = std::mem::take(&mut bundle.files);
            let (name, commit) = (bundle.name.clone(), before.checksum.clone());
            *change = Change::AdoptBundle(Box::new(Adopted { name, commit, files }));
        }
    }
    let adopted = composing.commit(&changes, &Interrupt::default()).unwrap();
    assert_eq!(listing(&repo, "host"), listing(&repo, "again"));
    assert_ne!(adopted.checksum, before.checksum);
    assert_eq!(adopted.published.objects, 0, "all that it needs is there: {from_scratch:?}");
    assert_clean(&repo);
}
