use serde_json::json;

use super::*;
use crate::image::testing::{
    LIMITS, Layout, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Tar, flattened, for_platform, gzip,
    tagged,
};

fn tar(text: &str) -> Vec<u8> {
    Tar::default().file("f", text.as_bytes()).end()
}

fn error(layout: &Layout, reference: &str) -> String {
    layout.write();
    layout.resolve(reference).unwrap_err()
}

fn digest(descriptor: &serde_json::Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

fn manifest_of(layout: &Layout, reference: &str) -> String {
    layout.resolve(reference).unwrap().manifest.unwrap().digest.to_string()
}

#[test]
fn tags_digests_and_the_only_one() {
    let mut layout = Layout::new();
    let (one, two) = (layout.image("amd64", &[&tar("1")]), layout.image("amd64", &[&tar("2")]));
    layout.index(&[tagged(one.clone(), "1"), tagged(one.clone(), "latest")]);
    layout.write();
    // Two names of one image are not two images.
    assert_eq!(manifest_of(&layout, "oci:layout"), digest(&one));
    assert_eq!(manifest_of(&layout, "oci:layout:latest"), digest(&one));
    let mut containerd = two.clone();
    containerd["annotations"] = json!({"io.containerd.image.name": "docker.io/library/x:2"});
    layout.index(&[tagged(one.clone(), "1"), containerd]);
    layout.write();
    assert_eq!(manifest_of(&layout, "oci:layout:docker.io/library/x:2"), digest(&two));
    assert_eq!(manifest_of(&layout, &format!("oci:layout@{}", digest(&two))), digest(&two));
    let there = "there are 1, docker.io/library/x:2";
    assert_eq!(
        error(&layout, "oci:layout"),
        format!(
            "reading image oci:layout: it has more than one image that fits; {there}; add a tag or @DIGEST"
        )
    );
    assert_eq!(
        error(&layout, "oci:layout:3"),
        format!("reading image oci:layout:3: it has no image with the tag \"3\"; {there}")
    );
    let zeros = format!("sha256:{}", "0".repeat(64));
    assert_eq!(
        error(&layout, &format!("oci:layout@{zeros}")),
        format!("reading image oci:layout@{zeros}: it has no image with the digest {zeros}; {there}")
    );
    layout.index(&[]);
    assert_eq!(
        error(&layout, "oci:layout:3"),
        "reading image oci:layout:3: it has no image with the tag \"3\"; there are none"
    );
}

#[test]
fn an_index_is_chosen_from_by_platform() {
    let mut layout = Layout::new();
    let plain = layout.image("amd64", &[&tar("plain")]);
    let v3 = layout.image("amd64", &[&tar("v3")]);
    let arm = layout.image("arm64", &[&tar("arm")]);
    let attestation = layout.json(OCI_MANIFEST, &json!({}));
    let listed = [
        for_platform(v3.clone(), "amd64", Some("v3")),
        for_platform(arm.clone(), "arm64", Some("v8")),
        for_platform(plain.clone(), "amd64", None),
        for_platform(attestation, "unknown", None),
    ];
    let inner = layout.json(OCI_INDEX, &json!({"schemaVersion": 2, "manifests": listed}));
    let outer =
        layout.json(OCI_INDEX, &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner]}));
    layout.index(&[tagged(outer.clone(), "all")]);
    layout.write();
    let resolved = layout.resolve("oci:layout:all").unwrap();
    assert_eq!(resolved.manifest.unwrap().digest.to_string(), digest(&plain));
    assert_eq!(resolved.index.unwrap().to_string(), digest(&outer));
    let indexes: Vec<_> = resolved.indexes.iter().map(|index| index.digest.to_string()).collect();
    assert_eq!(indexes, [digest(&outer), digest(&inner)]);
    // A digest inside is found, and the choice is the user's.
    assert_eq!(manifest_of(&layout, &format!("oci:layout@{}", digest(&v3))), digest(&v3));
    assert_eq!(
        error(&layout, &format!("oci:layout@{}", digest(&arm))),
        format!(
            "reading image oci:layout@{}: it is for linux/arm64, wanted is linux/amd64; choose another image, or --arch",
            digest(&arm)
        )
    );
    let others = layout.json(OCI_INDEX, &json!({"schemaVersion": 2, "manifests": [listed[1]]}));
    layout.index(&[others]);
    assert_eq!(
        error(&layout, "oci:layout"),
        "reading image oci:layout: it has no image for linux/amd64; there are linux/arm64/v8"
    );
    layout.index(&listed);
    layout.write();
    assert_eq!(manifest_of(&layout, "oci:layout"), digest(&plain));
}

