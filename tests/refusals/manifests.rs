//! Manifests and command lines that are not understood: exit 2, and where in the file it is.

use sysctr_tests::{Command, Layer, Program, crafted::Crafted};

use crate::{MANIFEST, Stage, says};

#[test]
fn what_stands_wrong_in_a_manifest_is_told_with_line_and_column() {
    let keys = "expected one of `name`, `image`, `digest`, `update`, `authfile`, `tls_verify`, `signed_by`, `enable`, `runtime`, `fallback`, `rootfs`, `allow_conflicts`, `set`, `run`, `limits`, \
        `unit`";
    let container = |text: &str| format!("{MANIFEST}{text}\n");
    for (manifest, why) in [
        (container("colour = 'red'"), format!("5:1: unknown field `colour`, {keys}")),
        (format!("groop = 'x'\n{MANIFEST}"), "1:1: unknown field `groop`, expected `group` or `container`".to_owned()),
        (
            container("limits = { cores = 3 }"),
            "5:12: unknown field `cores`, expected one of `memory`, `pids`, `cpu`".to_owned(),
        ),
        (container("enable = 'yes'"), "5:10: invalid type: string \"yes\", expected a boolean".to_owned()),
        (container("set = { A = 1 }"), "5:13: invalid type: integer `1`, expected a string".to_owned()),
        (container("fallback = 'maybe'"), "5:12: unknown variant `maybe`, expected `none` or `embedded`".to_owned()),
        (
            container("run = { stop_timeout = '10 parsecs' }"),
            "5:24: \"10 parsecs\" is not a length of time with its unit, such as 500ms, 10s or 1min 30s".to_owned(),
        ),
        (
            container("unit = { phase = 'late' }"),
            "5:18: unknown variant `late`, expected one of `early`, `sysinit`, `basic`, `multi-user`".to_owned(),
        ),
        (container("limits = { memory = '1 apple' }"), "5:21: \"1 apple\" is not a size above zero, such as 512M".to_owned()),
        (container("run = { cwd = 'relative' }"), "5:15: \"relative\" is not an absolute path without `..`".to_owned()),
        (container("run = { user = 7 }"), "5:16: invalid type: integer `7`, expected a string".to_owned()),
        (container("digest = 'sha256:12'"), {
            "5:10: digest \"sha256:12\" is not `sha256:` and 64 lower-case hexadecimal digits".to_owned()
        }),
        (MANIFEST.replace("'it'", "'../it'"), {
            "3:8: name \"../it\" is not valid: it must match [a-zA-Z0-9][a-zA-Z0-9_.-]* and have at most 128 characters"
                .to_owned()
        }),
        (MANIFEST.replace("'it'", "'it.3'"), "3:8: name \"it.3\" ends in .DIGITS, which is how a container's generations are named; choose another".to_owned()),
        (MANIFEST.replace("'it'", "'embedded.json'"), "3:8: name \"embedded.json\" is taken by a file of sysctr itself; choose another".to_owned()),
        (MANIFEST.replace("oci:image", "docker-daemon:y:1"), {
            "4:9: image \"docker-daemon:y:1\" has the transport docker-daemon:, which is not read; copy it first: skopeo copy \
             docker-daemon:y:1 oci:DIR:TAG"
                .to_owned()
        }),
        ("[[container]]\nimage = 'oci:image'\n".to_owned(), "1:1: missing field `group`".to_owned()),
        ("group = 'g'\n[[container]]\nname = 'it'\n".to_owned(), "2:1: missing field `image`".to_owned()),
        ("group = 'g\n".to_owned(), "1:11: invalid literal string, expected `'`".to_owned()),
        (container("name = 'again'"), "5:1: duplicate key".to_owned()),
        (
            format!("{MANIFEST}[[container]]\nname = 'it'\nimage = 'oci:other'\n"),
            "6:8: container it stands here twice; give one of them another `name`".to_owned(),
        ),
        (
            container("unit = { template = 'nowhere.service' }"),
            "3:8: unit.template: there is no file ./nowhere.service".to_owned(),
        ),
        (
            container("run = { seccomp = 'nowhere.json' }"),
            "3:8: run.seccomp: there is no file ./nowhere.json".to_owned(),
        ),
        (container("unit = { health = { exec = [] } }"), {
            "3:8: unit.health.exec is empty; name the program that tells health".to_owned()
        }),
    ] {
        Stage::of(&manifest).misunderstands(&format!("containers.toml:{why}"));
    }
}

