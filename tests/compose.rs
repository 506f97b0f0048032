//! Composing real images into real roots, judged by other people's programs.

use std::path::PathBuf;

use sysctr_tests::oracle::Unpacked;
use sysctr_tests::{Command, Compose, Image, Listing, Mtimes, Output, Root, source_dir};

/// A manifest with one container `it` of this image.
fn one(image: &Image) -> String {
    let entrypoint = "run = { entrypoint = ['/bin/true'] }";
    format!("group = 'test'\n[[container]]\nname = 'it'\nimage = '{}'\n{entrypoint}\n", image.in_manifest())
}

/// A small root with the container `it` of `image`.
fn embedded(image: &Image) -> Root {
    let root = Root::small();
    Compose::into(&root).manifest(one(image)).with(image).add_launcher().run().expect_ok();
    root
}

#[track_caller]
fn expect_as_umoci(image: &Image) {
    Unpacked::by_umoci(image).expect_embedded(&embedded(image), "it");
}

fn demo(root: &Root) -> Compose {
    Compose::into(root).example("demo.toml").with(&Image::nginx()).with(&Image::hello()).add_launcher()
}

#[test]
fn the_demo_images_equal_umoci_and_again_changes_nothing() {
    let root = Root::debian();
    let compose = demo(&root);
    compose.run().expect_ok();
    for (name, image) in [("nginx", Image::nginx()), ("hello", Image::hello())] {
        Unpacked::by_umoci(&image).expect_embedded(&root, name);
    }
    let first = Listing::of(&root.path());
    let again = compose.run().expect_ok();
    assert!(again.stdout().ends_with("nothing to change\n"), "{}", again.story());
    Listing::of(&root.path()).expect_same(&first, Mtimes::All);
    Compose::into(&root).verb("verify").run().expect_ok();
}

#[test]
fn an_image_with_zstd_layers_equals_umoci() {
    expect_as_umoci(&Image::nginx_zstd());
}

#[test]
fn an_oci_archive_equals_umoci() {
    expect_as_umoci(&Image::nginx_oci_archive());
}

#[test]
fn a_docker_archive_by_skopeo_equals_umoci() {
    expect_as_umoci(&Image::nginx_docker_archive());
}

#[test]
fn each_whiteout_equals_umoci() {
    expect_as_umoci(&Image::whiteouts());
}

#[test]
fn what_podman_built_equals_umoci() {
    expect_as_umoci(&Image::built());
}

#[test]
fn many_files_equal_umoci() {
    expect_as_umoci(&Image::many());
}

#[test]
fn odd_entries_in_every_dialect_equal_umoci() {
    expect_as_umoci(&Image::odd());
}

#[test]
fn old_gnu_sparse_files_equal_gnu_tar() {
    let image = Image::gnu_sparse();
    Unpacked::by_gnu_tar(&image).expect_embedded(&embedded(&image), "it");
}

#[test]
fn a_plan_and_a_list_write_nothing() {
    let root = Root::small();
    let before = Listing::of(&root.path());
    let plan = demo(&root).verb("plan").run().expect_ok();
    assert!(plan.stdout().ends_with("planned only: nothing was written\n"), "{}", plan.story());
    assert_eq!(Compose::into(&root).verb("list").run().expect_ok().stdout(), "no containers are embedded\n");
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
}

#[test]
fn removing_all_leaves_the_root_as_it_was() {
    let root = Root::debian();
    let before = Listing::of(&root.path());
    demo(&root).run().expect_ok();
    Compose::into(&root).verb("remove").arg("nginx").arg("hello").arg("--launcher").run().expect_ok();
    Listing::of(&root.path()).expect_same(&before, Mtimes::All);
}

/// Containers of all phases and forms, so that each kind of unit is seen.
fn all_kinds(root: &Root) -> Vec<&'static str> {
    let image = Image::payload();
    let mut manifest = String::from("group = 'kinds'\n");
    let mut add = |name: &str, settings: &str| {
        manifest +=
            &format!("[[container]]\nname = '{name}'\nimage = '{}'\n{settings}\n", image.in_manifest());
    };
    add("early", "unit = { phase = 'early' }");
    add("sysinit", "unit = { phase = 'sysinit' }");
    add("basic", "unit = { phase = 'basic' }");
    add("notify", "unit = { notify = true, essential = true }\nrun = { args = ['ready'] }");
    add("healthy", "unit = { health = { exec = ['/bin/payload', 'exit=0'] } }");
    add("limited", "limits = { memory = '64M', pids = 10, cpu = '50%' }\nruntime = 'crun'");
    add(
        "disabled",
        "enable = false\nrun = { network = 'none', devices = ['/dev/fuse'], user = '1000:1000' }",
    );
    Compose::into(root).manifest(manifest).with(&image).add_launcher().run().expect_ok();
    vec!["early", "sysinit", "basic", "notify", "healthy", "limited", "disabled"]
}

