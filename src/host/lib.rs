//! `sysctr`: the program on the host. `run.rs` is its story.
//!
//! A library for the one file `main.rs`, and for the documents that are made from [`cli`].

mod active;
mod blame;
mod cgroup;
mod check;
pub mod cli;
mod collect;
mod copy;
mod deployments;
mod durable;
mod etc;
mod exec;
mod generator;
mod ground;
mod health;
mod host_files;
mod image;
mod images;
mod kept;
mod label;
mod late_bound;
mod list;
mod lock;
mod logs;
mod make;
mod payload;
mod privileges;
mod progress;
mod pull;
mod pulled;
mod repair;
mod rollback;
mod run;
mod runtime;
mod set;
mod shipped;
mod signers;
mod space;
mod stamps;
mod status;
mod stock;
mod stop;
mod switch;
mod systemd;
mod temporary;
mod update;
mod verify;
mod volumes;

use std::path::Path;
use std::process::ExitCode;

/// Does what the arguments of this process say.
pub fn main() -> ExitCode {
    // What is made is for this program to close, not for its caller.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // systemd calls it by this name at boot and reload.
    let called = std::env::args_os().next();
    if called
        .is_some_and(|called| Path::new(&called).file_name().is_some_and(|name| name == "sysctr-generator"))
    {
        return generate();
    }
    match cli::Cli::of_process().act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Arguments of a generator (systemd.generator(7)): the normal directory, then one above and one below it.
fn generate() -> ExitCode {
    let Some(units) = std::env::args().nth(1) else {
        return fail(&anyhow::anyhow!("sysctr-generator is for systemd: it needs the directory of units"));
    };
    match generator::generate(&active::host::Host::this(), units.as_str().into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let message = format!("{error:#}");
    let lines: Vec<_> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    eprintln!("sysctr: {}", lines.join(" "));
    ExitCode::FAILURE
}
