//! What counts as healthy: readiness, a health command, a program that runs once; and units that an admin masked.

use crate::bench::{Bench, Version, version};

/// The server, by its own words ready or gone.
fn notifying(answer: &str, end: &str) -> Version {
    let script = format!("httpd -p 127.0.0.1:8085 -h /www; {end}");
    version(answer).with_payload().ends_with(&script)
}

#[test]
fn readiness_ends_a_trial_and_its_lack_leads_back() {
    let bench = Bench::new(&[version("0")]);
    bench.embed(&notifying("1", "exec /bin/payload ready"), "unit = { notify = true }");
    bench.image(&notifying("2", "exec /bin/payload ready"));
    bench.image(&notifying("3", "sleep 0.3; echo never ready >&2; exit 3"));
    let report = bench.boot(
        r#"
        says 1
        sysctr update web --image oci:/images/2 || fail update
        says 2; expect type "$(is Type web)" notify
        ! sysctr update web --image oci:/images/3
        says 2; expect active "$(active)" "web.1 updated"
        "#,
    );
    assert_eq!(
        report.expect_ok().text,
        "web: web.1 runs\nsysctr: updating container web: web.2 is not healthy: its result is exit-code, its last words: never \
         ready; web.1 runs again\n"
    );
}

/// Whoever looks finds the next start, which says nothing of the last one.
#[test]
fn what_was_started_again_at_once_is_told_by_its_end() {
    let at_once = "[Unit]\nDescription=again\n[Service]\nRestart=on-failure\nRestartSec=0\nExecStart=$EXEC_START\n\
                   [Install]\nWantedBy=multi-user.target\n";
    let bench = Bench::new(&[version("1").export("service.template", at_once)]);
    bench.image(&version("2").ends_with("sleep 0.3; exit 3").export("service.template", at_once));
    let report = bench.boot("says 1; ! sysctr update web --image oci:/images/2; says 1");
    assert_eq!(
        report.expect_ok().text,
        "sysctr: updating container web: web.1 is not healthy: its result is exit-code; web as the host image has it runs again\n"
    );
}

#[test]
fn a_health_command_ends_a_trial_and_its_failure_leads_back() {
    let bench = Bench::new(&[version("0")]);
    let command = r#"read a b </www/index.html; echo it is $b >&2; [ "$b" != bad ]"#;
    let health = format!("exec = ['/bin/sh', '-c', '{command}'], interval = '100ms', timeout = '1s'");
    bench.embed(&version("1"), &format!("unit = {{ restart = 'no', health = {{ {health} }} }}"));
    bench.image(&version("2"));
    bench.image(&version("bad"));
    let report = bench.boot(
        r#"
        says 1
        sysctr update web --image oci:/images/2 || fail update
        says 2
        ! sysctr update web --image oci:/images/bad
        says 2; expect active "$(active)" "web.1 updated"
        "#,
    );
    let text = report.expect_ok().text;
    let begin = "web: web.1 runs\nsysctr: updating container web: web.2 is not healthy: its result is exit-code, its last words: ";
    assert!(text.starts_with(begin), "{text}");
    assert!(
        text.ends_with("did not pass within 1s: exit status: 1, it is bad; web.1 runs again\n"),
        "{text}"
    );
}

/// A program that ends, and these lines of its unit.
fn once(answer: &str, end: &str, lines: &str) -> Version {
    let unit = format!(
        "[Unit]\nDescription=once\n[Service]\nType=oneshot\n{lines}ExecStart=$EXEC_START\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    version(answer).ends_with(&format!("echo ran {answer}; {end}")).export("service.template", &unit)
}

/// The same, whose unit stays active.
fn remaining(answer: &str, end: &str) -> Version {
    once(answer, end, "RemainAfterExit=yes\n")
}

const RAN: &str = r#"
ran() { journalctl --sync; expect ran "$(journalctl -o cat -t web | grep '^ran' | tail -n 1)" "ran $1"; }
"#;

#[test]
fn what_runs_once_is_tried_where_it_remains_and_else_waits_for_its_start() {
    let bench = Bench::new(&[once("1", "exit 0", "")]);
    bench.image(&once("2", "exit 0", ""));
    bench.image(&once("3", "exit 3", ""));
    let report = bench.boot(&format!(
        "{RAN}{}",
        r#"
        ran 1
        sysctr update web --image oci:/images/2 || fail update
        ran 1; systemctl start web; ran 2
        sysctr update web --image oci:/images/3
        ! systemctl start web 2>/dev/null; ran 3
        # It failed, so that it is wanted.
        sysctr update web --image oci:/images/2 || fail mending; ran 2
        expect active "$(active)" "web.3 updated"
        "#
    ));
    assert_eq!(
        report.expect_ok().text,
        "web: web.1 is what the next start runs\nweb: web.2 is what the next start runs\nweb: web.3 runs\n"
    );
    let bench = Bench::new(&[remaining("1", "exit 0")]);
    bench.image(&remaining("2", "exit 0"));
    bench.image(&remaining("3", "echo why; exit 3"));
    let report = bench.boot(&format!(
        "{RAN}{}",
        r#"
        ran 1
        sysctr update web --image oci:/images/2 || fail update
        ran 2; expect state "$(is ActiveState web) $(is SubState web)" "active exited"
        ! sysctr update web --image oci:/images/3
        ran 2; expect active "$(active)" "web.1 updated"
        expect state "$(is ActiveState web) $(is SubState web)" "active exited"
        "#
    ));
    assert_eq!(
        report.expect_ok().text,
        "web: web.1 runs\nsysctr: updating container web: web.2 is not healthy: its result is exit-code, its last words: ran 3 \
         | why; web.1 runs again\n"
    );
}

#[test]
fn a_masked_unit_is_told_before_anything_is_tried() {
    let bench = Bench::new(&[version("1")]);
    bench.image(&version("2"));
    let report = bench.boot(
        r#"
        says 1; systemctl mask --quiet web
        ! sysctr update web --image oci:/images/2
        # Before a layer is looked at: this image has none.
        cp -a /images/2 /run/2; for blob in /run/2/blobs/sha256/*; do grep -q '^{' $blob || rm $blob; done
        ! sysctr update web --image oci:/run/2
        says 1; expect active "$(active)" "embedded shipped"
        systemctl unmask --quiet web; systemctl stop web; systemctl mask --quiet web
        sysctr update web --image oci:/images/2 || fail update
        systemctl unmask --quiet web; systemctl start web; says 2
        "#,
    );
    let refused = "sysctr: updating container web: web.service is masked on this host, so that nothing new could be tried; \
                   `systemctl unmask web.service` lets it start, or stop it first\n";
    assert_eq!(
        report.expect_ok().text,
        format!(
            "{refused}{refused}sysctr: web.service is masked on this host; `systemctl unmask \
         web.service` lets it start\nweb: web.1 is what the next start runs\n"
        )
    );
}
