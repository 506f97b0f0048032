//! `sysctr logs`: what the container, its launcher and systemd said of it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sysctr_core::name::ContainerName;

use crate::{list, systemd};

/// Becomes journalctl(1), given these words of its own; so it returns only an error.
///
/// # Errors
/// When this host has no such container, or no journalctl.
pub fn logs(name: &ContainerName, arguments: &[String]) -> Result<()> {
    if !list::names()?.contains(name) {
        bail!(
            "reading the journal of container {name}: this host has none of that name; `sysctr list` shows what it has"
        );
    }
    let mut command = Command::new("journalctl");
    command.args(arguments).args(matches(name));
    Err(command.exec())
        .with_context(|| format!("reading the journal of container {name}: running journalctl"))
}

/// What it said, and what systemd said about it.
fn matches(name: &ContainerName) -> Vec<String> {
    let [unit, identifier] = systemd::said_by(name);
    let about = format!("UNIT={}", name.unit());
    [&unit, "+", "_PID=1", &about, "+", &identifier].map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn alternatives_are_joined_as_journalctl_takes_them() {
        let matches = super::matches(&"web".parse().unwrap());
        assert_eq!(
            matches.join(" "),
            "_SYSTEMD_UNIT=web.service + _PID=1 UNIT=web.service + SYSLOG_IDENTIFIER=web"
        );
    }
}
