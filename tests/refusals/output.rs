//! The documented JSON forms (docs/format.md, "Output"), held against a schema of their own.

use serde_json::{Value, json};
use sysctr_tests::crafted::{Crafted, Packing, digest, write};
use sysctr_tests::{Command, Compose, Layer};

use crate::{MANIFEST, Stage};

fn image() -> Crafted {
    let tars = [
        Layer::new().dir("bin").file("bin/true", "text").member(b'3', "null", "", 0).bytes(),
        Layer::new().file("more", vec![7; 5000]).bytes(),
    ];
    Crafted::of(&tars, Packing::Gzip)
}

fn json_of(stage: &Stage, verb: Option<&'static str>) -> Value {
    stage.compose.command_as(verb).args(["--format", "json"]).run().expect_ok().json()
}

/// `value` must fit `schema` (JSON Schema), by Python's validator: ours is not its own judge.
#[track_caller]
fn fits(value: &Value, schema: &Value) {
    let script = "import json,sys,jsonschema; both=json.load(sys.stdin); \
        jsonschema.Draft7Validator.check_schema(both[1]); jsonschema.validate(both[0], both[1])";
    let both = json!([value, schema]).to_string();
    let python = Command::new("/usr/bin/python3").args(["-c", script]).input(both).run();
    assert!(python.code() == 0, "{value:#}\n{}", python.stderr());
}

fn object(properties: Value, optional: &[&str]) -> Value {
    let keys = properties.as_object().unwrap().keys();
    let required: Vec<_> = keys.filter(|key| !optional.contains(&key.as_str())).collect();
    json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn a_digest() -> Value {
    json!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})
}

fn number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn path() -> Value {
    json!({"type": "string", "pattern": "^/"})
}

fn compose_form() -> Value {
    let (text, action) = (json!({"type": "string"}), json!({"enum": ["add", "change", "remove", "keep"]}));
    let kind = json!({"enum": ["character-device", "block-device", "fifo", "socket"]});
    let container = object(
        json!({
            "name": text, "group": text, "action": action, "image": text, "config": a_digest(), "entries": number(),
            "bytes": number(), "mount_targets": list(path()), "warnings": list(text.clone()),
            "left_out": list(object(json!({"path": path(), "kind": kind}), &[])),
            "manifest": a_digest(), "signature": text.clone(), "rootfs": path(),
            "before": object(json!({"manifest": a_digest(), "config": a_digest()}), &["manifest"]),
        }),
        &["entries", "bytes", "manifest", "before", "signature", "rootfs"],
    );
    let changed_path = object(json!({"path": path(), "action": action, "bytes": number()}), &[]);
    object(
        json!({
            "format": {"const": 1}, "changed": {"type": "boolean"}, "planned": {"type": "boolean"},
            "containers": list(container), "paths": list(changed_path), "warnings": list(json!({"type": "string"})),
        }),
        &[],
    )
}

#[test]
fn a_plan_tells_what_a_compose_then_does() {
    let stage = Stage::with(&image().layout());
    let planned = json_of(&stage, Some("plan"));
    stage.unchanged();
    fits(&planned, &compose_form());
    assert_eq!((&planned["planned"], &planned["changed"]), (&json!(true), &json!(true)));
    let container = &planned["containers"][0];
    assert_eq!(container["config"], digest(&image().config_bytes()));
    assert_eq!(container["left_out"], json!([{"path": "/null", "kind": "character-device"}]));
    let done = json_of(&stage, None);
    fits(&done, &compose_form());
    assert_eq!(done["planned"], false);
    assert_eq!((&done["containers"], &done["paths"]), (&planned["containers"], &planned["paths"]));
    // Each path that is added is there, and no other.
    for told in done["paths"].as_array().unwrap() {
        let path = told["path"].as_str().unwrap();
        assert_eq!(told["action"], "add", "{path}");
        assert!(stage.root.join(path.trim_start_matches('/')).symlink_metadata().is_ok(), "{path}");
    }
    let again = json_of(&stage, None);
    fits(&again, &compose_form());
    assert_eq!((&again["changed"], &again["paths"]), (&json!(false), &json!([])));
    assert_eq!(again["containers"][0]["action"], "keep");
    let removed =
        stage.verb("remove").arg("it").arg("--launcher").arg("--format").arg("json").run().expect_ok();
    fits(&removed.json(), &compose_form());
    assert_eq!(removed.json()["containers"][0]["action"], "remove");
    stage.unchanged();
}

