//! What the manifest says over a unit that an image brings, and the device rules of its configuration.

use anyhow::{Context, Result, bail};

use super::{FILE, Fitted, Starts, UnitFile, Whose, install};
use crate::exports::Form;
use crate::exports::config::DevicePolicy;
use crate::name::ContainerName;
use crate::settings::{Restart, Settings, Signal};
use crate::units::{self, Over, Wish};

/// What comes over a unit.
pub struct Overlay<'a> {
    /// The container.
    pub name: &'a ContainerName,
    /// The manifest's word, of which `wishes` are made.
    pub settings: &'a Settings,
    /// Assignments.
    pub wishes: &'a [Wish],
    /// What the configuration lets through; a unit that has its own word keeps it.
    pub devices: &'a DevicePolicy,
    /// What asks the payload to stop.
    pub stop_signal: &'a Signal,
}

/// Puts the manifest's word over a unit. `[Install]` is read again.
///
/// # Errors
/// When a setting can't mean anything for this unit; the message begins with it.
pub fn overlay(fitted: Fitted, over: &Overlay<'_>) -> Result<Fitted> {
    let unit = UnitFile::of_template(&fitted.text, &fitted.lines);
    let mut unit = unit.with_context(|| format!("reading {FILE}"))?;
    refuse(&fitted, &unit, over.settings)?;
    let starts = matches!(fitted.starts, Starts::Container(_));
    let own = ["DevicePolicy", "DeviceAllow"].iter().any(|key| unit.last("Service", key).is_some());
    if starts
        && !own
        && let DevicePolicy::Closed(allowed) = over.devices
    {
        unit.add("Service", "DevicePolicy", "closed");
        for (what, access) in allowed {
            unit.add("Service", "DeviceAllow", &format!("{what} {access}"));
        }
    }
    for Wish { section, key, value, over: how, .. } in over.wishes {
        // Without a policy everything is allowed, and one more line would close it.
        let open = *key == "DeviceAllow" && unit.last("Service", "DevicePolicy").is_none() && !own;
        match how {
            // What fits the way of starting may say the same already.
            Over::Adds if unit.all(section, key).contains(&value.as_str()) => {}
            _ if open => {}
            Over::Replaces if value.is_empty() => unit.remove(section, key),
            Over::Replaces => unit.set(section, key, value),
            Over::Adds => unit.add(section, key, value),
            Over::Yields if unit.last(section, key).is_some() => {}
            Over::Yields if *key == "TimeoutStartSec" && unit.last("Service", "TimeoutSec").is_some() => {}
            Over::Yields => unit.add(section, key, value),
        }
    }
    if starts {
        force_restart(&mut unit, over.stop_signal);
    } else if let Some(pids) = over.settings.limits.pids {
        // Nothing of ours runs beside what it starts.
        unit.set("Service", "TasksMax", &pids.to_string());
    }
    let install = install(&over.name.unit(), &unit, Whose::Own).with_context(|| format!("reading {FILE}"))?;
    Ok(Fitted { text: unit.to_string(), lines: unit.lines(), install, ..fitted })
}

/// systemd refuses it for what runs to its end.
fn force_restart(unit: &mut UnitFile, stop: &Signal) {
    let forced = units::forced_restart(unit.last("Service", "Restart").unwrap_or("no"), stop);
    let silent = unit.last("Service", "RestartForceExitStatus").is_none();
    if let Some(forced) = forced
        && silent
        && unit.last("Service", "Type") != Some("oneshot")
    {
        unit.add("Service", "RestartForceExitStatus", &forced);
    }
}

