//! Signatures: GnuPG's by libostree's own programs, ed25519 by an ostree that has it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use sysctr_tests::fixture;

use crate::bench::{Bench, rev};
use crate::{MODES, assert_clean, done, ostree, printed};

/// A GnuPG directory with the keys of alice and bob, and files of ed25519 keys by the same names.
struct Keys {
    dir: Utf8PathBuf,
    /// An ostree with ed25519.
    judge: PathBuf,
}

impl Keys {
    fn new(bench: &Bench) -> Self {
        let dir = crate::utf8(bench.path()).join("keys");
        let script = r#"
            mkdir -m 700 "$1" && cd "$1"
            for name in alice bob; do
              gpg --homedir . -q --batch --passphrase '' --quick-gen-key "$name@example" ed25519 sign never
              gpg --homedir . -q --export "$name@example" >$name.gpg
              openssl genpkey -algorithm ed25519 -outform DER -out $name.der
              openssl pkey -inform DER -in $name.der -pubout -outform DER | tail -c 32 >$name.raw
              { tail -c 32 $name.der; cat $name.raw; } | base64 -w0 >$name.secret
              base64 -w0 $name.raw >$name.public
            done
            gpgconf --homedir . --kill all"#;
        done(Command::new("bash").args(["-euc", script, "keys", dir.as_str()]));
        Self { dir, judge: fixture::directory("ostree-ed25519").join("ostree") }
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).into_string()
    }

    fn fingerprint(&self, name: &str) -> String {
        let mut list = Command::new("gpg");
        list.args(["--homedir", self.dir.as_str(), "--batch", "--with-colons", "--list-keys", name]);
        let listed = printed(&mut list);
        let line = listed.lines().find(|line| line.starts_with("fpr:")).expect("a fingerprint");
        line.split(':').nth(9).expect("a fingerprint").to_owned()
    }

    /// What the ostree with ed25519 says of the ref's signature by this key.
    fn judged(&self, repo: &Utf8Path, reference: &str, name: &str) -> (bool, String) {
        let keys = format!("--keys-file={}", self.file(&format!("{name}.public")));
        let mut verify = Command::new(&self.judge);
        verify.arg(format!("--repo={repo}")).args([
            "sign",
            "--verify",
            "--sign-type=ed25519",
            &keys,
            reference,
        ]);
        let output = verify.output().expect("the fixture's ostree runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).expect("ostree speaks UTF-8"))
    }
}

/// How many ed25519 signatures a commit has. Not from `ostree show`: its text of an array of bytes
/// that ends in a zero is another one, and one signature of sixteen ends so.
fn ed25519_signatures(repo: &Utf8Path, commit: &str) -> usize {
    let repo = ::ostree::Repo::new_for_path(repo);
    let none = ::ostree::gio::Cancellable::NONE;
    repo.open(none).expect("a step of the test");
    let detached = repo.read_commit_detached_metadata(commit, none).expect("a step of the test");
    let detached = detached.expect("metadata beside the commit");
    let signatures =
        ::ostree::glib::VariantDict::new(Some(&detached)).lookup_value("ostree.sign.ed25519", None);
    signatures.expect("signatures of this kind").n_children()
}

impl Drop for Keys {
    fn drop(&mut self) {
        // An agent was started for the directory by whoever signed.
        Command::new("gpgconf").args(["--homedir", self.dir.as_str(), "--kill", "all"]).status().ok();
    }
}

