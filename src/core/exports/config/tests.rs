use super::*;

/// The smallest configuration, with `more` merged over it.
fn config(more: Value) -> Value {
    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": { "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": ["/bin/x"], "cwd": "/" },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [{ "destination": "/dev/", "type": "tmpfs", "source": "tmpfs" }],
        "linux": { "cgroupsPath": "payload" },
    });
    merge(&mut config, more);
    config
}

fn settled(config: &Value) -> Result<Settled, String> {
    let bytes = serde_json::to_vec(config).unwrap();
    settle(&bytes, "c", "rootfs").map_err(|error| format!("{error:#}"))
}

#[test]
fn what_is_up_to_date_passes_untouched() {
    let config = config(json!({
        "process": { "unheard": [1, null, { "of": 2.5 }], "oomScoreAdj": -1000 },
        "linux": {
            "rootfsPropagation": "rslave",
            "resources": { "devices": [{ "allow": false, "access": "rwm" }], "memory": { "limit": 9223372036854775807_u64 } },
            "maskedPaths": ["/proc/kcore"], "x": { "y": null },
        },
        "annotations": { "a": "b" },
        "hooks": {},
    }));
    let settled = settled(&config).unwrap();
    assert_eq!(settled.value, config);
    assert_eq!(settled.warnings, [""; 0]);
}

