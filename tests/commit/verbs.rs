//! The command line on commits, judged by libostree's own programs and by the sysroot target.

use std::fs;
use std::process::Command;

use serde_json::Value;
use sysctr_tests::Program;

use crate::bench::{Bench, files, forget_layers, listing, rev};
use crate::{MODES, assert_clean, done, ostree, printed};

#[test]
fn a_commit_is_what_a_root_and_ostree_make_and_is_verified() {
    let bench = Bench::new();
    for mode in MODES {
        let repo = bench.repo(mode);
        let report = bench.compose(&repo, "base", "three", &["--format", "json"]).json();
        let told = &report["commit"];
        assert_eq!(told["checksum"], rev(&repo, "host").as_str());
        assert_eq!((&told["base"], &told["ref"]), (&rev(&repo, "base").into(), &"host".into()));
        assert!(told["objects"].as_u64() > Some(20) && told["bytes"].as_u64() > Some(100_000), "{told}");
        let copy = bench.path().join(format!("copy-{mode}"));
        done(Command::new("cp").args(["-a", "--no-target-directory"]).arg(bench.root()).arg(&copy));
        let launcher = Program::Launcher.path();
        let arguments = ["--sysroot", copy.to_str().unwrap(), "-m", "three.toml", "--add-launcher"];
        bench.run(&[&arguments[..], &[launcher.to_str().unwrap()]].concat()).ok();
        let tree = format!("--tree=dir={}", copy.display());
        done(&mut ostree(repo.as_std_path(), &["commit", "--branch=oracle", "--timestamp=@1", &tree]));
        assert_eq!(listing(&repo, "host"), listing(&repo, "oracle"), "{mode}");
        assert_clean(&repo);
        let verified = bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
        assert_eq!(verified.stdout, "3 containers checked: nothing found\n");
        let list = bench.run(&["list", "--repo", repo.as_str(), "--ref", "host", "--format", "json"]).json();
        assert_eq!(list["containers"].as_array().map(Vec::len), Some(3));
    }
}

#[test]
fn again_writes_nothing_whatever_the_parent() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    for parent in ["none", "previous", "base"] {
        bench.compose(&repo, "base", "three", &["--parent", parent, "--subject", "s"]).ok();
        let (first, before) = (rev(&repo, "host"), files(&repo));
        let again = bench.compose(&repo, "base", "three", &["--parent", parent, "--subject", "s"]).ok();
        assert!(again.stdout.ends_with(": 0 objects added, 0 B\nnothing to change\n"), "{}", again.stdout);
        // On itself as well.
        let itself = bench.compose(&repo, "host", "three", &[]).ok();
        assert!(itself.stdout.ends_with("nothing to change\n"), "{}", itself.stdout);
        assert_eq!((rev(&repo, "host"), files(&repo)), (first, before), "{parent}");
    }
    let log = printed(&mut ostree(repo.as_std_path(), &["log", "host"]));
    assert!(log.contains(&format!("Parent:  {}", rev(&repo, "base"))), "{log}");
    // Another subject is another commit.
    let first = rev(&repo, "host");
    let other = bench.compose(&repo, "base", "three", &["--subject", "t"]).ok();
    assert!(other.stdout.ends_with("done\n"), "{}", other.stdout);
    assert_ne!(rev(&repo, "host"), first);
}

