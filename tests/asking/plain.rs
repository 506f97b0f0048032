//! A host that is no OSTree host and runs no systemd: what is embedded, status, and the values of its admin.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use sysctr_tests::{Command, Compose, Crafted, Layer, Output, Root, crafted};

use crate::bench::{Version, version};
use crate::desk::Desk;

/// A configuration of an image made for Project Atomic, with a value that the host's admin may set.
const TEMPLATE: &str = r#"{"ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": true},
"process": {"args": ["/bin/busybox", "$WORD"], "cwd": "/", "env": ["PORT=$PORT"], "user": {"uid": 0, "gid": 0}},
"linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}"#;

struct Plain {
    root: Root,
}

impl Plain {
    /// Embeds `web`, and `old`, which has a template.
    fn new() -> Self {
        Self::of(&version("1"))
    }

    fn of(web: &Version) -> Self {
        let root = Root::debian();
        let manifest = "group = 'g'\n[[container]]\nname = 'web'\nimage = 'oci:web'\nrun = { read_only = false }\n\
            [[container]]\nname = 'old'\nimage = 'oci:old'\nset = { WORD = 'true' }\n";
        let compose = Compose::into(&root).manifest(manifest).add_launcher();
        let web = web.crafted();
        let busybox = fs::read("/bin/busybox").expect("busybox-static is installed");
        let layer = Layer::new()
            .dir("exports")
            .file("exports/config.json.template", TEMPLATE)
            .file("exports/manifest.json", r#"{"version": "1.0", "defaultValues": {"PORT": "80"}}"#)
            .file("exports/service.template", SERVICE)
            .dir("bin")
            .program("bin/busybox", busybox);
        for (name, image) in [("web", &web), ("old", &Crafted::one(&layer))] {
            crafted::write(&image.layout(), &compose.work_dir().join(name));
        }
        compose.run().expect_ok();
        Self { root }
    }

    fn sysctr(&self, arguments: &str) -> Output {
        let script =
            "mount -t proc proc \"$1/proc\"; root=$1; shift; exec chroot \"$root\" /usr/bin/sysctr \"$@\"";
        let command = Command::new("unshare").args([
            "--mount",
            "--propagation",
            "private",
            "bash",
            "-euc",
            script,
            "plain",
        ]);
        command.arg(self.root.path()).args(arguments.split(' ')).run()
    }

    fn values(&self, name: &str, text: &str) {
        fs::create_dir_all(self.root.join("etc/sysctr")).expect("a directory");
        fs::write(self.root.join(format!("etc/sysctr/{name}.toml")), text).expect("a new file");
    }
}

const SERVICE: &str = "[Unit]\nDescription=port $PORT\n[Service]\nExecStart=$EXEC_START\nExecStop=$EXEC_STOP\n\
    [Install]\nWantedBy=multi-user.target\n";

fn told(report: &Value) -> Vec<(&str, &str, &str)> {
    let findings = report["findings"].as_array().expect("findings");
    fn word<'a>(finding: &'a Value, key: &str) -> &'a str {
        finding[key].as_str().expect("a word")
    }
    findings.iter().map(|it| (word(it, "severity"), word(it, "path"), word(it, "message"))).collect()
}

#[test]
fn what_the_host_image_has_is_verified_and_can_only_come_with_it() {
    let plain = Plain::new();
    let intact = plain.sysctr("verify --format json").expect_ok().json();
    assert_eq!((&intact["checked"], &intact["findings"]), (&json!(2), &json!([])));
    let page = plain.root.bundle("web").join("rootfs/www/index.html");
    fs::write(&page, "version 2\n").expect("a file");
    fs::set_permissions(plain.root.join("usr/bin/sysctr"), fs::Permissions::from_mode(0o777))
        .expect("a mode");
    fs::write(plain.root.join("usr/lib/systemd/system/web.service"), "[Service]\n").expect("a unit");
    let report = plain.sysctr("verify --format json").expect_code(1).json();
    let found = told(&report);
    let paths: Vec<_> = found.iter().map(|(_, path, _)| *path).collect();
    let page_path = "/usr/lib/containers/atomic/web/rootfs/www/index.html";
    // Its time stamp, too.
    assert_eq!(paths, ["/usr/lib/systemd/system/web.service", page_path, page_path, "/usr/bin/sysctr"]);
    // The others are as they were.
    plain.sysctr("verify old").expect_ok();
    let report = plain.sysctr("verify --repair --format json web").expect_code(1).json();
    let (_, path, message) = told(&report)[3];
    assert_eq!(path, "/usr/lib/containers/atomic/web");
    assert_eq!(
        message,
        "can't be repaired: /usr/lib/containers/atomic/web belongs to the host image; deploy or compose that again"
    );
}

