//! Updates on a host that its own systemd booted: generations, switches, trials, and what a next boot finds.

#[expect(dead_code, reason = "tests/asking uses the rest of it")]
mod bench;
mod daemon;
mod deployments;
#[expect(dead_code, reason = "the tests of asking use the rest of it")]
mod desk;
mod faults;
mod health;
mod histories;
mod host_files;
#[path = "../registry/keys.rs"]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod keys;
mod kills;
mod newer;
#[path = "../registry/proxy.rs"]
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "what fails here fails the test; others use the rest of it"
)]
mod proxy;
mod registry;
mod remembered;
mod signed;
mod storing;

use bench::{Bench, version};

#[test]
fn an_update_runs_is_rolled_back_and_reset() {
    let bench = Bench::new(&[version("1")]);
    bench.image(&version("2"));
    bench.image(&version("3"));
    let report = bench.boot(
        r#"
        says 1
        sysctr update web --image oci:/images/2 || fail "update to 2"
        says 2
        expect active "$(active)" "web.1 updated"
        sysctr update web --image oci:/images/2 || fail "again"
        expect active "$(active)" "web.1 updated"
        sysctr update web --image oci:/images/3
        says 3
        sysctr rollback web; says 2
        sysctr rollback web; says 1
        expect active "$(active)" "embedded shipped"
        ! sysctr rollback web
        sysctr rollback web --to 2; says 3
        sysctr reset web; says 1
        systemctl stop web
        sysctr rollback web --to 1
        systemctl start web; says 2
        ls /etc/containers/atomic /var/lib/containers/atomic
        systemctl show -p FragmentPath web
        "#,
    );
    assert_eq!(
        report.expect_ok().text,
        "web: web.1 runs\nweb: nothing to change\nweb: web.2 runs\nweb: web.1 runs\nweb: web as the host image has it \
         runs\nsysctr: rolling back container web: it was never updated; nothing is before what the host image has\n\
         web: web.2 runs\nweb: web as the host image has it runs\nweb: web.1 is what the next start runs\n\
         /etc/containers/atomic:\nweb\nweb.1\nweb.2\n\n/var/lib/containers/atomic:\nweb.1\nweb.2\n\
         FragmentPath=/run/systemd/generator/web.service\n"
    );
    bench.assert_store_clean();
    // The next boot runs what this one switched to.
    bench.boot("says 2").expect_ok();
}

#[test]
fn what_does_not_become_healthy_leads_back() {
    let bench = Bench::new(&[version("1")]);
    bench.image(&version("2"));
    bench.image(&version("3").ends_with("sleep 0.5; echo no database >&2; exit 3"));
    bench.image(&version("4").ends_with("sleep 1; echo late >&2; exit 4"));
    let report = bench.boot(
        r#"
        sysctr update web --image oci:/images/2
        ! sysctr update web --image oci:/images/3
        says 2
        expect active "$(active)" "web.1 updated"
        ! sysctr update web --image oci:/images/4
        says 2
        ! sysctr update web --image oci:/images/3 --no-rollback
        expect active "$(active)" "web.4 updated"
        sysctr rollback web --to 1; says 2
        ls /etc/containers/atomic/
        "#,
    );
    let text = report.expect_ok().text;
    let expected = [
        "web: web.1 runs",
        "sysctr: updating container web: web.2 is not healthy: its result is exit-code, its last words: no database; \
         web.1 runs again",
        "sysctr: updating container web: web.3 is not healthy: its result is exit-code, its last words: late; web.1 \
         runs again",
        "sysctr: updating container web: web.4 is not healthy: its result is exit-code, its last words: no database; it \
         stays, as asked",
        "web: web.1 runs",
        "web\nweb.1\nweb.4",
    ];
    assert_eq!(text.trim_end().lines().collect::<Vec<_>>(), expected.join("\n").lines().collect::<Vec<_>>());
}

