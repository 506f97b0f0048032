//! The life of a host: six boots of one disk, three host images.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sysctr_tests::{Compose, Image, source_dir};

use crate::disk::Host;
use crate::images;
use crate::machine::{Desk, Ending, Entry, HostKind, Report, Tried};

/// What was tried in all boots, by name.
pub struct Life {
    tried: BTreeMap<String, (Tried, usize)>,
    reports: Vec<Report>,
}

const BOOTS: [(Entry, &str); 6] = [
    (Entry::Newest, include_str!("guest/1-first.sh")),
    (Entry::Newest, include_str!("guest/2-updates.sh")),
    (Entry::Newest, include_str!("guest/3-upgrade.sh")),
    (Entry::Newest, include_str!("guest/4-second.sh")),
    (Entry::Newest, include_str!("guest/5-broken.sh")),
    (Entry::Before, include_str!("guest/6-back.sh")),
];

impl Life {
    /// Of a host of this kind.
    pub fn of(name: &str, kind: HostKind) -> Self {
        let host = Host::of(kind);
        host.compose("first", |compose| first(compose, kind));
        host.compose("second", |compose| second(compose, kind, Essential::Whole, "5"));
        host.compose("third", |compose| second(compose, kind, Essential::Broken, "6"));
        let disk = host.disk(&["first", "second", "third"]);
        let desk = desk();
        let mut life = Self { tried: BTreeMap::new(), reports: Vec::new() };
        for (number, (entry, script)) in BOOTS.into_iter().enumerate() {
            let ending = if number + 1 < BOOTS.len() { Ending::Reboot } else { Ending::PowerOff };
            desk.ends_by(ending);
            let report = desk.boot(&disk, entry, script);
            life.add(number, &report);
            let ended = report.has_ended() && report.ending == ending;
            life.reports.push(report);
            life.keep(name);
            if !ended {
                break;
            }
        }
        life
    }

    /// A name that is tried in two boots is well when both are.
    fn add(&mut self, number: usize, report: &Report) {
        for (name, tried) in &report.tried {
            let well = self.tried.get(name).is_none_or(|(before, _)| before.result == "ok");
            if well {
                self.tried.insert(name.clone(), (tried.clone(), number));
            }
        }
    }

    /// Leaves the reports for people and for docs/boot.md.
    fn keep(&self, name: &str) {
        let mut text = String::new();
        for (number, report) in self.reports.iter().enumerate() {
            writeln!(text, "# boot {}\n{}", number + 1, report.text).unwrap_or_default();
            keep(&format!("{name}.{}.journal", number + 1), &report.journal);
        }
        keep(&format!("{name}.report"), &text);
    }

    /// It was tried and went well.
    ///
    /// # Panics
    /// With what it said and its boot's journal when it did not.
    pub fn expect(&self, name: &str) {
        let Some((tried, boot)) = self.tried.get(name) else {
            panic!("{name} was not tried; {}", self.reports.last().map(Report::story).unwrap_or_default());
        };
        let story = || self.reports[*boot].story();
        assert!(tried.result == "ok", "after {} s:\n{}\n{}", tried.seconds, tried.text, story());
    }

    /// All that was tried is one of these.
    ///
    /// # Panics
    /// With the name that is not.
    pub fn expect_only(&self, names: &[&str]) {
        for name in self.tried.keys() {
            assert!(names.contains(&name.as_str()), "{name} is reported, but no test asks for it");
        }
    }
}

/// Leaves a text below target/boot.
pub fn keep(name: &str, text: &str) {
    let directory = source_dir().join("target/boot");
    std::fs::create_dir_all(&directory).expect("target/ can be written");
    std::fs::write(directory.join(name), text).expect("target/ can be written");
}

/// The second disk: images to update to.
fn desk() -> Desk {
    let desk = Desk::new();
    images::web("2", &desk.file("web2"));
    images::web("3", &desk.file("web3"));
    images::broken(&desk.file("broken"));
    images::archive(&desk.file("web2"), &desk.file("web2.tar"));
    let registry = "version: 0.1\nstorage: {filesystem: {}}\nhttp: {addr: '127.0.0.1:5000'}\n";
    std::fs::write(desk.file("registry.yml"), registry).expect("a scratch file");
    // This machine's: it needs the C library only, and no older one than its own.
    std::fs::copy("/usr/bin/docker-registry", desk.file("docker-registry"))
        .expect("docker-registry is installed");
    desk
}

/// A host with a few containers, as its commit `first`.
pub fn small(kind: HostKind) -> Host {
    let host = Host::of(kind);
    let early = payload("early", "'show'", "unit.phase = 'early'");
    let containers = [web("web", 8085, "1"), web("kept", 8086, "1"), early];
    host.compose("first", |compose| made(compose, kind, &containers));
    host
}

/// How the container that boot-complete.target waits for fares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Essential {
    Whole,
    Broken,
}

/// A container of the payload.
pub fn payload(name: &str, args: &str, more: &str) -> String {
    let image = Image::payload().in_manifest();
    format!("[[container]]\nname = '{name}'\nimage = '{image}'\nrun.args = [{args}]\n{more}\n")
}