#[test]
fn a_pin_is_of_the_index_or_the_image_manifest() {
    let mut layout = Layout::new();
    let image = layout.image("amd64", &[&tar("x")]);
    let index = layout.json(OCI_INDEX, &json!({"manifests": [for_platform(image.clone(), "amd64", None)]}));
    layout.index(std::slice::from_ref(&index));
    layout.write();
    for good in [&image, &index] {
        layout.resolve_pinned("oci:layout", Some(digest(good).parse().unwrap())).unwrap();
    }
    let other = Digest::of(b"other");
    assert_eq!(
        layout.resolve_pinned("oci:layout", Some(other)).unwrap_err(),
        format!(
            "reading image oci:layout: it is not the one with the digest {other}: from index to image manifest it has \
             {}, {}",
            digest(&index),
            digest(&image)
        )
    );
}

#[test]
fn every_blob_corrupted_in_turn_is_named() {
    let mut layout = Layout::new();
    let image = layout.image("amd64", &[&tar("lower"), &tar("upper")]);
    let index = layout.json(OCI_INDEX, &json!({"manifests": [for_platform(image, "amd64", None)]}));
    layout.index(&[index]);
    layout.write();
    flattened(&layout.resolve("oci:layout").unwrap(), LIMITS).unwrap();
    let blobs: Vec<_> = layout.files.keys().filter(|name| name.starts_with("blobs")).cloned().collect();
    assert_eq!(blobs.len(), 5);
    let mut seen = BTreeSet::new();
    for name in blobs {
        let right = layout.files[&name].clone();
        let expected = format!("sha256:{}", name.rsplit('/').next().unwrap());
        for at in [0, right.len() / 2, right.len() - 1] {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            let found = Digest::of(&wrong);
            layout.files.insert(name.clone(), wrong);
            layout.write();
            let reason = format!("its bytes have the digest {found}, it should have {expected}");
            let error = match layout.resolve("oci:layout") {
                Ok(image) => flattened(&image, LIMITS).unwrap_err(),
                Err(error) => error,
            };
            let (what, why) = error.split_once(&expected).unwrap_or_else(|| panic!("{error}"));
            assert!(why.ends_with(&reason) || why == format!("): {reason}"), "{error}");
            seen.insert(what.to_owned());
        }
        let size = right.len();
        layout.files.insert(name.clone(), right[..size - 1].to_vec());
        layout.write();
        let error = layout.resolve("oci:layout").unwrap_err();
        let reason = format!("blob {expected}: it has {} bytes, its descriptor says {size}", size - 1);
        assert!(error.ends_with(&reason), "{error}");
        std::fs::remove_file(layout.path().join(&name)).unwrap();
        let error = layout.resolve("oci:layout").unwrap_err();
        assert!(error.ends_with(&format!("there is no {name}")), "{error}");
        layout.files.insert(name, right);
    }
    let begin = "reading image oci:layout: reading the image";
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        [
            format!("{begin} configuration: blob "),
            format!("{begin} index: blob "),
            format!("{begin} manifest: blob "),
            "reading layer 1 of 2 (".to_owned(),
            "reading layer 2 of 2 (".to_owned(),
        ]
    );
}

#[test]
fn documents_that_are_not_what_they_seem_are_refused() {
    let mut layout = Layout::new();
    let (gz, plain) = (gzip(&tar("x")), tar("x"));
    let layer = layout.blob(OCI_LAYER, &gz);
    let config = layout.json(OCI_CONFIG, &Layout::config("amd64", &[&plain]));
    let good = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let with = |layout: &mut Layout, path: &str, value: serde_json::Value, media_type: &str| {
        let mut manifest = good.clone();
        let (place, key) = path.rsplit_once('/').unwrap();
        manifest.pointer_mut(place).unwrap()[key] = value;
        let descriptor = layout.json(media_type, &manifest);
        layout.index(std::slice::from_ref(&descriptor));
        (
            error(layout, "oci:layout").replace("reading image oci:layout: ", ""),
            digest(&descriptor),
            digest(&layer),
        )
    };
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let (found, _, blob) = with(&mut layout, "/layers/0/mediaType", json!(foreign), OCI_MANIFEST);
    assert_eq!(
        found,
        format!("layer {blob} is of the kind {foreign:?}, which lies elsewhere and is not read")
    );
    let (found, _, blob) = with(&mut layout, "/layers/0/mediaType", json!("text/x"), OCI_MANIFEST);
    assert_eq!(found, format!("layer {blob} has the media type \"text/x\", which is not known"));
    let (found, _, blob) = with(&mut layout, "/layers/0/size", json!(-1), OCI_MANIFEST);
    assert!(found.starts_with(&format!("looking for a layer: blob {blob} has the size -1")), "{found}");
    let (found, ..) = with(&mut layout, "/config/mediaType", json!("application/helm"), OCI_MANIFEST);
    assert_eq!(
        found,
        "its configuration has the media type \"application/helm\"; it is an artifact of another kind and no image"
    );
    let (found, manifest, _) = with(&mut layout, "/manifests", json!([]), OCI_MANIFEST);
    assert_eq!(found, format!("{manifest} is an image manifest that lists others too; it can't be both"));
    let (found, manifest, _) = with(&mut layout, "/schemaVersion", json!(1), OCI_MANIFEST);
    assert_eq!(found, format!("the image manifest {manifest} has the schema version 1; 2 is known"));
    let (found, index, _) = with(&mut layout, "/manifests", json!([]), OCI_INDEX);
    assert_eq!(found, format!("{index} is an image index that has layers too; it can't be both"));
    let (found, strange, _) = with(&mut layout, "/x", json!(1), "application/x");
    assert_eq!(
        found,
        format!(
            "{strange} has the media type \"application/x\", which is neither an image manifest nor an image index"
        )
    );
    let v1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let (found, old, _) = with(&mut layout, "/x", json!(1), v1);
    assert_eq!(found, format!("{old} is a Docker manifest of version 1; convert it first with skopeo copy"));
    let (found, ..) =
        with(&mut layout, "/layers/0/digest", json!(format!("sha512:{}", "0".repeat(128))), OCI_MANIFEST);
    assert!(found.ends_with("is not a sha256 digest; only sha256 is supported"), "{found}");
    let (found, ..) = with(&mut layout, "/layers", json!([]), OCI_MANIFEST);
    assert!(found.ends_with("it has 1 diff_ids and the image 0 layers; they must be as many"), "{found}");
}

