//! Names and links in layers that want out of the root, or lead nowhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sysctr_tests::crafted::{Crafted, Packing, digest};
use sysctr_tests::{Layer, Listing, Root};

use crate::Stage;

/// What layer `number` of `of` is told by.
fn reading(image: &Crafted, number: usize) -> String {
    let of = image.layers.len();
    let name = digest(&image.layers[number - 1]);
    format!("embedding container it from oci:image: reading layer {number} of {of} ({name})")
}

fn image(layers: &[Layer]) -> Crafted {
    Crafted::of(&layers.iter().map(Layer::bytes).collect::<Vec<_>>(), Packing::Gzip)
}

#[test]
fn names_that_lead_out() {
    let out = "has a `..` component, which could lead out of the root";
    let absolute = "is absolute; names in a layer are relative to its root";
    for (layer, why) in [
        (Layer::new().file("../x", "x"), format!("name \"../x\" {out}")),
        (Layer::new().dir("a").file("a/../../x", "x"), format!("name \"a/../../x\" {out}")),
        (Layer::new().dir("a").file("a/..", "x"), format!("name \"a/..\" {out}")),
        (Layer::new().file("/etc/passwd", "x"), format!("name \"/etc/passwd\" {absolute}")),
        (Layer::new().file("//x", "x"), format!("name \"//x\" {absolute}")),
        (Layer::new().file("../.wh.x", ""), format!("name \"../.wh.x\" {out}")),
        (
            Layer::new().pax(&[("path", "../../by-pax")]).file("harmless", "x"),
            format!("name \"../../by-pax\" {out}"),
        ),
        (
            Layer::new().pax(&[("linkpath", "../../by-pax")]).hardlink("harmless", "harmless-too"),
            format!("entry \"/harmless\": its hard link leads nowhere: name \"../../by-pax\" {out}"),
        ),
    ] {
        let image = image(&[layer]);
        Stage::with(&image.layout()).refuses(&format!("{}: {why}", reading(&image, 1)));
    }
}

#[test]
fn hard_links_that_lead_nowhere() {
    let base = Layer::new().dir("dir").file("gone", "x").symlink("out", "/etc/passwd").file("a", "a");
    let nothing = "there is no such file in this layer so far or in the layers below";
    let out = "has a `..` component, which could lead out of the root";
    let absolute = "is absolute; names in a layer are relative to its root";
    for (layer, why) in [
        (
            Layer::new().hardlink("h", "../../etc/passwd"),
            format!("entry \"/h\": its hard link leads nowhere: name \"../../etc/passwd\" {out}"),
        ),
        (
            Layer::new().hardlink("h", "/etc/passwd"),
            format!("entry \"/h\": its hard link leads nowhere: name \"/etc/passwd\" {absolute}"),
        ),
        (Layer::new().hardlink("h", "nothing"), format!("hard link \"/h\" to \"/nothing\": {nothing}")),
        (Layer::new().hardlink("a", "a"), format!("hard link \"/a\" to \"/a\": {nothing}")),
        (
            Layer::new().hardlink("h", "late").file("late", ""),
            format!("hard link \"/h\" to \"/late\": {nothing}"),
        ),
        (
            Layer::new().file(".wh.gone", "").hardlink("h", "gone"),
            format!("hard link \"/h\" to \"/gone\": {nothing}"),
        ),
        (
            Layer::new().hardlink("h", "gone").file(".wh.gone", ""),
            format!("hard link \"/h\" to \"/gone\": {nothing}"),
        ),
        (
            Layer::new().hardlink("h", "dir"),
            "hard link \"/h\" to \"/dir\": a directory can't have two names".to_owned(),
        ),
        // Through a link that leads out: it leads to the image's own /etc, which has no shadow.
        (
            Layer::new().symlink("up", "/etc").hardlink("h", "up/shadow"),
            format!("hard link \"/h\" to \"/up/shadow\": {nothing}"),
        ),
    ] {
        let image = image(&[base.clone(), layer]);
        Stage::with(&image.layout()).refuses(&format!("{}: {why}", reading(&image, 2)));
    }
}

#[test]
fn entries_that_can_t_be_where_they_want_to_be() {
    for (layer, why) in [
        (
            Layer::new().file("a", "").file("a/b", ""),
            "entry \"/a/b\": its parent \"/a\" is not a directory".to_owned(),
        ),
        (
            Layer::new().symlink("a", "b").symlink("b", "a").file("a/c", ""),
            "entry \"/a/c\": path \"a\" leads through more than 40 symbolic links".to_owned(),
        ),
        (Layer::new().file(".", ""), "entry \"/\": the root can only be a directory".to_owned()),
        (Layer::new().file(".wh.", ""), "entry \"/.wh.\" is a whiteout of nothing".to_owned()),
        (
            Layer::new().file(".wh.a/b", ""),
            "entry \"/.wh.a/b\" lies beneath a whiteout, which has nothing beneath it".to_owned(),
        ),
        (
            Layer::new().member(b'V', "label", "", 0),
            "entry \"label\": its type \"V\" is a GNU volume label, which layers don't have".to_owned(),
        ),
        (Layer::new().symlink("a", ""), "entry \"/a\": no symbolic link can have the target \"\"".to_owned()),
    ] {
        let image = image(&[layer]);
        Stage::with(&image.layout()).refuses(&format!("{}: {why}", reading(&image, 1)));
    }
}

