//! What the payload may do as root (capabilities(7)): Docker's default set but CAP_MKNOD, with what the user adds and
//! drops.

use anyhow::{Result, bail};

use crate::settings::values::CAPABILITIES;
use crate::settings::{Capability, Run};

/// Docker's defaults in the kernel's order. CAP_MKNOD is left out: the devices of a container are listed.
const DEFAULT: [&str; 13] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
];

/// The capabilities of a container, in the kernel's order.
///
/// # Errors
/// When a capability is both added and dropped.
pub fn decide(run: &Run) -> Result<Vec<&'static str>> {
    let names = |list: &[Capability], name: &str| list.iter().any(|capability| capability.as_str() == name);
    let added = |name: &str| names(&run.cap_add, name);
    let dropped = |name: &str| names(&run.cap_drop, name);
    if let Some(both) = run.cap_add.iter().find(|capability| dropped(capability.as_str())) {
        bail!("run.cap_add and run.cap_drop both name {both}; take it out of one of them");
    }
    let base = |name: &str| match (added(Capability::ALL), dropped(Capability::ALL)) {
        (true, _) => true,
        (_, true) => false,
        _ => DEFAULT.contains(&name),
    };
    Ok(CAPABILITIES.into_iter().filter(|name| !dropped(name) && (added(name) || base(name))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> Result<Vec<&'static str>> {
        let list = |names: &[&str]| {
            names.iter().map(|name| Capability::try_from((*name).to_owned()).unwrap()).collect::<Vec<_>>()
        };
        decide(&Run { cap_add: list(add), cap_drop: list(drop), ..Run::default() })
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(set(&[], &[]).unwrap(), DEFAULT);
        assert_eq!(set(&["NET_RAW"], &["ALL"]).unwrap(), ["CAP_NET_RAW"]);
        assert_eq!(set(&[], &["all"]).unwrap(), [""; 0]);
        let all_but_one = set(&["ALL"], &["SYS_BOOT"]).unwrap();
        assert_eq!(all_but_one.len(), CAPABILITIES.len() - 1);
        assert!(!all_but_one.contains(&"CAP_SYS_BOOT"));
        let more = set(&["NET_ADMIN"], &["CHOWN"]).unwrap();
        assert!(
            more.contains(&"CAP_NET_ADMIN") && !more.contains(&"CAP_CHOWN") && more.len() == DEFAULT.len()
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for name in ["CAP_CHOWN", "ALL"] {
            assert_eq!(
                set(&[name], &[name]).unwrap_err().to_string(),
                format!("run.cap_add and run.cap_drop both name {name}; take it out of one of them")
            );
        }
    }
}
