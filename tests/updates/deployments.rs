//! Updates on a real OSTree host: its deployments are made and switched by `ostree admin`, inside and outside of its boots.

use std::fs;
use std::path::{Path, PathBuf};

use sysctr_tests::boot::Report;
use sysctr_tests::{Boot, Listing, Sysroot, crafted, scratch};
use tempfile::TempDir;

use crate::bench::{SHELL, Version, version};

/// A sysroot, with images in /images.
struct Host {
    sysroot: Sysroot,
    images: TempDir,
}

impl Host {
    /// What is deployed embeds this as `web`.
    fn new(version: &Version) -> Self {
        let host = Self { sysroot: Sysroot::deployed(), images: scratch() };
        host.update(version, "");
        host
    }

    /// The host image gets another version of `web`, which is deployed.
    fn update(&self, version: &Version, settings: &str) {
        let images = scratch();
        crafted::write(&version.crafted().layout(), &images.path().join("web"));
        let manifest = images.path().join("containers.toml");
        let text = format!("group = 'web'\n[[container]]\nname = 'web'\nimage = 'oci:web'\n{settings}\n");
        fs::write(&manifest, text).expect("a new file");
        let manifest = manifest.to_str().expect("UTF-8");
        self.sysroot.compose(&["-m", manifest]).expect_ok();
    }

    /// A commit with another version of `web`, as ref `next`, for the host to deploy itself.
    fn offer(&self, version: &Version) {
        let now = self.sysroot.deployments();
        self.update(version, "");
        let next = self.sysroot.rev("sysctr/debian");
        self.sysroot.repo(&["refs", "--delete", "next"]);
        self.sysroot.repo(&["refs", "--create=next", &next]).expect_ok();
        self.sysroot.admin(&["undeploy", "0"]).expect_ok();
        assert_eq!(self.sysroot.deployments()[0], now[0]);
        self.sysroot.repo(&["refs", "--force", "--create=sysctr/debian", &now[0].0]).expect_ok();
    }

    fn image(&self, version: &Version) {
        crafted::write(&version.crafted().layout(), &self.images.path().join(version.name()));
    }

    /// Boots what is deployed first.
    fn boot(&self, script: &str) -> Report {
        self.boot_of(&self.sysroot.deployment(), script)
    }

    fn boot_of(&self, deployment: &Path, script: &str) -> Report {
        self.machine(deployment).run(&format!("{SHELL}{DEPLOYED}{script}"))
    }

    fn machine(&self, deployment: &Path) -> Boot {
        let images = format!("--bind-ro={}:/run/images", self.images.path().display());
        Boot::deployment(&self.sysroot.sysroot(), "debian", deployment).nspawn(images)
    }

    fn etc(&self, path: &str) -> PathBuf {
        self.sysroot.deployment().join("etc").join(path)
    }
}

const DEPLOYED: &str = r#"
# diff: how /etc differs from the host image's
diff() { ostree admin config-diff | grep -v '^. *containers' | sort; }
conf() { expect conf "$(cat /etc/web/web.conf)" "conf $1"; }
"#;

fn with_conf(answer: &str) -> Version {
    version(answer).host_file("/etc/web/web.conf", &format!("conf {answer}\n")).with_attributes()
}

