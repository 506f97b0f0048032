//! Sides that are timed in turn, and what comes of it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sysctr_tests::Command;

use crate::rows::{Row, Rows, Verdict};

/// One way to do the work.
pub struct Side<'a> {
    name: &'static str,
    /// Not timed: makes the work start from the same state every time.
    prepare: Box<dyn FnMut() + 'a>,
    /// Timed, with the flush of what lies below `writes` afterwards.
    work: Box<dyn FnMut() -> Command + 'a>,
    writes: PathBuf,
    bound: Option<Bound>,
}

/// What a row of the design asks of our side.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// At most so many times the wall time of this side.
    Wall(f64),
    /// The same, and of its CPU time.
    WallAndCpu(f64, f64),
    /// Of our own side: at most so much wall time.
    Seconds(f64),
    /// Of our own side: at most so much memory in its largest process.
    Memory(Bytes),
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        write!(f, "{}.{} MiB", self.0 / MIB, self.0 % MIB * 10 / MIB)
    }
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// With the flush of what was written.
    pub wall: Duration,
    /// Of all processes that it started and waited for, a registry's not counted.
    pub cpu: Duration,
    /// Of the largest of them.
    pub memory: Bytes,
}

impl Measured {
    /// The run of middle wall time, with the most memory of all.
    pub fn median(mut runs: Vec<Self>) -> Self {
        runs.sort_by_key(|run| run.wall);
        let memory = runs.iter().map(|run| run.memory).max().expect("there was a run");
        Self { memory, ..runs[runs.len() / 2] }
    }
}

/// Runs a program to success, with the flush of what lies below `writes` within its time.
pub fn measured(work: Command, writes: &Path) -> Measured {
    // Nobody pays for what others left to be written.
    Command::new("sync").run().expect_ok();
    let used = tempfile::NamedTempFile::new().expect("room for a small file");
    let begun = Instant::now();
    let time = ["time", "--quiet", "--format=%M %U %S", "--output"].map(OsString::from);
    work.under(time.into_iter().chain([used.path().as_os_str().to_owned()])).run().expect_ok();
    Command::new("sync").arg("-f").arg(writes).run().expect_ok();
    let wall = begun.elapsed();
    let text = std::fs::read_to_string(used.path()).expect("time(1) wrote it");
    let words: Vec<_> = text.split_whitespace().collect();
    let [kib, user, system] = words[..] else { panic!("time(1) wrote {text:?}") };
    let seconds = |word: &str| -> f64 { word.parse().expect("time(1) writes seconds") };
    let memory = Bytes(kib.parse::<u64>().expect("time(1) writes KiB") * 1024);
    Measured { wall, cpu: Duration::from_secs_f64(seconds(user) + seconds(system)), memory }
}

impl<'a> Side<'a> {
    /// Work that writes below the directory `writes`.
    pub fn new(
        name: &'static str,
        writes: impl Into<PathBuf>,
        prepare: impl FnMut() + 'a,
        work: impl FnMut() -> Command + 'a,
    ) -> Self {
        Self { name, prepare: Box::new(prepare), work: Box::new(work), writes: writes.into(), bound: None }
    }

    /// With what the design asks for.
    #[must_use]
    pub fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    fn run(&mut self) -> Measured {
        (self.prepare)();
        measured((self.work)(), &self.writes)
    }

    fn print(&self, took: &[Measured], notes: &str) {
        let walls = || took.iter().map(wall);
        println!(
            "  {:34} {:>6.2} s {:>15} {:>6.2} s {:>10}  {notes}",
            self.name,
            median(walls()),
            format!("{:.2}–{:.2} s", least(walls()), most(walls())),
            median(took.iter().map(cpu)),
            largest(took).to_string(),
        );
    }
}

/// Runs all sides `rounds` times and prints how the first, ours, is beside the others. A first run that finds less in the
/// page cache than the later ones moves no median.
pub fn compare(title: &str, rounds: usize, mut sides: Vec<Side<'_>>) -> Rows {
    let mut all: Vec<Vec<Measured>> = sides.iter().map(|_| Vec::with_capacity(rounds)).collect();
    let count = sides.len();
    for round in 0..rounds {
        for turn in 0..count {
            let side = (round + turn) % count;
            let took = sides[side].run();
            let (name, seconds) = (sides[side].name, took.wall.as_secs_f64());
            eprintln!("  round {} of {rounds}: {name}: {seconds:.2} s", round + 1);
            all[side].push(took);
        }
    }
    println!("  {title}; {rounds} rounds");
    println!("  {:34} {:>8} {:>15} {:>8} {:>10}  ours is", "", "median", "range", "CPU", "memory");
    let mut rows = Rows::none();
    for (number, (side, took)) in sides.iter().zip(&all).enumerate() {
        let mut notes = Vec::new();
        if number > 0 {
            notes.push(beside(&all[0], took));
        }
        if let Some(bound) = side.bound {
            let row = judged(title, side.name, bound, &all[0], took);
            notes.push(format!("asked {}: {}", row.asked, row.verdict));
            rows = rows.with(row);
        }
        side.print(took, &notes.join("; "));
    }
    rows
}

/// What is asked, and whether it is so.
fn judged(title: &str, side: &str, bound: Bound, ours: &[Measured], theirs: &[Measured]) -> Row {
    let (wall, cpu) = (ratio(ours, theirs, wall), ratio(ours, theirs, cpu));
    let (found, asked, verdict) = match bound {
        Bound::Wall(most) => {
            (format!("{wall:.2} × of {side}"), format!("{most:.2} ×"), Verdict::of(wall <= most))
        }
        Bound::WallAndCpu(most_wall, most_cpu) => (
            format!("{wall:.2} ×, CPU {cpu:.2} × of {side}"),
            format!("{most_wall:.2} ×, CPU {most_cpu:.2} ×"),
            Verdict::of(wall <= most_wall && cpu <= most_cpu),
        ),
        Bound::Seconds(most) => {
            let seconds = median(ours.iter().map(|took| took.wall.as_secs_f64()));
            (format!("{seconds:.2} s"), format!("{most:.2} s"), Verdict::of(seconds <= most))
        }
        Bound::Memory(most) => {
            let memory = largest(ours);
            (format!("{memory} of memory"), most.to_string(), Verdict::of(memory <= most))
        }
    };
    Row { work: title.to_owned(), found, asked, verdict }
}

fn largest(took: &[Measured]) -> Bytes {
    took.iter().map(|it| it.memory).max().expect("a round was run")
}

/// `0.50 × (0.45–0.55), CPU 0.90 ×`: ratio of medians, and the least and largest ratio of one round.
fn beside(ours: &[Measured], theirs: &[Measured]) -> String {
    let by_round = || ours.iter().zip(theirs).map(|(ours, theirs)| wall(ours) / wall(theirs));
    let (low, high) = (least(by_round()), most(by_round()));
    format!("{:.2} × ({low:.2}–{high:.2}), CPU {:.2} ×", ratio(ours, theirs, wall), ratio(ours, theirs, cpu))
}

fn ratio(ours: &[Measured], theirs: &[Measured], of: fn(&Measured) -> f64) -> f64 {
    median(ours.iter().map(of)) / median(theirs.iter().map(of))
}

fn wall(took: &Measured) -> f64 {
    took.wall.as_secs_f64()
}

fn cpu(took: &Measured) -> f64 {
    took.cpu.as_secs_f64()
}

/// The middle of some numbers.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::INFINITY, f64::min)
}

fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}