fn refuse(fitted: &Fitted, unit: &UnitFile, settings: &Settings) -> Result<()> {
    let wanted = &settings.unit;
    if fitted.starts == Starts::HostProgram {
        for (setting, given) in [
            ("unit.notify", wanted.notify),
            ("unit.health", wanted.health.is_some()),
            ("unit.environment_files", !wanted.environment_files.is_empty()),
        ] {
            if given {
                bail!(
                    "{setting}: {FILE} of the image does not start the container ($EXEC_START); take it out"
                );
            }
        }
    }
    if unit.last("Service", "Type") != Some("oneshot") {
        return Ok(());
    }
    let ends = format!("the unit runs to its end (Type=oneshot in {FILE}, or the label atomic.run=once)");
    if wanted.health.is_some() {
        bail!("unit.health: {ends}, so it is never up; take it out");
    }
    if fitted.starts == Starts::Container(Form::Notify) {
        bail!("unit.notify: {ends}, so it never tells that it is ready; take it out");
    }
    match wanted.restart {
        Some(restart @ (Restart::Always | Restart::OnSuccess)) => {
            bail!("unit.restart: {ends}, where systemd refuses Restart={}; choose another", restart.word())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Fit, Runs, fit};
    use super::*;
    use crate::exports::template::Expanded;
    use crate::settings::Duration;

    const UNIT: &str = "[Unit]\nDescription=x\nAfter=own.service\n\n[Service]\nExecStart=/usr/bin/sysctr run web\nRestart=always\n\
        MemoryMax=1G\n\n[Install]\nWantedBy=multi-user.target\nAlias=www.service\n";

    fn over(text: &str, runs: Runs, settings: &str, devices: &DevicePolicy) -> Result<Fitted> {
        let case = crate::bundle::testing::Case::with_settings(settings);
        let stop_signal = case.settings.run.stop_signal.clone().unwrap_or(Signal::term());
        let form = if case.settings.unit.notify { Form::Notify } else { Form::Foreground };
        let stop_timeout = Duration::from_millis(15_000);
        let fitted = fit(
            &Expanded::literal(text.as_bytes()),
            &Fit { name: &case.name, form, runs, stop_signal: &stop_signal, stop_timeout },
        )?;
        let wishes = units::wishes(&units::Source {
            name: &case.name,
            bundle: "/usr/lib/containers/atomic/web".into(),
            settings: &case.settings,
            image: &case.image,
            stop_signal: &stop_signal,
            volumes: &[],
            host_paths: &case.settings.unit.environment_files,
        })?;
        let over = Overlay {
            name: &case.name,
            settings: &case.settings,
            wishes: &wishes,
            devices,
            stop_signal: &stop_signal,
        };
        overlay(fitted, &over)
    }

    /// Lines that the settings change: `+` comes, `-` goes.
    fn changed(settings: &str) -> Vec<String> {
        let lines = |settings: &str| {
            let fitted = over(UNIT, Runs::Always, settings, &DevicePolicy::Open).unwrap();
            fitted.text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let (plain, changed) = (lines("{}"), lines(settings));
        let less = |from: &[String], what: &[String], sign: &str| -> Vec<String> {
            from.iter().filter(|line| !what.contains(line)).map(|line| format!("{sign}{line}")).collect()
        };
        [less(&plain, &changed, "-"), less(&changed, &plain, "+")].concat()
    }

    fn assert_changed(cases: &[(&str, &[&str])]) {
        for (settings, expected) in cases {
            let (mut changed, mut expected) = (changed(settings), expected.to_vec());
            changed.sort();
            expected.sort_unstable();
            assert_eq!(changed, expected, "{settings}");
        }
    }

    #[test]
    fn each_setting_has_its_lines_over_an_own_unit() {
        let cases: &[(&str, &[&str])] = &[
            ("{}", &[]),
            (
                r#"{"limits": {"memory": "512M", "pids": 9, "cpu": "50%"}}"#,
                &["-MemoryMax=1G", "+MemoryMax=512M", "+TasksMax=137", "+CPUQuota=50%"],
            ),
            (
                r#"{"unit": {"after": ["a.service"], "requires": ["b.service"], "before": ["c.target"]}}"#,
                &["+Requires=b.service", "+After=a.service b.service", "+Before=c.target"],
            ),
            (
                r#"{"unit": {"wanted_by": ["x.target"]}}"#,
                &["-WantedBy=multi-user.target", "+WantedBy=x.target"],
            ),
            (r#"{"unit": {"wanted_by": []}}"#, &["-WantedBy=multi-user.target"]),
            (r#"{"unit": {"restart": "no"}}"#, &["-Restart=always", "+Restart=no"]),
            (r#"{"unit": {"restart": "on-failure"}}"#, &["-Restart=always", "+Restart=on-failure"]),
            (r#"{"unit": {"description": "50%"}}"#, &["-Description=x", "+Description=50%%"]),
            (
                r#"{"unit": {"phase": "early"}}"#,
                &[
                    "-WantedBy=multi-user.target",
                    "+DefaultDependencies=no",
                    "+Conflicts=shutdown.target",
                    "+After=systemd-remount-fs.service",
                    "+Before=sysinit.target shutdown.target",
                    "+WantedBy=sysinit.target",
                ],
            ),
            (
                r#"{"unit": {"essential": true}}"#,
                &["+Before=boot-complete.target", "+RequiredBy=boot-complete.target"],
            ),
            (
                r#"{"unit": {"health": {"exec": ["/x"], "interval": "1s", "timeout": "5s"}}}"#,
                &["+ExecStartPost=/usr/bin/sysctr health web", "+TimeoutStartSec=95s"],
            ),
            (
                r#"{"unit": {"credentials": ["key:/etc/key"], "environment_files": ["/etc/x y"]}}"#,
                &["+RequiresMountsFor=\"/etc/x y\"", "+LoadCredential=key:/etc/key"],
            ),
            (r#"{"run": {"devices": ["/dev/kvm"]}}"#, &[]),
        ];
        assert_changed(cases);
    }

    #[test]
    fn a_stop_by_sigkill_is_a_good_end_and_a_kill_is_followed_by_a_restart() {
        assert_changed(&[
            (
                r#"{"run": {"stop_timeout": "1m", "stop_signal": "SIGKILL"}}"#,
                &[
                    "-SuccessExitStatus=143",
                    "-TimeoutStopSec=15s",
                    "+TimeoutStopSec=65s",
                    "+KillSignal=SIGKILL",
                    "+SuccessExitStatus=137 SIGKILL",
                ],
            ),
            (
                r#"{"run": {"stop_signal": "SIGKILL"}, "unit": {"restart": "on-failure"}}"#,
                &[
                    "-SuccessExitStatus=143",
                    "-Restart=always",
                    "+Restart=on-failure",
                    "+KillSignal=SIGKILL",
                    "+SuccessExitStatus=137 SIGKILL",
                    "+RestartForceExitStatus=137 SIGKILL",
                ],
            ),
            (
                r#"{"run": {"stop_signal": "SIGKILL"}, "unit": {"restart": "on-abort"}}"#,
                &[
                    "-SuccessExitStatus=143",
                    "-Restart=always",
                    "+Restart=on-abort",
                    "+KillSignal=SIGKILL",
                    "+SuccessExitStatus=137 SIGKILL",
                    "+RestartForceExitStatus=SIGKILL",
                ],
            ),
        ]);
    }

    #[test]
    fn links_are_those_of_the_changed_unit() {
        let settings = r#"{"unit": {"wanted_by": ["x.target"], "essential": true}}"#;
        let fitted = over(UNIT, Runs::Always, settings, &DevicePolicy::Open).unwrap();
        let links: Vec<_> = fitted.install.links.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            links,
            ["boot-complete.target.requires/web.service", "www.service", "x.target.wants/web.service"]
        );
    }

    #[test]
    fn devices_are_the_configurations_and_a_units_own_word_stays() {
        let closed = DevicePolicy::Closed(BTreeMap::from([("/dev/char/10:229".to_owned(), "rw".to_owned())]));
        let of = |unit: &str, settings: &str, devices| {
            let fitted = over(unit, Runs::Always, settings, devices).unwrap();
            let lines = fitted.text.lines().filter(|line| line.starts_with("Device"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let kvm = r#"{"run": {"devices": ["/dev/kvm"]}}"#;
        assert_eq!(
            of(UNIT, kvm, &closed),
            ["DevicePolicy=closed", "DeviceAllow=/dev/char/10:229 rw", "DeviceAllow=/dev/kvm rw"]
        );
        assert_eq!(of(UNIT, kvm, &DevicePolicy::Open), [""; 0]);
        let own = UNIT.replace("MemoryMax=1G", "DevicePolicy=strict");
        assert_eq!(of(&own, kvm, &closed), ["DevicePolicy=strict", "DeviceAllow=/dev/kvm rw"]);
        let other = UNIT.replace("/usr/bin/sysctr run web", "/usr/bin/python3 x");
        assert_eq!(of(&other, "{}", &closed), [""; 0]);
    }

    #[test]
    fn what_a_unit_cannot_mean_is_refused_by_name() {
        let once = "the unit runs to its end (Type=oneshot in exports/service.template, or the label atomic.run=once)";
        let health = r#"{"unit": {"health": {"exec": ["/x"], "interval": "1s", "timeout": "5s"}}}"#;
        let host = UNIT.replace("/usr/bin/sysctr run web", "/usr/bin/python3 x");
        let host = host.as_str();
        for (unit, runs, settings, message) in [
            (UNIT, Runs::Once, health, format!("unit.health: {once}, so it is never up; take it out")),
            (
                UNIT,
                Runs::Once,
                r#"{"unit": {"notify": true}}"#,
                format!("unit.notify: {once}, so it never tells that it is ready; take it out"),
            ),
            (
                UNIT,
                Runs::Once,
                r#"{"unit": {"restart": "always"}}"#,
                format!("unit.restart: {once}, where systemd refuses Restart=always; choose another"),
            ),
            (
                host,
                Runs::Always,
                r#"{"unit": {"environment_files": ["/x"]}}"#,
                "unit.environment_files: exports/service.template of the image does not start the container \
                 ($EXEC_START); take it out"
                    .to_owned(),
            ),
        ] {
            let error = over(unit, runs, settings, &DevicePolicy::Open).unwrap_err().to_string();
            assert_eq!(error, message);
        }
        assert!(over(UNIT, Runs::Once, r#"{"unit": {"restart": "no"}}"#, &DevicePolicy::Open).is_ok());
    }
}
