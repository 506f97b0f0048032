//! The arrows between modules, held by text: a module uses only what stands above it in its package's list, core knows
//! neither program, and what computes does not read or write.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of each package from the bottom up; a line's modules may use each other's siblings above only.
const CORE: &[&str] = &[
    "digest",
    "name",
    "epoch",
    "arch",
    "settings",
    "tree",
    "place",
    "record",
    "generation",
    "launcher_note",
    "image",
    "interrupt",
    "progress",
    "scan",
    "skopeo",
    "store",
    "bundle",
    "units",
    "exports",
    "prepare",
    "placement",
    "container",
    "inspection",
];
const COMPOSE: &[&str] = &[
    "manifest",
    "lock",
    "target",
    "ground",
    "relations",
    "shelf",
    "destination",
    "launcher",
    "embed",
    "systemd",
    "cli",
    "report",
    "progress",
    "fetch",
    "compose",
    "list",
    "verify",
    "inspect",
    "lint",
    "remove",
    "fetching",
];
const HOST: &[&str] = &[
    "note",
    "durable",
    "copy",
    "active",
    "host_files",
    "label",
    "runtime",
    "cgroup",
    "payload",
    "volumes",
    "late_bound",
    "set",
    "temporary",
    "stamps",
    "run",
    "stop",
    "exec",
    "health",
    "list",
    "status",
    "generator",
    "ground",
    "lock",
    "etc",
    "systemd",
    "logs",
    "progress",
    "signers",
    "image",
    "shipped",
    "space",
    "stock",
    "kept",
    "pulled",
    "pull",
    "make",
    "switch",
    "deployments",
    "update",
    "rollback",
    "collect",
    "repair",
    "verify",
    "privileges",
    "check",
    "images",
    "blame",
    "cli",
];

/// Rooms of core that compute only, and what they must not name.
const COMPUTING: &[&str] = &[
    "digest",
    "name",
    "epoch",
    "arch",
    "settings",
    "tree",
    "bundle",
    "units",
    "exports",
    "prepare",
    "placement",
    "container",
];
const IMPURE: &[&str] = &[
    "std::fs",
    "std::process",
    "std::time",
    "std::net",
    "std::env::var",
    "rustix::fs",
    "cap_std",
    "ostree::",
];

fn source(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src").join(package)
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a source directory") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The room a file belongs to: its first component below the package.
fn room(package: &str, file: &Path) -> String {
    let inside = file.strip_prefix(source(package)).expect("a file of the package");
    let first = inside.components().next().expect("a component").as_os_str().to_string_lossy().into_owned();
    first.strip_suffix(".rs").map(str::to_owned).unwrap_or(first)
}

/// Names of rooms that a text uses by `PREFIX::room`, and by `PREFIX::{room::…, room}`.
fn used(text: &str, prefix: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for part in code.split(&format!("{prefix}::")).skip(1) {
        let names = match part.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![part],
        };
        for name in names {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = name.trim();
            found.insert(name[..name.find(|c| !word(c)).unwrap_or(name.len())].to_owned());
        }
    }
    found
}

fn breaches(package: &str, rooms: &[&str]) -> Vec<String> {
    let rank = |name: &str| rooms.iter().position(|room| *room == name);
    let mut breaches = Vec::new();
    for file in rust_files(&source(package)) {
        let own = room(package, &file);
        if matches!(own.as_str(), "lib" | "main") {
            continue;
        }
        let Some(own_rank) = rank(&own) else {
            breaches.push(format!("{}: room {own} has no place in the list", file.display()));
            continue;
        };
        let text = fs::read_to_string(&file).expect("a source file");
        for name in used(&text, "crate") {
            if rank(&name).is_some_and(|other| other > own_rank) {
                breaches.push(format!("{}: {own} uses {name}, which stands above it", file.display()));
            }
        }
    }
    breaches
}

#[test]
fn rooms_use_only_what_stands_below_them() {
    let mut found = breaches("core", CORE);
    found.extend(breaches("compose", COMPOSE));
    found.extend(breaches("host", HOST));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_breach_is_found() {
    assert_eq!(used("use crate::{cli::Cli, report};\nfn f() { crate::tree::walk() }", "crate"), {
        ["cli", "report", "tree"].map(str::to_owned).into()
    });
}

#[test]
fn core_knows_no_program_and_programs_not_each_other() {
    for (package, strangers) in [
        ("core", ["sysctr_compose", "sysctr::"]),
        ("compose", ["sysctr_host", "sysctr::"]),
        ("host", ["sysctr_compose", "ostree::"]),
    ] {
        for file in rust_files(&source(package)) {
            let text = fs::read_to_string(&file).expect("a source file");
            for stranger in strangers {
                assert!(!text.contains(&format!("use {stranger}")), "{} uses {stranger}", file.display());
            }
        }
    }
}

#[test]
fn only_one_module_names_libostree() {
    let names = |file: &PathBuf| fs::read_to_string(file).expect("a source file").contains("ostree::");
    let all =
        ["core", "compose", "host"].map(source).iter().flat_map(|dir| rust_files(dir)).collect::<Vec<_>>();
    let found: Vec<_> = all.iter().filter(|file| names(file)).collect();
    let commit = source("compose").join("target");
    let inner = ["deployments.rs", "objects.rs", "said.rs", "signatures.rs"];
    let inner = inner.map(|file| commit.join("commit").join(file));
    let expected: Vec<_> = inner.into_iter().chain([commit.join("commit.rs")]).collect();
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
}

#[test]
fn what_computes_names_no_input_or_output() {
    for file in rust_files(&source("core")) {
        if !COMPUTING.contains(&room("core", &file).as_str()) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in IMPURE {
            assert!(!text.contains(word), "{} computes, but names {word}", file.display());
        }
    }
}
