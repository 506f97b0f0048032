//! Images made for `atomic install --system`, composed by the real program into a real root, and one of them run.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;
use sysctr_tests::runtime::Session;
use sysctr_tests::unit::Unit;
use sysctr_tests::{Command, Compose, Image, Listing, Mtimes, Root, source_dir};

const SHAPES: [&str; 6] =
    ["etcd", "files-only", "hello-world", "kubernetes-apiserver", "net-snmp", "qemu-guest-agent"];

/// One container of a shape; `more` are further lines of its settings.
fn container(shape: &'static str, more: &str) -> String {
    format!("[[container]]\nname = '{shape}'\nimage = '{}'\n{more}\n", Image::exports(shape).in_manifest())
}

/// All shapes; etcd with this name.
fn shapes(etcd: &str) -> String {
    let one = |shape| match shape {
        "etcd" => container(shape, &format!("set = {{ ETCD_NAME = '{etcd}' }}")),
        _ => container(shape, ""),
    };
    format!("group = 'atomic'\n{}", SHAPES.map(one).concat())
}

fn serve(more: &str) -> String {
    format!("group = 'serve'\n{}", container("serve", more))
}

fn compose(root: &Root, manifest: &str) -> Compose {
    Compose::into(root).manifest(manifest).with(&Image::exports("serve")).add_launcher()
}

fn config(root: &Root, name: &str) -> Value {
    let bytes = fs::read(root.bundle(name).join("config.json")).expect("a configuration");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// `MODE UID:GID`
fn owner(path: &Path) -> String {
    let stat = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    format!("{:04o} {}:{}", stat.mode() & 0o7777, stat.uid(), stat.gid())
}

/// An attribute in hexadecimal, as getfattr(1) says it.
fn attribute(path: &Path, name: &str) -> String {
    let get = Command::new("getfattr").args(["--only-values", "--absolute-names", "-h", "-n", name]);
    get.arg(path).run().expect_ok().bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verified(root: &Root) {
    Compose::into(root).verb("verify").run().expect_ok();
}

#[test]
fn shapes_become_valid_bundles_and_units_and_go_without_a_trace() {
    let root = Root::debian();
    let before = Listing::of(&root.path());
    let composer = compose(&root, &shapes("node1"));
    composer.run().expect_ok();
    verified(&root);

    let mut validate = Command::new("/usr/bin/python3").arg("-W").arg("ignore");
    validate = validate.arg(source_dir().join("tests/support/validate.py"));
    for name in SHAPES.iter().filter(|name| **name != "files-only") {
        validate = validate.arg(root.bundle(name).join("config.json"));
        let verify = Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]);
        let root = format!("--root={}", root.path().display());
        let verdict = verify.arg(root).arg(format!("{name}.service")).run().expect_ok();
        assert_eq!((verdict.stdout(), verdict.stderr()), (String::new(), String::new()), "{name}");
    }
    validate.run().expect_ok();
    assert!(!root.join("usr/lib/systemd/system/files-only.service").exists());
    assert!(!root.bundle("files-only").join("config.json").exists());

    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(read("etc/policy-files-only/rules.conf").contains("Example"));
    assert_eq!(owner(&root.join("etc/kubernetes/apiserver")), "0640 996:994");
    assert!(root.join("usr/local/bin/etcdctl").is_file() && root.join("etc/etcd/etcd.conf").is_file());
    assert!(read("usr/lib/tmpfiles.d/sysctr-etcd.conf").contains("d /var/lib/etcd/etcd.etcd 0700 0 0"));
    assert_eq!(read("usr/lib/systemd/system-preset/50-sysctr-etcd.preset"), "enable etcd.service\n");
    assert!(root.join("usr/lib/systemd/system/multi-user.target.wants/etcd.service").exists());

    let again = composer.run().expect_ok();
    assert!(again.stdout().ends_with("nothing to change\n"), "{}", again.story());
    let remove = Compose::into(&root).verb("remove").arg("--launcher");
    SHAPES.into_iter().fold(remove, Compose::arg).run().expect_ok();
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
}

