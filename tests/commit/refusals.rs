//! What is refused, by name and before anything is written.

use std::process::Command;

use sysctr_compose::target::commit::Commit;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::placement::Change;
use sysctr_core::tree::{FileName, Leaf, Node, Stat};

use crate::steps::{bundle, placement, revision, run};
use crate::{DRIVER, assert_clean, done, make_repo, make_root, ostree, printed, scratch};

#[test]
fn modes_that_lose_something_are_refused_with_the_way_out() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let source = make_repo(scratch.path(), "archive", &root);
    for (mode, message) in [
        (
            "bare-user-only",
            "it has mode bare-user-only, which loses owners and setuid bits; pull the base into",
        ),
        ("bare-split-xattrs", "its mode is none of archive, bare and bare-user; pull the base into"),
    ] {
        let repo = scratch.path().join(mode);
        done(&mut ostree(&repo, &["init", &format!("--mode={mode}")]));
        let pulled = ostree(&repo, &["pull-local", source.as_str(), "base"]).output().unwrap();
        if !pulled.status.success() {
            // This libostree can't even write such a repository; what it has is enough to be refused.
            done(
                Command::new("cp")
                    .args(["-a", "--no-target-directory"])
                    .arg(source.join("objects"))
                    .arg(repo.join("objects")),
            );
            done(Command::new("cp").arg(source.join("refs/heads/base")).arg(repo.join("refs/heads/base")));
        }
        let error = format!("{:#}", run("first", crate::utf8(&repo), "base", "host", 1).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_bare_repository_needs_the_right_to_set_owners() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "bare", &root);
    // Its directories only: owners of files are what it holds.
    done(Command::new("find").arg(&repo).args(["-type", "d", "-exec", "chown", "1234:1234", "{}", "+"]));
    let driver = scratch.path().join("driver");
    std::fs::copy(DRIVER, &driver).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=1234", "--regid=1234", "--clear-groups", "--"])
        .arg(&driver)
        .args(["first", repo.as_str(), "base", "host", "1"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("an archive or bare-user repository takes any user"), "{error}");
    assert_clean(&repo);
}

#[test]
fn what_ostree_cannot_hold_is_refused_before_anything_is_published() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "bare-user", &root);
    let objects = || printed(Command::new("find").arg(repo.join("objects")).args(["-type", "f"]));
    let before = objects();
    let base = Commit::open(&repo, "base").unwrap();
    let node = |target: &[u8]| Leaf::Symlink { stat: Stat::implied(0o777), target: target.into() };
    for (name, target, message) in [
        (
            &b"caf\xe9"[..],
            &b"x"[..],
            r#""/caf\xe9" of the image: its name is not UTF-8, which OSTree can't hold"#,
        ),
        (b"link", b"caf\xe9", r#""/link" of the image: it links to a text that is not UTF-8"#),
    ] {
        let composing = base.begin(revision("host", 2)).unwrap();
        let mut placement =
            placement("first", |name, version| bundle(&composing.contents(name), name, version)).unwrap();
        for (_, change) in &mut placement.changes {
            if let Change::PutBundle(bundle) = change {
                let tree = bundle.tree.as_mut().expect("a bundle with a root");
                let leaf = tree.add_leaf(node(target));
                tree.root.children.insert(FileName::new(name).unwrap(), Node::Leaf(leaf));
            }
        }
        let error = format!("{:#}", composing.commit(&placement, &Interrupt::default()).unwrap_err());
        assert!(error.contains(message), "{error}");
        assert!(
            error.contains("whose refs are as they were: preparing usr/lib/containers/atomic/web"),
            "{error}"
        );
    }
    assert_eq!(objects(), before);
    run("first", &repo, "base", "host", 1).unwrap();
    assert_clean(&repo);
}

#[test]
fn a_ref_that_somebody_else_moved_is_not_moved_over() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "archive", &root);
    let base = Commit::open(&repo, "base").unwrap();
    let composing = base.begin(revision("host", 2)).unwrap();
    let placement =
        placement("first", |name, version| bundle(&composing.contents(name), name, version)).unwrap();
    let other = run("first", &repo, "base", "host", 1).unwrap();
    let error = format!("{:#}", composing.commit(&placement, &Interrupt::default()).unwrap_err());
    assert!(error.contains("ref host was moved by another program meanwhile; compose again"), "{error}");
    assert_eq!(printed(&mut ostree(repo.as_std_path(), &["rev-parse", "host"])).trim(), other.checksum);
    run("first", &repo, "base", "host", 1).unwrap();
    assert_clean(&repo);
}
