//! `config.json` as a value (OCI runtime specification 1.0.2, "Configuration" and "Linux Container Configuration"). What
//! a runtime would fill in by itself is said, so that runc and crun run the same.

use anyhow::Result;
use serde_json::{Value, json};

use super::mounts::{self, Mounts};
use super::process::Process;
use super::{Source, capabilities, seccomp};
use crate::name::ContainerName;
use crate::place;
use crate::settings::{Network, Run};

/// Docker's masked paths: what would tell or do something about the host.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Docker's read-only paths.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Below the cgroup that the runtime is started in, hence below the unit's.
const CGROUPS_PATH: &str = "payload";

/// Puts everything together.
///
/// # Errors
/// When capabilities contradict, a limit is turned over, or the seccomp profile is none.
pub fn assemble(
    source: &Source<'_>,
    process: &Process,
    mounts: &Mounts,
    warnings: &mut Vec<String>,
) -> Result<Value> {
    let run = &source.settings.run;
    let bounding = capabilities::decide(run)?;
    warnings.extend(doubts(run, process.user.uid.into(), !no_new_privileges(run)));
    let hostname =
        run.hostname.as_ref().map_or_else(|| hostname(source.name), |name| name.as_str().to_owned());
    Ok(json!({
        "ociVersion": "1.0.2",
        "hostname": hostname,
        "root": { "path": place::ROOTFS, "readonly": run.read_only.0 },
        "process": process_value(run, process, &bounding)?,
        "mounts": mount_values(mounts),
        "linux": linux(source, mounts, &bounding)?,
        "annotations": {},
    }))
}

/// What is allowed and rarely meant, of a payload of user `uid` that `gains` rights by setuid programs or does not.
pub fn doubts(run: &Run, uid: u64, gains: bool) -> Vec<String> {
    let mut told = Vec::new();
    if uid != 0 && !run.cap_add.is_empty() && !gains {
        told.push(format!(
            "run.cap_add has no effect for user {uid}, whose programs gain nothing: set no_new_privileges = false and \
             give the program file capabilities, or run as root"
        ));
    }
    if !run.read_only.0 {
        told.push(
            "run.read_only = false: the root still can't be written where the host's /usr is read-only, and elsewhere \
             changes what was embedded"
                .to_owned(),
        );
    }
    told
}

fn no_new_privileges(run: &Run) -> bool {
    run.no_new_privileges.unwrap_or(true)
}

fn process_value(run: &Run, process: &Process, bounding: &[&str]) -> Result<Value> {
    let none: [&str; 0] = [];
    // A user other than root gets capabilities by file capabilities only, and no more than these.
    let own = if process.user.uid == 0 { bounding } else { &none };
    let env: Vec<String> = process.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(json!({
        "terminal": false,
        "user": {
            "uid": process.user.uid,
            "gid": process.user.gid,
            "additionalGids": process.user.additional_gids,
            "umask": 0o022,
        },
        "args": process.args,
        "env": env,
        "cwd": process.cwd.text,
        "capabilities": {
            "bounding": bounding,
            "effective": own,
            "permitted": own,
            "inheritable": none,
            "ambient": none,
        },
        "rlimits": rlimits(run),
        "noNewPrivileges": no_new_privileges(run),
    }))
}

/// `process.rlimits`, by name.
pub fn rlimits(run: &Run) -> Vec<Value> {
    let limit = |(name, limit): (&crate::settings::RlimitName, &crate::settings::Rlimit)| {
        let (soft, hard) = limit.pair();
        json!({ "type": name, "soft": soft, "hard": hard })
    };
    run.rlimits.iter().map(limit).collect()
}

fn mount_values(mounts: &Mounts) -> Vec<Value> {
    let value = |(place, mount): (&crate::tree::TreePath, &mounts::Mount)| {
        json!({
            "destination": mounts::destination(place),
            "type": mount.kind,
            "source": mount.source,
            "options": mount.options,
        })
    };
    mounts.list.iter().map(value).collect()
}

fn linux(source: &Source<'_>, mounts: &Mounts, bounding: &[&str]) -> Result<Value> {
    let run = &source.settings.run;
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    if run.network == Some(Network::None) {
        namespaces.push("network");
    }
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({ "type": kind })).collect();
    // The numbers of bound devices are the host's: the unit's DeviceAllow= decides, the runtime's own filter must let
    // them through (docs/decisions.md, "Devices are bound").
    let let_through = !run.devices.is_empty();
    let mut linux = json!({
        "namespaces": namespaces,
        "cgroupsPath": CGROUPS_PATH,
        "devices": [],
        "resources": { "devices": [{ "allow": let_through, "access": "rwm" }] },
        "sysctl": {},
        "rootfsPropagation": mounts.root_propagation,
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
    });
    if let Some(filter) = seccomp::decide(source, bounding)? {
        linux["seccomp"] = filter;
    }
    Ok(linux)
}

/// The container's name as a host name (hostname(7)): what doesn't fit becomes `-`, ends are trimmed, 64 at most.
fn hostname(name: &ContainerName) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = name.as_str().chars().take(64).map(fit).collect();
    let labels = name.split('.').map(|label| label.trim_matches('-'));
    let labels: Vec<&str> = labels.filter(|label| !label.is_empty()).collect();
    labels.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_host_name() {
        let long = "x".repeat(70);
        for (name, expected) in
            [("etcd", "etcd"), ("my_app", "my-app"), ("a.", "a"), ("a..-b_", "a.b"), (&long, &long[..64])]
        {
            let hostname = hostname(&name.parse().unwrap());
            assert_eq!(hostname, expected);
            assert!(crate::settings::Hostname::try_from(hostname).is_ok(), "{name}");
        }
    }
}
