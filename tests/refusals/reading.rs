//! Targets that were written by a newer program, or by one that was cut off.

use std::fs;

use serde_json::{Value, json};
use sysctr_tests::crafted::digest;
use sysctr_tests::{Layer, Listing, Mtimes};

use crate::{Stage, says};

const INDEX: &str = "usr/lib/containers/atomic/embedded.json";
const RECORD: &str = "usr/lib/containers/atomic/it/record.json";

fn composed() -> Stage {
    let stage = Stage::layer(&Layer::new().dir("bin").file("bin/true", "x"));
    stage.compose.run().expect_ok();
    stage.settle()
}

fn edit(stage: &Stage, path: &str, edit: impl Fn(&mut Value)) {
    let path = stage.root.join(path);
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(&path, value.to_string()).unwrap();
}

/// Every verb on the target says this, and changes nothing.
#[track_caller]
fn every_verb_refuses(stage: &Stage, message: &str) {
    stage.refuses(message);
    for verb in ["list", "verify"] {
        says(stage.verb(verb).run(), 1, message);
    }
    says(stage.verb("remove").arg("it").run(), 1, message);
    stage.unchanged();
}

#[test]
fn an_index_of_a_newer_version() {
    let stage = composed();
    edit(&stage, INDEX, |index| *index = json!({"version": 2, "containers": []}));
    every_verb_refuses(
        &stage.settle(),
        &format!("reading {INDEX}: it has format version 2, this program knows up to 1; use a newer sysctr"),
    );
}

#[test]
fn a_record_of_a_newer_version() {
    let stage = composed();
    edit(&stage, RECORD, |record| record["version"] = json!(2));
    let new = digest(&fs::read(stage.root.join(RECORD)).unwrap());
    edit(&stage, INDEX, |index| index["containers"]["it"]["record"] = json!(new));
    every_verb_refuses(
        &stage.settle(),
        &format!("reading {RECORD}: it has format version 2, this program knows up to 1; use a newer sysctr"),
    );
}

#[test]
fn an_index_that_can_t_be_read() {
    let stage = composed();
    for (text, why) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{\"version\": 1}", "missing field `tool` at line 1 column 14"),
    ] {
        fs::write(stage.root.join(INDEX), text).unwrap();
        let stage = Stage { before: Listing::of(&stage.root.path()), ..composed_again(&stage) };
        every_verb_refuses(&stage, &format!("reading {INDEX}: {why}"));
    }
}

/// A compose of the same container into the same root.
fn composed_again(stage: &Stage) -> Stage {
    let again = Stage::layer(&Layer::new().dir("bin").file("bin/true", "x"));
    let root = again.root.path();
    fs::remove_dir_all(&root).unwrap();
    sysctr_tests::Command::new("cp").arg("-a").arg(stage.root.path()).arg(&root).run().expect_ok();
    again
}

#[test]
fn what_a_compose_that_was_cut_off_left() {
    let stage = composed();
    let staging = stage.root.join("usr/lib/containers/atomic/.staging");
    fs::create_dir_all(staging.join("contents/it/0")).unwrap();
    fs::write(staging.join("contents/it/0/1"), "half").unwrap();
    let stage = stage.settle();
    let message = "opening root ROOT: a compose was cut off and left usr/lib/containers/atomic/.staging; run sysctr-compose on \
        it again, which clears that";
    for verb in ["list", "verify"] {
        says(stage.verb(verb).run(), 1, message);
    }
    says(stage.run_as(Some("plan")), 1, message);
    stage.unchanged();
    let journal = staging.join("journal");
    for (text, why) in [
        (r#"{"version": 2}"#, "it has version 2, from a newer sysctr-compose; use that one"),
        ("half", "expected value at line 1 column 1"),
    ] {
        fs::write(&journal, text).unwrap();
        let before = Listing::of(&stage.root.path());
        let message =
            format!("opening root ROOT: ending a compose that was cut off: reading the journal: {why}");
        says(stage.run_as(None), 1, &message);
        says(stage.verb("remove").arg("it").run(), 1, &message);
        Listing::of(&stage.root.path()).expect_same(&before, Mtimes::All);
    }
    fs::remove_file(&journal).unwrap();
    let again = stage.run_as(None).expect_ok();
    assert!(again.stdout().ends_with("nothing to change\n"), "{}", again.story());
    assert!(!staging.exists());
    stage.verb("verify").run().expect_ok();
}
