//! `--sysroot DIR --deployment`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sysctr_tests::{Boot, Command, Image, Program};

use crate::Host;

fn hello() -> String {
    Image::hello().reference()
}

#[test]
fn what_is_deployed_keeps_its_settings_and_runs_the_containers() {
    let host = Host::deployed();
    let before = host.rev("debian/host");
    let etc = host.deployment().join("etc");
    fs::write(etc.join("mine.conf"), "mine\n").unwrap();
    fs::set_permissions(etc.join("mine.conf"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(etc.join("hostname"), "changed\n").unwrap();
    fs::remove_file(etc.join("issue")).unwrap();

    let plan = Command::new(Program::Composer.path())
        .args(["plan", "--deployment", "--sysroot"])
        .arg(host.sysroot());
    let plan = plan.args([&hello(), "--name", "hello", "--add-launcher"]).arg(Program::Launcher.path()).run();
    assert!(plan.expect_ok().stdout().contains("ref     sysctr/debian of "));
    assert_eq!(host.deployments(), [(before.clone(), "debian/host".to_owned())]);

    let report = host.compose(&[&hello(), "--name", "hello", "--format", "json"]).expect_ok().stdout();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let composed = host.rev("sysctr/debian");
    let at = format!("ostree/deploy/debian/deploy/{composed}.0");
    assert_eq!(
        (&report["commit"]["base"], &report["commit"]["deployment"]),
        (&before.as_str().into(), &at.into())
    );
    let expected =
        [(composed.clone(), "sysctr/debian".to_owned()), (before.clone(), "debian/host".to_owned())];
    assert_eq!(host.deployments(), expected);
    assert_eq!(host.rev("debian/host"), before);
    assert_eq!(host.kernel_arguments(), "root=LABEL=root quiet console=ttyS0,115200");
    let etc = host.deployment().join("etc");
    assert_eq!(fs::read_to_string(etc.join("mine.conf")).unwrap(), "mine\n");
    assert_eq!(fs::metadata(etc.join("mine.conf")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_to_string(etc.join("hostname")).unwrap(), "changed\n");
    assert!(!etc.join("issue").exists());
    host.repo(&["fsck", "--quiet"]).expect_ok();

    // There the sysroot is the running host's.
    let composer = Program::Composer.path();
    let sysroot = format!("--bind={}:/sysroot", host.sysroot().display());
    let composer = format!("--bind-ro={}:/run/composer", composer.display());
    let boot = Boot::at(host.deployment()).nspawn(sysroot).nspawn(composer).run(
        r#"
        for path in / /sysroot /run/bound; do
          [ -d $path ] || { mkdir $path; mount --bind /sysroot $path; }
          ! told=$(/run/composer --sysroot $path --deployment oci:/nowhere --name x 2>&1) || fail "composed in $path"
          [[ $told == *"it is the root of a running host; "* ]] || fail "$path: $told"
        done
        wait_for has_state hello.service active
        wait_for fetch 8081
        fetch 8081 | tail -n 1
        cat /etc/mine.conf
        expect "failed units" "$(systemctl --failed --no-legend | wc -l)" 0
        "#,
    );
    assert_eq!(boot.expect_ok().text, "sysctr demo: hello from a container with four entries\nmine\n");
}

#[test]
fn again_changes_nothing_and_what_was_cut_off_is_completed() {
    let host = Host::deployed();
    let before = host.deployments();
    host.compose(&[&hello(), "--name", "hello"]).expect_ok();
    let (composed, after) = (host.rev("sysctr/debian"), host.deployments());
    let again = host.compose(&[&hello(), "--name", "hello"]).expect_ok();
    assert!(again.stdout().ends_with("nothing to change\n"), "{}", again.stdout());
    assert_eq!((host.rev("sysctr/debian"), host.deployments()), (composed.clone(), after.clone()));
    // As a kill between the ref and the deployment leaves it.
    host.admin(&["undeploy", "0"]).expect_ok();
    assert_eq!(host.deployments(), before);
    let again = host.compose(&[&hello(), "--name", "hello"]).expect_ok();
    assert!(again.stdout().ends_with("done\n"), "{}", again.stdout());
    assert_eq!((host.rev("sysctr/debian"), host.deployments()), (composed, after));
    // A second container: the first one's deployment is the one before.
    let other = [&hello(), "--name", "other", "--set", "PORT=8081"];
    host.compose(&[&other[..], &["--ref", "mine/host", "--parent", "sysctr/debian"]].concat()).expect_ok();
    let found = host.deployments();
    assert_eq!(found[0], (host.rev("mine/host"), "mine/host".to_owned()));
    assert_eq!(found[1], (host.rev("sysctr/debian"), "sysctr/debian".to_owned()));
    host.repo(&["fsck", "--quiet"]).expect_ok();
}

#[test]
fn an_origin_elsewhere_gives_way_only_when_told() {
    let host = Host::deployed();
    let before = host.deployments();
    host.repo(&["remote", "add", "--no-gpg-verify", "origin", "file:///nowhere"]).expect_ok();
    let rev = host.rev("debian/host");
    host.repo(&["refs", "--create=origin:debian/host", &rev]).expect_ok();
    host.admin(&["set-origin", "--index=0", "origin", "file:///nowhere", "debian/host"]).expect_ok();
    let refused = host.compose(&[&hello(), "--name", "hello"]);
    let message = "sysctr-compose: composing for stateroot debian: its deployment follows origin:debian/host, and the next \
         upgrade would take that and lose the containers; --detach-origin makes it follow ref sysctr/debian instead, \
         which composes move\n";
    assert_eq!((refused.code(), refused.stderr().as_str()), (1, message));
    assert_eq!(host.deployments()[0].0, before[0].0);
    host.compose(&[&hello(), "--name", "hello", "--detach-origin"]).expect_ok();
    let found = host.deployments();
    assert_eq!(found[0].1, "sysctr/debian");
    assert_eq!(found[1], (rev, "origin:debian/host".to_owned()));
    // It follows the composed ref now.
    host.compose(&[&hello(), "--name", "hello", "--subject", "another"]).expect_ok();
}

#[test]
fn when_it_cannot_be_deployed_ref_and_deployments_are_as_before() {
    let host = Host::deployed();
    let deployed = host.deployments();
    let refs = || host.repo(&["refs"]).expect_ok().stdout();
    let before = refs();
    let fails = |more: &[&str]| {
        let failed = host.compose(&[&[&hello(), "--name", "hello"], more].concat());
        assert_eq!(failed.code(), 1, "{}", failed.stdout());
        let stderr = failed.stderr();
        assert!(stderr.starts_with("sysctr-compose: deploying commit "), "{stderr}");
        let told = stderr.contains(", whose deployments are as they were: ") && stderr.lines().count() == 1;
        assert!(told, "{stderr}");
    };
    let checkouts = || {
        let all = fs::read_dir(host.sysroot().join("ostree/deploy/debian/deploy")).unwrap();
        all.filter(|entry| entry.as_ref().is_ok_and(|it| it.file_type().unwrap().is_dir())).count()
    };
    // No ref was there, and the entries can't be written at the very end.
    let boot = host.sysroot().join("boot");
    Command::new("chattr").arg("+i").arg(&boot).run().expect_ok();
    fails(&[]);
    Command::new("chattr").arg("-i").arg(&boot).run().expect_ok();
    assert_eq!((refs(), host.deployments(), checkouts()), (before, deployed, 1));
    host.compose(&[&hello(), "--name", "hello"]).expect_ok();
    // The ref names a commit, and the links that are to be made beside those in use can't be.
    let (composed, deployed) = (host.rev("sysctr/debian"), host.deployments());
    let block = r#"cd "$1"; used=$(readlink boot.[01]); other=${used%?}$((1 - ${used: -1}))
        mkdir -p $other; : >$other/x; chattr +i $other; echo $other"#;
    let ostree = host.sysroot().join("ostree");
    let blocked = Command::new("bash").args(["-euc", block, "block"]).arg(&ostree).run().expect_ok().stdout();
    fails(&["--set", "PORT=9"]);
    assert_eq!((host.rev("sysctr/debian"), host.deployments()), (composed, deployed));
    Command::new("chattr").arg("-i").arg(ostree.join(blocked.trim())).run().expect_ok();
    // What could not be cleared is by the next one.
    host.compose(&[&hello(), "--name", "hello", "--set", "PORT=9"]).expect_ok();
    assert_eq!(checkouts(), 2);
    host.repo(&["fsck", "--quiet"]).expect_ok();
}

#[test]
fn what_is_no_sysroot_to_deploy_in_is_refused() {
    let host = Host::empty();
    let sysroot = host.sysroot();
    let opening = format!("sysctr-compose: opening the deployments of sysroot {}: ", sysroot.display());
    let refused = |more: &[&str], why: &str| {
        let failed = host.compose(&[&[&hello(), "--name", "hello"], more].concat());
        assert_eq!((failed.code(), failed.stderr()), (1, format!("{opening}{why}\n")));
    };
    refused(&[], "nothing is deployed there; `ostree admin deploy` makes a first deployment");
    fs::remove_dir_all(sysroot.join("ostree/deploy")).unwrap();
    refused(&[], "it has no directory ostree/deploy; `ostree admin init-fs` and `os-init` make a sysroot");
    let host = Host::deployed();
    let failed = host.compose(&[&hello(), "--name", "hello", "--stateroot", "fedora"]);
    let why = ": stateroot fedora has no deployment; there are deployments of debian\n";
    assert!(failed.code() == 1 && failed.stderr().ends_with(why), "{}", failed.stderr());
}
