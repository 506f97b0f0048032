//! `sysctr-compose`: arguments → one call → exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use sysctr_compose::cli::Cli;
use sysctr_compose::manifest::NotUnderstood;
use sysctr_compose::report::printable;
use sysctr_compose::{Verdict, run};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(cli) {
        Ok((result, verdict)) => {
            if let Err(error) = std::io::stdout().write_all(result.as_bytes()) {
                eprintln!("sysctr-compose: writing the result: {error}");
                return ExitCode::FAILURE;
            }
            match verdict {
                Verdict::Done => ExitCode::SUCCESS,
                Verdict::NotDone => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("sysctr-compose: {}", one_line(format!("{error:#}").lines()));
            if error.is::<NotUnderstood>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Help and version go to stdout; what is wrong with a command line is one line like every error.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    // What follows is the usage and a word on --help.
    let told = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let told = one_line(told.filter(|line| !line.trim_start().starts_with("tip: to pass")));
    let told = told.strip_prefix("error: ").unwrap_or(&told).replace(" tip: ", "; ");
    eprintln!("sysctr-compose: {told}; see --help");
    ExitCode::from(2)
}

fn one_line<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    printable(&lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "))
}
