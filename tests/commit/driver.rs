//! `commit-driver STEP REPO BASE REF JOBS`: composes one fixed step, as a process of its own, so that tests can kill it or
//! run it as another user. Prints the new commit's checksum.

#[path = "steps.rs"]
mod steps;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [step, repo, base, reference, jobs] = &arguments[..] else {
        anyhow::bail!("usage: commit-driver STEP REPO BASE REF JOBS");
    };
    let jobs = jobs.parse().context("JOBS is a number")?;
    let written = steps::run(step, repo.as_str().into(), base, reference, jobs)?;
    println!("{}", written.checksum);
    Ok(())
}