/// A container of the shell.
pub fn shell(name: &str, script: &str, more: &str) -> String {
    format!(
        "[[container]]\nname = '{name}'\nimage = 'oci:shell'\nrun.args = ['{script}']\nrun.stop_signal = 'SIGKILL'\n{more}\n"
    )
}

/// A version of the web server that can be updated from the registry in the machine.
pub fn web(name: &str, port: u16, answer: &str) -> String {
    format!(
        "[[container]]\nname = '{name}'\nimage = 'oci:web-{answer}'\nrun.env = {{ PORT = '{port}' }}\n\
         update = 'docker://127.0.0.1:5000/web:stable'\n"
    )
}

/// With a health command, so that no time decides whether an update is one.
fn healthy(web: String) -> String {
    let health = "{ exec = ['/bin/test', '-s', '/www/index.html'], interval = '100ms', timeout = '1800s' }";
    format!("{web}unit.health = {health}\n")
}

/// Asked of a container that says so by a file; no time decides.
const WELL: &str =
    "health = { exec = ['/bin/test', '-e', '/run/well'], interval = '100ms', timeout = '1800s' }";

fn essential(fares: Essential) -> String {
    let script = match fares {
        Essential::Whole => "sleep 1; touch /run/well; exec sleep 100000",
        Essential::Broken => "exit 3",
    };
    shell("essential", script, &format!("unit = {{ essential = true, restart = 'no', {WELL} }}"))
}

/// One that has used up its limit as soon as it runs, and whose first process reaps nobody. Once it is full the shell can begin no
/// process, so all it does then is built into it.
fn full() -> String {
    let script = "trap \"echo asked; exit 0\" TERM; sleep 100000 & first=$!; \
                  (while :; do sleep 100000 & done) 2>/dev/null; sleep 100000 & echo filled; wait $first";
    format!(
        "[[container]]\nname = 'full'\nimage = 'oci:shell'\nrun.args = ['{script}']\nrun.stop_signal = 'SIGTERM'\nlimits.pids = 40\n"
    )
}

fn first(compose: Compose, kind: HostKind) -> Compose {
    let late = "sleep 0.8; touch /run/well; exec sleep 100000";
    let mut containers = vec![
        format!("[[container]]\nname = 'hello'\nimage = '{}'\n", Image::hello().in_manifest()),
        format!("[[container]]\nname = 'nginx'\nimage = '{}'\n", Image::nginx().in_manifest()),
        format!("[[container]]\nname = 'wanted'\nimage = '{}'\n", Image::exports("wanted").in_manifest()),
        healthy(web("web", 8085, "1")),
        web("kept", 8086, "1"),
        payload("early", "'show'", "unit.phase = 'early'"),
        payload(
            "at-sysinit",
            "'show'",
            "unit.phase = 'sysinit'\nrun.volumes = { '/data' = '/var/lib/at-sysinit' }",
        ),
        payload("at-basic", "'show'", "unit.phase = 'basic'"),
        payload(
            "ordered",
            "'sleep=200'",
            "unit = { after = ['marker-before.service'], before = ['marker-after.service'] }",
        ),
        payload("follows", "", "unit.after = ['ordered.service']"),
        payload("ready", "'sleep=800', 'status=quite well', 'ready'", "unit.notify = true"),
        shell("checked", late, &format!("unit.{WELL}")),
        payload("after-checked", "", "unit.after = ['checked.service']"),
        shell("shell", "exec sleep 100000", "run.volumes = { '/data' = '/var/lib/sysctr/shell/data' }"),
        shell(
            "limited",
            "while :; do sleep 1000; done",
            "limits = { memory = '32M', pids = 64, cpu = '50%' }",
        ),
        full(),
        payload(
            "denied",
            "'open=/dev/kmsg', 'open=/dev/null'",
            "run.mounts = [{ source = '/dev/kmsg', target = '/dev/kmsg' }]",
        ),
        payload("allowed", "'open=/dev/kmsg', 'open=/dev/null'", "run.devices = ['/dev/kmsg']"),
        essential(Essential::Whole),
    ];
    for number in 10..30 {
        containers.push(payload(&format!("many-{number}"), &format!("'serve=71{number}'"), ""));
    }
    made(compose, kind, &containers)
        .with(&Image::hello())
        .with(&Image::nginx())
        .with(&Image::exports("wanted"))
}

fn second(compose: Compose, kind: HostKind, fares: Essential, answer: &str) -> Compose {
    let containers = [healthy(web("web", 8085, answer)), web("kept", 8086, answer), essential(fares)];
    made(compose, kind, &containers)
}

/// With the manifest and images that all have.
pub fn made(compose: Compose, kind: HostKind, containers: &[String]) -> Compose {
    images::shell(&compose.work_dir().join("shell"));
    for answer in ["1", "5", "6"] {
        images::web(answer, &compose.work_dir().join(format!("web-{answer}")));
    }
    // To be killed for being slow is no end in order.
    let runtime = format!("[[container]]\nruntime = '{}'\nrun.stop_timeout = '600s'\n", kind.runtime.name());
    let manifest = format!("group = 'boot'\n{}", containers.concat().replace("[[container]]\n", &runtime));
    compose.manifest(manifest).with(&Image::payload())
}
