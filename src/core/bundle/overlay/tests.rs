use super::*;
use crate::bundle::testing::{Case, tree};

/// What an image of Project Atomic might bring.
fn own() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "hostname": "own",
        "root": { "path": "rootfs", "readonly": true },
        "process": {
            "args": ["/bin/web", "--own", "x"],
            "env": ["PATH=/bin", "A=1", "A=2", "B=3"],
            "cwd": "/srv",
            "user": { "uid": 0, "gid": 0, "umask": 63 },
            "capabilities": {
                "bounding": ["CAP_NET_RAW", "CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"],
                "ambient": ["CAP_CHOWN"],
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 2 }, { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }],
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/data/", "type": "bind", "source": "/own/data", "options": ["rbind"] },
            { "destination": "/data/in", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/var/run/x", "type": "tmpfs", "source": "tmpfs" },
        ],
        "linux": { "namespaces": [{ "type": "mount" }, { "type": "uts" }], "rootfsPropagation": "rprivate", "unheard": 1 },
    })
}

/// The configuration with `run` over it, and what is told.
fn over(run: &str, config: &Value) -> Result<(Value, Vec<String>)> {
    let mut case = Case::with_settings(&format!("{{\"run\": {run}}}"));
    case.tree =
        tree(&["bin/", "bin/web", "data/", "proc/", "run/", "srv/", "var/", "var/run -> ../run", "etc/"]);
    case.passwd = Some(b"web:x:33:34::/srv:/bin/sh\n".to_vec());
    let decided = decide(&case.source(), config)?;
    // What a bundle keeps is what was decided.
    let kept: Overlay = serde_json::from_slice(&serde_json::to_vec(&decided.overlay)?)?;
    assert_eq!(kept, decided.overlay);
    let mut config = config.clone();
    kept.apply(&mut config)?;
    Ok((config, decided.warnings))
}

/// Pointer → value of what differs.
fn differs(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = format!("{path}/{key}");
                differs(&path, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), found);
            }
        }
        _ if one == other => {}
        _ => found.push(format!("{path} = {other}")),
    }
}

fn changes(run: &str) -> Vec<String> {
    let mut found = Vec::new();
    differs("", &own(), &over(run, &own()).unwrap().0, &mut found);
    found
}

