//! Images and settings that do not make a container, each by itself right.

use serde_json::json;
use sysctr_tests::Layer;
use sysctr_tests::crafted::Crafted;

use crate::{MANIFEST, Stage};

const PREPARING: &str = "embedding container it from oci:image: preparing container it";

fn image() -> Crafted {
    let layer =
        Layer::new().dir("bin").file("bin/true", "x").dir("etc").file("etc/passwd", "joe:x:7:7::/:\n");
    Crafted::one(&layer.file("file", "").symlink("loop", "loop"))
}

fn stage(settings: &str, image: &Crafted) -> Stage {
    Stage::of(&format!("{MANIFEST}{settings}\n")).put(&image.layout())
}

#[test]
fn nothing_to_run() {
    let mut image = image();
    image.config["config"] = json!({});
    stage("", &image).refuses(&format!(
        "{PREPARING}: there is nothing to run: the image has neither Entrypoint nor Cmd; give run.entrypoint"
    ));
    stage("run = { entrypoint = [] }", &image).refuses(&format!(
        "{PREPARING}: there is nothing to run: the image has neither Entrypoint nor Cmd; give run.entrypoint"
    ));
}

#[test]
fn users_that_the_image_does_not_know() {
    let by_image = |user: &str| {
        let mut image = image();
        image.config["config"]["User"] = json!(user);
        stage("", &image)
    };
    by_image("jim").refuses(&format!(
        "{PREPARING}: the image's User: user \"jim\" is not in the image's /etc/passwd; give one that is, or a number"
    ));
    by_image("joe:staff").refuses(&format!(
        "{PREPARING}: the image's User: group \"staff\" can't be looked up: the image has no /etc/group; give a number"
    ));
    by_image("4294967295").refuses(&format!(
        "{PREPARING}: the image's User: 4294967295 is not the number of a user or group: they go from 0 to 4294967294"
    ));
    stage("run = { user = 'ann' }", &image()).refuses(&format!(
        "{PREPARING}: run.user: user \"ann\" is not in the image's /etc/passwd; give one that is, or a number"
    ));
}

#[test]
fn mount_targets_that_can_t_be() {
    let mount = |target: &str| {
        let mount = format!("run = {{ mounts = [{{ source = '/srv', target = '{target}' }}] }}");
        stage(&mount, &image())
    };
    mount("/file/below").refuses(&format!("{PREPARING}: run.mounts[0].target: path \"/file/below\" leads through \"/file\", which is not a directory"));
    mount("/loop/x").refuses(&format!(
        "{PREPARING}: run.mounts[0].target: path \"/loop\" leads through more than 40 symbolic links"
    ));
    mount("/").refuses(&format!(
        "{PREPARING}: run.mounts[0].target: nothing can be mounted on the root; it is the image's"
    ));
    stage("run = { tmpfs = ['/file/x'] }", &image()).refuses(&format!(
        "{PREPARING}: run.tmpfs[0]: path \"/file/x\" leads through \"/file\", which is not a directory"
    ));
    stage("run = { volumes = { '/file/x' = '/var/lib/x' } }", &image()).refuses(&format!("{PREPARING}: run.volumes.\"/file/x\": path \"/file/x\" leads through \"/file\", which is not a directory"));
    stage("run = { cwd = '/file/x' }", &image()).refuses(&format!(
        "{PREPARING}: run.cwd: path \"/file/x\" leads through \"/file\", which is not a directory"
    ));
    stage("run = { cwd = '/file' }", &image())
        .refuses(&format!("{PREPARING}: run.cwd: \"/file\" is a file in the image, not a directory"));
    let mut volume = image();
    volume.config["config"]["Volumes"] = json!({"relative": {}});
    stage("", &volume).refuses(&format!(
        "{PREPARING}: the image's volume \"relative\": \"relative\" is not an absolute path without `..`"
    ));
    let mut cwd = image();
    cwd.config["config"]["WorkingDir"] = json!("relative");
    stage("", &cwd).refuses(&format!(
        "{PREPARING}: the image's WorkingDir; give run.cwd: \"relative\" is not an absolute path without `..`"
    ));
}

