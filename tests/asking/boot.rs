//! What is asked of a host that its own systemd booted.

use sysctr_tests::{Command, source_dir};

use crate::bench::{Bench, version};

#[test]
fn the_journal_a_temporary_container_and_the_timer() {
    let web = version("1").ends_with("echo said by web; exec httpd -f -p 127.0.0.1:8085 -h /www");
    let bench = Bench::new(&[web]);
    let install = Command::new("make").args(["-C".as_ref(), source_dir().as_os_str()]).arg("install-files");
    install.arg(format!("DESTDIR={}", bench.root().display())).run().expect_ok();
    let report = bench.boot(
        r#"
        says 1
        said() { journalctl --sync; sysctr logs web -n 20 -b 0 | grep -q "$1"; }
        wait_for said "said by web"
        said "Started" || fail "nothing of systemd's"
        sysctr logs web --format json --since -1h | head -n 1 | grep -q '^{.*"MESSAGE"' || fail "no JSON"
        ! sysctr logs nobody
        sysctr exec web sh -c 'read page </www/index.html; echo "running: $page"'
        systemctl stop web
        sysctr exec web sh -c 'read page </www/index.html; echo "stopped: $page, process $$"; exit 4'; echo "status $?"
        ls /run/sysctr /run/sysctr/runtime
        [ ! -e /sys/fs/cgroup/sysctr ] || fail "a cgroup is left"
        systemctl start web; says 1
        expect timer "$(systemctl is-enabled sysctr-update.timer)" disabled
        systemctl start sysctr-update.service || fail "the service"
        systemctl start sysctr-update.timer; systemctl list-timers --no-legend | grep -c sysctr-update
        sysctr verify web
        "#,
    );
    assert_eq!(
        report.expect_ok().text,
        "sysctr: reading the journal of container nobody: this host has none of that name; `sysctr list` shows what it has\n\
         running: version 1\nstopped: version 1, process 1\nstatus 4\n/run/sysctr:\nruntime\n\n/run/sysctr/runtime:\n1\n\
         web as the host image has it: intact\n"
    );
}
