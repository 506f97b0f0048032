//! The whole road by golden text, by tables of what is refused, and by properties.

mod golden;
mod properties;
mod refused;

use super::*;
use crate::bundle::testing::{Case, tree};
use crate::tree::lookup::Found;
use crate::tree::{ImageTree, TreePath};

pub fn prepared(case: &Case) -> Result<Prepared> {
    prepare(&Input {
        source: case.source(),
        bundle: camino::Utf8Path::new("/usr/lib/containers/atomic")
            .join(case.source().name.as_str())
            .as_path(),
        runtime: &AbsolutePath::try_from("/usr/bin/runc".to_owned()).unwrap(),
        config: &Digest::of(b""),
        image_name: "image",
        read: &|_| anyhow::bail!("nothing of this image is read"),
        target: &Unseen,
    })
}

/// `tree` with the mount targets in it.
pub fn complete(case: &Case, prepared: &Prepared) -> ImageTree {
    let mut tree = case.tree.clone();
    for target in &prepared.mount_targets {
        target.insert(&mut tree).unwrap();
    }
    tree
}

#[test]
fn a_template_of_the_user_has_the_same_variables_and_tells_its_lines() {
    let unit = |template: &str| {
        let mut case = Case::with_settings(r#"{"set": {"WHO": "50%"}, "unit": {"template": "my.service"}}"#);
        case.settings.unit_template = Some(template.into());
        prepared(&case).map(|prepared| (String::from_utf8(prepared.unit).unwrap(), prepared.links))
    };
    let (text, links) = unit(
        "[Service]\nType={{ type }}\nExecStart={{ launcher }} run {{ name }} {{ set.WHO }}\n[Install]\nWantedBy=x.target",
    )
    .unwrap();
    assert_eq!(
        text,
        "[Service]\nType=forking\nExecStart=/usr/bin/sysctr run web 50%%\n[Install]\nWantedBy=x.target\n"
    );
    assert_eq!(links, [("x.target.wants/web.service".into(), "../web.service".into())]);
    for (template, message) in [
        ("[Service]\nExecStart={{ nmae }}\n", "rendering the unit: my.service:2:14: "),
        ("[Service]\n{{ set.WHOM }}\n", "rendering the unit: my.service:2:"),
        ("[Service]\n\n{% if %}\n", "rendering the unit: my.service:3:7: "),
        ("[Service]\n{{ name | frobnicate }}\n", "rendering the unit: my.service"),
        ("{% include \"other\" %}\n", "rendering the unit: my.service"),
        (
            "[Service]\nExecStart=/x\n[Install]\nAlso=y.socket\n",
            "line 4: Also= in [Install] is not supported",
        ),
    ] {
        let error = format!("{:#}", unit(template).unwrap_err());
        assert!(error.starts_with(&format!("preparing container web: {message}")), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn the_user_wins_over_the_image_and_the_image_over_the_defaults() {
    let mut case = Case::with_settings(
        r#"{"run": {"mounts": [{"source": "/dev", "target": "/dev"}, {"source": "/srv/r", "target": "/etc/resolv.conf"},
                               {"source": "/srv/d", "target": "/data"}],
                    "volumes": {"/run": "/srv/run"}}}"#,
    );
    case.image.volumes = vec!["/data/inner".into(), "/tmp".into(), "/run".into()];
    let prepared = prepared(&case).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&prepared.config_json).unwrap();
    let mounts = config["mounts"].as_array().unwrap().iter();
    let mounts: Vec<_> =
        mounts.map(|m| format!("{} {}", m["destination"], m["source"]).replace('"', "")).collect();
    assert_eq!(
        mounts,
        [
            "/data /srv/d",
            "/dev /dev",
            "/etc/hosts /etc/hosts",
            "/etc/resolv.conf /srv/r",
            "/proc proc",
            "/run /srv/run",
            "/sys sysfs",
            "/sys/fs/cgroup cgroup",
            "/tmp /var/lib/sysctr/web/tmp",
            "/var/tmp tmpfs",
        ]
    );
    let seeds: Vec<_> = prepared.launch.volumes.iter().map(|v| format!("{} {}", v.host, v.image)).collect();
    assert_eq!(seeds, ["/srv/run /run", "/var/lib/sysctr/web/tmp /tmp"]);
    assert_eq!(prepared.launch.empty_if_missing.len(), 1);
}

