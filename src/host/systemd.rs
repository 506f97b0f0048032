//! The running systemd by its own program: systemctl(1) needs no D-Bus for root.

use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::place;

/// Words of a payload that are told.
const LINES: usize = 3;

/// What a unit is doing, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// It runs or begins to.
    Up,
    /// It shall run, but failed or waits for another try.
    Failed,
    /// It does not run, and nobody wants it to.
    Stopped,
}

/// How a container fared after a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It is up.
    Good,
    /// It is not; why.
    Bad(String),
}

/// Whether systemd is this host's system manager (sd_booted(3)).
pub fn is_running() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// Lets it read units anew; generators run.
///
/// # Errors
/// When it does not.
pub fn reload() -> Result<()> {
    systemctl(&["daemon-reload"])
}

/// Makes what the container needs in /var and /run, as a boot would.
///
/// # Errors
/// When it can't be made.
pub fn create_files(name: &ContainerName) -> Result<()> {
    let lines = place::tmpfiles_name(name);
    let there = |dir: &str| std::path::Path::new(dir).join(&lines).exists();
    if !["/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/lib/tmpfiles.d"].iter().any(|dir| there(dir)) {
        return Ok(());
    }
    let mut command = Command::new("systemd-tmpfiles");
    let output = command.args(["--create", &lines]).stdin(Stdio::null()).output();
    let output = output.context("running systemd-tmpfiles")?;
    // 65 and 73: some lines could not be understood or done (systemd-tmpfiles(8)); a boot goes on, too.
    if !output.status.success() && !matches!(output.status.code(), Some(65 | 73)) {
        bail!("systemd-tmpfiles --create {lines}: {}", complaint(&output));
    }
    Ok(())
}

/// What the container's unit is doing.
///
/// # Errors
/// When systemd can't be asked.
pub fn unit(name: &ContainerName) -> Result<Unit> {
    let state = property(name, "ActiveState")?;
    Ok(match state.as_str() {
        "active" | "reloading" | "activating" if property(name, "SubState")? != "auto-restart" => Unit::Up,
        "activating" | "failed" => Unit::Failed,
        _ => Unit::Stopped,
    })
}

/// When a unit was started last in this boot: microseconds since the kernel's start, 0 for never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// Which start it is (systemd.exec(5), `$INVOCATION_ID`); empty if there was none.
    pub invocation: String,
    /// It began.
    pub begun: u64,
    /// It was up.
    pub up: u64,
}

/// The times of the containers' units, in the same order.
///
/// # Errors
/// When systemd can't be asked.
pub fn times(names: &[ContainerName]) -> Result<Vec<Times>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let units: Vec<_> = names.iter().map(ContainerName::unit).collect();
    let mut arguments =
        vec!["show", "--property=InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic,InvocationID"];
    arguments.extend(units.iter().map(String::as_str));
    let output = run(&arguments)?;
    if !output.status.success() {
        bail!("asking systemd about times of units: {}", complaint(&output));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // One paragraph a unit.
    let all: Vec<_> = text.trim().split("\n\n").map(times_in).collect();
    anyhow::ensure!(
        all.len() == names.len(),
        "asking systemd about times of units: it told of {} units",
        all.len()
    );
    Ok(all)
}

fn times_in(paragraph: &str) -> Times {
    let word = |key: &str| {
        let mut lines = paragraph.lines().filter_map(|line| line.split_once('='));
        lines.find(|(found, _)| *found == key).map_or("", |(_, value)| value)
    };
    let time = |key: &str| word(key).parse().unwrap_or(0);
    Times {
        invocation: word("InvocationID").to_owned(),
        begun: time("InactiveExitTimestampMonotonic"),
        up: time("ActiveEnterTimestampMonotonic"),
    }
}

/// Lets systemd forget that the container's unit failed, if it did.
pub fn forget_failures(name: &ContainerName) {
    // One that it does not know has no failures.
    systemctl(&["reset-failed", &name.unit()]).unwrap_or_default();
}

/// Stops the container's unit, if systemd knows it.
///
/// # Errors
/// When it can't be stopped.
pub fn stop(name: &ContainerName) -> Result<()> {
    if property(name, "LoadState")? == "not-found" {
        return Ok(());
    }
    systemctl(&["stop", &name.unit()])
}

/// Whether this host's admin keeps the container's unit from starting (`systemctl mask`, in /etc or /run).
pub fn is_masked(name: &ContainerName) -> bool {
    let masked = |dir: &str| {
        let unit = std::path::Path::new(dir).join(name.unit());
        let target = std::fs::read_link(&unit);
        target.is_ok_and(|target| target == std::path::Path::new("/dev/null"))
            || std::fs::symlink_metadata(&unit).is_ok_and(|found| found.is_file() && found.len() == 0)
    };
    ["/etc/systemd/system", "/run/systemd/system"].into_iter().any(masked)
}

