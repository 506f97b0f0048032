//! The offline composer: `manifest → resolve images → read layers → flatten → bundle → units → placement → target`.

pub mod cli;
pub mod interrupt;
pub mod manifest;
pub mod progress;
pub mod report;
pub mod target;

use anyhow::{Result, bail};

/// Whether the program did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done, or nothing to do.
    Done,
    /// Looked, and found what must not be.
    NotDone,
}

/// Does what the command line says; gives the result for stdout.
///
/// # Errors
/// When it can't be done; [`manifest::NotUnderstood`] when it can't be understood.
pub fn run(cli: cli::Cli) -> Result<(String, Verdict)> {
    bail!("{cli:?}: not built yet")
}
