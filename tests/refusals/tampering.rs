//! What `verify` finds in a composed target, change by change: exactly this, and nothing else.

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::Path;

use serde_json::{Value, json};
use sysctr_tests::{Command, Layer, Root};

use crate::Stage;

const UNIT: &str = "usr/lib/systemd/system/it.service";
const BUNDLE: &str = "usr/lib/containers/atomic/it";

fn composed() -> Stage {
    let layer = Layer::new().dir("bin").file("bin/true", "text").dir("d").file("d/file", "content");
    let layer = layer.symlink("link", "d/file").hardlink("d/again", "d/file").file("d/gone", "");
    let stage = Stage::layer(&layer);
    stage.compose.run().expect_ok();
    stage
}

#[test]
fn nothing() {
    let clean = composed().verb("verify").run().expect_ok();
    assert_eq!(clean.stdout(), "1 containers checked: nothing found\n");
}

/// Changes one thing; `path` is of the container `it`'s root.
struct Change {
    what: &'static str,
    act: fn(&Root),
    /// Path and message of each finding.
    found: &'static [(&'static str, &'static str)],
}

fn rootfs(root: &Root, path: &str) -> std::path::PathBuf {
    root.join(BUNDLE).join("rootfs").join(path)
}

/// Writes without touching the time stamp.
fn rewrite(path: &Path, content: &str) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, content).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Does something in a directory whose time stamp stays.
fn within(dir: &Path, act: impl FnOnce()) {
    let time = fs::metadata(dir).unwrap().modified().unwrap();
    act();
    fs::File::open(dir).unwrap().set_modified(time).unwrap();
}

fn sh(script: &str, path: &Path) {
    Command::new("sh").args(["-c", script]).arg(path).run().expect_ok();
}