#[test]
fn a_changed_value_renders_its_container_again_and_no_other() {
    let root = Root::debian();
    let env = |name: &str| -> Vec<String> {
        let config = config(&root, "etcd");
        let lines = config["process"]["env"].as_array().expect("a list").iter();
        let lines = lines.map(|line| line.as_str().expect("a text").to_owned());
        assert!(lines.clone().any(|line| line == format!("ETCD_NAME={name}")), "{config}");
        lines.filter(|line| !line.starts_with("ETCD_NAME=")).collect()
    };
    let others = || {
        let others = SHAPES.iter().filter(|name| **name != "etcd");
        others.map(|name| Listing::of(&root.bundle(name))).collect::<Vec<_>>()
    };
    // A second value of the user's, and the image's defaults.
    let shapes = |name: &str| shapes(name).replace("ETCD_NAME", "ETCD_SNAPSHOT_COUNT = '77', ETCD_NAME");
    compose(&root, &shapes("node1")).run().expect_ok();
    let (values, before) = (env("node1"), others());
    for value in ["ETCD_SNAPSHOT_COUNT=77", "ETCD_DEBUG=False"] {
        assert!(values.iter().any(|line| line == value), "{values:?}");
    }
    compose(&root, &shapes("node1")).run().expect_ok();
    assert_eq!((env("node1"), others()), (values.clone(), before.clone()));
    compose(&root, &shapes("node2")).run().expect_ok();
    assert_eq!((env("node2"), others()), (values, before));
    verified(&root);
    let wrong = compose(&root, &shapes("x").replace("ETCD_NAME", "ETCD_NMAE")).run().expect_code(1);
    assert!(wrong.stderr().contains("no template of the image uses ETCD_NMAE"), "{}", wrong.story());
}

#[test]
fn host_files_keep_owner_mode_and_attributes() {
    let root = Root::debian();
    compose(&root, &serve("")).run().expect_ok();
    for (path, expected) in [
        ("etc/serve", "0750 7:8"),
        ("etc/serve/empty", "1711 3:0"),
        ("etc/serve/secret", "0640 7:8"),
        ("etc/serve/rendered", "0600 7:0"),
        ("etc/serve/link", "0777 7:8"),
        ("usr/bin/serve-ctl", "0755 0:0"),
        ("usr/share/serve/none", "0644 0:0"),
    ] {
        assert_eq!(owner(&root.join(path)), expected, "{path}");
    }
    assert_eq!(attribute(&root.join("etc/serve"), "user.dir"), "64");
    assert_eq!(attribute(&root.join("etc/serve/secret"), "user.note"), "61ff0a");
    assert!(attribute(&root.join("usr/bin/serve-ctl"), "security.capability").starts_with("01000002"));
    assert_eq!(fs::read_to_string(root.join("etc/serve/rendered")).unwrap(), "port 8080 of serve\n");
    assert_eq!(fs::read_link(root.join("etc/serve/link")).unwrap(), Path::new("secret"));
    let large = fs::read(root.join("usr/share/serve/large")).unwrap();
    assert!(large.len() == 1 << 20 && large.chunks(256).all(|chunk| chunk.iter().copied().eq(0..=255)));
    verified(&root);
    for (path, change) in [("etc/serve/secret", "chown 9"), ("etc/serve/empty", "chmod 0755")] {
        Command::new("bash").arg("-c").arg(format!("{change} \"$0\"")).arg(root.join(path)).run().expect_ok();
        let told = Compose::into(&root).verb("verify").run().expect_code(1);
        assert!(told.stdout().contains(path), "{}", told.story());
    }
}

#[test]
fn what_the_host_has_is_replaced_only_when_allowed_and_comes_back() {
    let root = Root::debian();
    fs::create_dir(root.join("etc/serve")).unwrap();
    fs::write(root.join("etc/serve/secret"), "the host's").unwrap();
    let before = Listing::of(&root.path());
    let refused = compose(&root, &serve("")).run().expect_code(1);
    assert!(refused.stderr().contains("/etc/serve/secret"), "{}", refused.story());
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
    let allowed = compose(&root, &serve("allow_conflicts = ['/etc/serve/secret']"));
    allowed.run().expect_ok();
    assert_eq!(fs::read_to_string(root.join("etc/serve/secret")).unwrap(), "s");
    verified(&root);
    // A second compose must not take its own file for the host's.
    compose(&root, &serve("allow_conflicts = ['/etc/serve/secret']\nset = { PORT = '1' }")).run().expect_ok();
    Compose::into(&root).verb("remove").arg("serve").arg("--launcher").run().expect_ok();
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
}

#[test]
fn a_lint_needs_no_target() {
    let lint = Compose::into_dir(Path::new("/nowhere")).manifest(shapes("node1"));
    lint.with(&Image::exports("serve")).verb("lint").run().expect_ok();
}

