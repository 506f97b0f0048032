//! Targets that are none, or must not be written by this program, this user, or now.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sysctr_tests::crafted::{self, Crafted, Packing, digest};
use sysctr_tests::{Command, Compose, Layer, Listing, Mtimes, Program, Root};

use crate::{MANIFEST, Stage, says};

fn stage() -> Stage {
    Stage::layer(&Layer::new().file("f", "x"))
}

#[test]
fn what_is_no_root() {
    let stage = stage();
    let at = |name: &str| stage.compose.work_dir().join(name);
    fs::write(at("file"), "").unwrap();
    fs::create_dir_all(at("empty")).unwrap();
    fs::create_dir_all(at("deployments/ostree/deploy/os")).unwrap();
    fs::create_dir_all(at("repository/ostree/repo")).unwrap();
    let physical = "it is a physical ostree sysroot: its systems are read-only checkouts in ostree/deploy; compose into a \
        commit of its repository and deploy that (--deployment does both), or into the commit alone (--repo \
        DIR/ostree/repo --base REV --ref REF)";
    for (name, why) in [
        ("missing", "it does not exist"),
        ("file", "it is not a directory"),
        ("empty", "it has no directory usr, so it is not the root of a system"),
        ("deployments", physical),
        ("repository", physical),
    ] {
        let message = format!("opening root {name}: {why}");
        let before = at(name).is_dir().then(|| Listing::of(&at(name)));
        let command = |verb: &[&str], more: &[&str]| {
            let command = Command::new(Program::Composer.path()).args(verb);
            command.args(["--sysroot", name]).args(more).in_dir(stage.compose.work_dir()).run()
        };
        for verb in [&[][..], &["plan"]] {
            says(command(verb, &["-m", "containers.toml"]), 1, &message);
        }
        for (verb, more) in [("list", &[][..]), ("verify", &[]), ("remove", &["it"])] {
            says(command(&[verb], more), 1, &message);
        }
        if let Some(before) = before {
            Listing::of(&at(name)).expect_same(&before, Mtimes::All);
        }
    }
    assert!(!at("missing").exists());
}

/// In a mount and process name space of its own, chrooted into a root that has the composer: `/` is that root.
fn in_chroot(root: &Root, setup: &str, command: &str) -> sysctr_tests::Output {
    let script = format!(
        "mount -t proc proc \"$0/proc\" && mount -t tmpfs tmpfs \"$0/run\" && cd \"$0\" && {setup} && \
         exec chroot . /bin/sh -c 'cd /tmp && PATH=/bin exec {command}'"
    );
    let unshare = Command::new("unshare").args(["--mount", "--pid", "--fork", "--kill-child"]);
    unshare.args(["sh", "-c", &script]).arg(root.path()).run()
}

/// A small root with a shell, in which the composer runs.
fn with_composer() -> Root {
    let root = Root::small();
    for directory in ["bin", "proc", "tmp"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    fs::copy(Program::Composer.path(), root.join("bin/sysctr-compose")).unwrap();
    let libraries = Command::new("ldd").arg(Program::Composer.path()).run().expect_ok().stdout();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(library, copy).unwrap();
    }
    root
}

#[test]
fn the_root_of_a_running_host_but_not_that_of_an_image_build() {
    let root = with_composer();
    let image = Crafted::one(&Layer::new().file("f", "x"));
    crafted::write(&image.layout(), &root.join("tmp/image"));
    fs::write(root.join("tmp/containers.toml"), MANIFEST).unwrap();
    fs::copy(Program::Launcher.path(), root.join("usr/bin/sysctr")).unwrap();
    let before = Listing::of(&root.path());
    let compose = "sysctr-compose --sysroot / -m containers.toml";
    let message = "opening root /: it is the root of a running host; `sysctr install` is the way to add a container there \
        (in the build of a container image, / is allowed)";
    for sign in ["mkdir -p run/systemd/system", "touch run/ostree-booted"] {
        says(in_chroot(&root, sign, compose), 1, message);
        says(in_chroot(&root, sign, "sysctr-compose remove it --sysroot /"), 1, message);
    }
    // Looking is allowed there.
    in_chroot(&root, "mkdir -p run/systemd/system", "sysctr-compose list --sysroot /").expect_ok();
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
    in_chroot(&root, "true", compose).expect_ok();
    assert!(root.bundle("it").join("rootfs/f").is_file());
}

