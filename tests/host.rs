//! The launcher through its binary, with real runtimes, on this machine's cgroups and without systemd.

#[cfg(test)]
#[path = "host/full.rs"]
mod full;
#[cfg(test)]
#[path = "host/temporary.rs"]
mod temporary;

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};
use sysctr_tests::machine::{Machine, bind};

const RUNTIMES: [&str; 2] = ["runc", "crun"];
/// Ends with 0 when asked to.
const WAIT: &str = "trap 'exit 0' TERM; while :; do sleep 0.02; done";
const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.02; done";

fn machine(runtime: &str, name: &str, script: &str, edit: impl Fn(&mut Value, &mut Value)) -> Machine {
    let mut machine = Machine::new();
    machine.embed(runtime, name, script, edit);
    machine.up();
    machine
}

fn status(machine: &Machine, name: &str) -> Value {
    let status: Value =
        serde_json::from_str(&machine.ok(&format!("status --format json {name}"))).expect("JSON");
    status["containers"][0].clone()
}

#[test]
fn a_container_starts_once_stops_and_leaves_nothing() {
    for runtime in RUNTIMES {
        let name = format!("once-{runtime}");
        let machine = machine(runtime, &name, WAIT, |_, _| {});
        let pid = machine.start_ready(&name);
        assert_eq!(status(&machine, &name)["state"], "running");
        assert_eq!(status(&machine, &name)["pid"], pid);
        let process = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let comm = fs::read_to_string("/proc/1/comm").unwrap();
        assert!(process.contains("\nPPid:\t1\n"), "{runtime}, PID 1 is {comm}: {process}");
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(cgroup.contains(&format!(":/sysctr/{name}\n")), "{cgroup}");
        assert_eq!(
            machine.error(&format!("run --detach {name}")),
            format!(
                "sysctr: starting container {name}: it is running already, as process {pid}; \
                 `sysctr stop {name}` ends it"
            )
        );
        assert_eq!(machine.ok(&format!("exec {name} sh -c id")), "uid=0 gid=0\n");
        machine.ok(&format!("stop {name}"));
        assert!(!fs::exists(format!("/proc/{pid}/exe")).unwrap());
        assert_eq!(
            machine.shell("ls -A /run/sysctr /run/sysctr/runtime"),
            "/run/sysctr:\nruntime\n\n/run/sysctr/runtime:\n"
        );
        for again in ["stop", "stop --force"] {
            machine.ok(&format!("{again} {name}"));
        }
        assert_eq!(status(&machine, &name)["state"], "stopped");
    }
}

#[test]
fn a_foreground_start_ends_with_the_payloads_status() {
    for runtime in RUNTIMES {
        let machine = machine(runtime, "fg", "echo hello; exit 7", |_, _| {});
        let output = machine.sysctr("run fg").output().unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(7), &b"hello\n"[..]),
            "{output:?}"
        );
        assert_eq!(machine.shell("ls -A /run/sysctr/runtime"), "");
    }
}

