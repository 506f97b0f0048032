//! SELinux labels, on Debian trees with their real policies: who labels the commit again finds nothing to change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use camino::Utf8Path;
use sysctr_compose::target::commit::{Commit, Written};
use sysctr_compose::target::host_tree::HostTree as _;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::placement::{Adopted, Change, Ground as _, Placement, Policy, Present, label_rule};
use sysctr_core::record::{Embedded, LabelRule};

use crate::steps::{bundle, placement, revision};
use crate::{assert_clean, done, ostree, printed, utf8};

const RULES: &str = "usr/etc/selinux/default/contexts/files";
const STORE: &str = "usr/etc/selinux/default/active";
const ROOTS: &str = "/usr/lib/containers/atomic/[^/]+/rootfs(/.*)?";

/// In memory: these trees have thousands of files.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sysctr-labels-").tempdir_in("/dev/shm").expect("a step of the test")
}

/// A Debian tree in the form that commits have, the policy's store where rpm-ostree keeps it.
fn tree(dir: &Path, suite: &str) -> PathBuf {
    let root = dir.join("tree");
    fs::create_dir(&root).expect("a step of the test");
    let archive = sysctr_tests::fixture::directory("selinux").join(format!("{suite}.tar.zst"));
    done(Command::new("tar").args(["--zstd", "--numeric-owner", "-xpf"]).arg(archive).arg("-C").arg(&root));
    fs::rename(root.join("etc"), root.join("usr/etc")).expect("a step of the test");
    fs::rename(root.join("var/lib/selinux/default/active"), root.join(STORE)).expect("a step of the test");
    // What the policy is not and no commit has, or what only costs time.
    let gone =
        ["var", "dev", "run", "proc", "sys", "tmp", "usr/share", "usr/sbin", "usr/lib/x86_64-linux-gnu"];
    done(Command::new("rm").arg("-rf").args(gone.map(|gone| root.join(gone))));
    for made in ["var", "usr/lib/systemd/system", "usr/lib/tmpfiles.d"] {
        fs::create_dir_all(root.join(made)).expect("a step of the test");
    }
    fs::write(root.join("usr/lib/systemd/system/host.service"), "[Service]\n").expect("a step of the test");
    root
}

/// That tree as the labelled commit `base`.
fn repo(dir: &Path, tree: &Path) -> camino::Utf8PathBuf {
    let repo = dir.join("repo");
    done(&mut ostree(&repo, &["init", "--mode=archive"]));
    done(&mut ostree(&repo, &["config", "set", "core.fsync", "false"]));
    label_again(&repo, tree, "base");
    utf8(&repo).to_owned()
}

/// Commits a directory with the labels of its own policy: what rpm-ostree does at commit and bootc at import.
fn label_again(repo: &Path, tree: &Path, reference: &str) {
    let (policy, tree) =
        (format!("--selinux-policy={}", tree.display()), format!("--tree=dir={}", tree.display()));
    let branch = format!("--branch={reference}");
    done(&mut ostree(repo, &["commit", &branch, "--timestamp=@1600000000", &policy, &tree]));
}

fn listing(repo: &Utf8Path, reference: &str) -> String {
    printed(&mut ostree(repo.as_std_path(), &["ls", "-RCX", reference]))
}

/// The base with the directory that a compose made on the way to the containers; `steps` leave it.
fn emptied(repo: &Utf8Path, tree: &Path) -> String {
    fs::create_dir_all(tree.join("usr/lib/containers")).expect("a step of the test");
    label_again(repo.as_std_path(), tree, "emptied");
    listing(repo, "emptied")
}

/// A step with the rule that a planner adds to it.
fn compose(
    repo: &Utf8Path,
    base: &str,
    step: &str,
    recorded: Option<&LabelRule>,
) -> Result<(Written, Option<LabelRule>)> {
    let base = Commit::open(repo, base)?;
    let composing = base.begin(revision("host", 2))?;
    let mut all = placement(step, |name, version| bundle(&composing.contents(name), name, version))?;
    let policy = if step == "remove" { None } else { Policy::read(&base)? };
    let settled = label_rule::settle(&base, policy.as_ref(), recorded)?;
    let changes = settled.changes.into_iter().map(|(path, change, _)| (path, change));
    all.changes.splice(1..1, changes);
    Ok((composing.commit(&all, &Interrupt::default())?, settled.rule))
}