const IN_THE_TREE: &[Change] = &[
    Change {
        what: "content of the same length",
        act: |root| rewrite(&rootfs(root, "bin/true"), "TEXT"),
        found: &[(
            "/usr/lib/containers/atomic/it/rootfs/bin/true",
            "its content is sha256:e4ba216b53e675d3ce45a8584de79ecc013718ef83ebd53f29d47d97af594386, not \
            sha256:982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1",
        )],
    },
    Change {
        what: "content of another length",
        act: |root| rewrite(&rootfs(root, "bin/true"), "longer text"),
        found: &[("/usr/lib/containers/atomic/it/rootfs/bin/true", "has 11 bytes, not 4")],
    },
    Change {
        what: "mode",
        act: |root| fs::set_permissions(rootfs(root, "bin/true"), Permissions::from_mode(0o4755)).unwrap(),
        found: &[("/usr/lib/containers/atomic/it/rootfs/bin/true", "mode is 4755, not 0644")],
    },
    Change {
        what: "owner",
        act: |root| lchown(rootfs(root, "bin/true"), Some(7), Some(8)).unwrap(),
        found: &[("/usr/lib/containers/atomic/it/rootfs/bin/true", "owner is 7:8, not 0:0")],
    },
    Change {
        what: "attribute",
        act: |root| sh("setfattr -n user.x -v y \"$0\"", &rootfs(root, "bin/true")),
        found: &[("/usr/lib/containers/atomic/it/rootfs/bin/true", "attributes are user.x=y, not none")],
    },
    Change {
        what: "file capability",
        act: |root| sh("setcap cap_net_raw+ep \"$0\"", &rootfs(root, "bin/true")),
        found: &[(
            "/usr/lib/containers/atomic/it/rootfs/bin/true",
            "attributes are security.capability=\\x01\\x00\\x00\\x02\\x00 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00, not none",
        )],
    },
    Change {
        what: "time stamp",
        act: |root| sh("touch -d @7 \"$0\"", &rootfs(root, "bin/true")),
        found: &[(
            "/usr/lib/containers/atomic/it/rootfs/bin/true",
            "mtime is 7.000000000, not 1500000000.000000000",
        )],
    },
    Change {
        what: "a file too many",
        act: |root| within(&rootfs(root, "d"), || fs::write(rootfs(root, "d/extra"), "").unwrap()),
        found: &[("/usr/lib/containers/atomic/it/rootfs/d/extra", "is not of the image")],
    },
    Change {
        what: "a file too few",
        act: |root| within(&rootfs(root, "d"), || fs::remove_file(rootfs(root, "d/gone")).unwrap()),
        found: &[("/usr/lib/containers/atomic/it/rootfs/d/gone", "is missing")],
    },
    Change {
        what: "a hard link that is a copy",
        act: |root| {
            within(&rootfs(root, "d"), || {
                sh("cp -p \"$0\" \"$0.new\" && mv \"$0.new\" \"$0\"", &rootfs(root, "d/again"));
            });
        },
        found: &[("/usr/lib/containers/atomic/it/rootfs/d/file", "is no hard link to \"/d/again\"")],
    },
    Change {
        what: "a link that leads elsewhere",
        act: |root| {
            within(&rootfs(root, ""), || {
                sh("ln -sfn /etc/shadow \"$0\" && touch -h -d @1500000000 \"$0\"", &rootfs(root, "link"));
            });
        },
        found: &[("/usr/lib/containers/atomic/it/rootfs/link", "links to \"/etc/shadow\", not \"d/file\"")],
    },
    Change {
        what: "a device",
        act: |root| within(&rootfs(root, "d"), || sh("mknod \"$0\" c 1 3", &rootfs(root, "d/null"))),
        found: &[("/usr/lib/containers/atomic/it/rootfs/d/null", "is a device, FIFO or socket")],
    },
    Change {
        what: "a directory for a file",
        act: |root| {
            within(&rootfs(root, "d"), || sh("rm \"$0\" && mkdir \"$0\"", &rootfs(root, "d/gone")));
        },
        found: &[("/usr/lib/containers/atomic/it/rootfs/d/gone", "is a directory")],
    },
    Change {
        what: "no root file system",
        act: |root| fs::remove_dir_all(rootfs(root, "")).unwrap(),
        found: &[("/usr/lib/containers/atomic/it/rootfs", "is missing")],
    },
];

