//! The CI job's shell script on its three exits.

use std::fs;

use sysctr_tests::{Command, Output, Root};
use tempfile::TempDir;

use crate::{expect_composed, path, workshop};

struct Job {
    work: TempDir,
    root: Root,
}

impl Job {
    fn run(&self) -> Output {
        let command = Command::new("./compose.sh").arg(self.root.path()).arg("containers.toml");
        let command = command.in_dir(self.work.path()).env("PATH", path(&self.work));
        command.call(self.work.path(), "WORK").call(&self.root.path(), "ROOT").run()
    }
}

#[test]
fn each_exit_has_its_branch() {
    let job = Job { work: workshop(&["ci/compose.sh"]), root: Root::small() };
    let manifest = job.work.path().join("containers.toml");
    let text = fs::read_to_string(&manifest).expect("a step of the test");

    let first = job.run().expect_ok();
    let said: Vec<_> = first
        .stdout()
        .lines()
        .map(|line| line.split(" sha256:").next().expect("a step of the test").to_owned())
        .collect();
    assert_eq!(said, ["add hello", "add tools", "new image: yes"], "{}", first.story());
    expect_composed(&job.root.path());
    assert_eq!(job.run().expect_ok().stdout(), "new image: no\n");

    fs::write(&manifest, text.replace("group", "gruop")).expect("a step of the test");
    let misunderstood = job.run().expect_code(2);
    assert!(misunderstood.stderr().starts_with("fix the manifest: "), "{}", misunderstood.story());
    assert!(misunderstood.stderr().contains("containers.toml:3:1"), "{}", misunderstood.story());

    fs::write(&manifest, text.replace("hello.tar", "not-there.tar")).expect("a step of the test");
    let failed = job.run().expect_code(1);
    assert!(failed.stderr().starts_with("not composed: "), "{}", failed.story());
    expect_composed(&job.root.path());
}

#[test]
fn what_was_changed_since_is_no_success() {
    let job = Job { work: workshop(&["ci/compose.sh"]), root: Root::small() };
    job.run().expect_ok();
    fs::write(job.root.bundle("hello").join("rootfs/www/index.html"), "changed").expect("a step of the test");
    job.run().expect_code(1);
}