#[test]
fn limits_that_are_none() {
    let limit = "a resource limit: a number or \"unlimited\", or both limits as \"SOFT:HARD\" or { soft = …, hard = … }";
    for (value, why) in [
        ("'100:'", format!("invalid value: string \"100:\", expected {limit}")),
        ("true", format!("invalid type: boolean `true`, expected {limit}")),
        ("'200:100'", "the soft limit 200 is above the hard limit 100; give soft ≤ hard".to_owned()),
    ] {
        let stage = Stage::of(&format!("{MANIFEST}run = {{ rlimits = {{ nofile = {value} }} }}\n"));
        stage.misunderstands(&format!("containers.toml:5:30: {why}"));
    }
}

#[test]
fn what_stands_wrong_in_json() {
    let stage = Stage::of(MANIFEST);
    let path = stage.compose.work_dir().join("c.json");
    for (text, why) in [
        (
            r#"{"group": "g", "container": [{"name": "it", "image": "oci:x", "imag": 1}]}"#,
            "1:68: unknown field `imag`, expected \
            one of `name`, `image`, `digest`, `update`, `authfile`, `tls_verify`, `signed_by`, `enable`, `runtime`, `fallback`, `rootfs`, `allow_conflicts`, `set`, `run`, `limits`, `unit`",
        ),
        ("{\"group\": \"g\",\n}", "2:1: trailing comma"),
        ("", "1:0: EOF while parsing a value"),
    ] {
        std::fs::write(&path, text).unwrap();
        let compose = Command::new(Program::Composer.path()).args(["-m", "c.json", "--sysroot"]);
        let compose = compose.arg(stage.root.path()).in_dir(stage.compose.work_dir());
        says(compose.run(), 2, &format!("c.json:{why}"));
    }
    stage.unchanged();
}

#[test]
fn no_manifest() {
    let stage = Stage::of(MANIFEST);
    std::fs::remove_file(stage.compose.work_dir().join("containers.toml")).unwrap();
    stage.refuses("reading manifest containers.toml: No such file or directory (os error 2)");
    std::fs::create_dir(stage.compose.work_dir().join("containers.toml")).unwrap();
    stage.refuses("reading manifest containers.toml: Is a directory (os error 21)");
    let stage = Stage::of(MANIFEST);
    std::fs::write(stage.compose.work_dir().join("containers.toml"), b"group = '\xff'\n").unwrap();
    stage.refuses("reading manifest containers.toml: stream did not contain valid UTF-8");
}

