//! The manifest's word over what images made for `atomic install --system` bring, several containers of one image, and
//! roots that change after a compose; by the real program, and run by the real runtimes.

mod lint;

use std::fs;

use serde_json::{Value, json};
use sysctr_tests::runtime::Session;
use sysctr_tests::unit::Unit;
use sysctr_tests::{Boot, Command, Compose, Image, Listing, Mtimes, Output, Root, source_dir};

fn container(name: &str, shape: &'static str, more: &str) -> String {
    format!("[[container]]\nname = '{name}'\nimage = '{}'\n{more}\n", Image::exports(shape).in_manifest())
}

fn compose(root: &Root, containers: &str) -> Compose {
    let manifest = format!("group = 'g'\n{containers}");
    Compose::into(root).manifest(manifest).with(&Image::exports("serve")).add_launcher()
}

fn config(root: &Root, name: &str) -> Value {
    let bytes = fs::read(root.bundle(name).join("config.json")).expect("a configuration");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn valid(root: &Root, name: &str) {
    let mut validate = Command::new("/usr/bin/python3").args(["-W", "ignore"]);
    validate = validate.arg(source_dir().join("tests/support/validate.py"));
    validate.arg(root.bundle(name).join("config.json")).run().expect_ok();
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]);
    let verify = verify.arg(format!("--root={}", root.path().display())).arg(format!("{name}.service"));
    let verdict = verify.run().expect_ok();
    assert_eq!((verdict.stdout(), verdict.stderr()), (String::new(), String::new()));
    Compose::into(root).verb("verify").run().expect_ok();
}

fn removed(root: &Root, names: &[&str]) -> Output {
    let remove = Compose::into(root).verb("remove").arg("--launcher");
    names.iter().fold(remove, |remove, name| remove.arg(name)).run().expect_ok()
}

const OVER: &str = "
[container.run]
args = ['write=/scratch/w', 'write=/host/none', 'serve=8123']
env = { MINE = 'yes', PATH = '' }
cwd = '/bin'
user = '7:8'
hostname = 'mine'
cap_drop = ['ALL']
cap_add = ['KILL']
no_new_privileges = true
seccomp = 'default'
tmpfs = ['/scratch']
mounts = [{ source = '/usr/share/serve', target = '/host', ro = true }]
rlimits = { NOFILE = 99 }
stop_signal = 'SIGKILL'
stop_timeout = '3s'
[container.limits]
memory = '64M'
pids = 20
[container.unit]
after = ['time-sync.target']
restart = 'always'
wanted_by = ['basic.target']
environment_files = ['/etc/serve.env']
";

#[test]
fn settings_over_an_own_configuration_and_unit_are_valid_and_run() {
    let root = Root::debian();
    let before = Listing::of(&root.path());
    compose(&root, &container("serve", "serve", OVER)).run().expect_ok();
    valid(&root, "serve");
    let config = config(&root, "serve");
    assert_eq!(
        config["process"]["args"],
        json!(["/bin/payload", "write=/scratch/w", "write=/host/none", "serve=8123"])
    );
    let unit = Unit::of(&root.path(), "serve");
    for (key, value) in [
        ("MemoryMax", "64M"),
        ("TasksMax", "148"),
        ("After", "time-sync.target"),
        ("Restart", "always"),
        ("WantedBy", "basic.target"),
        ("TimeoutStopSec", "8s"),
        ("SuccessExitStatus", "137 SIGKILL"),
        ("KillSignal", "SIGKILL"),
        ("DevicePolicy", "closed"),
    ] {
        assert!(unit.all(key).contains(&value), "{key}={value} in\n{}", unit.text());
    }
    assert_eq!(unit.all("RequiresMountsFor"), ["/etc/serve.env", "/usr/share/serve"]);
    assert!(root.join("usr/lib/systemd/system/basic.target.wants/serve.service").exists());
    assert!(!root.join("usr/lib/systemd/system/multi-user.target.wants/serve.service").exists());

    fs::write(root.join("etc/machine-id"), "1".repeat(32) + "\n").unwrap();
    fs::write(root.join("etc/serve.env"), "MINE=admin\n").unwrap();
    let session = Session::new().boot("serve").start(&unit).fetch(8123);
    let look = "p=$(cat /run/sysctr/serve/pid); tr '\\0' '\\n' </proc/$p/environ; nsenter -t $p -u hostname; readlink /proc/$p/cwd; \
        grep -E '^(Uid|Gid|CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/$p/status | tr '\\t' ' '; grep 'open files' /proc/$p/limits; \
        ls /proc/$p/root/host";
    let said = session.shell(look).stop(&unit).run_in(&root.path()).expect_ok().stdout();
    for line in [
        "MINE=admin",
        "mine",
        "write=/scratch/w: ok",
        "Uid: 7 7 7 7",
        "Gid: 8 8 8 8",
        "CapBnd: 0000000000000020",
        "CapEff: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "large",
    ] {
        assert!(said.lines().any(|own| own == line), "{line} in\n{said}");
    }
    assert!(said.lines().any(|line| line.ends_with("/bin")), "{said}");
    let limit = said.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    assert_eq!(limit.split_whitespace().collect::<Vec<_>>()[3..5], ["99", "99"], "{said}");
    assert!(said.lines().any(|line| line.starts_with("ID=")) && !said.contains("PATH="), "{said}");
    removed(&root, &["serve"]);
    fs::remove_file(root.join("etc/serve.env")).unwrap();
    fs::write(root.join("etc/machine-id"), "").unwrap();
    Listing::of(&root.path()).expect_same(&before, Mtimes::None);
}

