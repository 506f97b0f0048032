//! What a lock says, and what is told of those that say something else.

use std::fmt::Write as _;

use camino::Utf8PathBuf;
use sysctr_core::image::stored::LayerPart;
use sysctr_core::record::SignatureKind;

use super::*;
use crate::manifest::{Manifest, NotUnderstood};

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn locked(source: &str, layers: usize) -> Locked {
    let layers = (0..layers).map(|n| LayerPart {
        diff_id: digest(&format!("tar {n}")),
        digest: digest(&format!("blob {n}")),
        size: 100 + n as u64,
    });
    let manifest = (!source.starts_with("docker-archive")).then(|| digest(source));
    let index = source.starts_with("docker:").then(|| digest("index"));
    let parts = Parts { index, manifest, config: digest("config"), layers: layers.collect() };
    let signer =
        Signer { kind: SignatureKind::Gpg, key: "keys/a \"b\".gpg".into(), fingerprint: "AB".into() };
    Locked::new(source.parse().unwrap(), parts, if index.is_some() { vec![signer] } else { Vec::new() })
}

/// Three containers, one for two architectures.
fn lock() -> Lock {
    let images = [
        ("web", "arm64", locked("docker://r.example:5000/web:1", 2)),
        ("web", "amd64", locked("docker://r.example:5000/web:1", 3)),
        ("db", "amd64", locked("oci:images/db:1", 1)),
        ("old", "amd64", locked("docker-archive:old.tar:old:1", 0)),
    ];
    let images = images.map(|(name, arch, image)| ((name.parse().unwrap(), arch.parse().unwrap()), image));
    Lock { images: images.into() }
}

const MANIFEST: &str = "group = 'g'\n\
    [[container]]\nname = 'db'\nimage = 'oci:images/db:1'\n\
    [[container]]\nname = 'old'\nimage = 'docker-archive:old.tar:old:1'\n\
    [[container]]\nname = 'web'\nimage = 'docker://r.example:5000/web:1'\n";

fn parse(text: &str) -> Result<Lock, String> {
    read::parse("sysctr.lock".into(), text).map_err(|error| error.to_string())
}

/// Checks the lock of [`lock`] against a manifest; the error without the directory.
fn check(manifest: &str, arch: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::try_from(dir.path().join("containers.toml")).unwrap();
    std::fs::write(&path, manifest).unwrap();
    lock().write(&path_beside(&path)).unwrap();
    let file = LockFile::read(&path_beside(&path)).unwrap().unwrap();
    let checked = file.check(&Manifest::read(&path).unwrap(), arch.parse().unwrap());
    checked
        .map_err(|error: NotUnderstood| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn a_lock_has_one_spelling_and_reads_back() {
    let text = lock().render();
    assert_eq!(parse(&text).unwrap(), lock());
    let expected = format!(
        "# Written by `sysctr-compose fetch`, to be reviewed and kept with the manifest; not to be edited.\n\
         version = 1\n\n\
         [[image]]\ncontainer = \"db\"\narchitecture = \"amd64\"\nsource = \"oci:images/db:1\"\n\
         from = \"oci:images/db@{manifest}\"\nmanifest = \"{manifest}\"\nconfig = \"{config}\"\nlayers = [\n  \
         {{ diff_id = \"{diff_id}\", digest = \"{blob}\", size = 100 }},\n]\nseal = \"",
        manifest = digest("oci:images/db:1"),
        config = digest("config"),
        diff_id = digest("tar 0"),
        blob = digest("blob 0"),
    );
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains("key = \"keys/a \\\"b\\\".gpg\""), "{text}");
    assert_eq!(parse(&Lock::default().render()).unwrap(), Lock::default());
}

#[test]
fn every_changed_byte_is_found() {
    let text = lock().render();
    let mut silent = String::new();
    for at in 0..text.len() {
        for flip in [1, 0x20, 0x80] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= flip;
            // What is not UTF-8 can't even be read.
            if let Ok(changed) = String::from_utf8(bytes)
                && parse(&changed).is_ok()
            {
                writeln!(silent, "byte {at} ^ {flip}").unwrap();
            }
        }
    }
    assert_eq!(silent, "");
}

#[test]
fn nonsense_has_its_place() {
    let text = lock().render();
    let lines = text.lines().count();
    let way_out = "restore the lock, or delete it and run sysctr-compose fetch";
    for (changed, expected) in [
        (text.replacen("version = 1", "version = 2", 1), {
            "sysctr.lock:2:11: its version is 2, this program knows 1; use a newer sysctr-compose".to_owned()
        }),
        (text.replacen("size = 100", "size = 101", 1), {
            "sysctr.lock:14:8: the entry of container db was changed after fetch wrote it; ".to_owned()
                + way_out
        }),
        (text.replacen("size = 100", "size = -1", 1), {
            "sysctr.lock:12:181: invalid value: integer `-1`, expected u64; ".to_owned() + way_out
        }),
        (text.replacen("config = ", "colour = ", 1), {
            "sysctr.lock:10:1: unknown field `colour`, expected one of `container`, `architecture`, `source`, `from`, \
             `index`, `manifest`, `config`, `layers`, `signed_by`, `seal`; "
                .to_owned()
                + way_out
        }),
        (text.replacen("# W", "# w", 1), {
            "sysctr.lock:1:3: this is not as fetch writes it; ".to_owned() + way_out
        }),
        // One line more than it has.
        (
            text.clone() + "\n",
            format!("sysctr.lock:{}:1: this is not as fetch writes it; {way_out}", lines + 1),
        ),
        // An empty line, and then the first entry once more.
        (text.clone() + &text[text.find("\n[[").unwrap()..], {
            format!("sysctr.lock:{}:1: container db stands here twice for amd64; {way_out}", lines + 2)
        }),
    ] {
        assert_eq!(parse(&changed), Err(expected));
    }
}

#[test]
fn a_disagreement_has_its_line() {
    assert_eq!(check(MANIFEST, "amd64"), Ok(()));
    let gone = MANIFEST.replace("'db'", "'dc'");
    let pinned = MANIFEST.replace("db:1'\n", &format!("db:1'\ndigest = '{}'\n", digest("x")));
    let signed = format!("{MANIFEST}signed_by = ['keys/other.gpg']\n");
    for (manifest, arch, expected) in [
        (MANIFEST, "arm64", {
            "sysctr.lock: container db is not locked for arm64; run sysctr-compose fetch --arch arm64"
                .to_owned()
        }),
        (
            &gone,
            "amd64",
            "sysctr.lock:5:1: the manifest has no container db; run sysctr-compose fetch".to_owned(),
        ),
        (&MANIFEST.replace("web:1", "web:2"), "amd64", {
            "sysctr.lock:28:1: container web is locked from docker://r.example:5000/web:1, the manifest wants \
             docker://r.example:5000/web:2; run sysctr-compose fetch"
                .to_owned()
        }),
        (&pinned, "amd64", {
            format!(
                "sysctr.lock:9:1: container db is locked to another image than the manifest's {}; run sysctr-compose fetch",
                digest("x")
            )
        }),
        (&signed, "amd64", {
            "sysctr.lock:38:1: container web is locked without a signature by keys/other.gpg; run sysctr-compose fetch"
                .to_owned()
        }),
    ] {
        assert_eq!(check(manifest, arch), Err(expected));
    }
    let pin = digest("oci:images/db:1");
    assert_eq!(check(&MANIFEST.replace("db:1'\n", &format!("db:1'\ndigest = '{pin}'\n")), "amd64"), Ok(()));
}
