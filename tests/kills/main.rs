//! The composer killed, interrupted and starved at any moment: the next run ends it, and nothing of it can be seen.
//!
//! `make test` takes a sample, `make soak` (`SYSCTR_SOAK=1`) the whole. `SYSCTR_SEED` repeats the random moments of a run.

mod everywhere;
mod moments;
mod starved;

use std::path::Path;

use sysctr_tests::{Command, Image, Listing, Mtimes, soak};

/// A manifest of the group `test`: names, images, further settings of each.
fn manifest(containers: &[(&str, &Image, &str)]) -> String {
    containers.iter().fold("group = 'test'\n".to_owned(), |text, (name, image, settings)| {
        format!("{text}[[container]]\nname = '{name}'\nimage = '{}'\n{settings}\n", image.in_manifest())
    })
}

/// Makes `to` a copy of `from`, everything kept, whatever was there.
fn renew(from: &Path, to: &Path) {
    match std::fs::remove_dir_all(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", to.display()),
        _ => {}
    }
    Command::new("cp").args(["-a", "--no-target-directory"]).arg(from).arg(to).run().expect_ok();
}

/// The tree at `root` must be this, to the nanosecond; `story` is told otherwise.
#[track_caller]
fn expect_tree(root: &Path, expected: &Listing, story: impl FnOnce() -> String) {
    let lines = Listing::of(root).differences(expected, Mtimes::All);
    if !lines.is_empty() {
        let shown = lines.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n");
        panic!("{}\nthe tree differs in {} lines (- expected, + found):\n{shown}", story(), lines.len());
    }
}

/// Images and settings that a container needs to be accepted.
const BARE: &str = "run = { entrypoint = ['/bin/true'] }";
