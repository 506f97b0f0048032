//! What holds for any settings and any image.

use proptest::prelude::*;

use super::{complete, prepared};
use crate::bundle::testing::{Case, tree};
use crate::settings::{AbsolutePath, Limits, Mount, Propagation, Volume};
use crate::tree::lookup::Found;

/// Texts that try to break out of their line or word.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n[Service]\nExecStart=/bin/evil".to_owned()),
        Just("\\".to_owned()),
        Just("\\\n".to_owned()),
        Just("%n%".to_owned()),
        Just("\"' ".to_owned()),
        Just("\r".to_owned()),
        Just("\u{85}\u{2028}".to_owned()),
        Just(";#=$".to_owned()),
        "[ -~é]{0,6}",
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn path(text: &str) -> Option<AbsolutePath> {
    AbsolutePath::try_from(format!("/{text}")).ok().filter(|path| path.as_str() != "/")
}

/// Splits a unit as systemd does (systemd.syntax(7)), on its own: logical lines, `[section]`, `key=value`.
fn read_unit(text: &str) -> Vec<(String, String, String)> {
    let (mut section, mut found, mut pending) = (String::new(), Vec::new(), String::new());
    for line in text.split(['\n', '\r', '\0']) {
        let trimmed = line.trim_matches([' ', '\t']);
        if trimmed.starts_with(['#', ';']) {
            continue;
        }
        pending.push_str(trimmed);
        if pending.chars().rev().take_while(|&c| c == '\\').count() % 2 == 1 {
            pending.pop();
            pending.push(' ');
            continue;
        }
        let line = std::mem::take(&mut pending);
        if line.starts_with('[') {
            section = line;
        } else if !line.is_empty() {
            let (key, value) = line.split_once('=').expect("an assignment");
            found.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    assert_eq!(pending, "", "the last line goes on");
    found
}

/// Splits and unquotes a list as systemd does with EXTRACT_UNQUOTE, then expands `%%`; `None` where systemd complains.
fn words(value: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (_, '\\') => word.push(characters.next()?),
            (Some(q), c) if q == c => quote = None,
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ' | '\t') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
                continue;
            }
            (None, c) => word.push(c),
        }
        begun = true;
    }
    if begun {
        words.push(word);
    }
    if quote.is_some() {
        return None;
    }
    words.into_iter().map(|word| specifiers(&word)).collect()
}

/// `%%` → `%`; `None` for any other specifier.
fn specifiers(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '%' if characters.next()? != '%' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}

fn values<'a>(unit: &'a [(String, String, String)], key: &str) -> Vec<&'a str> {
    unit.iter().filter(|(_, known, _)| known == key).map(|(_, _, value)| value.as_str()).collect()
}

proptest! {
    #[test]
    fn no_text_adds_a_line_or_key_and_each_arrives_as_it_is(
        description in nasty(), title in nasty(), url in nasty(), host in nasty(), source in nasty(), device in nasty(),
        file in nasty(), credential in nasty(), value in nasty(),
    ) {
        let (Some(host), Some(source), Some(device), Some(file)) =
            (path(&host), path(&source), path(&format!("dev/x{device}")), path(&file))
        else {
            return Ok(());
        };
        prop_assume!(!host.as_str().ends_with("/.."));
        let mut case = Case::default();
        let settings = &mut case.settings;
        settings.unit.description = Some(description.clone());
        settings.unit.environment_files = vec![file.clone()];
        settings.unit.credentials = vec![format!("x:/{credential}")];
        settings.set.insert("x".into(), value);
        settings.limits = Limits { cpu: Some("10%".to_owned().try_into().unwrap()), ..Limits::default() };
        settings.run.devices = vec![device.clone()];
        settings.run.volumes.insert("/data".to_owned().try_into().unwrap(), Volume::Host(host.clone()));
        let target = "/mnt".to_owned().try_into().unwrap();
        let propagation = Propagation::Private;
        settings.run.mounts = vec![Mount { source: source.clone(), target, ro: false, file: false, propagation }];
        case.image.labels.insert("org.opencontainers.image.title".into(), title);
        case.image.labels.insert("org.opencontainers.image.url".into(), url);
        let untitled = Case { settings: case.settings.clone(), ..Case::default() };
        // What can't stand in a unit is an error; everything else reads back.
        let Ok(made) = prepared(&case) else {
            prop_assert!(prepared(&untitled).is_err(), "a label is never the reason");
            return Ok(());
        };
        let unit = read_unit(std::str::from_utf8(&made.unit).unwrap());
        let keys = |unit: &[(String, String, String)]| {
            unit.iter().map(|(section, key, _)| format!("{section}{key}")).collect::<Vec<_>>()
        };
        let mut benign = Case::with_settings(
            r#"{"limits": {"cpu": "10%"}, "unit": {"description": "x", "credentials": ["x"]},
                "run": {"devices": ["/dev/x"], "volumes": {"/data": "/h"}}}"#,
        );
        let mut distinct = vec![host.clone(), source, file];
        distinct.sort();
        distinct.dedup();
        benign.settings.unit.environment_files =
            (1..distinct.len()).map(|i| path(&format!("f{i}")).unwrap()).collect();
        let expected = read_unit(std::str::from_utf8(&prepared(&benign).unwrap().unit).unwrap());
        prop_assert_eq!(keys(&unit), keys(&expected));
        prop_assert_eq!(specifiers(values(&unit, "Description")[0]), Some(description));
        let mounts: Option<Vec<_>> = values(&unit, "RequiresMountsFor").iter().map(|value| words(value)).collect();
        let distinct = distinct.iter().map(|path| vec![path.as_str().to_owned()]).collect::<Vec<_>>();
        prop_assert_eq!(mounts, Some(distinct));
        prop_assert_eq!(
            words(values(&unit, "DeviceAllow")[0]),
            Some(vec![device.as_str().to_owned(), "rw".to_owned()])
        );
        prop_assert_eq!(values(&unit, "CPUQuota"), ["10%"]);
    }
}

