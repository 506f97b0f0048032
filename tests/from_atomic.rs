//! What the tests of `atomic install --system` checked and no other test of ours does (docs/from-atomic.md has the table).

use std::fs;

use serde_json::json;
use sysctr_tests::crafted::{self, Crafted};
use sysctr_tests::{Boot, Command, Compose, Image, Layer, Listing, Mtimes, Packing, Root, scratch};

const CONFIG: &str = r#"{
  "ociVersion": "1.0.2",
  "process": {"args": ["/bin/payload", "$WORD", "exit=$CODE"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["A=$DEFAULT"]},
  "root": {"path": "rootfs", "readonly": true},
  "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
  "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]}
}"#;

/// An image with this configuration and these labels around the test payload.
fn image(labels: serde_json::Value) -> Crafted {
    let mut image = Crafted::one(&layer());
    image.config["config"] = json!({ "Labels": labels });
    image
}

fn layer() -> Layer {
    let program = fs::read(Image::payload().directory().join("files/bin/payload")).expect("the payload");
    Layer::new()
        .dir("exports")
        .file("exports/config.json.template", CONFIG)
        .file("exports/manifest.json", r#"{"version": "1.0", "defaultValues": {"DEFAULT": "d"}}"#)
        .dir("bin")
        .program("bin/payload", program)
}

fn compose(root: &Root, image: &Crafted, settings: &str) -> Compose {
    let manifest = format!("group = 'g'\n[[container]]\nname = 'it'\nimage = 'oci:image'\n{settings}\n");
    let compose = Compose::into(root).manifest(manifest).add_launcher();
    crafted::write(&image.layout(), &compose.work_dir().join("image"));
    compose
}

#[test]
fn missing_values_are_told_and_the_same_with_them_works() {
    let root = Root::debian();
    let before = Listing::of(&root.path());
    let image = image(json!({ "atomic.type": "system" }));
    let refused = compose(&root, &image, "").run().expect_code(1);
    for name in ["CODE", "WORD"] {
        assert!(refused.stderr().contains(name), "{}", refused.story());
    }
    assert!(refused.stderr().contains("exports/config.json.template"), "{}", refused.story());
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
    compose(&root, &image, "set = { CODE = '0', WORD = 'show' }").run().expect_ok();
    let config = fs::read_to_string(root.bundle("it").join("config.json")).unwrap();
    assert!(config.contains("exit=0") && config.contains("A=d"), "{config}");
    Compose::into(&root).verb("verify").run().expect_ok();
}

#[test]
fn faults_of_several_kinds_are_told_together() {
    let root = Root::debian();
    let before = Listing::of(&root.path());
    let refused = |labels, layer: Layer, settings: &str, messages: &[&str]| {
        let mut image = Crafted::one(&layer);
        image.config["config"] = json!({ "Labels": labels });
        let refused = compose(&root, &image, settings).run().expect_code(1);
        for message in messages {
            assert!(refused.stderr().contains(message), "{message} in {}", refused.story());
        }
        assert_eq!(refused.stderr().trim_end().lines().count(), 1, "{}", refused.story());
        Listing::of(&root.path()).expect_same(&before, Mtimes::All);
    };
    let broken = layer().file("exports/tmpfiles.template", "d x\nd /$WHERE\nq++ /y\n");
    refused(
        json!({ "atomic.run": "often" }),
        broken,
        "",
        &[
            "label atomic.run",
            "exports/config.json.template:3:",
            "exports/tmpfiles.template:2:4: WHERE has no value",
            "exports/tmpfiles.template: line 1: path \"x\" is not absolute",
            "exports/tmpfiles.template: line 3: \"q++\" is no type",
        ],
    );
    let clash = layer().dir("exports/hostfs").dir("exports/hostfs/usr").dir("exports/hostfs/usr/lib");
    let clash = clash.file("exports/hostfs/usr/lib/os-release", "x");
    refused(
        json!({}),
        clash,
        "set = { CODE = '0', WORD = 'show', TYPO = 'x' }",
        &["no template of the image uses TYPO", "/usr/lib/os-release"],
    );
}

#[test]
fn what_runs_once_runs_at_boot_to_its_end() {
    let root = Root::debian();
    let image = image(json!({ "atomic.type": "system", "atomic.run": "once" }));
    compose(&root, &image, "set = { CODE = '0', WORD = 'write=/proc/self/comm' }").run().expect_ok();
    let report = Boot::of(&root).run(
        r#"
        wait_for eval '[ "$(is ExecMainExitTimestampMonotonic it)" != 0 ]'
        echo "$(is Type it) $(is Result it) $(is ExecMainStatus it)"
        journalctl --no-pager -o cat -t it | grep write=
        sysctr list --format json | grep -q '"it"' || fail "it is not listed"
        [ -z "$(ls -A /run/sysctr/runtime)" ] || fail "the runtime remembers it"
        "#,
    );
    assert_eq!(report.expect_ok().text, "oneshot success 0\nwrite=/proc/self/comm: ok\n");
}

#[test]
fn a_root_that_another_container_uses_stays_when_that_one_goes() {
    let root = Root::debian();
    let image = image(json!({ "atomic.type": "system" }));
    let set = "set = { CODE = '0', WORD = 'sleep=600000' }\n";
    let second = "[[container]]\nname = 'second'\nimage = 'oci:image'\n\
        rootfs = '/usr/lib/containers/atomic/it/rootfs'\n";
    compose(&root, &image, &format!("{set}{second}{set}")).run().expect_ok();
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(root.bundle("second").join("config.json")).unwrap()).unwrap();
    assert_eq!(config["root"]["path"], "/usr/lib/containers/atomic/it/rootfs");
    let report = Boot::of(&root).run(
        r#"
        for unit in it second; do
          wait_for has_state $unit active
          expect "process of $unit" "$(cat "$(group $unit)/payload/cgroup.procs")" "$(is MainPID $unit)"
        done
        "#,
    );
    report.expect_ok();
    Compose::into(&root).verb("remove").arg("second").run().expect_ok();
    assert!(!root.join("usr/lib/systemd/system/second.service").exists() && !root.bundle("second").exists());
    assert!(root.bundle("it").join("rootfs/bin/payload").is_file());
    Compose::into(&root).verb("verify").run().expect_ok();
}

