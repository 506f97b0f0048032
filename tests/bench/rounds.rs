//! Sides that are timed in turn, and what comes of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sysctr_tests::Command;

/// One way to do the work.
pub struct Side<'a> {
    name: &'static str,
    /// Not timed: makes `work` start from the same state every time.
    prepare: Box<dyn FnMut() + 'a>,
    /// Timed, with the flush of what lies below `writes` afterwards.
    work: Box<dyn FnMut() + 'a>,
    writes: PathBuf,
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall: Duration,
    /// Of all processes that it started, the registry's not counted.
    cpu: Duration,
}

impl<'a> Side<'a> {
    /// Work that writes below the directory `writes`.
    pub fn new(
        name: &'static str,
        writes: impl Into<PathBuf>,
        prepare: impl FnMut() + 'a,
        work: impl FnMut() + 'a,
    ) -> Self {
        Self { name, prepare: Box::new(prepare), work: Box::new(work), writes: writes.into() }
    }

    fn run(&mut self) -> Took {
        (self.prepare)();
        // Nobody pays for what others left to be written.
        Command::new("sync").run().expect_ok();
        let (begun, cpu) = (Instant::now(), cpu_of_children());
        (self.work)();
        Command::new("sync").arg("-f").arg(&self.writes).run().expect_ok();
        Took { wall: begun.elapsed(), cpu: cpu_of_children().saturating_sub(cpu) }
    }
}

/// Runs all sides `rounds` times and prints how the first, ours, is beside the others. A first run that finds less in the
/// page cache than the later ones moves no median.
pub fn compare(title: &str, rounds: usize, mut sides: Vec<Side<'_>>) {
    let mut all: Vec<Vec<Took>> = sides.iter().map(|_| Vec::with_capacity(rounds)).collect();
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
    println!("  {:34} {:>8} {:>15} {:>8}  ours is", "", "median", "range", "CPU");
    for (number, (side, took)) in sides.iter().zip(&all).enumerate() {
        let walls = || took.iter().map(|it| it.wall.as_secs_f64());
        let cpu = median(took.iter().map(|it| it.cpu.as_secs_f64()));
        let range = format!("{:.2}–{:.2} s", least(walls()), most(walls()));
        let ours = if number == 0 { String::new() } else { beside(&all[0], took) };
        println!("  {:34} {:>6.2} s {range:>15} {cpu:>6.2} s  {ours}", side.name, median(walls()));
    }
}

/// `0.50 × (0.45–0.55), CPU 0.90 ×`: ratio of medians, and the least and largest ratio of one round.
fn beside(ours: &[Took], theirs: &[Took]) -> String {
    let wall = |took: &Took| took.wall.as_secs_f64();
    let cpu = |took: &Took| took.cpu.as_secs_f64();
    let ratio = |of: &dyn Fn(&Took) -> f64| median(ours.iter().map(of)) / median(theirs.iter().map(of));
    let by_round = || ours.iter().zip(theirs).map(|(ours, theirs)| wall(ours) / wall(theirs));
    let (low, high) = (least(by_round()), most(by_round()));
    format!("{:.2} × ({low:.2}–{high:.2}), CPU {:.2} ×", ratio(&wall), ratio(&cpu))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
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

/// Processor time of all children that were waited for (proc(5), `cutime` and `cstime`).
fn cpu_of_children() -> Duration {
    /// sysconf(_SC_CLK_TCK) is this on every Linux that we know.
    const TICKS_PER_SECOND: u64 = 100;
    let text = std::fs::read_to_string("/proc/self/stat").expect("there is /proc");
    // The second field, in parentheses, may hold spaces; cutime is the 16th.
    let rest = text.rsplit(')').next().expect("a line");
    let fields = rest.split_whitespace().skip(13).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}
