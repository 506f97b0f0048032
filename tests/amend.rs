//! Other settings for an image that is embedded already: its layers are not read, and the root is to the nanosecond what a
//! compose from nothing makes.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sysctr_tests::crafted::{archive, write};
use sysctr_tests::{
    Command, Compose, Crafted, Image, Layer, Listing, Mtimes, Output, Packing, Root, scratch,
};
use tempfile::TempDir;

/// All that tests compose.
const FORMS: [&str; 4] = [
    "oci:images/it",
    "oci-archive:images/oci.tar",
    "docker-archive:images/docker.tar",
    "oci:images/exports:serve",
];

const BUNDLE: &str = "usr/lib/containers/atomic/it";

/// Images in a directory of a test's own: `it` as a layout and as archives, and `serve` of the fixtures.
struct Images {
    scratch: TempDir,
}

/// Users by a link, a hard link, a device, two layers.
fn crafted(packing: Packing) -> Crafted {
    let users = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
    let base = Layer::new().dir("etc").symlink("etc/passwd", "../users").file("users", users);
    let base = base.file("etc/group", "app:x:1001:\n").dir("bin").file("bin/true", "text").dir("d");
    let base = base.file("d/file", "content").hardlink("d/again", "d/file").symlink("link", "d/file");
    let base = base.member(b'3', "null", "", 0);
    let top = Layer::new().file("d/top", "of the second layer");
    Crafted::of(&[base.bytes(), top.bytes()], packing)
}

