//! Directives whose values are of a closed set: what systemd would pass over with a word in the journal, or refuse to start
//! at boot, is refused here, by its line (systemd.service(5), systemd.unit(5), systemd.kill(5), systemd.exec(5),
//! systemd.resource-control(5); docs/decisions.md, "Units are held against a table of ours").

use super::{Assignment, UnitFile};
use crate::exports::faults::BadLine;
use crate::exports::timespan::is_time_span;

/// What a directive takes. An empty value is passed over, as by systemd: a variable may be empty on purpose.
#[derive(Debug, Clone, Copy)]
enum Takes {
    Words(&'static [&'static str]),
    /// `yes`, `no` and their kin, or one of these.
    YesNoOr(&'static [&'static str]),
    Time,
    Number,
    /// A command line.
    Command,
    /// An absolute path, after these prefixes; a `~` alone is a home.
    Directory,
}

const TYPES: &[&str] = &["simple", "exec", "forking", "oneshot", "dbus", "notify", "notify-reload", "idle"];
const ACTIONS: &[&str] = &[
    "none",
    "reboot",
    "reboot-force",
    "reboot-immediate",
    "poweroff",
    "poweroff-force",
    "poweroff-immediate",
    "exit",
    "exit-force",
    "soft-reboot",
    "soft-reboot-force",
    "kexec",
    "kexec-force",
    "halt",
    "halt-force",
    "halt-immediate",
];

