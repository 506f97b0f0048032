//! What makes no container, and what the message says.

use super::prepared;
use crate::bundle::testing::{Case, tree};

/// Settings, and the message that follows the container's name.
const REFUSED: &[(&str, &str)] = &[
    (
        r#"{"run": {"entrypoint": []}}"#,
        "there is nothing to run: the image has neither Entrypoint nor Cmd; give run.entrypoint",
    ),
    (
        r#"{"run": {"args": ["a\u0000b"]}}"#,
        "argument \"a\\0b\" has a NUL byte, which no process can be given",
    ),
    (
        r#"{"run": {"user": "web"}}"#,
        "run.user: user \"web\" can't be looked up: the image has no /etc/passwd; give a number",
    ),
    (
        r#"{"run": {"mounts": [{"source": "/s", "target": "/"}]}}"#,
        "run.mounts[0].target: nothing can be mounted on the root; it is the image's",
    ),
    (
        r#"{"run": {"mounts": [{"source": "/s", "target": "/proc/sys"}]}}"#,
        "run.mounts[0].target: \"/proc/sys\" is the kernel's; runtimes mount nothing there",
    ),
    (
        r#"{"run": {"mounts": [{"source": "/s", "target": "/etc/passwd/x"}]}}"#,
        "run.mounts[0].target: path \"/etc/passwd/x\" leads through \"/etc/passwd\", which is not a directory",
    ),
    (
        r#"{"run": {"mounts": [{"source": "/s", "target": "/loop"}]}}"#,
        "run.mounts[0].target: path \"/loop\" leads through more than 40 symbolic links",
    ),
    (
        r#"{"run": {"tmpfs": ["/run/x"], "mounts": [{"source": "/s", "target": "/var/run/x"}]}}"#,
        "run.mounts[0].target: run.tmpfs[0] mounts something at \"/run/x\" already; keep one of them",
    ),
    (
        r#"{"run": {"tmpfs": ["/etc/passwd"]}}"#,
        "run.tmpfs[0]: \"/etc/passwd\" is a file in the image, not a directory",
    ),
    (
        r#"{"run": {"volumes": {"/sys/x": "tmpfs"}}}"#,
        "run.volumes.\"/sys/x\": \"/sys/x\" is made by the runtime; choose another place, or bind it by run.mounts",
    ),
    (
        r#"{"run": {"volumes": {"/a": "/srv/x", "/b": "/srv/x"}}}"#,
        "run.volumes.\"/b\": /srv/x is the directory of the volume /a already; give it another",
    ),
    (r#"{"run": {"volumes": {"/a": "/"}}}"#, "run.volumes.\"/a\": / can't be a volume's directory"),
    (
        r#"{"run": {"devices": ["/etc/passwd"]}}"#,
        "run.devices[0]: /etc/passwd is not below /dev; other nodes are bound by run.mounts",
    ),
    (
        r#"{"run": {"tmpfs": ["/run/credentials"]}, "unit": {"credentials": ["x"]}}"#,
        "run.tmpfs[0]: unit.credentials appear at \"/run/credentials\"; choose another place",
    ),
    (
        r#"{"run": {"cwd": "/etc/passwd"}}"#,
        "run.cwd: \"/etc/passwd\" is a file in the image, not a directory",
    ),
    (
        r#"{"run": {"seccomp": "p.json"}, "seccomp_profile": {"defaultAction": "SCMP_ACT_ALLOW", "x": 1}}"#,
        "run.seccomp: reading profile p.json: unknown field `x`, expected one of `defaultAction`, `defaultErrnoRet`, \
         `defaultErrno`, `architectures`, `archMap`, `flags`, `syscalls`",
    ),
    (
        r#"{"unit": {"description": "x\n[Service]"}}"#,
        "unit.description: \"x\\n[Service]\" has a line break or another control character, which a unit can't hold",
    ),
    (
        r#"{"unit": {"description": "x\\"}}"#,
        "unit.description: \"x\\\\\" is empty, or ends in what a unit file drops (a space or a backslash); change it",
    ),
    (
        r#"{"unit": {"credentials": ["a b"]}}"#,
        "unit.credentials[0]: \"a b\" is not a credential's name: letters, digits, `.`, `_` and `-`",
    ),
    (
        r#"{"unit": {"credentials": ["a:b"]}}"#,
        "unit.credentials[0]: \"a:b\" is not NAME:PATH with an absolute path free of spaces, quotes and backslashes",
    ),
    (r#"{"unit": {"credentials": ["a", "a:/b"]}}"#, "unit.credentials[1]: credential a stands here twice"),
];

#[test]
fn what_makes_no_container_is_refused_by_its_setting() {
    let lines = ["bin/", "bin/web", "etc/", "etc/passwd", "loop -> loop", "run/", "var/", "var/run -> /run"];
    for (settings, message) in REFUSED {
        let case = Case { tree: tree(&lines), ..Case::with_settings(settings) };
        let error = format!("{:#}", prepared(&case).unwrap_err());
        assert_eq!(error, format!("preparing container web: {message}"));
    }
}
