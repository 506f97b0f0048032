//! A composed root boots by its own systemd, and systemd's view of the containers is the judge.

use sysctr_tests::{Boot, Compose, Image, Root};

/// A root with these containers: name, TOML after the name and image of the payload.
fn with_payloads(containers: &[(&str, &str)]) -> Root {
    let root = Root::debian();
    let image = Image::payload();
    let mut manifest = String::from("group = 'boot'\n");
    for (name, settings) in containers {
        manifest +=
            &format!("[[container]]\nname = '{name}'\nimage = '{}'\n{settings}\n", image.in_manifest());
    }
    Compose::into(&root).manifest(manifest).with(&image).add_launcher().run().expect_ok();
    root
}

/// Shell functions of these tests.
const SHELL: &str = r#"
# inside UNIT: its payload's processes, which must be inside the unit
inside() {
  local pids; pids=$(cat "$(group "$1")/payload/cgroup.procs")
  [ -n "$pids" ] || fail "nothing runs in the payload cgroup of $1: $(find "$(group "$1")")"
  echo $pids
}
# nowhere PROGRAM: no process of that name runs any more
nowhere() { [ -z "$(grep -lx "$1" /proc/[0-9]*/comm 2>/dev/null)" ]; }
restarted() { [ "$(is NRestarts "$1")" -ge "$2" ] && [ "$(is ActiveState "$1")" = active ]; }
"#;

fn script(text: &str) -> String {
    format!("{SHELL}{text}")
}

#[test]
fn both_demo_containers_start_at_boot_answer_stop_and_start_again() {
    let root = Root::debian();
    let compose = Compose::into(&root).example("demo.toml").with(&Image::nginx()).with(&Image::hello());
    compose.add_launcher().run().expect_ok();
    let report = Boot::of(&root).run(&script(
        r#"
        for entry in nginx:8080:nginx hello:8081:busybox; do
          IFS=: read -r unit port program <<<"$entry"
          wait_for has_state $unit.service active
          wait_for fetch $port
          echo "$unit: $(fetch $port | tail -n 1)"
          for pid in $(inside $unit); do
            grep -q "/$unit.service/" /proc/$pid/cgroup || fail "process $pid of $unit is elsewhere: $(cat /proc/$pid/cgroup)"
          done
          first=$(is MainPID $unit)
          systemctl restart $unit || fail "restart of $unit"
          [ "$(is MainPID $unit)" != "$first" ] || fail "$unit was not restarted"
          wait_for fetch $port
          systemctl stop $unit || fail "stop of $unit"
          expect "state of $unit" "$(is ActiveState $unit)" inactive
          expect "result of $unit" "$(is Result $unit)" success
          wait_for nowhere $program
          systemctl start $unit || fail "start of $unit"
          wait_for fetch $port
        done
        expect "failed units" "$(systemctl --failed --no-legend | wc -l)" 0
        "#,
    ));
    let report = report.expect_ok();
    let answers = "nginx: sysctr demo: this page comes from inside a read-only image\n\
                   hello: sysctr demo: hello from a container with four entries\n";
    assert_eq!(report.text, answers);
}

#[test]
fn a_killed_payload_is_restarted_and_exit_statuses_are_exact() {
    let root = with_payloads(&[
        ("plain", "run = { args = ['serve=7001'] }"),
        ("seven", "enable = false\nunit = { restart = 'no' }\nrun = { args = ['sleep=300', 'exit=7'] }"),
        ("nine", "enable = false\nunit = { restart = 'no' }\nrun = { args = ['on:TERM=9'] }"),
        ("int", "enable = false\nrun = { args = ['on:INT=0', 'ignore:TERM'], stop_signal = 'SIGINT' }"),
        ("stubborn", "enable = false\nrun = { args = ['ignore:TERM'], stop_timeout = '1s' }"),
    ]);
    let report = Boot::of(&root).run(&script(
        r#"
        wait_for has_state plain active
        pid=$(inside plain); first=$(is MainPID plain)
        expect "main process" "$first" "$pid"
        kill -KILL $pid
        wait_for restarted plain 1
        [ "$(is MainPID plain)" != "$first" ] || fail "plain has the same process"
        wait_for fetch 7001

        systemctl start seven; wait_for has_state seven failed
        expect "status of seven" "$(is ExecMainStatus seven) $(is Result seven)" "7 exit-code"

        systemctl start nine || fail "start of nine"
        systemctl stop nine
        expect "status of nine" "$(is ExecMainStatus nine) $(is Result nine)" "9 exit-code"

        systemctl start int || fail "start of int"
        systemctl stop int
        expect "status of int" "$(is ExecMainStatus int) $(is Result int) $(is ActiveState int)" "0 success inactive"

        systemctl start stubborn || fail "start of stubborn"
        pid=$(is MainPID stubborn)
        systemctl stop stubborn
        expect "status of stubborn" "$(is ExecMainCode stubborn) $(is ExecMainStatus stubborn)" "2 9"
        ! kill -0 $pid 2>/dev/null || fail "stubborn still runs"
        "#,
    ));
    report.expect_ok();
}