/// Whatever links are in the way: what is made lies in the rootfs, as umoci has it.
#[test]
fn symbolic_links_never_lead_out() {
    let file = |name: &str| Layer::new().file(name, "evil");
    let tricks = [
        vec![Layer::new().symlink("x", "/etc"), file("x/passwd")],
        vec![Layer::new().symlink("x", "../.."), file("x/passwd")],
        vec![Layer::new().symlink("x", "../../../../../../etc"), file("x/passwd"), file("x/sub/y")],
        vec![Layer::new().symlink("x", "/etc").dir("x/conf").file("x/conf/y", "evil")],
        vec![Layer::new().dir("a").symlink("a/up", "..").file("a/up/a/up/deep", "evil")],
        vec![Layer::new().symlink("x", "/etc/passwd"), file("x")],
        vec![Layer::new().dir("etc").symlink("etc/x", "/"), file("etc/x/etc/x/etc/passwd")],
        vec![
            Layer::new().dir("etc").file("etc/gone", "").symlink("x", "/etc"),
            Layer::new().file("x/.wh.gone", ""),
        ],
        vec![
            Layer::new().dir("etc").file("etc/gone", "").symlink("x", "/etc"),
            Layer::new().file("x/.wh..wh..opq", ""),
        ],
        vec![Layer::new().symlink("out", "/etc/hostname"), Layer::new().hardlink("h", "out")],
        vec![Layer::new().symlink("x", "/proc/self/root"), file("x/escaped")],
    ];
    for trick in tricks {
        let image = image(&trick);
        let stage = Stage::with(&image.layout());
        let outside = Outside::around(&stage);
        stage.compose.run().expect_ok();
        outside.unchanged();
        let mut embedded = Listing::of(&stage.root.bundle("it").join("rootfs"));
        forget_mount_targets(&mut embedded, &stage.root);
        let mut expected = Listing::of(&umoci(&stage).join("rootfs"));
        // No entry is the root itself.
        embedded.remove(b"");
        expected.remove(b"");
        embedded.expect_same(&expected, sysctr_tests::Mtimes::None);
    }
}

/// What a trick would reach if it led out: this machine's /etc, and what lies beside the root.
struct Outside {
    beside: PathBuf,
    files: Vec<(PathBuf, Option<fs::Metadata>)>,
}

impl Outside {
    fn around(stage: &Stage) -> Self {
        let beside = stage.root.path().parent().unwrap().to_owned();
        let names = ["passwd", "conf", "sub", "hostname", "gone", "escaped", "deep"];
        let reached = names.iter().flat_map(|name| {
            let above = stage.root.path();
            let above = above.ancestors().map(|dir| dir.join(name));
            above.chain([Path::new("/etc").join(name)]).collect::<Vec<_>>()
        });
        let files = reached.map(|path| (path.clone(), path.symlink_metadata().ok())).collect();
        Self { beside, files }
    }

    #[track_caller]
    fn unchanged(&self) {
        use std::os::unix::fs::MetadataExt as _;
        let told =
            |meta: &fs::Metadata| (meta.ino(), meta.size(), meta.mode(), meta.mtime_nsec(), meta.nlink());
        for (path, was) in &self.files {
            let is = path.symlink_metadata().ok();
            assert_eq!(is.as_ref().map(told), was.as_ref().map(told), "{}", path.display());
        }
        let names: Vec<_> = fs::read_dir(&self.beside).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["root"]);
    }
}

fn umoci(stage: &Stage) -> PathBuf {
    let work = stage.compose.work_dir();
    let index = work.join("image/index.json");
    let text = fs::read_to_string(&index).unwrap();
    let name = "\"annotations\":{\"org.opencontainers.image.ref.name\":\"x\"},\"digest\"";
    fs::write(&index, text.replacen("\"digest\"", name, 1)).unwrap();
    let umoci = Command::new("umoci")
        .args(["unpack", "--image", "image:x", "bundle"])
        .current_dir(work)
        .output()
        .unwrap();
    assert!(umoci.status.success(), "{}", String::from_utf8_lossy(&umoci.stderr));
    work.join("bundle")
}

fn forget_mount_targets(listing: &mut Listing, root: &Root) {
    let record = root.record("it");
    for path in record["tree"]["mount_targets"].as_array().unwrap() {
        listing.remove(path.as_str().unwrap().trim_start_matches('/').as_bytes()).unwrap();
    }
}

#[test]
fn a_name_that_no_file_system_holds() {
    let long = "n".repeat(256);
    let image = image(&[Layer::new().pax(&[("path", &long)]).file("short", "")]);
    let why = format!("name \"{long}\" has a component of more than 255 bytes");
    Stage::with(&image.layout()).refuses(&format!("{}: {why}", reading(&image, 1)));
}

/// What an image's names say to a terminal is not said to it.
#[test]
fn names_with_control_characters() {
    let image = image(&[Layer::new().file("a\x1b[2J\nb/../x", "")]);
    let why = "name \"a\\u{1b}[2J\\nb/../x\" has a `..` component, which could lead out of the root";
    Stage::with(&image.layout()).refuses(&format!("{}: {why}", reading(&image, 1)));
    let stage = Stage::layer(&Layer::new().member(b'3', "null\x1b[2J\nadded", "", 0));
    let composed = stage.compose.run().expect_ok();
    let left_out = "        left out /null\\u{1b}[2J\\nadded (character device)\n";
    assert!(composed.stdout().contains(left_out), "{}", composed.story());
    assert_eq!(stage.root.record("it")["tree"]["left_out"][0]["path"], "/null\x1b[2J\nadded");
}
