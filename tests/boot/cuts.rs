//! Power cuts: a machine loses its power, and with it all that was not flushed, in the middle of changes; the next boot finds every
//! container as it was before or as it should become.

use std::time::Duration;

use sysctr_tests::{Command, Random, fixture, soak, source_dir};

use crate::disk::Disk;
use crate::images;
use crate::life::small;
use crate::machine::{Desk, Entry, Runtime};

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
    let command = Command::new("bash").arg(source_dir().join("tests/boot/cut.sh"));
    let command = command.arg(fixture::directory("uml")).arg(disk.path()).arg(desk.path());
    command.arg(time.as_millis().to_string()).arg(word).run().expect_ok();
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

fn seed() -> u64 {
    std::env::var("SYSCTR_SEED").map_or(0x5eed, |seed| seed.parse().expect("SYSCTR_SEED is a number"))
}

#[test]
fn after_each_power_cut_every_container_is_old_or_new() {
    let cuts = if soak() { 100 } else { 6 };
    let seed = seed();
    println!("{cuts} power cuts, SYSCTR_SEED={seed}");
    let mut random = Random(seed);
    let disk = small(Runtime::Runc.on("bookworm")).disk(&["first"]);
    let desk = Desk::new();
    images::web("2", &desk.file("web2"));
    images::web("3", &desk.file("web3"));
    images::archive(&desk.file("web2"), &desk.file("web2.tar"));
    note(&desk, "expected", "none\n");
    let mut flushed = "none".to_owned();
    for number in 0..cuts {
        let time = Duration::from_millis(random.below(8_000).try_into().expect("a small number"));
        // Each third one, and the very first, comes while the machine boots.
        let moment = if number % 3 == 0 { Cut::Boot(time) } else { Cut::Change(time) };
        note(&desk, "expected", &format!("{flushed}\n"));
        note(&desk, "next", &format!("{number}\n"));
        cut(&desk, &disk, moment);
        println!("{number}: {moment:?}");
        expect_well(&desk, &format!("before cut {number}, {moment:?}"), Some(moment));
        if desk.report().text.contains("\nGO") {
            flushed = number.to_string();
        }
    }
    note(&desk, "expected", &format!("{flushed}\n"));
    note(&desk, "last", "");
    let report = desk.boot(&disk, Entry::Newest, include_str!("guest/cut.sh"));
    assert!(report.has_ended(), "{}", report.story());
    expect_well(&desk, "after the last cut", None);
}