const AROUND_IT: &[Change] = &[
    Change {
        what: "the unit",
        act: |root| rewrite(&root.join(UNIT), "[Service]\nExecStart=/bin/evil\n"),
        found: &[("/usr/lib/systemd/system/it.service", "differs from the record")],
    },
    Change {
        what: "no unit",
        act: |root| fs::remove_file(root.join(UNIT)).unwrap(),
        found: &[("/usr/lib/systemd/system/it.service", "is missing")],
    },
    Change {
        what: "another mode of the unit",
        act: |root| fs::set_permissions(root.join(UNIT), Permissions::from_mode(0o666)).unwrap(),
        found: &[("/usr/lib/systemd/system/it.service", "mode is 0666, not 0644")],
    },
    Change {
        what: "a link of the unit",
        act: |root| {
            let link = root.join("usr/lib/systemd/system/multi-user.target.wants/it.service");
            fs::remove_file(&link).unwrap();
            symlink("/etc/evil.service", link).unwrap();
        },
        found: &[(
            "/usr/lib/systemd/system/multi-user.target.wants/it.service",
            "is no link to ../it.service",
        )],
    },
    Change {
        what: "the preset",
        act: |root| rewrite(&root.join("usr/lib/systemd/system-preset/50-sysctr-it.preset"), "disable *\n"),
        found: &[("/usr/lib/systemd/system-preset/50-sysctr-it.preset", "differs from the record")],
    },
    Change {
        what: "the runtime's configuration",
        act: |root| rewrite(&root.join(BUNDLE).join("config.json"), "{}"),
        found: &[("/usr/lib/containers/atomic/it/config.json", "differs from the record")],
    },
    Change {
        what: "a file in the bundle",
        act: |root| fs::write(root.join(BUNDLE).join("extra"), "").unwrap(),
        found: &[("/usr/lib/containers/atomic/it/extra", "is not of the container")],
    },
    Change {
        what: "the bundle open to users",
        act: |root| fs::set_permissions(root.join(BUNDLE), Permissions::from_mode(0o755)).unwrap(),
        found: &[("/usr/lib/containers/atomic/it", "mode is 0755, not 0700")],
    },
    Change {
        what: "the dump",
        act: |root| rewrite(&root.join(BUNDLE).join("tree.dump.zst"), "no zstd"),
        found: &[("/usr/lib/containers/atomic/it/tree.dump.zst", "differs from the record")],
    },
    Change {
        what: "no dump",
        act: |root| fs::remove_file(root.join(BUNDLE).join("tree.dump.zst")).unwrap(),
        found: &[("/usr/lib/containers/atomic/it/tree.dump.zst", "is missing")],
    },
    Change {
        what: "the listing of layers",
        act: |root| rewrite(&root.join(BUNDLE).join("layers.zst"), "no zstd"),
        found: &[("/usr/lib/containers/atomic/it/layers.zst", "differs from the record")],
    },
    Change {
        what: "the record",
        act: |root| sh("sed -i 's/\"none\"/\"embedded\"/' \"$0\"", &root.join(BUNDLE).join("record.json")),
        found: &[("/usr/lib/containers/atomic/it/record.json", "is not the record that embedded.json names")],
    },
    Change {
        what: "no record",
        act: |root| fs::remove_file(root.join(BUNDLE).join("record.json")).unwrap(),
        found: &[("/usr/lib/containers/atomic/it/record.json", "is missing")],
    },
    Change {
        what: "no bundle",
        act: |root| fs::remove_dir_all(root.join(BUNDLE)).unwrap(),
        found: &[("/usr/lib/containers/atomic/it/record.json", "is missing")],
    },
    Change {
        what: "the index tells another group",
        act: |root| {
            sh("sed -i 's/\"g\"/\"h\"/' \"$0\"", &root.join("usr/lib/containers/atomic/embedded.json"))
        },
        found: &[("/usr/lib/containers/atomic/embedded.json", "differs from the record")],
    },
    Change {
        what: "the index names another record",
        act: |root| {
            let index = root.join("usr/lib/containers/atomic/embedded.json");
            let mut value: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
            value["containers"]["it"]["record"] = json!(format!("sha256:{}", "0".repeat(64)));
            fs::write(index, value.to_string()).unwrap();
        },
        found: &[("/usr/lib/containers/atomic/it/record.json", "is not the record that embedded.json names")],
    },
];

#[test]
fn in_the_tree() {
    IN_THE_TREE.iter().for_each(finds);
}

#[test]
fn around_it() {
    AROUND_IT.iter().for_each(finds);
}

#[track_caller]
fn finds(change: &Change) {
    let stage = composed();
    (change.act)(&stage.root);
    let stage = stage.settle();
    let text = stage.verb("verify").run();
    let json = stage.verb("verify").arg("--format").arg("json").run();
    let lines = change.found.iter().map(|(path, message)| format!("error: it: {path}: {message}\n"));
    let expected = format!("{}1 containers checked: see above\n", lines.collect::<String>());
    assert_eq!(text.stdout(), expected, "{}: {}", change.what, text.story());
    let findings = change.found.iter().map(
        |(path, message)| json!({"severity": "error", "container": "it", "path": path, "message": message}),
    );
    let expected = json!({"format": 1, "checked": 1, "findings": findings.collect::<Vec<_>>()});
    assert_eq!(json.json(), expected, "{}", change.what);
    for output in [text, json] {
        assert_eq!((output.code(), output.stderr().as_str()), (1, ""), "{}", change.what);
    }
    stage.unchanged();
}

