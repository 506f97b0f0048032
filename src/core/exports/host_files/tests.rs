use std::collections::BTreeMap;

use super::super::template::Expanded;
use super::ground::tests::Listed;
use super::*;
use crate::tree::FileName;

/// A tree of `hostfs`: `etc/` a directory, `etc/x` a file of mode 0644, `bin/y*` one of 0755, `l -> t` a link.
pub(crate) fn tree(entries: &[&str]) -> ImageTree {
    let mut tree = ImageTree::new();
    for dir in ["exports", HOST_FILES] {
        tree.insert_directory(&TreePath::parse(dir.as_bytes()).unwrap()).unwrap();
    }
    for entry in entries {
        let (name, target) = entry.split_once(" -> ").map_or((*entry, None), |(name, to)| (name, Some(to)));
        let path = format!("{HOST_FILES}/{}", name.trim_end_matches(['/', '*']));
        let path = TreePath::parse(path.as_bytes()).unwrap();
        if name.ends_with('/') {
            tree.insert_directory(&path).unwrap();
            continue;
        }
        tree.insert_file(&path).unwrap();
        let mode = if name.ends_with('*') { 0o755 } else { 0o644 };
        let stat = Stat { uid: 996, gid: 994, ..Stat::implied(mode) };
        let leaf = match target {
            Some(target) => Leaf::Symlink { stat, target: target.as_bytes().into() },
            None => Leaf::File { stat, size: 0, digest: crate::digest::Digest::of(b""), content: None },
        };
        let id = tree.add_leaf(leaf);
        let mut dir = &mut tree.root;
        let (parents, last) = path.split_last().unwrap();
        for parent in parents {
            dir = match dir.children.get_mut(&parent) {
                Some(Node::Dir(inner)) => inner,
                _ => panic!("no parent"),
            };
        }
        dir.children.insert(FileName::new(last.as_bytes()).unwrap(), Node::Leaf(id));
    }
    tree
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

fn settings(templates: &[&str]) -> ImageSettings {
    let installed_files_template = templates.iter().map(|path| (*path).to_owned()).collect();
    ImageSettings { installed_files_template, ..ImageSettings::default() }
}

fn listed(
    entries: &[&str],
    renames: &[(&str, &str)],
    templates: &[&str],
) -> Result<(Vec<String>, Vec<String>)> {
    let mut warnings = Vec::new();
    let files = list(&tree(entries), &settings(templates), &map(renames), &mut warnings)?;
    let spelled = |file: &HostFile| match &file.node {
        HostNode::Directory(_) => format!("{}/", file.path),
        HostNode::File { content: Content::Template, .. } => format!("{} $", file.path),
        HostNode::File { .. } => file.path.clone(),
        HostNode::Symlink(_, target) => format!("{} -> {}", file.path, String::from_utf8_lossy(target)),
    };
    Ok((files.iter().map(spelled).collect(), warnings))
}

/// A§4.11 (3): after each component, what the path has become so far is looked up.
#[test]
fn renaming_goes_prefix_by_prefix() {
    for (path, renames, expected) in [
        (
            "/usr/local/bin/ctl",
            &[("/usr/local/bin/ctl", "/usr/local/bin/etcdctl")][..],
            "/usr/local/bin/etcdctl",
        ),
        ("/etc/etcd/etcd.conf", &[("/etc/etcd", "/etc/n1")], "/etc/n1/etcd.conf"),
        ("/a/b/c", &[("/a", "/x"), ("/a/b", "/never")], "/x/b/c"),
        ("/a/b/c", &[("/a", "/x"), ("/x/b", "/y")], "/y/c"),
        ("/a/b", &[("/a/b", "/c"), ("/c", "/never")], "/c"),
        ("/a/a", &[("/a", "/a/a")], "/a/a/a"),
        ("/ab/c", &[("/a", "/x")], "/ab/c"),
        ("/a/b", &[], "/a/b"),
    ] {
        assert_eq!(renamed(path, &map(renames)), expected, "{path} {renames:?}");
    }
}

#[test]
fn everything_is_listed_with_what_it_is() {
    let entries = [
        "etc/",
        "etc/app/",
        "etc/app/app.conf",
        "etc/empty/",
        "usr/",
        "usr/bin/",
        "usr/bin/ctl*",
        "top -> /gone",
        "opt/",
    ];
    let renames = [("/etc/app", "/etc/n1"), ("/usr/bin/ctl", "/usr/bin/n1ctl"), ("/none", "/x")];
    let templates = ["/etc/app/app.conf", "/usr/bin/n1ctl", "/missing"];
    let (files, warnings) = listed(&entries, &renames, &templates).unwrap();
    assert_eq!(
        files,
        [
            "/etc/",
            "/etc/empty/",
            "/etc/n1/",
            "/etc/n1/app.conf $",
            "/opt/",
            "/top -> /gone",
            "/usr/",
            "/usr/bin/",
            "/usr/bin/n1ctl $"
        ]
    );
    assert_eq!(
        warnings,
        [
            "exports/manifest.json: renameFiles: no host file lies at /none",
            "exports/manifest.json: installedFilesTemplate: no regular host file lies at /missing"
        ]
    );
    let none = list(&ImageTree::new(), &settings(&[]), &BTreeMap::new(), &mut Vec::new()).unwrap();
    assert_eq!(none, []);
}

#[test]
fn renames_that_lead_nowhere_are_refused() {
    for (entries, renames, message) in [
        (
            &["a", "b"][..],
            &[("/a", "/b")][..],
            "reading /exports/hostfs: \"exports/hostfs/a\" and \"exports/hostfs/b\" both become /b; mend renameFiles",
        ),
        (
            &["a", "d/", "d/x"],
            &[("/d/x", "/a/x")],
            "reading /exports/hostfs: \"/exports/hostfs/d/x\" becomes /a/x, but /a is no directory",
        ),
        (
            &["a"],
            &[("/a", "../b")],
            "reading exports/manifest.json: renameFiles: /a becomes \"../b\", not an absolute path free of `..`",
        ),
        (
            &["a"],
            &[("/a", "/x/../../b")],
            "reading exports/manifest.json: renameFiles: /a becomes \"/x/../../b\", not an absolute path free of `..`",
        ),
    ] {
        assert_eq!(format!("{:#}", listed(entries, renames, &[]).unwrap_err()), message);
    }
}

fn decided(entries: &[&str], target: &[&str], templates: &[&str], allow: &[&str]) -> Result<Decided> {
    let files = list(&tree(entries), &settings(templates), &BTreeMap::new(), &mut Vec::new())?;
    let allow: Vec<String> = allow.iter().map(|path| (*path).to_owned()).collect();
    let seeding =
        Seeding { unit: Some("web.service"), factory: "/usr/share/factory".into(), allow_conflicts: &allow };
    decide(&Listed::new(target), &files, &seeding)
}

#[test]
fn the_host_image_gets_what_it_can_carry_and_the_machine_the_rest() {
    let entries = [
        "etc/",
        "etc/app.conf",
        "usr/",
        "usr/share/",
        "usr/share/new/",
        "usr/share/new/x",
        "var/",
        "var/lib/",
        "var/lib/app/",
        "var/lib/app/state%1",
        "var/lib/app/rendered",
        "var/lib/app/l -> a b",
        "opt/",
        "opt/bin/",
        "opt/bin/tool*",
    ];
    let target = ["usr/", "usr/etc/", "usr/share/", "opt -> var/opt", "var/"];
    let decided = decided(&entries, &target, &["/var/lib/app/rendered"], &["/nothing"]).unwrap();
    let placed: Vec<_> = decided.placed.iter().map(|placed| placed.at.as_str()).collect();
    let seeds = ["opt/bin/tool", "lib/app/rendered", "lib/app/state%1"];
    let mut expected = vec!["usr/etc/app.conf".to_owned()];
    expected.push(format!("usr/share/factory/var/{}", seeds[0]));
    expected.extend(["usr/share/new", "usr/share/new/x"].map(str::to_owned));
    expected.extend(seeds[1..].iter().map(|path| format!("usr/share/factory/var/{path}")));
    assert_eq!(placed, expected);
    assert_eq!(
        decided.tmpfiles,
        "d /var/opt/bin :0755 :0 :0 - -\n\
         f /var/opt/bin/tool 0000 0 0 - -\n\
         d /var/lib/app :0755 :0 :0 - -\n\
         L /var/lib/app/l - - - - a b\n\
         C /var/lib/app/rendered - - - - /usr/share/factory/var/lib/app/rendered\n\
         C /var/lib/app/state%%1 - - - - /usr/share/factory/var/lib/app/state%%1\n"
    );
    assert_eq!(
        super::super::tmpfiles::check(&Expanded::literal(decided.tmpfiles.as_bytes())).unwrap().makes.len(),
        6
    );
    let seeds = |path: &str| decided.seeds.get(Utf8Path::new(path)).map(|file| file.path.as_str());
    assert_eq!(seeds("/var/opt/bin/tool"), Some("/opt/bin/tool"));
    assert_eq!((decided.seeds.len(), seeds("/var/lib")), (6, None));
    assert_eq!(decided.mounts.len(), 1);
    assert_eq!(decided.mounts[0].name, "var-opt-bin-tool.mount");
    assert_eq!(
        decided.mounts[0].links[0],
        ("web.service.wants/var-opt-bin-tool.mount".into(), "../var-opt-bin-tool.mount".into())
    );
    assert!(
        decided.mounts[0]
            .text
            .contains("What=/usr/share/factory/var/opt/bin/tool\nWhere=/var/opt/bin/tool\n")
    );
    let drop_in = "var-opt-bin-tool.mount.d/50-sysctr-web.conf";
    assert_eq!(decided.mounts[0].drop_in, Some((drop_in.into(), "[Unit]\nBefore=web.service\n".to_owned())));
    assert_eq!(decided.warnings, [""; 0]);
}

#[test]
fn what_the_target_has_stays_unless_it_is_allowed() {
    let target = ["etc/", "etc/x", "etc/d/", "etc/l -> x", "usr/"];
    let conflict = |entries: &[&str], allow: &[&str]| {
        decided(entries, &target, &[], allow).map_err(|error| error.to_string())
    };
    assert_eq!(
        conflict(&["etc/", "etc/x"], &[]).unwrap_err(),
        "placing host file /etc/x: the target has a file at /etc/x; put it into allow_conflicts to replace it, or remove \
         it from the target"
    );
    assert_eq!(conflict(&["etc/", "etc/x"], &["/etc/x"]).unwrap().placed.len(), 1);
    assert_eq!(
        conflict(&["etc/", "etc/d"], &["/etc/d"]).unwrap_err(),
        "placing host file /etc/d: the target has a directory at /etc/d; remove it from the target"
    );
    assert_eq!(
        conflict(&["etc/", "etc/l"], &[]).unwrap_err(),
        "placing host file /etc/l: the target has a symbolic link at /etc/l; put it into allow_conflicts to replace it, \
         or remove it from the target"
    );
    assert_eq!(
        conflict(&["etc/", "etc/x/"], &["/etc/x"]).unwrap_err(),
        "placing host file /etc/x: the target has a file at /etc/x; remove it from the target"
    );
    assert_eq!(conflict(&["etc/", "etc/d/"], &[]).unwrap().placed, []);
}

#[test]
fn two_host_files_at_one_place_of_the_target_are_refused() {
    let target = ["usr/", "usr/bin/", "usr/etc/", "var/", "bin -> usr/bin", "opt -> var/opt"];
    for (entries, path, other, at) in [
        (&["bin/", "bin/zz", "usr/", "usr/bin/", "usr/bin/zz"][..], "/usr/bin/zz", "/bin/zz", "/usr/bin/zz"),
        (&["bin/", "bin/zz", "usr/", "usr/bin/", "usr/bin/zz/"], "/usr/bin/zz", "/bin/zz", "/usr/bin/zz"),
        (&["opt/", "opt/c", "var/", "var/opt/", "var/opt/c"], "/var/opt/c", "/opt/c", "/var/opt/c"),
        (&["opt/", "opt/c*", "var/", "var/opt/", "var/opt/c*"], "/var/opt/c", "/opt/c", "/var/opt/c"),
        (&["etc/", "etc/c", "usr/", "usr/etc/", "usr/etc/c"], "/usr/etc/c", "/etc/c", "/usr/etc/c"),
    ] {
        assert_eq!(
            decided(entries, &target, &[], &[path, other]).unwrap_err().to_string(),
            format!(
                "placing host file {path}: {other} comes to lie at {at} too, by links of the target; leave one of them \
                 out, or give it another path by renameFiles"
            )
        );
    }
    let directories = ["opt/", "opt/c/", "var/", "var/opt/", "var/opt/c/"];
    let decided = decided(&directories, &target, &[], &[]).unwrap();
    assert_eq!(decided.tmpfiles, "d /var/opt/c :0755 :0 :0 - -\n");
}

#[test]
fn attributes_are_missed_only_where_a_file_is_copied() {
    let mut files = list(
        &tree(&["var/", "var/lib/", "var/lib/copied", "var/lib/bound*"]),
        &settings(&[]),
        &BTreeMap::new(),
        &mut Vec::new(),
    )
    .unwrap();
    for file in &mut files {
        if let HostNode::File { stat, .. } = &mut file.node {
            stat.xattrs = Some(Box::new([(b"user.x"[..].into(), b"1"[..].into())].into()));
        }
    }
    let seeding = Seeding { unit: None, factory: "/f".into(), allow_conflicts: &[] };
    let decided = decide(&Listed::new(&["var/"]), &files, &seeding).unwrap();
    assert_eq!(decided.warnings, ["/var/lib/copied: extended attributes do not reach /var/lib/copied"]);
}