#[test]
fn what_an_update_wrote_over_is_no_damage_of_the_host_image() {
    let plain = Plain::of(&version("1").host_file("/usr/share/web.conf", "conf 1"));
    let two = version("2").host_file("/usr/share/web.conf", "conf 2");
    crafted::write(&two.crafted().layout(), &plain.root.join("two"));
    plain.sysctr("verify web").expect_ok();
    plain.sysctr("update web --image oci:/two").expect_ok();
    let conf = plain.root.join("usr/share/web.conf");
    assert_eq!(fs::read_to_string(&conf).ok().as_deref(), Some("conf 2"));
    let report = plain.sysctr("verify --format json web").expect_ok().json();
    assert_eq!(report["findings"], json!([]));
    // Of the update it is told.
    fs::write(&conf, "conf 3").expect("a file");
    let report = plain.sysctr("verify --format json web").expect_ok().json();
    assert_eq!(told(&report), [("warning", "/usr/share/web.conf", "differs from the record")]);
    assert_eq!(report["findings"][0]["generation"], 1);
    // The root of an update is closed, whatever its settings say, and so is that of the next one.
    crafted::write(&version("3").crafted().layout(), &plain.root.join("three"));
    plain.sysctr("update web --image oci:/three --download-only").expect_ok();
    let checked = plain.sysctr("update web --image oci:/three --check --format json").expect_ok().json();
    let checked = &checked["containers"][0];
    assert_eq!((&checked["privileges_known"], &checked["privileges_gained"]), (&json!(true), &json!([])));
}

#[test]
fn values_of_the_admin_are_checked_as_a_start_would_take_them() {
    let plain = Plain::new();
    let checked = plain.sysctr("verify --config").expect_ok();
    assert_eq!(checked.stdout(), "2 containers checked: nothing found\n");
    plain.values("old", "set = { WORD = \"false\" }\n");
    plain.sysctr("verify --config").expect_ok();
    let status = plain.sysctr("status --format json old").expect_ok().json();
    assert_eq!(status["containers"][0]["set"], json!({ "WORD": "false" }));
    for (text, severity, message) in [
        ("set = { WORD = 1 }", "error", "set.WORD is no text; put it into quotes"),
        ("sets = { WORD = \"1\" }", "error", "sets is not known here; write `set = { NAME = \"value\" }`"),
        ("set = {", "error", "line 1: "),
        ("set = { TYPO = \"1\" }", "error", "set.TYPO has no effect: no template of the container names it"),
        ("set = { NAME = \"1\" }", "error", "set.NAME has no effect: no template of the container names it"),
        ("set = { PORT = \"81\" }", "warning", "set.PORT does not reach exports/service.template, "),
    ] {
        plain.values("old", text);
        let output = plain.sysctr("verify --config --format json old");
        assert_eq!(output.code(), i32::from(severity == "error"), "{}", output.story());
        let report = output.json();
        let [(found, path, said)] = told(&report)[..] else { panic!("{}", output.story()) };
        assert_eq!((found, path), (severity, "/etc/sysctr/old.toml"));
        assert!(said.contains(message), "{text}: {said}");
    }
    plain.values("old", "");
    plain.values("web", "set = { PORT = \"1\" }");
    plain.values("nobody", "");
    let output = plain.sysctr("verify --config").expect_code(1);
    assert_eq!(
        output.stdout(),
        "error: web: /etc/sysctr/web.toml: set.PORT has no effect: no template of the container names it\n\
         warning: /etc/sysctr/nobody.toml: is read by nobody: this host has no container of that name\n\
         2 containers checked: see above\n"
    );
}