#[test]
fn what_an_image_cannot_heed_is_refused_by_name() {
    let root = Root::debian();
    let before = Listing::of(&root.path());
    for (shape, more, message) in [
        (
            "files-only",
            "limits = { pids = 3 }",
            "limits.pids means nothing here: the image is files for the host only (noContainerService), so nothing is \
             started; take it out",
        ),
        (
            "azure",
            "run = { args = ['x'] }",
            "run.args means nothing here: exports/service.template of the image does not start the container \
             ($EXEC_START); take it out",
        ),
        (
            "wanted",
            "run = { hostname = 'x' }",
            "run.hostname: the image's own configuration has no UTS namespace, so the host itself would get the name; \
             take it out",
        ),
        (
            "once",
            "unit = { restart = 'always' }",
            "unit.restart: the unit runs to its end (Type=oneshot in exports/service.template, or the label \
             atomic.run=once), where systemd refuses Restart=always; choose another",
        ),
    ] {
        let refused = compose(&root, &container("it", shape, more)).run().expect_code(1);
        let error = refused.stderr();
        assert!(error.trim_end().ends_with(message) && error.trim_end().lines().count() == 1, "{error}");
    }
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
}

#[test]
fn another_root_of_the_host_runs() {
    let root = Root::debian();
    compose(&root, &container("serve", "serve", "")).run().expect_ok();
    let copy =
        Command::new("cp").arg("-a").arg(root.bundle("serve").join("rootfs")).arg(root.join("srv/tree"));
    copy.run().expect_ok();
    fs::write(root.join("srv/tree/marker"), "of the host").unwrap();
    compose(&root, &container("serve", "serve", "rootfs = '/srv/tree'")).run().expect_ok();
    valid(&root, "serve");
    assert_eq!(root.record("serve")["tree"]["mount_targets"], Value::Null);
    fs::write(root.join("etc/machine-id"), "1".repeat(32) + "\n").unwrap();
    let unit = Unit::of(&root.path(), "serve");
    let session = Session::new().boot("serve").start(&unit).fetch(8080);
    let session = session.shell("cat /proc/$(cat /run/sysctr/serve/pid)/root/marker");
    let said = session.stop(&unit).run_in(&root.path()).expect_ok().stdout();
    assert!(said.contains("of the host"), "{said}");
}

