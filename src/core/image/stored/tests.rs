use serde_json::json;

use super::*;
use crate::image::testing::{LIMITS, Layout, OCI_INDEX, Tar, flattened, for_platform, gzip};

fn tar(text: &str) -> Vec<u8> {
    Tar::default().file("f", text.as_bytes()).end()
}

/// An index of two images in a layout whose `index.json` is gone, and what the first is made of.
fn layout() -> (Layout, Parts) {
    let mut layout = Layout::new();
    let images = [layout.image("amd64", &[&tar("1"), &tar("2")]), layout.image("arm64", &[&tar("3")])];
    let listed =
        [for_platform(images[0].clone(), "amd64", None), for_platform(images[1].clone(), "arm64", None)];
    let index = layout.json(OCI_INDEX, &json!({"schemaVersion": 2, "manifests": listed}));
    layout.index(&[index]);
    layout.write();
    let parts = Parts::of(&layout.resolve("oci:layout").unwrap()).unwrap();
    std::fs::remove_file(layout.path().join("index.json")).unwrap();
    (layout, parts)
}

fn refused(layout: &Layout, parts: &Parts) -> String {
    let found = stored(&layout.path(), parts, Some("amd64".parse().unwrap()));
    format!("{:#}", found.unwrap_err())
}

#[test]
fn an_image_is_found_by_its_parts_alone() {
    let (layout, parts) = layout();
    let image = stored(&layout.path(), &parts, Some("amd64".parse().unwrap())).unwrap();
    assert_eq!((image.index, image.layer_count()), (parts.index, 2));
    assert_eq!(parts.blobs().count(), 5);
    let (_, store) = flattened(&image, LIMITS).unwrap();
    assert_eq!(store.contents.into_inner().unwrap().into_values().next_back(), Some(b"2".to_vec()));
}

#[test]
fn an_image_without_a_manifest_is_found_too() {
    let mut layout = Layout::new();
    let (plain, packed) = (tar("1"), gzip(&tar("2")));
    let config = layout.json("", &Layout::config("amd64", &[&plain, &tar("2")]));
    let blobs = [layout.blob("", &plain), layout.blob("", &packed)];
    layout.write();
    let digest = |value: &serde_json::Value| value["digest"].as_str().unwrap().parse::<Digest>().unwrap();
    let layer = |tar: &[u8], blob: &[u8]| LayerPart {
        diff_id: Digest::of(tar),
        digest: Digest::of(blob),
        size: blob.len() as u64,
    };
    let layers = vec![layer(&plain, &plain), layer(&tar("2"), &packed)];
    let mut parts = Parts { index: None, manifest: None, config: digest(&config), layers };
    assert_eq!(parts.layers[1].digest, digest(&blobs[1]));
    let image = stored(&layout.path(), &parts, None).unwrap();
    assert!(image.manifest.is_none());
    assert_eq!(Parts::of(&image), Some(parts.clone()));
    flattened(&image, LIMITS).unwrap();
    parts.layers[1].size += 1;
    assert!(refused(&layout, &parts).ends_with(&format!("bytes and not {}", packed.len() + 1)));
}

#[test]
fn whatever_differs_is_refused() {
    let (layout, parts) = layout();
    let other = Digest::of(b"other");
    let identity = parts.identity();
    let different = format!("the image {identity} is made of other parts than were named");
    let missing = |digest: Digest| format!("there is no blobs/sha256/{}", digest.hex());
    let mut cases = vec![
        (
            Parts { index: Some(other), ..parts.clone() },
            format!("reading the image index: {}", missing(other)),
        ),
        (Parts { manifest: Some(other), index: None, ..parts.clone() }, {
            format!("reading the image manifest: {}", missing(other))
        }),
        (Parts { config: other, ..parts.clone() }, different.clone()),
    ];
    let changes: [fn(&mut LayerPart); 3] =
        [|layer| layer.size += 1, |layer| layer.diff_id = layer.digest, |layer| layer.digest = layer.diff_id];
    for change in changes {
        let mut changed = parts.clone();
        change(&mut changed.layers[1]);
        cases.push((changed, different.clone()));
    }
    for (parts, message) in cases {
        assert_eq!(refused(&layout, &parts), message);
    }
    let wrong = layout.path().join(blob_name(&parts.config));
    let mut bytes = std::fs::read(&wrong).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&wrong, bytes).unwrap();
    assert!(refused(&layout, &parts).contains("its bytes have the digest"));
}

#[test]
fn an_index_that_does_not_list_the_manifest_is_refused() {
    let (mut layout, parts) = layout();
    let single = layout.image("amd64", &[&tar("9")]);
    layout.write();
    let parts = Parts { manifest: Some(single["digest"].as_str().unwrap().parse().unwrap()), ..parts };
    assert!(refused(&layout, &parts).contains("does not list the image manifest"));
}
