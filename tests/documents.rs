//! Documents that say what is done: the tutorial's commands are run, and the tests that a table names must exist.

use std::fs;
use std::path::Path;

use sysctr_tests::{Command, Program, Root, dist_dir, source_dir};

/// A fenced block of a document, and the number of the document's line that its first line is.
struct Block {
    line: usize,
    text: String,
}

/// The blocks that are fenced as `sh`.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut other = false;
    for (number, line) in (1..).zip(document.lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(""), Some(_)) => blocks.extend(open.take()),
            (Some(_), None) if other => other = false,
            (Some("sh"), None) => open = Some(Block { line: number + 1, text: String::new() }),
            (Some(_), None) => other = true,
            (_, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none() && !other, "a fence is not closed");
    blocks
}

/// Runs all blocks in `directory`, one after another, until a command fails; what they printed, or which line failed with what
/// it said.
fn follow(document: &str, directory: &Path, env: &[(&str, String)]) -> Result<String, String> {
    let mut told = String::new();
    for block in blocks(document) {
        // The first line of the block is the second of the script.
        let trap = format!("echo \"line $((LINENO + {})) failed\" >&2", block.line as i64 - 2);
        let script = format!("set -eEuo pipefail; trap '{trap}' ERR\n{}", block.text);
        let shell = Command::new("bash").args(["-c", &script]).in_dir(directory);
        let output = env.iter().fold(shell, |shell, (name, value)| shell.env(name, value)).run();
        told += &output.stdout();
        if output.code() != 0 {
            return Err(format!(
                "in the block at line {}: {}{}",
                block.line,
                output.stdout(),
                output.stderr()
            ));
        }
    }
    Ok(told)
}

#[test]
fn a_failing_command_of_a_document_is_told_by_its_line() {
    let work = sysctr_tests::scratch();
    let document = "text\n```sh\necho one >file\ncat <<'END'\n```\n";
    assert_eq!(blocks(document).len(), 1);
    let document = "# Title\n\n```sh\necho one >file\n```\n\n```console\n# exit 7\n```\n\n```sh\ncat file\n\nfalse\necho never\n```\n";
    let told = follow(document, work.path(), &[]).unwrap_err();
    assert_eq!(told, "in the block at line 12: one\nline 14 failed\n");
    assert_eq!(follow(&document.replace("false", "true"), work.path(), &[]), Ok("one\nnever\n".to_owned()));
}

#[test]
fn the_tutorial_does_what_it_says() {
    let document = fs::read_to_string(source_dir().join("docs/writing-system-images.md")).unwrap();
    let root = Root::debian();
    let work = root.path().parent().unwrap().to_owned();
    // Where buildah keeps images, and how it builds, is the machine's matter and not the document's.
    let storage = sysctr_tests::scratch();
    let place = storage.path().display();
    let settings =
        format!("[storage]\ndriver = 'vfs'\ngraphroot = '{place}/storage'\nrunroot = '{place}/run'\n");
    fs::write(storage.path().join("storage.conf"), settings).unwrap();
    let path = format!(
        "{}:{}",
        Program::Composer.path().parent().unwrap_or(&dist_dir()).display(),
        std::env::var("PATH").unwrap()
    );
    let env = [
        ("PATH", path),
        ("CONTAINERS_STORAGE_CONF", format!("{place}/storage.conf")),
        ("BUILDAH_ISOLATION", "chroot".to_owned()),
    ];
    let told =
        follow(&document, &work, &env).unwrap_or_else(|told| panic!("docs/writing-system-images.md: {told}"));
    for line in [
        "Description=Pages of other",
        "ExecStart=/usr/bin/sysctr run --detach other",
        "These are the pages of pages.",
        "These are the pages of other.",
    ] {
        assert!(told.lines().any(|said| said == line), "{line:?} is not in\n{told}");
    }
}

/// Names of tests in a document, as `FILE::NAME`.
fn named(document: &str) -> Vec<(String, String)> {
    let words = document.split('`').skip(1).step_by(2);
    let tests = words.filter_map(|word| word.split_once("::"));
    tests
        .filter(|(file, _)| file.ends_with(".rs"))
        .map(|(file, name)| (file.to_owned(), name.to_owned()))
        .collect()
}

#[test]
fn each_test_that_the_page_about_atomic_names_exists() {
    let document = fs::read_to_string(source_dir().join("docs/from-atomic.md")).unwrap();
    let (_, table) = document.split_once("\n## What its tests checked\n").expect("the table of checks");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() >= 40, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let tests = named(cells[2]);
        let elsewhere = cells[2].trim().starts_with("not here: ");
        assert!(elsewhere == tests.is_empty(), "neither a test nor a reason: {row}");
        for (file, name) in tests {
            let text = fs::read_to_string(source_dir().join(&file))
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            let function = text.lines().any(|line| line.trim_start().starts_with(&format!("fn {name}(")));
            assert!(function, "{file} has no test {name}: {row}");
        }
    }
}
