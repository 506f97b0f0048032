//! Our table of directives against `systemd-analyze verify`, and our reading of `[Install]` against `systemctl enable`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use sysctr_core::exports::unit::{UnitFile, Whose, check, install};

use super::{output_of, put};

const UNITS: &str = "usr/lib/systemd/system";

/// What systemd's checker says about a unit, without what is missing in the root.
fn said(root: &Path, name: &str) -> Vec<String> {
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--generators=no", "--recursive-errors=no"]);
    verify.arg(format!("--root={}", root.display())).arg(name);
    let told = output_of(&mut verify, b"");
    told.lines().filter(|line| !line.contains("is not executable")).map(str::to_owned).collect()
}

#[test]
fn values_are_taken_and_refused_as_systemd_does() {
    let root = tempfile::tempdir().expect("a directory");
    let (mut taken, mut refused, mut differ) = (0, 0, Vec::new());
    for line in include_str!("unit-lines.txt").lines() {
        let (section, assignment) = line.split_once(' ').expect("SECTION ASSIGNMENT");
        let start = if assignment.starts_with("ExecStart=") { "" } else { "ExecStart=/bin/x\n" };
        let text = format!("[Service]\n{start}[{section}]\n{}\n", assignment.replace(" | ", "\n"));
        put(root.path(), &format!("{UNITS}/it.service"), text.as_bytes());
        let theirs = said(root.path(), "it.service");
        let ours = check(&UnitFile::parse(&text).expect("a unit"));
        *(if theirs.is_empty() { &mut taken } else { &mut refused }) += 1;
        if theirs.is_empty() != ours.is_empty() {
            differ.push(format!("{assignment}: systemd says {theirs:?}, we say {ours:?}"));
        }
    }
    assert_eq!(differ, [""; 0]);
    assert!(taken > 40 && refused > 40, "{taken} taken, {refused} refused");
}

/// Names of units with their `[Install]`.
const INSTALLS: &[(&str, &str)] = &[
    ("a.service", "WantedBy=x.target y.target\nRequiredBy=%p.target\nAlias=b.service\nX-Mark=1"),
    ("b-c.service", "WantedBy=%n.target\nWantedBy=%N.target %j.target\n[X-Else]\nno assignment"),
    ("t@.service", "WantedBy=x.target\nWantedBy=u@.target"),
    (
        "t@.service",
        "WantedBy=x.target a-%i.target u@.target\nAlias=v@.service v@w.service\nDefaultInstance=one",
    ),
    ("t@two.service", "WantedBy=x.target a-%i.target %p.target %N.target\nDefaultInstance=one"),
    ("t@.service", "DefaultInstance=one\nWantedBy=%n.target\nStrange=1"),
    ("n.service", "nonsense\nWantedBy=x.target\n=y\n[Install]\nRequiredBy=z.target"),
    ("w.service", "WantedBy=\nWantedBy=x.target\nWantedBy="),
];

#[test]
fn links_are_those_that_systemctl_makes() {
    for (name, text) in INSTALLS {
        let root = tempfile::tempdir().expect("a directory");
        let text = format!("[Service]\nExecStart=/bin/x\n[Install]\n{text}\n");
        let file = if name.contains('@') { "t@.service" } else { name };
        put(root.path(), &format!("{UNITS}/{file}"), text.as_bytes());
        let mut enable = Command::new("systemctl");
        enable.arg(format!("--root={}", root.path().display())).args(["enable", name]);
        let told = output_of(&mut enable, b"");
        let made = links(&root.path().join("etc/systemd/system"), "");
        let ours = install(name, &UnitFile::of_another(&text).expect("a unit"), Whose::Other).expect("links");
        let target = |text: &str| format!("/{UNITS}/{}", text.trim_start_matches("../"));
        let ours: BTreeSet<_> =
            ours.links.iter().map(|(path, text)| (path.to_string(), target(text))).collect();
        assert_eq!(ours, made, "{name}: {text}{told}");
    }
}

/// Links below a directory, with what they lead to.
fn links(directory: &Path, below: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for entry in entries {
        let entry = entry.expect("an entry");
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        match fs::read_link(entry.path()) {
            Ok(target) => drop(found.insert((name, target.to_string_lossy().into_owned()))),
            Err(_) => found.extend(links(&entry.path(), &format!("{name}/"))),
        }
    }
    found
}
