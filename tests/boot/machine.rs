//! One boot: a script in, a report out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use sysctr_tests::{Command, boot, fixture, scratch, source_dir};
use tempfile::TempDir;

use crate::disk::Disk;

/// What runs the containers of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// runc.
    Runc,
    /// crun.
    Crun,
}

/// How ostree-prepare-root makes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A directory of hard links.
    Plain,
    /// An image of composefs.
    Composefs,
}

/// Whose kernel a host image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// User-mode Linux, a program.
    Uml,
    /// Debian's, in qemu without virtualization.
    Debian,
}

impl Kernel {
    /// The fixture that has it.
    pub fn fixture(self) -> &'static str {
        match self {
            Self::Uml => "uml",
            Self::Debian => "boot-kernel",
        }
    }

    /// The command that boots a disk by it; disk and working directory follow.
    pub fn boot(self) -> Vec<OsString> {
        let here = source_dir().join("tests/boot");
        match self {
            Self::Uml => vec!["bash".into(), here.join("uml.sh").into(), fixture::directory("uml").into()],
            Self::Debian => vec!["bash".into(), here.join("qemu.sh").into()],
        }
    }
}

/// What a life is of.
#[derive(Debug, Clone, Copy)]
pub struct HostKind {
    /// A Debian suite.
    pub suite: &'static str,
    /// Who runs its containers.
    pub runtime: Runtime,
    /// What its root is.
    pub form: Form,
    /// What it boots.
    pub kernel: Kernel,
}

impl Runtime {
    /// A host with it.
    pub fn on(self, suite: &'static str) -> HostKind {
        HostKind { suite, runtime: self, form: Form::Plain, kernel: Kernel::Uml }
    }

    /// Its name in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

impl HostKind {
    /// The same with a root of composefs.
    pub fn with_composefs(self) -> Self {
        Self { form: Form::Composefs, ..self }
    }

    /// The same with Debian's own kernel.
    pub fn with_its_own_kernel(self) -> Self {
        Self { kernel: Kernel::Debian, ..self }
    }
}

/// How something that was tried ended.
#[derive(Debug, Clone)]
pub struct Tried {
    /// `ok` or `FAILED`.
    pub result: String,
    /// How long it took in the machine.
    pub seconds: String,
    /// What it said.
    pub text: String,
}

/// What a boot told.
#[derive(Debug)]
pub struct Report {
    /// By name.
    pub tried: BTreeMap<String, Tried>,
    /// All that came over the serial port.
    pub text: String,
    /// The machine's journal.
    pub journal: String,
    /// What the kernel and systemd said.
    pub console: String,
    /// How it ended.
    pub ending: Ending,
}

/// How a machine ends when its script has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// `systemctl poweroff`, or from outside.
    PowerOff,
    /// `systemctl reboot`.
    Reboot,
}

/// Which entry of the boot menu is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The default.
    Newest,
    /// The one before it, as someone at the console, or a loader that counts tries, would.
    Before,
}

/// Files for a machine's second disk, and where its reports come.
pub struct Desk {
    work: TempDir,
}

impl Desk {
    /// With a directory `payload` to fill.
    pub fn new() -> Self {
        let work = scratch();
        std::fs::create_dir(work.path().join("files")).expect("a new directory");
        Self { work }
    }

    /// Where boot.sh and cut.sh leave what the machine says.
    pub fn path(&self) -> &Path {
        self.work.path()
    }

    /// A path that the machine sees below /run/boot-test.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.work.path().join("files").join(name)
    }

    /// From now on machines end so; without it they power off.
    pub fn ends_by(&self, ending: Ending) {
        let verb = if ending == Ending::Reboot { "reboot" } else { "poweroff" };
        std::fs::write(self.file("ending"), verb).expect("a scratch file");
    }

    /// Boots from the disk, runs the script, ends.
    pub fn boot(&self, disk: &Disk, entry: Entry, script: &str) -> Report {
        self.prepare(disk, entry, script);
        let output =
            Command::new("env").args(disk.kernel().boot()).arg(disk.path()).arg(self.work.path()).run();
        let mut report = self.report();
        if !report.has_ended() {
            report.console += &output.story();
        }
        report
    }

    /// What the boot loader reads, and the second disk.
    pub fn prepare(&self, disk: &Disk, entry: Entry, script: &str) {
        let here = source_dir().join("tests/boot");
        let work = self.work.path();
        let which = if entry == Entry::Newest { "0" } else { "1" };
        let loader = Command::new("bash").arg(here.join("loader.sh")).arg(disk.path());
        loader.arg(work.join("boot")).arg(which).run().expect_ok();
        let helpers = include_str!("guest/helpers.sh");
        std::fs::write(self.file("script"), format!("{}{helpers}\n{script}\n", boot::HELPERS))
            .expect("a scratch file");
        let payload = work.join("payload");
        std::fs::remove_file(&payload).ok();
        let files = work.join("files");
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(&files)
            .arg(&payload)
            .arg("128M")
            .run()
            .expect_ok();
    }

    /// What the last boot told so far.
    pub fn report(&self) -> Report {
        let text = self.read("report");
        let mut tried: BTreeMap<String, Tried> = BTreeMap::new();
        let mut last = None;
        for line in text.lines() {
            if let Some(said) = line.strip_prefix("| ") {
                if let Some(name) = &last
                    && let Some(tried) = tried.get_mut(name)
                {
                    writeln!(tried.text, "{said}").unwrap_or_default();
                }
            } else if let ["=", name, result, seconds] = line.split(' ').collect::<Vec<_>>()[..] {
                last = Some(name.to_owned());
                let one = Tried { result: result.into(), seconds: seconds.into(), text: String::new() };
                tried.insert(name.to_owned(), one);
            }
        }
        let ending =
            if self.work.path().join("rebooted").exists() { Ending::Reboot } else { Ending::PowerOff };
        Report { tried, text, journal: self.read("journal"), console: self.read("console"), ending }
    }

    fn read(&self, name: &str) -> String {
        let path: &Path = &self.work.path().join(name);
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Report {
    /// Whether the script came to its end.
    pub fn has_ended(&self) -> bool {
        self.text.lines().any(|line| line.starts_with("END "))
    }

    /// Everything about it, for a message.
    pub fn story(&self) -> String {
        let Self { text, journal, console, ending, .. } = self;
        format!("--- report\n{text}\nended by {ending:?}\n--- console\n{console}\n--- journal\n{journal}")
    }
}
