//! What a container may do, by its runtime configuration, and what another configuration lets it do more.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a configuration grants, one sentence each. What is equal is not told.
pub fn gained(old: &Value, new: &Value) -> Vec<String> {
    let old = granted(old);
    granted(new).into_iter().filter(|it| !old.contains(it)).collect()
}

/// Everything that a payload without it could not do (OCI runtime specification, `config.md` and `config-linux.md`).
fn granted(config: &Value) -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    let process = &config["process"];
    for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
        for capability in list(&process["capabilities"][set]).filter_map(Value::as_str) {
            granted.insert(match set {
                "ambient" => format!("capability {capability} for programs of any user"),
                _ => format!("capability {capability}"),
            });
        }
    }
    let user = &process["user"];
    let number = |key: &str| user[key].as_u64().unwrap_or(0);
    granted.insert(format!("user {}:{}", number("uid"), number("gid")));
    for group in list(&user["additionalGids"]).filter_map(Value::as_u64) {
        granted.insert(format!("group {group}"));
    }
    for (key, what) in [("selinuxLabel", "SELinux label"), ("apparmorProfile", "AppArmor profile")] {
        granted.insert(match process[key].as_str() {
            None | Some("") => format!("to run without an {what} of its own"),
            Some(word) => format!("what the {what} {word} allows"),
        });
    }
    if process["noNewPrivileges"] != true {
        granted.insert("privileges through setuid programs".to_owned());
    }
    if config["root"]["readonly"] != true {
        granted.insert("writing into its root".to_owned());
    }
    for mount in list(&config["mounts"]) {
        granted.extend(mounted(mount));
    }
    granted.extend(hooks(&config["hooks"]));
    granted.extend(by_linux(&config["linux"]));
    granted
}

/// Programs that the runtime starts; only those of `startContainer` are confined (`config.md`, "POSIX-platform Hooks").
fn hooks(hooks: &Value) -> BTreeSet<String> {
    let of = |(when, all): (&String, &Value)| {
        let told = |hook: &Value| {
            let mut words: Vec<_> = list(&hook["args"]).skip(1).filter_map(Value::as_str).collect();
            words.insert(0, hook["path"].as_str().unwrap_or("?"));
            let whose = if when == "startContainer" { "the container" } else { "the host, as its root" };
            format!("to run {} of {whose} (hook {when})", words.join(" "))
        };
        list(all).map(told).collect::<Vec<_>>()
    };
    hooks.as_object().into_iter().flatten().flat_map(of).collect()
}

/// Commands that a unit has more than another: systemd runs them outside of the container (systemd.service(5)).
pub fn by_unit(old: &[u8], new: &[u8]) -> Vec<String> {
    let old = commands(old);
    let more = commands(new).into_iter().filter(|it| !old.contains(it));
    more.map(|line| format!("to have the host run {line} (its unit)")).collect()
}

/// Lines that go on are one.
fn commands(unit: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(unit).replace("\\\n", " ");
    text.lines().map(str::trim).filter(|line| line.starts_with("Exec")).map(str::to_owned).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A directory of the host, or what the kernel tells of it; all other mounts are the container's own.
fn mounted(mount: &Value) -> Option<String> {
    let options: Vec<_> = list(&mount["options"]).filter_map(Value::as_str).collect();
    // The last word counts, as for mount(8).
    let access = options.iter().rev().find(|option| matches!(**option, "ro" | "rro" | "rw" | "rrw"));
    let reads = access.is_some_and(|option| option.ends_with("ro"));
    let how = if reads { "read" } else { "write" };
    let word = |key: &str| mount[key].as_str().unwrap_or("?").to_owned();
    let at = word("destination");
    let kind = word("type");
    let is_bind = kind == "bind" || options.contains(&"bind") || options.contains(&"rbind");
    match &*kind {
        _ if is_bind => Some(format!("to {how} the host's {} at {at}", word("source"))),
        "proc" | "tmpfs" | "devpts" | "mqueue" => None,
        "sysfs" | "cgroup" | "cgroup2" if reads => None,
        _ => Some(format!("to {how} a {kind} of {} at {at}", word("source"))),
    }
}

fn by_linux(linux: &Value) -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    let own: BTreeSet<_> = list(&linux["namespaces"])
        .filter(|namespace| namespace["path"].is_null())
        .filter_map(|namespace| namespace["type"].as_str())
        .collect();
    for namespace in ["pid", "network", "ipc", "uts", "mount", "user", "cgroup"] {
        if !own.contains(namespace) {
            granted.insert(format!("the host's {namespace} namespace"));
        }
    }
    for device in list(&linux["devices"]).filter_map(|device| device["path"].as_str()) {
        granted.insert(format!("device {device}"));
    }
    let rules = list(&linux["resources"]["devices"]).filter(|rule| rule["allow"] == true);
    for rule in rules {
        let part = |key: &str| match &rule[key] {
            Value::Null => "*".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (kind, access) = (part("type"), part("access"));
        granted.insert(format!("devices {kind} {}:{} ({access})", part("major"), part("minor")));
    }
    for (key, what) in [("uidMappings", "user"), ("gidMappings", "group")] {
        for part in list(&linux[key]) {
            let number = |key: &str| part[key].as_u64().unwrap_or(0);
            let (inner, outer) = (number("containerID"), number("hostID"));
            granted
                .insert(format!("to be the host's {what} {outer} as {inner}, and {} in all", number("size")));
        }
    }
    for (key, value) in linux["sysctl"].as_object().into_iter().flatten() {
        granted.insert(format!("sysctl {key} = {}", value.as_str().unwrap_or("?")));
    }
    match &linux["seccomp"] {
        Value::Null => drop(granted.insert("every system call (no seccomp)".to_owned())),
        seccomp => granted.extend(allowed_calls(seccomp)),
    }
    for (key, what) in [("maskedPaths", "hidden"), ("readonlyPaths", "read-only")] {
        for path in ["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/sys", "/proc/sysrq-trigger"] {
            if what == usual(path) && !list(&linux[key]).any(|there| there == path) {
                granted.insert(format!("{path}, which is {what} otherwise"));
            }
        }
    }
    granted
}

fn usual(path: &str) -> &'static str {
    if matches!(path, "/proc/sys" | "/proc/sysrq-trigger") { "read-only" } else { "hidden" }
}

