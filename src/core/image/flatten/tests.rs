use std::io::Write;

use serde_json::json;

use super::*;
use crate::image::testing::{
    Head, Heard, LIMITS, Layout, Memory, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Tar, flattened, gzip,
};
use crate::tree::ContentId;

fn resolved(layers: &[&[u8]]) -> (Layout, ResolvedImage) {
    let mut layout = Layout::new();
    let image = layout.image("amd64", layers);
    layout.index(&[image]);
    layout.write();
    let image = layout.resolve("oci:layout").unwrap();
    (layout, image)
}

/// One image whose only layer are these compressed bytes of `tar`.
fn resolved_blob(blob: &[u8], tar: &[u8]) -> (Layout, ResolvedImage) {
    let mut layout = Layout::new();
    let layer = layout.blob(OCI_LAYER, blob);
    let config = layout.json(OCI_CONFIG, &Layout::config("amd64", &[tar]));
    let image = layout.json(OCI_MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": [layer]}));
    layout.index(&[image]);
    layout.write();
    let image = layout.resolve("oci:layout").unwrap();
    (layout, image)
}

fn reason(error: String) -> String {
    error.split_once("): ").unwrap_or_else(|| panic!("{error}")).1.to_owned()
}

#[test]
fn limits_name_the_option_that_raises_them() {
    let lower = Tar::default().file("a", &[b'x'; 4000]).file("b", b"").end();
    let upper = Tar::default().file("c", b"").end();
    let (_layout, image) = resolved(&[&lower, &upper]);
    let enough = Limits { max_entries: 3, max_bytes: (lower.len() + upper.len()) as u64, ..LIMITS };
    flattened(&image, enough).unwrap();
    let fewer = Limits { max_entries: 2, ..enough };
    assert_eq!(
        reason(flattened(&image, Limits { jobs: 1, ..fewer }).unwrap_err()),
        "the layers have more than 2 entries; raise --max-entries"
    );
    let smaller = Limits { max_bytes: enough.max_bytes - 1, jobs: 1, ..enough };
    assert_eq!(
        reason(flattened(&image, smaller).unwrap_err()),
        format!("the layers unpack to more than {} bytes; raise --max-bytes", smaller.max_bytes)
    );
}

#[test]
fn a_compression_bomb_costs_no_more_than_the_limit() {
    // 1 GiB of zeros in about a megabyte, and what comes of it is not even asked for.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&Head { name: b"bomb", size: 1 << 30, ..Head::default() }.block()).unwrap();
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 100_000);
    let (_layout, image) = resolved_blob(&bomb, b"");
    let store = Memory::default();
    let error = flatten(&image, LIMITS, &store, &Heard::default()).unwrap_err();
    assert_eq!(
        reason(format!("{error:#}")),
        format!("the layers unpack to more than {} bytes; raise --max-bytes", LIMITS.max_bytes)
    );
    assert!(store.contents.into_inner().unwrap().is_empty());
    // Many small files instead of a large one.
    let many = (0..40).fold(Tar::default(), |tar, _| tar.file("f", &[0; 500_000])).end();
    let (_layout, image) = resolved_blob(&gzip(&many), &many);
    let error = flattened(&image, LIMITS).unwrap_err();
    assert_eq!(
        reason(error),
        format!("the layers unpack to more than {} bytes; raise --max-bytes", LIMITS.max_bytes)
    );
    // A hole is as large as it says.
    let sparse = Tar::default()
        .pax(b'x', &[("GNU.sparse.size", b"1099511627776"), ("GNU.sparse.map", b"0,1")])
        .file("s", b"x")
        .end();
    let (_layout, image) = resolved(&[&sparse]);
    assert!(flattened(&image, LIMITS).unwrap_err().ends_with("raise --max-bytes"));
}

#[test]
fn a_zstd_window_above_the_limit_names_the_option() {
    let tar = Tar::default().file("f", &[b'x'; 600_000]).end();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&tar).unwrap();
    let (_layout, image) = resolved_blob(&encoder.finish().unwrap(), &tar);
    assert_eq!(
        reason(flattened(&image, LIMITS).unwrap_err()),
        "its zstd window has 16777216 bytes, more than the 8388608 that --max-window allows"
    );
    flattened(&image, Limits { max_window: 16 << 20, ..LIMITS }).unwrap();
}

#[test]
fn truncated_streams_are_told_from_wrong_blobs() {
    let tar = Tar::default().file("f", &(0..200_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).end();
    let gz = gzip(&tar);
    let (_layout, image) = resolved_blob(&gz[..gz.len() / 2], &tar);
    assert_eq!(reason(flattened(&image, LIMITS).unwrap_err()), "decompressing it: incomplete deflate stream");
    let (_layout, image) = resolved_blob(&gzip(&tar[..300_000]), &tar[..300_000]);
    assert_eq!(
        reason(flattened(&image, LIMITS).unwrap_err()),
        "entry \"/f\": it is cut off 500512 bytes before its end"
    );
    let (_layout, image) = resolved_blob(b"\xfd7zXZ\0rest", b"");
    assert_eq!(
        reason(flattened(&image, LIMITS).unwrap_err()),
        "it is compressed with xz, which the image specification does not have; use gzip, zstd or nothing"
    );
}

#[test]
fn what_store_and_progress_say_ends_it() {
    let tar = Tar::default().file("a", b"x").file("d/full", b"y").end();
    let (_layout, image) = resolved(&[&tar, &tar]);
    for jobs in [1, 2, 8] {
        let limits = Limits { jobs, ..LIMITS };
        let store = Memory { full_at: Some("d/full"), ..Memory::default() };
        let error = flatten(&image, limits, &store, &Heard::default()).unwrap_err();
        let reason = reason(format!("{error:#}"));
        assert_eq!(reason, "storing \"/d/full\": no space left", "{jobs}");
        let heard = Heard { interrupt: true, ..Heard::default() };
        let error = flatten(&image, limits, &Memory::default(), &heard).unwrap_err();
        assert_eq!(format!("{error:#}"), "interrupted");
    }
}

#[test]
fn progress_hears_of_every_layer_to_its_end() {
    let noise: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let tar = Tar::default().file("a", &noise).end();
    let (_layout, image) = resolved(&[&tar, &Tar::default().end(), &tar]);
    for jobs in [1, 2] {
        let heard = Heard::default();
        flatten(&image, Limits { jobs, ..LIMITS }, &Memory::default(), &heard).unwrap();
        let layers = heard.layers.into_inner().unwrap();
        assert_eq!(layers.len(), 3);
        for (index, (size, read, done)) in layers {
            assert_eq!((size, read, done), (image.layer_size(index), image.layer_size(index), true));
        }
    }
}

#[test]
fn no_layers_are_an_empty_root() {
    let (_layout, image) = resolved(&[]);
    let (flat, _) = flattened(&image, LIMITS).unwrap();
    assert_eq!(flat.tree.walk().count(), 0);
}

#[test]
fn hidden_contents_are_discarded_and_the_others_kept() {
    let lower = Tar::default().file("a", b"old").file("b", b"same").other(b'1', "c", "a").end();
    let upper = Tar::default().file("a", b"new").file("b", b"").file(".wh.c", b"").end();
    let (_layout, image) = resolved(&[&lower, &upper]);
    let (flat, store) = flattened(&image, LIMITS).unwrap();
    let contents = store.contents.into_inner().unwrap();
    assert_eq!(contents, [(ContentId { layer: 1, ordinal: 0 }, b"new".to_vec())].into());
    assert_eq!(flat.tree.walk().count(), 2);
}
