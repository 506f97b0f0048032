//! Images that cost more than is allowed, and that the refusal itself is cheap.

use std::fs;

use sysctr_tests::crafted::{Crafted, Packing, digest};
use sysctr_tests::{Layer, scratch, source_dir};

use crate::{Stage, says};

const MIB: usize = 1 << 20;
/// What a compose of any image stays below.
const MOST_KIB: u64 = 128 << 10;
/// Of CPU time, which a busy machine does not change: a hundredth of the bomb is read, not all of it.
const MOST_MILLIS: u64 = 3000;

fn reading(image: &Crafted, number: usize) -> String {
    let of = image.layers.len();
    let name = digest(&image.layers[number - 1]);
    format!("embedding container it from oci:image: reading layer {number} of {of} ({name})")
}

#[test]
fn more_entries_than_allowed() {
    let layer = (0..11).fold(Layer::new(), |layer, n| layer.file(&format!("f{n}"), ""));
    let image = Crafted::one(&layer);
    let stage = Stage::with(&image.layout()).arg("--max-entries").arg("10");
    let why = "the layers have more than 10 entries; raise --max-entries";
    stage.refuses(&format!("{}: {why}", reading(&image, 1)));
    // All layers count together, and what an upper one removes counts too.
    let tars = [
        Layer::new().file("a", "").file("b", "").bytes(),
        Layer::new().file(".wh.a", "").file("c", "").bytes(),
    ];
    let image = Crafted::of(&tars, Packing::Gzip);
    let limited =
        |most: &str| Stage::with(&image.layout()).arg("--jobs").arg("1").arg("--max-entries").arg(most);
    let first_read = usize::from(image.layers[1].len() <= image.layers[0].len()) + 1;
    limited("3").refuses(&format!(
        "{}: the layers have more than 3 entries; raise --max-entries",
        reading(&image, first_read)
    ));
    limited("4").compose.run().expect_ok();
}

#[test]
fn more_bytes_than_allowed() {
    let image = Crafted::one(&Layer::new().file("f", vec![b'x'; 2 * MIB]));
    let limited = |most: &str| Stage::with(&image.layout()).arg("--max-bytes").arg(most);
    let why = "the layers unpack to more than 1048576 bytes; raise --max-bytes";
    limited("1M").refuses(&format!("{}: {why}", reading(&image, 1)));
    limited("3M").compose.run().expect_ok();
    // A sparse file counts with its holes.
    let sparse =
        [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "1099511627776")];
    let sparse = Layer::new().pax(&sparse).file("sparse", [&b"0\n"[..], &[0; 510]].concat());
    let image = Crafted::one(&sparse);
    Stage::with(&image.layout()).refuses(&format!(
        "{}: the layers unpack to more than 34359738368 bytes; raise --max-bytes",
        reading(&image, 1)
    ));
}

#[test]
fn a_zstd_window_above_the_limit() {
    let tar = Layer::new().file("f", vec![b'x'; 9 * MIB]).bytes();
    let image = Crafted::of(&[tar], Packing::Zstd(23));
    let limited = |most: &str| Stage::with(&image.layout()).arg("--max-window").arg(most);
    let why = "its zstd window has 8388608 bytes, more than the 4194304 that --max-window allows";
    limited("4M").refuses(&format!("{}: {why}", reading(&image, 1)));
    limited("8M").compose.run().expect_ok();
    // Above the default of 64 MiB, which is not allocated: the frame is a header and nothing else.
    let huge =
        Crafted::packed(vec![b"\x28\xb5\x2f\xfd\0\xa8".to_vec()], vec![digest(b"")], Packing::Zstd(27));
    let why = "its zstd window has 2147483648 bytes, more than the 67108864 that --max-window allows";
    Stage::with(&huge.layout()).refuses(&format!("{}: {why}", reading(&huge, 1)));
}

/// `repeated` × `count` behind `front`, each compressed by itself, as gzip members or zstd frames.
fn repeated(front: &[u8], repeated: &[u8], count: usize, packing: Packing) -> Crafted {
    let blob = [packing.pack(front), packing.pack(repeated).repeat(count)].concat();
    Crafted::packed(vec![blob], vec![digest(b"nobody comes so far")], packing)
}

#[test]
fn compression_bombs_are_refused_soon_and_in_little_memory() {
    let zeros = vec![0; 64 * MIB];
    let file = Layer::new().file("zeros", &zeros).bytes();
    // Without the end mark, so that more follow.
    let file = &file[..file.len() - 1024];
    let declared = Layer::new().member(b'0', "zeros", "", 10 << 30).bytes();
    for packing in [Packing::Gzip, Packing::Zstd(22)] {
        // 10 GB of nothing; of a file that is written again and again; of one file.
        for image in [
            repeated(b"", &zeros, 160, packing),
            repeated(b"", file, 160, packing),
            repeated(&declared[..512], &zeros, 160, packing),
        ] {
            assert!(image.layers[0].len() < 16 * MIB);
            let stage = Stage::with(&image.layout()).arg("--max-bytes").arg("96M");
            let peak = scratch();
            let peak = peak.path().join("peak");
            for verb in [None, Some("plan")] {
                let command = stage.compose.command_as(verb);
                let script = source_dir().join("tests/support/peak.py");
                let output = command.under(["python3".as_ref(), script.as_os_str(), peak.as_os_str()]).run();
                let why = "the layers unpack to more than 100663296 bytes; raise --max-bytes";
                says(output, 1, &format!("{}: {why}", reading(&image, 1)));
                stage.unchanged();
                let told = fs::read_to_string(&peak).unwrap();
                let told: Vec<u64> = told.split_whitespace().map(|word| word.parse().unwrap()).collect();
                assert!(told[0] < MOST_KIB && told[1] < MOST_MILLIS, "{told:?} KiB and milliseconds");
            }
        }
    }
}
