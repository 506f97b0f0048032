//! Power cuts: a machine loses its power, and with it all that was not flushed, in the middle of changes; the next boot finds every
//! container as it was before or as it should become.

use std::fmt::Write as _;
use std::time::Duration;

use sysctr_tests::{Command, Random, number, soak, source_dir};

use crate::disk::Disk;
use crate::images;
use crate::life::{self, small};
use crate::machine::{Desk, Entry, HostKind, Runtime};

/// Where the power fails.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// So long after the machine was switched on.
    Boot(Duration),
    /// So long after the first of many updates, rollbacks, resets and collections began.
    Change(Duration),
}

/// How many things each boot tries.
const TRIED: usize = 4;

/// Cuts the power of a machine that boots from the disk.
fn cut(desk: &Desk, disk: &Disk, cut: Cut) {
    desk.prepare(disk, Entry::Newest, include_str!("guest/cut.sh"));
    let (word, time) = match cut {
        Cut::Boot(time) => ("START", time),
        Cut::Change(time) => ("GO", time),
    };
    let command = Command::new("bash").arg(source_dir().join("tests/boot/cut.sh")).arg(disk.path());
    let command = command.arg(desk.path()).arg(time.as_millis().to_string()).arg(word);
    command.args(disk.kernel().boot()).env("FLUSHES", "yes").run().expect_ok();
}

fn note(desk: &Desk, name: &str, text: &str) {
    std::fs::write(desk.file(name), text).expect("a scratch file");
}

/// What the boot that a cut interrupted had found: all of it, when changes had begun.
fn expect_well(desk: &Desk, what: &str, moment: Option<Cut>) {
    let report = desk.report();
    let all = !matches!(moment, Some(Cut::Boot(_)));
    assert!(
        !all || report.tried.len() == TRIED,
        "{what}: {} were tried\n{}",
        report.tried.len(),
        report.story()
    );
    for (name, tried) in &report.tried {
        assert!(tried.result == "ok", "{what}: {name}: {}\n{}", tried.text, report.story());
    }
}

#[test]
#[ignore = "a boot"]
fn after_each_power_cut_every_container_is_old_or_new() {
    let cuts = number("SYSCTR_CUTS").unwrap_or(if soak() { 100 } else { 10 });
    cut_often(Runtime::Runc.on("trixie"), cuts, Duration::from_secs(8));
}

#[test]
#[ignore = "a boot"]
fn with_debians_kernel_in_qemu_too() {
    cut_often(Runtime::Runc.on("bookworm").with_its_own_kernel(), 3, Duration::from_secs(40));
}

/// So many cuts of one machine, each within such a time.
fn cut_often(kind: HostKind, cuts: u64, span: Duration) {
    let seed = number("SYSCTR_SEED").unwrap_or(0x5eed);
    println!("{cuts} power cuts, SYSCTR_SEED={seed}");
    let mut random = Random(seed);
    let disk = small(kind).disk(&["first"]);
    let desk = Desk::new();
    images::web("2", &desk.file("web2"));
    images::web("3", &desk.file("web3"));
    images::archive(&desk.file("web2"), &desk.file("web2.tar"));
    let mut told = String::new();
    // One that was cut off before it said GO may have flushed its number all the same.
    let mut flushed = "none\n".to_owned();
    for number in 0..cuts {
        let time = random.below(span.as_millis().try_into().expect("a small number"));
        let time = Duration::from_millis(time.try_into().expect("a small number"));
        // Each third one, and the very first, comes while the machine boots.
        let moment = if number % 3 == 0 { Cut::Boot(time) } else { Cut::Change(time) };
        note(&desk, "expected", &flushed);
        note(&desk, "next", &format!("{number}\n"));
        cut(&desk, &disk, moment);
        println!("{number}: {moment:?}");
        writeln!(told, "# until cut {number}, {moment:?}\n{}", desk.report().text).unwrap_or_default();
        life::keep("cuts.report", &told);
        expect_well(&desk, &format!("before cut {number}, {moment:?}"), Some(moment));
        if desk.report().text.contains("\nGO") {
            flushed.clear();
        }
        writeln!(flushed, "{number}").unwrap_or_default();
    }
    note(&desk, "expected", &flushed);
    note(&desk, "last", "");
    let report = desk.boot(&disk, Entry::Newest, include_str!("guest/cut.sh"));
    assert!(report.has_ended(), "{}", report.story());
    expect_well(&desk, "after the last cut", None);
}