/// `NAME=VALUE` of the running payload's environment, and what it answers.
fn answers(root: &Root, port: u16) -> String {
    let unit = Unit::of(&root.path(), "serve");
    let session = Session::new().boot("serve").start(&unit);
    let session = session.wait_for(&format!("(: </dev/tcp/127.0.0.1/{port}) 2>/dev/null"));
    let session = session.shell("tr '\\0' '\\n' </proc/$(cat /run/sysctr/serve/pid)/environ").fetch(port);
    session.stop(&unit).shell("ls -A /run/sysctr/runtime").run_in(&root.path()).expect_ok().stdout()
}

#[test]
fn a_container_runs_by_its_units_lines_with_what_only_the_host_knows() {
    let root = Root::debian();
    compose(&root, &serve("")).run().expect_ok();
    let identify = |digit: &str| fs::write(root.join("etc/machine-id"), digit.repeat(32) + "\n").unwrap();
    let id = |said: &str| said.lines().find(|line| line.starts_with("ID=")).map(str::to_owned);
    identify("1");
    let first = answers(&root, 8080);
    let first = id(&first).unwrap_or_else(|| panic!("{first}"));
    assert!(first.len() == 39 && !first.contains("00000000"), "{first}");
    fs::create_dir(root.join("etc/sysctr")).unwrap();
    fs::write(root.join("etc/sysctr/serve.toml"), "set = { PORT = \"8099\" }\n").unwrap();
    assert_eq!(id(&answers(&root, 8099)), Some(first.clone()));
    // Another value in the host image changes no UUID either.
    fs::remove_file(root.join("etc/sysctr/serve.toml")).unwrap();
    compose(&root, &serve("set = { PORT = '8088' }")).run().expect_ok();
    assert_eq!(id(&answers(&root, 8088)), Some(first.clone()));
    fs::write(root.join("etc/sysctr/serve.toml"), "set = { PORT = \"8099\" }\n").unwrap();
    identify("2");
    let second = id(&answers(&root, 8099));
    assert!(second.is_some() && second != Some(first), "{second:?}");
    fs::write(root.join("etc/sysctr/serve.toml"), "set = { PORT = 8099 }\n").unwrap();
    let refused = Session::new().shell("/usr/bin/sysctr run --detach serve").run_in(&root.path());
    assert!(refused.stderr().contains("set.PORT is no text"), "{}", refused.story());
}

#[test]
fn an_inspection_tells_what_must_be_set() {
    let inspect = |image: Image, format: &str| {
        let inspect = Command::new(sysctr_tests::Program::Composer.path()).arg("inspect");
        inspect.arg(image.reference()).args(["--format", format]).run().expect_ok()
    };
    let told = inspect(Image::exports("etcd"), "json").json();
    assert_eq!(told["labels"]["version"], "3.5");
    let exports = told["exports"].as_array().unwrap();
    assert!(exports.contains(&"/exports/hostfs/usr/local/bin/etcdctl".into()), "{exports:?}");
    let variables = told["variables"].as_array().unwrap();
    let class = |name: &str| {
        let variable = variables.iter().find(|variable| variable["name"] == name);
        variable.map(|variable| (variable["class"].clone(), variable["default"].clone()))
    };
    assert_eq!(class("ETCD_NAME"), Some(("default".into(), "default".into())));
    assert_eq!(class("ETCD_SNAPSHOT_COUNT"), Some(("default".into(), "100000".into())));
    assert_eq!(class("NAME"), Some(("fixed".into(), Value::Null)));
    // What reaches the configuration can be set for one host.
    let per_host = |name: &str| variables.iter().any(|it| it["name"] == name && it["per_host"] == true);
    assert!(per_host("ETCD_NAME") && !per_host("NAME") && !per_host("DESTDIR"), "{variables:?}");
    assert_eq!(class("STATE_DIRECTORY"), Some(("set-by-host".into(), Value::Null)));
    let text = inspect(Image::exports("serve"), "text").stdout();
    let line = "\n  UUID: bound at start, may be set; also per host (exports/config.json.template)\n";
    assert!(text.contains(line), "{text}");
    assert!(inspect(Image::payload(), "json").json()["variables"].as_array().unwrap().is_empty());
}

#[test]
fn a_lint_reports_programs_with_rights() {
    let lint = Compose::into_dir(Path::new("/nowhere")).manifest(serve("")).with(&Image::exports("serve"));
    let told = lint.verb("lint").run().expect_ok();
    let line = "note: serve: /exports/hostfs/usr/bin/serve-ctl: it has file capabilities\n";
    assert!(told.stdout().contains(line), "{}", told.story());
}

