//! The life of a real daemon on a host: Debian's nginx from a registry with TLS and a password, in five versions.

use std::path::Path;

use serde_json::{Value, json};
use sysctr_tests::boot::Report;
use sysctr_tests::registry::Server;
use sysctr_tests::{Command, Image, Layer, Layout};

use crate::bench::Bench;

/// It writes its page at its start, with a value that a host can set.
const SERVE: &str =
    "mkdir -p /run/www; echo version @ $GREETING >/run/www/index.html; exec /usr/sbin/nginx -e stderr";
const BROKEN: &str = "echo no configuration for $GREETING >&2; sleep 0.5; exit 3";
const NGINX: &str = "daemon off; pid /run/nginx.pid; error_log stderr; worker_processes 1; events {} \
    http { access_log off; server { listen 127.0.0.1:8085; root /run/www; } }";

/// `/exports` of a version whose first process is this shell script.
fn exports(script: &str) -> Layer {
    let tmpfs = |path: &str| json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]});
    let rights =
        ["CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let rights = json!({"bounding": rights, "effective": rights, "permitted": rights});
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "capabilities": rights},
        "root": {"path": "rootfs", "readonly": true},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, tmpfs("/dev"), tmpfs("/run"), tmpfs("/var/lib/nginx")],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "mount"}]},
    });
    let settings = json!({"version": "1.0", "defaultValues": {"GREETING": "hello"}});
    Layer::new()
        .file("etc/nginx/nginx.conf", NGINX)
        .dir("exports")
        .file("exports/config.json.template", config.to_string())
        .file("exports/manifest.json", settings.to_string())
}

/// Versions 1 to 5 of the daemon, of which the third is broken, with their numbers as tags.
fn versions(dir: &Path) {
    let layout = Layout::new(dir);
    let (manifest, config) = layout.take(&Image::nginx().directory().join("oci"));
    let version = |number: usize| -> Value {
        let script = if number == 3 { BROKEN.to_owned() } else { SERVE.replace('@', &number.to_string()) };
        let (mut manifest, mut config) = (manifest.clone(), config.clone());
        layout.on_top(&mut manifest, &mut config, &exports(&script).bytes());
        config["config"]["Labels"]["atomic.type"] = json!("system");
        layout.image(manifest, &config, &number.to_string())
    };
    layout.list(&(1..=5).map(version).collect::<Vec<_>>());
}

/// With the registry in the machine, whose network is its own, and what it takes to reach it.
fn boot(bench: &Bench, server: &Server, script: &str) -> Report {
    for program in ["skopeo", "docker-registry"] {
        bench.lend(program);
    }
    let (port, dir) = (server.port, server.dir().display());
    let etc = bench.etc().join("containers");
    let trusted = etc.join(format!("certs.d/127.0.0.1:{port}"));
    std::fs::create_dir_all(&trusted).expect("a new directory");
    std::fs::copy(server.certificate(), trusted.join("ca.crt")).expect("a certificate");
    let policy = json!({"default": [{"type": "insecureAcceptAnything"}]});
    // it:secret
    let passwords = json!({"auths": {format!("127.0.0.1:{port}"): {"auth": "aXQ6c2VjcmV0"}}});
    for (name, document) in [("policy.json", policy), ("auth.json", passwords)] {
        std::fs::write(etc.join(name), document.to_string()).expect("a file in a scratch directory");
    }
    let names = format!("REGISTRY={dir} PORT={port} AUTH=/etc/containers/auth.json\n");
    bench.boot_with(&[format!("--bind={dir}")], &format!("{names}{script}"))
}

#[test]
fn a_daemon_lives_through_five_versions() {
    let bench = Bench::new(&[]);
    let server = Server::guarded();
    let layout = bench.images().join("layout");
    versions(&layout);
    for number in 1..=5 {
        server.push_tagged(&layout, &number.to_string(), &format!("web:{number}"));
    }
    let archive = bench.images().join("web.tar");
    let skopeo = Command::new("skopeo").args(["copy", "-q"]);
    skopeo
        .arg(format!("oci:{}:4", layout.display()))
        .arg(format!("oci-archive:{}:4", archive.display()))
        .run()
        .expect_ok();
    let report = boot(&bench, &server, SCRIPT).expect_ok();
    let expected = [
        "web: web.1 is what the next start runs",
        "web: web.2 runs",
        "web: nothing to change",
        "sysctr: updating container web: web.4 is not healthy: its result is exit-code, its last words: no configuration for \
         good-day; web.3 runs again",
        "web: web.5 runs",
        "web: web.3 runs",
        "web: web.6 runs",
        "web: web.7 runs",
    ];
    let told: Vec<_> = report.text.lines().collect();
    let (last, told) = told.split_last().expect("it told something");
    assert_eq!(told, expected);
    // The rest are skopeo's words.
    let refused =
        format!("sysctr: updating container web: fetching image docker://127.0.0.1:{}/web:5: ", server.port);
    assert!(last.starts_with(&refused) && last.ends_with("connection refused"), "{last}");
    bench.assert_store_clean();
}

const SCRIPT: &str = r#"
registry() { docker-registry serve "$REGISTRY/config.yml" >/run/registry.log 2>&1 & server=$!; for i in $(seq 100); do reachable 2>/dev/null && return; sleep 0.1; done; cat /run/registry.log; ls -la "$REGISTRY"; fail registry; }
reachable() { (exec 9<>/dev/tcp/127.0.0.1/"$PORT"); }
# names VERSION: the tag `stable` is this version from now on
names() {
  skopeo copy -q --authfile "$AUTH" "docker://127.0.0.1:$PORT/web:$1" "docker://127.0.0.1:$PORT/web:stable" || fail "tagging $1"
}
update() { sysctr update web --authfile "$AUTH" --progress none "$@"; }
registry; names 1
sysctr install "docker://127.0.0.1:$PORT/web:stable" --name web --authfile "$AUTH" --progress none
# How it ended is told as long as systemd does not start it again.
mkdir -p /etc/systemd/system/web.service.d; printf '[Service]\nRestartSec=1h\n' >/etc/systemd/system/web.service.d/restart.conf
systemctl daemon-reload; systemctl start web; says "1 hello"
names 2; update; says "2 hello"
update
update --set GREETING=good-day --format json >/run/told
# Its documents, no layer.
fetched=$(sed -n 's/.*"fetched_bytes": \([0-9]*\).*/\1/p' /run/told)
[ "$fetched" -lt 4096 ] || fail "$fetched bytes were fetched"
says "2 good-day"
names 3; ! update || fail "a broken image"
says "2 good-day"
names 4; update; says "4 good-day"
sysctr rollback web; says "2 good-day"
update --image "docker://127.0.0.1:$PORT/web:5"; says "5 good-day"
kill $server; wait $server
sysctr update web --image oci-archive:/images/web.tar:4 --progress none; says "4 good-day"
! update --timeout 5 --retries 0 || fail "no registry"
says "4 good-day"
systemctl stop web
sysctr uninstall web --purge
expect "what is left in /etc" "$(ls -A /etc/containers/atomic)" ""
expect "what is left in /var" "$(ls -A /var/lib/containers/atomic | sort | tr '\n' ' ')" ".lock .repo .web.number "
! systemctl cat web >/dev/null 2>&1 || fail "its unit is left"
"#;
