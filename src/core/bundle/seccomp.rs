//! The system call filter: a profile → `linux.seccomp` of the runtime specification.
//!
//! Profiles come in two forms, told apart by their keys. The runtime specification's own is final. The container engines'
//! form is conditional: a rule holds for some architectures or capabilities only, and `archMap` says which other
//! architectures' calls the kernel of one takes. Both are read strictly, so that no condition is overlooked.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Source;
use crate::arch::Architecture;
use crate::settings::Seccomp;

/// The engines' default; seccomp-default.NOTICE says whose it is.
const DEFAULT: &str = include_str!("seccomp-default.json");

const ACTIONS: [&str; 8] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<Kin>>,
    flags: Option<Vec<String>>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kin {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<Argument>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// The filter of a container with these capabilities; `None` when the user wants none.
///
/// # Errors
/// When a profile is in neither form.
pub fn decide(source: &Source<'_>, capabilities: &[&str]) -> Result<Option<Value>> {
    let profile = match source.settings.run.seccomp.clone().unwrap_or_default() {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default => serde_json::from_str(DEFAULT).context("reading the default seccomp profile")?,
        Seccomp::File(path) => {
            let value = source.settings.seccomp_profile.as_ref();
            let value = value.with_context(|| format!("run.seccomp: the content of {path} is not here"))?;
            Profile::deserialize(value).with_context(|| format!("run.seccomp: reading profile {path}"))?
        }
    };
    let doing =
        || format!("run.seccomp: {}", String::from(source.settings.run.seccomp.clone().unwrap_or_default()));
    profile.convert(source.architecture, capabilities).map(Some).with_context(doing)
}

impl Profile {
    fn convert(self, architecture: Architecture, capabilities: &[&str]) -> Result<Value> {
        let native = architecture.seccomp()[0];
        let architectures = match (self.architectures, self.arch_map) {
            (Some(list), None) => list,
            (None, Some(map)) => {
                let kin = map.into_iter().find(|kin| kin.architecture == native);
                let others = kin.and_then(|kin| kin.sub_architectures).unwrap_or_default();
                [vec![native.to_owned()], others].concat()
            }
            (None, None) => architecture.seccomp().iter().map(|&name| name.to_owned()).collect(),
            (Some(_), Some(_)) => bail!("it has both `architectures` and `archMap`; one of them counts"),
        };
        let rules = self.syscalls.unwrap_or_default().into_iter();
        let rules = rules.filter(|rule| rule.holds(architecture, capabilities)).map(Rule::convert);
        let mut filter = json!({
            "defaultAction": known_action(&self.default_action)?,
            "architectures": architectures,
            "flags": self.flags.unwrap_or_default(),
            "syscalls": rules.collect::<Result<Vec<_>>>()?,
        });
        if let Some(number) = errno(self.default_errno_ret, self.default_errno.as_deref())? {
            filter["defaultErrnoRet"] = number.into();
        }
        Ok(filter)
    }
}

impl Rule {
    fn holds(&self, architecture: Architecture, capabilities: &[&str]) -> bool {
        let granted = |name: &String| capabilities.contains(&name.as_str());
        let ours =
            |name: &String| name == architecture.as_str() || name == "x86" && architecture.as_str() == "386";
        // Host kernels are not known here; every one that systemd 252 runs on is newer than what profiles ask for (4.8).
        let old_kernel_only = self.excludes.min_kernel.is_some();
        self.includes.caps.iter().all(granted)
            && (self.includes.arches.is_empty() || self.includes.arches.iter().any(ours))
            && !self.excludes.caps.iter().any(granted)
            && !self.excludes.arches.iter().any(ours)
            && !old_kernel_only
    }

    fn convert(self) -> Result<Value> {
        let names = [self.names, self.name.into_iter().collect()].concat();
        if names.is_empty() {
            bail!("a rule names no system call");
        }
        let args = self.args.unwrap_or_default();
        if let Some(wrong) = args.iter().find(|argument| !argument.op.starts_with("SCMP_CMP_")) {
            bail!("the rule for {}: {:?} is not a comparison", names[0], wrong.op);
        }
        let args = args.iter().map(|argument| {
            json!({
                "index": argument.index,
                "value": argument.value,
                "valueTwo": argument.value_two,
                "op": argument.op,
            })
        });
        let mut rule = json!({
            "names": names,
            "action": known_action(&self.action)?,
            "args": args.collect::<Vec<_>>(),
        });
        if let Some(number) = errno(self.errno_ret, self.errno.as_deref())? {
            rule["errnoRet"] = number.into();
        }
        Ok(rule)
    }
}

fn known_action(action: &str) -> Result<&str> {
    match action {
        "SCMP_ACT_NOTIFY" => {
            bail!("SCMP_ACT_NOTIFY needs a program that listens, which a system container has not")
        }
        _ if ACTIONS.contains(&action) => Ok(action),
        _ => bail!("{action:?} is not an action; there are {}", ACTIONS.join(", ")),
    }
}

/// The number; the name beside it is for people. A name alone is understood where profiles have it.
fn errno(number: Option<u32>, name: Option<&str>) -> Result<Option<u32>> {
    match (number, name) {
        (Some(number), _) => Ok(Some(number)),
        (None, None | Some("")) => Ok(None),
        (None, Some("EPERM")) => Ok(Some(1)),
        (None, Some("EACCES")) => Ok(Some(13)),
        (None, Some("EINVAL")) => Ok(Some(22)),
        (None, Some("ENOSYS")) => Ok(Some(38)),
        (None, Some(other)) => bail!("errno {other:?} stands without its number; give errnoRet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(profile: &str, architecture: &str, capabilities: &[&str]) -> Result<Value> {
        let profile: Profile = serde_json::from_str(profile)?;
        profile.convert(architecture.parse().unwrap(), capabilities)
    }

    fn verdict(filter: &Value, call: &str) -> Vec<(String, Option<u64>)> {
        let rules = filter["syscalls"].as_array().unwrap().iter();
        let rules = rules.filter(|rule| rule["names"].as_array().unwrap().iter().any(|name| name == call));
        rules.map(|r| (r["action"].as_str().unwrap().to_owned(), r["errnoRet"].as_u64())).collect()
    }

    #[test]
    fn capabilities_decide_about_calls() {
        let allowed = vec![("SCMP_ACT_ALLOW".to_owned(), None)];
        // What no rule names has the profile's default: EPERM.
        let refused = vec![];
        let without = convert(DEFAULT, "amd64", &[]).unwrap();
        assert_eq!(without["defaultAction"], "SCMP_ACT_ERRNO");
        for (call, capability) in [
            ("bpf", "CAP_SYS_ADMIN"),
            ("mount", "CAP_SYS_ADMIN"),
            ("unshare", "CAP_SYS_ADMIN"),
            ("settimeofday", "CAP_SYS_TIME"),
            ("chroot", "CAP_SYS_CHROOT"),
        ] {
            let with = convert(DEFAULT, "amd64", &[capability]).unwrap();
            assert_eq!(
                (verdict(&with, call), verdict(&without, call)),
                (allowed.clone(), refused.clone()),
                "{call}"
            );
        }
        // A C library takes "there is no such call" for a reason to try the older one, but not "you may not".
        assert_eq!(verdict(&without, "clone3"), [("SCMP_ACT_ERRNO".to_owned(), Some(38))]);
    }

    #[test]
    fn architectures_decide_about_calls() {
        for (architecture, names, calls) in [
            (
                "amd64",
                &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"][..],
                ["arch_prctl", "modify_ldt"],
            ),
            ("386", &["SCMP_ARCH_X86"], ["modify_ldt", "modify_ldt"]),
            ("arm64", &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], ["breakpoint", "cacheflush"]),
            ("s390x", &["SCMP_ARCH_S390X", "SCMP_ARCH_S390"], ["s390_pci_mmio_read", "s390_runtime_instr"]),
            ("ppc64le", &["SCMP_ARCH_PPC64LE"], ["sync_file_range2", "sync_file_range2"]),
        ] {
            let filter = convert(DEFAULT, architecture, &[]).unwrap();
            assert_eq!(filter["architectures"], json!(names), "{architecture}");
            for call in calls {
                assert_eq!(verdict(&filter, call).len(), 1, "{architecture} {call}");
            }
        }
        assert!(verdict(&convert(DEFAULT, "arm64", &[]).unwrap(), "modify_ldt").is_empty());
    }

    #[test]
    fn a_profile_of_the_runtime_specification_stays_as_it_is() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{
                "names": ["no_such_call", "socket"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 1,
                "args": [{ "index": 0, "value": u64::MAX, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ" }],
            }],
        });
        assert_eq!(convert(&profile.to_string(), "amd64", &[]).unwrap(), profile);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for (profile, message) in [
            (r#"{"defaultAction": "ALLOW"}"#, "\"ALLOW\" is not an action"),
            (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "needs a program that listens"),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_LOG"}]}"#,
                "no system call",
            ),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "conditions": []}"#, "unknown field `conditions`"),
            (r#"{"syscalls": []}"#, "missing field `defaultAction`"),
            (
                r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EXDEV"}"#,
                "\"EXDEV\" stands without its number",
            ),
        ] {
            let error = format!("{:#}", convert(profile, "amd64", &[]).unwrap_err());
            assert!(error.contains(message), "{error}");
        }
    }
}
