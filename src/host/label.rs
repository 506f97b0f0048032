//! The SELinux label of what the launcher makes for runtimes in /run.
//!
//! A policy lets a runtime write where it says that runtimes keep their state, and not where an ordinary service, such as we are to it,
//! made a directory. What lies below a directory gets its type from there, so the first one decides.

use std::path::Path;

/// There when the kernel has a policy.
const LOADED: &str = "/sys/fs/selinux/enforce";
/// selinux_config(5).
const CONFIG: &str = "/etc/selinux/config";
/// What the kernel gives to what this thread makes (proc_pid_attr(5)).
const NEXT: &str = "/proc/thread-self/attr/fscreate";
/// Where the runtimes keep their state when nobody says otherwise, as patterns of file_contexts(5) begin.
const USUAL: [&str; 4] = ["/run/runc(", "/run/crun(", "/var/run/runc(", "/var/run/crun("];

/// Makes something that has, in the end, the label of runtimes' own state. Without a policy, or where it has no word about runtimes, it
/// is just made.
pub fn as_runtime_state<T>(make: impl FnOnce() -> T) -> T {
    let label = Path::new(LOADED).exists().then(policys).flatten();
    let set = label.is_some_and(|label| std::fs::write(NEXT, label).is_ok());
    let made = make();
    // The kernel takes a line feed for “none”. What could be set can be unset.
    if set {
        std::fs::write(NEXT, "\n").unwrap_or_default();
    }
    made
}

fn policys() -> Option<String> {
    let config = std::fs::read_to_string(CONFIG).ok()?;
    let kind = config.lines().filter_map(|line| line.strip_prefix("SELINUXTYPE=")).next_back()?.trim();
    let rules = std::fs::read(format!("/etc/selinux/{kind}/contexts/files/file_contexts")).ok()?;
    label_in(&String::from_utf8_lossy(&rules)).map(str::to_owned)
}

fn label_in(rules: &str) -> Option<&str> {
    let rule = |start: &&str| rules.lines().find(|line| line.starts_with(*start));
    let label = USUAL.iter().find_map(rule)?.split_whitespace().next_back()?;
    (label != "<<none>>").then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_that_of_a_runtimes_own_directory() {
        let debian = "/run/.*\t<<none>>\n/run/crun(/.*)?\tsystem_u:object_r:container_runtime_t:s0\n";
        assert_eq!(label_in(debian), Some("system_u:object_r:container_runtime_t:s0"));
        let older = "/var/run/runc(/.*)?\t--\tsystem_u:object_r:container_var_run_t:s0\n";
        assert_eq!(label_in(older), Some("system_u:object_r:container_var_run_t:s0"));
        assert_eq!(label_in("/run/runc(/.*)?\t<<none>>\n/run/runcible\tx\n"), None);
        assert_eq!(label_in(""), None);
    }

    #[test]
    fn what_is_made_is_made_whatever_the_policy() {
        assert_eq!(as_runtime_state(|| 7), 7);
    }
}
