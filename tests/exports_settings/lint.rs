//! What `lint` tells the author of an image, and where.

use std::fs;

use serde_json::json;
use sysctr_tests::{Compose, Crafted, Image, Layer, Packing, source_dir};

use super::container;

#[test]
fn a_lint_tells_file_and_line() {
    let of_shape = |shape: &'static str, more: &str| {
        let lint = Compose::into_dir("/nowhere".as_ref())
            .manifest(format!("group = 'g'\n{}", container("it", shape, more)));
        lint.with(&Image::exports("serve")).verb("lint")
    };
    let fixtures = source_dir().join("fixtures/exports");
    let line = |file: &str, text: &str| {
        let all = fs::read_to_string(fixtures.join(file)).unwrap();
        all.lines().position(|line| line.contains(text)).unwrap() + 1
    };
    for (shape, file, text, message) in [
        (
            "kubeadm",
            "config.json.template",
            "\"source\": \"/var/lib/kubelet\"",
            "mounts[7].source: /var/lib/kubelet is hard-coded; $STATE_DIRECTORY stands for /var/lib",
        ),
        (
            "azure",
            "service.template",
            "ExecStart=",
            "ExecStart= does not use $EXEC_START: the container is started by it",
        ),
        (
            "files-only",
            "manifest.json",
            "useLinks",
            "useLinks has no effect: equal files of an OSTree commit are one object, and a plain root gets copies",
        ),
    ] {
        let told = of_shape(shape, "").run().expect_ok().stdout();
        let number = line(&format!("{shape}/exports/{file}"), text);
        let expected = format!("warning: it: exports/{file}:{number}: {message}\n");
        assert!(told.contains(&expected), "{expected} in {told}");
    }
    let json = of_shape("hello-world", "").arg("--format").arg("json").run().expect_ok().json();
    let findings = json["findings"].as_array().unwrap();
    let old = findings
        .iter()
        .find(|finding| finding["message"].as_str().unwrap().starts_with("linux.capabilities"));
    let old = old.unwrap_or_else(|| panic!("{findings:?}"));
    let number = line("hello-world/exports/config.json.template", "\"capabilities\"");
    assert_eq!((&old["file"], &old["line"]), (&json!("exports/config.json.template"), &json!(number)));
}

/// A lint of an image with one layer, some files of which have another mode.
fn lint(layer: &Layer, modes: &[(&str, u32)]) -> Compose {
    let mut bytes = layer.bytes();
    for (name, mode) in modes {
        let at =
            bytes.windows(name.len()).rposition(|it| it == name.as_bytes()).expect("a file of the layer");
        let header = &mut bytes[at..at + 512];
        header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    let image = Crafted::of(&[bytes], Packing::Gzip);
    let lint = Compose::into_dir("/nowhere".as_ref());
    sysctr_tests::crafted::write(&image.layout(), &lint.work_dir().join("image"));
    lint.manifest("group = 'g'\n[[container]]\nname = 'it'\nimage = 'oci:image'\n").verb("lint")
}

const CONFIG: &str = r#"{"ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": true},
 "process": {"args": ["/x"], "cwd": "/", "user": {"uid": 0, "gid": 0},
   "capabilities": {"bounding": [$ALL_PROCESS_CAPABILITIES]}},
 "mounts": [$MORE
  {"type": "rbind", "source": "/a", "destination": "/b", "options": ["ro"]}
 ]}
"#;
const SERVICE: &str = "[Service]\nExecStart=$EXEC_START\nExecStop=$EXEC_STOP\nEnvironment=$LINES\nColour=red\n\
    WorkingDirectory=$DESTDIR\n# NotifyAccess=$EXEC_STOP\n[Install]\nWantedBy=multi-user.target\n";
const DEFAULTS: &str = r#"{"defaultValues": {"LINES": "A=1\nEnvironment=B=2",
    "MORE": "{\"destination\": \"/c\", \"source\": \"c\",\n \"type\": \"tmpfs\"},"}}"#;

