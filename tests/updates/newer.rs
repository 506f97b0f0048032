//! After a host rollback an older `sysctr` sees what a newer one wrote.

use crate::bench::{Bench, version};

#[test]
fn what_a_newer_program_wrote_does_not_run_and_is_not_collected() {
    let bench = Bench::new(&[version("1")]);
    bench.image(&version("2"));
    bench.image(&version("3"));
    bench
        .boot("sysctr update web --image oci:/images/2; sysctr update web --image oci:/images/3; says 3")
        .expect_ok();
    let report = bench.boot(
        r#"
        # As a later version would write them: its record, its description, both.
        bundle=/var/lib/containers/atomic/web.2 etc=/etc/containers/atomic/web.2
        newer() { sed -i 's/"version": 1/"version": 2/' $1; }
        record() { sha256sum $bundle/record.json | cut -d ' ' -f 1; }
        old=$(record); cp -a $bundle/record.json /run/record.json; cp -a $etc/generation.json /run/generation.json
        for kind in record description; do
          systemctl stop web
          cat /run/record.json >$bundle/record.json; cat /run/generation.json >$etc/generation.json
          if [ $kind = record ]; then
            newer $bundle/record.json; sed -i "s/$old/$(record)/" $etc/generation.json
          else
            newer $etc/generation.json
          fi
          systemctl daemon-reload; systemctl start web; says 1
          expect active "$(active)" "embedded fallback"
          journalctl --sync; journalctl -o cat -t web | grep -c "running what the host image has, since reading .*: it has format version 2, this program knows up to 1; use a newer sysctr"
        done
        ! sysctr gc
        ! sysctr rollback web --to 2
        ls /var/lib/containers/atomic /etc/containers/atomic
        # What is older than that is used as ever.
        sysctr rollback web; says 2
        "#,
    );
    let text = report.expect_ok().text;
    let refused = "sysctr: collecting what nothing refers to: a newer sysctr wrote /etc/containers/atomic/web.2/generation.json, so \
                   nothing is removed; use that one\n";
    assert!(text.starts_with("1\n2\n") && text.contains(refused), "{text}");
    let kept = "/etc/containers/atomic:\nweb\nweb.1\nweb.2\n\n/var/lib/containers/atomic:\nweb.1\nweb.2\n";
    assert!(text.contains(kept), "{text}");
}