#[test]
fn a_user_without_rights() {
    let stage = stage();
    let open =
        |path: std::path::PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(stage.root.path().parent().unwrap().to_owned());
    open(stage.compose.work_dir().to_owned());
    for program in [Program::Composer, Program::Launcher] {
        let name = program.path();
        fs::copy(&name, stage.compose.work_dir().join(name.file_name().unwrap())).unwrap();
    }
    let before = Listing::of(&stage.root.path());
    let run = |wrapper: &[&str], verb: &[&str], more: &[&str]| {
        let command =
            Command::new("./sysctr-compose").args(verb).arg("--sysroot").arg(stage.root.path()).args(more);
        let command = command.under(wrapper.iter().copied()).in_dir(stage.compose.work_dir());
        command.call(&stage.root.path(), "ROOT").run()
    };
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let compose = ["-m", "containers.toml", "--add-launcher", "sysctr"];
    let ways_out = "run as root, or in a user namespace that has all owners (podman unshare, unshare --map-auto \
        --map-root-user), or compose into a commit of an archive or bare-user repository (--repo), which needs \
    neither";
    let message = |missing: &str| {
        format!(
            "opening root ROOT: this user may not set the owners that images need ({missing} missing); {ways_out}"
        )
    };
    let all = "CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP";
    says(run(&nobody, &[], &compose), 1, &message(all));
    says(run(&nobody, &["remove"], &["it"]), 1, &message(all));
    says(run(&["setpriv", "--bounding-set=-setfcap"], &[], &compose), 1, &message("CAP_SETFCAP"));
    // A plan needs no rights.
    run(&nobody, &["plan"], &compose).expect_ok();
    Listing::of(&stage.root.path()).expect_same(&before, Mtimes::All);
}

#[test]
fn a_user_namespace_without_the_images_owners() {
    let mut image = Layer::new().file("f", "x").bytes();
    image[108..116].copy_from_slice(b"0001750\0");
    let sum: u32 = image[..512]
        .iter()
        .enumerate()
        .map(|(at, b)| if (148..156).contains(&at) { 32 } else { (*b).into() })
        .sum();
    image[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let image = Crafted::of(&[image], Packing::Gzip);
    let stage = Stage::with(&image.layout());
    let output = stage.compose.command().under(["unshare", "--user", "--map-root-user"]).run();
    says(
        output,
        1,
        "embedding container it from oci:image: user 1000 is not in this user namespace; run as root, or in a user \
         namespace that has all owners (podman unshare, unshare --map-auto --map-root-user), or compose into a commit of an \
         archive or bare-user repository (--repo), which needs neither",
    );
    stage.unchanged();
}

#[test]
fn a_read_only_root() {
    let stage = stage();
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let root = stage.root.path();
    let wrapper = ["unshare", "--mount", "sh", "-c", script, root.to_str().unwrap()];
    says(
        stage.compose.command().under(wrapper).run(),
        1,
        "opening root ROOT: usr/lib is on a read-only file system; mount it writable",
    );
    stage.compose.command_as(Some("plan")).under(wrapper).run().expect_ok();
    stage.unchanged();
}

#[test]
fn another_compose_at_work() {
    let stage = stage();
    let root = stage.root.path();
    let flock = |how| vec!["flock".to_owned(), how, root.to_str().unwrap().to_owned()];
    let exclusive = || flock("--exclusive".to_owned());
    let busy = "opening root ROOT: another sysctr-compose works on it; try again when it is done";
    says(stage.compose.command().under(exclusive()).run(), 1, busy);
    says(stage.compose.command().under(flock("--shared".to_owned())).run(), 1, busy);
    says(stage.compose.command_as(Some("plan")).under(exclusive()).run(), 1, busy);
    for verb in ["list", "verify"] {
        says(stage.verb(verb).command().under(exclusive()).run(), 1, busy);
        stage.verb(verb).command().under(flock("--shared".to_owned())).run().expect_ok();
    }
    says(stage.verb("remove").arg("it").command().under(exclusive()).run(), 1, busy);
    stage.unchanged();
}

/// On a file system that is too small for the image, then only for the launcher.
#[test]
fn a_full_disk() {
    const CONTENT: u64 = 4 << 20;
    let image = Crafted::one(&Layer::new().file("f", vec![7; 4 << 20]));
    let reading = format!("reading layer 1 of 1 ({})", digest(&image.layers[0]));
    let small = Root::small();
    let size = |path: &str| fs::metadata(small.join(path)).unwrap().len();
    let taken = size("usr/bin/runc") + size("usr/lib/systemd/systemd");
    let launcher = fs::metadata(Program::Launcher.path()).unwrap().len();
    for (free, why) in [
        (
            CONTENT / 2,
            format!(
                "embedding container it from oci:image: {reading}: storing \"/f\": writing a staged content"
            ),
        ),
        (
            CONTENT + launcher / 2,
            "writing into root ROOT, which is as it was: preparing usr/bin/sysctr".to_owned(),
        ),
    ] {
        let disk = tempfile::tempdir_in("/dev/shm").unwrap();
        // Listed inside, where the file system is seen.
        let script = "mount -t tmpfs -o size=$2 tmpfs \"$0\" && cp -a \"$1\" \"$0/root\" \
            && ls -lARn --full-time \"$0\" > before && { \"${@:3}\"; code=$?; \
            ls -lARn --full-time \"$0\" | diff before - >&2 || exit 99; exit $code; }";
        let (disk, small) = (disk.path(), small.path());
        let size = (taken + free).to_string();
        let wrapper = [
            "unshare",
            "--mount",
            "bash",
            "-c",
            script,
            disk.to_str().unwrap(),
            small.to_str().unwrap(),
            &size,
        ];
        let compose = Compose::into_dir(&disk.join("root")).manifest(MANIFEST).add_launcher();
        crafted::write(&image.layout(), &compose.work_dir().join("image"));
        let told = compose.command().under(wrapper).run();
        says(told, 1, &format!("{why}: No space left on device (os error 28)"));
    }
}