/// Starts or stops (`verb`) other units of a container: those that bind programs. What can't be is told, and done by the next boot.
pub fn mounts(verb: &str, units: &[String]) {
    for unit in units {
        if let Err(error) = systemctl(&[verb, unit]) {
            eprintln!("sysctr: {error:#}; the next boot does it");
        }
    }
}

/// Starts the container's unit anew and waits until it is up (by its own words, or its health command) and, unless it says
/// so itself, stayed up for `settle`.
///
/// # Errors
/// When systemd can't be asked.
pub fn restart(name: &ContainerName, settle: Duration, interrupt: &Interrupt) -> Result<Health> {
    // They must not count against this start.
    forget_failures(name);
    #[expect(clippy::disallowed_methods, reason = "the journal is asked by it, nothing is written with it")]
    let begun = SystemTime::now();
    let started = run(&["restart", &name.unit()])?;
    if !started.status.success() {
        return bad(name, begun, &started);
    }
    let begin = Instant::now();
    loop {
        if unit(name)? != Unit::Up && !is_done(name)? || property(name, "NRestarts")? != "0" {
            return bad(name, begun, &started);
        }
        if interrupt.check().is_err() {
            return Ok(Health::Bad("it was interrupted before it had shown that".to_owned()));
        }
        if begin.elapsed() >= settle {
            return Ok(Health::Good);
        }
        sleep(Duration::from_millis(100).min(settle));
    }
}

/// A oneshot that ended well.
fn is_done(name: &ContainerName) -> Result<bool> {
    Ok(property(name, "Type")? == "oneshot" && property(name, "Result")? == "success")
}

fn bad(name: &ContainerName, begun: SystemTime, started: &Output) -> Result<Health> {
    // First: the next start forgets it.
    let result = property(name, "Result")?;
    let since = journal_since(begun);
    let mut why = match result.as_str() {
        // systemd did not even try: it is masked, or something that it needs failed.
        "success" if !started.status.success() => format!("systemd says: {}", complaint(started)),
        // systemd keeps it until it starts the unit again.
        "success" if property(name, "NRestarts")? != "0" => match logged_result(name, &since) {
            Some(result) => format!("its result is {result}"),
            None => "it ended and was started again".to_owned(),
        },
        "success" => "it ended".to_owned(),
        result => format!("its result is {result}"),
    };
    let words = last_words(name, &since);
    if !words.is_empty() {
        why = format!("{why}, its last words: {words}");
    }
    Ok(Health::Bad(why))
}

fn property(name: &ContainerName, property: &str) -> Result<String> {
    let output = run(&["show", "--property", property, "--value", &name.unit()])?;
    if !output.status.success() {
        bail!("asking systemd about {}: {}", name.unit(), complaint(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let output = run(arguments)?;
    if !output.status.success() {
        bail!("systemctl {}: {}", arguments.join(" "), complaint(&output));
    }
    Ok(())
}

fn run(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("systemctl");
    command.arg("--no-ask-password").args(arguments).stdin(Stdio::null());
    command.output().with_context(|| format!("running systemctl {}", arguments.join(" ")))
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")
}

fn journalctl(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager"]).args(arguments).stdin(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Matches of the journal: lines of its unit, and of its identifier, since of a process that is gone already the journal knows no unit.
pub fn said_by(name: &ContainerName) -> [String; 2] {
    [format!("_SYSTEMD_UNIT={}", name.unit()), format!("SYSLOG_IDENTIFIER={name}")]
}

/// The result of the unit's last failure since then, as systemd told the journal (its `sd-messages.h`,
/// `SD_MESSAGE_UNIT_FAILURE_RESULT`).
fn logged_result(name: &ContainerName, since: &str) -> Option<String> {
    const FAILURE: &str = "MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c";
    let unit = format!("UNIT={}", name.unit());
    let entry = journalctl(&[since, "--output=json", "--lines=1", FAILURE, &unit])?;
    let entry: serde_json::Value = serde_json::from_str(entry.trim()).ok()?;
    Some(entry["UNIT_RESULT"].as_str()?.to_owned())
}

/// journalctl's option for what was said since then; that is in the journal now.
fn journal_since(begun: SystemTime) -> String {
    // It takes what is said a moment later.
    journalctl(&["--sync"]);
    let begun = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("--since=@{}.{:06}", begun.as_secs(), begun.subsec_micros())
}

/// What the container or its launcher said last since then. (A cursor would be exact, but with matches journalctl 252 skips the
/// first entry after one.)
fn last_words(name: &ContainerName, since: &str) -> String {
    let [unit, identifier] = said_by(name);
    let said =
        journalctl(&[since, "--output=cat", "--lines=20", &unit, "+", &identifier]).unwrap_or_default();
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}
