//! A unit's own command lines under a real runtime, without a boot: in-root.sh makes the surroundings.

use std::path::Path;

use crate::command::{Command, Output};
use crate::unit::Unit;
use crate::{scratch, source_dir};

/// What happens in the root, one shell line after another; the first that fails ends it.
#[derive(Debug, Default)]
pub struct Session {
    script: String,
    without_unified: bool,
}

impl Session {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the cgroup hierarchies of the first version only, where this machine has both.
    #[must_use]
    pub fn without_unified_cgroups(mut self) -> Self {
        self.without_unified = true;
        self
    }

    /// A shell line of the test's own.
    #[must_use]
    pub fn shell(mut self, line: &str) -> Self {
        self.script += line;
        self.script.push('\n');
        self
    }

    /// What a boot does for the container `name` before its unit starts: its tmpfiles.
    #[must_use]
    pub fn boot(self, name: &str) -> Self {
        let file = format!("/usr/lib/tmpfiles.d/sysctr-{name}.conf");
        self.shell(&format!("[ ! -e {file} ] || systemd-tmpfiles --create {file}"))
    }

    /// The literal `ExecStart=` of the unit.
    #[must_use]
    pub fn start(self, unit: &Unit) -> Self {
        self.shell(unit.one("ExecStart"))
    }

    /// The literal `ExecStop=` and then `ExecStopPost=` of the unit; a `-` in front makes failure no matter.
    #[must_use]
    pub fn stop(self, unit: &Unit) -> Self {
        let mut session = self;
        for line in [unit.all("ExecStop"), unit.all("ExecStopPost")].concat() {
            session = match line.strip_prefix('-') {
                Some(line) => session.shell(&format!("{line} || :")),
                None => session.shell(line),
            };
        }
        session
    }

    /// Waits at most ten seconds for `condition`, a shell command.
    #[must_use]
    pub fn wait_for(self, condition: &str) -> Self {
        let wait = "for _ in $(seq 100); do if CONDITION; then break; fi; sleep 0.1; done; CONDITION";
        self.shell(&wait.replace("CONDITION", condition))
    }

    /// Prints what an HTTP server on a port of the loopback answers to `GET /`.
    #[must_use]
    pub fn fetch(self, port: u16) -> Self {
        let get =
            r#"exec 9<>/dev/tcp/127.0.0.1/PORT; printf 'GET / HTTP/1.0\r\n\r\n' >&9; cat <&9; exec 9<&-"#;
        self.wait_for(&format!("(: </dev/tcp/127.0.0.1/{port}) 2>/dev/null"))
            .shell(&get.replace("PORT", &port.to_string()))
    }

    /// Runs it all in `root`.
    pub fn run_in(self, root: &Path) -> Output {
        let work = scratch();
        let script = work.path().join("script");
        std::fs::write(&script, &self.script).expect("a file in a scratch directory");
        let harness =
            Command::new("bash").arg(source_dir().join("tests/support/in-root.sh")).arg(root).arg(&script);
        let harness = if self.without_unified { harness.arg("NO_UNIFIED=1") } else { harness };
        harness.under(["timeout", "-k", "5", "120"]).call(root, "ROOT").run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_a_host_of_its_own() {
        let root = crate::Root::debian();
        let output = Session::new()
            .shell("hostname; touch /usr/x 2>/dev/null || echo /usr is read-only; touch /run/x /var/x; ls /proc | grep -c '^[0-9]*$'")
            .shell("tail -n +3 /proc/net/dev | cut -d: -f1; runc --version | head -n 1")
            .run_in(&root.path())
            .expect_ok();
        let lines: Vec<_> = output.stdout().lines().map(str::trim).map(str::to_owned).collect();
        assert_eq!(lines[0..2], ["host", "/usr is read-only"]);
        assert!(lines[2].parse::<u32>().unwrap() < 10, "other processes are seen: {lines:?}");
        assert_eq!(lines[3..4], ["lo"]);
        assert!(lines[4].starts_with("runc version"), "{lines:?}");
        assert!(!root.join("run/x").exists() && !root.join("var/x").exists());
    }

    #[test]
    fn the_first_failure_ends_it() {
        let root = crate::Root::debian();
        let output = Session::new().shell("echo one").shell("false").shell("echo two").run_in(&root.path());
        assert_eq!((output.code(), output.stdout().as_str()), (1, "one\n"));
    }
}