/// What an image says, the field that changes, its new value, and what is told.
const OLD: &[[&str; 4]] = &[
    [
        r#"{"ociVersion": "0.3.0"}"#,
        "/ociVersion",
        r#""1.0.2""#,
        "ociVersion 0.3.0 is an old schema: it is read as 1.0.2",
    ],
    [
        r#"{"ociVersion": "1.0.0-rc3"}"#,
        "/ociVersion",
        r#""1.0.2""#,
        "ociVersion 1.0.0-rc3 is an old schema: it is read as 1.0.2",
    ],
    [
        r#"{"platform": {"os": "linux", "arch": "amd64"}}"#,
        "/platform",
        "null",
        "platform is of an old schema: it has no effect",
    ],
    [
        r#"{"process": {"capabilities": ["CAP_KILL", "CAP_CHOWN"]}}"#,
        "/process/capabilities/effective",
        r#"["CAP_KILL", "CAP_CHOWN"]"#,
        "process.capabilities is a list, as in an old schema: it became the bounding, effective and permitted set",
    ],
    [
        r#"{"process": {"capabilities": {"bounding": ["kill"]}}}"#,
        "/process/capabilities/bounding",
        r#"["CAP_KILL"]"#,
        "process.capabilities.bounding: kill became CAP_KILL",
    ],
    [
        r#"{"linux": {"capabilities": ["CAP_KILL"]}}"#,
        "/process/capabilities/bounding",
        r#"["CAP_KILL"]"#,
        "linux.capabilities is of an old schema: it became process.capabilities",
    ],
    [
        r#"{"linux": {"apparmorProfile": ""}}"#,
        "/linux/apparmorProfile",
        "null",
        "linux.apparmorProfile is of an old schema and empty: it has no effect",
    ],
    [
        r#"{"linux": {"apparmorProfile": "p"}}"#,
        "/process/apparmorProfile",
        r#""p""#,
        "linux.apparmorProfile is of an old schema: it became process.apparmorProfile",
    ],
    [
        r#"{"linux": {"selinuxProcessLabel": "l"}}"#,
        "/process/selinuxLabel",
        r#""l""#,
        "linux.selinuxProcessLabel is of an old schema: it became process.selinuxLabel",
    ],
    [
        r#"{"linux": {"resources": {"oomScoreAdj": 5}}}"#,
        "/process/oomScoreAdj",
        "5",
        "linux.resources.oomScoreAdj is of an old schema: it became process.oomScoreAdj",
    ],
    [
        r#"{"linux": {"resources": {"disableOOMKiller": false}}}"#,
        "/linux/resources/memory/disableOOMKiller",
        "false",
        "linux.resources.disableOOMKiller is of an old schema: it became linux.resources.memory.disableOOMKiller",
    ],
    [
        r#"{"linux": {"devices": null}}"#,
        "/linux/devices",
        "null",
        "linux.devices is null: it is taken as absent",
    ],
    [
        r#"{"linux": {"devices": [{"path": "/dev/vport2p1", "type": "c", "major": 249, "minor": 1, "fileMode": 8576}]}}"#,
        "/linux/devices/0/fileMode",
        "384",
        "linux.devices[0].fileMode 8576 has more than permission bits: 384 is used",
    ],
    [
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW", "args": null}]}}}"#,
        "/linux/seccomp/syscalls/0",
        r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW"}"#,
        "linux.seccomp.syscalls is of an old schema: each name became names",
    ],
    [
        r#"{"mounts": [{"destination": "/x", "type": "rbind", "source": "/y", "options": ["ro"]}]}"#,
        "/mounts/0",
        r#"{"destination": "/x", "type": "bind", "source": "/y", "options": ["ro", "rbind"]}"#,
        "mounts[0].type is \"rbind\": \"bind\" with the option rbind is used",
    ],
    [
        r#"{"mounts": [{"destination": "x", "type": "tmpfs"}]}"#,
        "/mounts/0/destination",
        r#""/x""#,
        "mounts[0].destination \"x\" is relative: /x is used",
    ],
    [r#"{"process": {"user": {}}}"#, "/process/user", r#"{"uid": 0, "gid": 0}"#, ""],
    [r#"{"root": {"readonly": false}}"#, "/root/readonly", "true", "root.readonly is false; true is used"],
    [
        r#"{"process": {"terminal": true}}"#,
        "/process/terminal",
        "false",
        "process.terminal is true; false is used",
    ],
    [
        r#"{"linux": {"cgroupsPath": "/x"}}"#,
        "/linux/cgroupsPath",
        r#""payload""#,
        "linux.cgroupsPath \"/x\" is replaced: the container stays in its unit's cgroup",
    ],
];

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn old_schemas_are_brought_up_to_date() {
    for [old, field, new, warning] in OLD {
        let settled = settled(&config(value(old))).unwrap();
        assert_eq!(settled.value.pointer(field).cloned().unwrap_or_default(), value(new), "{old}");
        let told = settled.warnings.first().map_or("", |told| told.strip_prefix("c: ").unwrap());
        assert_eq!(told, *warning, "{old}");
    }
}

/// What an image says, and why no container is made from it.
const WRONG: &[[&str; 2]] = &[
    [r#"{"root": {"path": "/"}}"#, "root.path is \"/\", not \"rootfs\"; the image's root lies there"],
    [
        r#"{"ociVersion": "2.0.0"}"#,
        "ociVersion \"2.0.0\" is no version that sysctr knows; known are 0.x and 1.x",
    ],
    [r#"{"platform": {"os": "solaris"}}"#, "platform.os is \"solaris\", not \"linux\""],
    [r#"{"process": {"args": []}}"#, "process.args is empty, so there is no program to run"],
    [r#"{"process": {"args": "sh"}}"#, "process.args is \"sh\", not a list of texts"],
    [
        r#"{"process": {"user": {"uid": -1}}}"#,
        "process.user.uid is -1, not a whole number from 0 to 4294967295",
    ],
    [r#"{"process": {"cwd": "x"}}"#, "process.cwd is \"x\", not an absolute path"],
    [
        r#"{"process": {"capabilities": ["CAP_FLY"]}}"#,
        "process.capabilities.bounding: \"CAP_FLY\" is no capability of capabilities(7)",
    ],
    [
        r#"{"process": {"selinuxLabel": "a"}, "linux": {"selinuxProcessLabel": "b"}}"#,
        "linux.selinuxProcessLabel is of an old schema and contradicts process.selinuxLabel; take one of them out",
    ],
    [r#"{"mounts": [{"destination": "/x", "type": "bind"}]}"#, "mounts[0] is a bind without a source"],
    [
        r#"{"mounts": [{"destination": "/x", "type": "bind", "source": "/a/../b"}]}"#,
        "mounts[0].source \"/a/../b\" is not an absolute path free of `..`",
    ],
    [
        r#"{"mounts": [{"destination": "/x", "options": ["bind"], "source": "../b"}]}"#,
        "mounts[0].source \"../b\" leads out of the bundle",
    ],
    [
        r#"{"mounts": [{"destination": "/x/../y"}]}"#,
        "mounts[0].destination \"/x/../y\" has a `..` or a control character",
    ],
    [r#"{"mounts": [{"type": "tmpfs"}]}"#, "it has no mounts[0].destination"],
    [r#"{"mounts": [{"destination": "/x"}, 3]}"#, "mounts is not a list of objects"],
    [
        r#"{"linux": {"rootfsPropagation": "up"}}"#,
        "linux.rootfsPropagation is \"up\", not one of private, shared, slave, unbindable, rprivate, rshared, rslave, runbindable",
    ],
    [
        r#"{"linux": {"resources": {"memory": {"limit": "512M"}}}}"#,
        "linux.resources.memory.limit is \"512M\", not a whole number from -9223372036854775808 to 9223372036854775807",
    ],
    [
        r#"{"linux": {"namespaces": [{"type": "pid"}, {"type": "bogus"}]}}"#,
        "linux.namespaces[1].type is \"bogus\", not one of mount, pid, network, uts, ipc, user, cgroup",
    ],
    [
        r#"{"process": {"rlimits": [{"type": "NOFILE", "hard": 1, "soft": 1}]}}"#,
        "process.rlimits[0].type is \"NOFILE\", not a limit such as RLIMIT_NOFILE",
    ],
    [
        r#"{"linux": {"resources": {"cpu": {"shares": -1}}}}"#,
        "linux.resources.cpu.shares is -1, not a whole number from 0 to 18446744073709551615",
    ],
    [r#"{"hooks": {"poststop": [{"args": ["x"]}]}}"#, "it has no hooks.poststop[0].path"],
    [
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_LOG", "syscalls": "x"}}}"#,
        "linux.seccomp.syscalls is \"x\", not a list of objects",
    ],
    [r#"{"linux": []}"#, "linux is not an object"],
];

#[test]
fn what_no_container_can_be_is_refused_by_its_field() {
    for [wrong, message] in WRONG {
        assert_eq!(settled(&config(value(wrong))).unwrap_err(), format!("reading c: {message}"));
    }
}

#[test]
fn what_is_no_configuration_is_refused_with_its_place() {
    for (text, message) in [
        ("{}", "it has no root.path; it must be \"rootfs\""),
        ("[]", "it is no JSON object"),
        (
            r#"{"linux": {"devices": [{"a": 1, "a": 2}]}}"#,
            "linux.devices[0].a stands there twice, and runtimes disagree which one counts; take one out",
        ),
    ] {
        let error = format!("{:#}", settle(text.as_bytes(), "c", "rootfs").unwrap_err());
        assert_eq!(error, format!("reading c: {message}"));
    }
    for (text, message) in [
        ("{\"a\": [\n  1\n  ,{}{}\n]}", "expected `,` or `]` at line 3 column 6: \",{}{}\""),
        ("{} }", "trailing characters at line 1 column 4: \"{} }\""),
    ] {
        let error = format!("{:#}", settle(text.as_bytes(), "c", "rootfs").unwrap_err());
        assert_eq!(error, format!("reading c, its variables replaced: {message}"));
    }
}

#[test]
fn what_it_asks_is_collected() {
    let path = |text: &str| crate::settings::AbsolutePath::try_from(text.to_owned()).unwrap();
    let settled = settled(&config(json!({
        "process": { "user": { "uid": 996, "gid": 994, "additionalGids": [7] }, "cwd": "/work" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/etc/etcd/", "type": "bind", "source": "/etc//web", "options": ["rbind", "ro", "rw"] },
            { "destination": "/dev/log", "type": "none", "source": "/dev/log", "options": ["rbind"] },
            { "destination": "/bin/helper", "type": "bind", "source": "helper" },
        ],
        "linux": {
            "devices": [{ "path": "/dev/vport2p1", "type": "c", "major": 249, "minor": 1 }],
            "resources": { "devices": [{ "allow": true, "access": "rwm" }] },
        },
        "hooks": { "prestart": [{ "path": "/bin/true" }] },
    })))
    .unwrap();
    let bind =
        |source: &str, destination: &str| Bind { source: path(source), destination: destination.into() };
    let point = |destination: &str, kind| MountPoint { destination: destination.into(), kind };
    assert_eq!(
        settled.asks,
        Asks {
            binds: vec![bind("/etc/web", "/etc/etcd/"), bind("/dev/log", "/dev/log")],
            mount_points: vec![
                point("/proc", MountPointKind::Directory),
                point("/etc/etcd/", MountPointKind::Like(path("/etc/web"))),
                point("/dev", MountPointKind::Directory),
                point("/dev/log", MountPointKind::Like(path("/dev/log"))),
                point("/bin/helper", MountPointKind::LikeInBundle("helper".into())),
            ],
            devices: DevicePolicy::Open,
            cwd: "/work".into(),
            user: (996, 994, vec![7]),
        }
    );
    assert_eq!(
        settled.warnings,
        [
            "c: mounts[1].options has both ro and rw; the last one, rw, counts",
            "c: hooks.prestart runs programs of the host as root at every start",
            "c: nothing is mounted on /dev: a tmpfs is, since device nodes are made there"
        ]
    );
    assert_eq!(settled.value["mounts"][2]["destination"], "/dev");
    assert_eq!(settled.value["mounts"][3]["destination"], "/dev/log");
}
