//! `sysctr`: the program on the host. `run.rs` is its story.

mod active;
mod cgroup;
mod cli;
mod exec;
mod health;
mod late_bound;
mod list;
mod note;
mod payload;
mod run;
mod runtime;
mod set;
mod status;
mod stop;
mod volumes;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // systemd calls it by this name at boot and reload. Embedded containers need no generator.
    let called = std::env::args_os().next();
    if called
        .is_some_and(|called| Path::new(&called).file_name().is_some_and(|name| name == "sysctr-generator"))
    {
        return ExitCode::SUCCESS;
    }
    match cli::Cli::parse().act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = format!("{error:#}");
            let lines: Vec<_> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            eprintln!("sysctr: {}", lines.join(" "));
            ExitCode::FAILURE
        }
    }
}
