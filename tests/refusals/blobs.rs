//! Layouts whose documents do not fit their blobs, and references that fit no image, or several.

use serde_json::json;
use sysctr_tests::Layer;
use sysctr_tests::crafted::{Crafted, Packing, blob_name, digest, layout};

use crate::{MANIFEST, Stage};

const RESOLVING: &str = "resolving container it: reading image oci:image";

fn tar() -> Vec<u8> {
    Layer::new().dir("d").file("d/file", "text".repeat(1000)).bytes()
}

fn plain() -> Crafted {
    Crafted::of(&[tar()], Packing::Gzip)
}

fn reading_layer(image: &Crafted) -> String {
    format!("embedding container it from oci:image: reading layer 1 of 1 ({})", digest(&image.layers[0]))
}

#[test]
fn a_blob_that_is_cut_off_or_gone() {
    let image = plain();
    let layer = digest(&image.layers[0]);
    let config = digest(&image.config_bytes());
    let manifest = digest(&image.manifest_bytes());
    for (digest, doing) in [
        (&layer, "looking for a layer"),
        (&config, "reading the image configuration"),
        (&manifest, "reading the image manifest"),
    ] {
        let mut files = image.layout();
        let name = blob_name(digest);
        let whole = files[&name].len();
        for left in [0, whole / 2, whole - 1] {
            files.get_mut(&name).unwrap().truncate(left);
            Stage::with(&files).refuses(&format!(
                "{RESOLVING}: {doing}: blob {digest}: it has {left} bytes, its descriptor says {whole}"
            ));
            files = image.layout();
        }
        files.get_mut(&name).unwrap().push(0);
        Stage::with(&files).refuses(&format!(
            "{RESOLVING}: {doing}: blob {digest}: it has {} bytes, its descriptor says {whole}",
            whole + 1
        ));
        files.remove(&name);
        Stage::with(&files).refuses(&format!("{RESOLVING}: {doing}: there is no {name}"));
    }
}

/// The descriptor agrees with the bytes, but they are no whole layer.
#[test]
fn a_layer_that_was_cut_off_before_it_was_described() {
    let packed = |packing: Packing, keep: &dyn Fn(usize) -> usize| {
        let mut blob = packing.pack(&tar());
        blob.truncate(keep(blob.len()));
        Crafted::packed(vec![blob], vec![digest(&tar())], packing)
    };
    for (image, why) in [
        (packed(Packing::Gzip, &|length| length / 2), "decompressing it: incomplete deflate stream"),
        (packed(Packing::Gzip, &|length| length - 1), "decompressing it: unexpected end of file"),
        (packed(Packing::Zstd(20), &|length| length / 2), "its zstd stream is cut off"),
        (packed(Packing::Plain, &|_| 1000), "its last header is cut off"),
        (packed(Packing::Plain, &|_| 2048), "entry \"/d/file\": it is cut off 2976 bytes before its end"),
    ] {
        Stage::with(&image.layout()).refuses(&format!("{}: {why}", reading_layer(&image)));
    }
}

#[test]
fn a_wrong_diff_id() {
    let mut image = plain();
    let wrong = digest(b"something else");
    image.config["rootfs"]["diff_ids"] = json!([wrong]);
    Stage::with(&image.layout()).refuses(&format!(
        "{}: its uncompressed bytes have the digest {}, the image configuration has the diff_id {wrong}",
        reading_layer(&image),
        digest(&tar())
    ));
    image.config["rootfs"]["diff_ids"] = json!([]);
    Stage::with(&image.layout()).refuses(&format!(
        "{RESOLVING}: reading the image configuration {}: it has 0 diff_ids and the image 1 layers; they must be as many",
        digest(&image.config_bytes())
    ));
}

#[test]
fn a_wrong_size() {
    let image = |size: i64| Crafted { manifest: json!({"layers": {"0": {"size": size}}}), ..plain() };
    let layer = digest(&plain().layers[0]);
    let length = plain().layers[0].len();
    Stage::with(&image(7).layout()).refuses(&format!(
        "{RESOLVING}: looking for a layer: blob {layer}: it has {length} bytes, its descriptor says 7"
    ));
    Stage::with(&image(-1).layout())
        .refuses(&format!("{RESOLVING}: looking for a layer: blob {layer} has the size -1"));
}

