//! `target-driver STEP ROOT`: makes one fixed change of a root through the composer's library, as a process of its own, so
//! that tests can kill it anywhere.

#[path = "steps.rs"]
mod steps;

use anyhow::{Context as _, Result};
use sysctr_core::interrupt::Interrupt;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let step = arguments.next().context("usage: target-driver STEP ROOT")?;
    let root = arguments.next().context("usage: target-driver STEP ROOT")?;
    steps::run(&step, root.as_str().into(), &Interrupt::install()?)
}