/// SIGKILL is the images' stop signal here, so to die of it is a good end, but only when somebody stops the unit.
#[test]
fn who_is_killed_from_outside_starts_again_whatever_stops_it() {
    let kill = "stop_signal = 'SIGKILL'";
    let root = with_payloads(&[
        ("plain", &format!("run = {{ {kill}, args = ['serve=7001'] }}")),
        ("told", &format!("unit = {{ notify = true }}\nrun = {{ {kill}, args = ['ready'] }}")),
        ("abnormal", &format!("unit = {{ restart = 'on-abnormal' }}\nrun = {{ {kill} }}")),
        ("never", &format!("unit = {{ restart = 'no' }}\nrun = {{ {kill} }}")),
    ]);
    let report = Boot::of(&root).run(&script(
        r#"
        for unit in plain told abnormal; do
          wait_for has_state $unit active
          first=$(inside $unit)
          kill -KILL $first
          wait_for restarted $unit 1
          [ "$(inside $unit)" != "$first" ] || fail "$unit has the same process"
          systemctl stop $unit || fail "stop of $unit"
          expect "$unit" "$(is ActiveState $unit) $(is SubState $unit) $(is Result $unit)" "inactive dead success"
          systemctl start $unit || fail "start of $unit"
        done
        wait_for has_state never active
        kill -KILL $(inside never)
        wait_for has_state never inactive
        expect "never" "$(is SubState never) $(is NRestarts never)" "dead 0"
        "#,
    ));
    report.expect_ok();
}

#[test]
fn where_the_launcher_cannot_stop_a_container_systemd_sends_its_signal() {
    let int = "run = { args = ['on:INT=5', 'ignore:TERM'], stop_signal = 'SIGINT' }";
    let root = with_payloads(&[("int", int)]);
    let drop_in = root.join("etc/systemd/system/int.service.d");
    std::fs::create_dir_all(&drop_in).unwrap();
    std::fs::write(drop_in.join("broken.conf"), "[Service]\nExecStop=\nExecStop=/bin/false\n").unwrap();
    let report = Boot::of(&root).run(&script(
        r#"
        wait_for has_state int active
        systemctl stop int
        expect "its end" "$(is ExecMainCode int) $(is ExecMainStatus int)" "1 5"
        "#,
    ));
    report.expect_ok();
}

#[test]
fn notify_watchdog_and_a_killed_runtime_are_as_systemd_expects() {
    let root = with_payloads(&[(
        "told",
        "unit = { notify = true }\nrun = { args = ['sleep=500', 'status=quite well', 'watchdog', 'ready'] }",
    )]);
    let drop_in = root.join("etc/systemd/system/told.service.d");
    std::fs::create_dir_all(&drop_in).unwrap();
    std::fs::write(drop_in.join("watchdog.conf"), "[Service]\nWatchdogSec=1s\n").unwrap();
    let report = Boot::of(&root).run(&script(
        r#"
        wait_for has_state told active
        expect "type" "$(is Type told)" notify
        expect "status text" "$(is StatusText told)" "quite well"
        runtime=$(is MainPID told)
        sleep 2.5
        expect "process after two watchdogs" "$(is MainPID told) $(is NRestarts told)" "$runtime 0"

        kill -USR2 $(inside told)
        wait_for restarted told 1
        journalctl -u told --no-pager | grep -q 'Watchdog timeout' || fail "no watchdog timeout was logged"

        runtime=$(is MainPID told) payload=$(inside told)
        kill -KILL $runtime
        wait_for restarted told 2
        ! kill -0 $payload 2>/dev/null || fail "the payload outlived its runtime"

        systemctl stop told
        expect "after stop" "$(is Result told) $(is ActiveState told)" "success inactive"
        "#,
    ));
    report.expect_ok();
}

