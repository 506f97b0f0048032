//! What the image shapes become, judged by others: the OCI runtime schema, `systemd-analyze verify`, systemd-tmpfiles.

mod schema;
mod shapes;
mod tmpfiles;
mod units;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use sysctr_core::exports::template::Expanded;

/// Validates JSON Lines from stdin by Debian's copy of the schema; prints what is wrong.
const SCHEMA: &str = r#"
import json, sys, jsonschema
path = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json"
schema = json.load(open(path))
resolver = jsonschema.RefResolver("file://" + path, schema)
checker = jsonschema.validators.validator_for(schema)(schema, resolver=resolver)
for line in sys.stdin:
    name, config = json.loads(line)
    for error in checker.iter_errors(config):
        print(name, "/".join(map(str, error.absolute_path)), error.message[:200])
"#;

fn output_of(command: &mut Command, input: &[u8]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("running {command:?}: {error}"));
    let mut pipe = child.stdin.take().expect("a pipe");
    // Beside, because the program answers before it has read all.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(input).expect("the program reads"));
        child.wait_with_output().expect("the program ends")
    });
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn outcomes() -> Vec<(String, shapes::Outcome)> {
    let outcome = |shape: shapes::Shape| {
        let outcome = shape.render().unwrap_or_else(|error| panic!("{}: {error:#}", shape.name));
        (shape.name.to_string(), outcome)
    };
    shapes::all().into_iter().map(outcome).collect()
}

#[test]
fn every_configuration_is_valid_by_the_oci_schema() {
    let mut lines = String::new();
    for (name, outcome) in outcomes() {
        assert!(shapes::spell(&outcome).contains("== "), "{name} becomes nothing");
        if let Some(config) = &outcome.rendered.config {
            let mut value = config.value.clone();
            // The schema lacks the recursive forms, which runc and crun tell from the others and images rely on.
            if let Some(Value::String(propagation)) = value.pointer_mut("/linux/rootfsPropagation")
                && let Some(plain) = propagation.strip_prefix('r')
            {
                *propagation = plain.to_owned();
            }
            lines.push_str(&serde_json::json!([name, value]).to_string());
            lines.push('\n');
        }
    }
    assert_eq!(lines.lines().count(), 21);
    let mut python = Command::new("python3");
    assert_eq!(output_of(python.args(["-W", "ignore", "-c", SCHEMA]), lines.as_bytes()), "");
    // The judge is no yes-man.
    let broken = "[\"broken\", {\"ociVersion\": \"1.0.2\", \"mounts\": [{}]}]\n";
    let verdict = output_of(Command::new("python3").args(["-W", "ignore", "-c", SCHEMA]), broken.as_bytes());
    assert!(verdict.contains("broken mounts/0"), "{verdict}");
}

/// A root in which the programs that units name exist.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for program in ["usr/bin/sysctr", "usr/bin/python3", "usr/bin/rm", "bin/sh", "bin/kill"] {
        put(root.path(), program, b"");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(root.path().join(program), executable).expect("a mode");
    }
    root
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("parents");
    fs::write(path, bytes).expect("a file");
}

#[test]
fn every_unit_is_silent_under_systemds_checker() {
    let root = root();
    let mut units = Vec::new();
    // Targets that units are ordered by.
    for target in ["basic", "sysinit", "multi-user", "shutdown", "umount", "network", "network-online"] {
        put(root.path(), &format!("usr/lib/systemd/system/{target}.target"), b"[Unit]\nDescription=x\n");
    }
    for (name, outcome) in outcomes() {
        let mut put_unit = |unit: String, text: &str| {
            put(root.path(), &format!("usr/lib/systemd/system/{unit}"), text.as_bytes());
            units.push(unit);
        };
        if let Some(unit) = &outcome.rendered.unit {
            put_unit(format!("{name}.service"), &unit.text);
        }
        for mount in &outcome.host.mounts {
            put_unit(mount.name.clone(), &mount.text);
            if let Some((path, text)) = &mount.drop_in {
                put(root.path(), &format!("usr/lib/systemd/system/{path}"), text.as_bytes());
            }
        }
        let bundle = format!("usr/lib/containers/atomic/{name}/rootfs/set_mounts.sh");
        put(root.path(), &bundle, b"");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(root.path().join(bundle), executable).expect("a mode");
    }
    let verify = |units: &[String]| {
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no", "--recursive-errors=no"]);
        verify.arg(format!("--root={}", root.path().display())).args(units);
        output_of(&mut verify, b"")
    };
    units.sort();
    units.dedup();
    assert!(units.len() > 22, "{units:?}");
    assert_eq!(verify(&units), "");
    put(
        root.path(),
        "usr/lib/systemd/system/broken.service",
        b"[Service]\nType=none\nExecStart=/usr/bin/sysctr\n",
    );
    assert!(verify(&["broken.service".to_owned()]).contains("service type"));
}

#[test]
fn every_tmpfiles_line_is_taken_by_systemd_tmpfiles() {
    for (name, outcome) in outcomes() {
        let root = tempfile::tempdir().expect("a directory");
        let conf = format!("usr/lib/tmpfiles.d/sysctr-{name}.conf");
        put(root.path(), &conf, outcome.tmpfiles.as_bytes());
        for placed in outcome.host.placed.iter().filter(|placed| placed.at.starts_with("usr/share/factory")) {
            put(root.path(), placed.at.as_str(), b"seed");
        }
        let mut tmpfiles = Command::new("systemd-tmpfiles");
        tmpfiles.arg(format!("--root={}", root.path().display())).arg("--create");
        let told = output_of(&mut tmpfiles, b"");
        // The image's own word about a legacy directory.
        let told: Vec<_> = told.lines().filter(|line| !line.contains("legacy directory")).collect();
        assert_eq!(told, [""; 0], "{name}");
        let makes = sysctr_core::exports::tmpfiles::check(&Expanded::literal(outcome.tmpfiles.as_bytes()))
            .expect("lines")
            .makes;
        for path in makes.iter().filter(|path| !path.starts_with("/var/run")) {
            let made = root.path().join(path.trim_start_matches('/'));
            assert!(fs::symlink_metadata(&made).is_ok(), "{name}: {path} was not made");
        }
    }
}

/// What `ALL_PROCESS_CAPABILITIES` stands for, against the kernel's own header.
#[test]
fn the_stated_capabilities_are_the_kernels_in_its_order() {
    let header = fs::read_to_string("/usr/include/linux/capability.h").expect("linux-libc-dev is installed");
    let mut names = std::collections::BTreeMap::new();
    for line in header.lines() {
        let mut words = line.split_whitespace();
        if let (Some("#define"), Some(name), Some(number), None) =
            (words.next(), words.next(), words.next(), words.next())
            && let Ok(number) = number.parse::<usize>()
            && name.starts_with("CAP_")
        {
            names.insert(number, name.to_owned());
        }
    }
    let names: Vec<_> = names.into_values().collect();
    assert_eq!(names, sysctr_core::settings::values::CAPABILITIES);
}