/// The commit, checked out with everything it has and labelled again, is the same commit to the last object.
fn assert_labelled_for_good(scratch: &Path, repo: &Utf8Path, reference: &str) {
    let out = scratch.join("out");
    done(&mut ostree(
        repo.as_std_path(),
        &["checkout", reference, out.to_str().expect("a step of the test")],
    ));
    // Its own labels don't count: they are taken away first.
    let unlabel = "setfattr --no-dereference --remove=security.selinux";
    let script = format!("find '{}' -exec {unlabel} {{}} +", out.display());
    done(Command::new("sh").args(["-c", &script]));
    label_again(repo.as_std_path(), &out, "again");
    fs::remove_dir_all(&out).expect("a step of the test");
    // Old libostree puts the label behind the other attributes, wherever it belongs; read from files, they are in order.
    done(&mut ostree(repo.as_std_path(), &["checkout", "again", out.to_str().expect("a step of the test")]));
    let tree = format!("--tree=dir={}", out.display());
    done(&mut ostree(repo.as_std_path(), &["commit", "--branch=again", "--timestamp=@1", &tree]));
    assert_same(&listing(repo, reference), &listing(repo, "again"));
    fs::remove_dir_all(out).expect("a step of the test");
}

/// The same, or the lines that only one has.
fn assert_same(one: &str, other: &str) {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (one, other) = (lines(one), lines(other));
    let differing: Vec<_> = one.symmetric_difference(&other).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert!(one.len() > 500, "{} entries", one.len());
}

/// Every entry of the roots has this label, and there are many.
fn assert_roots(repo: &Utf8Path, label: &str) {
    let listing = listing(repo, "host");
    let roots: Vec<_> = listing.lines().filter(|line| line.contains("/rootfs")).collect();
    assert!(roots.len() > 400, "{} entries", roots.len());
    let label = format!("(b'security.selinux', b'{label}')");
    for line in roots {
        assert!(line.contains(&label), "{line}\nhas not {label}");
    }
}

fn mislabelled(repo: &Utf8Path, rule: Option<LabelRule>) -> Vec<String> {
    let commit = Commit::open(repo, "host").expect("a step of the test");
    let json = commit
        .read("usr/lib/containers/atomic/embedded.json".into(), 1 << 20)
        .expect("a step of the test")
        .expect("a step of the test");
    let embedded: Embedded =
        sysctr_core::record::from_json(&json, "embedded.json").expect("a step of the test");
    let embedded = Embedded { label_rule: rule, ..embedded };
    let present = Present { embedded, records: BTreeMap::new(), missing_homes: Vec::new() };
    let found = commit.mislabelled(&present, &Interrupt::default()).expect("a step of the test");
    found.into_iter().map(|it| it.path.into_string()).collect()
}

#[test]
fn a_policy_that_knows_containers() {
    let scratch = scratch();
    let tree = tree(scratch.path(), "trixie");
    // A host's own rules, not ending in a line feed, their compiled form, and the same in the store.
    let own = "# host's\n/opt/x\tsystem_u:object_r:bin_t:s0";
    fs::write(tree.join(RULES).join("file_contexts.local"), own).unwrap();
    fs::write(tree.join(STORE).join("file_contexts.local"), own).unwrap();
    done(Command::new("sefcontext_compile").arg(tree.join(RULES).join("file_contexts.local")));
    let repo = repo(scratch.path(), &tree);
    let base = Commit::open(&repo, "base").unwrap();
    let policy = Policy::read(&base).unwrap().unwrap();
    assert_eq!(policy.roots(), "system_u:object_r:container_ro_file_t:s0");
    assert_eq!(policy.warning(), None);

    let (_, rule) = compose(&repo, "base", "first", None).unwrap();
    let rule = rule.unwrap();
    assert_roots(&repo, policy.roots());
    assert_labelled_for_good(scratch.path(), &repo, "host");
    assert_clean(&repo);
    let composed = Commit::open(&repo, "host").unwrap();
    for dir in [RULES, STORE] {
        let path = format!("{dir}/file_contexts.local");
        let rules = composed.read(path.as_str().into(), 1 << 20).unwrap().unwrap();
        let expected = format!("{own}\n{ROOTS}\t{}", policy.roots());
        assert_eq!(String::from_utf8(rules).unwrap(), expected, "{path}");
    }
    assert_eq!(label_rule::lacking(&composed, &rule).unwrap(), Vec::<camino::Utf8PathBuf>::new());
    assert_eq!(mislabelled(&repo, Some(rule.clone())), Vec::<String>::new());
    // The compiled form would hide the rule: file_contexts(5) prefers what is not older.
    assert_eq!(label_rule::lacking(&base, &rule).unwrap().len(), 2);

    let (_, gone) = compose(&repo, "host", "remove", Some(&rule)).unwrap();
    assert_eq!(gone, None);
    assert_same(&listing(&repo, "host"), &emptied(&repo, &tree));
}

