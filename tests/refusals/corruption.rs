//! Every byte of an image that something depends on: corrupted in turn, and never taken for the image that was meant.

use serde_json::Value;
use sysctr_tests::crafted::{Crafted, Files, Packing, archive, blob_name, digest};
use sysctr_tests::{Layer, Listing, Mtimes};

use crate::{MANIFEST, Stage};

/// An image of three layers in which each has something of the result.
fn image(packing: Packing) -> Crafted {
    let tars = [
        Layer::new().dir("d").file("d/a", "one".repeat(300)).file("gone", "x"),
        Layer::new().file("d/b", "two".repeat(300)).symlink("l", "d/b"),
        Layer::new().file(".wh.gone", "").hardlink("d/c", "d/a").file("e", "three"),
    ];
    Crafted::of(&tars.each_ref().map(|layer| layer.bytes()), packing)
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    bytes
}

/// Every blob, one bit of it wrong: for gzip at its beginning, in the middle and at its end, else in the middle.
#[test]
fn each_blob_of_a_layout_in_a_directory_and_in_an_archive() {
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd(20)] {
        let image = image(packing);
        let [manifest, config] = [image.manifest_bytes(), image.config_bytes()].map(|bytes| digest(&bytes));
        let resolving = |what: &str| {
            format!("resolving container it: reading image FORM: reading the image {what}: blob ")
        };
        let mut blobs = vec![
            (resolving("manifest") + &manifest, manifest),
            (resolving("configuration") + &config, config),
        ];
        blobs.extend(image.layers.iter().enumerate().map(|(index, layer)| {
            let name = digest(layer);
            let reading = format!("reading layer {} of 3 ({name})", index + 1);
            (format!("embedding container it from FORM: {reading}"), name)
        }));
        for (doing, expected) in &blobs {
            let name = blob_name(expected);
            let right = image.layout()[&name].clone();
            let middle = right.len() / 2;
            let everywhere = [middle, 0, right.len() - 1];
            for at in if packing == Packing::Gzip { &everywhere[..] } else { &everywhere[..1] } {
                let wrong = flipped(&right, *at);
                let found = digest(&wrong);
                let mut files = image.layout();
                files.insert(name.clone(), wrong);
                let message =
                    format!("{doing}: its bytes have the digest {found}, it should have {expected}");
                Stage::with(&files).refuses(&message.replace("FORM", "oci:image"));
                if *at == middle && packing == Packing::Gzip {
                    let form = "oci-archive:image.tar";
                    in_archive(form, &archive(&files)).refuses(&message.replace("FORM", form));
                }
            }
        }
    }
}

fn in_archive(reference: &str, bytes: &[u8]) -> Stage {
    let stage = Stage::of(&MANIFEST.replace("oci:image", reference));
    std::fs::write(stage.compose.work_dir().join("image.tar"), bytes).unwrap();
    stage
}

#[test]
fn each_file_of_a_docker_archive() {
    let image = image(Packing::Plain);
    let files = image.docker("localhost/x:1");
    let form = "docker-archive:image.tar";
    in_archive(form, &archive(&files)).compose.run().expect_ok();
    let with = |name: &str, bytes: Vec<u8>| {
        let mut files = files.clone();
        files.insert(name.to_owned(), bytes);
        in_archive(form, &archive(&files))
    };
    let config = digest(&image.config_bytes());
    let name = format!("{}.json", &config[7..]);
    let wrong = flipped(&files[&name], 20);
    with(&name, wrong.clone()).refuses(&format!(
        "resolving container it: reading image {form}: reading the image configuration {name}: its bytes have the digest \
         {}, it should have {config}",
        digest(&wrong)
    ));
    for layer in 0..3 {
        let name = format!("{layer}/layer.tar");
        let right = &files[&name];
        let reading =
            format!("embedding container it from {form}: reading layer {} of 3 ({name})", layer + 1);
        // In a content.
        let wrong = flipped(right, [1024, 512, 1536][layer]);
        with(&name, wrong.clone()).refuses(&format!(
            "{reading}: its uncompressed bytes have the digest {}, the image configuration has the diff_id {}",
            digest(&wrong),
            digest(right)
        ));
        let wrong = flipped(right, right.len() - 1);
        with(&name, wrong)
            .refuses(&format!("{reading}: header error: checksum mismatch: expected 0, computed 272"));
    }
    let manifest = String::from_utf8(files["manifest.json"].clone()).unwrap();
    with("manifest.json", b"[{".to_vec()).refuses(&format!(
        "resolving container it: reading image {form}: reading manifest.json: EOF while parsing an object at line 1 column 2"
    ));
    with("manifest.json", manifest.replace("1/layer", "9/layer").into_bytes())
        .refuses(&format!("resolving container it: reading image {form}: there is no layer 9/layer.tar"));
    with("manifest.json", manifest.replace(&name, "0.json").into_bytes())
        .refuses(&format!("resolving container it: reading image {form}: there is no configuration 0.json"));
    in_archive("docker-archive:image.tar:x:2", &archive(&files)).refuses(
        "resolving container it: reading image docker-archive:image.tar:x:2: it has no image \"x:2\"; there are \
         localhost/x:1",
    );
    in_archive("docker-archive:image.tar", &archive(&image.layout())).refuses(
        "resolving container it: reading image docker-archive:image.tar: there is no archive of docker save, which has a \
         file manifest.json; it is one for oci-archive:",
    );
    in_archive("oci-archive:image.tar", &archive(&files)).refuses(
        "resolving container it: reading image oci-archive:image.tar: there is no OCI layout, which has a file oci-layout; \
         it is one for docker-archive:",
    );
}

