//! The unit's text, from the template `container.service` or the user's own with the same variables (docs/format.md,
//! "Variables of a unit template").

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;
use tera::{Context, ErrorKind, Tera};

use super::{Source, escape};
use crate::place;
use crate::settings::{Duration, Phase, Restart, Settings, Signal, UnitName};

const TEMPLATE: &str = include_str!("container.service");

/// What stops a container when nothing is said.
pub const STOP_TIMEOUT: Duration = Duration::from_millis(10_000);
/// systemd waits so much longer than the launcher, which kills by itself when its time is over.
const STOP_GRACE_MILLIS: u64 = 5_000;
/// What a unit must have room for beside a container with a limit of processes: a runtime in the foreground, and what stops,
/// asks for health and enters it. Runtimes are Go programs of a dozen threads, and more where there are many processors.
const BESIDE_PAYLOAD: u64 = 128;
/// systemd's own default.
const START_MILLIS: u64 = 90_000;
/// The first start copies the image's content into volumes.
const SEEDING_MILLIS: u64 = 300_000;

/// The variables of a template. Every text is escaped: it stays one value on one line.
#[derive(Serialize)]
struct Variables {
    name: String,
    description: String,
    documentation: Vec<String>,
    launcher: String,
    pid_file: String,
    #[serde(rename = "type")]
    service_type: &'static str,
    phase: Phase,
    default_dependencies: bool,
    after: Vec<String>,
    before: Vec<String>,
    requires: Vec<String>,
    conflicts: Vec<String>,
    requires_mounts_for: Vec<String>,
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    restart: Restart,
    success_exit_status: String,
    restart_force_exit_status: String,
    kill_signal: String,
    timeout_start: String,
    timeout_stop: String,
    devices: Vec<String>,
    memory_max: String,
    tasks_max: String,
    cpu_quota: String,
    credentials: Vec<String>,
    health: bool,
    set: BTreeMap<String, String>,
}

/// Renders the unit.
///
/// # Errors
/// When a setting's text can't stand in a unit, or the template fails.
pub fn render(source: &Source<'_>) -> Result<String> {
    let variables = variables(source)?;
    let unit = &source.settings.unit;
    let own = || unit.template.clone().unwrap_or_else(|| "unit.template".to_owned());
    match &source.settings.unit_template {
        Some(text) => render_template(&own(), text, &variables),
        None => render_template("container.service", TEMPLATE, &variables),
    }
}

fn render_template(name: &str, text: &str, variables: &Variables) -> Result<String> {
    let mut tera = Tera::default();
    // Units are no HTML, whatever the template is called.
    tera.autoescape_on(Vec::<&str>::new());
    let context = Context::from_serialize(variables).context("handing variables to the unit's template")?;
    let rendered = tera.add_raw_template(name, text).and_then(|()| tera.render(name, &context));
    let mut unit = rendered.map_err(|error| match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
            let span = report.span();
            let message = report.message();
            anyhow!("rendering the unit: {name}:{}:{}: {message}", span.start_line, span.start_col + 1)
        }
        // Some kinds come with the place and a drawing of it below their first line.
        _ => {
            let text = error.to_string();
            let mut lines = text.lines().map(str::trim);
            let first = lines.next().unwrap_or_default().trim_start_matches("error: ");
            let place = lines.find_map(|line| line.strip_prefix("--> ")).unwrap_or(name);
            anyhow!("rendering the unit: {place}: {first}")
        }
    })?;
    if !unit.ends_with('\n') {
        unit.push('\n');
    }
    Ok(unit)
}