#[test]
fn the_images_signal_is_sent_and_a_stubborn_payload_is_killed_in_time() {
    for runtime in RUNTIMES {
        let mut machine = Machine::new();
        let asks = "trap 'echo usr2 > /data/got; exit 0' USR2; trap '' TERM; while :; do sleep 0.02; done";
        machine.embed(runtime, "asks", asks, |config, record| {
            bind(config, "/var/asks", "/data");
            record["launch"]["stop_signal"] = json!("SIGUSR2");
        });
        machine.embed(runtime, "stubborn", STUBBORN, |_, record| {
            record["launch"]["stop_timeout"] = json!("300ms")
        });
        machine.up();
        machine.shell("mkdir /var/asks");
        machine.start_ready("asks");
        let pid = machine.start_ready("stubborn");
        machine.ok("stop asks");
        assert_eq!(machine.shell("cat /var/asks/got"), "usr2\n");
        let begin = Instant::now();
        assert_eq!(
            machine.error("stop stubborn"),
            "sysctr: stopping container stubborn: it did not end within 300ms of SIGTERM and was killed"
        );
        assert!((300..3_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
        assert!(!fs::exists(format!("/proc/{pid}/exe")).unwrap());
        machine.start_ready("stubborn");
        machine.ok("stop --force stubborn");
        assert_eq!(
            machine.shell("ls -A /run/sysctr /run/sysctr/runtime"),
            "/run/sysctr:\nruntime\n\n/run/sysctr/runtime:\n"
        );
    }
}

#[test]
fn what_a_killed_runtime_left_does_not_hinder_the_next_start() {
    for runtime in RUNTIMES {
        let machine = machine(runtime, "stale", STUBBORN, |_, _| {});
        // A runtime that was killed before it wrote its state.
        machine.shell("mkdir -p /run/sysctr/runtime/stale");
        let first = machine.start("stale");
        machine.shell(&format!("kill -KILL {first}"));
        machine.until(&format!("! test -e /proc/{first}/exe"));
        assert_eq!(status(&machine, "stale")["state"], "ended");
        let second = machine.start("stale");
        assert_ne!(first, second);
        machine.shell(&format!("kill -KILL {second}"));
        machine.until(&format!("! test -e /proc/{second}/exe"));
        machine.ok("stop stale");
        assert_eq!(status(&machine, "stale")["state"], "stopped");
    }
}

#[test]
fn health_passes_runs_out_of_time_or_sees_the_payload_end() {
    for runtime in RUNTIMES {
        let health = |exec: &str, record: &mut Value| {
            let exec = ["/bin/sh", "-c", exec];
            record["launch"]["health"] = json!({ "exec": exec, "interval": "50ms", "timeout": "600ms" });
        };
        let mut machine = Machine::new();
        let soon = "sleep 0.2; touch /run/up; trap 'exit 0' TERM; while :; do sleep 0.02; done";
        machine.embed(runtime, "soon", soon, |_, record| {
            health("cat /run/up", record);
            record["launch"]["health"]["timeout"] = json!("10s");
        });
        machine.embed(runtime, "never", WAIT, |_, record| health("echo not yet >&2; exit 5", record));
        machine.embed(runtime, "hangs", WAIT, |_, record| health("sleep 60", record));
        machine.embed(runtime, "ends", "exit 0", |_, record| health("exit 1", record));
        machine.embed(runtime, "none", WAIT, |_, _| {});
        machine.up();
        for name in ["soon", "never", "hangs", "ends", "none"] {
            machine.start(name);
        }
        machine.ok("health soon");
        machine.ok("health none");
        let message = |name: &str, exec: &str, why: &str| {
            format!(
                "sysctr: waiting for container {name} to be healthy: `/bin/sh -c {exec}` did not pass within 600ms: {why}"
            )
        };
        assert_eq!(
            machine.error("health never"),
            message("never", "echo not yet >&2; exit 5", "exit status: 5, not yet")
        );
        assert_eq!(
            machine.error("health hangs"),
            message("hangs", "sleep 60", "the first try had not ended")
        );
        assert_eq!(
            machine.error("health ends"),
            "sysctr: waiting for container ends to be healthy: its payload has ended"
        );
    }
}

/// Everything about a tree in one text, by independent readers; bytes that are no text in octal.
fn listing(machine: &Machine, directory: &str) -> String {
    machine.shell(&format!(
        "cd {directory}
         {{ find . -type d -printf '%p %y %m %U:%G %T@\\n' -o -printf '%p %y %m %U:%G %T@ %n %s %l\\n' | sort
         find . -print0 | sort -z | xargs -0 getfattr -h -d -m - --
         find . -type f -print0 | sort -z | xargs -0 sha256sum --; }} | LC_ALL=C sed -n l"
    ))
}

fn fill(rootfs: &std::path::Path) {
    let script = "cd \"$1\"; mkdir -p data/sub/deep data/empty; echo one > data/one; ln data/one data/sub/other
        ln -s ../one data/sub/link; ln -s one data/sub/dangling; head -c 3000000 /dev/urandom > data/sub/large
        printf x > \"data/$(printf 'odd \\377 name')\"; chown -h 12:34 data/sub/link; chown 5:6 data/one data/sub
        cp /bin/busybox data/program; chown 7:8 data/program; chmod 4751 data/program; chmod 2770 data/sub; chmod 1777 data/empty
        setcap cap_net_raw+ep data/program; setfattr -n user.note -v value data/one
        setfattr -n user.note -v directory data/empty; setfattr -n trusted.note -v link -h data/sub/link
        touch -h -d '2001-02-03 04:05:06.123456789 UTC' data/one data/sub/link data/sub/deep data/program data/sub data";
    let status =
        std::process::Command::new("sh").args(["-euc", script, "sh"]).arg(rootfs).status().expect("a shell");
    assert!(status.success());
}

#[test]
fn a_volume_gets_all_of_the_images_directory_once() {
    let mut machine = Machine::new();
    machine.embed("runc", "vol", WAIT, |config, record| {
        for (host, destination) in [("/var/lib/sysctr/vol/data", "/data"), ("/var/deep/er/none", "/etc")] {
            bind(config, host, destination);
        }
        record["launch"]["volumes"] = json!([
            { "host": "/var/lib/sysctr/vol/data", "image": "/data" },
            { "host": "/var/deep/er/none", "image": "/not/there" },
        ]);
    });
    fill(&machine.rootfs("vol"));
    machine.up();
    // What a start that was cut off has left.
    machine.shell("mkdir -p -m 0700 /var/lib/sysctr/vol/.data.sysctr-tmp/half; ln -s /etc /var/lib/sysctr/vol/.data.sysctr-tmp/l");
    machine.start_ready("vol");
    let image = listing(&machine, "/usr/lib/containers/atomic/vol/rootfs/data");
    assert!(image.contains("security.capability=") && image.contains("trusted.note="), "{image}");
    assert_eq!(listing(&machine, "/var/lib/sysctr/vol/data"), image);
    assert_eq!(
        machine.shell("ls -A /var/lib/sysctr/vol; stat -c '%a %u %F' /var/deep/er/none /var/lib/sysctr"),
        "data\n755 0 directory\n755 0 directory\n"
    );
    machine.ok("exec vol touch /data/mine");
    machine.shell("rm /var/lib/sysctr/vol/data/one");
    machine.ok("stop vol");
    machine.start_ready("vol");
    assert_eq!(
        machine.shell("cd /var/lib/sysctr/vol/data; ls -b"),
        "empty\nmine\nodd\\ \\377\\ name\nprogram\nsub\n"
    );
    machine.ok("stop vol");
    machine.shell("rm -r /var/lib/sysctr");
    machine.start_ready("vol");
    assert_eq!(machine.shell("stat -c %a /var/lib/sysctr /var/lib/sysctr/vol"), "755\n700\n");
}

#[test]
fn a_link_that_a_payload_put_on_the_way_to_a_volume_is_not_followed() {
    let machine = machine("runc", "nest", WAIT, |config, record| {
        bind(config, "/var/lib/sysctr/nest/data", "/data");
        record["launch"]["volumes"] = json!([
            { "host": "/var/lib/sysctr/nest/data/a/b", "image": "/etc" },
            { "host": "/var/lib/sysctr/nest/data", "image": "/data" },
        ]);
    });
    machine.start_ready("nest");
    machine.shell("test -d /var/lib/sysctr/nest/data/a/b");
    machine.ok("stop nest");
    machine.shell("mkdir /var/host; mv /var/lib/sysctr/nest/data/a /var/lib/sysctr/nest/data/old; ln -s /var/host /var/lib/sysctr/nest/data/a");
    assert_eq!(
        machine.error("run --detach nest"),
        "sysctr: preparing volume /var/lib/sysctr/nest/data/a/b of container nest: a symbolic link inside \
         /var/lib/sysctr/nest/data is on its way; remove it"
    );
    assert_eq!(machine.shell("ls -A /var/host"), "");
}

#[test]
fn late_bound_values_reach_the_payload_and_the_bundle_stays() {
    for runtime in RUNTIMES {
        let script =
            "env | sort > /data/env; cat /run/credentials/key > /data/key; cat /empty > /data/empty; exit 0";
        let machine = machine(runtime, "late", script, |config, record| {
            bind(config, "/var/late", "/data");
            bind(config, "/nowhere/resolv.conf", "/empty");
            record["launch"]["environment_files"] = json!(["/var/environment"]);
            record["launch"]["empty_if_missing"] = json!(["/nowhere/resolv.conf"]);
            record["launch"]["credentials"] = json!(true);
        });
        // A place for the empty file in the read-only root.
        fs::write(machine.rootfs("late").join("empty"), "hidden").unwrap();
        let before = machine.shell("cat /usr/lib/containers/atomic/late/config.json");
        machine.shell("mkdir /var/late /var/credentials; echo secret > /var/credentials/key; printf 'A=1\\nPATH=/bin:/x\\n' > /var/environment");
        let mut command = machine.sysctr("run late");
        let status = command.env("CREDENTIALS_DIRECTORY", "/var/credentials").status().unwrap();
        assert_eq!(status.code(), Some(0));
        let environment =
            machine.shell("grep -E '^(A|PATH|CREDENTIALS_DIRECTORY|NOTIFY_SOCKET)=' /var/late/env");
        assert_eq!(environment, "A=1\nCREDENTIALS_DIRECTORY=/run/credentials\nPATH=/bin:/x\n");
        assert_eq!(machine.shell("cat /var/late/key /var/late/empty"), "secret\n");
        assert_eq!(machine.shell("cat /usr/lib/containers/atomic/late/config.json"), before);
        assert_eq!(
            machine.error("run late"),
            "sysctr: preparing container late: reading credentials: $CREDENTIALS_DIRECTORY is not set; start the \
             container by its unit"
        );
    }
}

#[test]
fn in_a_units_cgroup_the_container_stays_below_it() {
    let machine = machine("runc", "unit", WAIT, |_, _| {});
    let own = format!("sysctr-test-{}", std::process::id());
    let enter = format!(
        "if test -e /sys/fs/cgroup/cgroup.procs; then all=/sys/fs/cgroup; else all=$(echo /sys/fs/cgroup/*/cgroup.procs); fi
         for c in $all; do c=${{c%/cgroup.procs}}/{own}; mkdir -p $c/unit.service
         test -s $c/cpuset.cpus || test ! -e $c/cpuset.cpus || for f in cpus mems; do cat $c/../cpuset.$f > $c/cpuset.$f; cat $c/cpuset.$f > $c/unit.service/cpuset.$f; done
         echo $$ > $c/unit.service/cgroup.procs; done; exec /usr/lib/under-test/sysctr run --detach unit"
    );
    let mut command = machine.command("sh");
    let status = command.args(["-euc", &enter]).stdout(std::process::Stdio::null()).status().unwrap();
    assert!(status.success());
    let pid = machine.shell("cat /run/sysctr/unit/pid");
    machine.until(&format!("test -n \"$(cat /proc/{}/task/*/children)\"", pid.trim()));
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).unwrap();
    machine.ok("stop unit");
    machine.shell(&format!("find /sys/fs/cgroup -depth -type d -path '*/{own}*' -exec rmdir {{}} \\;"));
    let inside = format!("/{own}/unit.service/payload");
    assert!(cgroups.lines().any(|line| line.ends_with(&inside)), "{cgroups}");
    assert!(!cgroups.contains("/sysctr/"), "{cgroups}");
}

#[test]
fn errors_name_the_way_out_and_any_user_may_list() {
    let mut machine = Machine::new();
    machine.embed("runc", "newer", WAIT, |_, record| record["version"] = json!(2));
    machine.embed("runc", "gone", WAIT, |_, record| record["runtime"] = json!("/usr/bin/no-such-runtime"));
    machine.up();
    assert_eq!(
        machine.error("run newer"),
        "sysctr: reading /usr/lib/containers/atomic/newer/record.json: it has format version 2, this program knows up to 1; use a newer sysctr"
    );
    assert_eq!(
        machine.error("run nobody"),
        "sysctr: finding container nobody: this host embeds none of that name; `sysctr list` shows what it has"
    );
    assert_eq!(
        machine.error("run gone"),
        "sysctr: finding the container runtime /usr/bin/no-such-runtime: install it: No such file or directory (os error 2)"
    );
    let usage = machine.sysctr("run ../etc").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let user = |verb: &str| {
        let mut command = machine.command("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "/usr/lib/under-test/sysctr",
            verb,
        ]);
        command.output().unwrap()
    };
    let list = String::from_utf8(user("list").stdout).unwrap();
    assert!(list.contains("newer") && list.contains("oci:gone"), "{list}");
    assert_eq!(user("status").status.code(), Some(1));
    // systemd runs a generator with three directories as arguments.
    let generator = "ln -s /usr/lib/under-test/sysctr /run/sysctr-generator; mkdir /run/g; cd /run/g; ../sysctr-generator /run/g /run/g /run/g";
    assert_eq!(machine.shell(&format!("{generator} 2>&1; ls -A")), "");
}
