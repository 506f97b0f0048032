//! The device rules of a configuration as a unit says them (systemd.resource-control(5), `DeviceAllow=`), since a runtime
//! without its cgroup manager applies none: runc and crun then obey the same.

use std::collections::BTreeMap;

use serde_json::Value;

/// What of the host's devices a container may open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DevicePolicy {
    /// All of them.
    #[default]
    Open,
    /// systemd's pseudo devices, as in `DevicePolicy=closed`, and these: `/dev/char/MAJOR:MINOR`, `/dev/block/…` or a group
    /// of /proc/devices → letters of `rwm`.
    Closed(BTreeMap<String, String>),
}

/// Groups of /proc/devices whose numbers are fixed (the kernel's admin-guide/devices.rst). Others differ from host to host.
const CHARACTER_GROUPS: [(i64, &str); 15] = [
    (1, "mem"),
    (4, "tty"),
    (5, "/dev/tty"),
    (10, "misc"),
    (13, "input"),
    (14, "sound"),
    (21, "sg"),
    (29, "fb"),
    (81, "video4linux"),
    (89, "i2c"),
    (108, "ppp"),
    (116, "alsa"),
    (136, "pts"),
    (188, "ttyUSB"),
    (226, "drm"),
];
const BLOCK_GROUPS: [(i64, &str); 5] = [(7, "loop"), (8, "sd"), (9, "md"), (11, "sr"), (43, "nbd")];

/// What runc lets every container do beyond the rules: open this one (a tunnel).
const TUNNEL: &str = "/dev/char/10:200";

/// Decides it as runc does: everything is denied at first, rules hold in their order, and device nodes of `linux.devices`
/// may be made.
pub fn policy(config: &Value, warnings: &mut Vec<String>) -> DevicePolicy {
    let mut policy = Rules::default();
    let rules = config["linux"]["resources"]["devices"].as_array();
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        policy.enter(&format!("linux.resources.devices[{index}]"), rule, warnings);
    }
    if policy.open {
        return DevicePolicy::Open;
    }
    let mut allowed = policy.allowed;
    add(&mut allowed, TUNNEL, "rwm");
    for device in config["linux"]["devices"].as_array().into_iter().flatten() {
        if let (Some(class), Some(major), Some(minor)) =
            (class(device), device["major"].as_i64(), device["minor"].as_i64())
        {
            add(&mut allowed, &format!("/dev/{class}/{major}:{minor}"), "m");
        }
    }
    let capabilities = config["process"]["capabilities"]["bounding"].as_array();
    if capabilities.is_some_and(|list| list.iter().any(|name| name == "CAP_MKNOD")) {
        add(&mut allowed, "char-*", "m");
        add(&mut allowed, "block-*", "m");
    }
    DevicePolicy::Closed(allowed)
}

#[derive(Default)]
struct Rules {
    open: bool,
    allowed: BTreeMap<String, String>,
}

impl Rules {
    fn enter(&mut self, place: &str, rule: &Value, warnings: &mut Vec<String>) {
        let allows = rule["allow"] == true;
        let access = rule["access"].as_str().filter(|access| !access.is_empty()).unwrap_or("rwm");
        let Some(class) = class(rule) else {
            // A rule for all types is for all numbers and rights, whatever else it says.
            self.open = allows;
            self.allowed.clear();
            return;
        };
        let number = |field: &str| rule[field].as_i64().filter(|number| *number >= 0);
        let what = match (number("major"), number("minor")) {
            (Some(major), Some(minor)) => Some(format!("/dev/{class}/{major}:{minor}")),
            (None, None) => Some(group(class, "*")),
            (Some(major), None) => {
                let groups = if class == "char" { &CHARACTER_GROUPS[..] } else { &BLOCK_GROUPS[..] };
                // Pseudo-terminals have eight numbers, and one group.
                let known = if class == "char" && (136..=143).contains(&major) { 136 } else { major };
                groups.iter().find(|(number, _)| *number == known).map(|(_, name)| group(class, name))
            }
            (None, Some(_)) => None,
        };
        match (self.open, allows, what) {
            (true, true, _) => {}
            (true, false, _) => warnings.push(format!(
                "{place} denies some of the devices that are allowed, which no unit can: only a runtime that sets up \
                 cgroups itself, as runc does, heeds it"
            )),
            (false, true, Some(what)) => add(&mut self.allowed, &what, access),
            (false, true, None) => {
                warnings.push(format!(
                    "{place} allows devices by numbers that no unit can name: the unit lets all of their type through, \
                     and only a runtime that sets up cgroups itself, as runc does, heeds the rule"
                ));
                add(&mut self.allowed, &group(class, "*"), access);
            }
            (false, false, what) => self.deny(place, what, access, warnings),
        }
    }

