//! Twenty units started at once by a systemd of their own (systemd-nspawn): containers, beside units whose `ExecStart=` is the runtime
//! with the same bundles. The design has no number for it.

use sysctr_tests::{Boot, Compose, Image, Root};

use crate::rounds::median;
use crate::rows::Rows;

const UNITS: usize = 20;
/// Starts of all units, each side in turn first; more rounds mean more of them.
const STARTS_A_ROUND: usize = 4;

pub fn run(rounds: usize) -> Rows {
    for runtime in ["runc", "crun"] {
        let report =
            Boot::of(&root(runtime)).at_most(600).run(&script(runtime, STARTS_A_ROUND * rounds)).expect_ok();
        let of = |side: &str| -> f64 {
            let words = report.text.lines().filter_map(|line| line.strip_prefix(side)?.strip_prefix(' '));
            median(words.map(|word| word.parse().expect("a number")))
        };
        let (ours, plain) = (of("ours"), of("plain"));
        println!(
            "  {runtime}, {UNITS} units at once, {} starts: {ours:.0} ms, of the runtime alone {plain:.0} ms: {:.2} ms more a unit",
            STARTS_A_ROUND * rounds,
            (ours - plain) / UNITS as f64
        );
    }
    Rows::none()
}

/// A root with twenty containers that nothing starts.
fn root(runtime: &str) -> Root {
    let root = Root::debian();
    let image = Image::payload();
    let container = |number| {
        format!(
            "[[container]]\nname = 'c{number}'\nimage = '{}'\nruntime = '{runtime}'\nenable = false\nrun = {{ args = ['sleep=1000'] }}\n",
            image.in_manifest()
        )
    };
    let containers: String = (1..=UNITS).map(container).collect();
    let manifest = format!("group = 'together'\n{containers}");
    Compose::into(&root).manifest(manifest).with(&image).add_launcher().run().expect_ok();
    // Else the launcher binds something else in their place, which the runtime alone does not.
    for file in ["etc/hosts", "etc/resolv.conf"] {
        let path = root.path().join(file);
        if !path.exists() {
            std::fs::write(path, "").expect("a root of ours");
        }
    }
    root
}

/// Prints `ours N` and `plain N` in milliseconds. A relative cgroup path would put the plain ones into one place.
fn script(runtime: &str, starts: usize) -> String {
    // As the launcher calls it in a unit.
    let options = if runtime == "crun" { "--cgroup-manager=disabled" } else { "" };
    format!(
        r##"
        mkdir -p /run/plain
        for i in $(seq {UNITS}); do
          from=/usr/lib/containers/atomic/c$i to=/run/plain/b$i
          mkdir -p $to
          sed -E 's#"cgroupsPath": *"[^"]*"#"cgroupsPath": "/plain/p'$i'"#; s#("path": *)"rootfs"#\1"'$from'/rootfs"#' $from/config.json >$to/config.json
          call="$(command -v {runtime}) {options} --root /run/plain/state"
          printf '%s\n' [Service] Type=forking PIDFile=/run/plain/p$i.pid KillMode=none \
            "ExecStart=$call run --detach --pid-file /run/plain/p$i.pid --bundle $to p$i" \
            "ExecStop=$call kill p$i KILL" "ExecStopPost=-$call delete --force p$i" SuccessExitStatus=SIGKILL \
            >/run/systemd/system/p$i.service
        done
        systemctl daemon-reload
        # once LETTER: milliseconds until all units of that letter are up
        once() {{
          local units begun
          units=$(for i in $(seq {UNITS}); do echo $1$i.service; done)
          begun=$(date +%s%N)
          systemctl start $units || fail "start of $1"
          took=$((($(date +%s%N) - begun) / 1000000))
          systemctl stop $units || fail "stop of $1"
        }}
        once c; once p
        for turn in $(seq {starts}); do
          if [ $((turn % 2)) = 0 ]; then sides="c p"; else sides="p c"; fi
          for side in $sides; do
            once $side
            if [ $side = c ]; then echo ours $took; else echo plain $took; fi
          done
        done
        "##
    )
}
