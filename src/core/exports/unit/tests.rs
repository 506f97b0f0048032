use std::collections::BTreeMap;

use super::*;

fn fitted(unit: &str, form: Form, runs: Runs) -> Result<Fitted> {
    let fit = Fit {
        name: &"web".parse().unwrap(),
        form,
        runs,
        stop_signal: &Signal::term(),
        stop_timeout: Duration::from_millis(15_000),
    };
    super::fit(&Expanded::literal(unit.as_bytes()), &fit)
}

/// The unit's `[Service]` as one line, what every fitted unit has left out.
fn service(fitted: &Fitted) -> String {
    const COMMON: [&str; 5] = [
        "Delegate=yes",
        "KillMode=mixed",
        "SuccessExitStatus=143",
        "TimeoutStopSec=15s",
        "SyslogIdentifier=web",
    ];
    let unit = UnitFile::parse(&fitted.text).unwrap();
    let service: Vec<String> = unit
        .assignments()
        .filter(|a| a.section == "Service")
        .map(|a| format!("{}={}", a.key, a.value))
        .collect();
    for line in COMMON {
        assert!(service.iter().any(|own| own == line), "{line} is missing in {}", fitted.text);
    }
    let own: Vec<&str> = service.iter().map(String::as_str).filter(|line| !COMMON.contains(line)).collect();
    own.join("|")
}

#[test]
fn the_form_is_the_templates() {
    for (text, runs, form) in [
        ("ExecStart=$EXEC_START\n", Runs::Always, Form::Foreground),
        ("ExecStopPost=$EXEC_STOPPOST\nPIDFile=$PIDFILE\n", Runs::Always, Form::Detached),
        ("ExecStopPost=${EXEC_STOPPOST}\nPIDFile=${PIDFILE}\n", Runs::Always, Form::Detached),
        ("ExecStopPost=$EXEC_STOPPOST\n", Runs::Always, Form::Foreground),
        ("# $$PIDFILE\nExecStopPost=$EXEC_STOPPOST\n", Runs::Always, Form::Foreground),
        ("Type = notify\n", Runs::Always, Form::Notify),
        ("Type=notify\nExecStopPost=$EXEC_STOPPOST\nPIDFile=$PIDFILE\n", Runs::Always, Form::Notify),
        ("ExecStopPost=$EXEC_STOPPOST\nPIDFile=$PIDFILE\n", Runs::Once, Form::Foreground),
        (DEFAULT, Runs::Always, Form::Detached),
    ] {
        let text = if text == DEFAULT { text.to_owned() } else { format!("[Service]\n{text}") };
        let expanded = template::expand(text.as_bytes(), &BTreeMap::new());
        assert_eq!(super::form(text.as_bytes(), &expanded, runs), form, "{text}");
    }
    let text = b"[Service]\nType=$KIND\n$MORE\nExecStart=$EXEC_START\n";
    for (kind, more, form) in [
        ("notify", "", Form::Notify),
        ("simple", "", Form::Foreground),
        ("notify", "Type=exec", Form::Foreground),
        ("simple", "Environment=A\nType=notify-reload", Form::Notify),
        ("notify", "[Unit]\nType=exec\n[Service]", Form::Notify),
    ] {
        let values = [("KIND", kind), ("MORE", more)].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expanded = template::expand(text, &values.into());
        assert_eq!(super::form(text, &expanded, Runs::Always), form, "{kind} {more}");
    }
}

/// Template's `[Service]` (RUN, DETACHED, STOP and CLEAN stand for the commands), form, what becomes of it, what is told.
const FITS: &[(&str, Form, Runs, &str, &str)] = &[
    ("RUN|STOP", Form::Foreground, Runs::Always, "RUN|STOP|Type=simple|CLEAN", ""),
    (
        "Type=forking|PIDFile=/x|RUN",
        Form::Foreground,
        Runs::Always,
        "Type=simple|RUN|CLEAN|STOP",
        "Type=forking does not fit how the container is started; Type=simple is used",
    ),
    ("Type=exec|RUN", Form::Foreground, Runs::Always, "Type=exec|RUN|CLEAN|STOP", ""),
    (
        "DETACHED|ExecStopPost=/usr/bin/sysctr stop --force web|PIDFile=/run/sysctr/web/pid",
        Form::Detached,
        Runs::Always,
        "DETACHED|CLEAN|PIDFile=/run/sysctr/web/pid|Type=forking|STOP",
        "",
    ),
    (
        "Type=simple|DETACHED",
        Form::Detached,
        Runs::Always,
        "Type=forking|DETACHED|PIDFile=/run/sysctr/web/pid|CLEAN|STOP",
        "Type=simple does not fit how the container is started; Type=forking is used",
    ),
    (
        "Type=notify|NotifyAccess=main|RUN",
        Form::Notify,
        Runs::Always,
        "Type=notify|NotifyAccess=all|RUN|WatchdogSignal=SIGKILL|CLEAN|STOP",
        "",
    ),
    (
        "Restart=always|RUN",
        Form::Foreground,
        Runs::Once,
        "Restart=on-failure|RUN|Type=oneshot|RemainAfterExit=yes|CLEAN|STOP",
        "Restart=always can't be with Type=oneshot; Restart=on-failure is used",
    ),
    (
        "RUN|ExecStopPost=--/usr/bin/sysctr stop --force web|ExecStopPost=/bin/rm -f /run/x",
        Form::Foreground,
        Runs::Always,
        "RUN|CLEAN|ExecStopPost=/bin/rm -f /run/x|Type=simple|STOP",
        "",
    ),
];