#[test]
fn both_kinds_are_good_to_ostree_and_leave_the_checksum_as_it_is() {
    let bench = Bench::new();
    let keys = Keys::new(&bench);
    let (alice, home) = (keys.fingerprint("alice@example"), keys.dir.as_str());
    let secret = keys.file("alice.secret");
    let sign = ["--gpg-sign", &alice, "--gpg-homedir", home, "--sign-from-file", &secret];
    for mode in MODES {
        let repo = bench.repo(mode);
        bench.compose(&repo, "base", "three", &sign).ok();
        let signed = rev(&repo, "host");
        assert!(keys.judged(&repo, "host", "alice").0, "{:?}", keys.judged(&repo, "host", "alice"));
        let (good, told) = keys.judged(&repo, "host", "bob");
        assert!(!good && told.contains("couldn't be verified"), "{told}");
        assert_clean(&repo);
        // A remote that demands the signature gives it, one with another key does not.
        let puller = bench.path().join(format!("puller-{mode}"));
        done(&mut ostree(&puller, &["init", "--mode=archive"]));
        for (name, key) in [("good", "alice.gpg"), ("bad", "bob.gpg")] {
            let (import, url) = (format!("--gpg-import={}", keys.file(key)), format!("file://{repo}"));
            done(&mut ostree(&puller, &["remote", "add", "--set=gpg-verify=true", &import, name, &url]));
        }
        let refused = ostree(&puller, &["pull", "bad", "host"]).output().unwrap();
        let why = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && why.contains("public key not found"), "{why}");
        done(&mut ostree(&puller, &["pull", "good", "host"]));
        let shown = printed(&mut ostree(&puller, &["show", "--gpg-verify-remote=good", "good:host"]));
        assert!(shown.contains("Good signature from \" <alice@example>\""), "{shown}");
        // Nobody's signature is part of the commit.
        done(&mut ostree(repo.as_std_path(), &["refs", "--delete", "host"]));
        done(&mut ostree(repo.as_std_path(), &["prune", "--refs-only"]));
        bench.compose(&repo, "base", "three", &[]).ok();
        assert_eq!(rev(&repo, "host"), signed, "{mode}");
    }
}

#[test]
fn what_stands_is_signed_once_by_each_key() {
    let bench = Bench::new();
    let keys = Keys::new(&bench);
    let repo = bench.repo("archive");
    bench.compose(&repo, "base", "three", &[]).ok();
    let before = rev(&repo, "host");
    let count = || ed25519_signatures(&repo, &rev(&repo, "host"));
    let (alice, bob) = (keys.file("alice.secret"), keys.file("bob.secret"));
    let gpg = keys.fingerprint("bob@example");
    // The second one composes on what stands: nothing is written at all but the signature.
    for (base, secret, signatures) in
        [("base", &alice, 1), ("host", &bob, 2), ("base", &bob, 2), ("host", &alice, 2)]
    {
        let more = ["--sign-from-file", secret, "--gpg-sign", &gpg, "--gpg-homedir", keys.dir.as_str()];
        let again = bench.compose(&repo, base, "three", &more).ok();
        assert!(again.stdout.ends_with("nothing to change\n"), "{}", again.stdout);
        assert_eq!((rev(&repo, "host"), count()), (before.clone(), signatures));
    }
    for name in ["alice", "bob"] {
        assert!(keys.judged(&repo, "host", name).0, "{:?}", keys.judged(&repo, "host", name));
    }
    let shown = printed(&mut ostree(repo.as_std_path(), &["show", "host"]));
    assert!(shown.contains("Found 1 signature:"), "{shown}");
    assert_clean(&repo);
}

#[test]
fn no_ref_names_a_commit_that_a_key_did_not_sign() {
    let bench = Bench::new();
    let keys = Keys::new(&bench);
    let repo = bench.repo("archive");
    bench.compose(&repo, "base", "three", &[]).ok();
    let before = rev(&repo, "host");
    let (secret, home) = (keys.file("alice.secret"), keys.dir.as_str());
    // ed25519 comes first and is there already when the other fails.
    let more = ["--subject", "s", "--sign-from-file", &secret, "--gpg-sign", "nobody", "--gpg-homedir", home];
    let failed = bench.compose(&repo, "base", "three", &more);
    let start = format!(
        "sysctr-compose: writing into repository {repo}, whose refs are as they were: signing the commit with GnuPG \
         key nobody: "
    );
    assert!(failed.code == 1 && failed.stderr.starts_with(&start), "{}", failed.stderr);
    assert_eq!(rev(&repo, "host"), before);
    let public = keys.file("alice.public");
    bench
        .compose(&repo, "base", "three", &["--sign-from-file", &public])
        .error(1, &format!("reading secret keys from {public}: line 1 has 32 bytes, a key here has 64"));
    bench
        .compose(&repo, "base", "three", &["--sign-from-file", "nowhere"])
        .error(1, "reading secret keys from nowhere: No such file or directory (os error 2)");
    bench.compose(&repo, "base", "three", &["--subject", "s"]).ok();
    assert_clean(&repo);
}

