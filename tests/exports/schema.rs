//! Our verdict about a configuration against the schema's own, by Debian's copy of it, on what chance makes of good ones.

use std::process::Command;

use serde_json::{Value, json};
use sysctr_core::exports::config;

fn seccomp() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "listenerPath": "/x", "listenerMetadata": "m", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{
            "names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1,
            "args": [{ "index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ" }],
        }],
    })
}

/// A configuration with every field of the schema's common and Linux part.
fn full() -> Value {
    let mapping = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
    let hooks = json!([{ "path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 3 }]);
    let throttle = json!([{ "major": 8, "minor": 0, "rate": 1 }]);
    json!({
        "ociVersion": "1.0.2",
        "hostname": "h", "domainname": "d", "annotations": { "a": "b" },
        "root": { "path": "rootfs", "readonly": true },
        "process": {
            "args": ["/bin/x"], "cwd": "/", "commandLine": "x", "consoleSize": { "height": 1, "width": 2 },
            "env": ["A=b"], "terminal": false, "noNewPrivileges": true, "apparmorProfile": "p", "selinuxLabel": "l",
            "user": { "uid": 1, "gid": 2, "umask": 18, "additionalGids": [3], "username": "u" }, "oomScoreAdj": -5,
            "capabilities": {
                "bounding": ["CAP_KILL"], "effective": [], "inheritable": [], "permitted": [], "ambient": ["CAP_KILL"],
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 2, "soft": 1 }],
        },
        "mounts": [{
            "destination": "/x", "type": "bind", "source": "/x", "options": ["rbind"],
            "uidMappings": mapping, "gidMappings": mapping,
        }],
        "hooks": {
            "prestart": hooks, "createRuntime": hooks, "createContainer": hooks, "startContainer": hooks,
            "poststart": hooks, "poststop": hooks,
        },
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "network", "path": "/run/netns/x" }],
            "uidMappings": mapping, "gidMappings": mapping, "cgroupsPath": "p", "rootfsPropagation": "slave",
            "devices": [
                { "type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0 },
            ],
            "resources": {
                "unified": { "memory.high": "max" }, "pids": { "limit": 5 },
                "devices": [{ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" }],
                "blockIO": {
                    "weight": 10, "leafWeight": 10, "throttleReadBpsDevice": throttle, "throttleWriteBpsDevice": throttle,
                    "throttleReadIOPSDevice": throttle, "throttleWriteIOPSDevice": throttle,
                    "weightDevice": [{ "major": 8, "minor": 0, "weight": 1, "leafWeight": 1 }],
                },
                "cpu": {
                    "cpus": "0-1", "mems": "0", "period": 1, "quota": -1, "burst": 1, "realtimePeriod": 1,
                    "realtimeRuntime": 1, "shares": 2, "idle": 0,
                },
                "hugepageLimits": [{ "pageSize": "2MB", "limit": 1 }],
                "memory": {
                    "kernel": -1, "kernelTCP": -1, "limit": 1, "reservation": 1, "swap": 1, "swappiness": 0,
                    "disableOOMKiller": false, "useHierarchy": false, "checkBeforeUpdate": false,
                },
                "network": { "classID": 1, "priorities": [{ "name": "eth0", "priority": 1 }] },
                "rdma": { "mlx5_1": { "hcaHandles": 3, "hcaObjects": 1 } },
            },
            "seccomp": seccomp(),
            "sysctl": { "net.ipv4.ip_forward": "1" }, "maskedPaths": ["/x"], "readonlyPaths": ["/y"], "mountLabel": "l",
            "intelRdt": {
                "closID": "c", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "enableCMT": true, "enableMBM": true,
            },
            "personality": { "domain": "LINUX", "flags": [] },
        },
    })
}

/// The pointers of everything below `value`.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut enter = |key: &str, value: &Value| {
        let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        found.push(at.clone());
        places(value, &at, found);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| enter(key, value)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| enter(&index.to_string(), value));
        }
        _ => {}
    }
}

/// `config` with another value at `place`; taken out without one.
fn changed(config: &Value, place: &str, value: Option<Value>) -> Value {
    let mut config = config.clone();
    let (parent, key) = place.rsplit_once('/').expect("a pointer");
    match (config.pointer_mut(parent).expect("a parent"), value) {
        (Value::Object(map), None) => {
            map.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        (Value::Array(list), None) => {
            list.remove(key.parse().expect("an index"));
        }
        (_, Some(value)) => *config.pointer_mut(place).expect("a place") = value,
        (other, None) => panic!("{place}: {other} has no fields"),
    }
    config
}

#[test]
fn every_field_is_judged_as_by_the_schema() {
    let full = full();
    config::check(&full).expect("a good configuration");
    let mut found = Vec::new();
    places(&full, "", &mut found);
    assert!(found.len() > 200, "{}", found.len());
    let others = [
        json!(null),
        json!("x"),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(70_000),
        json!(5_000_000_000_u64),
        json!(u64::MAX),
        json!(true),
        json!([]),
        json!(["x"]),
        json!([1]),
        json!([{}]),
        json!({}),
        json!({ "x": 1 }),
        json!("512M"),
        json!("RLIMIT_"),
        json!("0MB"),
        json!("MB:"),
        json!("SCMP_ACT_ALLOW"),
        json!("user"),
    ];
    // sysctr asks for more: these must be there, and a program in them.
    let ours = |config: &Value| {
        let objects =
            ["/root", "/process", "/process/user", "/linux"].iter().all(|at| config.pointer(at).is_some());
        objects && config.pointer("/process/args/0").is_some()
    };
    let (mut lines, mut verdicts) = (String::new(), Vec::new());
    for place in &found {
        for value in others.iter().cloned().map(Some).chain([None]) {
            let config = changed(&full, place, value.clone());
            if !ours(&config) {
                assert!(config::check(&config).is_err(), "{place}: {value:?}");
                continue;
            }
            lines.push_str(&format!("{}\n", json!([format!("={}=", verdicts.len()), config])));
            verdicts.push((format!("{place}: {value:?}"), config::check(&config)));
        }
    }
    let mut python = Command::new("python3");
    let told = super::output_of(python.args(["-W", "ignore", "-c", super::SCHEMA]), lines.as_bytes());
    let wrong: std::collections::BTreeSet<usize> =
        told.lines().filter_map(|line| line.strip_prefix('=')?.split_once('=')?.0.parse().ok()).collect();
    assert!(wrong.len() > 1000 && wrong.len() < verdicts.len(), "{} of {}", wrong.len(), verdicts.len());
    for (index, (what, verdict)) in verdicts.iter().enumerate() {
        assert_eq!(verdict.is_err(), wrong.contains(&index), "{what}: {verdict:?}");
    }
}