#[test]
fn a_policy_without_containers_labels_their_roots_as_usr() {
    let scratch = scratch();
    let tree = tree(scratch.path(), "bookworm");
    let repo = repo(scratch.path(), &tree);
    let policy = Policy::read(&Commit::open(&repo, "base").unwrap()).unwrap().unwrap();
    assert_eq!(policy.roots(), "system_u:object_r:usr_t:s0");
    let warning = policy.warning().unwrap();
    assert!(warning.contains("/usr/etc/selinux/default has no type container_ro_file_t"), "{warning}");
    let (_, rule) = compose(&repo, "base", "first", None).unwrap();
    assert_roots(&repo, policy.roots());
    assert_labelled_for_good(scratch.path(), &repo, "host");
    assert_eq!(mislabelled(&repo, rule.clone()), Vec::<String>::new());

    // Without the rule whoever labels again would take the label away: refused, and told by the check.
    let base = Commit::open(&repo, "base").unwrap();
    let composing = base.begin(revision("other", 2)).unwrap();
    let all = placement("small", |name, version| bundle(&composing.contents(name), name, version)).unwrap();
    let error = format!("{:#}", composing.commit(&all, &Interrupt::default()).unwrap_err());
    assert!(
        error.contains("it says system_u:object_r:lib_t:s0 of /usr/lib/containers/atomic/web/rootfs"),
        "{error}"
    );
    let host = Commit::open(&repo, "host").unwrap();
    let composing = host.begin(revision("host", 2)).unwrap();
    let path = format!("{RULES}/file_contexts.local").into();
    composing
        .commit(
            &Placement { changes: vec![(path, Change::Remove)], ..Placement::default() },
            &Interrupt::default(),
        )
        .unwrap();
    assert!(mislabelled(&repo, rule).len() > 400);

    let (_, rule) = compose(&repo, "base", "first", None).unwrap();
    compose(&repo, "host", "remove", rule.as_ref()).unwrap();
    assert_same(&listing(&repo, "host"), &emptied(&repo, &tree));
}

#[test]
fn a_bundle_that_is_adopted_gets_the_labels_of_its_new_base() {
    let scratch = scratch();
    let tree = tree(scratch.path(), "trixie");
    let repo = repo(scratch.path(), &tree);
    // Another base, which has no policy.
    fs::rename(tree.join("usr/etc/selinux"), scratch.path().join("aside")).unwrap();
    let argument = format!("--tree=dir={}", tree.display());
    done(&mut ostree(repo.as_std_path(), &["commit", "--branch=plain", "--timestamp=@1", &argument]));
    let (plain, _) = compose(&repo, "plain", "first", None).unwrap();
    let unlabelled = listing(&repo, "host");
    let (fresh, rule) = compose(&repo, "base", "first", None).unwrap();
    let adopt = |base: &str, from: &str, rule: bool| {
        let base = Commit::open(&repo, base).unwrap();
        let composing = base.begin(revision("host", 2)).unwrap();
        let mut all =
            placement("first", |name, version| bundle(&composing.contents(name), name, version)).unwrap();
        for (_, change) in &mut all.changes {
            if let Change::PutBundle(bundle) = change {
                let files = std::mem::take(&mut bundle.files);
                let (name, commit) = (bundle.name.clone(), from.to_owned());
                *change = Change::AdoptBundle(Box::new(Adopted { name, commit, files }));
            }
        }
        let policy = Policy::read(&base).unwrap();
        assert_eq!(policy.is_some(), rule);
        let settled = label_rule::settle(&base, policy.as_ref(), None).unwrap();
        all.changes.splice(1..1, settled.changes.into_iter().map(|(path, change, _)| (path, change)));
        composing.commit(&all, &Interrupt::default()).unwrap().checksum
    };
    assert!(rule.is_some());
    assert_eq!(adopt("base", &plain.checksum, true), fresh.checksum);
    adopt("plain", &fresh.checksum, false);
    assert_same(&listing(&repo, "host"), &unlabelled);
    assert_clean(&repo);
}