#[test]
fn an_install_section_enables_templates_and_leaves_what_is_others() {
    let root = Root::debian();
    let units = root.join("usr/lib/systemd/system");
    let helper =
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target of-%i.target\nNew=1\n";
    fs::write(units.join("helper@.service"), format!("{helper}DefaultInstance=one\n")).unwrap();
    fs::write(units.join("plain@.service"), helper).unwrap();
    let service = "[Service]\nType=$KIND\nExecStart=$EXEC_START\n[X-Fleet]\nno assignment\n[Install]\nX-Mark=1\n\
        WantedBy=multi-user.target\nAlso=helper@.service helper@two.service plain@.service\n";
    let image = Crafted::one(&layer().file("exports/service.template", service));
    let set = "set = { CODE = '0', WORD = 'show', KIND = 'notify' }";
    let told = compose(&root, &image, set).run().expect_ok();
    let missing = "Also=plain@.service: WantedBy=multi-user.target needs an instance of plain@.service, and nothing names one";
    assert!(format!("{}{}", told.stdout(), told.stderr()).contains(missing), "{}", told.story());
    for (link, to) in [
        ("multi-user.target.wants/it.service", "../it.service"),
        ("multi-user.target.wants/helper@one.service", "../helper@.service"),
        ("of-one.target.wants/helper@one.service", "../helper@.service"),
        ("multi-user.target.wants/helper@two.service", "../helper@.service"),
        ("of-two.target.wants/helper@two.service", "../helper@.service"),
    ] {
        assert_eq!(fs::read_link(units.join(link)).unwrap().to_str(), Some(to), "{link}");
    }
    assert!(!units.join("multi-user.target.wants/plain@.service").exists());
    // The type that the variable gave decided how the container is started.
    let unit = fs::read_to_string(units.join("it.service")).unwrap();
    assert!(unit.contains("Type=notify\n") && unit.contains("NotifyAccess=all\n"), "{unit}");
    assert!(
        unit.contains("ExecStart=/usr/bin/sysctr run it\n") && unit.contains("[X-Fleet]\nno assignment\n"),
        "{unit}"
    );
    Compose::into(&root).verb("verify").run().expect_ok();
    Compose::into(&root).verb("remove").arg("it").run().expect_ok();
    assert!(!units.join("of-one.target.wants").exists());
}

