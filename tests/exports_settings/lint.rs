//! What `lint` tells the author of an image, and where.

use std::fs;

use serde_json::json;
use sysctr_tests::{Compose, Crafted, Image, Layer, Packing, source_dir};

use super::container;

#[test]
fn a_lint_tells_file_and_line() {
    let lint = |shape: &'static str, more: &str| {
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
        let told = lint(shape, "").run().expect_ok().stdout();
        let number = line(&format!("{shape}/exports/{file}"), text);
        let expected = format!("warning: it: exports/{file}:{number}: {message}\n");
        assert!(told.contains(&expected), "{expected} in {told}");
    }
    let json = lint("hello-world", "").arg("--format").arg("json").run().expect_ok().json();
    let findings = json["findings"].as_array().unwrap();
    let old = findings
        .iter()
        .find(|finding| finding["message"].as_str().unwrap().starts_with("linux.capabilities"));
    let old = old.unwrap_or_else(|| panic!("{findings:?}"));
    let number = line("hello-world/exports/config.json.template", "\"capabilities\"");
    assert_eq!((&old["file"], &old["line"]), (&json!("exports/config.json.template"), &json!(number)));
}

#[test]
fn a_lint_tells_every_variable_without_a_value_and_everything_else_too() {
    let config =
        "{\"root\": {},\n \"mounts\": [{\"source\": \"/run/x\"}],\n \"a\": \"$ONE\", \"b\": \"$1\"}\n";
    let layer = Layer::new().dir("exports").file("exports/config.json.template", config);
    let layer =
        layer.file("exports/service.template", "[Service]\nExecStart=$EXEC_START $TWO\n").file("world", "x");
    let mut bytes = layer.bytes();
    let at = bytes.windows(5).rposition(|name| name == b"world").unwrap();
    bytes[at + 100..at + 107].copy_from_slice(b"0000666");
    let header = &mut bytes[at..at + 512];
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let image = Crafted::of(&[bytes], Packing::Gzip);
    let lint = Compose::into_dir("/nowhere".as_ref());
    sysctr_tests::crafted::write(&image.layout(), &lint.work_dir().join("image"));
    let lint = lint.manifest("group = 'g'\n[[container]]\nname = 'it'\nimage = 'oci:image'\n").verb("lint");
    let told = lint.run().expect_code(1).stdout();
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
