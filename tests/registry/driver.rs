//! `corruption-driver ROOT LAUNCHER COUNT SEED`: changes a random byte, bit or length of the lock or of a blob of the cache,
//! composes `containers.toml` of this directory with `--locked`, and mends it again. Says what was not found.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use sysctr_compose::cli::Cli;
use sysctr_tests::Random;

fn change(bytes: &mut Vec<u8>, random: &mut Random) -> String {
    let at = random.below(bytes.len());
    match random.below(5) {
        0 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            bytes.insert(at, b'0');
            format!("0 put at {at}")
        }
        2 => {
            bytes.remove(at);
            format!("{at} left out")
        }
        _ => {
            let bit = random.below(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of {at}")
        }
    }
}

fn targets() -> Result<Vec<PathBuf>> {
    let cache = PathBuf::from(std::env::var_os("SYSCTR_CACHE").context("SYSCTR_CACHE is not set")?);
    let mut found = vec![PathBuf::from("sysctr.lock")];
    for entry in std::fs::read_dir(cache.join("blobs/sha256"))? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

fn compose(root: &str, launcher: &str) -> Result<()> {
    let args = [
        "sysctr-compose",
        "-m",
        "containers.toml",
        "--locked",
        "--sysroot",
        root,
        "--add-launcher",
        launcher,
    ];
    sysctr_compose::run(Cli::try_parse_from(args)?).map(drop)
}

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [root, launcher, count, seed] = &args[..] else {
        anyhow::bail!("usage: corruption-driver ROOT LAUNCHER COUNT SEED")
    };
    let mut random = Random::of(seed.parse()?);
    let targets = targets()?;
    let count: usize = count.parse()?;
    let mut found = 0;
    for number in 0..count {
        // Half of them hit the lock.
        let target =
            if number % 2 == 0 { Path::new("sysctr.lock") } else { &*targets[random.below(targets.len())] };
        let whole = std::fs::read(target)?;
        let mut bytes = whole.clone();
        let what = change(&mut bytes, &mut random);
        if bytes == whole {
            // A 0 before a 0 changes nothing that could be found.
            bytes.push(b'x');
        }
        std::fs::write(target, &bytes)?;
        match compose(root, launcher) {
            Err(_) => found += 1,
            Ok(()) => println!("not found: {} of {}", what, target.display()),
        }
        std::fs::write(target, &whole)?;
    }
    println!("{count} changes, {found} found");
    Ok(())
}