    fn deny(&mut self, place: &str, what: Option<String>, access: &str, warnings: &mut Vec<String>) {
        if let Some(allowed) = what.and_then(|what| self.allowed.get_mut(&what)) {
            allowed.retain(|letter| !access.contains(letter));
        } else if !self.allowed.is_empty() {
            warnings.push(format!(
                "{place} denies what may be part of an earlier rule, which no unit can: only a runtime that sets up \
                 cgroups itself, as runc does, heeds it"
            ));
        }
        self.allowed.retain(|_, access| !access.is_empty());
    }
}

/// `char` or `block`; `None` for all types. A FIFO is no device.
fn class(rule: &Value) -> Option<&'static str> {
    match rule["type"].as_str() {
        Some("c" | "u") => Some("char"),
        Some("b") => Some("block"),
        _ => None,
    }
}

fn group(class: &str, name: &str) -> String {
    format!("{class}-{name}")
}

/// Rights at one place add up.
fn add(allowed: &mut BTreeMap<String, String>, what: &str, access: &str) {
    let known = allowed.get(what).cloned().unwrap_or_default();
    let both = "rwm".chars().filter(|letter| known.contains(*letter) || access.contains(*letter));
    allowed.insert(what.to_owned(), both.collect());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(rules: Value) -> (String, Vec<String>) {
        let mut warnings = Vec::new();
        let config = json!({ "linux": { "resources": { "devices": rules } } });
        let text = match policy(&config, &mut warnings) {
            DevicePolicy::Open => "open".to_owned(),
            DevicePolicy::Closed(list) => {
                let own = list.into_iter().filter(|(what, _)| what != TUNNEL);
                own.map(|(what, access)| format!("{what} {access}")).collect::<Vec<_>>().join(", ")
            }
        };
        (text, warnings)
    }

    #[test]
    fn rules_hold_in_their_order() {
        for (rules, expected) in [
            (Value::Null, ""),
            (json!([{ "allow": false, "access": "rwm" }]), ""),
            (json!([{ "allow": true }]), "open"),
            (json!([{ "allow": true, "type": "a", "access": "r" }]), "open"),
            (json!([{ "allow": true }, { "allow": false, "major": -1 }]), ""),
            (
                json!([{ "allow": false }, { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
                       { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "m" },
                       { "allow": true, "type": "b", "major": 8, "access": "r" },
                       { "allow": true, "type": "c", "major": 137, "minor": -1 }]),
                "block-sd r, char-pts rwm, /dev/char/10:229 rwm",
            ),
            (
                json!([{ "allow": true, "type": "c", "access": "rwm" },
                       { "allow": false, "type": "c", "access": "m" }]),
                "char-* rw",
            ),
        ] {
            let (text, warnings) = of(rules.clone());
            let sorted = |text: &str| {
                let mut words: Vec<_> = text.split(", ").map(str::to_owned).collect();
                words.sort();
                words
            };
            assert_eq!(sorted(&text), sorted(expected), "{rules}");
            assert_eq!(warnings, [""; 0], "{rules}");
        }
    }

    #[test]
    fn what_a_unit_cannot_say_is_told() {
        for (rules, expected, told) in [
            (
                json!([{ "allow": true }, { "allow": false, "type": "b", "major": 8, "minor": 0 }]),
                "open",
                "linux.resources.devices[1] denies some",
            ),
            (
                json!([{ "allow": true, "type": "c", "major": 511, "access": "rw" }]),
                "char-* rw",
                "linux.resources.devices[0] allows devices by numbers",
            ),
            (
                json!([{ "allow": true, "type": "c", "access": "rw" },
                       { "allow": false, "type": "c", "major": 1, "minor": 1 }]),
                "char-* rw",
                "linux.resources.devices[1] denies what may be part",
            ),
        ] {
            let (text, warnings) = of(rules);
            assert_eq!(text, expected);
            assert!(warnings.len() == 1 && warnings[0].starts_with(told), "{warnings:?}");
        }
    }

    #[test]
    fn nodes_of_its_own_may_be_made_and_a_maker_may_make_any() {
        let config = json!({
            "process": { "capabilities": { "bounding": ["CAP_MKNOD"] } },
            "linux": { "devices": [{ "path": "/dev/vport2p1", "type": "c", "major": 249, "minor": 1 }] },
        });
        let expected = [(TUNNEL, "rwm"), ("/dev/char/249:1", "m"), ("block-*", "m"), ("char-*", "m")];
        let expected = expected.map(|(what, access)| (what.to_owned(), access.to_owned()));
        assert_eq!(policy(&config, &mut Vec::new()), DevicePolicy::Closed(expected.into()));
    }
}
