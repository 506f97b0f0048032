//! Killed anywhere, the ref is the old or the new commit, and the next run leaves nothing behind.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{DRIVER, assert_clean, done, make_repo, make_root, ostree, printed, scratch};

fn driver(step: &str, repo: &camino::Utf8Path) -> Command {
    let mut command = Command::new(DRIVER);
    command.args([step, repo.as_str(), "base", "host", "2"]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn killed_at_a_hundred_moments() {
    let scratch = scratch();
    let root = make_root(scratch.path());
    let repo = make_repo(scratch.path(), "bare-user", &root);
    let started = std::time::Instant::now();
    done(&mut driver("first", &repo));
    let took = started.elapsed();
    let rev = |reference: &str| {
        let output = ostree(repo.as_std_path(), &["rev-parse", reference]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    let new = rev("host").unwrap();
    let mut cut_off = 0;
    for moment in 0..100_u32 {
        done(&mut ostree(repo.as_std_path(), &["refs", "--delete", "host"]));
        if moment % 2 == 0 {
            done(&mut ostree(repo.as_std_path(), &["prune", "--refs-only"]));
        }
        let mut child = driver("first", &repo).spawn().unwrap();
        std::thread::sleep(took * moment / 90 + Duration::from_millis(1));
        child.kill().unwrap();
        cut_off += u32::from(!child.wait().unwrap().success());
        let after = rev("host");
        assert!(after.is_none() || after.as_ref() == Some(&new), "moment {moment}");
        done(&mut ostree(repo.as_std_path(), &["fsck", "--quiet"]));
        done(&mut driver("first", &repo));
        assert_eq!(rev("host").as_ref(), Some(&new), "moment {moment}");
        assert_clean(&repo);
    }
    assert!(cut_off > 40, "only {cut_off} runs were cut off");
    assert!(printed(&mut ostree(repo.as_std_path(), &["refs"])).contains("host"));
}
