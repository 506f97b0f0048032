//! A host with Debian's SELinux policy, labelled at commit, that enforces it.

use crate::disk::Host;
use crate::images;
use crate::life::{made, payload, shell, web};
use crate::machine::{Desk, Entry, Runtime};

/// One of each way to start and to be told apart by a policy: volumes, a notify socket, `exec` by health, early.
fn containers() -> Vec<String> {
    let health =
        "health = { exec = ['/bin/test', '-e', '/data/began'], interval = '100ms', timeout = '600s' }";
    let began = "echo began > /data/began; exec sleep 100000";
    vec![
        web("web", 8085, "1"),
        web("kept", 8086, "1"),
        payload("early", "'show'", "unit.phase = 'early'"),
        payload("ready", "'status=quite well', 'ready'", "unit.notify = true"),
        shell(
            "shell",
            began,
            &format!("run.volumes = {{ '/data' = '/var/lib/sysctr/shell/data' }}\nunit.{health}"),
        ),
    ]
}

#[test]
#[ignore = "a boot"]
fn an_enforcing_host_has_nothing_against_containers() {
    // Not crun: Debian's policy does not let it remount a devpts (docs/boot.md).
    let kind = Runtime::Runc.on("selinux");
    let host = Host::of(kind);
    host.compose("first", |compose| made(compose, kind, &containers()));
    let disk = host.disk(&["first"]);
    let desk = Desk::new();
    images::web("2", &desk.file("web2"));
    let report = desk.boot(&disk, Entry::Newest, include_str!("guest/selinux.sh"));
    assert!(report.has_ended(), "{}", report.story());
    for (name, tried) in &report.tried {
        assert!(tried.result == "ok", "{name}: {}\n{}", tried.text, report.story());
    }
    assert_eq!(report.tried.len(), 6, "{}", report.story());
}