#[test]
fn unknown_media_types() {
    let layer = digest(&plain().layers[0]);
    for (media_type, why) in [
        ("application/x", "has the media type \"application/x\", which is not known"),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "is of the kind \"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip\", which lies elsewhere and \
             is not read",
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+encrypted",
            "has the media type \"application/vnd.oci.image.layer.v1.tar+encrypted\", which is not known",
        ),
    ] {
        let image = Crafted { media_types: vec![media_type.to_owned()], ..plain() };
        Stage::with(&image.layout()).refuses(&format!("{RESOLVING}: layer {layer} {why}"));
    }
    let image =
        Crafted { manifest: json!({"config": {"mediaType": "application/vnd.cncf.helm.config"}}), ..plain() };
    Stage::with(&image.layout()).refuses(&format!(
        "{RESOLVING}: its configuration has the media type \"application/vnd.cncf.helm.config\"; it is an artifact of \
         another kind and no image"
    ));
    let image = Crafted { descriptor: json!({"mediaType": "text/html"}), ..plain() };
    Stage::with(&image.layout()).refuses(&format!(
        "{RESOLVING}: {} has the media type \"text/html\", which is neither an image manifest nor an image index",
        digest(&image.manifest_bytes())
    ));
    let image = Crafted { manifest: json!({"mediaType": "text/html"}), ..plain() };
    Stage::with(&image.layout()).refuses(&format!(
        "{RESOLVING}: the image manifest {} calls itself \"text/html\"",
        digest(&image.manifest_bytes())
    ));
    let image = Crafted {
        descriptor: json!({"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"}),
        ..plain()
    };
    Stage::with(&image.layout()).refuses(&format!(
        "{RESOLVING}: {} is a Docker manifest of version 1; convert it first with skopeo copy",
        digest(&image.manifest_bytes())
    ));
}

#[test]
fn foreign_compressions() {
    let xz = Crafted::packed(vec![b"\xfd7zXZ\0\0\0".to_vec()], vec![digest(b"")], Packing::Gzip);
    Stage::with(&xz.layout()).refuses(&format!(
        "{}: it is compressed with xz, which the image specification does not have; use gzip, zstd or nothing",
        reading_layer(&xz)
    ));
}

fn named(name: &str, content: &str) -> Crafted {
    let image = Crafted::of(&[Layer::new().file("f", content).bytes()], Packing::Gzip);
    let descriptor = json!({"annotations": {"org.opencontainers.image.ref.name": name}});
    Crafted { descriptor, ..image }
}

#[test]
fn a_reference_that_fits_none_or_several() {
    let images = [named("1.0", "a"), named("2.0", "b"), plain()];
    let files = layout(&images.each_ref());
    let there = format!("there are 1.0, 2.0, @{}", digest(&plain().manifest_bytes()));
    let stage = |reference: &str| Stage::of(&MANIFEST.replace("oci:image", reference)).put(&files);
    let resolving = |reference: &str| format!("resolving container it: reading image {reference}");
    stage("oci:image:3.0")
        .refuses(&format!("{}: it has no image with the tag \"3.0\"; {there}", resolving("oci:image:3.0")));
    stage("oci:image").refuses(&format!(
        "{}: it has more than one image that fits; {there}; add a tag or @DIGEST",
        resolving("oci:image")
    ));
    let none = format!("oci:image@{}", digest(b""));
    stage(&none).refuses(&format!(
        "{}: it has no image with the digest {}; {there}",
        resolving(&none),
        digest(b"")
    ));
    let empty = layout(&[]);
    Stage::with(&empty).refuses(&format!("{RESOLVING}: it has no image"));
    Stage::of(&MANIFEST.replace("oci:image", "oci:image:1")).put(&empty).refuses(&format!(
        "{}: it has no image with the tag \"1\"; there are none",
        resolving("oci:image:1")
    ));
    Stage::of(MANIFEST).refuses(&format!("{RESOLVING}: there is no OCI layout, which has a file oci-layout"));
}

#[test]
fn a_pin_that_does_not_hold() {
    let image = plain();
    let pin = digest(b"another image");
    let manifest = format!("{MANIFEST}digest = '{pin}'\n");
    Stage::of(&manifest).put(&image.layout()).refuses(&format!(
        "{RESOLVING}: it is not the one with the digest {pin}: from index to image manifest it has {}",
        digest(&image.manifest_bytes())
    ));
}

#[test]
fn an_image_for_another_machine() {
    let mut image = plain();
    image.config["architecture"] = json!("arm64");
    Stage::with(&image.layout()).refuses(&format!(
        "{RESOLVING}: it is for linux/arm64, wanted is linux/amd64; choose another image, or --arch"
    ));
    image.config["os"] = json!("windows");
    Stage::with(&image.layout()).refuses(&format!(
        "{RESOLVING}: it is for windows/arm64, wanted is linux/amd64; choose another image, or --arch"
    ));
    // Told by the index, as the configurations are for amd64 all the same.
    let platform = |architecture: &str| json!({"platform": {"os": "linux", "architecture": architecture}});
    let one = Crafted { descriptor: platform("arm64"), ..plain() };
    let other = Crafted { descriptor: platform("s390x"), ..named("", "other") };
    Stage::with(&layout(&[&one, &other])).refuses(&format!(
        "{RESOLVING}: it has no image for linux/amd64; there are linux/arm64, linux/s390x"
    ));
}