/// Calls that the filter lets through whatever their arguments are.
fn allowed_calls(seccomp: &Value) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    if seccomp["defaultAction"] == "SCMP_ACT_ALLOW" {
        allowed.insert("system calls that seccomp does not name".to_owned());
    }
    for rule in list(&seccomp["syscalls"]).filter(|rule| rule["action"] == "SCMP_ACT_ALLOW") {
        let calls = list(&rule["names"]).filter_map(Value::as_str);
        if list(&rule["args"]).next().is_none() {
            allowed.extend(calls.map(|call| format!("system call {call}")));
        }
    }
    allowed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain() -> Value {
        json!({
            "process": {
                "user": {"uid": 1000, "gid": 1000},
                "noNewPrivileges": true,
                "capabilities": {"bounding": ["CAP_KILL"]},
            },
            "root": {"path": "rootfs", "readonly": true},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
                "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]},
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            },
        })
    }

    type Change = fn(&mut Value);

    fn check(cases: &[(Change, &[&str])]) {
        for (change, expected) in cases {
            let mut new = plain();
            change(&mut new);
            assert_eq!(gained(&plain(), &new), *expected);
        }
    }

    #[test]
    fn what_is_gained_is_told() {
        check(&[
            (|_| {}, &[]),
            (
                |it| it["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_SYS_ADMIN"]),
                &["capability CAP_SYS_ADMIN"],
            ),
            (|it| it["process"]["capabilities"]["bounding"] = json!([]), &[]),
            (|it| it["process"]["user"]["uid"] = 0.into(), &["user 0:1000"]),
            (|it| it["process"]["noNewPrivileges"] = false.into(), &["privileges through setuid programs"]),
            (|it| it["root"]["readonly"] = false.into(), &["writing into its root"]),
            (
                |it| it["mounts"] = json!([{"destination": "/x", "source": "/etc", "options": ["rbind"]}]),
                &["to write the host's /etc at /x"],
            ),
            (
                |it| it["linux"]["namespaces"].as_array_mut().unwrap().truncate(4),
                &["the host's cgroup namespace"],
            ),
            (|it| it["linux"]["devices"] = json!([{"path": "/dev/kvm", "type": "c"}]), &["device /dev/kvm"]),
            (
                |it| {
                    it["linux"]["resources"] =
                        json!({"devices": [{"allow": true, "type": "b", "access": "rwm"}]})
                },
                &["devices b *:* (rwm)"],
            ),
            (|it| it["linux"]["seccomp"] = Value::Null, &["every system call (no seccomp)"]),
        ]);
    }

    #[test]
    fn what_the_host_and_its_kernel_give_is_told() {
        check(&[
            (
                |it| it["hooks"] = json!({"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "x"]}]}),
                &["to run /bin/sh -c x of the host, as its root (hook prestart)"],
            ),
            (
                |it| it["mounts"] = json!([{"destination": "/sys", "type": "sysfs", "source": "sysfs"}]),
                &["to write a sysfs of sysfs at /sys"],
            ),
            (
                |it| {
                    it["mounts"] = json!([{"destination": "/sys", "type": "sysfs", "options": ["rw", "ro"]}])
                },
                &[],
            ),
            (
                |it| {
                    it["mounts"] =
                        json!([{"destination": "/d", "type": "devtmpfs", "source": "x", "options": ["ro"]}])
                },
                &["to read a devtmpfs of x at /d"],
            ),
            (
                |it| {
                    it["mounts"] =
                        json!([{"destination": "/x", "source": "/etc", "options": ["bind", "ro", "rw"]}])
                },
                &["to write the host's /etc at /x"],
            ),
            (
                |it| it["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]),
                &["to be the host's user 0 as 0, and 1 in all"],
            ),
            (
                |it| it["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}),
                &["sysctl net.ipv4.ip_forward = 1"],
            ),
            (
                |it| it["process"]["selinuxLabel"] = "u:r:spc_t:s0".into(),
                &["what the SELinux label u:r:spc_t:s0 allows"],
            ),
            (
                |it| it["process"]["apparmorProfile"] = "unconfined".into(),
                &["what the AppArmor profile unconfined allows"],
            ),
        ]);
    }

    #[test]
    fn commands_that_a_unit_has_more_are_told() {
        let old = "[Service]\nExecStart=/usr/bin/sysctr run web\nUser=root\n";
        let new = "[Service]\nExecStartPre=/bin/sh \\\n-c x\n ExecStart=/usr/bin/sysctr run web\n";
        let told = by_unit(old.as_bytes(), new.as_bytes());
        assert_eq!(told, ["to have the host run ExecStartPre=/bin/sh  -c x (its unit)"]);
        assert!(by_unit(new.as_bytes(), old.as_bytes()).is_empty());
    }
}