#[test]
fn a_runtime_that_the_target_lacks() {
    let install = "install it there, or name another with `runtime`";
    stage("runtime = 'crun'", &image()).refuses(&format!(
        "looking for the runtime of container it: the target has no program /usr/bin/crun or /usr/sbin/crun; {install}"
    ));
    stage("runtime = '/opt/runc'", &image()).refuses(&format!(
        "looking for the runtime of container it: the target has no program /opt/runc; {install}"
    ));
    stage("runtime = '../bin/runc'", &image()).refuses(
        "looking for the runtime of container it: \"/usr/bin/../bin/runc\" is not an absolute path without `..`",
    );
}

#[test]
fn templates_that_fail() {
    let template = |text: &str| {
        let stage = stage("unit = { template = 'my.service' }", &image());
        std::fs::write(stage.compose.work_dir().join("my.service"), text).unwrap();
        stage
    };
    let variables = "after, before, conflicts, cpu_quota, credentials, default_dependencies, description, devices, \
        documentation, health, kill_signal, launcher, memory_max, name, phase, pid_file, required_by, requires, requires_mounts_for, \
        restart, restart_force_exit_status, set, success_exit_status, tasks_max, timeout_start, timeout_stop, type, wanted_by";
    for (text, why) in [
        (
            "[Service]\nExecStart={{ launchr }} run {{ name }}\n",
            format!("my.service:2:14: Variable `launchr` is not defined. Available variables: {variables}"),
        ),
        ("{{ set.MISSING }}", "my.service:1:8: Field `MISSING` is not defined.".to_owned()),
        ("[Service]\nExecStart={{ launcher\n", "my.service:2:22: Unexpected end of input".to_owned()),
        ("{% include \"/etc/passwd\" %}", "my.service:1:12: Unknown template `/etc/passwd`".to_owned()),
    ] {
        template(text).refuses(&format!("{PREPARING}: rendering the unit: {why}"));
    }
    template("").refuses(&format!(
        "{PREPARING}: the unit has no ExecStart= in a section [Service]; mend the template"
    ));
}

#[test]
fn settings_that_no_unit_can_have() {
    stage("unit = { after = ['not a unit'] }", &image()).misunderstands(
        "containers.toml:5:18: \"not a unit\" is not a unit's name with its suffix, such as network.target",
    );
    stage("unit = { credentials = ['a/b:/x'] }", &image()).refuses(&format!(
        "{PREPARING}: unit.credentials[0]: \"a/b\" is not a credential's name: letters, digits, `.`, `_` and `-`"
    ));
    stage("unit = { environment_files = ['relative'] }", &image())
        .misunderstands("containers.toml:5:30: \"relative\" is not an absolute path without `..`");
    stage("run = { seccomp = 'profile.json' }", &image())
        .misunderstands("containers.toml:3:8: run.seccomp: there is no file ./profile.json");
}

/// Where an image has its user database is its own business; a plan finds what a compose finds.
#[test]
fn a_user_database_by_another_name() {
    let users = "joe:x:7:7::/:\n";
    for layer in [
        Layer::new().dir("etc").symlink("etc/passwd", "../lib/users").dir("lib").file("lib/users", users),
        Layer::new().dir("etc").file("etc/users", users).hardlink("etc/passwd", "etc/users"),
    ] {
        let mut image = Crafted::one(&layer);
        image.config["config"]["User"] = json!("joe");
        let stage = stage("", &image);
        stage.run_as(Some("plan")).expect_ok();
        stage.unchanged();
        stage.run_as(None).expect_ok();
    }
}

#[test]
fn a_user_database_that_is_none() {
    let too_large = Crafted::one(&Layer::new().file("etc/passwd", vec![b'x'; (1 << 20) + 1]));
    stage("", &too_large).refuses(
        "embedding container it from oci:image: reading /etc/passwd of the image: it has 1048577 bytes, more than 1048576",
    );
    let device = Crafted::one(&Layer::new().member(b'3', "etc/passwd", "", 0));
    let mut named = device.clone();
    named.config["config"]["User"] = json!("joe");
    stage("", &named).refuses(&format!(
        "{PREPARING}: the image's User: user \"joe\" can't be looked up: the image has no /etc/passwd; give a number"
    ));
}