fn analyze(root: &Root, units: &[String]) -> Output {
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]);
    verify.arg(format!("--root={}", root.path().display())).args(units).run()
}

#[test]
fn systemd_has_nothing_to_say_about_units_but_about_a_broken_one() {
    let root = Root::debian();
    let kinds = all_kinds(&root);
    demo(&root).run().expect_ok();
    let units: Vec<_> =
        kinds.iter().chain(&["nginx", "hello"]).map(|name| format!("{name}.service")).collect();
    for unit in &units {
        let verdict = analyze(&root, std::slice::from_ref(unit)).expect_ok();
        assert_eq!((verdict.stdout(), verdict.stderr()), (String::new(), String::new()), "{unit}");
    }
    let broken = "[Service]\nExecStart=/usr/bin/no-such-program\nRestart=maybe\n";
    std::fs::write(root.join("usr/lib/systemd/system/broken.service"), broken).unwrap();
    let verdict = analyze(&root, &["broken.service".to_owned()]);
    assert!(
        verdict.stderr().contains("no-such-program") && verdict.stderr().contains("maybe"),
        "{}",
        verdict.story()
    );
}

#[test]
fn systemctl_enables_by_the_preset_what_the_links_enable() {
    let root = Root::debian();
    for name in all_kinds(&root) {
        let systemctl = |verb: &str| {
            let command = Command::new("systemctl").arg("--root").arg(root.path());
            command.args([verb, &format!("{name}.service")]).run()
        };
        // Links of /usr don't count for is-enabled, so the preset makes those of /etc: they must be the same.
        let links = |dir: &str| {
            let dirs = std::fs::read_dir(root.join(dir)).into_iter().flatten().map(|dir| dir.unwrap().path());
            let wants = dirs.filter(|dir| dir.is_dir() && dir.join(format!("{name}.service")).is_symlink());
            wants.map(|dir| dir.file_name().unwrap().to_owned()).collect::<std::collections::BTreeSet<_>>()
        };
        systemctl("preset").expect_ok();
        assert_eq!(links("etc/systemd/system"), links("usr/lib/systemd/system"), "{name}");
        let expected = if name == "disabled" { "disabled" } else { "enabled" };
        assert_eq!(systemctl("is-enabled").stdout().trim(), expected, "{name}");
    }
}

#[test]
fn each_config_is_valid_by_the_oci_schema() {
    let root = Root::debian();
    let kinds = all_kinds(&root);
    demo(&root).run().expect_ok();
    let configs: Vec<PathBuf> =
        kinds.iter().chain(&["nginx", "hello"]).map(|name| root.bundle(name).join("config.json")).collect();
    let validate = || Command::new("/usr/bin/python3").arg(source_dir().join("tests/support/validate.py"));
    validate().args(&configs).run().expect_ok();
    // And the judge does judge.
    let text = std::fs::read_to_string(&configs[0]).unwrap().replacen("\"ociVersion\"", "\"version\"", 1);
    let wrong = root.join("wrong.json");
    std::fs::write(&wrong, text).unwrap();
    validate().arg(&wrong).run().expect_code(1);
}

#[test]
fn each_example_manifest_composes() {
    let examples = std::fs::read_dir(source_dir().join("manifests")).unwrap();
    let mut names: Vec<_> = examples.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".toml"));
    names.sort();
    assert_eq!(names, ["demo.toml", "full.toml", "minimal.toml"]);
    for name in names {
        let root = Root::debian();
        let compose = Compose::into(&root).example(&name).with(&Image::hello()).with(&Image::nginx());
        compose.with(&Image::payload()).add_launcher().run().expect_ok();
        Compose::into(&root).verb("verify").run().expect_ok();
    }
}

#[test]
fn the_full_example_has_every_key_and_its_pin_holds() {
    let schema = Command::new(sysctr_tests::Program::Composer.path()).arg("schema").run().expect_ok().json();
    let text = std::fs::read_to_string(source_dir().join("manifests/full.toml")).unwrap();
    let mut missing = keys(&schema);
    missing.retain(|key| !text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == key));
    assert_eq!(missing, Vec::<String>::new());

    let pinned = |digest: &str| text.replace("# digest = \"sha256:…\"", &format!("digest = \"{digest}\""));
    let index = std::fs::read(Image::payload().directory().join("oci/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let right = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let root = Root::debian();
    let compose = |digest: &str| {
        let compose = Compose::into(&root).example("full.toml").manifest(pinned(digest));
        compose.with(&Image::payload()).add_launcher().run()
    };
    compose(&right).expect_ok();
    compose(&format!("sha256:{}", "0".repeat(64))).expect_code(1);
}

/// Every property name in a JSON schema.
fn keys(schema: &serde_json::Value) -> Vec<String> {
    let mut found = Vec::new();
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(serde_json::Value::as_object) {
                found.extend(properties.keys().cloned());
            }
            found.extend(object.values().flat_map(keys));
        }
        serde_json::Value::Array(values) => found.extend(values.iter().flat_map(keys)),
        _ => {}
    }
    found
}
