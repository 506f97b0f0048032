//! What the command line says about commits that are broken, changed, or can't be made.

use std::fs;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sysctr_tests::{Image, Program};

use crate::bench::{Bench, files, rev};
use crate::{assert_clean, done, ostree, printed};

/// The object that the commit has at this path.
fn object(repo: &Utf8Path, path: &str, extension: &str) -> Utf8PathBuf {
    let line = printed(&mut ostree(repo.as_std_path(), &["ls", "-dC", "host", path]));
    let checksum = line.split_whitespace().nth(4).expect("a checksum");
    repo.join(format!("objects/{}/{}.{extension}", &checksum[..2], &checksum[2..]))
}

#[test]
fn broken_and_missing_objects_are_told_with_container_and_path() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    bench.compose(&repo, "base", "three", &[]).ok();
    let verify = || {
        let arguments = ["verify", "--repo", repo.as_str(), "--ref", "host", "--format", "json"];
        let ended = bench.run(&arguments);
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        let finding = |it: &Value| {
            (it["container"].as_str().unwrap_or("-").to_owned(), it["path"].as_str().unwrap().to_owned())
        };
        report["findings"].as_array().unwrap().iter().map(finding).collect::<Vec<_>>()
    };
    let rootfs = "/usr/lib/containers/atomic/one/rootfs";
    let broken = object(&repo, &format!("{rootfs}/bin/true"), "filez");
    let whole = fs::read(&broken).unwrap();
    let mut bytes = whole.clone();
    let last = bytes.len() - 3;
    bytes[last] ^= 0xff;
    fs::write(&broken, &bytes).unwrap();
    assert_eq!(verify(), [("one".to_owned(), format!("{rootfs}/bin/true"))]);
    fs::remove_file(&broken).unwrap();
    assert_eq!(verify(), [("one".to_owned(), format!("{rootfs}/bin/true"))]);
    fs::write(&broken, &whole).unwrap();
    let unit = object(&repo, "/usr/lib/systemd/system/one.service", "filez");
    let whole = fs::read(&unit).unwrap();
    fs::remove_file(&unit).unwrap();
    let found = verify();
    assert!(
        found.contains(&("one".to_owned(), "/usr/lib/systemd/system/one.service".to_owned())),
        "{found:?}"
    );
    fs::write(&unit, whole).unwrap();
    bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
}

#[test]
fn what_somebody_changed_in_the_tree_is_told_by_its_first_path() {
    let bench = Bench::new();
    let repo = bench.repo("bare-user");
    bench.compose(&repo, "base", "three", &[]).ok();
    let checkout = bench.path().join("checkout");
    done(&mut ostree(repo.as_std_path(), &["checkout", "-H", "-U", "host", checkout.to_str().unwrap()]));
    let change = checkout.join("usr/lib/containers/atomic/exporter/rootfs/etc/passwd");
    fs::remove_file(&change).unwrap();
    fs::write(&change, "root::0:0::/:\n").unwrap();
    let tree = format!("--tree=dir={}", checkout.display());
    done(&mut ostree(repo.as_std_path(), &["commit", "--branch=host", &tree]));
    let verified = bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]);
    assert_eq!(verified.code, 1);
    let start = "error: exporter: /usr/lib/containers/atomic/exporter/rootfs/etc/passwd: ";
    assert!(verified.stdout.lines().any(|line| line.starts_with(start)), "{}", verified.stdout);
}

#[test]
fn a_command_line_that_names_no_one_target_is_not_understood() {
    let bench = Bench::new();
    for (arguments, message) in [
        (
            &["--sysroot", "root", "--repo", "repo", "--base", "base", "--ref", "host"][..],
            "the argument '--sysroot <DIR>' cannot be used with: --repo <DIR> --base <REV>; see --help",
        ),
        (
            &["--sysroot", "root", "--base", "base"],
            "the argument '--sysroot <DIR>' cannot be used with '--base <REV>'; see --help",
        ),
        (
            &["--repo", "repo", "--base", "base"],
            "the following required arguments were not provided: --ref <REF>; see --help",
        ),
        (&["--repo", "repo", "--ref", "host"], "composing into a commit: give --base REV"),
        (
            &["--repo", "repo", "--base", "base", "--ref", "origin:host"],
            "invalid value 'origin:host' for '--ref <REF>': it names a ref of a remote, which only a pull moves; \
             see --help",
        ),
    ] {
        bench.run(&[&["-m", "three.toml"], arguments].concat()).error(2, message);
    }
}

#[test]
fn what_is_not_there_is_said_in_one_line_with_the_way_out() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    let repo = repo.as_str();
    let before = files(repo.into());
    let missing = |rev: &str| {
        format!(
            "opening commit {rev} of repository {repo}: there is no such ref or commit; \
             `ostree --repo={repo} refs` lists the refs"
        )
    };
    let launcher = "looking for the launcher: the target has no /usr/bin/sysctr; give --add-launcher FILE, or \
         install the package that has sysctr";
    let nowhere = "opening repository nowhere: it does not exist; give the directory that `ostree init` made";
    for (repo, base, more, message) in [
        (repo, "nowhere", &[][..], missing("nowhere")),
        ("nowhere", "base", &[], nowhere.to_owned()),
        (repo, "base", &["--parent", "nowhere"], format!("finding the parent: {}", missing("nowhere"))),
        (repo, "base", &[], launcher.to_owned()),
    ] {
        let target = ["-m", "three.toml", "--repo", repo, "--base", base, "--ref", "host"];
        bench.run(&[&target[..], more].concat()).error(1, &message);
    }
    bench.run(&["list", "--repo", repo, "--ref", "host"]).error(1, &missing("host"));
    bench.run(&["remove", "one", "--repo", repo, "--ref", "host"]).error(1, &missing("host"));
    assert_eq!(files(repo.into()), before);
}

