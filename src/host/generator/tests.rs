use std::os::unix::fs::symlink;

use serde_json::json;
use sysctr_core::digest::Digest;

use super::*;

const BOOT: &str = "5f0c";

struct Bench {
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap().to_owned();
        let bench = Self { _dir: dir, root };
        bench.write("proc/sys/kernel/random/boot_id", BOOT);
        std::fs::create_dir_all(bench.root.join("etc/containers/atomic")).unwrap();
        bench
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        make_parent(&path).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.root.join(path);
        make_parent(&path).unwrap();
        symlink(target, path).unwrap();
    }

    /// A container with a unit, a wanted-by link, an alias and tmpfiles lines.
    fn embed(&self, name: &str) {
        let digest = Digest::of(name.as_bytes());
        let file = json!({ "kind": "file", "digest": digest });
        let link = |target: &str| json!({ "kind": "link", "target": target });
        let units = "usr/lib/systemd/system";
        let record = json!({
            "version": 1, "name": name, "group": "test", "origin": digest, "runtime": "/usr/bin/runc", "fallback": "none",
            "image": { "source": "oci:x", "config": digest, "diff_ids": [], "architecture": "amd64" },
            "launch": { "mode": "detached", "phase": "multi-user", "stop_signal": "SIGTERM", "stop_timeout": "5s" },
            "tree": { "digest": digest, "entries": 0, "bytes": 0, "epoch": 1 }, "files": {},
            "placed": {
                format!("{units}/{name}.service"): file,
                format!("{units}/multi-user.target.wants/{name}.service"): link("../x.service"),
                format!("{units}/alias.service"): link("x.service"),
                format!("usr/lib/tmpfiles.d/sysctr-{name}.conf"): file,
            },
        });
        self.write(&format!("usr/lib/containers/atomic/{name}/record.json"), &record.to_string());
        self.write(&format!("usr/lib/tmpfiles.d/sysctr-{name}.conf"), "d /var/lib/x\n");
    }

    /// Its first generation, switched to; its unit is wanted by another target.
    fn switch(&self, name: &str) {
        let digest = Digest::of(name.as_bytes());
        let dir = format!("etc/containers/atomic/{name}.1");
        let generation = json!({
            "version": 1, "bundle": "/var/nowhere", "origin": { "embedded": digest }, "record": digest,
            "image": "oci:y", "config": digest,
        });
        self.write(&format!("{dir}/generation.json"), &generation.to_string());
        self.write(&format!("{dir}/units/{name}.service"), "[Unit]\n");
        self.link(&format!("{dir}/units/basic.target.wants/{name}.service"), &format!("../{name}.service"));
        self.link(&format!("etc/containers/atomic/{name}"), &format!("{name}.1"));
    }

    /// What the generator writes, links with their text.
    fn generated(&self) -> Vec<String> {
        let units = self.root.join("run/systemd/generator");
        clear(&units);
        std::fs::create_dir_all(&units).unwrap();
        generate(&Host::at(&self.root), &units).unwrap();
        let mut found = Vec::new();
        list(&units, "", &mut found);
        list(&self.root.join("run/tmpfiles.d"), "tmpfiles/", &mut found);
        found
    }
}

fn clear(path: &Utf8Path) {
    if path.exists() {
        std::fs::remove_dir_all(path).unwrap();
    }
}

fn list(dir: &Utf8Path, prefix: &str, found: &mut Vec<String>) {
    for name in host::names(dir).unwrap() {
        let path = dir.join(&name);
        if let Ok(text) = std::fs::read_link(&path) {
            found.push(format!("{prefix}{name} -> {}", text.display()));
        } else if path.is_dir() {
            list(&path, &format!("{prefix}{name}/"), found);
        } else {
            found.push(format!("{prefix}{name}: {:?}", std::fs::read_to_string(path).unwrap()));
        }
    }
}

#[test]
fn without_generations_there_is_nothing_to_write() {
    let bench = Bench::new();
    bench.embed("web");
    assert_eq!(bench.generated(), Vec::<String>::new());
}