/// Gives the ref's commit the detached metadata of another.
fn take_signatures(repo: &Utf8Path, of: &str, for_: &str) {
    let file = |name: &str| {
        let checksum = rev(repo, name);
        repo.join(format!("objects/{}/{}.commitmeta", &checksum[..2], &checksum[2..]))
    };
    fs::copy(file(of), file(for_)).expect("a signed commit");
}

#[test]
fn a_base_is_taken_only_with_the_signature_that_is_asked_for() {
    let bench = Bench::new();
    let keys = Keys::new(&bench);
    let repo = bench.repo("archive");
    let alice = keys.fingerprint("alice@example");
    let home = format!("--gpg-homedir={}", keys.dir);
    let import = format!("--gpg-import={}", keys.file("alice.gpg"));
    done(&mut ostree(repo.as_std_path(), &["remote", "add", &import, "good", "file:///nowhere"]));
    let import = format!("--gpg-import={}", keys.file("bob.gpg"));
    done(&mut ostree(repo.as_std_path(), &["remote", "add", &import, "bad", "file:///nowhere"]));
    bench.nightly(&repo);
    for base in ["base", "nightly"] {
        done(&mut ostree(repo.as_std_path(), &["refs", "--create", &format!("{base}-plain"), base]));
    }
    let (good, bad) = (keys.file("alice.gpg"), keys.file("bob.gpg"));
    let (public, other) = (keys.file("alice.public"), keys.file("bob.public"));
    let checking =
        |base: &str| format!("checking signatures of commit {} of repository {repo}: ", rev(&repo, base));
    let refused = |base: &str, more: &[&str], why: &str| {
        bench.compose(&repo, base, "three", more).error(1, &format!("{}{why}", checking(base)));
    };
    let unsigned = "it has no GnuPG signature; sign it with `ostree gpg-sign`, or take a base that is signed";
    refused("base", &["--verify-base-gpg", &good], unsigned);
    refused("base", &["--verify-base-remote", "good"], unsigned);
    let unsigned = "it has no ed25519 signature; sign it with `ostree sign`, or take a base that is signed";
    refused("base", &["--verify-base-key", &public], unsigned);

    done(&mut ostree(repo.as_std_path(), &["gpg-sign", &home, "base", &alice]));
    let secret = format!("--keys-file={}", keys.file("alice.secret"));
    let sign = ["sign", "--sign-type=ed25519", &secret, "base"];
    done(Command::new(&keys.judge).arg(format!("--repo={repo}")).args(sign));
    // The keys of the repository's remotes are not those of the keyring, and the other way round.
    let by = format!("signed it; it is signed by {alice}");
    refused("base", &["--verify-base-gpg", &bad], &format!("none of the keys of {bad} {by}"));
    refused("base", &["--verify-base-remote", "bad"], &format!("none of the keys of remote bad {by}"));
    let not = |file: &str| {
        format!(
            "no key of {file} made an ed25519 signature of this commit; what it has is by another key or of another \
             commit"
        )
    };
    refused("base", &["--verify-base-key", &other], &not(&other));
    refused("base", &["--verify-base-gpg", &good, "--verify-base-key", &other], &not(&other));

    take_signatures(&repo, "base", "nightly");
    refused("nightly", &["--verify-base-key", &public], &not(&public));
    let stolen = "is not of this commit";
    for asked in [["--verify-base-gpg", good.as_str()], ["--verify-base-remote", "good"]] {
        let failed = bench.compose(&repo, "nightly", "three", &asked);
        let start = format!("sysctr-compose: {}its GnuPG signature by ", checking("nightly"));
        assert!(failed.code == 1 && failed.stderr.starts_with(&start), "{}", failed.stderr);
        assert!(failed.stderr.trim_end().ends_with(stolen), "{}", failed.stderr);
    }
    assert!(printed(&mut ostree(repo.as_std_path(), &["refs"])).lines().all(|name| name != "host"));
    let asked = ["--verify-base-gpg", &good, "--verify-base-remote", "good", "--verify-base-key", &public];
    bench.compose(&repo, "base", "three", &asked).ok();
    assert_clean(&repo);
}
