//! A machine for one test: this one, in a mount namespace of its own where /usr/lib also holds the test's containers,
//! and /run and /var are empty.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Ends when it is dropped, with what runs in it.
pub struct Machine {
    dir: tempfile::TempDir,
    names: Vec<String>,
    holder: Option<Child>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine that is not up yet.
    pub fn new() -> Self {
        assert!(is_root(), "the integration tier needs root");
        let dir = tempfile::tempdir().expect("room for the test's files");
        let atomic = dir.path().join("lib/containers/atomic");
        fs::create_dir_all(&atomic).expect("room for the test's files");
        fs::create_dir(dir.path().join("lib/under-test")).expect("room for the test's files");
        let built = crate::dist_dir().join("sysctr");
        assert!(built.exists(), "{} is missing: make build", built.display());
        fs::copy(built, dir.path().join("lib/under-test/sysctr")).expect("room for the test's files");
        Self { dir, names: Vec::new(), holder: None }
    }

    /// The root file system of a container.
    pub fn rootfs(&self, name: &str) -> PathBuf {
        self.atomic().join(name).join("rootfs")
    }

    /// The directory of programs under test, seen from outside; the machine has it as /usr/lib/under-test.
    pub fn under_test(&self) -> PathBuf {
        self.dir.path().join("lib/under-test")
    }

    /// The directory of its containers, seen from outside.
    pub fn atomic(&self) -> PathBuf {
        self.dir.path().join("lib/containers/atomic")
    }