/// Arguments, and what is wrong with them.
const WRONG_ARGUMENTS: &[(&[&str], &str)] = &[
    (
        &[],
        "the following required arguments were not provided: --manifest <FILE> <--sysroot <DIR>|--repo <DIR>>",
    ),
    (&["--sysroot", "ROOT"], "the following required arguments were not provided: --manifest <FILE>"),
    (
        &["-m", "containers.toml"],
        "the following required arguments were not provided: <--sysroot <DIR>|--repo <DIR>>",
    ),
    (
        &["--sysroot", "ROOT", "-m", "containers.toml", "oci:image"],
        "the argument '--manifest <FILE>' cannot be used with '[IMAGE]'",
    ),
    (
        &["--sysroot", "ROOT", "-m", "containers.toml", "--name", "x"],
        "the argument '--manifest <FILE>' cannot be used with '--name <NAME>'",
    ),
    (
        &["--sysroot", "ROOT", "oci:image", "--set", "novalue"],
        "invalid value 'novalue' for '--set <KEY=VALUE>': it is not KEY=VALUE",
    ),
    (
        &["--sysroot", "ROOT", "oci:image", "--name", "a/b"],
        "invalid value 'a/b' for '--name <NAME>': name \"a/b\" is not valid: it must match [a-zA-Z0-9][a-zA-Z0-9_.-]* and have at most 128 characters",
    ),
    (
        &["--sysroot", "ROOT", "oci:image", "--jobs", "0"],
        "invalid value '0' for '--jobs <N>': number would be zero for non-zero type",
    ),
    (
        &["--sysroot", "ROOT", "oci:image", "--max-bytes", "1Q"],
        "invalid value '1Q' for '--max-bytes <SIZE>': \"1Q\" is not a size above zero, such as 512M",
    ),
    (&["--sysroot", "ROOT", "oci:image", "--max-entries", "-1"], "unexpected argument '-1' found"),
    (
        &["--sysroot", "ROOT", "image"],
        "invalid value 'image' for '[IMAGE]': image \"image\" has no transport; known are oci:, oci-archive:, docker-archive:, docker:, containers-storage:, dir:, such as oci:image",
    ),
    (
        &["--sysrot", "ROOT", "oci:image"],
        "unexpected argument '--sysrot' found; a similar argument exists: '--sysroot'",
    ),
    (&["--repo", "ROOT", "oci:image"], "the following required arguments were not provided: --ref <REF>"),
    (
        &["plant", "--sysroot", "ROOT"],
        "invalid value 'plant' for '[IMAGE]': image \"plant\" has no transport; known are oci:, oci-archive:, docker-archive:, docker:, containers-storage:, dir:, such as oci:plant",
    ),
    (&["remove", "--sysroot", "ROOT"], "the following required arguments were not provided: <NAME>..."),
    (
        &["list", "--sysroot", "ROOT", "--format", "xml"],
        "invalid value 'xml' for '--format <FORMAT>' [possible values: text, json]",
    ),
    (
        &["--sysroot", "ROOT", "oci:.", "--name", "it.1"],
        "invalid value 'it.1' for '--name <NAME>': name \"it.1\" ends in .DIGITS, which is how a container's generations are named; choose another",
    ),
];

#[test]
fn a_wrong_command_line() {
    let image = Crafted::one(&Layer::new().file("f", "x")).layout();
    let stage = Stage::with(&image);
    let run = |args: &[&str]| {
        let command = Command::new(Program::Composer.path()).args(args).in_dir(stage.compose.work_dir());
        command.call(&stage.root.path(), "ROOT").run()
    };
    let root = stage.root.path();
    let root = root.to_str().unwrap();
    for (args, why) in WRONG_ARGUMENTS {
        let args: Vec<_> = args.iter().map(|arg| if *arg == "ROOT" { root } else { arg }).collect();
        says(run(&args), 2, &format!("{why}; see --help"));
    }
    // A name that the image does not give.
    says(
        run(&["--sysroot", root, "oci:-"]),
        2,
        "naming the container after oci:-: name \"-\" is not valid: it must match [a-zA-Z0-9][a-zA-Z0-9_.-]* and have at \
        most 128 characters; give --name",
    );
    stage.unchanged();
}

#[test]
fn a_source_date_epoch_that_is_none() {
    let stage = Stage::layer(&Layer::new().file("f", "x"));
    for value in ["yesterday", "", "1.5", "99999999999999999999"] {
        let compose = stage.compose.command_as(None).env("SOURCE_DATE_EPOCH", value);
        says(compose.run(), 2, &format!("SOURCE_DATE_EPOCH={value:?} is not a number of seconds since 1970"));
    }
    use std::os::unix::ffi::OsStrExt as _;
    let compose =
        stage.compose.command_as(None).env("SOURCE_DATE_EPOCH", std::ffi::OsStr::from_bytes(b"\xff"));
    says(compose.run(), 2, "SOURCE_DATE_EPOCH=\"\u{fffd}\" is not a number of seconds since 1970");
    stage.unchanged();
}

#[test]
fn what_is_said_about_a_registry_must_mean_something() {
    let image = |image: &str, line: &str| MANIFEST.replace("oci:image", image) + line + "\n";
    for (text, message) in [
        (image("oci:image", "tls_verify = false"), {
            "3:8: tls_verify is for docker:// images; nothing of oci:image comes from a registry"
        }),
        (image("dir:image", "signed_by = ['keys/a.gpg']"), {
            "3:8: signed_by is for docker:// images; nothing of dir:image comes from a registry"
        }),
        (
            image("docker://x/y:1", "signed_by = []"),
            "3:8: signed_by is empty; name a key file, or leave it out",
        ),
    ] {
        Stage::of(&text).misunderstands(&format!("containers.toml:{message}"));
    }
}
