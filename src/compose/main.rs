//! `sysctr-compose`: arguments → one call → exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use sysctr_compose::cli::Cli;
use sysctr_compose::manifest::NotUnderstood;
use sysctr_compose::{Verdict, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
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
            let message = format!("{error:#}");
            let lines: Vec<_> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            eprintln!("sysctr-compose: {}", lines.join(" "));
            if error.is::<NotUnderstood>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
