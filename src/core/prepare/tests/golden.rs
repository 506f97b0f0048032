//! Whole containers as text.

use super::{prepared, to_json};
use crate::bundle::testing::{Case, tree};
use crate::image::ImageConfig;

/// Everything that comes out, as one text. Of the seccomp filter only how much there is: it has tests of its own.
fn shown(case: &Case) -> String {
    let prepared = prepared(case).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&prepared.config_json).unwrap();
    if let Some(filter) = config["linux"].get_mut("seccomp") {
        *filter = format!("{} rules", filter["syscalls"].as_array().unwrap().len()).into();
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let unit = case.name.unit();
    let mut shown = format!("=== {unit}\n{}", text(prepared.unit));
    for (path, target) in &prepared.links {
        shown += &format!("=== {path} -> {target}\n");
    }
    shown += &format!("=== preset\n{}", text(prepared.preset));
    shown += &format!("=== tmpfiles\n{}", prepared.tmpfiles.map(text).unwrap_or_default());
    shown += "=== mount targets\n";
    for target in &prepared.mount_targets {
        shown += &format!("{:?} {}\n", target.kind, target.path);
    }
    shown += &format!("=== launch\n{}", text(to_json(&prepared.launch)));
    shown += &format!("=== warnings\n{}\n", prepared.warnings.join("\n"));
    shown + "=== config.json\n" + &text(to_json(&config))
}

/// nginx as Docker Hub has it, with binds, limits and health.
#[test]
fn nginx() {
    let mut case = Case::with_settings(
        r#"{
        "run": {
            "mounts": [{"source": "/etc/nginx/conf.d", "target": "/etc/nginx/conf.d", "ro": true},
                       {"source": "/srv/www", "target": "/var/www", "propagation": "slave"}],
            "tmpfs": ["/var/cache/nginx"],
            "rlimits": {"NOFILE": {"soft": 1024, "hard": 65536}}
        },
        "limits": {"memory": "256M", "pids": 64, "cpu": "150%"},
        "unit": {"after": ["network-online.target"], "requires": ["nss-lookup.target"],
                 "health": {"exec": ["/usr/sbin/nginx", "-t"], "timeout": "20s"}}
    }"#,
    );
    case.name = "nginx".parse().unwrap();
    let labels = [
        ("org.opencontainers.image.title", "nginx"),
        ("org.opencontainers.image.url", "https://nginx.org/%s"),
    ];
    case.image = ImageConfig {
        entrypoint: vec!["/docker-entrypoint.sh".into()],
        cmd: ["nginx", "-g", "daemon off;"].map(Into::into).into(),
        env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "NGINX_VERSION=1.22.1"].map(Into::into).into(),
        stop_signal: Some("SIGQUIT".into()),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..ImageConfig::default()
    };
    case.tree = tree(&[
        "dev/",
        "docker-entrypoint.sh",
        "etc/",
        "etc/hosts",
        "etc/nginx/",
        "etc/nginx/conf.d/",
        "etc/passwd",
        "etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf",
        "proc/",
        "run/",
        "run/lock/ 1777",
        "sys/",
        "tmp/ 1777",
        "var/",
        "var/cache/",
        "var/cache/nginx/ 750 101 102",
        "var/run -> /run",
        "var/tmp/ 1777",
    ]);
    case.passwd =
        Some(b"root:x:0:0:root:/root:/bin/bash\nnginx:x:101:102::/nonexistent:/bin/false\n".to_vec());
    case.group = Some(b"root:x:0:\nnginx:x:102:\n".to_vec());
    insta::assert_snapshot!(shown(&case));
}

/// A static daemon from scratch: one file, a number for a user, no /proc and no /etc. Early, without network.
#[test]
fn scratch() {
    let mut case = Case::with_settings(
        r#"{
        "enable": false,
        "run": {"network": "none", "seccomp": "unconfined", "no_new_privileges": false, "env": {"PATH": ""},
                "cap_drop": ["ALL"], "cap_add": ["net_bind_service"], "stop_signal": "SIGRTMIN+3",
                "stop_timeout": "1500ms", "cwd": "/var/empty"},
        "unit": {"phase": "early", "restart": "always", "essential": true, "description": "100% ready"}
    }"#,
    );
    case.name = "beacon".parse().unwrap();
    case.image = ImageConfig {
        cmd: vec!["/beacon".into()],
        user: "65534:65534".into(),
        stop_signal: Some("SIGWHATEVER".into()),
        ..ImageConfig::default()
    };
    case.tree = tree(&["beacon"]);
    insta::assert_snapshot!(shown(&case));
}

/// PostgreSQL: volumes, a user with one group more, a socket directory in /run that the image prepares, notify.
#[test]
fn postgres() {
    let mut case = Case::with_settings(
        r#"{
        "run": {"env": {"POSTGRES_PASSWORD_FILE": "/run/credentials/password"},
                "devices": ["/dev/net/tun"],
                "volumes": {"/backup": "/srv/my backups/100%", "/scratch": "tmpfs"}},
        "unit": {"notify": true, "credentials": ["password:/etc/secrets/pg"],
                 "environment_files": ["/etc/sysconfig/postgres"],
                 "wanted_by": ["app.target", "multi-user.target"], "before": ["app.service"]}
    }"#,
    );
    case.name = "postgres".parse().unwrap();
    case.image = ImageConfig {
        entrypoint: vec!["docker-entrypoint.sh".into()],
        cmd: vec!["postgres".into()],
        env: ["PGDATA=/var/lib/postgresql/data", "PGDATA=/data", "broken"].map(Into::into).into(),
        user: "postgres".into(),
        working_dir: "/var/lib/postgresql".into(),
        stop_signal: Some("SIGINT".into()),
        volumes: vec!["/data".into(), "/var/run/my-sockets".into(), "/proc".into()],
        ..ImageConfig::default()
    };
    case.tree = tree(&[
        "data/ 700 999 999",
        "run/",
        "run/postgresql/ 3777 999 999",
        "scratch/ 770 0 999",
        "scratch/seed",
        "usr/",
        "usr/local/",
        "usr/local/bin/",
        "usr/local/bin/docker-entrypoint.sh",
        "var/",
        "var/lib/",
        "var/lib/postgresql/",
        "var/run -> ../run",
    ]);
    case.passwd = Some(b"postgres:x:999:999::/var/lib/postgresql:/bin/bash\n".to_vec());
    case.group = Some(b"postgres:x:999:\nssl-cert:x:101:postgres\n".to_vec());
    insta::assert_snapshot!(shown(&case));
}

/// A name with all that names may have, and a sysinit unit with state.
#[test]
fn unfriendly_name() {
    let mut case = Case::with_settings(r#"{"unit": {"phase": "sysinit", "wanted_by": []}}"#);
    case.name = "0_a..b--C.socket.".parse().unwrap();
    case.image.volumes = vec!["/var/lib/my-app".into()];
    case.image.stop_signal = Some("SIGWHATEVER".into());
    insta::assert_snapshot!(shown(&case));
}

/// The phase between sysinit and basic, with everything that fails loudly: a user that gains nothing, no such program.
#[test]
fn basic() {
    let mut case = Case::with_settings(
        r#"{"run": {"user": "7", "cap_add": ["NET_ADMIN"], "read_only": false, "entrypoint": ["missing"]},
            "unit": {"phase": "basic", "restart": "no", "notify": true, "health": {"exec": ["x"]}}}"#,
    );
    case.name = "basic".parse().unwrap();
    insta::assert_snapshot!(shown(&case));
}