#[test]
fn each_setting_changes_its_field_and_nothing_else() {
    let table: &[(&str, &[&str])] = &[
        ("{}", &[]),
        (r#"{"args": ["y"]}"#, &[r#"/process/args = ["/bin/web","y"]"#]),
        (r#"{"args": []}"#, &[r#"/process/args = ["/bin/web"]"#]),
        (r#"{"entrypoint": ["/bin/sh", "-c"], "args": ["y"]}"#, &[r#"/process/args = ["/bin/sh","-c","y"]"#]),
        (r#"{"entrypoint": ["/bin/sh"]}"#, &[r#"/process/args = ["/bin/sh"]"#]),
        (r#"{"env": {"A": "9", "B": "", "C": "new"}}"#, &[r#"/process/env = ["PATH=/bin","A=9","C=new"]"#]),
        (r#"{"cwd": "/"}"#, &[r#"/process/cwd = "/""#]),
        (r#"{"hostname": "mine"}"#, &[r#"/hostname = "mine""#]),
        (
            r#"{"user": "web"}"#,
            &[
                "/process/capabilities/ambient = []",
                r#"/process/capabilities/bounding = ["CAP_CHOWN","CAP_NET_RAW"]"#,
                "/process/capabilities/effective = []",
                "/process/capabilities/inheritable = []",
                "/process/capabilities/permitted = []",
                "/process/user/additionalGids = []",
                "/process/user/gid = 34",
                "/process/user/uid = 33",
            ],
        ),
        (
            r#"{"cap_add": ["SYS_TIME"], "cap_drop": ["CHOWN"]}"#,
            &[
                "/process/capabilities/ambient = []",
                r#"/process/capabilities/bounding = ["CAP_NET_RAW","CAP_SYS_TIME"]"#,
                r#"/process/capabilities/effective = ["CAP_SYS_TIME"]"#,
                "/process/capabilities/inheritable = []",
                r#"/process/capabilities/permitted = ["CAP_SYS_TIME"]"#,
            ],
        ),
        (
            r#"{"cap_add": ["KILL"], "cap_drop": ["ALL"]}"#,
            &[
                "/process/capabilities/ambient = []",
                r#"/process/capabilities/bounding = ["CAP_KILL"]"#,
                r#"/process/capabilities/effective = ["CAP_KILL"]"#,
                "/process/capabilities/inheritable = []",
                r#"/process/capabilities/permitted = ["CAP_KILL"]"#,
            ],
        ),
        (
            r#"{"network": "none"}"#,
            &[r#"/linux/namespaces = [{"type":"mount"},{"type":"uts"},{"type":"network"}]"#],
        ),
        (r#"{"no_new_privileges": true}"#, &["/process/noNewPrivileges = true"]),
        (r#"{"read_only": false}"#, &["/root/readonly = false"]),
        (
            r#"{"rlimits": {"NOFILE": 7}}"#,
            &[
                r#"/process/rlimits = [{"hard":0,"soft":0,"type":"RLIMIT_CORE"},{"hard":7,"soft":7,"type":"RLIMIT_NOFILE"}]"#,
            ],
        ),
        (r#"{"seccomp": "unconfined"}"#, &[]),
    ];
    for (run, expected) in table {
        assert_eq!(changes(run), *expected, "{run}");
    }
}

#[test]
fn a_private_network_can_become_the_hosts_and_a_filter_can_go_or_come() {
    let mut config = own();
    config["linux"]["namespaces"] = json!([{ "type": "network", "path": "/run/netns/x" }]);
    config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    let changed = over(r#"{"network": "host", "seccomp": "unconfined"}"#, &config).unwrap().0;
    assert_eq!((&changed["linux"]["namespaces"], &changed["linux"]["seccomp"]), (&json!([]), &Value::Null));
    let changed =
        over(r#"{"network": "none", "seccomp": "default", "cap_add": ["SYS_TIME"]}"#, &config).unwrap().0;
    assert_eq!(changed["linux"]["namespaces"], json!([{ "type": "network" }]));
    let filter = changed["linux"]["seccomp"].to_string();
    // The profile lets `clock_settime` through with CAP_SYS_TIME only, and `mount` with CAP_SYS_ADMIN only.
    assert!(filter.contains("\"clock_settime\"") && !filter.contains("\"mount\""), "{filter}");
}

fn mounts(run: &str) -> Vec<String> {
    let config = over(run, &own()).unwrap().0;
    let spelled = |mount: &Value| format!("{} {}", mount["destination"], mount["source"]).replace('"', "");
    config["mounts"].as_array().unwrap().iter().map(spelled).collect()
}

#[test]
fn mounts_lie_where_nothing_hides_them() {
    for (run, expected) in [
        (
            r#"{"mounts": [{"source": "/mine", "target": "/data"}]}"#,
            &["/proc proc", "/data /mine", "/var/run/x tmpfs"][..],
        ),
        (
            r#"{"volumes": {"/data": "/var/lib/mine"}}"#,
            &["/proc proc", "/data /var/lib/mine", "/data/in tmpfs", "/var/run/x tmpfs"],
        ),
        (
            r#"{"mounts": [{"source": "/mine", "target": "/run/x"}]}"#,
            &["/proc proc", "/data/ /own/data", "/data/in tmpfs", "/run/x /mine"],
        ),
        (
            r#"{"tmpfs": ["/run"]}"#,
            &["/proc proc", "/data/ /own/data", "/data/in tmpfs", "/run tmpfs", "/var/run/x tmpfs"],
        ),
        (
            r#"{"devices": ["/dev/kvm"], "mounts": [{"source": "/f", "target": "/etc/f", "file": true, "ro": true}]}"#,
            &[
                "/proc proc",
                "/data/ /own/data",
                "/data/in tmpfs",
                "/var/run/x tmpfs",
                "/dev/kvm /dev/kvm",
                "/etc/f /f",
            ],
        ),
    ] {
        assert_eq!(mounts(run), expected, "{run}");
    }
    let of = |run: &str, pointer: &str| over(run, &own()).unwrap().0.pointer(pointer).cloned();
    let shared = r#"{"mounts": [{"source": "/m", "target": "/m", "propagation": "shared"}]}"#;
    assert_eq!(of(shared, "/linux/rootfsPropagation"), Some(json!("shared")));
    let devices = of(r#"{"devices": ["/dev/kvm"]}"#, "/linux/resources/devices");
    assert_eq!(devices, Some(json!([{ "allow": true, "access": "rwm" }])));
}

#[test]
fn what_cannot_mean_anything_is_refused_by_name() {
    let mut bare = own();
    bare["linux"]["namespaces"] = json!([{ "type": "mount" }]);
    for (run, config, message) in [
        (
            r#"{"hostname": "x"}"#,
            &bare,
            "run.hostname: the image's own configuration has no UTS namespace, so the host itself would get the name; \
             take it out",
        ),
        (r#"{"entrypoint": []}"#, &own(), "run.entrypoint and run.args leave nothing to run"),
        (
            r#"{"user": "nobody"}"#,
            &own(),
            "run.user: user \"nobody\" is not in the image's /etc/passwd; give one that is, or a number",
        ),
        (
            r#"{"cap_add": ["KILL"], "cap_drop": ["KILL"]}"#,
            &own(),
            "run.cap_add and run.cap_drop both name CAP_KILL; take it out of one of them",
        ),
        (
            r#"{"tmpfs": ["/proc"]}"#,
            &own(),
            "run.tmpfs[0]: \"/proc\" is the kernel's; runtimes mount nothing there",
        ),
    ] {
        assert_eq!(format!("{:#}", over(run, config).unwrap_err()), message, "{run}");
    }
    let told = over(r#"{"user": "web", "cap_add": ["KILL"], "no_new_privileges": true}"#, &own()).unwrap().1;
    assert!(told.len() == 1 && told[0].starts_with("run.cap_add has no effect for user 33"), "{told:?}");
}