#[test]
fn a_container_that_cant_be_read_does_not_hide_the_others() {
    let plain = Plain::new();
    plain.values("old", "set = { WORD = 1 }");
    fs::write(plain.root.bundle("web").join("record.json"), "{}").expect("a file");
    let output = plain.sysctr("status --format json").expect_code(1);
    let report = output.json();
    let status = &report["containers"];
    assert_eq!(status.as_array().map(Vec::len), Some(1), "{}", output.story());
    assert_eq!(
        (&status[0]["name"], &status[0]["state"], &status[0]["set"]),
        (&json!("old"), &json!("stopped"), &Value::Null)
    );
    let error = status[0]["set_error"].as_str().expect("a reason");
    assert!(error.contains("/etc/sysctr/old.toml: set.WORD is no text"), "{error}");
    assert_eq!(report["failed"][0]["name"], "web");
    assert!(output.stderr().contains("web/record.json"), "{}", output.story());
    let text = plain.sysctr("status").expect_code(1).stdout();
    assert!(
        text.contains("\nold ") && text.contains("\nweb ") && text.contains("the next start fails: "),
        "{text}"
    );
    // verify tells both, too.
    let told = plain.sysctr("verify").expect_code(1).stdout();
    assert!(told.contains("web as the host image has it: damaged\n"), "{told}");
    assert!(told.contains("old as the host image has it: intact\n"), "{told}");
}

#[test]
fn status_tells_what_was_switched_to_held_and_superseded() {
    let mut desk = Desk::new(&[version("2"), version("3")], 2);
    let status = desk.status();
    assert_eq!((&status["active"], &status["why"]), (&json!("embedded"), &json!("shipped")));
    assert_eq!(
        (&status["switched_to"], &status["held"], &status["trial"]),
        (&Value::Null, &json!([]), &json!([]))
    );
    assert_eq!((&status["fallback"], &status["fallback_in_use"]), (&json!("none"), &json!(false)));
    let shipped = status["embedded"]["config"].clone();
    let updated = desk.sysctr(&[], "update web --image oci:/images/2 --format json").expect_ok().json();
    assert_eq!(updated["containers"][0]["generation"], 1);
    let held = desk.sysctr(&[], "hold web --format json").expect_ok().json();
    assert_eq!(
        held,
        json!({ "format": 1, "containers": [{ "name": "web", "generation": 1, "held": true }] })
    );
    let status = desk.status();
    assert_eq!(
        (&status["why"], &status["switched_to"], &status["held"]),
        (&json!("held"), &json!(1), &json!([1]))
    );
    assert_eq!(status["embedded"]["config"], shipped);
    let text = desk.sysctr(&[], "status web").expect_ok().stdout();
    assert!(text.contains("\n  held: web.1\n") && text.contains("\n  the host image has oci:"), "{text}");
    let free = desk.sysctr(&[], "unhold web --format json").expect_ok().json();
    assert_eq!(free["containers"][0], json!({ "name": "web", "generation": 1, "held": false }));
    // Another host image.
    desk.here.1 = 1;
    let status = desk.status();
    assert_eq!((&status["active"], &status["why"]), (&json!("embedded"), &json!("superseded")));
    assert_eq!((&status["superseded"], &status["because"]), (&json!(1), &json!("1")));
    let text = desk.sysctr(&[], "status web").expect_ok().stdout();
    assert!(
        text.contains("web.1 was made for what another host image embeds; `sysctr update web`"),
        "{text}"
    );
    desk.here.1 = 0;
    let switched = desk.sysctr(&[], "rollback web --format json").expect_ok().json();
    assert_eq!(switched["containers"][0], json!({ "name": "web", "generation": null, "running": false }));
    desk.sysctr(&[], "rollback web --to 1").expect_ok();
    let switched = desk.sysctr(&[], "reset web --format json").expect_ok().json();
    assert_eq!(switched["containers"][0], json!({ "name": "web", "generation": null, "running": false }));
    desk.sysctr(&[], "install oci:/images/3 --name other").expect_ok();
    let gone = desk.sysctr(&[], "uninstall other --purge --format json").expect_ok().json();
    assert_eq!(gone["containers"][0], json!({ "name": "other", "generation": null, "purged": true }));
}