#[test]
fn program_and_arguments() {
    for (settings, args) in [
        ("{}", &["/bin/web", "--serve"][..]),
        (r#"{"run": {"args": ["--help"]}}"#, &["/bin/web", "--help"]),
        (r#"{"run": {"args": []}}"#, &["/bin/web"]),
        (r#"{"run": {"entrypoint": ["/bin/sh"]}}"#, &["/bin/sh"]),
        (r#"{"run": {"entrypoint": [], "args": ["/bin/sh", "-c"]}}"#, &["/bin/sh", "-c"]),
    ] {
        let mut case = Case::with_settings(settings);
        case.image.cmd = vec!["--serve".into()];
        let config: serde_json::Value =
            serde_json::from_slice(&prepared(&case).unwrap().config_json).unwrap();
        assert_eq!(config["process"]["args"], serde_json::json!(args), "{settings}");
    }
}

#[test]
fn mount_targets_lead_where_the_images_links_lead() {
    let mut case = Case::with_settings(
        r#"{"run": {"mounts": [{"source": "/s", "target": "/lib/x/deep"},
                               {"source": "/s", "target": "/var/run/y"},
                               {"source": "/s/f", "target": "/opt/file", "file": true}]}}"#,
    );
    case.tree = tree(&["bin/", "bin/web", "lib -> usr/lib", "proc/", "usr/", "var/", "var/run -> ../run"]);
    let prepared = prepared(&case).unwrap();
    let targets: Vec<_> = prepared.mount_targets.iter().map(|t| format!("{:?} {}", t.kind, t.path)).collect();
    assert_eq!(
        targets,
        [
            "Directory \"/dev\"",
            "Directory \"/etc\"",
            "File \"/etc/hosts\"",
            "File \"/etc/resolv.conf\"",
            "Directory \"/opt\"",
            "File \"/opt/file\"",
            "Directory \"/run\"",
            "Directory \"/sys\"",
            "StickyDirectory \"/tmp\"",
            "Directory \"/usr/lib\"",
            "Directory \"/usr/lib/x\"",
            "Directory \"/usr/lib/x/deep\"",
            "StickyDirectory \"/var/tmp\"",
        ]
    );
    let complete = complete(&case, &prepared);
    let found = |path: &[u8]| complete.resolve(path).unwrap().found;
    assert!(matches!(found(b"/lib/x/deep"), Found::Dir(_)));
    assert!(matches!(found(b"/opt/file"), Found::File(_)));
    let mode = |path: &[u8]| match found(path) {
        Found::Dir(dir) => dir.stat.mode,
        _ => 0,
    };
    assert_eq!([mode(b"/tmp"), mode(b"/var/tmp"), mode(b"/etc")], [0o1777, 0o1777, 0o755]);
    assert!(complete.node(&TreePath::parse(b"run/y").unwrap()).is_none());
}

#[test]
fn origin_changes_with_what_reaches_bundle_or_unit_only() {
    let config = Digest::of(b"config");
    let of = |settings: &str| origin(&config, &Case::with_settings(settings).settings);
    let plain = of("{}");
    for same in [
        r#"{"update": "docker://r/x"}"#,
        r#"{"enable": false}"#,
        r#"{"fallback": "embedded"}"#,
        r#"{"unit": {"replace": true}}"#,
        r#"{"run": {"read_only": true}}"#,
    ] {
        assert_eq!(of(same), plain, "{same}");
    }
    let others = [
        of(r#"{"runtime": "crun"}"#),
        of(r#"{"set": {"A": "b"}}"#),
        of(r#"{"run": {"env": {"A": "b"}}}"#),
        of(r#"{"run": {"seccomp": "unconfined"}}"#),
        of(r#"{"run": {"seccomp": "a.json"}, "seccomp_profile": {"defaultAction": "SCMP_ACT_ALLOW"}}"#),
        // What is a default for one image is a change for another that brings its own configuration.
        of(r#"{"run": {"network": "host"}}"#),
        of(r#"{"limits": {"pids": 1}}"#),
        of(r#"{"unit": {"template": "t"}}"#),
        of(r#"{"unit": {"template": "t"}, "unit_template": "x"}"#),
        origin(&Digest::of(b"other"), &Settings::default()),
        plain,
    ];
    let distinct: std::collections::BTreeSet<_> = others.iter().collect();
    assert_eq!(distinct.len(), others.len());
    assert_eq!(
        of(r#"{"run": {"seccomp": "b.json"}, "seccomp_profile": {"defaultAction": "SCMP_ACT_ALLOW"}}"#),
        others[4]
    );
}
