use super::*;
use crate::digest::Digest;
use crate::settings::AbsolutePath;
use crate::tree::{ContentId, Leaf, Stat};

const CONFIG: &str = r#"{"ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": true},
 "process": {"args": ["/bin/$PROGRAM"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
 "hostname": "$UUID"}"#;
const SERVICE: &str = "[Service]\nExecStart=$EXEC_START\n[Install]\nWantedBy=$TARGET\n";

/// An image with these files below `/exports`.
struct Image {
    tree: ImageTree,
    contents: Vec<Vec<u8>>,
}

impl Image {
    fn new(files: &[(&str, &str)]) -> Self {
        let mut image = Self { tree: ImageTree::new(), contents: Vec::new() };
        for (path, text) in files {
            let (mut at, mut dir) = (crate::tree::TreePath::root(), &mut image.tree.root);
            let path = crate::tree::TreePath::parse(format!("exports/{path}").as_bytes()).unwrap();
            let (parents, name) = path.split_last().unwrap();
            for parent in parents {
                at = at.join(&parent);
                let empty =
                    || crate::tree::Node::Dir(Box::new(crate::tree::Dir::empty(Stat::implied(0o755))));
                dir = match dir.children.entry(parent).or_insert_with(empty) {
                    crate::tree::Node::Dir(inner) => inner,
                    crate::tree::Node::Leaf(_) => panic!("{at} is a file"),
                };
            }
            assert!(!dir.children.contains_key(&name));
            let content = Some(ContentId { layer: 0, ordinal: u32::try_from(image.contents.len()).unwrap() });
            let leaf = Leaf::File {
                stat: Stat::implied(0o644),
                size: text.len() as u64,
                digest: Digest::of(text.as_bytes()),
                content,
            };
            image.contents.push(text.as_bytes().to_vec());
            let id = image.tree.add_leaf(leaf);
            let mut dir = &mut image.tree.root;
            for parent in path.split_last().unwrap().0 {
                dir = match dir.children.get_mut(&parent) {
                    Some(crate::tree::Node::Dir(inner)) => inner,
                    _ => panic!("no {parent:?}"),
                };
            }
            dir.children.insert(name, crate::tree::Node::Leaf(id));
        }
        image
    }

    /// Moves a directory to `usr/share/NAME` and leaves a link with this text.
    fn link(mut self, path: &str, text: &str) -> Self {
        let path = crate::tree::TreePath::parse(path.as_bytes()).unwrap();
        let (parent, name) = (path.parent().unwrap(), path.file_name().unwrap());
        let taken = self.tree.dir_mut(&parent).unwrap().children.remove(&name).unwrap();
        for dir in ["usr", "usr/share"] {
            let dir = crate::tree::TreePath::parse(dir.as_bytes()).unwrap();
            if self.tree.node(&dir).is_none() {
                self.tree.insert_directory(&dir).unwrap();
            }
        }
        let share = crate::tree::TreePath::parse(b"usr/share").unwrap();
        self.tree.dir_mut(&share).unwrap().children.insert(name.clone(), taken);
        let link = Leaf::Symlink { stat: Stat::implied(0o777), target: text.as_bytes().into() };
        let link = crate::tree::Node::Leaf(self.tree.add_leaf(link));
        self.tree.dir_mut(&parent).unwrap().children.insert(name, link);
        self
    }

    fn read(&self, leaf: &Leaf) -> Result<Vec<u8>> {
        match leaf {
            Leaf::File { content: Some(id), .. } => Ok(self.contents[id.ordinal as usize].clone()),
            _ => Ok(Vec::new()),
        }
    }

    fn render(&self, set: &[(&str, &str)], notify: bool) -> Result<Rendered, String> {
        let read = |leaf: &Leaf| self.read(leaf);
        let brought = Brought::find(&self.tree, &read).unwrap().unwrap();
        let set = set.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let rendered = render(&Source {
            brought: &brought,
            tree: &self.tree,
            read: &read,
            built_ins: BuiltIns {
                name: &"web".parse().unwrap(),
                bundle: "/usr/lib/containers/atomic/web".into(),
                runtime: &AbsolutePath::try_from("/usr/bin/crun".to_owned()).unwrap(),
                image_name: "web",
                image: &Digest::of(b""),
                capabilities: &[],
                form: Form::Foreground,
            },
            set: &set,
            runs: Runs::Always,
            notify,
            stop_signal: &Signal::term(),
            stop_timeout: Duration::from_millis(15_000),
            root: "rootfs",
        });
        rendered.map_err(|error| format!("{error:#}"))
    }
}

#[test]
fn what_is_missing_in_all_files_is_told_at_once() {
    let image = Image::new(&[
        ("config.json.template", CONFIG),
        ("service.template", &format!("{SERVICE}# $UUID\n")),
        ("tmpfiles.template", "d $WHERE\n$\n"),
        ("manifest.json", "{\n  \"renameFiles\": {\n    \"/etc/x\": \"/etc/$NEW\"\n  }\n}\n"),
        ("hostfs/etc/x", "x"),
    ]);
    assert_eq!(
        image.render(&[], false).unwrap_err(),
        "expanding the image's templates: exports/config.json.template:2:29: PROGRAM has no value; \
         exports/service.template:4:10: TARGET has no value; \
         exports/service.template:5:3: UUID is known only when the container starts; \
         exports/tmpfiles.template:1:3: WHERE has no value; \
         exports/tmpfiles.template:2:1: `$` begins no variable; \
         exports/manifest.json:3:21: NEW has no value; \
         give values in the manifest's `set`, write a `$` itself as `$$`"
    );
}

#[test]
fn host_files_that_are_templates_are_told_too() {
    let image = Image::new(&[
        ("manifest.json", r#"{"noContainerService": true, "installedFilesTemplate": ["/etc/x"]}"#),
        ("hostfs/etc/x", "a\n${B}"),
    ]);
    assert_eq!(
        image.render(&[], false).unwrap_err(),
        "expanding the image's templates: exports/hostfs/etc/x:2:1: B has no value; give values in the manifest's `set`"
    );
    let rendered = image.render(&[("B", "b"), ("TYPO", "")], false).unwrap();
    assert_eq!(rendered.contents["/etc/x"], b"a\nb");
    assert!(rendered.config.is_none() && rendered.unit.is_none() && rendered.kept.is_none());
    assert_eq!(rendered.unused, ["TYPO".to_owned()].into());
}

#[test]
fn a_uuid_waits_for_the_start_and_the_rest_does_not() {
    let image = Image::new(&[("config.json.template", CONFIG), ("service.template", SERVICE)]);
    let set = [("PROGRAM", "x"), ("TARGET", "a.target")];
    let rendered = image.render(&set, true).unwrap();
    assert_eq!(rendered.form, Form::Notify);
    assert!(rendered.unit.unwrap().text.contains("Type=notify\nNotifyAccess=all\n"));
    assert_eq!(rendered.config.unwrap().value["hostname"], NO_UUID);
    let (template, kept) = rendered.kept.unwrap();
    assert_eq!(template, CONFIG.as_bytes());
    assert_eq!(kept.late, ["UUID".to_owned()].into());
    let at_start = late::render(&template, &kept, &BTreeMap::new(), "me").unwrap();
    assert_eq!(at_start.value["hostname"], "me");
    assert!(rendered.tmpfiles.is_none() && rendered.unused.is_empty());
}

#[test]
fn an_image_without_anything_of_ours_is_an_ordinary_one() {
    let nothing = |files: &[(&str, &str)]| {
        let image = Image::new(files);
        Brought::find(&image.tree, &|leaf| image.read(leaf)).unwrap().is_none()
    };
    assert!(nothing(&[]) && nothing(&[("README", "x")]));
    assert!(
        !nothing(&[("tmpfiles.template", "")])
            && !nothing(&[("rpm.spec", "")])
            && !nothing(&[("hostfs/x", "")])
    );
}

#[test]
fn variables_of_host_files_are_told_with_all_others() {
    let settings = r#"{"version": "1.0", "renameFiles": {"/etc/a": "/etc/$GONE"}, "installedFilesTemplate": ["/etc/a", "/etc/b"]}"#;
    let image = Image::new(&[
        ("manifest.json", settings),
        ("service.template", "[Service]\nExecStart=$EXEC_START $FIRST\n"),
        ("hostfs/etc/a", "$SECOND"),
        ("hostfs/etc/b", "$THIRD"),
    ]);
    let error = image.render(&[], false).unwrap_err();
    for name in ["FIRST", "SECOND", "THIRD", "GONE"] {
        assert!(error.contains(name), "{name} in {error}");
    }
}

#[test]
fn what_else_is_wrong_is_told_with_what_is_missing() {
    let image = Image::new(&[
        ("config.json.template", "{\"a\": $GONE}"),
        ("service.template", "[Service]\nRestart=sometimes\nExecStart=$NOTHING\n"),
        ("tmpfiles.template", "d x\nd /$LOST\nk /y\n"),
        ("manifest.json", r#"{"renameFiles": {"/etc/x": "/etc/y", "/etc/b": "/etc/a"}}"#),
        ("hostfs/etc/a", ""),
        ("hostfs/etc/b", ""),
    ]);
    assert_eq!(
        image.render(&[], false).unwrap_err(),
        "expanding the image's templates: exports/config.json.template:1:7: GONE has no value; \
         exports/service.template:3:11: NOTHING has no value; exports/tmpfiles.template:2:4: LOST has no value; \
         give values in the manifest's `set`; \
         reading /exports/hostfs: \"exports/hostfs/etc/a\" and \"exports/hostfs/etc/b\" both become /etc/a; mend renameFiles; \
         reading exports/service.template: line 2: Restart=sometimes is none of no, always, on-success, on-failure, \
         on-abnormal, on-abort, on-watchdog; \
         reading exports/tmpfiles.template: line 1: path \"x\" is not absolute; \
         reading exports/tmpfiles.template: line 3: \"k\" is no type of tmpfiles.d(5)"
    );
    let set = [("GONE", "1,"), ("NOTHING", "/x"), ("LOST", "x")];
    let error = image.render(&set, false).unwrap_err();
    assert!(error.contains("; reading exports/config.json.template, its variables replaced: "), "{error}");
}

#[test]
fn a_place_in_a_new_name_is_exact() {
    let settings = "{\"defaultValues\": {\"A\": \"/etc/$B\"},\n \"renameFiles\": {\"/etc/$B\": \"/x\",\n  \
        \"//etc/\\u0061\":  \"/etc/\\u00e4\\/$B\"}}";
    let image = Image::new(&[("manifest.json", settings), ("hostfs/etc/a", "")]);
    assert_eq!(
        image.render(&[], false).unwrap_err(),
        "expanding the image's templates: exports/manifest.json:3:34: B has no value; give values in the manifest's `set`"
    );
}

#[test]
fn the_type_counts_that_a_variable_gives() {
    let image = Image::new(&[("service.template", "[Service]\nType=$KIND\nExecStart=$EXEC_START\n")]);
    for (kind, form) in [("notify", Form::Notify), ("simple", Form::Foreground)] {
        let rendered = image.render(&[("KIND", kind)], false).unwrap();
        assert_eq!(rendered.form, form);
        let text = rendered.unit.unwrap().text;
        assert_eq!(text.contains("NotifyAccess=all"), form == Form::Notify, "{text}");
    }
}
#[test]
fn links_are_followed_in_the_image_and_never_out_of_it() {
    let files = || {
        Image::new(&[
            ("config.json.template", CONFIG),
            (
                "manifest.json",
                r#"{"renameFiles": {"/etc/a": "/etc/b"}, "installedFilesTemplate": ["/etc/a"]}"#,
            ),
            ("hostfs/etc/a", "$PROGRAM"),
        ])
    };
    let set = [("PROGRAM", "x")];
    let plain = files().render(&set, false).unwrap();
    // `..` stays in the root, and what is absolute begins there.
    for text in ["usr/share/exports", "/usr/share/exports", "../../usr/share/exports"] {
        let image = files().link("exports/hostfs", "/usr/share/hostfs").link("exports", text);
        let rendered = image.render(&set, false).unwrap();
        assert_eq!(rendered.contents, plain.contents, "{text}");
        assert_eq!(rendered.config.unwrap().value, plain.config.as_ref().unwrap().value, "{text}");
        let places = rendered.host_files.iter().map(|file| format!("{} {}", file.from, file.path));
        let expected = ["\"/usr/share/hostfs/etc\" /etc", "\"/usr/share/hostfs/etc/a\" /etc/b"];
        assert_eq!(places.collect::<Vec<_>>(), expected, "{text}");
        assert_eq!(rendered.warnings, plain.warnings);
        let contents = brought::contents(&image.tree);
        assert!((0..3).all(|ordinal| contents.contains(&ContentId { layer: 0, ordinal })), "{contents:?}");
    }
    let error = files().link("exports/hostfs", "/gone").render(&set, false).unwrap_err();
    assert_eq!(error, "reading /exports/hostfs: it is a link that leads to nothing in the image");
}

#[test]
fn what_seems_to_be_meant_for_us_is_told() {
    let told = |image: Image| {
        assert!(Brought::find(&image.tree, &|leaf| image.read(leaf)).unwrap().is_none());
        brought::overlooked(&image.tree)
    };
    let renamed = |mut image: Image, name: &[u8]| {
        let exports = image.tree.root.children.remove(&b"exports"[..]).unwrap();
        image.tree.root.children.insert(crate::tree::FileName::new(name).unwrap(), exports);
        image
    };
    let image = || Image::new(&[("config.json.template", CONFIG), ("service.template", SERVICE)]);
    assert_eq!(
        told(renamed(image(), b"export")).as_deref(),
        Some("/export/config.json.template of the image has no effect: the directory's name is /exports")
    );
    assert_eq!(told(renamed(Image::new(&[("data", "x")]), b"export")), None);
    assert_eq!(told(renamed(image(), b"elsewhere")), None);
    for text in ["/etc/none", "exports"] {
        assert_eq!(
            told(image().link("exports", text)).as_deref(),
            Some("/exports of the image has no effect: it leads to no directory in the image")
        );
    }
}

#[test]
fn what_a_hosts_admin_sets_for_a_new_name_comes_too_late_and_is_told() {
    let image = Image::new(&[
        ("config.json.template", CONFIG),
        ("manifest.json", r#"{"renameFiles": {"/etc/x": "/etc/$NEW"}}"#),
        ("hostfs/etc/x", "x"),
    ]);
    let rendered = image.render(&[("PROGRAM", "x"), ("NEW", "y")], false).unwrap();
    let (template, kept) = rendered.kept.unwrap();
    let admin = BTreeMap::from([("NEW".to_owned(), "z".to_owned())]);
    let warnings = late::render(&template, &kept, &admin, "me").unwrap().warnings;
    let told = "set.NEW does not reach exports/manifest.json, which was rendered with the host image";
    assert_eq!(warnings.first().map(String::as_str), Some(told));
}
