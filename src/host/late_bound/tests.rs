use super::*;

fn launch(mode: &str, more: Value) -> Launch {
    let mut launch = json!({
        "mode": mode, "phase": "multi-user", "stop_signal": "SIGTERM", "stop_timeout": "10s"
    });
    launch.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(launch).unwrap()
}

/// A bundle's configuration with what a lossy reader would lose: numbers at the edges, unknown keys, a relative bind.
fn bundle_config() -> Value {
    json!({
        "root": { "path": "rootfs", "readonly": true },
        "process": { "env": ["PATH=/bin", "A=image"], "rlimits": [{ "hard": u64::MAX, "soft": -1 }] },
        "mounts": [
            { "destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"] },
            { "destination": "/etc/resolv.conf", "source": "/nowhere/resolv.conf", "options": ["rbind", "ro"] },
            { "destination": "/x", "type": "none", "source": "program", "options": ["bind"] },
            { "destination": "/y", "type": "bind", "source": "/nowhere/else" },
        ],
        "linux": { "cgroupsPath": "payload", "unheard": 1.5 },
    })
}

fn applied(changes: &Changes) -> Value {
    let mut config = bundle_config();
    changes.apply(&mut config, Utf8Path::new("/b"), Utf8Path::new("/run/sysctr/x")).unwrap();
    config
}

#[test]
fn without_late_bound_values_the_bundle_is_used_as_it_is() {
    let launch = launch("detached", json!({ "empty_if_missing": ["/proc/self/status"] }));
    let handed = Handed { notify_socket: Some("/run/systemd/notify".into()), ..Handed::default() };
    assert!(changes(&launch, &handed).unwrap().is_empty());
}

#[test]
fn a_changed_configuration_loses_nothing_and_names_no_relative_path() {
    let changes = Changes { cgroups_path: Some("/sysctr/x".into()), ..Changes::default() };
    let mut expected = bundle_config();
    expected["root"]["path"] = json!("/b/rootfs");
    expected["mounts"][2]["source"] = json!("/b/program");
    expected["linux"]["cgroupsPath"] = json!("/sysctr/x");
    assert_eq!(applied(&changes), expected);
}

#[test]
fn a_missing_source_is_an_empty_file_and_only_that_one() {
    let launch =
        launch("detached", json!({ "empty_if_missing": ["/nowhere/resolv.conf", "/proc/self/status"] }));
    let config = applied(&changes(&launch, &Handed::default()).unwrap());
    assert_eq!(config["mounts"][1]["source"], "/run/sysctr/x/empty");
    assert_eq!(config["mounts"][3]["source"], "/nowhere/else");
}

#[test]
fn a_socket_that_a_bind_of_the_hosts_run_shows_is_not_mounted_again() {
    let socket = bind("/run/systemd/notify", "/run/systemd/notify", &["bind"]);
    let mount = |destination: &str, source: &str, option: &str| json!({ "destination": destination, "type": "bind", "source": source, "options": [option] });
    for (mounts, expected) in [
        (vec![mount("/run", "/run", "rbind")], true),
        (vec![mount("/", "/", "rbind"), mount("/run/", "/run", "rbind")], true),
        (vec![mount("/run", "/run", "bind")], false),
        (vec![mount("/run", "/srv", "rbind")], false),
        (vec![mount("/run", "/run", "rbind"), json!({ "destination": "/run", "type": "tmpfs" })], false),
        (vec![mount("/runs", "/runs", "rbind")], false),
        (vec![], false),
    ] {
        assert_eq!(shows(&mounts, &socket), expected, "{mounts:?}");
    }
}

#[test]
fn notify_binds_the_socket_and_passes_the_watchdog() {
    let handed = Handed {
        notify_socket: Some("/run/systemd/notify".into()),
        watchdog_usec: Some("3000000".into()),
        credentials_directory: None,
    };
    let config = applied(&changes(&launch("notify", json!({})), &handed).unwrap());
    assert_eq!(
        config["process"]["env"],
        json!(["PATH=/bin", "A=image", "NOTIFY_SOCKET=/run/systemd/notify", "WATCHDOG_USEC=3000000"])
    );
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
    assert_eq!(
        config["mounts"][4],
        json!({ "destination": "/run/systemd/notify", "type": "bind", "source": "/run/systemd/notify",
                "options": options })
    );
    let handed = Handed { notify_socket: Some("@systemd".into()), ..Handed::default() };
    assert_eq!(
        changes(&launch("notify", json!({})), &handed).unwrap_err().to_string(),
        "binding the notify socket @systemd: it has no path (an abstract socket); only a path can be bound"
    );
    // By hand, without systemd, nobody waits for READY.
    assert!(changes(&launch("notify", json!({})), &Handed::default()).unwrap().is_empty());
}

#[test]
fn environment_files_and_credentials_reach_the_payload_or_the_start_fails() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env").to_str().unwrap().to_owned();
    std::fs::write(&file, "A=host\nB=\"1 2\"\n").unwrap();
    let launch = launch("detached", json!({ "environment_files": [file], "credentials": true }));
    let handed =
        Handed { credentials_directory: Some("/run/credentials/x.service".into()), ..Handed::default() };
    let config = applied(&changes(&launch, &handed).unwrap());
    assert_eq!(
        config["process"]["env"],
        json!(["PATH=/bin", "A=host", "B=1 2", "CREDENTIALS_DIRECTORY=/run/credentials"])
    );
    assert_eq!(config["mounts"][4]["source"], "/run/credentials/x.service");
    assert_eq!(config["mounts"][4]["destination"], "/run/credentials");
    let error = changes(&launch, &Handed::default()).unwrap_err().to_string();
    assert!(error.starts_with("reading credentials: $CREDENTIALS_DIRECTORY is not set"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = format!("{:#}", changes(&launch, &handed).unwrap_err());
    assert_eq!(error, format!("reading environment file {file}: No such file or directory (os error 2)"));
}