#[test]
fn what_no_commit_holds_is_refused_by_layer_and_path_before_anything_is_written() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    let odd = Image::odd().directory().join("oci");
    let manifest = format!(
        "group = 'g'\n[[container]]\nname = 'odd'\nimage = 'oci:{}:1'\nrun = {{ entrypoint = ['/bin/true'] }}\n",
        odd.display()
    );
    bench.manifest("odd", &manifest);
    let before = files(&repo);
    let launcher = Program::Launcher.path();
    let more = ["--add-launcher", launcher.to_str().unwrap(), "--repo", repo.as_str(), "--base", "base"];
    for verb in [&[][..], &["plan"]] {
        let ended = bench.run(&[verb, &["--ref", "host", "-m", "odd.toml"], &more].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
        let start = format!("sysctr-compose: embedding container odd from oci:{}:1: layer ", odd.display());
        let why = ": its name is not UTF-8, which OSTree can't hold; rename it in the image\n";
        assert!(ended.stderr.starts_with(&start) && ended.stderr.ends_with(why), "{}", ended.stderr);
    }
    assert_eq!(files(&repo), before);
    bench.compose(&repo, "base", "three", &[]).ok();
    assert_clean(&repo);
}

#[test]
fn modes_and_users_that_lose_something_are_refused() {
    let bench = Bench::new();
    let source = bench.repo("archive");
    let repo = bench.path().join("only");
    done(&mut ostree(&repo, &["init", "--mode=bare-user-only"]));
    // A pull refuses the host's setuid file; what is there is enough to be refused.
    for part in ["objects", "refs"] {
        let copy = ["-a", "--no-target-directory"];
        done(Command::new("cp").args(copy).arg(source.join(part)).arg(repo.join(part)));
    }
    let repo = crate::utf8(&repo);
    bench.compose(repo, "base", "three", &[]).error(
        1,
        &format!(
            "composing in repository {repo}: it has mode bare-user-only, which loses owners and setuid bits; \
             pull the base into a repository of mode archive or bare-user and compose there"
        ),
    );
}

#[test]
fn a_root_that_lost_an_object_is_made_from_its_image_and_the_commit_is_whole_again() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    bench.compose(&repo, "base", "three", &[]).ok();
    let whole = rev(&repo, "host");
    fs::remove_file(object(&repo, "/usr/lib/containers/atomic/one/rootfs/bin/true", "filez")).unwrap();
    // It notes that the commit is not whole.
    let fsck = ostree(repo.as_std_path(), &["fsck", "--quiet"]).output().unwrap();
    assert!(!fsck.status.success());
    bench.nightly(&repo);
    bench.compose(&repo, "nightly", "three", &[]).ok();
    bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
    bench.compose(&repo, "base", "three", &[]).ok();
    assert_eq!(rev(&repo, "host"), whole);
    assert_clean(&repo);
    let again = bench.compose(&repo, "base", "three", &[]).ok();
    assert!(again.stdout.ends_with("nothing to change\n"), "{}", again.stdout);
}

#[test]
fn without_a_note_too_a_root_that_lost_an_object_is_not_adopted() {
    let bench = Bench::new();
    let repo = bench.repo("bare-user");
    bench.compose(&repo, "base", "three", &[]).ok();
    fs::remove_file(object(&repo, "/usr/lib/containers/atomic/one/rootfs/bin/true", "file")).unwrap();
    bench.nightly(&repo);
    bench.compose(&repo, "nightly", "three", &[]).ok();
    bench.run(&["verify", "--repo", repo.as_str(), "--ref", "host"]).ok();
    assert_clean(&repo);
}

#[test]
fn a_ref_is_the_repositorys_own_whatever_its_name_reads_like() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    // The beginning of a checksum that is there.
    let short = rev(&repo, "base")[..2].to_owned();
    let launcher = Program::Launcher.path();
    let compose = |base: &str, reference: &str| {
        let target = ["-m", "three.toml", "--repo", repo.as_str(), "--base", base, "--ref", reference];
        bench.run(&[&target[..], &["--add-launcher", launcher.to_str().unwrap()]].concat()).ok()
    };
    compose("base", &short);
    let list = ["list", "--repo", repo.as_str(), "--format", "json", "--ref", &short];
    assert_eq!(bench.run(&list).json()["containers"].as_array().map(Vec::len), Some(3));
    bench.run(&["remove", "one", "--repo", repo.as_str(), "--ref", &short]).ok();
    assert_eq!(bench.run(&list).json()["containers"].as_array().map(Vec::len), Some(2));
    // A remote's ref of the same name is another.
    let made = printed(&mut ostree(repo.as_std_path(), &["rev-parse", "base"])).trim().to_owned();
    fs::create_dir_all(repo.join("refs/remotes/origin")).unwrap();
    fs::write(repo.join("refs/remotes/origin/other"), made + "\n").unwrap();
    bench.run(&["remove", "one", "--repo", repo.as_str(), "--ref", "other"]).error(
        1,
        &format!(
            "opening commit other of repository {repo}: there is no such ref or commit; \
             `ostree --repo={repo} refs` lists the refs"
        ),
    );
    compose("base", "other");
    assert!(repo.join("refs/heads/other").exists());
}
