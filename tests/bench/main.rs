//! `bench [--rounds N] [SUBJECT…]`: how fast the programs are beside others. `make bench` runs it.
//!
//! All sides of a subject get the same input and run in the same rounds, each in turn first; what a side wrote is flushed to
//! disk within its time. What counts are ratios of medians: a busy machine slows all sides. No number decides a test.

mod fetch;
mod images;
mod rounds;

use clap::Parser as _;

/// What is measured, by name. A subject is one file.
const SUBJECTS: &[Subject] = &[Subject {
    name: "fetch",
    about: "20 images that share layers, from a registry: into an empty cache, and again",
    run: fetch::run,
}];

struct Subject {
    name: &'static str,
    about: &'static str,
    /// Gets the number of rounds.
    run: fn(usize),
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

fn main() {
    let args = Args::parse();
    let wanted = |subject: &&Subject| {
        args.subjects.is_empty() || args.subjects.iter().any(|name| name == subject.name)
    };
    for subject in SUBJECTS.iter().filter(wanted) {
        println!("{}: {}", subject.name, subject.about);
        (subject.run)(usize::from(args.rounds));
    }
}
