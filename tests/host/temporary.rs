//! `exec` of a container that does not run: a temporary one, and what a killed one leaves.

use std::fs;
use std::process::Stdio;

use serde_json::json;
use sysctr_tests::machine::{Machine, bind};

use super::{RUNTIMES, WAIT, machine, status};

/// What is left of temporary containers.
const TEMPORARY: &str = "ls -d /run/sysctr/*.exec-* /run/sysctr/runtime/*.exec-* 2>/dev/null || true";

#[test]
fn exec_of_a_stopped_container_runs_a_temporary_one_that_is_gone_afterwards() {
    for runtime in RUNTIMES {
        let machine = machine(runtime, "web", WAIT, |config, record| {
            bind(config, "/var/lib/sysctr/web/data", "/data");
            record["launch"]["volumes"] = json!([{ "host": "/var/lib/sysctr/web/data", "image": "/data" }]);
            record["launch"]["credentials"] = json!(true);
        });
        fs::write(machine.rootfs("web").join("data/seed"), "from the image\n").unwrap();
        let output = machine.sysctr("exec web cat /data/seed").output().unwrap();
        assert_eq!(
            (output.status.code(), &*output.stdout),
            (Some(0), &b"from the image\n"[..]),
            "{output:?}"
        );
        let mut told = machine.sysctr("exec web sh -c");
        let output = told.arg("echo $$ >/data/pid; cat; exit 7").stdin(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert_eq!(machine.shell("cat /var/lib/sysctr/web/data/pid"), "1\n");
        let killed = machine.sysctr("exec web sh -c").arg("kill -KILL -1; exec nothing").output().unwrap();
        assert_eq!(killed.status.code(), Some(127), "{killed:?}");
        assert_eq!(machine.shell(TEMPORARY), "");
        assert_eq!(status(&machine, "web")["state"], "stopped");
    }
}

#[test]
fn a_killed_exec_hinders_no_start_and_a_stopped_one_leaves_nothing() {
    for runtime in RUNTIMES {
        let machine = machine(runtime, "web", WAIT, |config, _| bind(config, "/var/shared", "/data"));
        machine.shell("mkdir -p /var/shared");
        let begin = |file: &str| {
            let script = format!("echo up >/data/{file}; trap 'exit 3' TERM; while :; do sleep 0.02; done");
            let mut command = machine.sysctr("exec web sh -c");
            let child = command.arg(script).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            machine.until(&format!("test -s /var/shared/{file}"));
            child
        };
        // nsenter has become the program.
        let mut first = begin("first");
        first.kill().unwrap();
        first.wait().unwrap();
        let left = machine.shell(TEMPORARY);
        assert!(left.contains("/run/sysctr/runtime/web.exec-"), "{left}");
        let mut second = begin("second");
        machine.until("test $(ls -d /run/sysctr/runtime/*.exec-* | wc -l) = 1");
        // A start clears what is left, and leaves alone what works.
        machine.start_ready("web");
        assert_eq!(machine.shell("ls -d /run/sysctr/runtime/*.exec-* | wc -l"), "1\n");
        let pid = rustix::process::Pid::from_child(&second);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(second.wait().unwrap().code(), Some(3));
        assert_eq!(machine.shell(TEMPORARY), "");
        machine.ok("stop web");
    }
}

#[test]
fn a_start_ends_no_container_that_is_only_called_like_a_temporary_one() {
    let mut machine = Machine::new();
    machine.embed("runc", "web", WAIT, |_, _| {});
    machine.embed("runc", "web.exec-12", WAIT, |_, _| {});
    machine.up();
    let pid = machine.start_ready("web.exec-12");
    machine.start_ready("web");
    assert!(fs::exists(format!("/proc/{pid}/exe")).unwrap());
    machine.ok("stop web.exec-12");
    machine.ok("stop web");
}

#[test]
fn what_another_runtime_left_is_cleared_by_that_one() {
    let machine = machine("crun", "web", WAIT, |config, _| bind(config, "/var/shared", "/data"));
    machine.shell("mkdir -p /var/shared");
    let mut command = machine.sysctr("exec web sh -c");
    let script = "echo up >/data/up; while :; do sleep 0.02; done";
    let mut child = command.arg(script).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    machine.until("test -s /var/shared/up");
    child.kill().unwrap();
    child.wait().unwrap();
    // It was made by another generation, which crun ran.
    machine.shell("mkdir /run/old; cp /usr/lib/containers/atomic/web/record.json /run/old");
    machine.shell("ln -sfn /run/old /run/sysctr/web.exec-*/bundle");
    let record = machine.rootfs("web").parent().unwrap().join("record.json");
    let text = fs::read_to_string(&record).unwrap();
    assert!(text.contains("/crun\""), "{text}");
    fs::write(&record, text.replace("/crun\"", "/runc\"")).unwrap();
    machine.start_ready("web");
    assert_eq!(machine.shell(TEMPORARY), "");
    machine.ok("stop web");
}