#[test]
fn what_systemd_would_pass_over_is_refused_and_changes_nothing() {
    let root = Root::debian();
    let before = Listing::of(&root.path());
    for (lines, message) in [
        ("Restart=sometimes", "line 3: Restart=sometimes is none of no, always, "),
        ("ExecStartPre=bin/x", "line 3: ExecStartPre=bin/x can't be run: bin/x is neither an absolute path"),
        (
            "Type=oneshot\nExecStart=/bin/true\n# $EXEC_STOPPOST $PIDFILE",
            "line 4: ExecStart= has 2 commands, and only Type=oneshot can have more than one; it is forking",
        ),
    ] {
        let service =
            format!("[Service]\nExecStart=$EXEC_START\n{lines}\n[Install]\nWantedBy=multi-user.target\n");
        let image = Crafted::one(&layer().file("exports/service.template", service));
        let refused = compose(&root, &image, "set = { CODE = '0', WORD = 'show' }").run().expect_code(1);
        let expected = format!("reading exports/service.template: {message}");
        assert!(refused.stderr().contains(&expected), "{}", refused.story());
        Listing::of(&root.path()).expect_same(&before, Mtimes::All);
    }
}

#[test]
fn what_is_recorded_follows_the_image() {
    let root = Root::debian();
    let values = "set = { CODE = '0', WORD = 'show' }";
    let digests = |root: &Root| {
        let record = &root.record("it")["image"];
        let index = fs::read(root.join("usr/lib/containers/atomic/embedded.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        assert_eq!(index["containers"]["it"]["config"], record["config"]);
        let list = Compose::into(root).verb("list").arg("--format").arg("json").run().expect_ok().json();
        assert_eq!(list["containers"][0]["manifest"], record["manifest"]);
        [&record["config"], &record["manifest"]].map(|digest| digest.as_str().unwrap().to_owned())
    };
    // An image, the next one, and back again.
    for label in ["1", "2", "1"] {
        let image = image(json!({ "atomic.type": "system", "version": label }));
        compose(&root, &image, values).run().expect_ok();
        let expected = [image.config_bytes(), image.manifest_bytes()].map(|bytes| crafted::digest(&bytes));
        assert_eq!(digests(&root), expected, "{label}");
        Compose::into(&root).verb("verify").run().expect_ok();
    }
}

#[test]
fn a_root_of_the_host_takes_the_place_of_the_images_which_is_not_embedded() {
    let more = Layer::new().file("exports/hostfs/etc/it.conf", "a host file");
    let image = Crafted::of(&[layer().bytes(), more.bytes()], Packing::Gzip);
    let values = "set = { CODE = '0', WORD = 'show' }";
    let elsewhere = format!("rootfs = '/srv/it'\n{values}");
    let root = Root::debian();
    let before = Listing::of(&root.path());
    let told = compose(&root, &image, &elsewhere).run().expect_ok();
    assert!(told.stdout().contains(": its root is /srv/it of the host\n"), "{}", told.story());
    let bundle = root.bundle("it");
    assert!(!bundle.join("rootfs").exists() && !bundle.join("tree.dump.zst").exists());
    assert_eq!(root.record("it")["rootfs"], "/srv/it");
    assert_eq!(root.record("it")["tree"]["entries"], 0);
    assert_eq!(fs::read_to_string(root.join("etc/it.conf")).unwrap(), "a host file");
    let list = Compose::into(&root).verb("list").run().expect_ok().stdout();
    assert!(list.contains(" (root /srv/it)\n"), "{list}");
    Compose::into(&root).verb("verify").run().expect_ok();
    fs::create_dir(bundle.join("rootfs")).unwrap();
    let told = Compose::into(&root).verb("verify").run().expect_code(1).stdout();
    assert!(told.contains("it/rootfs: is not of the container"), "{told}");
    fs::remove_dir(bundle.join("rootfs")).unwrap();

    // The image's root comes when it is wanted, and goes again; then its layers need not be read.
    compose(&root, &image, values).run().expect_ok();
    assert!(bundle.join("rootfs/bin/payload").is_file());
    Compose::into(&root).verb("verify").run().expect_ok();
    compose(&root, &image, &elsewhere).run().expect_ok();
    assert!(!bundle.join("rootfs").exists());
    Compose::into(&root).verb("verify").run().expect_ok();

    // It runs, by what the host has.
    fs::create_dir_all(root.join("srv/it/bin")).unwrap();
    for mount_target in ["proc", "dev"] {
        fs::create_dir(root.join("srv/it").join(mount_target)).unwrap();
    }
    fs::copy(Image::payload().directory().join("files/bin/payload"), root.join("srv/it/bin/payload"))
        .unwrap();
    let more = elsewhere.replace("show", "sleep=600000");
    compose(&root, &image, &more).run().expect_ok();
    Boot::of(&root).run("wait_for has_state it active").expect_ok();
    fs::remove_dir_all(root.join("srv/it")).unwrap();
    Compose::into(&root).verb("remove").arg("it").arg("--launcher").run().expect_ok();
    Listing::of(&root.path()).expect_same(&before, Mtimes::None);
}

#[test]
fn a_commit_embeds_no_root_that_nobody_uses() {
    let root = Root::small();
    fs::rename(root.join("etc"), root.join("usr/etc")).unwrap();
    let repo = scratch();
    let ostree = |args: &[&str]| {
        let repo = format!("--repo={}", repo.path().display());
        Command::new("ostree").arg(repo).args(args).run().expect_ok().stdout()
    };
    ostree(&["init", "--mode=archive"]);
    ostree(&["commit", "--branch=base", &format!("--tree=dir={}", root.path().display())]);
    let image = image(json!({ "atomic.type": "system" }));
    let composed = |base: &str, settings: &str| {
        let manifest = format!(
            "group = 'g'\n[[container]]\nname = 'it'\nimage = 'oci:image'\nset = {{ CODE = '0', WORD = 'show' }}\n{settings}\n"
        );
        let compose = Compose::into_commit(repo.path(), base, "host").manifest(manifest).add_launcher();
        crafted::write(&image.layout(), &compose.work_dir().join("image"));
        compose.run().expect_ok();
        Compose::into_commit(repo.path(), base, "host").verb("verify").run().expect_ok();
        ostree(&["ls", "-R", "host", "/usr/lib/containers/atomic/it"])
    };
    let without = composed("base", "rootfs = '/srv/it'");
    assert!(without.contains("/it/config.json") && !without.contains("/it/rootfs"), "{without}");
    assert!(composed("base", "").contains("/it/rootfs/bin/payload"));
    // From the ref's own commit and from the one that stands in it.
    for base in ["host", "base"] {
        composed("base", "");
        assert_eq!(composed(base, "rootfs = '/srv/it'"), without, "{base}");
    }
    ostree(&["fsck", "--quiet"]);
}