#[test]
fn a_wrong_diff_id_is_found_though_the_blob_is_right() {
    let mut layout = Layout::new();
    let layer = layout.blob(OCI_LAYER, &gzip(&tar("x")));
    let config = layout.json(OCI_CONFIG, &Layout::config("amd64", &[b"other"]));
    let image = layout.json(OCI_MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": [layer]}));
    layout.index(&[image]);
    layout.write();
    assert_eq!(
        flattened(&layout.resolve("oci:layout").unwrap(), LIMITS).unwrap_err(),
        format!(
            "reading layer 1 of 1 ({}): its uncompressed bytes have the digest {}, the image configuration has the \
             diff_id {}",
            digest(&layer),
            Digest::of(&tar("x")),
            Digest::of(b"other")
        )
    );
}

#[test]
fn docker_s_media_types_and_compression_told_by_the_bytes() {
    let mut layout = Layout::new();
    let tars = [tar("1"), tar("2"), tar("3")];
    let zst = zstd::bulk::compress(&tars[2], 1).unwrap();
    // None of them is what its media type says.
    let layers = [
        layout.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", &tars[0]),
        layout.blob("application/vnd.oci.image.layer.v1.tar", &gzip(&tars[1])),
        layout.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", &zst),
    ];
    let config = Layout::config("amd64", &tars.each_ref().map(Vec::as_slice));
    let config = layout.json("application/vnd.docker.container.image.v1+json", &config);
    let manifest = "application/vnd.docker.distribution.manifest.v2+json";
    let image = json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": layers});
    let image = for_platform(layout.json(manifest, &image), "amd64", None);
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let list = layout.json(list, &json!({"schemaVersion": 2, "mediaType": list, "manifests": [image]}));
    layout.index(&[list]);
    layout.write();
    let (_, store) = flattened(&layout.resolve("oci:layout").unwrap(), LIMITS).unwrap();
    assert_eq!(store.contents.into_inner().unwrap().into_values().collect::<Vec<_>>(), [b"3".to_vec()]);
}

#[test]
fn an_archive_of_a_layout_is_read_in_place() {
    let mut layout = Layout::new();
    let image = layout.image("amd64", &[&tar("1"), &tar("2")]);
    layout.index(&[tagged(image.clone(), "t")]);
    let archive = layout.archive();
    layout.write_archive("plain.tar", &archive);
    layout.write_archive("x.tar.gz", &gzip(&archive));
    layout.write_archive("x.tar.zst", &zstd::bulk::compress(&archive, 1).unwrap());
    for name in ["plain.tar", "x.tar.gz", "x.tar.zst"] {
        let resolved = layout.resolve(&format!("oci-archive:{name}:t")).unwrap();
        assert_eq!(resolved.manifest.as_ref().unwrap().digest.to_string(), digest(&image));
        let (_, store) = flattened(&resolved, LIMITS).unwrap();
        assert_eq!(store.contents.into_inner().unwrap().into_values().collect::<Vec<_>>(), [b"2".to_vec()]);
    }
    layout.write_archive("short.tar", &archive[..archive.len() - 1520]);
    let error = layout.resolve("oci-archive:short.tar").unwrap_err();
    assert!(
        error.contains("reading the archive") && error.ends_with("it is cut off 15 bytes before its end"),
        "{error}"
    );
    layout.files.remove("oci-layout");
    layout.write_archive("none.tar", &layout.archive());
    assert_eq!(
        layout.resolve("oci-archive:none.tar").unwrap_err(),
        "reading image oci-archive:none.tar: there is no OCI layout, which has a file oci-layout"
    );
}
