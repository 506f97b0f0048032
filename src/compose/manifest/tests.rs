//! What manifests say, and what is told of those that say nonsense.

use camino::Utf8PathBuf;

use super::*;

/// Reads a manifest text from a file of that name in a directory of its own.
fn read(name: &str, text: &str) -> Result<Manifest> {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::try_from(dir.path().join(name)).unwrap();
    std::fs::write(&path, text).unwrap();
    std::fs::write(dir.path().join("profile.json"), "{\"defaultAction\": \"SCMP_ACT_ERRNO\"}").unwrap();
    Manifest::read(&path)
}

/// The one-line error without the directory.
fn refused(name: &str, text: &str) -> String {
    let error = read(name, text).unwrap_err();
    assert!(error.is::<NotUnderstood>(), "{error:#}");
    let text = format!("{error:#}");
    assert!(!text.contains('\n'), "{text}");
    text[text.find(name).unwrap()..].to_owned()
}

const HEAD: &str = "group = \"g\"\n\n[[container]]\nimage = \"oci:images/etcd:3.5\"\n";

#[test]
fn a_container_needs_only_an_image() {
    let manifest = read("a.toml", HEAD).unwrap();
    assert_eq!((manifest.group.as_str(), manifest.rest), ("g", Rest::Remove));
    let [container] = &manifest.containers[..] else { panic!("{manifest:?}") };
    assert_eq!(container.name.as_str(), "etcd-3-5");
    assert_eq!(container.settings, Settings::default());
}

#[test]
fn json_says_the_same() {
    let toml = read(
        "a.toml",
        &format!(
            "{HEAD}set = {{ A = \"b\" }}\n[container.run]\nenv = {{ K = \"v\" }}\nrlimits = {{ NOFILE = 10 }}\n"
        ),
    );
    let json = read(
        "a.json",
        r#"{"group": "g", "container": [{"image": "oci:images/etcd:3.5", "set": {"A": "b"},
            "run": {"env": {"K": "v"}, "rlimits": {"NOFILE": 10}}}]}"#,
    );
    assert_eq!(toml.unwrap().containers[0].settings, json.unwrap().containers[0].settings);
}

#[test]
fn errors_have_line_and_column() {
    for (text, expected) in [
        (
            format!("{HEAD}colour = 1\n"),
            "a.toml:5:1: unknown field `colour`, expected one of `name`, `image`,",
        ),
        (format!("{HEAD}name = \"a b\"\n"), "a.toml:5:8: name \"a b\" is not valid: it must match"),
        (format!("{HEAD}enable = 3\n"), "a.toml:5:10: invalid type: integer `3`, expected a boolean"),
        (
            format!("{HEAD}[container.run]\nstop_signal = \"SIGFOO\"\n"),
            "a.toml:6:15: \"SIGFOO\" is not a signal, such as SIGTERM",
        ),
        (
            format!("{HEAD}[container.run]\nnetwork = \"bridge\"\n"),
            "a.toml:6:11: unknown variant `bridge`, expected `host` or `none`",
        ),
        ("group = \"g\"\ngroup = \"h\"\n".to_owned(), "a.toml:2:1: duplicate key"),
        ("[[container]]\nimage = \"oci:x\"\n".to_owned(), "a.toml:1:1: missing field `group`"),
    ] {
        let error = refused("a.toml", &text);
        assert!(error.starts_with(expected), "{error}\nexpected {expected}");
    }
    let error = refused("a.json", "{\"group\": \"g\",\n \"container\": [{\"imag\": 1}]}");
    assert!(error.starts_with("a.json:2:22: unknown field `imag`"), "{error}");
}

#[test]
fn two_containers_of_one_name_are_told_where_the_second_stands() {
    let text = format!("{HEAD}\n[[container]]\nimage = \"oci:other\"\nname = \"etcd-3-5\"\n");
    assert_eq!(
        refused("a.toml", &text),
        "a.toml:8:8: container etcd-3-5 stands here twice; give one of them another `name`"
    );
}

#[test]
fn files_beside_the_manifest_are_read() {
    let text = format!("{HEAD}[container.run]\nseccomp = \"profile.json\"\n");
    let manifest = read("a.toml", &text).unwrap();
    let profile = manifest.containers[0].settings.seccomp_profile.as_ref().unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let error = refused("a.toml", &text.replace("profile.json", "missing.json"));
    assert!(error.starts_with("a.toml:3:1: run.seccomp: there is no file "), "{error}");
}

#[test]
fn one_image_of_a_command_line_joins_the_group_cli() {
    let image: ImageRef = "oci:images/etcd".parse().unwrap();
    let manifest =
        Manifest::single(image, None, BTreeMap::from([("K".into(), "V".into())]), Registry::default())
            .unwrap();
    assert_eq!((manifest.group.as_str(), manifest.rest), ("cli", Rest::Keep));
    assert_eq!(manifest.containers[0].name.as_str(), "etcd");
    assert_eq!(manifest.containers[0].settings.set["K"], "V");
}

#[test]
fn the_schema_names_every_key_that_is_read() {
    let text = schema().to_string();
    for key in
        ["group", "container", "image", "seccomp", "stop_timeout", "phase", "health", "memory", "volumes"]
    {
        assert!(text.contains(&format!("\"{key}\"")), "{key}");
    }
}