/// Names that meet: few letters, links among them, and places where something is mounted anyway.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]",
        "[ab]/[ab]",
        "[ab]/[ab]/[ab]",
        Just("run/x".to_owned()),
        Just("var".to_owned()),
        Just("var/run".to_owned()),
        Just("etc/hosts".to_owned()),
    ]
}

fn entry() -> impl Strategy<Value = (String, String)> {
    let kind = prop_oneof![
        Just("/".to_owned()),
        Just("".to_owned()),
        name().prop_map(|to| format!(" -> /{to}")),
        name().prop_map(|to| format!(" -> ../{to}")),
    ];
    (name(), kind)
}

fn case() -> impl Strategy<Value = Case> {
    let names = || proptest::collection::vec(name(), 0..3);
    (proptest::collection::vec(entry(), 0..8), names(), names(), names(), name()).prop_map(
        |(mut entries, mounts, tmpfs, volumes, cwd)| {
            entries.sort();
            entries.dedup_by(|a, b| a.0 == b.0);
            let mut lines: Vec<String> = Vec::new();
            for (name, kind) in entries {
                let has_parent =
                    name.rsplit_once('/').is_none_or(|(up, _)| lines.contains(&format!("{up}/")));
                if has_parent {
                    lines.push(format!("{name}{kind}"));
                }
            }
            let mut case =
                Case { tree: tree(&lines.iter().map(String::as_str).collect::<Vec<_>>()), ..Case::default() };
            let propagation = Propagation::Private;
            let source: AbsolutePath = "/s".to_owned().try_into().unwrap();
            case.settings.run.mounts = mounts
                .iter()
                .map(|t| Mount {
                    source: source.clone(),
                    target: path(t).unwrap(),
                    ro: false,
                    file: t.len() == 3,
                    propagation,
                })
                .collect();
            case.settings.run.tmpfs = tmpfs.iter().map(|t| path(t).unwrap()).collect();
            case.image.volumes = volumes.iter().map(|v| format!("/{v}")).collect();
            case.image.working_dir = format!("/{cwd}");
            case
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_mount_has_its_place_and_parents_come_first(case in case()) {
        let Ok(made) = prepared(&case) else { return Ok(()) };
        let complete = complete(&case, &made);
        let config: serde_json::Value = serde_json::from_slice(&made.config_json).unwrap();
        let mut earlier: Vec<String> = Vec::new();
        for mount in config["mounts"].as_array().unwrap() {
            let destination = mount["destination"].as_str().unwrap().to_owned();
            let inside = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
            prop_assert!(!earlier.contains(&destination), "{destination} twice");
            prop_assert!(!earlier.iter().any(|known| inside(known, &destination)), "{destination} hides another");
            if !earlier.iter().any(|known| inside(&destination, known)) {
                let resolved = complete.resolve(destination.as_bytes()).unwrap();
                prop_assert_eq!(resolved.path.as_bytes(), &destination.as_bytes()[1..], "a link is in the way");
                match mount["type"].as_str().unwrap() {
                    "bind" => prop_assert!(resolved.found != Found::Missing),
                    _ => prop_assert!(matches!(resolved.found, Found::Dir(_)), "{}", destination),
                }
            }
            earlier.push(destination);
        }
        for seed in &made.launch.volumes {
            prop_assert!(earlier.contains(&seed.image.as_str().to_owned()));
        }
        // Nothing but these differs between two runs either.
        let again = prepared(&case).unwrap();
        prop_assert_eq!((made.config_json, made.unit, made.mount_targets), (again.config_json, again.unit, again.mount_targets));
    }
}