fn variables(source: &Source<'_>) -> Result<Variables> {
    let Source { name, settings, .. } = source;
    let unit = &settings.unit;
    let limits = &settings.limits;
    let order = order(source);
    let optional = |value: Option<String>| value.unwrap_or_default();
    Ok(Variables {
        name: name.to_string(),
        description: description(source)?,
        documentation: documentation(source),
        launcher: format!("/{}", place::LAUNCHER),
        pid_file: place::run_dir(name).join("pid").into_string(),
        service_type: if unit.notify { "notify" } else { "forking" },
        phase: unit.phase,
        default_dependencies: unit.phase == Phase::MultiUser,
        after: order.after,
        before: order.before,
        requires: distinct(unit.requires.iter().map(UnitName::as_str)),
        conflicts: if unit.phase == Phase::MultiUser { vec![] } else { vec!["shutdown.target".into()] },
        requires_mounts_for: mounts_for(source)?,
        wanted_by: order.wanted_by,
        required_by: if unit.essential { vec!["boot-complete.target".into()] } else { vec![] },
        restart: unit.restart.unwrap_or_default(),
        success_exit_status: success_exit_status(source.stop_signal),
        restart_force_exit_status: optional(forced_restart(
            unit.restart.unwrap_or_default().word(),
            source.stop_signal,
        )),
        kill_signal: optional(kill_signal(source.stop_signal)),
        timeout_start: start_timeout(source).to_string(),
        timeout_stop: stop_timeout(settings).to_string(),
        devices: words("run.devices", settings.run.devices.iter().map(|path| path.as_str()))?,
        memory_max: optional(limits.memory.map(|size| size.to_string())),
        tasks_max: optional(limits.pids.map(tasks_max)),
        cpu_quota: optional(limits.cpu.as_ref().map(|quota| quota.to_string())),
        credentials: credentials(source)?,
        health: unit.health.is_some(),
        set: set(source)?,
    })
}

/// What a stopped payload may end with. PID 1 of a namespace dies of no signal that it does not handle but SIGKILL, so
/// only that one can be how it ends (pid_namespaces(7)).
pub fn success_exit_status(stop: &Signal) -> String {
    let code = 128 + u16::from(stop.number());
    if *stop == Signal::kill() { format!("{code} {stop}") } else { code.to_string() }
}

/// What must be followed by a restart although [`success_exit_status`] has it, by the unit's `Restart=`: a SIGKILL that
/// `systemctl stop` did not ask for. After a stop systemd restarts nothing, whatever this says (systemd.service(5), `Restart=`).
pub fn forced_restart(restart: &str, stop: &Signal) -> Option<String> {
    match restart {
        _ if *stop != Signal::kill() => None,
        "on-failure" => Some(success_exit_status(stop)),
        // These look at signals only.
        "on-abnormal" | "on-abort" => Some(stop.to_string()),
        _ => None,
    }
}

/// `KillSignal=`, where it is not systemd's own default: what systemd sends to the payload when `ExecStop=` could not.
pub fn kill_signal(stop: &Signal) -> Option<String> {
    (*stop != Signal::term()).then(|| stop.to_string())
}

/// The unit's `TasksMax=` for a container that may have so many: who stops it must be able to begin when it has them all
/// (docs/decisions.md, “A limit of processes is the container's own”).
pub(super) fn tasks_max(pids: NonZeroU64) -> String {
    pids.get().saturating_add(BESIDE_PAYLOAD).to_string()
}

/// Where in the boot a unit starts.
pub(super) struct Order {
    /// `After=`.
    pub after: Vec<String>,
    /// `Before=`.
    pub before: Vec<String>,
    /// `WantedBy=`.
    pub wanted_by: Vec<String>,
}

/// Where in the boot: the phase's own order, then the user's (bootup(7); docs/decisions.md, "Phases").
pub(super) fn order<'a>(source: &Source<'a>) -> Order {
    let unit = &source.settings.unit;
    let (after, before, wanted_by): (&[&str], &[&str], &str) = match unit.phase {
        Phase::Early => {
            (&["systemd-remount-fs.service"], &["sysinit.target", "shutdown.target"], "sysinit.target")
        }
        Phase::Sysinit => (&[], &["sysinit.target", "shutdown.target"], "sysinit.target"),
        Phase::Basic => (&["sysinit.target"], &["basic.target", "shutdown.target"], "basic.target"),
        Phase::MultiUser => (&[], &[], "multi-user.target"),
    };
    let essential = unit.essential.then_some("boot-complete.target");
    let wanted_by = match &unit.wanted_by {
        Some(list) => distinct(list.iter().map(UnitName::as_str)),
        None => vec![wanted_by.to_owned()],
    };
    let written = |list: &'a [UnitName]| list.iter().map(UnitName::as_str);
    Order {
        after: distinct(after.iter().copied().chain(written(&unit.after)).chain(written(&unit.requires))),
        before: distinct(before.iter().copied().chain(essential).chain(written(&unit.before))),
        wanted_by,
    }
}

/// Each once, in the order of its first place.
pub(super) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for name in names {
        if !list.iter().any(|known| known == name) {
            list.push(name.to_owned());
        }
    }
    list
}