#[test]
fn a_list_has_its_form() {
    let text = json!({"type": "string"});
    let container = object(
        json!({
            "name": text, "group": text, "image": text, "manifest": {"anyOf": [a_digest(), {"type": "null"}]},
            "config": a_digest(), "architecture": text, "entries": number(), "bytes": number(), "unit": text,
        }),
        &[],
    );
    let form = object(
        json!({
            "format": {"const": 1}, "tool": {"type": ["string", "null"]},
            "launcher": {"anyOf": [a_digest(), {"type": "null"}]}, "containers": list(container),
        }),
        &[],
    );
    let stage = Stage::with(&image().layout());
    let list_json = || stage.verb("list").arg("--format").arg("json").run().expect_ok().json();
    let empty = list_json();
    fits(&empty, &form);
    assert_eq!(empty, json!({"format": 1, "tool": null, "launcher": null, "containers": []}));
    stage.compose.run().expect_ok();
    let full = list_json();
    fits(&full, &form);
    let container = &full["containers"][0];
    assert_eq!(container["manifest"], digest(&image().manifest_bytes()));
    assert_eq!(container["config"], digest(&image().config_bytes()));
    assert_eq!((&container["group"], &container["unit"]), (&json!("g"), &json!("it.service")));
    assert_eq!(container["bytes"], 5004);
}

#[test]
fn findings_have_their_form() {
    let nullable = json!({"type": ["string", "null"]});
    let finding = object(
        json!({
            "severity": {"enum": ["error", "warning", "note"]}, "container": nullable, "path": nullable,
            "message": {"type": "string"},
        }),
        &[],
    );
    let form = object(json!({"format": {"const": 1}, "checked": number(), "findings": list(finding)}), &[]);
    let stage = Stage::with(&image().layout());
    let lint_of = |image: &Crafted| {
        let lint = Compose::into(&stage.root).verb("lint").manifest(MANIFEST);
        write(&image.layout(), &lint.work_dir().join("image"));
        lint.arg("--format").arg("json").run()
    };
    let lint = lint_of(&image()).expect_ok().json();
    fits(&lint, &form);
    assert_eq!(
        lint["findings"],
        json!([{"severity": "note", "container": "it", "path": "/null",
                "message": "no host image can carry it; it will be left out"}])
    );
    stage.compose.run().expect_ok();
    std::fs::write(stage.root.join("usr/bin/sysctr"), "").unwrap();
    let verify = stage.verb("verify").arg("--format").arg("json").run().expect_code(1).json();
    fits(&verify, &form);
    assert_eq!(verify["findings"][0]["container"], Value::Null);
    // What keeps a container from being composed is an error of a lint, whose exit code is 1.
    let lint = lint_of(&Crafted { config: json!({}), ..image() }).expect_code(1).json();
    fits(&lint, &form);
    assert_eq!(lint["findings"][0]["severity"], "error");
}

#[test]
fn progress_lines_have_their_form() {
    let stage = Stage::with(&image().layout());
    let output = stage.compose.command_as(None).args(["--progress", "json", "--jobs", "1"]).run().expect_ok();
    let form = object(
        json!({
            "event": {"enum": ["layer", "read", "done"]}, "container": {"const": "it"}, "layer": number(),
            "bytes": number(), "total": number(),
        }),
        &[],
    );
    let events: Vec<Value> =
        output.stderr().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    fits(&json!(events), &list(form));
    for (layer, blob) in image().layers.iter().enumerate() {
        let of_layer = |event: &str| {
            let told = |it: &&Value| it["layer"] == layer && it["event"] == event;
            events.iter().filter(told).cloned().collect::<Vec<_>>()
        };
        assert_eq!(of_layer("layer").len(), 1);
        let [done] = &of_layer("done")[..] else { panic!("{events:?}") };
        assert_eq!((&done["bytes"], &done["total"]), (&json!(blob.len()), &json!(blob.len())));
    }
}