#[test]
fn several_containers_of_one_image_and_equal_files_of_several() {
    let root = Root::debian();
    let before = Listing::of(&root.path());
    let two = [container("one", "etcd", ""), container("two", "etcd", "set = { ETCD_NAME = 'b' }")].concat();
    compose(&root, &two).run().expect_ok();
    for name in ["one", "two"] {
        valid(&root, name);
        assert!(root.join(format!("etc/{name}/etcd.conf")).is_file());
        assert!(root.join(format!("usr/local/bin/{name}ctl")).is_file());
    }
    assert_ne!(config(&root, "one")["process"]["env"], config(&root, "two")["process"]["env"]);
    removed(&root, &["one", "two"]);
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);

    // Both bring /etc/kubernetes/config.
    let both = |more: &str| {
        let shapes = ["kubernetes-scheduler", "kubernetes-controller-manager"];
        shapes.map(|shape| container(shape, shape, more)).concat()
    };
    let refused = compose(&root, &both("")).run().expect_code(1);
    assert!(refused.stderr().contains("/etc/kubernetes/config belongs to container"), "{}", refused.story());
    let composer = compose(&root, &both("allow_conflicts = ['/etc/kubernetes/config']"));
    let told = composer.run().expect_ok();
    assert!(told.stdout().contains("uid 996"), "{}", told.story());
    Compose::into(&root).verb("verify").run().expect_ok();
    assert!(composer.run().expect_ok().stdout().ends_with("nothing to change\n"));
    Compose::into(&root).verb("remove").arg("kubernetes-scheduler").run().expect_ok();
    assert!(root.join("etc/kubernetes/config").is_file() && !root.join("etc/kubernetes/scheduler").exists());
    Compose::into(&root).verb("verify").run().expect_ok();
    removed(&root, &["kubernetes-controller-manager"]);
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
}

#[test]
fn a_directory_of_the_host_stays_and_that_is_told() {
    let root = Root::debian();
    fs::create_dir(root.join("etc/serve")).unwrap();
    let told = compose(&root, &container("serve", "serve", "")).verb("plan").run().expect_ok();
    let sentence = "the target's own directory /etc/serve stays 0755 0:0, where the image has 0750 7:8";
    assert!(told.stdout().contains(sentence), "{}", told.story());
    let more = "allow_conflicts = ['/etc/serve']";
    let quiet = compose(&root, &container("serve", "serve", more)).run().expect_ok();
    assert!(!quiet.stdout().contains("stays 0755"), "{}", quiet.story());
}

#[test]
fn host_files_are_found_where_rpm_ostree_moves_etc_to() {
    let root = Root::debian();
    fs::create_dir(root.join("etc/serve")).unwrap();
    fs::write(root.join("etc/serve/secret"), "the host's").unwrap();
    let with = |port: u16| {
        let more =
            format!("allow_conflicts = ['/etc/serve/secret', '/etc/serve']\nset = {{ PORT = '{port}' }}");
        compose(&root, &container("serve", "serve", &more))
    };
    let move_etc = |root: &Root| fs::rename(root.join("etc"), root.join("usr/etc")).unwrap();
    let other = Root::debian();
    fs::create_dir(other.join("etc/serve")).unwrap();
    fs::write(other.join("etc/serve/secret"), "the host's").unwrap();
    move_etc(&other);
    let before = Listing::of(&other.path());

    with(1).run().expect_ok();
    move_etc(&root);
    Compose::into(&root).verb("verify").run().expect_ok();
    assert!(with(1).run().expect_ok().stdout().ends_with("nothing to change\n"));
    let rendered = root.join("usr/etc/serve/rendered");
    assert_eq!(fs::read_to_string(&rendered).unwrap(), "port 1 of serve\n");
    with(2).run().expect_ok();
    assert_eq!(fs::read_to_string(&rendered).unwrap(), "port 2 of serve\n");
    Compose::into(&root).verb("verify").run().expect_ok();
    removed(&root, &["serve"]);
    assert_eq!(fs::read_to_string(root.join("usr/etc/serve/secret")).unwrap(), "the host's");
    Listing::of(&root.path()).expect_same(&before, Mtimes::None);
}

#[test]
fn a_tree_that_a_program_of_the_host_uses_needs_no_program_of_its_own() {
    let root = Root::debian();
    compose(&root, &container("azure", "azure", "limits = { pids = 5 }")).run().expect_ok();
    Compose::into(&root).verb("verify").run().expect_ok();
    assert!(!root.bundle("azure").join("config.json").exists());
    let unit = Unit::of(&root.path(), "azure");
    assert!(unit.one("ExecStart").starts_with("/usr/bin/python"), "{}", unit.text());
    assert_eq!((unit.one("TasksMax"), unit.all("DevicePolicy").len()), ("5", 0));
}

