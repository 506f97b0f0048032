//! Names and places that somebody else has.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use sysctr_tests::{Compose, Layer, Listing, Mtimes, Root};

use crate::{MANIFEST, Stage, says};

fn stage(settings: &str) -> Stage {
    let image = sysctr_tests::Crafted::one(&Layer::new().dir("bin").file("bin/true", "x"));
    Stage::of(&format!("{MANIFEST}{settings}\n")).put(&image.layout())
}

/// A file of the host's own, of a mode and a time of its own.
fn hosts(root: &Root, path: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "[Service]\nExecStart=/usr/bin/theirs\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let touch = sysctr_tests::Command::new("touch").args(["-d", "@1234567890.123456789"]).arg(&file);
    touch.run().expect_ok();
}

const UNIT: &str = "usr/lib/systemd/system/it.service";

#[test]
fn a_unit_of_the_host() {
    let kept = stage("");
    hosts(&kept.root, UNIT);
    kept.settle().refuses(
        "placing container it: /usr/lib/systemd/system/it.service exists in the target; choose another name, or set \
         `unit.replace = true` to put it aside",
    );
    let replacing = stage("unit = { replace = true }");
    hosts(&replacing.root, UNIT);
    symlink("../theirs.service", replacing.root.join("usr/lib/systemd/system/theirs.target.wants")).unwrap();
    let replacing = replacing.settle();
    replacing.compose.run().expect_ok();
    assert!(fs::read_to_string(replacing.root.join(UNIT)).unwrap().contains("sysctr"));
    assert!(replacing.root.bundle("it").join("replaced.service").is_file());
    replacing.verb("verify").run().expect_ok();
    // Composed again, and with other settings, the host's unit still waits.
    let again = replacing.compose.run().expect_ok();
    assert!(again.stdout().ends_with("nothing to change\n"));
    fs::write(
        replacing.compose.work_dir().join("containers.toml"),
        format!("{MANIFEST}unit = {{ replace = true }}\nset = {{ A = 'b' }}\n"),
    )
    .unwrap();
    replacing.compose.run().expect_ok();
    replacing.verb("remove").arg("it").arg("--launcher").run().expect_ok();
    replacing.unchanged();
}

#[test]
fn a_unit_of_the_host_that_is_a_link_or_a_directory() {
    let masked = || {
        let stage = stage("unit = { replace = true }");
        symlink("/dev/null", stage.root.join(UNIT)).unwrap();
        stage.settle()
    };
    let stage_masked = masked();
    stage_masked.compose.run().expect_ok();
    stage_masked.verb("remove").arg("it").arg("--launcher").run().expect_ok();
    Listing::of(&stage_masked.root.path()).expect_same(&stage_masked.before, Mtimes::All);
    let directory = stage("unit = { replace = true }");
    fs::create_dir(directory.root.join(UNIT)).unwrap();
    directory.settle().refuses(
        "placing container it: /usr/lib/systemd/system/it.service exists in the target; choose another name, or set \
         `unit.replace = true` to put it aside",
    );
}

/// Links in the target may lead anywhere: that is beneath the target, and removing it leaves nothing behind.
#[test]
fn a_home_that_is_a_link_leads_beneath_the_root() {
    let linked = stage("");
    fs::create_dir(linked.root.join("elsewhere")).unwrap();
    symlink("/../../../elsewhere", linked.root.join("usr/lib/containers")).unwrap();
    let linked = linked.settle();
    linked.compose.run().expect_ok();
    assert!(linked.root.join("elsewhere/atomic/it/rootfs/bin/true").is_file());
    linked.verb("verify").run().expect_ok();
    linked.verb("remove").arg("it").arg("--launcher").run().expect_ok();
    linked.unchanged();
}

#[test]
fn other_places_that_are_taken() {
    for (path, why) in [
        ("usr/lib/systemd/system-preset/50-sysctr-it.preset", "choose another name"),
        (
            "usr/lib/systemd/system/multi-user.target.wants/it.service",
            "choose another name, or set `unit.replace = true` to \
            put it aside",
        ),
    ] {
        let stage = stage("");
        hosts(&stage.root, path);
        stage.settle().refuses(&format!("placing container it: /{path} exists in the target; {why}"));
    }
    let stage_taken = stage("");
    hosts(&stage_taken.root, "usr/lib/containers/atomic/it/config.json");
    stage_taken.settle().refuses(
        "placing container it: /usr/lib/containers/atomic/it exists in the target, but embedded.json does not list it; remove \
         it",
    );
    let file = stage("");
    fs::write(file.root.join("usr/lib/containers"), "").unwrap();
    file.settle().refuses("reading what is embedded: /usr/lib/containers of the target is not a directory");
    let file = stage("");
    fs::write(file.root.join("usr/lib/systemd/system-preset"), "").unwrap();
    file.settle().refuses(
        "placing /usr/lib/systemd/system-preset/50-sysctr-it.preset: /usr/lib/systemd/system-preset of the target is not a \
         directory",
    );
}

#[test]
fn a_name_of_another_group() {
    let stage = stage("");
    stage.compose.run().expect_ok();
    let stage = stage.settle();
    let other = Compose::into(&stage.root).manifest(MANIFEST.replace("'g'", "'h'"));
    sysctr_tests::crafted::write(
        &sysctr_tests::Crafted::one(&Layer::new()).layout(),
        &other.work_dir().join("image"),
    );
    for verb in [None, Some("plan")] {
        says(
            other.command_as(verb).run(),
            1,
            "placing container it of group h: the name belongs to group g; choose another name, or remove that container first",
        );
    }
    stage.unchanged();
}

/// A container whose unit or link would be the file of another.
#[test]
fn two_containers_that_want_one_place() {
    let stage =
        stage("[[container]]\nname = 'other'\nimage = 'oci:image'\nunit = { template = 'other.service' }");
    let text = "[Service]\nExecStart=/usr/bin/sysctr run other\n[Install]\nAlias=it.service\n";
    fs::write(stage.compose.work_dir().join("other.service"), text).unwrap();
    stage.refuses(
        "placing container other: /usr/lib/systemd/system/it.service belongs to container it already",
    );
}
