//! Files of the host that updates bring: in place, left to admins, gone again; places that two containers want.

use crate::bench::{Bench, Version, version};
use crate::desk::Desk;

/// An image with a configuration, a directory of them, state and a program below /var.
fn with_files(answer: &str) -> Version {
    version(answer)
        .host_file("/etc/web/web.conf", &format!("conf {answer}\n"))
        .host_file("/etc/web/more.conf", &format!("more {answer}\n"))
        .host_file("/var/lib/web-state/seed", &format!("seed {answer}\n"))
        .host_file("/var/opt/bin/webctl", &format!("#!/bin/sh\necho ctl {answer}\n"))
}

#[test]
fn host_files_come_stay_an_admins_and_go() {
    let bench = Bench::new(&[with_files("1")]);
    for answer in ["2", "3"] {
        bench.image(&with_files(answer));
    }
    bench.image(&version("usr").host_file("/usr/share/web.txt", "x"));
    bench.image(&version("bad").host_file("/etc/web/web.conf", "conf bad\n").ends_with("sleep 0.5; exit 1"));
    bench.image(&version("clash").host_file("/etc/web/web.conf", "conf 1\n"));
    bench.image(&version("own").host_file("/etc/hostname", "x"));
    bench.image(&version("state").host_file("/var/lib/web-state/seed", "other"));
    let report = bench.boot(
        r#"
        has() { expect "$1" "$(cat /etc/web/$1.conf)" "$2"; }
        conf() { has web "conf $1"; }
        at() { stat -c '%n %a %U:%G' /etc/web/*; }
        conf 1; at_first=$(at)
        expect ctl "$(/var/opt/bin/webctl)" "ctl 1"
        sysctr update web --image oci:/images/2 || fail "update to 2"
        says 2; conf 2; has more "more 2"
        expect ctl "$(/var/opt/bin/webctl)" "ctl 2"
        # What was there by then stays.
        expect seed "$(cat /var/lib/web-state/seed)" "seed 1"
        ! sysctr update web --image oci:/images/bad
        says 2; conf 2; has more "more 2"
        ! sysctr update web --image oci:/images/usr
        echo mine >/etc/web/more.conf
        sysctr update web --image oci:/images/3
        says 3; conf 3
        has more mine
        sysctr rollback web; conf 2
        for image in clash own state; do ! sysctr install oci:/images/$image --name $image; done
        echo "more 1" >/etc/web/more.conf
        sysctr reset web; says 1; conf 1
        expect rights "$(at)" "$at_first"
        expect ctl "$(/var/opt/bin/webctl)" "ctl 1"
        ls -A /etc/containers/atomic /etc/web
        "#,
    );
    let text = report.expect_ok().text;
    let lines: Vec<_> = text.lines().collect();
    let expected = [
        "web: web.1 runs",
        "sysctr: updating container web: web.2 is not healthy: its result is exit-code; web.1 runs again",
        "sysctr: updating container web: its host file /usr/share/web.txt can't be placed, since /usr/share is read-only; \
         compose a new host image with it",
        "sysctr: host file /etc/web/more.conf of container web was changed on this host, so it stays as it is",
        "web: web.3 runs",
    ];
    assert_eq!(lines[..5], expected, "{text}");
    for refused in [
        "sysctr: installing container clash: its host file /etc/web/web.conf belongs to container web already, and differs",
        "sysctr: installing container own: preparing container own: placing host file /etc/hostname: the target has a file at \
         /etc/hostname; put it into allow_conflicts to replace it, or remove it from the target",
        "sysctr: installing container state: placing container state: its host file /var/lib/web-state/seed is at \
         /var/lib/web-state/seed on the host, where container web has another (host file /var/lib/web-state/seed of it); \
         leave one of them out",
    ] {
        assert!(lines.contains(&refused), "{refused}\n{text}");
    }
    assert!(
        text.ends_with("/etc/containers/atomic:\nweb.1\nweb.3\n\n/etc/web:\nmore.conf\nweb.conf\n"),
        "{text}"
    );
}

#[test]
fn a_boot_completes_what_was_cut_off_and_a_container_comes_again() {
    let bench = Bench::new(&[version("1")]);
    bench.image(&with_files("2"));
    bench.image(&with_files("3").ends_with("sleep 600"));
    let app = version("app").host_file("/etc/app/app.conf", "conf\n");
    bench.image(&app.host_file("/var/lib/app-state/seed", "seed\n"));
    bench
        .boot(
            r#"
            sysctr update web --image oci:/images/2; says 2
            sysctr update web --image oci:/images/3 & updater=$!
            wait_for grep -q 'conf 3' /etc/web/web.conf
            kill -KILL $updater
            "#,
        )
        .expect_ok();
    // It is what was before, so its files are, too; and nobody but the boot put them there.
    let boot = bench.boot(
        r#"
        says 2
        expect conf "$(cat /etc/web/web.conf)" "conf 2"
        is ExecMainStatus sysctr-settle@web.service
        [ "$(is ExecMainExitTimestampMonotonic sysctr-settle@web)" -lt "$(is ExecMainStartTimestampMonotonic web)" ] || fail order
        sysctr reset web
        ls /etc/containers/atomic; ! test -e /etc/web || fail "there is a directory left"
        sysctr install oci:/images/app || fail "install"
        expect conf "$(cat /etc/app/app.conf)" "conf"
        echo mine >/etc/app/own.conf
        sysctr uninstall app
        ls /etc/app; cat /var/lib/app-state/seed
        sysctr install oci:/images/app
        sysctr uninstall app --purge
        "#,
    );
    let text = boot.expect_ok().text;
    assert!(text.starts_with("0\n"), "{text}");
    assert!(text.contains("\nown.conf\nseed\napp: app.2 is what the next start runs\n"), "{text}");
}

#[test]
fn a_writable_usr_of_a_host_without_ostree_gets_its_files() {
    let desk = Desk::new(&[with_files("1").host_file("/usr/share/web/page", "page\n")], 1);
    let page = desk.root().join("usr/share/web/page");
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    assert_eq!(std::fs::read_to_string(&page).expect("a host file"), "page\n");
    let record = desk.state().join("var/atomic/web.1/record.json");
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(record).expect("a record")).expect("JSON");
    assert_eq!(record["placed"]["usr/share/web/page"]["kind"], "file");
    assert!(record["placed"]["etc/web/web.conf"]["digest"].is_string());
    desk.sysctr(&[], "reset web").expect_ok();
    assert!(!page.parent().expect("a directory").exists());
    assert!(!desk.root().join("etc/web").exists());
}