/// A root with host files of the machine: in `/etc`, in `/usr`, and below `/var`.
#[test]
fn a_boot_makes_files_of_the_machine_and_starts_by_own_units() {
    let root = Root::debian();
    let wanted = "unit = { credentials = ['key:/etc/key'] }\nlimits = { pids = 50 }\n[container.run]\nenv = { A = 'manifest' }\n\
        args = ['write=/data/written', 'open=/run/credentials/key', 'serve=8090']";
    let crun = "runtime = 'crun'\nenable = false\nunit = { notify = true }\nrun = { args = ['ready', 'serve=8091'] }";
    let both = [
        container("wanted", "wanted", wanted),
        container("once", "once", ""),
        container("crun", "wanted", crun),
    ];
    fs::write(root.join("etc/key"), "secret").unwrap();
    compose(&root, &both[..2].concat()).run().expect_ok();
    for name in ["wanted", "once"] {
        valid(&root, name);
    }
    let report = Boot::of(&root).run(
        r#"
        wait_for has_state wanted active
        wait_for fetch 8090
        expect "type" "$(is Type wanted)" forking
        expect "tasks" "$(is TasksMax wanted)" 178
        expect "required by" "$(is RequiredBy wanted)" multi-user.target
        expect "names" "$(is Names also-wanted.service | tr ' ' '\n' | sort | tr '\n' ' ')" "also-wanted.service wanted.service "
        expect "helper" "$(is ActiveState wanted-helper) $(cat /run/helper)" "active helped"
        for pid in $(cat "$(group wanted)/payload/cgroup.procs"); do
          tr '\0' '\n' </proc/$pid/environ | grep -qx A=manifest || fail "environment of $pid"
        done
        expect "conf" "$(cat /etc/wanted/app.conf) $(stat -c %a /etc/wanted)" "name = wanted 750"
        expect "state" "$(stat -c '%a %u:%g' /var/lib/wanted-state)" "700 7:8"
        expect "seed" "$(cat /var/lib/wanted-state/seed) $(stat -c '%a %u:%g' /var/lib/wanted-state/seed)" "seed 600 7:8"
        expect "link" "$(readlink /var/lib/wanted-state/link)" seed
        expect "mount" "$(is ActiveState 'var-lib-wanted\x2dstate-tool.mount')" active
        expect "tool" "$(/var/lib/wanted-state/tool)" "a tool of the image"
        ! touch /var/lib/wanted-state/tool 2>/dev/null || fail "the tool can be written"
        expect "data" "$(stat -c '%a' /var/lib/wanted) $(ls /var/lib/wanted)" "750 written"
        expect "devices" "$(is DevicePolicy wanted)" closed
        systemctl show -P DeviceAllow wanted | grep -qx '/dev/char/10:229 rw' || fail "$(is DeviceAllow wanted)"
        expect "once" "$(is ActiveState once) $(is SubState once) $(is Result once) $(ls /run/once)" "active exited success ran"
        journalctl --no-pager -o cat -t wanted | grep -qx 'open=/run/credentials/key: ok' || fail "no credential"
        systemctl stop wanted
        expect "stopped" "$(is ActiveState wanted) $(is Result wanted)" "inactive success"
        expect "failed units" "$(systemctl --failed --no-legend | wc -l)" 0
        "#,
    );
    report.expect_ok();
    removed(&root, &["wanted", "once"]);
    // The same under crun.
    compose(&root, &both[2]).run().expect_ok();
    let report = Boot::of(&root).run(
        r#"
        systemctl start crun || fail "start"
        expect "type" "$(is Type crun) $(is NotifyAccess crun)" "notify all"
        wait_for fetch 8091
        expect "devices" "$(is DevicePolicy crun)" closed
        systemctl stop crun
        expect "stopped" "$(is ActiveState crun) $(is Result crun)" "inactive success"
        "#,
    );
    report.expect_ok();
}