/// 200 starts and stops, each with the payload's own exit status.
fn cycles(runtime: &str) {
    let root = with_payloads(&[(
        "cycle",
        &format!(
            "enable = false\nruntime = '{runtime}'\nunit = {{ restart = 'no' }}\nrun = {{ args = ['on:TERM=42'] }}"
        ),
    )]);
    let report = Boot::of(&root).at_most(300).run(&script(
        r#"
        for turn in $(seq 200); do
          systemctl reset-failed cycle 2>/dev/null
          systemctl start cycle || fail "start $turn"
          expect "main process at $turn" "$(inside cycle)" "$(is MainPID cycle)"
          systemctl stop cycle
          expect "status at $turn" "$(is ExecMainCode cycle) $(is ExecMainStatus cycle) $(is Result cycle)" "1 42 exit-code"
        done
        ! journalctl --no-pager | grep 'not our child' || fail "a main process was not a child of systemd"
        [ -z "$(ls /run/sysctr/runtime 2>/dev/null)" ] || fail "the runtime remembers $(ls /run/sysctr/runtime)"
        "#,
    ));
    report.expect_ok();
}

#[test]
fn two_hundred_cycles_by_runc() {
    cycles("runc");
}

#[test]
fn two_hundred_cycles_by_crun() {
    cycles("crun");
}

#[test]
fn users_of_the_host_cannot_reach_a_setuid_file_of_an_image() {
    let root = with_payloads(&[("plain", "")]);
    let report = Boot::of(&root).run(&script(
        r#"
        file=/usr/lib/containers/atomic/plain/rootfs/bin/setuid
        expect "mode" "$(stat -c '%a %u' $file)" "4755 0"
        # setpriv keeps its capabilities until it becomes another program, so it is a shell that begins the try.
        as_visitor() { setpriv --reuid=visitor --regid=visitor --clear-groups -- sh -c 'exec "$@"' sh "$@"; }
        $file exit=0 || fail "root can't run it, so this test shows nothing"
        for try in "$file exit=0" "stat $file" "ls /usr/lib/containers/atomic/plain" "cat $file"; do
          ! as_visitor $try >/dev/null 2>&1 || fail "a user can: $try"
        done
        for pid in $(inside plain); do
          ! as_visitor stat /proc/$pid/root/bin/setuid 2>/dev/null || fail "a user gets there by /proc/$pid/root"
        done
        as_visitor grep -q '"plain"' /usr/lib/containers/atomic/embedded.json || fail "a user can't read what is embedded"
        "#,
    ));
    report.expect_ok();
}

#[test]
fn a_payload_gets_no_foreign_device() {
    let tries = "'mknod=c:10:229:/dev/foreign', 'open=/dev/foreign'";
    let root = with_payloads(&[
        (
            "ordinary",
            &format!("run = {{ args = ['show', {tries}, 'write=/written', 'write=/tmp/written'] }}"),
        ),
        (
            "may-mknod",
            &format!(
                "run = {{ cap_add = ['MKNOD'], args = ['mknod=c:1:3:/dev/own', 'open=/dev/own', {tries}] }}"
            ),
        ),
    ]);
    let report = Boot::of(&root).run(&script(
        r#"
        wait_for has_state ordinary active; wait_for has_state may-mknod active
        sleep 0.5
        for unit in ordinary may-mknod; do
          journalctl --no-pager -o cat -t $unit | grep -E '^(mknod|open|write)=' | sed "s/^/$unit: /"
        done
        "#,
    ));
    let report = report.expect_ok();
    let expected = "ordinary: mknod=c:10:229:/dev/foreign: Operation not permitted\n\
                    ordinary: open=/dev/foreign: No such file or directory\n\
                    ordinary: write=/written: Read-only file system\n\
                    ordinary: write=/tmp/written: ok\n\
                    may-mknod: mknod=c:1:3:/dev/own: ok\n\
                    may-mknod: open=/dev/own: ok\n\
                    may-mknod: mknod=c:10:229:/dev/foreign: Operation not permitted\n\
                    may-mknod: open=/dev/foreign: No such file or directory\n";
    assert_eq!(report.text, expected, "{}", report.journal);
}