/// The launcher and the index belong to no container.
#[test]
fn the_launcher_and_the_index() {
    let stage = composed();
    rewrite(&stage.root.join("usr/bin/sysctr"), "#!/bin/sh\n");
    let output = stage.verb("verify").run().expect_code(1);
    let launcher = "error: /usr/bin/sysctr: is not the launcher that a compose added\n";
    assert_eq!(output.stdout(), format!("{launcher}1 containers checked: see above\n"));
    fs::remove_file(stage.root.join("usr/bin/sysctr")).unwrap();
    assert_eq!(stage.verb("verify").run().expect_code(1).stdout(), output.stdout());
    // One container by name is about that container.
    stage.verb("verify").arg("it").run().expect_ok();
    let other = stage.verb("verify").arg("other").run();
    other.expect_error("verifying container other: it is not embedded; `list` shows what is");

    for (act, finding) in [
        (
            (|root| fs::remove_file(root.join("usr/lib/systemd/system-generators/sysctr-generator")).unwrap())
                as fn(&Root),
            "/usr/lib/systemd/system-generators/sysctr-generator: is no link to ../../../bin/sysctr",
        ),
        (
            |root| fs::set_permissions(root.join("usr/bin/sysctr"), Permissions::from_mode(0o777)).unwrap(),
            "/usr/bin/sysctr: mode is 0777, not 0755",
        ),
        (
            |root| lchown(root.join("usr/lib/containers/atomic/embedded.json"), Some(5), Some(0)).unwrap(),
            "/usr/lib/containers/atomic/embedded.json: owner is 5:0, not 0:0",
        ),
        (
            |root| fs::create_dir(root.join("usr/lib/containers/atomic/stranger")).unwrap(),
            "/usr/lib/containers/atomic/stranger: is not in embedded.json",
        ),
    ] {
        let stage = composed();
        act(&stage.root);
        let output = stage.verb("verify").run().expect_code(1);
        assert_eq!(output.stdout(), format!("error: {finding}\n1 containers checked: see above\n"));
    }
    // Without its index, a container is none of ours any more: that is told too.
    let stage = composed();
    fs::remove_file(stage.root.join("usr/lib/containers/atomic/embedded.json")).unwrap();
    let output = stage.verb("verify").run().expect_code(1);
    let finding = "error: /usr/lib/containers/atomic/it: is not in embedded.json\n";
    assert_eq!(output.stdout(), format!("{finding}0 containers checked: see above\n"));
}

/// Names in the tree are bytes; a finding is one line of text, and JSON.
#[test]
fn names_that_are_no_text() {
    let stage = composed();
    let name = std::ffi::OsStr::from_bytes(b"\xff\n\x1b[2J");
    within(&rootfs(&stage.root, "d"), || fs::write(rootfs(&stage.root, "d").join(name), "").unwrap());
    let line = fs::read_dir(rootfs(&stage.root, "d")).unwrap().count();
    assert_eq!(line, 4);
    let path = "/usr/lib/containers/atomic/it/rootfs/d/\\xff\\n\\x1b[2J";
    let output = stage.verb("verify").run().expect_code(1);
    assert_eq!(
        output.stdout(),
        format!("error: it: {path}: is not of the image\n1 containers checked: see above\n")
    );
    let json = stage.verb("verify").arg("--format").arg("json").run().json();
    assert_eq!(json["findings"][0]["path"], path);
    // Text in UTF-8, but with what a terminal obeys.
    let stage = composed();
    within(&rootfs(&stage.root, "d"), || fs::write(rootfs(&stage.root, "d/a\nb\x1b[2J"), "").unwrap());
    let output = stage.verb("verify").run().expect_code(1);
    let path = "/usr/lib/containers/atomic/it/rootfs/d/a\\nb\\u{1b}[2J";
    assert_eq!(
        output.stdout(),
        format!("error: it: {path}: is not of the image\n1 containers checked: see above\n")
    );
}
