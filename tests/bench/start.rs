//! What `sysctr run` adds to a start by the runtime alone: time, memory, page faults; and how large the program is.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Instant;

use serde_json::json;
use sysctr_tests::Program;
use sysctr_tests::machine::Machine;

use crate::rounds::{Bytes, median};
use crate::rows::{Row, Rows, Verdict};

/// A runtime that does nothing at all.
const NOTHING: &str = "/usr/lib/under-test/runc";
/// The runtimes, with the starts of each side; more rounds mean more of them. Of 1000 starts by runc 900 take 25 to 50 ms, so the
/// medians of 250 were 0.3 to 2.5 ms apart, and those of 600 still 0.1 to 1.9.
const STARTS_A_ROUND: [(&str, usize); 2] = [("runc", 1600), ("crun", 700)];
/// The most that the launcher may add to the runtime's time, in milliseconds.
const ADDED: f64 = 1.5;
const SIZE: Bytes = Bytes(4 << 20);
const MEMORY: Bytes = Bytes(4 << 20);

pub fn run(rounds: usize) -> Rows {
    let mut machine = Machine::new();
    for (runtime, _) in STARTS_A_ROUND {
        machine.embed(runtime, &format!("by-{runtime}"), "exit 0", |_, _| {});
    }
    machine.embed("runc", "by-nothing", "exit 0", |_, record| record["runtime"] = json!(NOTHING));
    let nothing = machine.under_test().join("runc");
    std::fs::write(&nothing, "#!/bin/busybox true\n").expect("a file of ours");
    std::fs::set_permissions(&nothing, Permissions::from_mode(0o755)).expect("a file of ours");
    machine.up();
    machine.shell("mkdir -p /run/alone");
    let size = Bytes(std::fs::metadata(Program::Launcher.path()).expect("it was built").len());
    let small = Verdict::of(size <= SIZE);
    println!("  sysctr: {size}; asked {SIZE}: {small}");
    let small = Row {
        work: "sysctr, stripped".to_owned(),
        found: size.to_string(),
        asked: SIZE.to_string(),
        verdict: small,
    };
    let rows = Rows::from(small).and(memory(&machine));
    STARTS_A_ROUND
        .into_iter()
        .fold(rows, |rows, (runtime, starts)| rows.and(time(&machine, runtime, starts * rounds)))
}

/// With a runtime that does nothing, what remains is the launcher's.
fn memory(machine: &Machine) -> Rows {
    let script = "time --quiet --format='%M %R' --output=/run/used /usr/lib/under-test/sysctr run by-nothing; cat /run/used";
    let text = machine.shell(script);
    let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let [kib, faults] = numbers[..] else { panic!("time(1) wrote {text:?}") };
    let memory = Bytes(kib * 1024);
    let met = Verdict::of(memory <= MEMORY);
    println!("  memory {memory}, {faults} page faults; asked {MEMORY}: {met}");
    Row {
        work: "sysctr run".to_owned(),
        found: format!("{memory} of memory"),
        asked: MEMORY.to_string(),
        verdict: met,
    }
    .into()
}

/// Both in turn, in the same mount namespace.
fn time(machine: &Machine, runtime: &str, starts: usize) -> Rows {
    let bundle = format!("/usr/lib/containers/atomic/by-{runtime}");
    let alone = format!("{runtime} --root /run/alone run --bundle {} alone", bundle);
    let launched = format!("/usr/lib/under-test/sysctr run by-{runtime}");
    let start = |line: &str| -> f64 {
        let mut words = line.split(' ');
        let mut command = machine.command(words.next().expect("a program"));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        let begun = Instant::now();
        let status = command.status().expect("it can be started");
        let took = begun.elapsed();
        assert!(status.success(), "{line}: {status}");
        took.as_secs_f64() * 1000.0
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..starts {
        // Each in turn first.
        if turn % 2 == 0 {
            ours.push(start(&launched));
            theirs.push(start(&alone));
        } else {
            theirs.push(start(&alone));
            ours.push(start(&launched));
        }
    }
    let (with, without) = (median(ours.iter().copied()), median(theirs.iter().copied()));
    let met = Verdict::of(with - without <= ADDED);
    println!(
        "  {runtime}, {starts} starts each: {with:.2} ms, alone {without:.2} ms: {:.2} ms more; asked {ADDED} ms: {met}",
        with - without
    );
    Row {
        work: format!("sysctr run on top of {runtime}"),
        found: format!("{:.2} ms", with - without),
        asked: format!("{ADDED} ms"),
        verdict: met,
    }
    .into()
}
