//! `bench [--rounds N] [SUBJECT…]`: how fast the programs are beside others. `make bench` runs it.
//!
//! All sides of a subject get the same input and run in the same rounds, each in turn first; what a side wrote is flushed to
//! disk within its time. What counts are ratios of medians: a busy machine slows all sides. No number decides a test; the bench
//! itself ends with 1 when a row of the design is missed.

mod again;
mod embed;
mod fetch;
mod growth;
mod images;
mod large;
mod rounds;
mod rows;
mod start;
mod together;
mod update;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;
use rows::{Rows, Verdict};

/// What is measured, by name. A subject is one file.
const SUBJECTS: &[Subject] = &[
    Subject { name: "embed", about: "an image of 800 MB into commits", run: embed::run },
    Subject { name: "root", about: "the same image into a root directory", run: embed::into_root },
    Subject { name: "whole", about: "the same image and a host of 1 GB into a commit", run: embed::whole },
    Subject {
        name: "again",
        about: "the same composed again: nothing, the host or one layer changed",
        run: again::run,
    },
    Subject { name: "start", about: "what `sysctr run` adds to the runtime", run: start::run },
    Subject { name: "together", about: "20 units started at once", run: together::run },
    Subject {
        name: "fetch",
        about: "20 images that share layers, from a registry: into an empty cache, and again",
        run: fetch::run,
    },
    Subject { name: "update", about: "what an update fetches", run: update::run },
    growth("growth-containers", growth::containers),
    growth("growth-files", growth::files),
    growth("growth-bytes", growth::bytes),
    growth("growth-layers", growth::layers),
    growth("growth-hosts", growth::hosts),
];

const GROWTH: &str = "growth";

const fn growth(name: &'static str, run: fn(usize) -> Rows) -> Subject {
    Subject { name, about: "how cost grows with what is composed", run }
}

struct Subject {
    name: &'static str,
    about: &'static str,
    /// Gets the number of rounds.
    run: fn(usize) -> Rows,
}

#[derive(clap::Parser)]
struct Args {
    /// How often every side of a subject is run
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// What to measure [default: all but growth, which stands for all of its series]
    #[arg(value_name = "SUBJECT", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    subjects: Vec<String>,
}

fn names() -> impl Iterator<Item = &'static str> {
    SUBJECTS.iter().map(|subject| subject.name).chain([GROWTH])
}

/// Whether a subject is one of those that were asked for.
fn is_wanted(subject: &str, asked: &[String]) -> bool {
    let grows = subject.starts_with(GROWTH);
    match asked {
        [] => !grows,
        asked => asked.iter().any(|name| name == subject || (grows && name == GROWTH)),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut rows = Rows::none();
    for subject in SUBJECTS.iter().filter(|subject| is_wanted(subject.name, &args.subjects)) {
        println!("{}: {}", subject.name, subject.about);
        let begun = Instant::now();
        rows = rows.and((subject.run)(usize::from(args.rounds)));
        println!("  {} took {} s", subject.name, begun.elapsed().as_secs());
    }
    print!("what the design asks:\n{rows}");
    println!("all that the design asks of these: {}", rows.verdict());
    if rows.verdict() == Verdict::Met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
