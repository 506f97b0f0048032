//! A unit that an image brings, after rendering: made to fit the way its container is started, whatever its template
//! says (A§2.4, A§8 rows 3, 27, 30, 57, 59).

mod file;
mod install;
mod known;
mod overlay;

use anyhow::{Context, Result, bail};

pub use file::{Assignment, UnitFile};
pub use install::{Install, Whose, install};
pub use known::check;
pub use overlay::{Overlay, overlay};

use super::faults::{BadLine, Faults};
use super::template::{self, Expanded, Lines};
use super::{Form, values};
use crate::name::ContainerName;
use crate::settings::{Duration, Signal};
use crate::units;

/// What messages call the file.
pub const FILE: &str = "exports/service.template";

/// The unit of an image that brings none (A§1.5, with the type that fits).
pub const DEFAULT: &str = "\
[Unit]
Description=$NAME

[Service]
ExecStartPre=$EXEC_STARTPRE
ExecStart=$EXEC_START
ExecStop=$EXEC_STOP
ExecStopPost=$EXEC_STOPPOST
Restart=on-failure
WorkingDirectory=$DESTDIR
PIDFile=$PIDFILE

[Install]
WantedBy=multi-user.target
";

/// Label `atomic.run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// A service.
    Always,
    /// Once at each boot, to its end: `atomic.run=once`.
    Once,
}

/// What a unit has to fit.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// The container.
    pub name: &'a ContainerName,
    /// What `EXEC_START` was made for.
    pub form: Form,
    /// Whether it runs to its end.
    pub runs: Runs,
    /// What asks the payload to stop.
    pub stop_signal: &'a Signal,
    /// How long systemd waits for a stop.
    pub stop_timeout: Duration,
}

/// A unit that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// Its text.
    pub text: String,
    /// The line of the template that each line of the text comes from; 0 for those that were added.
    pub lines: Lines,
    /// Whether it starts the container, and how.
    pub starts: Starts,
    /// Its `[Install]`.
    pub install: Install,
    /// What was changed against the template's word, and what the user should know.
    pub warnings: Vec<String>,
}

/// What a unit starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starts {
    /// The container.
    Container(Form),
    /// Some program of the host that uses the container's files; the unit is the image's word alone.
    HostProgram,
}

/// The form that a template asks for: notify by the `Type=` that it gets when it is `expanded`, else detached when it
/// clears up with `EXEC_STOPPOST` and names `PIDFILE`, in either spelling of a variable; else the runtime stays (A§2.4).
/// `atomic.run=once` has to wait for the end.
pub fn form(template: &[u8], expanded: &Expanded, runs: Runs) -> Form {
    let text = String::from_utf8_lossy(&expanded.text);
    let unit = UnitFile::of_template(&text, &expanded.lines).ok();
    let kind = unit.as_ref().and_then(|unit| unit.last("Service", "Type"));
    let detached = ["EXEC_STOPPOST", "PIDFILE"].into_iter().all(|name| template::names(template, name));
    match kind {
        _ if runs == Runs::Once => Form::Foreground,
        Some("notify" | "notify-reload") => Form::Notify,
        _ if detached => Form::Detached,
        _ => Form::Foreground,
    }
}

/// What is wrong with the lines of a unit that could be expanded only in part.
pub fn wrong_lines(expanded: &Expanded) -> Vec<BadLine> {
    let text = String::from_utf8_lossy(&expanded.text);
    let bad = match UnitFile::of_template(&text, &expanded.lines) {
        Ok(unit) => known::values(&unit),
        Err(bad) => vec![bad],
    };
    bad.into_iter().filter(|bad| expanded.is_whole(bad.line)).collect()
}

/// Makes a rendered unit fit.
///
/// # Errors
/// When it is no unit of a service, systemd would refuse it or pass over something of it, or its `[Install]` can't be
/// links; everything of one kind at once.
pub fn fit(rendered: &Expanded, fit: &Fit<'_>) -> Result<Fitted> {
    let doing = || format!("reading {FILE}");
    let text = std::str::from_utf8(&rendered.text).with_context(doing)?;
    let mut unit = UnitFile::of_template(text, &rendered.lines).with_context(doing)?;
    if unit.all("Service", "ExecStart").is_empty() {
        bail!("reading {FILE}: it has no ExecStart= in a section [Service]");
    }
    let mut warnings = Vec::new();
    let start = values::start_command(fit.name, fit.form);
    let starts = if unit.all("Service", "ExecStart").iter().any(|value| value.contains(&start)) {
        settle(&mut unit, fit, &mut warnings);
        Starts::Container(fit.form)
    } else {
        warnings.push(format!(
            "{FILE}: ExecStart= does not start the container ($EXEC_START); the unit is used as it is"
        ));
        Starts::HostProgram
    };
    Faults::of_lines(FILE, check(&unit)).finish()?;
    host_programs(&unit, fit.name, &mut warnings);
    let install = install(&fit.name.unit(), &unit, Whose::Own).with_context(doing)?;
    if install == Install::default() {
        warnings.push(format!("{FILE}: it has no [Install], so nothing starts it at boot"));
    }
    Ok(Fitted { text: unit.to_string(), lines: unit.lines(), starts, install, warnings })
}