/// Section, directive, what it takes. Values that a later systemd than 252 knows are among them.
const KNOWN: &[(&str, &str, Takes)] = &[
    ("Service", "Type", Takes::Words(TYPES)),
    (
        "Service",
        "Restart",
        Takes::Words(&["no", "always", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog"]),
    ),
    ("Service", "ExitType", Takes::Words(&["main", "cgroup"])),
    ("Service", "NotifyAccess", Takes::Words(&["none", "main", "exec", "all"])),
    ("Service", "OOMPolicy", Takes::Words(&["continue", "stop", "kill"])),
    ("Service", "KillMode", Takes::Words(&["control-group", "mixed", "process", "none"])),
    ("Service", "DevicePolicy", Takes::Words(&["auto", "closed", "strict"])),
    ("Service", "TimeoutStartFailureMode", Takes::Words(&["terminate", "abort", "kill"])),
    ("Service", "TimeoutStopFailureMode", Takes::Words(&["terminate", "abort", "kill"])),
    ("Service", "ProtectSystem", Takes::YesNoOr(&["full", "strict"])),
    ("Service", "ProtectHome", Takes::YesNoOr(&["read-only", "tmpfs"])),
    ("Service", "RemainAfterExit", Takes::YesNoOr(&[])),
    ("Service", "GuessMainPID", Takes::YesNoOr(&[])),
    ("Service", "NonBlocking", Takes::YesNoOr(&[])),
    ("Service", "RootDirectoryStartOnly", Takes::YesNoOr(&[])),
    ("Service", "SendSIGKILL", Takes::YesNoOr(&[])),
    ("Service", "SendSIGHUP", Takes::YesNoOr(&[])),
    ("Service", "IgnoreSIGPIPE", Takes::YesNoOr(&[])),
    ("Service", "NoNewPrivileges", Takes::YesNoOr(&[])),
    ("Service", "MemoryAccounting", Takes::YesNoOr(&[])),
    ("Service", "CPUAccounting", Takes::YesNoOr(&[])),
    ("Service", "TasksAccounting", Takes::YesNoOr(&[])),
    ("Service", "IOAccounting", Takes::YesNoOr(&[])),
    ("Service", "TimeoutSec", Takes::Time),
    ("Service", "TimeoutStartSec", Takes::Time),
    ("Service", "TimeoutStopSec", Takes::Time),
    ("Service", "TimeoutAbortSec", Takes::Time),
    ("Service", "RestartSec", Takes::Time),
    ("Service", "RuntimeMaxSec", Takes::Time),
    ("Service", "WatchdogSec", Takes::Time),
    ("Service", "ExecStart", Takes::Command),
    ("Service", "ExecStartPre", Takes::Command),
    ("Service", "ExecStartPost", Takes::Command),
    ("Service", "ExecCondition", Takes::Command),
    ("Service", "ExecReload", Takes::Command),
    ("Service", "ExecStop", Takes::Command),
    ("Service", "ExecStopPost", Takes::Command),
    ("Service", "WorkingDirectory", Takes::Directory),
    // Older spellings of what is in [Unit] now.
    ("Service", "StartLimitInterval", Takes::Time),
    ("Service", "StartLimitBurst", Takes::Number),
    ("Service", "StartLimitAction", Takes::Words(ACTIONS)),
    ("Service", "FailureAction", Takes::Words(ACTIONS)),
    ("Unit", "StartLimitInterval", Takes::Time),
    ("Unit", "StartLimitIntervalSec", Takes::Time),
    ("Unit", "StartLimitBurst", Takes::Number),
    ("Unit", "StartLimitAction", Takes::Words(ACTIONS)),
    ("Unit", "FailureAction", Takes::Words(ACTIONS)),
    ("Unit", "SuccessAction", Takes::Words(ACTIONS)),
    ("Unit", "JobTimeoutSec", Takes::Time),
    ("Unit", "JobRunningTimeoutSec", Takes::Time),
    ("Unit", "JobTimeoutAction", Takes::Words(ACTIONS)),
    ("Unit", "DefaultDependencies", Takes::YesNoOr(&[])),
    ("Unit", "StopWhenUnneeded", Takes::YesNoOr(&[])),
    ("Unit", "RefuseManualStart", Takes::YesNoOr(&[])),
    ("Unit", "RefuseManualStop", Takes::YesNoOr(&[])),
    ("Unit", "AllowIsolate", Takes::YesNoOr(&[])),
    ("Unit", "IgnoreOnIsolate", Takes::YesNoOr(&[])),
    ("Unit", "CollectMode", Takes::Words(&["inactive", "inactive-or-failed"])),
];

/// Assignments that systemd would pass over or refuse each by itself, in the order of the lines.
pub(super) fn values(unit: &UnitFile) -> Vec<BadLine> {
    unit.assignments().filter_map(|assignment| value(&assignment)).collect()
}

/// Everything that systemd would pass over or refuse of what is known here, in the order of the lines.
pub fn check(unit: &UnitFile) -> Vec<BadLine> {
    let mut bad = values(unit);
    bad.extend(together(unit));
    bad.sort_by_key(|bad| bad.line);
    bad
}

/// What is wrong with one assignment.
fn value(assignment: &Assignment<'_>) -> Option<BadLine> {
    let Assignment { section, key, value, line } = *assignment;
    let known = KNOWN.iter().find(|(in_section, name, _)| (*in_section, *name) == (section, key));
    let takes = known.map(|(.., takes)| *takes)?;
    let why = if value.is_empty() { None } else { takes.refuses(value) };
    why.map(|why| BadLine { line, what: format!("{key}={value} {why}") })
}

impl Takes {
    /// Why a value is none.
    fn refuses(self, value: &str) -> Option<String> {
        match self {
            Self::Words(words) if words.contains(&value) => None,
            Self::Words(words) => Some(format!("is none of {}", words.join(", "))),
            Self::YesNoOr(words) if words.contains(&value) || is_yes_or_no(value) => None,
            Self::YesNoOr(words) => {
                Some(format!("is none of {}", [&["yes", "no"], words].concat().join(", ")))
            }
            Self::Time if is_time_span(value) => None,
            Self::Time => Some("is no time span, such as 30s, 1min 30s or infinity".to_owned()),
            Self::Number if is_number(value) => None,
            Self::Number => Some("is no number".to_owned()),
            Self::Command => command(value),
            Self::Directory => {
                let path = value.strip_prefix('-').unwrap_or(value);
                (path != "~" && !is_absolute(path)).then(|| "is not an absolute path".to_owned())
            }
        }
    }
}

/// `parse_boolean()` of systemd.
fn is_yes_or_no(value: &str) -> bool {
    const ALL: [&str; 12] = ["1", "yes", "y", "true", "t", "on", "0", "no", "n", "false", "f", "off"];
    ALL.iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// `safe_atou()` of systemd, but for octal and binary ones.
fn is_number(value: &str) -> bool {
    let hexadecimal = value.strip_prefix("0x").is_some_and(|digits| u32::from_str_radix(digits, 16).is_ok());
    hexadecimal || value.parse::<u32>().is_ok()
}

/// Specifiers may be what makes it one.
fn is_absolute(path: &str) -> bool {
    path.starts_with(['/', '%'])
}

/// What hinders running a command line: each program is an absolute path, or a name that systemd looks up
/// (systemd.service(5), "Command lines").
fn command(value: &str) -> Option<String> {
    commands(value).into_iter().find_map(|command| {
        let program = command.trim_start_matches(['@', '-', ':', '+', '!']);
        let program = program.trim_start_matches(['"', '\'']);
        let program = &program[..program.find([' ', '\t', '"', '\'']).unwrap_or(program.len())];
        if program.is_empty() {
            return Some("names no program".to_owned());
        }
        let name = !program.contains('/') && program != "." && program != "..";
        let why = "is neither an absolute path nor the name of a program";
        let fit = (is_absolute(program) || name) && !program.ends_with('/');
        (!fit).then(|| format!("can't be run: {program} {why}"))
    })
}

/// The commands of a value: several stand between words that are `;`, unquoted.
fn commands(value: &str) -> Vec<&str> {
    let (mut commands, mut start, mut quote, mut word_begins) = (Vec::new(), 0, None, true);
    let mut letters = value.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let ends = letters.peek().is_none_or(|(_, next)| next.is_whitespace());
        match (letter, quote) {
            (';', None) if word_begins && ends => {
                commands.push(value[start..at].trim());
                start = at + 1;
            }
            ('\\', _) => drop(letters.next()),
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if letter == open => quote = None,
            _ => {}
        }
        word_begins = quote.is_none() && letter.is_whitespace();
    }
    commands.push(value[start..].trim());
    commands
}

/// What assignments can't be together. Where they were added or nothing is assigned, the first that counts is the line.
fn together(unit: &UnitFile) -> Vec<BadLine> {
    let service = |key: &str| unit.last("Service", key).unwrap_or_default();
    let line = |key: &str| {
        let of_key = unit.assignments().filter(|a| a.section == "Service" && a.key == key);
        of_key.map(|a| a.line).last().unwrap_or_default()
    };
    let oneshot = service("Type") == "oneshot";
    let mut bad = Vec::new();
    let mut refuse = |key: &str, what: String| bad.push(BadLine { line: line(key), what });
    let starts: usize = unit.all("Service", "ExecStart").iter().map(|value| commands(value).len()).sum();
    if starts > 1 && !oneshot {
        let kind = Some(service("Type")).filter(|kind| !kind.is_empty()).unwrap_or("simple");
        refuse(
            "ExecStart",
            format!(
                "ExecStart= has {starts} commands, and only Type=oneshot can have more than one; it is {kind}"
            ),
        );
    }
    if oneshot && matches!(service("Restart"), "always" | "on-success") {
        refuse("Restart", format!("Restart={} can't be with Type=oneshot", service("Restart")));
    }
    if service("Type") == "dbus" && service("BusName").is_empty() {
        refuse("Type", "Type=dbus needs a BusName=".to_owned());
    }
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        check(&UnitFile::parse(text).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_systemd_takes_passes() {
        let text = "[Unit]\nDefaultDependencies=No\nStartLimitIntervalSec=0\nStartLimitBurst=5\nFailureAction=reboot\n\
            Restart=in another section\n[Service]\nType=notify-reload\nRestart=on-abnormal\nRestart=\nTimeoutStopSec=1min 30s\n\
            WatchdogSec=infinity\nRestartSec=.5\nRemainAfterExit=t\nProtectSystem=strict\nExecStartPre=@-/bin/a b\n\
            ExecStartPre=+\"/bin/a b\" c\nExecStartPre=-:ls -l\nExecStartPre=%h/bin/x\nExecReload=/bin/kill -s HUP $MAINPID\n\
            ExecStart=/a\nExecStart=\nExecStart=/b 'c ; d' \\; ;e\nWorkingDirectory=-/x\nWorkingDirectory=~\nFuture=value\n[X-y]\nz\n";
        assert_eq!(told(text), [""; 0]);
        assert_eq!(
            told("[Service]\nType=oneshot\nExecStart=/a\nExecStart=/b\nRestart=on-failure\n"),
            [""; 0]
        );
    }

    #[test]
    fn what_systemd_passes_over_or_refuses_is_told_by_line() {
        for (line, what) in [
            (
                "Restart=sometimes",
                "Restart=sometimes is none of no, always, on-success, on-failure, on-abnormal, on-abort, on-watchdog",
            ),
            (
                "Type=none",
                "Type=none is none of simple, exec, forking, oneshot, dbus, notify, notify-reload, idle",
            ),
            (
                "Type=Simple",
                "Type=Simple is none of simple, exec, forking, oneshot, dbus, notify, notify-reload, idle",
            ),
            ("KillMode=all", "KillMode=all is none of control-group, mixed, process, none"),
            ("NotifyAccess=yes", "NotifyAccess=yes is none of none, main, exec, all"),
            ("RemainAfterExit=sure", "RemainAfterExit=sure is none of yes, no"),
            ("ProtectHome=rw", "ProtectHome=rw is none of yes, no, read-only, tmpfs"),
            ("TimeoutStopSec=soon", "TimeoutStopSec=soon is no time span, such as 30s, 1min 30s or infinity"),
            ("StartLimitBurst=few", "StartLimitBurst=few is no number"),
            (
                "ExecStop=bin/x",
                "ExecStop=bin/x can't be run: bin/x is neither an absolute path nor the name of a program",
            ),
            (
                "ExecStop=-./x y",
                "ExecStop=-./x y can't be run: ./x is neither an absolute path nor the name of a program",
            ),
            ("ExecStop=-", "ExecStop=- names no program"),
            (
                "ExecStop=/x ';' a ; b/c ;",
                "ExecStop=/x ';' a ; b/c ; can't be run: b/c is neither an absolute path nor the name of a program",
            ),
            (
                "ExecStart=/y",
                "ExecStart= has 2 commands, and only Type=oneshot can have more than one; it is simple",
            ),
            ("WorkingDirectory=x", "WorkingDirectory=x is not an absolute path"),
            ("Type=dbus", "Type=dbus needs a BusName="),
            ("Type=oneshot\nRestart=always", "Restart=always can't be with Type=oneshot"),
        ] {
            let text = format!("[Service]\nExecStart=/x\n\n{line}\n");
            let number = text.lines().count();
            assert_eq!(told(&text), [format!("line {number}: {what}")], "{line}");
        }
        assert_eq!(
            told("[Service]\nExecStart=/a\nRestart=x\nExecStart=b/c\n"),
            [
                "line 3: Restart=x is none of no, always, on-success, on-failure, on-abnormal, on-abort, on-watchdog",
                "line 4: ExecStart=b/c can't be run: b/c is neither an absolute path nor the name of a program",
                "line 4: ExecStart= has 2 commands, and only Type=oneshot can have more than one; it is simple",
            ]
        );
    }
}
