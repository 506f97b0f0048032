//! Booting a root with its own systemd in systemd-nspawn: boot.sh does it, in about a second.

use std::path::{Path, PathBuf};

use crate::command::Command;
use crate::fixture::Root;
use crate::{scratch, source_dir};

/// A boot in the making.
#[derive(Debug)]
pub struct Boot {
    root: PathBuf,
    nspawn: Vec<String>,
    seconds: u32,
    /// What stays of the machine's writing.
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The root stays as it is, /var is in memory.
    Nothing,
    /// Everything, as on an OSTree host.
    Everything,
}

/// What a boot told.
#[derive(Debug)]
pub struct Report {
    /// What the script printed.
    pub text: String,
    /// The script's exit status as systemd saw it.
    pub exit: String,
    /// The machine's journal.
    pub journal: String,
}

impl Boot {
    /// Of this root, which stays as it is.
    pub fn of(root: &Root) -> Self {
        Self::at(root.path())
    }

    /// Of the root at this path, such as a deployment.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), nspawn: Vec::new(), seconds: 60, state: State::Nothing }
    }

    /// Of a deployment of a physical sysroot, as OSTree would boot it: with the sysroot, /usr read-only, and /etc and /var kept.
    pub fn deployment(sysroot: &Path, stateroot: &str, deployment: &Path) -> Self {
        let var = sysroot.join("ostree/deploy").join(stateroot).join("var");
        Self::deployment_without_var(sysroot, deployment).nspawn(format!("--bind={}:/var", var.display()))
    }

    /// The same; who mounts /var is the machine's own business.
    pub fn deployment_without_var(sysroot: &Path, deployment: &Path) -> Self {
        let sysroot = sysroot.display();
        Self { state: State::Everything, ..Self::at(deployment) }
            .nspawn(format!("--bind-ro={}:/usr", deployment.join("usr").display()))
            .nspawn(format!("--bind={sysroot}:/sysroot"))
            .nspawn(format!("--bind={sysroot}/boot:/boot"))
    }

    /// Given up after so many seconds.
    #[must_use]
    pub fn at_most(mut self, seconds: u32) -> Self {
        self.seconds = seconds;
        self
    }

    /// With an argument of systemd-nspawn(1).
    #[must_use]
    pub fn nspawn(mut self, arg: impl Into<String>) -> Self {
        self.nspawn.push(arg.into());
        self
    }

    /// Boots, runs the bash script `script` as a unit once multi-user.target is reached, powers off.
    ///
    /// # Panics
    /// With console and journal when the machine did not power off in time or reported nothing.
    pub fn run(self, script: &str) -> Report {
        let work = scratch();
        let file = |name: &str| read(&work.path().join(name));
        std::fs::write(work.path().join("script"), format!("{HELPERS}\n{script}\n")).expect("a scratch file");
        let boot = Command::new("bash").arg(source_dir().join("tests/support/boot.sh"));
        let mut boot = boot.arg(&self.root).arg(work.path()).args(&self.nspawn);
        if self.state == State::Everything {
            let booted = work.path().join("ostree-booted");
            std::fs::write(&booted, "").expect("a scratch file");
            boot =
                boot.arg(format!("--bind-ro={}:/run/ostree-booted", booted.display())).env("STATE", "kept");
        }
        let output = boot.env("TIME_LIMIT", self.seconds.to_string()).run();
        let (text, exit, journal) = (file("report"), file("exit").trim_end().to_owned(), file("journal"));
        assert!(
            !exit.is_empty(),
            "the boot reported no end:\n{}{text}\n--- console\n{}\n--- journal\n{journal}",
            output.story(),
            file("console")
        );
        Report { text, exit, journal }
    }
}

/// What scripts in the machine can use: shell functions.
pub const HELPERS: &str = r#"
fail() { echo "FAILED: $*"; journalctl --no-pager -n 40; exit 1; }
# is PROPERTY UNIT: a property of a unit
is() { systemctl show -P "$1" "$2"; }
# wait_for COMMAND…: at most ten seconds
wait_for() { local i; for i in $(seq 200); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.05; done; fail "no: $*"; }
# fetch PORT: what an HTTP server on the loopback answers
fetch() {
  exec 9<>/dev/tcp/127.0.0.1/$1 || return
  printf 'GET / HTTP/1.0\r\n\r\n' >&9
  cat <&9; local code=$?
  exec 9<&-
  return $code
}
# has_state UNIT STATE: whether it is that; expect WHAT IS SHOULD: fails unless both are equal
has_state() { [ "$(is ActiveState "$1")" = "$2" ]; }
expect() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }
# group UNIT: the unit's cgroup directory; members UNIT: the processes in it and below it
group() { echo "/sys/fs/cgroup$(is ControlGroup "$1")"; }
members() { find "$(group "$1")" -name cgroup.procs -exec cat {} + 2>/dev/null; }
"#;

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

impl Report {
    /// The script must have ended well.
    ///
    /// # Panics
    /// With all it told.
    #[track_caller]
    pub fn expect_ok(self) -> Self {
        assert!(self.exit == "0", "exit {}:\n{}\n--- journal\n{}", self.exit, self.text, self.journal);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_boots_and_stays_as_it_is() {
        let root = Root::debian();
        let before = crate::Listing::of(&root.path()).digest();
        let report = Boot::of(&root)
            .run("is ActiveState multi-user.target; systemctl --failed --no-legend; ls /var")
            .expect_ok();
        assert!(report.text.starts_with("active\n"), "{}", report.text);
        assert!(!report.text.contains("failed"), "{}", report.text);
        assert_eq!(crate::Listing::of(&root.path()).digest(), before);
    }

    #[test]
    fn a_failing_script_is_told() {
        let root = Root::debian();
        let report = Boot::of(&root).run("echo one; exit 7");
        assert_eq!((report.exit.as_str(), report.text.as_str()), ("7", "one\n"));
    }
}
