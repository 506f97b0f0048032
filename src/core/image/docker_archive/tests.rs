use serde_json::json;

use super::*;
use crate::image::testing::{LIMITS, Layout, Tar, flattened, gzip};

#[test]
fn names_are_completed_as_docker_does() {
    for (short, full) in [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1", "docker.io/library/nginx:1"),
        ("docker.io/nginx:1", "docker.io/library/nginx:1"),
        ("a/b:1", "docker.io/a/b:1"),
        ("localhost/b", "localhost/b:latest"),
        ("localhost:5000/b", "localhost:5000/b:latest"),
        ("quay.io/a/b:1", "quay.io/a/b:1"),
    ] {
        assert_eq!(full_name(short), full);
    }
}

/// Two images as old docker save has them: the second's layer is a link to the first's.
fn archive() -> (Layout, [String; 2], Tar) {
    let layout = Layout::new();
    let layer = Tar::default().file("f", b"x").end();
    let configs = ["amd64", "arm64"].map(|architecture| Layout::config(architecture, &[&layer]).to_string());
    let digests = configs.each_ref().map(|config| Digest::of(config.as_bytes()));
    let items: Vec<_> = [("nginx:1", "aa"), ("other:2", "bb")]
        .iter()
        .zip(&digests)
        .map(|((tag, id), digest)| {
            json!({"Config": format!("{}.json", digest.hex()), "RepoTags": [tag], "Layers": [format!("{id}/layer.tar")]})
        })
        .collect();
    let tar = Tar::default()
        .file("aa/layer.tar", &gzip(&layer))
        .other(b'2', "bb/layer.tar", "../aa/layer.tar")
        .file("manifest.json", json!(items).to_string().as_bytes());
    let tar = configs
        .iter()
        .zip(&digests)
        .fold(tar, |tar, (config, digest)| tar.file(&format!("{}.json", digest.hex()), config.as_bytes()));
    layout.write_archive("a.tar", &tar.clone().end());
    (layout, digests.map(|digest| digest.to_string()), tar)
}

#[test]
fn an_image_is_found_by_name_digest_or_alone() {
    let (layout, [amd64, arm64], _) = archive();
    for reference in
        ["docker-archive:a.tar:docker.io/library/nginx:1", &format!("docker-archive:a.tar@{amd64}")]
    {
        let image = layout.resolve(reference).unwrap();
        assert_eq!(image.config_document.digest.to_string(), amd64);
        assert!(image.manifest.is_none() && image.index.is_none());
        let (_, store) = flattened(&image, LIMITS).unwrap();
        assert_eq!(store.contents.into_inner().unwrap().into_values().collect::<Vec<_>>(), [b"x".to_vec()]);
    }
    let pinned =
        |pin: &str| layout.resolve_pinned("docker-archive:a.tar:nginx:1", Some(pin.parse().unwrap()));
    pinned(&amd64).unwrap();
    assert_eq!(
        pinned(&arm64).unwrap_err(),
        format!(
            "reading image docker-archive:a.tar:nginx:1: its configuration is not the one with the digest {arm64}: it has \
             {amd64}"
        )
    );
    for (reference, message) in [
        (
            "docker-archive:a.tar",
            "it has more than one image; there are nginx:1, other:2; add NAME:TAG or @DIGEST",
        ),
        ("docker-archive:a.tar:nginx", "it has no image \"nginx\"; there are nginx:1, other:2"),
        (
            "docker-archive:a.tar:other:2",
            "it is for linux/arm64, wanted is linux/amd64; choose another image, or --arch",
        ),
    ] {
        assert_eq!(layout.resolve(reference).unwrap_err(), format!("reading image {reference}: {message}"));
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let (layout, [amd64, _], tar) = archive();
    let hex = amd64.strip_prefix("sha256:").unwrap();
    let wrong = tar.clone().file(&format!("{hex}.json"), b"{}").end();
    layout.write_archive("b.tar", &wrong);
    assert_eq!(
        layout.resolve("docker-archive:b.tar:nginx:1").unwrap_err(),
        format!(
            "reading image docker-archive:b.tar:nginx:1: reading the image configuration {hex}.json: its bytes have the \
             digest {}, it should have {amd64}",
            Digest::of(b"{}")
        )
    );
    let swapped = tar.file("aa/layer.tar", &Tar::default().file("f", b"y").end()).end();
    layout.write_archive("c.tar", &swapped);
    let image = layout.resolve("docker-archive:c.tar:nginx:1").unwrap();
    let error = flattened(&image, LIMITS).unwrap_err();
    assert!(
        error.starts_with("reading layer 1 of 1 (aa/layer.tar): its uncompressed bytes have the digest "),
        "{error}"
    );
    layout.write_archive("d.tar", &Tar::default().file("oci-layout", b"{}").end());
    assert_eq!(
        layout.resolve("docker-archive:d.tar").unwrap_err(),
        "reading image docker-archive:d.tar: there is no archive of docker save, which has a file manifest.json; it is \
         one for oci-archive:"
    );
}