#[test]
fn a_boot_that_finds_a_trial_runs_what_was_before() {
    let bench = Bench::new(&[version("1")]);
    bench.image(&version("2"));
    bench.image(&version("3"));
    bench
        .boot(
            r#"
            sysctr update web --image oci:/images/2
            # Cut off while it waits for the next one to settle.
            sysctr update web --image oci:/images/3 & updater=$!
            wait_for test -e /etc/containers/atomic/web.2/trial.json
            says 3
            kill -KILL $updater
            expect active "$(active)" "web.2 trial"
            "#,
        )
        .expect_ok();
    let report = bench.boot(
        r#"
        says 2
        expect active "$(active)" "web.1 unproven"
        test -e /etc/containers/atomic/web.2/trial.json || fail "no trial"
        sysctr hold web
        expect active "$(active)" "web.1 held"
        ls /etc/containers/atomic
        says 2
        "#,
    );
    let text = report.expect_ok().text;
    assert_eq!(
        text,
        "sysctr: web.2 was never seen healthy by the program that switched to it; web.1 is active again\n\
         web: held at web.1\nweb\nweb.1\n"
    );
}

#[test]
fn an_interrupt_leads_back_and_a_units_own_files_follow() {
    let bench = Bench::new(&[version("1")]);
    bench.image(&version("2"));
    bench.image(&version("3").ends_with("sleep 600"));
    let report = bench.boot(
        r#"
        sysctr update web --image oci:/images/2; says 2
        sysctr update web --image oci:/images/3 & updater=$!
        wait_for test -e /etc/containers/atomic/web.2/trial.json
        kill -TERM $updater; wait $updater; echo "status $?"
        says 2
        expect active "$(active)" "web.1 updated"
        ls /etc/containers/atomic
        # A rollback that is cut off loses neither.
        sysctr update web --image oci:/images/3 --no-rollback
        sysctr rollback web & updater=$!
        wait_for test -e /etc/containers/atomic/web.1/trial.json
        kill -KILL $updater
        sysctr unhold web
        ls /etc/containers/atomic
        systemctl show -P RequiresMountsFor web | tr ' ' '\n' | grep atomic
        systemctl cat web | grep -c '^RequiresMountsFor=/var/lib/containers/atomic/web.'
        ! sysctr install oci:/images/1 --name dbus
        "#,
    );
    let text = report.expect_ok().text;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "web: web.1 runs");
    let interrupted = "sysctr: updating container web: web.2 is not healthy: it was interrupted before it had shown that; web.1 \
                       runs again";
    assert_eq!(lines[1..5], [interrupted, "status 1", "web", "web.1"], "{text}");
    assert!(text.contains("\nweb\nweb.1\nweb.3\n"), "{text}");
    let clash = "sysctr: installing container dbus: ";
    assert!(lines.iter().any(|line| line.starts_with(clash)), "{text}");
}

#[test]
fn hold_and_host_updates() {
    let bench = Bench::new(&[version("1")]);
    bench.image(&version("2"));
    bench.image(&version("3"));
    bench.boot("sysctr update web --image oci:/images/2; says 2").expect_ok();
    bench.update_host(&version("5"));
    bench
        .boot(
            r#"
            says 5
            expect active "$(active)" "embedded superseded"
            sysctr update web --image oci:/images/3; says 3
            sysctr hold web
            ! sysctr update web --image oci:/images/2
            "#,
        )
        .expect_ok();
    bench.update_host(&version("6"));
    let report = bench.boot(
        r#"
        says 3
        expect active "$(active)" "web.2 held"
        sysctr unhold web
        systemctl restart web
        says 6
        expect active "$(active)" "embedded superseded"
        "#,
    );
    assert_eq!(report.expect_ok().text, "web: web.2 is held no longer\n");
}

#[test]
fn a_container_is_installed_and_uninstalled() {
    let bench = Bench::new(&[]);
    bench.image(&version("1"));
    bench.image(&version("2"));
    let report = bench.boot(
        r#"
        sysctr install oci:/images/1 --name web || fail install
        systemctl start web; says 1
        sysctr list | tail -n 1
        sysctr update web --image oci:/images/2; says 2
        ! sysctr reset web
        mkdir -p /var/lib/sysctr/web/data
        sysctr uninstall web --purge
        ls -A /etc/containers/atomic /var/lib/containers/atomic
        ! test -e /var/lib/sysctr/web || fail purge
        ! systemctl status web 2>&1
        "#,
    );
    assert_eq!(
        report.expect_ok().text,
        "web: web.1 is what the next start runs\nweb                      -                oci:/images/1\n\
         web: web.2 runs\nsysctr: resetting container web: this host embeds none of that name; `sysctr uninstall web` \
         removes it\n/etc/containers/atomic:\n\n/var/lib/containers/atomic:\n.lock\n.repo\n.web.number\n\
         Unit web.service could not be found.\n"
    );
}