#[test]
fn a_plan_tells_the_same_and_writes_nothing() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    let before = files(&repo);
    let launcher = Program::Launcher.path();
    let arguments = ["plan", "--repo", repo.as_str(), "--base", "base", "--ref", "host", "-m", "three.toml"];
    let more = ["--format", "json", "--add-launcher", launcher.to_str().unwrap()];
    let plan = bench.run(&[&arguments[..], &more].concat()).json();
    assert_eq!(files(&repo), before);
    let done = bench.compose(&repo, "base", "three", &["--format", "json"]).json();
    assert_eq!((&plan["paths"], &plan["containers"]), (&done["paths"], &done["containers"]));
    assert_eq!((&plan["changed"], &plan["planned"]), (&true.into(), &true.into()));
    assert_eq!(plan["commit"]["base"], done["commit"]["base"]);
    assert_eq!((&plan["commit"]["checksum"], &plan["commit"]["objects"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_new_base_takes_containers_without_reading_a_layer_and_is_as_composed_anew() {
    let bench = Bench::new();
    for mode in MODES {
        let repo = bench.repo(mode);
        bench.compose(&repo, "base", "three", &[]).ok();
        bench.nightly(&repo);
        let fresh = bench.path().join(format!("fresh-{mode}"));
        done(Command::new("cp").args(["-a", "--no-target-directory"]).arg(&repo).arg(&fresh));
        let fresh = crate::utf8(&fresh).to_owned();
        done(&mut ostree(fresh.as_std_path(), &["refs", "--delete", "host"]));
        done(&mut ostree(fresh.as_std_path(), &["prune", "--refs-only"]));
        bench.compose(&fresh, "nightly", "three", &[]).ok();
        let whole = bench.spoil_layers();
        forget_layers(&repo);
        forget_layers(&fresh);
        let report = bench.compose(&repo, "nightly", "three", &["--format", "json"]).json();
        // That they are spoilt is seen by whoever reads them.
        let other = ["--repo", fresh.as_str(), "--base", "base", "--ref", "other", "-m", "three.toml"];
        let launcher = Program::Launcher.path();
        let read = bench.run(&[&other[..], &["--add-launcher", launcher.to_str().unwrap()]].concat());
        assert!(read.code == 1 && read.stderr.contains("reading layer"), "{}", read.stderr);
        for (path, bytes) in whole {
            fs::write(path, bytes).unwrap();
        }
        assert_eq!(rev(&repo, "host"), rev(&fresh, "host"), "{mode}");
        assert_eq!(listing(&repo, "host"), listing(&fresh, "host"), "{mode}");
        // Records, the index and few directories; none of it grows with an image.
        assert!(report["commit"]["objects"].as_u64() < Some(30), "{report}");
        assert!(report["commit"]["bytes"].as_u64() < Some(100_000), "{report}");
        assert_clean(&repo);
        bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
    }
}

#[test]
fn groups_converge_update_and_go_without_a_trace() {
    let bench = Bench::new();
    let repo = bench.repo("bare-user");
    bench.manifest("other", "group = 'other'\n[[container]]\nname = 'two'\nimage = 'oci:images/two'\n");
    bench.manifest("less", "group = 'g'\n[[container]]\nname = 'one'\nimage = 'oci:images/two'\n");
    bench.compose(&repo, "base", "three", &[]).ok();
    bench.compose(&repo, "host", "other", &["--parent", "previous"]).ok();
    let less = bench.compose(&repo, "host", "less", &["--parent", "previous", "--format", "json"]).json();
    let actions: Vec<_> = less["containers"].as_array().unwrap().iter().collect();
    let actions: Vec<_> =
        actions.iter().map(|it| (it["name"].as_str().unwrap(), it["action"].as_str().unwrap())).collect();
    assert_eq!(actions, [("exporter", "remove"), ("hello", "remove"), ("one", "change")]);
    bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
    let before = rev(&repo, "host");
    let target = ["--repo", repo.as_str(), "--ref", "host"];
    let removed =
        bench.run(&[&["remove", "--group", "g", "--subject", "without g"], &target[..]].concat()).ok();
    assert!(removed.stdout.contains(&format!("base    {before}\n")), "{}", removed.stdout);
    let log = printed(&mut ostree(repo.as_std_path(), &["log", "host"]));
    assert!(log.contains("without g") && log.contains(&format!("Parent:  {before}")), "{log}");
    let list = bench.run(&[&["list"], &target[..]].concat()).ok();
    assert_eq!(list.stdout.lines().count(), 2, "{}", list.stdout);
    bench.run(&[&["remove", "two", "--launcher"], &target[..]].concat()).ok();
    assert_eq!(listing(&repo, "host"), listing(&repo, "base"));
    assert_clean(&repo);
}

#[test]
fn of_two_writers_at_once_one_is_told() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    let launcher = Program::Launcher.path();
    let launcher = launcher.to_str().unwrap();
    let arguments = [
        "--repo",
        repo.as_str(),
        "--base",
        "base",
        "--ref",
        "host",
        "-m",
        "three.toml",
        "--add-launcher",
        launcher,
    ];
    // The slow one stands before its objects are published when the other is through.
    let slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=syncfs"];
    let slow = [&slow[..], &["-e", "inject=syncfs:delay_enter=8s:when=1"]].concat();
    bench.manifest("two", "group = 'two'\n[[container]]\nname = 'two'\nimage = 'oci:images/two'\n");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| bench.run_by(&slow, &arguments));
        // Its staging directory tells that it has begun.
        let begun = || {
            fs::read_dir(repo.join("tmp"))
                .unwrap()
                .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("sysctr-"))
        };
        while !begun() {
            assert!(!slow.is_finished(), "the slow one ended");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        bench.compose(&repo, "base", "two", &[]).ok();
        let message = format!(
            "writing into repository {repo}, whose refs are as they were: ref host was moved by another program \
             meanwhile; compose again"
        );
        slow.join().unwrap().error(1, &message);
    });
    let list = bench.run(&["list", "--repo", repo.as_str(), "--ref", "host"]).ok();
    assert!(list.stdout.contains("\ntwo "), "{}", list.stdout);
    bench.compose(&repo, "host", "three", &[]).ok();
    assert_clean(&repo);
}

#[test]
fn what_was_composed_is_pulled_and_taken_as_a_delta() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    bench.compose(&repo, "base", "three", &[]).ok();
    let other = bench.path().join("other");
    done(&mut ostree(&other, &["init", "--mode=archive"]));
    let url = format!("file://{repo}");
    done(&mut ostree(&other, &["remote", "add", "--no-gpg-verify", "origin", &url]));
    done(&mut ostree(&other, &["pull", "origin", "host"]));
    done(&mut ostree(&other, &["fsck", "--quiet"]));
    let third = bench.path().join("third");
    done(&mut ostree(&third, &["init", "--mode=bare-user"]));
    done(&mut ostree(&third, &["pull-local", repo.as_str(), "base"]));
    let delta = bench.path().join("delta");
    let file = format!("--filename={}", delta.display());
    let generate =
        ["static-delta", "generate", "--inline", "--min-fallback-size=0", "--from=base", "--to=host", &file];
    done(&mut ostree(repo.as_std_path(), &generate));
    done(&mut ostree(&third, &["static-delta", "apply-offline", delta.to_str().unwrap()]));
    let host = rev(&repo, "host");
    done(&mut ostree(&third, &["refs", "--create=host", &host]));
    done(&mut ostree(&third, &["fsck", "--quiet"]));
    assert_eq!(listing(crate::utf8(&third), "host"), listing(&repo, "host"));
}