impl Images {
    fn new() -> Self {
        let images = Self { scratch: scratch() };
        write(&crafted(Packing::Gzip).layout(), &images.path("it"));
        images.write_archives(|bytes| bytes);
        let serve = Image::exports("serve").directory().join("oci");
        Command::new("cp").arg("-a").arg(serve).arg(images.path("exports")).run().expect_ok();
        images
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The layers are what `layer` makes of them.
    fn write_archives(&self, layer: impl Fn(Vec<u8>) -> Vec<u8>) {
        let mut image = crafted(Packing::Plain);
        let (layout, docker) = (image.layout(), image.docker("it:1"));
        let blobs: Vec<_> = image.layers.drain(..).collect();
        for (mut files, name) in [(layout, "oci.tar"), (docker, "docker.tar")] {
            for bytes in files.values_mut().filter(|bytes| blobs.contains(bytes)) {
                *bytes = layer(std::mem::take(bytes));
            }
            fs::write(self.path(name), archive(&files)).unwrap();
        }
    }

    /// From here on no layer can be read.
    fn spoil(&self) {
        self.write_archives(|bytes| vec![0; bytes.len()]);
        for layout in ["it", "exports"] {
            let blobs = self.path(layout).join("blobs/sha256");
            let mut gone = 0;
            for blob in fs::read_dir(blobs).unwrap().map(|blob| blob.unwrap().path()) {
                if !fs::read(&blob).unwrap().starts_with(b"{") {
                    fs::remove_file(blob).unwrap();
                    gone += 1;
                }
            }
            assert!(gone > 0, "{layout} has layers");
        }
    }

    fn compose(&self, root: &Root, manifest: &str) -> Compose {
        let compose = Compose::into(root).manifest(manifest).add_launcher();
        symlink(self.scratch.path(), compose.work_dir().join("images")).unwrap();
        compose
    }

    /// A root with these containers, composed from nothing.
    fn composed(&self, manifest: &str) -> Root {
        let root = aged();
        self.compose(&root, manifest).run().expect_ok();
        root
    }
}

fn aged() -> Root {
    let root = Root::small();
    root.age();
    root
}

fn listing(root: &Root) -> Listing {
    Listing::of(&root.path())
}

/// One container `it`.
fn one(image: &str, settings: &str) -> String {
    format!("group = 'g'\n[[container]]\nname = 'it'\nimage = '{image}'\n{settings}\n")
}

fn it(settings: &str) -> String {
    one("oci:images/it", settings)
}

/// Three containers: `it` and `twin` of one image, and `serve`, which brings files for the host.
fn three(it: [&str; 2], twin: [&str; 2], serve: &str) -> String {
    let each = |name: &str, [image, settings]: [&str; 2]| {
        format!("[[container]]\nname = '{name}'\nimage = '{image}'\n{settings}\n")
    };
    let all = [("it", it), ("twin", twin), ("serve", ["oci:images/exports:serve", serve])];
    "group = 'g'\n".to_owned() + &all.map(|(name, container)| each(name, container)).concat()
}

/// States of one root, each made from the one before.
fn states() -> Vec<(&'static str, String)> {
    let layout = "oci:images/it";
    let mounts = "run = { user = 'app', tmpfs = ['/scratch/inner'], mounts = [\
        { source = '/etc/machine-id', target = '/first/id', file = true }] }";
    let others = "run = { user = 'app', network = 'none', env = { A = '1' }, tmpfs = ['/scratch/b', '/second/a'], \
        mounts = [{ source = '/srv', target = '/opt/deep/er' }, { source = '/x', target = '/file', file = true }] }";
    let first = three([layout, mounts], [layout, ""], "");
    vec![
        ("the first", first.clone()),
        ("values", three([layout, mounts], [layout, "run = { env = { B = '2' } }"], "set = { PORT = '81' }")),
        ("mounts", three([layout, others], [layout, "enable = false"], "set = { PORT = '82' }")),
        (
            "the image's names",
            three(["oci-archive:images/oci.tar", others], ["docker-archive:images/docker.tar", ""], ""),
        ),
        (
            "the unit",
            three(
                [layout, "unit = { phase = 'sysinit', notify = true }\nlimits = { pids = 5 }"],
                ["oci-archive:images/oci.tar", "run = { user = 'root' }\nfallback = 'embedded'"],
                "enable = false",
            ),
        ),
        ("the first again", first),
    ]
}

#[test]
fn without_layers_each_change_makes_what_a_compose_from_nothing_makes() {
    let images = Images::new();
    let states = states();
    let fresh: Vec<_> = states.iter().map(|(_, manifest)| listing(&images.composed(manifest))).collect();
    let root = images.composed(&states[0].1);
    images.spoil();
    for image in FORMS {
        let refused = images.compose(&aged(), &one(image, "")).run().expect_code(1);
        let layer = |word: &str| refused.stderr().contains(&format!("{word} layer"));
        assert!(layer("looking for a") || layer("reading"), "{image}: {}", refused.story());
    }
    for ((title, manifest), fresh) in states.iter().zip(&fresh).skip(1) {
        let before = listing(&root);
        assert!(!before.differences(fresh, Mtimes::All).is_empty(), "{title} is a change");
        let compose = images.compose(&root, manifest);
        let plan = compose.command_as(Some("plan")).run().expect_ok();
        listing(&root).expect_same(&before, Mtimes::All);
        let done = compose.run().expect_ok();
        for said in [&plan, &done] {
            assert!(!said.stdout().contains("once more"), "{title}: {}", said.story());
        }
        println!("{title}");
        listing(&root).expect_same(fresh, Mtimes::All);
        let idle = compose.run().expect_ok();
        assert!(idle.stdout().ends_with("nothing to change\n"), "{title}: {}", idle.story());
        Compose::into(&root).verb("verify").run().expect_ok();
    }
}

#[test]
fn another_epoch_and_a_mount_target_of_another_kind_need_the_layers() {
    let images = Images::new();
    let (file, directory) = (
        it("run = { mounts = [{ source = '/srv', target = '/opt/it', file = true }] }"),
        it("run = { mounts = [{ source = '/srv', target = '/opt/it' }] }"),
    );
    let root = images.composed(&file);
    images.compose(&root, &directory).run().expect_ok();
    listing(&root).expect_same(&listing(&images.composed(&directory)), Mtimes::All);
    let later = |root: &Root| images.compose(root, &directory).env("SOURCE_DATE_EPOCH", "7");
    let fresh = aged();
    later(&fresh).run().expect_ok();
    later(&root).run().expect_ok();
    // What belongs to no container keeps the first epoch.
    let bundle = |root| listing(root).below(BUNDLE);
    bundle(&root).expect_same(&bundle(&fresh), Mtimes::All);
    let before = listing(&root);
    images.spoil();
    let there_is_no = |output: Output| {
        assert!(output.stderr().contains(": there is no blobs/sha256/"), "{}", output.story());
    };
    there_is_no(images.compose(&root, &directory).run().expect_code(1));
    there_is_no(images.compose(&root, &file).env("SOURCE_DATE_EPOCH", "7").run().expect_code(1));
    listing(&root).expect_same(&before, Mtimes::All);
}

/// Something that is done to an embedded container, and what a compose with other settings says of it.
struct Damage {
    act: fn(&Path),
    /// Path in the bundle and what is wrong with it.
    told: [&'static str; 2],
}

const FIRST: &str = "run = { user = 'app', tmpfs = ['/first'] }";
const SECOND: &str = "run = { user = 'app', tmpfs = ['/d/new/er'] }";

const DAMAGE: &[Damage] = &[
    Damage {
        act: |bundle| fs::write(bundle.join("rootfs/users"), "app:x:0:0::/:/bin/sh\n").unwrap(),
        told: ["rootfs/users", "was changed after the compose"],
    },
    Damage {
        act: |bundle| fs::remove_file(bundle.join("rootfs/etc/group")).unwrap(),
        told: ["rootfs/etc/group", "is missing"],
    },
    Damage {
        act: |bundle| fs::write(bundle.join("tree.dump.zst"), "no dump").unwrap(),
        told: ["tree.dump.zst", "is not the dump that the record names"],
    },
    Damage {
        act: |bundle| fs::remove_file(bundle.join("tree.dump.zst")).unwrap(),
        told: ["tree.dump.zst", "is missing"],
    },
    Damage {
        act: |bundle| fs::write(bundle.join("layers.zst"), "no listing").unwrap(),
        told: ["layers.zst", "is not the listing that the record names"],
    },
    Damage {
        act: |bundle| fs::rename(bundle.join("rootfs"), bundle.join("elsewhere")).unwrap(),
        told: ["rootfs", "is no directory"],
    },
    Damage {
        act: |bundle| fs::write(bundle.join("rootfs/first/left"), "").unwrap(),
        told: ["rootfs/first/left", "is not of the image"],
    },
    Damage {
        act: |bundle| fs::create_dir(bundle.join("rootfs/d/new")).unwrap(),
        told: ["rootfs/d/new", "stands where a mount target is to be made"],
    },
    Damage {
        // What is made below it would else be made in the host's own directory.
        act: |bundle| {
            fs::rename(bundle.join("rootfs/d"), bundle.join("rootfs/e")).unwrap();
            symlink("/usr/lib", bundle.join("rootfs/d")).unwrap();
        },
        told: ["rootfs/d", "is no directory any more"],
    },
    Damage {
        act: |bundle| {
            fs::remove_file(bundle.join("config.json")).unwrap();
            fs::create_dir(bundle.join("config.json")).unwrap();
        },
        told: ["config.json", "is no file"],
    },
];

#[test]
fn what_is_needed_and_was_tampered_with_is_made_from_the_layers_or_nothing_is_done() {
    let images = Images::new();
    let fresh = listing(&images.composed(&it(SECOND)));
    let damaged = |damage: &Damage| {
        let root = images.composed(&it(FIRST));
        (damage.act)(&root.join(BUNDLE));
        root
    };
    for damage in DAMAGE {
        let [path, what] = damage.told;
        let root = damaged(damage);
        let done = images.compose(&root, &it(SECOND)).run().expect_ok();
        let warning = format!("warning: /{BUNDLE}/{path} {what}; it was made from the image once more\n");
        assert!(done.stdout().contains(&warning), "{path}: {}", done.story());
        listing(&root).expect_same(&fresh, Mtimes::All);
    }
    let roots: Vec<_> = DAMAGE.iter().map(damaged).collect();
    images.spoil();
    for (damage, root) in DAMAGE.iter().zip(roots) {
        let [path, what] = damage.told;
        let before = listing(&root);
        let refused = images.compose(&root, &it(SECOND)).run().expect_code(1);
        let because = format!(
            "embedding container it from oci:images/it once more, because /{BUNDLE}/{path} {what}: reading layer"
        );
        assert!(refused.stderr().contains(&because), "{path}: {}", refused.story());
        listing(&root).expect_same(&before, Mtimes::All);
    }
}

#[test]
fn what_is_not_needed_and_was_tampered_with_is_told_as_before() {
    let images = Images::new();
    let root = images.composed(&it(FIRST));
    images.spoil();
    fs::write(root.join(BUNDLE).join("rootfs/bin/true"), "TEXT").unwrap();
    fs::write(root.join(BUNDLE).join("rootfs/added"), "").unwrap();
    fs::write(root.join(BUNDLE).join("added"), "").unwrap();
    fs::write(root.join(BUNDLE).join("settings.json"), "{}").unwrap();
    fs::write(root.join(BUNDLE).join("image-config.json"), "{}").unwrap();
    images.compose(&root, &it(SECOND)).run().expect_ok();
    let verify = Compose::into(&root).verb("verify").run().expect_code(1).stdout();
    for told in
        ["rootfs/bin/true: its content is", "rootfs/added: is not", "/it/added: is not of the container"]
    {
        assert!(verify.contains(told), "{told}: {verify}");
    }
    // Files beside the root are held against what they shall be, not against the record.
    assert!(!verify.contains(".json"), "{verify}");
}

#[test]
fn a_host_file_comes_from_the_root_that_stands_only_as_it_was() {
    let images = Images::new();
    let serve = |port: &str| one("oci:images/exports:serve", &format!("set = {{ PORT = '{port}' }}"));
    let root = images.composed(&serve("81"));
    let secret = "rootfs/exports/hostfs/etc/serve/secret";
    fs::write(root.join(BUNDLE).join(secret), "S").unwrap();
    // What the host has of it goes too, and is put there again.
    fs::remove_file(root.join("etc/serve/secret")).unwrap();
    let done = images.compose(&root, &serve("82")).run().expect_ok();
    let warning =
        format!("warning: /{BUNDLE}/{secret} was changed after the compose; it was made from the image");
    assert!(done.stdout().contains(&warning), "{}", done.story());
    assert_eq!(fs::read_to_string(root.join("etc/serve/secret")).unwrap(), "s");
    images.spoil();
    fs::remove_file(root.join("etc/serve/secret")).unwrap();
    images.compose(&root, &serve("83")).run().expect_ok();
    assert_eq!(fs::read_to_string(root.join("etc/serve/secret")).unwrap(), "s");
    Compose::into(&root).verb("verify").run().expect_ok();
}

/// Told, not asserted: machines differ.
#[test]
fn how_long_it_takes_for_an_image_of_many_files() {
    let (root, many) = (aged(), Image::many());
    let compose = |value: &str| {
        let text = format!(
            "group = 'g'\n[[container]]\nname = 'many'\nimage = '{}'\n\
             run = {{ entrypoint = ['/bin/true'], env = {{ X = '{value}' }} }}\n",
            many.in_manifest()
        );
        Compose::into(&root).manifest(text).with(&many).add_launcher()
    };
    let timed = |value: &str| {
        let (compose, begun) = (compose(value), Instant::now());
        compose.run().expect_ok();
        begun.elapsed().as_millis()
    };
    let (first, changed, idle) = (timed("1"), timed("2"), timed("2"));
    let entries = root.record("many")["tree"]["entries"].clone();
    println!("{entries} entries: first {first} ms, a changed value {changed} ms, nothing changed {idle} ms");
    Compose::into(&root).verb("verify").run().expect_ok();
}
