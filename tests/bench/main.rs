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
mod start;

use std::process::ExitCode;

use clap::Parser as _;
use rounds::Verdict;

/// What is measured, by name. A subject is one file.
const SUBJECTS: &[Subject] = &[
    Subject { name: "embed", about: "an image of 800 MB into commits and a root", run: embed::run },
    Subject {
        name: "again",
        about: "the same composed again: nothing, the host or one layer changed",
        run: again::run,
    },
    Subject { name: "start", about: "what `sysctr run` adds to the runtime", run: start::run },
    Subject { name: "growth", about: "how cost grows with what is composed", run: growth::run },
    Subject {
        name: "fetch",
        about: "20 images that share layers, from a registry: into an empty cache, and again",
        run: fetch::run,
    },
];

struct Subject {
    name: &'static str,
    about: &'static str,
    /// Gets the number of rounds.
    run: fn(usize) -> Verdict,
}

#[derive(clap::Parser)]
struct Args {
    /// How often every side of a subject is run
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// What to measure [default: all]
    #[arg(value_name = "SUBJECT", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    subjects: Vec<String>,
}

fn names() -> impl Iterator<Item = &'static str> {
    SUBJECTS.iter().map(|subject| subject.name)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let wanted = |subject: &&Subject| {
        args.subjects.is_empty() || args.subjects.iter().any(|name| name == subject.name)
    };
    let mut verdict = Verdict::Met;
    for subject in SUBJECTS.iter().filter(wanted) {
        println!("{}: {}", subject.name, subject.about);
        verdict = verdict.and((subject.run)(usize::from(args.rounds)));
    }
    println!("all that the design asks of these: {verdict}");
    if verdict == Verdict::Met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