#[test]
fn an_index_that_is_none() {
    let image = image(Packing::Gzip);
    let manifest = digest(&image.manifest_bytes());
    let text = String::from_utf8(image.layout()["index.json"].clone()).unwrap();
    let resolving = "resolving container it: reading image oci:image";
    for (text, why) in [
        (String::new(), "reading index.json: EOF while parsing a value at line 1 column 0".to_owned()),
        ("{\"manifests\": 3}".to_owned(), {
            "reading index.json: invalid type: integer `3`, expected a sequence at line 1 column 15".to_owned()
        }),
        (
            text.replace(&manifest, &format!("sha256:{}", "0".repeat(64))),
            format!("reading the image manifest: there is no blobs/sha256/{}", "0".repeat(64)),
        ),
        (
            text.replace(&manifest, "sha256:../../../etc/passwd"),
            "reading the image manifest: digest \"sha256:../../../etc/passwd\" is not `sha256:` and 64 lower-case hexadecimal digits"
                .to_owned(),
        ),
    ] {
        let mut files = image.layout();
        files.insert("index.json".to_owned(), text.into_bytes());
        Stage::with(&files).refuses(&format!("{resolving}: {why}"));
    }
    let mut files = image.layout();
    files.remove("index.json");
    Stage::with(&files).refuses(&format!("{resolving}: its layout has no index.json"));
    let mut files = image.layout();
    files.insert("oci-layout".to_owned(), b"{\"imageLayoutVersion\": \"2.0\"}".to_vec());
    Stage::with(&files).refuses(&format!(
        "{resolving}: its layout has the version \"2.0\"; version 1 is the one that is known"
    ));
}

/// One flipped bit anywhere in an archive: either refused in one line, or nothing came of it. A compose that succeeds has
/// the very tree.
#[test]
fn one_wrong_bit_anywhere_in_an_archive() {
    let forms: [(&str, Files); 2] = [
        ("oci-archive:image.tar", image(Packing::Gzip).layout()),
        ("docker-archive:image.tar", image(Packing::Plain).docker("x:1")),
    ];
    for (form, files) in forms {
        let whole = archive(&files);
        let stage = in_archive(form, &whole);
        let image = stage.compose.work_dir().join("image.tar");
        let right = planned(&stage);
        let (mut refused, mut harmless) = (0, 0);
        // A prime, so that all offsets of a header come up.
        for at in (0..whole.len()).step_by(131) {
            std::fs::write(&image, flipped(&whole, at)).unwrap();
            match try_plan(&stage) {
                Ok(plan) => {
                    assert_eq!(plan, right, "{form} at {at}");
                    harmless += 1;
                }
                Err(message) => {
                    let lines = message.trim_end().lines().count();
                    assert!(lines == 1 && message.contains("it"), "{form} at {at}: {message}");
                    refused += 1;
                }
            }
        }
        // What a tar's padding, times and owners of its members say is nobody's business.
        assert!(refused > 30 && harmless > 2, "{refused} refused, {harmless} harmless");
        Listing::of(&stage.root.path()).expect_same(&stage.before, Mtimes::All);
    }
}

fn planned(stage: &Stage) -> Value {
    stage.compose.command_as(Some("plan")).args(["--format", "json"]).run().expect_ok().json()
}

fn try_plan(stage: &Stage) -> Result<Value, String> {
    let output = stage.compose.command_as(Some("plan")).args(["--format", "json"]).run();
    match output.code() {
        0 => Ok(output.json()),
        1 => Err(output.stderr()),
        _ => panic!("{}", output.story()),
    }
}