fn spelled(text: &str) -> String {
    text.replace("RUN", "ExecStart=/usr/bin/sysctr run web")
        .replace("DETACHED", "ExecStart=/usr/bin/sysctr run --detach web")
        .replace("STOP", "ExecStop=/usr/bin/sysctr stop web")
        .replace("CLEAN", "ExecStopPost=-/usr/bin/sysctr stop --force web")
}

#[test]
fn the_type_fits_whatever_the_template_says() {
    for (text, form, runs, expected, told) in FITS {
        let unit = format!("[Service]\n{}\n[Install]\nWantedBy=a.target\n", spelled(text).replace('|', "\n"));
        let fitted = fitted(&unit, *form, *runs).unwrap();
        assert_eq!(self::service(&fitted), spelled(expected), "{text}");
        let told_all: Vec<_> = fitted
            .warnings
            .iter()
            .map(|told| told.strip_prefix("exports/service.template: ").unwrap())
            .collect();
        assert_eq!(told_all.join("|"), *told, "{text}");
        assert_eq!(fitted.starts, Starts::Container(*form));
    }
}

#[test]
fn what_the_template_says_itself_stays() {
    let text = "# ours\n[Service]\nExecStart=/bin/sh -c 'exec /usr/bin/sysctr run web'\nKillMode=process\nTimeoutSec=1h\n\
        SuccessExitStatus=7\nSyslogIdentifier=x\nDelegate=cpu\n\n[Install]\nRequiredBy=docker.service\n";
    let fitted = fitted(text, Form::Foreground, Runs::Always).unwrap();
    assert_eq!(
        fitted.text,
        "# ours\n[Service]\nExecStart=/bin/sh -c 'exec /usr/bin/sysctr run web'\nKillMode=process\nTimeoutSec=1h\n\
         SuccessExitStatus=7\nSyslogIdentifier=x\nDelegate=cpu\nType=simple\n\
         ExecStopPost=-/usr/bin/sysctr stop --force web\nExecStop=/usr/bin/sysctr stop web\n\n\
         [Install]\nRequiredBy=docker.service\n"
    );
    assert_eq!(fitted.warnings, [""; 0]);
}

#[test]
fn a_unit_that_runs_something_else_stays_as_it_is() {
    let text = "[Service]\nExecStartPre=/usr/lib/containers/atomic/web/rootfs/set_mounts.sh\nType=simple\nExecStart=/usr/bin/python3 agent\n";
    let fitted = fitted(text, Form::Foreground, Runs::Always).unwrap();
    assert_eq!((fitted.text.as_str(), fitted.starts), (text, Starts::HostProgram));
    assert_eq!(
        fitted.warnings,
        [
            "exports/service.template: ExecStart= does not start the container ($EXEC_START); the unit is used as it is",
            "exports/service.template: ExecStartPre= runs a program of the image on the host, outside the container: \
             /usr/lib/containers/atomic/web/rootfs/set_mounts.sh",
            "exports/service.template: it has no [Install], so nothing starts it at boot",
        ]
    );
}

#[test]
fn what_is_no_service_is_refused() {
    for (unit, message) in [
        ("[Unit]\nDescription=x\n", "it has no ExecStart= in a section [Service]"),
        ("ExecStart=x\n", "line 1: \"ExecStart=x\" stands before the first [Section]"),
        (
            "[Service]\nType=oneshot\nExecStart=/usr/bin/sysctr run --detach web\nExecStart=/bin/x\n",
            "line 4: ExecStart= has 2 commands, and only Type=oneshot can have more than one; it is forking",
        ),
        (
            "[Service]\nRestart=sometimes\nExecStart=x\n",
            "line 2: Restart=sometimes is none of no, always, on-success, on-failure, on-abnormal, on-abort, on-watchdog",
        ),
        (
            "[Service]\nExecStart=x\n[Install]\nAlso=x\n",
            "reading [Install]: Also=x: \"x\" is not a unit's name with its suffix, such as network.target",
        ),
    ] {
        let form = if unit.contains("--detach") { Form::Detached } else { Form::Foreground };
        let error = format!("{:#}", fitted(unit, form, Runs::Always).unwrap_err());
        assert_eq!(error, format!("reading exports/service.template: {message}"));
    }
}

#[test]
fn lines_are_told_as_the_template_has_them() {
    let text = b"[Service]\nEnvironment=$LINES\nRestart=never\nExecStart=$NONE\nExecStart=/a\nKillMode=x$NONE\nExecStart=/b\nType=y\n";
    let values = BTreeMap::from([("LINES".to_owned(), "A=1\nType=z\nEnvironment=B".to_owned())]);
    let expanded = template::expand(text, &values);
    let told: Vec<_> = wrong_lines(&expanded)
        .iter()
        .map(|bad| (bad.line, bad.what.split(' ').next().unwrap().to_owned()))
        .collect();
    let expected = [(2, "Type=z"), (3, "Restart=never"), (8, "Type=y")];
    assert_eq!(told, expected.map(|(line, what)| (line, what.to_owned())));
}
