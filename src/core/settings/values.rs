//! The scalar values of settings: each parsed once, here, and printed again in one spelling.

mod quantity;
mod rlimit;
mod signal;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use quantity::{ByteSize, Duration};
pub use rlimit::Rlimit;

/// Why a text is not the value it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidValue {
    text: String,
    expected: &'static str,
}

fn invalid<T>(text: &str, expected: &'static str) -> Result<T, InvalidValue> {
    Err(InvalidValue { text: text.to_owned(), expected })
}

/// A newtype of `String` whose only way in is `fn parse(&str) -> Result<String, InvalidValue>`.
macro_rules! text_value {
    ($name:ident, $parse:path, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        pub struct $name(String);

        impl $name {
            /// The value in its one spelling.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                $parse(&text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_value!(AbsolutePath, absolute_path, "An absolute path without `.`, `..`, repeated or trailing slashes.");
text_value!(
    Capability,
    capability,
    "A capability as capabilities(7) spells it, `CAP_NET_ADMIN`, or `ALL` of them."
);
text_value!(EnvName, env_name, "The name of an environment variable.");
text_value!(Hostname, hostname, "A host name: letters, digits, `-` and `.`, at most 64 characters.");
text_value!(RlimitName, rlimit_name, "A resource limit as getrlimit(2) spells it: `RLIMIT_NOFILE`.");
text_value!(Signal, signal::parse, "A signal's name with `SIG`: `SIGTERM`, `SIGRTMIN+3`.");
text_value!(UnitName, unit_name, "A systemd unit's name with its suffix (systemd.unit(5)).");
text_value!(
    CpuQuota,
    cpu_quota,
    "A share of one CPU in percent: `150%` (systemd.resource-control(5), `CPUQuota=`)."
);

fn absolute_path(text: &str) -> Result<String, InvalidValue> {
    const EXPECTED: &str = "an absolute path without `..`";
    let bad = |c: &str| c == ".." || c.chars().any(char::is_control);
    if !text.starts_with('/') || text.split('/').any(bad) {
        return invalid(text, EXPECTED);
    }
    let components: Vec<_> = text.split('/').filter(|c| !c.is_empty() && *c != ".").collect();
    Ok(format!("/{}", components.join("/")))
}

/// capabilities(7), in the kernel's order: all of Linux 5.9, to which none was added up to 6.18.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

impl Capability {
    /// Stands for every capability.
    pub const ALL: &'static str = "ALL";
}

fn capability(text: &str) -> Result<String, InvalidValue> {
    let upper = text.to_ascii_uppercase();
    if upper == Capability::ALL {
        return Ok(upper);
    }
    let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if CAPABILITIES.contains(&name.as_str()) {
        Ok(name)
    } else {
        invalid(text, "a capability of capabilities(7), such as CAP_NET_ADMIN")
    }
}

fn env_name(text: &str) -> Result<String, InvalidValue> {
    if text.is_empty() || text.contains(['=', '\0', '\n']) {
        return invalid(text, "the name of an environment variable");
    }
    Ok(text.to_owned())
}

fn hostname(text: &str) -> Result<String, InvalidValue> {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        invalid(text, "a host name (letters, digits, `-` and `.`, at most 64 characters)")
    }
}

fn rlimit_name(text: &str) -> Result<String, InvalidValue> {
    const NAMES: [&str; 16] = [
        "AS",
        "CORE",
        "CPU",
        "DATA",
        "FSIZE",
        "LOCKS",
        "MEMLOCK",
        "MSGQUEUE",
        "NICE",
        "NOFILE",
        "NPROC",
        "RSS",
        "RTPRIO",
        "RTTIME",
        "SIGPENDING",
        "STACK",
    ];
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("RLIMIT_").unwrap_or(&upper);
    if NAMES.contains(&short) {
        Ok(format!("RLIMIT_{short}"))
    } else {
        invalid(text, "a resource limit of getrlimit(2), such as NOFILE")
    }
}

fn unit_name(text: &str) -> Result<String, InvalidValue> {
    const SUFFIXES: [&str; 11] = [
        ".service",
        ".socket",
        ".device",
        ".mount",
        ".automount",
        ".swap",
        ".target",
        ".path",
        ".timer",
        ".slice",
        ".scope",
    ];
    let fit = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let suffix = SUFFIXES.iter().find(|suffix| text.ends_with(**suffix));
    if text.len() <= 255 && text.chars().all(fit) && suffix.is_some_and(|suffix| text.len() > suffix.len()) {
        Ok(text.to_owned())
    } else {
        invalid(text, "a unit's name with its suffix, such as network.target")
    }
}

fn cpu_quota(text: &str) -> Result<String, InvalidValue> {
    match text.strip_suffix('%').map(str::parse::<u32>) {
        Some(Ok(percent)) if percent > 0 => Ok(format!("{percent}%")),
        _ => invalid(text, "a share of one CPU in percent, such as 150%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spell<T: TryFrom<String, Error = InvalidValue> + Into<String>>(text: &str) -> Option<String> {
        T::try_from(text.to_owned()).ok().map(Into::into)
    }

    #[test]
    fn values_have_one_spelling() {
        assert_eq!(spell::<AbsolutePath>("//a/./b/").as_deref(), Some("/a/b"));
        assert_eq!(spell::<AbsolutePath>("/").as_deref(), Some("/"));
        assert_eq!(spell::<Capability>("net_admin").as_deref(), Some("CAP_NET_ADMIN"));
        assert_eq!(spell::<Capability>("all").as_deref(), Some("ALL"));
        assert_eq!(spell::<RlimitName>("nofile").as_deref(), Some("RLIMIT_NOFILE"));
        assert_eq!(spell::<CpuQuota>("050%").as_deref(), Some("50%"));
        assert_eq!(spell::<Duration>("1min 30s").as_deref(), Some("90s"));
        assert_eq!(spell::<Duration>("1500ms").as_deref(), Some("1500ms"));
        assert_eq!(spell::<ByteSize>("2048K").as_deref(), Some("2M"));
        assert_eq!(spell::<UnitName>("getty@tty1.service").as_deref(), Some("getty@tty1.service"));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(spell::<AbsolutePath>("a/b"), None);
        assert_eq!(spell::<AbsolutePath>("/a/../b"), None);
        assert_eq!(spell::<AbsolutePath>("/a\nb"), None);
        assert_eq!(spell::<Capability>("CAP_NONE"), None);
        assert_eq!(spell::<Signal>("SIGFOO"), None);
        assert_eq!(spell::<Signal>("0"), None);
        assert_eq!(spell::<Signal>("32"), None);
        assert_eq!(spell::<Signal>("RTMIN+200"), None);
        assert_eq!(spell::<Duration>("10"), None);
        assert_eq!(spell::<Duration>(""), None);
        assert_eq!(spell::<Duration>("99999999999999999999s"), None);
        assert_eq!(spell::<ByteSize>("0"), None);
        assert_eq!(spell::<ByteSize>("17000000T"), None);
        assert_eq!(spell::<UnitName>("network"), None);
        assert_eq!(spell::<UnitName>(".target"), None);
        assert_eq!(spell::<Hostname>("a_b"), None);
        assert_eq!(spell::<CpuQuota>("0%"), None);
        let error = Signal::try_from("SIGFOO".to_owned()).unwrap_err();
        assert_eq!(error.to_string(), "\"SIGFOO\" is not a signal, such as SIGTERM, SIGRTMIN+3 or 15");
    }
}