#[test]
fn generations_follow_the_deployments_of_the_host() {
    let host = Host::new(&with_conf("1"));
    host.image(&with_conf("2"));
    host.image(&with_conf("3").host_file("/etc/web/new.conf", "new\n"));
    host.image(&version("usr").host_file("/usr/share/x", "x").host_file("/usr/local/bin/webctl", "x"));
    let first = host.sysroot.deployment();
    let report = host.boot(
        r#"
        says 1; conf 1; diff_at_first=$(diff)
        sysctr update web --image oci:/run/images/3 || fail "update"
        says 3; conf 3; expect diff "$(diff | grep web)" "A    web/new.conf
M    web/web.conf"
        sysctr reset web; conf 1
        expect "difference after a reset" "$(diff)" "$diff_at_first"
        ! sysctr update web --image oci:/run/images/usr
        sysctr update web --image oci:/run/images/2 || fail "update"
        says 2; conf 2
        "#,
    );
    let text = report.expect_ok().text;
    let refused = "sysctr: updating container web: its host file /usr/share/x belongs into the host image, where only a \
                   compose can place it; compose a new host image with it";
    assert!(text.lines().any(|line| line == refused), "{text}");
    // The host image embeds another one: that runs, with its own files, from the first start on.
    host.update(&with_conf("5"), "");
    let second = host.sysroot.deployment();
    assert_ne!(first, second);
    let before = fs::read_to_string(host.etc("web/web.conf")).expect("a host file");
    assert_eq!(before, "conf 2\n", "what ostree makes of it");
    let report = host.boot(
        r#"
        says 5; conf 5
        expect active "$(active)" "embedded superseded"
        expect "difference when superseded" "$(diff | grep web)" ""
        is ExecMainStatus sysctr-settle@web.service
        ostree admin status | grep -c '^[* ]*debian'
        sysctr gc
        ls /var/lib/containers/atomic
        "#,
    );
    let text = report.expect_ok().text;
    assert!(text.starts_with("0\n2\n"), "{text}");
    assert!(text.contains("\nweb.2\n"), "the other deployment needs it: {text}");
    // To owner, mode, attributes and time of the file.
    let file =
        |dir: &str| format!("{:?}", Listing::of(&second.join(dir)).get("web.conf").expect("a host file"));
    assert_eq!(file("etc/web"), file("usr/etc/web"));
    assert!(Listing::of(&second.join("etc/web")).to_string().contains(" user.note="), "no attribute");
    // The host is rolled back, and its container with it.
    host.boot_of(&first, r#"says 2; conf 2; expect active "$(active)" "web.2 updated""#).expect_ok();
}

#[test]
fn what_is_held_stays_over_updates_of_the_host_until_it_is_let_go() {
    let host = Host::new(&with_conf("1"));
    host.image(&with_conf("2"));
    host.boot("sysctr update web --image oci:/run/images/2; says 2; sysctr hold web").expect_ok();
    host.update(&with_conf("5"), "");
    let report = host.boot(
        r#"
        says 2; conf 2; expect active "$(active)" "web.1 held"
        sysctr unhold web; conf 5
        systemctl restart web; says 5
        expect difference "$(diff | grep web)" ""
        "#,
    );
    report.expect_ok();
}

#[test]
fn a_deployment_that_waits_gets_what_changes_after_it_was_made() {
    let host = Host::new(&with_conf("1"));
    host.image(&with_conf("2"));
    host.image(&with_conf("3"));
    host.offer(&with_conf("5"));
    // The host is deployed again as it is, and once more with another container.
    let report = host.boot(
        r#"
        sysctr update web --image oci:/run/images/2; says 2
        ostree admin deploy --os=debian --retain sysctr/debian >/dev/null 2>&1 || fail deploy
        sysctr update web --image oci:/run/images/3; says 3; conf 3
        sysctr update web --image oci:/run/images/3
        "#,
    );
    let text = report.expect_ok().text;
    assert_eq!(text.matches(", which boots next, has it, too\n").count(), 1, "{text}");
    let report = host.boot(
        r#"
        says 3; conf 3; expect active "$(active)" "web.2 updated"
        ostree admin deploy --os=debian --retain next >/dev/null 2>&1 || fail deploy
        sysctr rollback web; says 2; conf 2
        "#,
    );
    let text = report.expect_ok().text;
    assert!(text.contains(", which boots next, has it, too\n"), "{text}");
    assert_eq!(fs::read_to_string(host.etc("web/web.conf")).expect("a host file"), "conf 5\n");
    let report = host.boot(
        r#"
        says 5; conf 5; expect active "$(active)" "embedded superseded"
        expect difference "$(diff | grep web)" ""
        ostree admin deploy --os=debian --retain --stage next >/dev/null 2>&1 || fail deploy
        sysctr update web --image oci:/run/images/3; says 3
        "#,
    );
    assert!(!report.expect_ok().text.contains("boots next"));
    // A sysroot that is mounted read-only, as many hosts have it.
    let booted = host.sysroot.deployment();
    host.sysroot.admin(&["deploy", "--os=debian", "--retain", "next"]).expect_ok();
    let read_only = format!("--bind-ro={}:/sysroot", host.sysroot.sysroot().display());
    let report = host.machine(&booted).nspawn(read_only).run("sysctr reset web");
    let text = report.expect_ok().text;
    let told = ", which boots next, was made before this change and can't be written from here, so it has the containers of \
                before; deploy it again to have them as they are now\n";
    assert!(text.contains(told), "{text}");
}

#[test]
fn values_that_were_given_here_outlive_an_update_of_the_host() {
    let template = r#"{"ociVersion": "1.0.2", "process": {"args": ["/bin/sh", "-c", "echo version $ANSWER $OTHER >/tmp/index.html; exec httpd -f -p 127.0.0.1:8085 -h /tmp"],
        "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}, "root": {"path": "rootfs", "readonly": true},
        "mounts": [{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}"#;
    let settings = |other: &str| {
        format!(r#"{{"version": "1.0", "defaultValues": {{"ANSWER": "default", "OTHER": "{other}"}}}}"#)
    };
    let image = |name: &str| {
        version(name).export("config.json.template", template).export("manifest.json", &settings(name))
    };
    let host = Host::new(&image("1"));
    host.image(&image("2"));
    host.image(&image("3"));
    host.boot(
        "says 'default 1'; sysctr update web --image oci:/run/images/2 --set ANSWER=mine; says 'mine 2'",
    )
    .expect_ok();
    host.update(&image("5"), "set = { OTHER = 'host' }");
    host.boot(
        r#"
        says 'default host'
        sysctr update web --image oci:/run/images/3; says 'mine host'
        sysctr reset web; says 'default host'
        sysctr update web --image oci:/run/images/3; says 'default host'
        "#,
    )
    .expect_ok();
}

#[test]
fn an_early_container_runs_before_var_is_mounted() {
    let early =
        |answer| version(answer).ends_with(&format!("sleep 0.1; echo early {answer}; exec sleep 600"));
    let host = Host::new(&version("0"));
    host.update(&early("1"), "[container.unit]\nphase = 'early'");
    host.image(&early("2"));
    let images = format!("--bind-ro={}:/run/images", host.images.path().display());
    let boot = Boot::deployment_without_var(&host.sysroot.sysroot(), &host.sysroot.deployment());
    let report = boot
        .nspawn("--tmpfs=/var:mode=755")
        .nspawn(images)
        .run("! sysctr update web --image oci:/run/images/2");
    let refused = "sysctr: updating container web: it starts before /var is mounted, which is a file system of its own here and \
                   would hold the update; compose a new host image with it\n";
    assert_eq!(report.expect_ok().text, refused);
    host.boot("sysctr update web --image oci:/run/images/2").expect_ok();
    // As OSTree mounts it, and long after the container has started.
    let unit = "[Unit]\nDefaultDependencies=no\nAfter=web.service\nBefore=local-fs.target\n[Mount]\n\
                What=/sysroot/ostree/deploy/debian/var\nWhere=/var\nType=none\nOptions=bind\n";
    fs::write(host.etc("systemd/system/var.mount"), unit).expect("a unit");
    let wants = host.etc("systemd/system/local-fs.target.wants");
    fs::create_dir_all(&wants).expect("a directory");
    std::os::unix::fs::symlink("../var.mount", wants.join("var.mount")).expect("a link");
    let boot = Boot::deployment_without_var(&host.sysroot.sysroot(), &host.sysroot.deployment());
    let report = boot.run(&format!(
        "{SHELL}{}",
        r#"
        expect active "$(active)" "web.1 updated"
        has_state web active || fail "it does not run"
        [ "$(is ActiveEnterTimestampMonotonic web)" -lt "$(is ActiveEnterTimestampMonotonic var.mount)" ] || fail order
        readlink /run/sysctr/web/bundle
        ls /var/lib/containers/atomic/
        "#
    ));
    assert_eq!(
        report.expect_ok().text,
        "/sysroot/ostree/deploy/debian/var/lib/containers/atomic/web.1\nweb.1\n"
    );
}