#[test]
fn lines_are_the_templates_behind_values_of_several_lines() {
    let image = |config: &str, service: &str| {
        let layer = Layer::new().dir("exports").file("exports/config.json.template", config);
        let layer = layer.file("exports/service.template", service).file("exports/manifest.json", DEFAULTS);
        layer.program("setgid", "x").program("setboth", "x")
    };
    let told = |config: &str, service: &str, code: i32| {
        let lint = lint(&image(config, service), &[("setgid", 0o2755), ("setboth", 0o6755)]);
        lint.run().expect_code(code).stdout()
    };
    let fine = told(CONFIG, SERVICE, 0);
    for expected in [
        "warning: it: exports/config.json.template:5: mounts[1].type ",
        "warning: it: exports/service.template:5: systemd-analyze says: Unknown key 'Colour' in section [Service], \
         ignoring.\n",
        "note: it: /setgid: it runs with its group's rights: mode 2755 of 0:0\n",
        "note: it: /setboth: it runs with its owner's and its group's rights: mode 6755 of 0:0\n",
    ] {
        assert!(fine.contains(expected), "{expected} in {fine}");
    }
    // A comment starts nothing.
    let silent = SERVICE.replace("ExecStop=$EXEC_STOP", "");
    let advice = "warning: it: exports/service.template: ExecStop= does not use $EXEC_STOP: the container is stopped by it\n";
    let commented = told(CONFIG, &silent, 0);
    assert!(commented.contains(advice) && !fine.contains("$EXEC_STOP"), "{commented}");
    // Every file is told at once, by its own lines.
    let config = CONFIG.replace("[\"ro\"]}", "[\"ro\",]}");
    let service = SERVICE.replace("Colour=red", "Restart=sometimes\nKillMode=all");
    let wrong = told(&config, &service, 1);
    for expected in [
        "error: it: exports/config.json.template:5: its variables replaced: trailing comma at line ",
        "error: it: exports/service.template:5: Restart=sometimes is none of ",
        "error: it: exports/service.template:6: KillMode=all is none of ",
    ] {
        assert!(wrong.contains(expected), "{expected} in {wrong}");
    }
}

#[test]
fn a_lint_reads_each_layer_once() {
    let layer = Layer::new().dir("exports").file("exports/service.template", SERVICE);
    let layer = layer.file("exports/manifest.json", DEFAULTS).file("exports/config.json.template", CONFIG);
    let lint = lint(&layer, &[]);
    let blobs = lint.work_dir().join("image/blobs/sha256");
    let blobs = fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path());
    let packed = blobs.filter(|path| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]));
    let packed: Vec<_> = packed.collect();
    assert_eq!(packed.len(), 1, "{packed:?}");
    let trace = lint.work_dir().join("trace");
    let strace = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", trace.to_str().unwrap()];
    let lint = lint.under(strace);
    lint.run().expect_ok();
    let digest = packed[0].file_name().unwrap().to_str().unwrap();
    let trace = fs::read_to_string(trace).unwrap();
    let opened = trace.lines().filter(|line| line.contains(digest) && !line.contains("= -1 ")).count();
    // To see that it is there, that nothing stands in for it, and to read it.
    assert_eq!(opened, 3, "{trace}");
}

#[test]
fn a_lint_without_systemds_checker_says_so() {
    let layer = Layer::new().dir("exports").file("exports/service.template", SERVICE);
    let layer = layer.file("exports/manifest.json", DEFAULTS).file("exports/config.json.template", CONFIG);
    let told = lint(&layer, &[]).env("PATH", "/nowhere").run().expect_ok().stdout();
    let note =
        "note: it: the unit was held against sysctr's table only: holding units against systemd-analyze: ";
    assert!(told.contains(note) && !told.contains("Colour"), "{told}");
}

#[test]
fn a_lint_tells_every_variable_without_a_value_and_everything_else_too() {
    let config =
        "{\"root\": {},\n \"mounts\": [{\"source\": \"/run/x\"}],\n \"a\": \"$ONE\", \"b\": \"$1\"}\n";
    let layer = Layer::new().dir("exports").file("exports/config.json.template", config);
    let layer =
        layer.file("exports/service.template", "[Service]\nExecStart=$EXEC_START $TWO\n").file("world", "x");
    let told = lint(&layer, &[("world", 0o666)]).run().expect_code(1).stdout();
    assert_eq!(
        told,
        "error: it: exports/config.json.template:3: ONE has no value\n\
         error: it: exports/config.json.template:3: `$` begins no variable\n\
         error: it: exports/service.template:2: TWO has no value\n\
         warning: it: exports/config.json.template:2: mounts[0].source: /run/x is hard-coded; $RUN_DIRECTORY stands for /run\n\
         warning: it: exports/service.template: ExecStop= does not use $EXEC_STOP: the container is stopped by it\n\
         warning: it: exports/service.template: WorkingDirectory= does not use $DESTDIR: other runtimes find the bundle by it\n\
         warning: it: /world: everybody may write this file\n\
         1 containers checked: see above\n"
    );
}