#[test]
fn the_units_of_a_generation_hide_what_is_embedded() {
    let bench = Bench::new();
    bench.embed("web");
    bench.switch("web");
    let units = [
        "alias.service -> /dev/null",
        "basic.target.wants/web.service -> ../web.service",
        "multi-user.target.wants/web.service -> /dev/null",
        "web.service: \"[Unit]\\n\"",
    ];
    let none = "tmpfiles/sysctr-web.conf: \"\"";
    assert_eq!(bench.generated(), [&units[..], &[none]].concat());
    bench.write("etc/containers/atomic/web.1/sysctr-web.conf", "d /var/lib/y\n");
    assert_eq!(bench.generated(), [&units[..], &["tmpfiles/sysctr-web.conf: \"d /var/lib/y\\n\""]].concat());
    // Away from it everything is as shipped.
    std::fs::remove_file(bench.root.join("etc/containers/atomic/web")).unwrap();
    assert_eq!(bench.generated(), Vec::<String>::new());
}

#[test]
fn what_a_generation_was_made_for_decides_and_not_what_lies_in_var() {
    let bench = Bench::new();
    bench.embed("web");
    bench.switch("web");
    // Nothing is embedded any more: an orphan has its unit.
    clear(&bench.root.join("usr/lib/containers/atomic/web"));
    std::fs::remove_file(bench.root.join("usr/lib/tmpfiles.d/sysctr-web.conf")).unwrap();
    assert_eq!(
        bench.generated(),
        ["basic.target.wants/web.service -> ../web.service", "web.service: \"[Unit]\\n\""]
    );
    // A trial that another boot began.
    bench.write("etc/containers/atomic/web.1/trial.json", r#"{"version": 1, "boot": "other", "of": "new"}"#);
    assert_eq!(bench.generated(), Vec::<String>::new());
}

#[test]
fn one_that_fails_keeps_no_other_back() {
    let bench = Bench::new();
    bench.embed("web");
    bench.switch("web");
    bench.switch("also");
    bench.write("usr/lib/containers/atomic/also/record.json", "no record");
    let units = bench.root.join("run/systemd/generator");
    std::fs::create_dir_all(&units).unwrap();
    let error = format!("{:#}", generate(&Host::at(&bench.root), &units).unwrap_err());
    assert!(error.starts_with("generating the unit of container also: reading "), "{error}");
    assert!(units.join("web.service").exists());
    let hidden = std::fs::read_link(units.join("multi-user.target.wants/web.service")).unwrap();
    assert_eq!(hidden.to_str(), Some("/dev/null"));
    assert!(!units.join("also.service").exists());
}

#[test]
fn host_files_that_are_not_those_of_what_is_active_are_settled_before_it_starts() {
    let bench = Bench::new();
    bench.embed("web");
    bench.switch("web");
    let settling =
        || -> Vec<String> { bench.generated().into_iter().filter(|line| line.contains("settle")).collect() };
    let written = |of: &str| {
        let text = format!(r#"{{"version": 1, "of": {of}, "files": {{}}}}"#);
        bench.write("etc/containers/atomic/.web.files/written.json", &text);
    };
    written(r#"{"generation": 1}"#);
    assert_eq!(settling(), Vec::<String>::new());
    // The host was updated, so that it is superseded: all that is needed is there early.
    bench.embed("other");
    clear(&bench.root.join("usr/lib/containers/atomic/web"));
    std::fs::rename(
        bench.root.join("usr/lib/containers/atomic/other"),
        bench.root.join("usr/lib/containers/atomic/web"),
    )
    .unwrap();
    let record = bench.root.join("usr/lib/containers/atomic/web/record.json");
    let text = std::fs::read_to_string(&record).unwrap().replace("\"other\"", "\"web\"");
    std::fs::write(&record, text).unwrap();
    let [unit, link] = &settling()[..] else { panic!("{:?}", settling()) };
    assert_eq!(link, "sysinit.target.wants/sysctr-settle@web.service -> ../sysctr-settle@web.service");
    assert!(unit.contains("Before=sysinit.target web.service"), "{unit}");
    assert!(!unit.contains("RequiresMountsFor"), "{unit}");
    assert!(unit.contains(r"Type=oneshot\nRemainAfterExit=yes\n"), "once in a boot: {unit}");
    // It was written for something else, or a program was cut off.
    bench.embed("web");
    written("null");
    assert!(settling()[0].contains("RequiresMountsFor=/var/lib/containers/atomic"), "{:?}", settling());
}