/// What a payload needs that talks to systemd itself.
fn settle_notify(unit: &mut UnitFile) {
    // The payload is no child of systemd's main process.
    unit.set("Service", "NotifyAccess", "all");
    if unit.last("Service", "WatchdogSignal").is_none() {
        // docs/decisions.md, "`WatchdogSignal=SIGKILL`".
        unit.add("Service", "WatchdogSignal", "SIGKILL");
    }
}

/// The parts of a unit that the way of starting decides.
fn settle(unit: &mut UnitFile, fit: &Fit<'_>, warnings: &mut Vec<String>) {
    let was = unit.last("Service", "Type").map(str::to_owned);
    let kind = match (fit.runs, fit.form, was.as_deref()) {
        (Runs::Once, ..) => "oneshot",
        (_, Form::Detached, _) => "forking",
        (_, Form::Notify, Some(kind @ ("notify" | "notify-reload"))) => kind,
        (_, Form::Notify, _) => "notify",
        (_, Form::Foreground, Some(kind @ ("simple" | "exec" | "oneshot" | "idle" | "dbus"))) => kind,
        (_, Form::Foreground, _) => "simple",
    };
    if let Some(was) = was.as_deref().filter(|was| *was != kind) {
        warnings.push(format!(
            "{FILE}: Type={was} does not fit how the container is started; Type={kind} is used"
        ));
    }
    let kind = kind.to_owned();
    unit.set("Service", "Type", &kind);
    match fit.form {
        Form::Detached => unit.set("Service", "PIDFile", &values::pid_file(fit.name)),
        Form::Foreground | Form::Notify => unit.remove("Service", "PIDFile"),
    }
    if fit.form == Form::Notify {
        settle_notify(unit);
    }
    if kind == "oneshot" {
        let restart = unit.last("Service", "Restart").map(str::to_owned);
        if let Some(restart) = restart.filter(|restart| matches!(restart.as_str(), "always" | "on-success")) {
            warnings.push(format!(
                "{FILE}: Restart={restart} can't be with Type=oneshot; Restart=on-failure is used"
            ));
            unit.set("Service", "Restart", "on-failure");
        }
    }
    if fit.runs == Runs::Once {
        unit.set("Service", "RemainAfterExit", "yes");
    }
    let clean = values::clean_command(fit.name);
    // Its failure must not fail the unit.
    unit.change("Service", "ExecStopPost", |value| {
        (value.trim_start_matches('-') == clean).then(|| format!("-{clean}"))
    });
    if !unit.all("Service", "ExecStopPost").iter().any(|value| value.contains(&clean)) {
        unit.add("Service", "ExecStopPost", &format!("-{clean}"));
    }
    let stop = values::stop_command(fit.name);
    if unit.all("Service", "ExecStop").is_empty() {
        unit.add("Service", "ExecStop", &stop);
    }
    fill(unit, fit);
}

/// What the launcher counts on, where the unit is silent.
fn fill(unit: &mut UnitFile, fit: &Fit<'_>) {
    let status = units::success_exit_status(fit.stop_signal);
    let kill = units::kill_signal(fit.stop_signal);
    let timeout = fit.stop_timeout.to_string();
    for (key, value) in [
        ("Delegate", Some("yes")),
        ("KillMode", Some("mixed")),
        ("KillSignal", kill.as_deref()),
        ("SuccessExitStatus", Some(&*status)),
        ("TimeoutStopSec", Some(&*timeout)),
        ("SyslogIdentifier", Some(fit.name.as_str())),
    ] {
        let Some(value) = value else { continue };
        let timeout_said = key == "TimeoutStopSec" && unit.last("Service", "TimeoutSec").is_some();
        if unit.last("Service", key).is_none() && !timeout_said {
            unit.add("Service", key, value);
        }
    }
}

/// Programs of the image that the unit runs on the host, as root and outside the container (A§8 row 94).
fn host_programs(unit: &UnitFile, name: &ContainerName, warnings: &mut Vec<String>) {
    let inside = format!("/{name}/rootfs/");
    for assignment in unit.assignments().filter(|a| a.section == "Service" && a.key.starts_with("Exec")) {
        if assignment.value.contains(&inside) {
            warnings.push(format!(
                "{FILE}: {}= runs a program of the image on the host, outside the container: {}",
                assignment.key, assignment.value
            ));
        }
    }
}

#[cfg(test)]
mod tests;
