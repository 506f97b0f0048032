//! A host of more than 500 MB with five real images: what the repository grows by, and that the result boots.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sysctr_tests::{Boot, Command, Image, Program, fixture};

use crate::Host;

/// Bytes of all files below a directory.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let size = |entry: fs::DirEntry| {
        let metadata = fs::symlink_metadata(entry.path()).expect("an entry");
        if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.size() }
    };
    entries.map(size).sum()
}

/// An archive repository of the test's own with the big host as ref `big`.
struct Repo(PathBuf);

impl Repo {
    fn below(dir: &Path) -> Self {
        let repo = Self(dir.join("repo"));
        repo.ostree(&["init", "--mode=archive"]);
        let cached = fixture::directory("ostree-big").join("repo");
        // Objects are never written again, so they need no copy.
        for (part, how) in [("objects", "-al"), ("refs", "-a")] {
            let copy = Command::new("cp").args([how, "--no-target-directory"]);
            copy.arg(cached.join(part)).arg(repo.0.join(part)).run().expect_ok();
        }
        repo
    }

    fn ostree(&self, arguments: &[&str]) -> String {
        let repo = format!("--repo={}", self.0.display());
        Command::new("ostree").arg(repo).args(arguments).run().expect_ok().stdout()
    }

    /// Bytes of all regular files of a commit's tree.
    fn tree_bytes(&self, rev: &str) -> u64 {
        let list = self.ostree(&["ls", "-R", rev]);
        let files = list.lines().filter(|line| line.starts_with("-0"));
        files
            .map(|line| line.split_whitespace().nth(3).expect("a size").parse::<u64>().expect("a size"))
            .sum()
    }

    /// The objects of a commit's tree as libostree lists them: checksum and extension.
    fn objects(&self, rev: &str) -> BTreeSet<(String, &'static str)> {
        let mut all = BTreeSet::new();
        for line in self.ostree(&["ls", "-RC", rev]).lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            if words.get(4).is_none_or(|word| word.len() != 64) {
                // The rest of a name with a line break.
                continue;
            }
            if line.starts_with('d') {
                all.insert((words[4].to_owned(), "dirtree"));
                all.insert((words[5].to_owned(), "dirmeta"));
            } else {
                all.insert((words[4].to_owned(), "filez"));
            }
        }
        all
    }

    /// Bytes of an object as it is stored.
    fn stored(&self, (checksum, extension): &(String, &str)) -> u64 {
        let path = self.0.join(format!("objects/{}/{}.{extension}", &checksum[..2], &checksum[2..]));
        fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len()
    }
}

fn manifest() -> String {
    let mut manifest = "group = 'five'\n".to_owned();
    for (name, image, more) in [
        ("nginx", Image::nginx(), ""),
        ("built", Image::built(), "enable = false\n"),
        ("many", Image::many(), "enable = false\n"),
        ("hello", Image::hello(), ""),
        ("payload", Image::payload(), "run = { args = ['serve=7001'] }\n"),
    ] {
        manifest += &format!("[[container]]\nname = '{name}'\nimage = '{}'\n{more}", image.reference());
    }
    manifest
}

#[test]
fn five_images_in_a_big_host_cost_their_new_objects_and_run() {
    let host = Host::empty();
    let repo = Repo::below(host.path());
    let tree = repo.tree_bytes("big");
    assert!(tree >= 500_000_000, "the base has {tree} bytes only");
    fs::write(host.path().join("five.toml"), manifest()).expect("a new file");

    let before = bytes_below(&repo.0);
    let composer =
        Command::new(Program::Composer.path()).args(["--base", "big", "--ref", "host", "-m", "five.toml"]);
    let composer = composer.arg("--repo").arg(&repo.0).arg("--add-launcher").arg(Program::Launcher.path());
    let report = composer.args(["--format", "json"]).in_dir(host.path()).run().expect_ok().stdout();
    // The layer cache is no part of the commit: it may be removed at any time.
    let cached = bytes_below(&repo.0.join("extensions"));
    let grown = bytes_below(&repo.0) - before - cached;
    let base = repo.objects("big");
    let new: Vec<_> = repo.objects("host").difference(&base).map(|object| repo.stored(object)).collect();
    let unique: u64 = new.iter().sum();
    println!(
        "base {:.1} MB in {} objects; five images: {} new objects of {unique} bytes, the repository grew by {grown} \
         ({:+.3} %)",
        tree as f64 / 1e6,
        base.len(),
        new.len(),
        (grown as f64 / unique as f64 - 1.0) * 100.0
    );
    assert!(
        cached * 100 <= unique * 2,
        "the layer cache has {cached} bytes for {unique} bytes of new objects"
    );
    assert!(grown * 100 <= unique * 101, "it grew by {grown} bytes for {unique} bytes of new objects");
    let report: serde_json::Value = serde_json::from_str(&report).expect("a report");
    let told = (report["commit"]["bytes"].as_u64(), report["commit"]["objects"].as_u64());
    assert_eq!(told, (Some(unique), Some(new.len() as u64)));
    repo.ostree(&["fsck", "--quiet"]);
    is_pulled_and_boots(&host, &repo);
}

fn is_pulled_and_boots(host: &Host, repo: &Repo) {
    let url = format!("file://{}", repo.0.display());
    host.repo(&["remote", "add", "--no-gpg-verify", "origin", &url]).expect_ok();
    host.repo(&["pull", "origin", "host"]).expect_ok();
    host.admin(&["deploy", "--os=debian", "--karg=root=LABEL=root", "origin:host"]).expect_ok();
    let boot = Boot::at(host.deployment()).run(
        r#"
        for entry in nginx:8080 hello:8081 payload:7001; do
          IFS=: read -r unit port <<<"$entry"
          wait_for has_state $unit.service active
          wait_for fetch $port
          echo "$unit: $(fetch $port | tail -n 1)"
        done
        sysctr list | cut -d' ' -f1 | sort | tr '\n' ' '
        expect "failed units" "$(systemctl --failed --no-legend | wc -l)" 0
        "#,
    );
    let expected = "nginx: sysctr demo: this page comes from inside a read-only image\n\
                    hello: sysctr demo: hello from a container with four entries\n\
                    payload: payload 1 answers\n\
                    NAME built hello many nginx payload ";
    assert_eq!(boot.expect_ok().text, expected);
}