    /// Embeds a container that runs a shell script as its first process, changed by `edit`: config.json, record.json.
    pub fn embed(&mut self, runtime: &str, name: &str, script: &str, edit: impl Fn(&mut Value, &mut Value)) {
        let rootfs = self.rootfs(name);
        for directory in ["bin", "dev", "proc", "sys", "run", "data", "etc"] {
            fs::create_dir_all(rootfs.join(directory)).expect("room for the test's files");
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is installed");
        for applet in ["sh", "sleep", "true", "cat", "touch", "env", "id"] {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("room for the test's files");
        }
        let (mut config, mut record) = (config(name, script), record(runtime, name));
        edit(&mut config, &mut record);
        let bundle = self.atomic().join(name);
        fs::set_permissions(&bundle, fs::Permissions::from_mode(0o700)).expect("room for the test's files");
        fs::write(bundle.join("config.json"), config.to_string()).expect("room for the test's files");
        fs::write(bundle.join("record.json"), record.to_string()).expect("room for the test's files");
        self.names.push(name.to_owned());
    }

    /// Brings it up.
    pub fn up(&mut self) {
        let containers = self.names.iter().map(|name| {
            let container = json!({ "group": "test", "image": format!("oci:{name}"), "config": DIGEST,
                "inputs": DIGEST, "origin": DIGEST, "record": DIGEST });
            (name.clone(), container)
        });
        let embedded = json!({ "version": 1, "tool": "test", "containers": containers.collect::<Value>() });
        fs::write(self.atomic().join("embedded.json"), embedded.to_string())
            .expect("room for the test's files");
        let (lib, var) = (self.dir.path().join("lib"), self.dir.path().join("var"));
        fs::create_dir(&var).expect("room for the test's files");
        // crun refuses a hierarchy that is half v1 and half v2.
        let script = "mount -t overlay -o lowerdir=\"$1\":/usr/lib overlay /usr/lib
            mount -t tmpfs -o mode=755 tmpfs /run; mount --bind \"$2\" /var
            if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
            echo up; exec cat";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-euc", script, "sh"])
            .args([lib, var])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a program can be started");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("the holder tells when it is up");
        assert_eq!(line, "up\n");
        self.holder = Some(holder);
    }

    /// A program in the machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.as_ref().expect("the machine is up").id();
        command.args(["-m", "-t", &holder.to_string(), "--", program]);
        command
    }

    /// The launcher, with its arguments separated by blanks.
    pub fn sysctr(&self, arguments: &str) -> Command {
        let mut command = self.command("/usr/lib/under-test/sysctr");
        command.args(arguments.split(' ')).stdin(Stdio::null());
        command
    }

    /// Runs the launcher to success and gives its output.
    pub fn ok(&self, arguments: &str) -> String {
        let output = self.sysctr(arguments).output().expect("a program can be started");
        assert!(output.status.success(), "sysctr {arguments}: {output:?}");
        String::from_utf8(output.stdout).expect("a program of ours writes text")
    }

    /// Starts a container detached. Its output goes nowhere, since it would hold a pipe of ours open.
    pub fn start(&self, name: &str) -> u32 {
        let log = fs::File::create(self.dir.path().join("log")).expect("room for the test's files");
        let mut command = self.sysctr(&format!("run --detach {name}"));
        let status = command
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .status()
            .expect("a program can be started");
        let log = fs::read_to_string(self.dir.path().join("log")).expect("a log");
        assert!(status.success(), "sysctr run --detach {name}: {status}: {log}");
        self.shell(&format!("cat /run/sysctr/{name}/pid")).trim().parse().expect("a process number")
    }

    /// Starts a container whose script sleeps in a loop, and waits for that: before it has set its traps, a first
    /// process is immune to signals.
    pub fn start_ready(&self, name: &str) -> u32 {
        let pid = self.start(name);
        self.until(&format!("test -n \"$(cat /proc/{pid}/task/*/children)\""));
        pid
    }

    /// Runs the launcher to failure with status 1 and gives its one line.
    pub fn error(&self, arguments: &str) -> String {
        let Output { status, stderr, .. } =
            self.sysctr(arguments).output().expect("a program can be started");
        let message = String::from_utf8(stderr).expect("a program of ours writes text");
        assert_eq!(status.code(), Some(1), "sysctr {arguments}: {message}");
        message.trim_end().to_owned()
    }

    /// Output of a shell script in the machine, which must succeed.
    pub fn shell(&self, script: &str) -> String {
        let output = self.command("sh").args(["-euc", script]).output().expect("a program can be started");
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).expect("a program of ours writes text")
    }

    /// Waits until a script in the machine succeeds.
    pub fn until(&self, script: &str) {
        for _ in 0..500 {
            if self
                .command("sh")
                .args(["-euc", script])
                .output()
                .expect("a program can be started")
                .status
                .success()
            {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("not within 5 s: {script}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.holder.is_some() {
            for name in &self.names {
                drop(self.sysctr(&format!("stop --force {name}")).output());
            }
        }
        if let Some(mut holder) = self.holder.take() {
            drop(holder.stdin.take());
            drop(holder.wait());
        }
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").expect("there is /proc").uid() == 0
}

fn config(name: &str, script: &str) -> Value {
    let namespaces = ["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!({
        "ociVersion": "1.0.2",
        "hostname": name,
        "root": { "path": "rootfs", "readonly": true },
        "process": {
            "terminal": false, "cwd": "/", "args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0 }, "noNewPrivileges": true,
            "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] }
        },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755"]),
            mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]),
        ],
        "linux": { "cgroupsPath": "payload", "namespaces": namespaces },
    })
}

fn record(runtime: &str, name: &str) -> Value {
    let runtime = ["/usr/bin", "/usr/sbin"].map(|dir| Path::new(dir).join(runtime));
    let runtime = runtime.iter().find(|path| path.exists()).expect("the runtime is installed");
    json!({
        "version": 1, "name": name, "group": "test", "origin": DIGEST, "runtime": runtime, "fallback": "none",
        "image": { "source": format!("oci:{name}"), "config": DIGEST, "diff_ids": [], "architecture": "amd64" },
        "launch": { "mode": "detached", "phase": "multi-user", "stop_signal": "SIGTERM", "stop_timeout": "5s" },
        "tree": { "digest": DIGEST, "entries": 0, "bytes": 0, "epoch": 1 }, "files": {}, "placed": {},
    })
}

/// A bind mount of the host into a configuration.
pub fn bind(config: &mut Value, source: &str, destination: &str) {
    let mount = json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind"] });
    config["mounts"].as_array_mut().expect("a list").push(mount);
}