fn words<'a>(label: &str, texts: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    texts.map(|text| escape::word(label, text)).collect()
}

/// Early units run before anything but the root is mounted, and must not wait for it.
pub(super) fn mounts_for(source: &Source<'_>) -> Result<Vec<String>> {
    match source.settings.unit.phase {
        Phase::Early => Ok(Vec::new()),
        _ => words("a path on the host", source.host_paths.iter().map(|path| path.as_str())),
    }
}

/// `Description=`.
///
/// # Errors
/// When the user's text can't stand in a unit.
pub(super) fn description(source: &Source<'_>) -> Result<String> {
    if let Some(text) = &source.settings.unit.description {
        return escape::line("unit.description", text);
    }
    let title = source.image.labels.get("org.opencontainers.image.title").map(|title| title.trim());
    let named = format!("System container {}", source.name);
    // A label is the image's: what doesn't fit is left out.
    let titled = title.filter(|title| title.len() <= 200).map(|title| format!("{named} ({title})"));
    let titled = titled.and_then(|text| escape::line("title", &text).ok());
    Ok(titled.unwrap_or(named))
}

/// The record beside the bundle, and what the image's labels point to.
fn documentation(source: &Source<'_>) -> Vec<String> {
    let record = format!("file:{}", source.bundle.join(place::RECORD_JSON));
    let label = |key: &str| source.image.labels.get(key).map(String::as_str);
    let urls = ["org.opencontainers.image.documentation", "org.opencontainers.image.url"].map(label);
    let fit = |url: &&str| {
        (url.starts_with("https://") || url.starts_with("http://"))
            && url.len() <= 1000
            && url.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~:/?#@!&()*+,;=%".contains(&c))
    };
    let urls = urls.into_iter().flatten().filter(fit).map(escape::specifiers);
    let all: Vec<String> = urls.chain([record]).collect();
    distinct(all.iter().map(String::as_str))
}

/// How long systemd waits for a stop.
pub fn stop_timeout(settings: &Settings) -> Duration {
    longer(settings.run.stop_timeout.unwrap_or(STOP_TIMEOUT), STOP_GRACE_MILLIS)
}

/// Seconds where it can be, since systemd's own messages speak of seconds.
fn longer(duration: Duration, millis: u64) -> Duration {
    Duration::from_millis(duration.as_millis().saturating_add(millis))
}

pub(super) fn start_timeout(source: &Source<'_>) -> Duration {
    let base = if source.volumes.is_empty() { START_MILLIS } else { SEEDING_MILLIS };
    let health = source.settings.unit.health.as_ref();
    longer(Duration::from_millis(base), health.map_or(0, |health| health.timeout.as_millis()))
}

/// `ID` or `ID:PATH` of systemd.exec(5), `LoadCredential=`.
pub(super) fn credentials(source: &Source<'_>) -> Result<Vec<String>> {
    let mut seen: Vec<&str> = Vec::new();
    let mut credentials = Vec::new();
    for (index, text) in source.settings.unit.credentials.iter().enumerate() {
        let label = format!("unit.credentials[{index}]");
        escape::one_line(&label, text)?;
        let (id, path) = text.split_once(':').map_or((text.as_str(), None), |(id, path)| (id, Some(path)));
        let fit = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        if id.is_empty() || id.len() > 255 || !id.bytes().all(fit) || id.bytes().all(|c| c == b'.') {
            bail!("{label}: {id:?} is not a credential's name: letters, digits, `.`, `_` and `-`");
        }
        let plain = |path: &str| path.starts_with('/') && !path.contains([' ', '"', '\'', '\\']);
        if path.is_some_and(|path| !plain(path)) {
            bail!(
                "{label}: {text:?} is not NAME:PATH with an absolute path free of spaces, quotes and backslashes"
            );
        }
        if seen.contains(&id) {
            bail!("{label}: credential {id} stands here twice");
        }
        seen.push(id);
        credentials.push(escape::specifiers(text));
    }
    Ok(credentials)
}

fn set(source: &Source<'_>) -> Result<BTreeMap<String, String>> {
    let escaped = |(key, value): (&String, &String)| {
        if source.settings.unit_template.is_some() {
            escape::one_line(&format!("set.{key}"), value)?;
        }
        Ok((key.clone(), escape::specifiers(value)))
    };
    source.settings.set.iter().map(escaped).collect()
}