/// What an OSTree commit is made from: `/etc` in `/usr`, state in `/var`.
fn ostree() -> Root {
    let root = Root::debian();
    fs::rename(root.join("etc"), root.join("usr/etc")).expect("a move in the root");
    fs::remove_dir_all(root.join("usr/local")).expect("Debian's usr/local");
    std::os::unix::fs::symlink("../var/usrlocal", root.join("usr/local")).expect("a link");
    root
}

#[test]
fn a_host_of_ostree_gets_files_below_usr_and_lines_and_mounts_for_var() {
    let root = ostree();
    let before = Listing::of(&root.path());
    compose(&root, &shapes("node1")).run().expect_ok();
    verified(&root);
    assert!(root.join("usr/etc/etcd/etcd.conf").is_file() && !root.join("etc").exists());
    assert!(fs::read_dir(root.join("var/usrlocal")).is_err());
    let unit = "var-usrlocal-bin-etcdctl.mount";
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]);
    let verdict = verify.arg(format!("--root={}", root.path().display())).arg(unit).run().expect_ok();
    assert_eq!((verdict.stdout(), verdict.stderr()), (String::new(), String::new()));
    let wanted = root.join("usr/lib/systemd/system/etcd.service.wants").join(unit);
    assert_eq!(fs::read_link(wanted).unwrap(), Path::new("..").join(unit));
    let lines = fs::read_to_string(root.join("usr/lib/tmpfiles.d/sysctr-etcd.conf")).unwrap();
    assert!(lines.contains("f /var/usrlocal/bin/etcdctl 0000 0 0 - -\n"), "{lines}");
    let remove = Compose::into(&root).verb("remove").arg("--launcher");
    SHAPES.into_iter().fold(remove, Compose::arg).run().expect_ok();
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
}

#[test]
fn two_containers_share_a_directory_and_never_a_file() {
    let root = Root::debian();
    let named = |name: &str, port: u16| {
        format!(
            "[[container]]\nname = '{name}'\nimage = '{}'\nset = {{ PORT = '{port}' }}\n",
            Image::exports("serve").in_manifest()
        )
    };
    let both = format!("group = 'two'\n{}{}", named("a", 1), named("b", 2));
    let before = Listing::of(&root.path());
    let refused = compose(&root, &both).run().expect_code(1);
    assert!(refused.stderr().contains("belongs to container a already"), "{}", refused.story());
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
}

#[test]
fn another_root_and_settings_over_an_own_unit() {
    let root = Root::debian();
    let more = "rootfs = '/srv/serve'\nenable = false\nrun = { cwd = '/tmp' }\nunit = { phase = 'early', notify = true }";
    compose(&root, &serve(more)).run().expect_ok();
    assert_eq!(config(&root, "serve")["root"]["path"], "/srv/serve");
    assert_eq!(root.record("serve")["rootfs"], "/srv/serve");
    verified(&root);
    assert_eq!(root.record("serve")["launch"]["mode"], "notify");
    assert_eq!(Unit::of(&root.path(), "serve").one("Type"), "notify");
    assert!(!root.join("usr/lib/systemd/system/multi-user.target.wants/serve.service").exists());
    assert_eq!(config(&root, "serve")["process"]["cwd"], "/tmp");
    assert_eq!(Unit::of(&root.path(), "serve").one("DefaultDependencies"), "no");
}

#[test]
fn systemds_checker_is_heard_and_decides_nothing() {
    let composed = |path: Option<&str>| {
        let root = Root::debian();
        let template = "[Service]\nExecStart={{ launcher }} run --detach {{ name }}\nType=forking\nPIDFile={{ pid_file }}\n\
            Colour=red\n[Install]\nWantedBy=multi-user.target\n";
        let composer = compose(&root, &serve("unit.template = 'own.service'")).file("own.service", template);
        let composer = match path {
            Some(path) => composer.env("PATH", path),
            None => composer,
        };
        let told = composer.run().expect_ok();
        (format!("{}{}", told.stdout(), told.stderr()), Listing::of(&root.path()))
    };
    let (heard, with) = composed(None);
    let (silent, without) = composed(Some("/nowhere"));
    let words =
        "serve.service: line 5: systemd-analyze says: Unknown key 'Colour' in section [Service], ignoring.";
    assert!(heard.contains(words), "{heard}");
    assert!(!silent.contains("systemd-analyze"), "{silent}");
    with.expect_same(&without, Mtimes::All);
}
