//! One lock for several architectures, and one builder that composes trees for all of them without running their programs.

use serde_json::json;
use sysctr_core::launcher_note::{OWNER, RECORD_VERSION};
use sysctr_tests::Root;
use sysctr_tests::crafted::{self, Files};

use super::*;

/// GOARCH name; byte order and `e_machine` of its ELF files (elf(5), `EI_DATA` and the machines' numbers).
const ALL: [(&str, Order, u16); 4] = [
    ("amd64", Order::Little, 62),
    ("arm64", Order::Little, 183),
    ("ppc64le", Order::Little, 21),
    ("s390x", Order::Big, 22),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    /// A number's last bytes.
    fn bytes(self, number: u64, size: usize) -> Vec<u8> {
        let mut bytes = number.to_le_bytes()[..size].to_vec();
        if self == Self::Big {
            bytes.reverse();
        }
        bytes
    }
}

/// An index of these images, each for an architecture, as a layout.
pub fn index(images: &[(&str, Crafted)]) -> (Files, String) {
    let mut files = crafted::layout(&images.iter().map(|(_, image)| image).collect::<Vec<_>>());
    let listed: Vec<_> = images
        .iter()
        .map(|(architecture, image)| {
            let mut listed = image.listed();
            listed["platform"] = json!({"os": "linux", "architecture": architecture});
            listed
        })
        .collect();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let bytes = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": listed}).to_string();
    let top = json!({"mediaType": media_type, "digest": digest(bytes.as_bytes()), "size": bytes.len()});
    let top = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
    let name = digest(bytes.as_bytes());
    files.insert(crafted::blob_name(&name), bytes.into_bytes());
    files.insert("index.json".to_owned(), top.into_bytes());
    (files, name)
}

pub fn for_architecture(architecture: &str, seed: u64) -> Crafted {
    let mut made = image(&[seed], 1000);
    made.config["architecture"] = json!(architecture);
    made
}

/// The least that is a launcher of an architecture: an ELF file with the note that tells its record version.
fn launcher(order: Order, machine: u16) -> Vec<u8> {
    let number = |value: u64, size| order.bytes(value, size);
    let note = [
        number(7, 4),
        number(4, 4),
        number(u64::from(RECORD_VERSION), 4),
        [&OWNER[..], &[0]].concat(),
        number(u64::from(sysctr_core::record::VERSION), 4),
    ]
    .concat();
    let start = 64 + 56;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, if order == Order::Little { 1 } else { 2 }, 1];
    file.resize(16, 0);
    // e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize, e_phnum, e_sh…
    let header =
        [(2, 2), (u64::from(machine), 2), (1, 4), (0, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (1, 2)];
    file.extend(header.iter().flat_map(|&(value, size)| number(value, size)));
    file.resize(64, 0);
    // p_type (PT_NOTE), p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    let size = note.len() as u64;
    let segment = [(4, 4), (4, 4), (start, 8), (0, 8), (0, 8), (size, 8), (size, 8), (4, 8)];
    file.extend(segment.iter().flat_map(|&(value, size)| number(value, size)));
    assert_eq!(file.len() as u64, start);
    [file, note].concat()
}

#[test]
fn one_lock_holds_several_architectures_and_a_compose_takes_the_targets() {
    let server = Server::plain();
    let images: Vec<_> = (1..).zip(ALL).map(|(n, (name, ..))| (name, for_architecture(name, n))).collect();
    let (files, top) = index(&images);
    let layout = scratch();
    crafted::write(&files, layout.path());
    server.push_layout(layout.path(), "multi:1", &["--all"]);
    let reference = format!("docker://127.0.0.1:{}/multi:1", server.port);
    let site = Site::new(&format!("group = 'g'\n{}", container("it", &reference)));
    site.fetch(&["--arch", "arm64", "--arch", "ppc64le", "--arch", "s390x"]).expect_ok();
    site.sound();
    let lock = site.lock();
    for (architecture, image) in &images {
        assert!(lock.contains(&format!("architecture = \"{architecture}\"")), "{lock}");
        assert!(lock.contains(&format!("manifest = \"{}\"", manifest_digest(image))), "{lock}");
    }
    assert_eq!(lock.matches(&format!("index = \"{top}\"")).count(), 4);
    drop(server);
    for ((n, (architecture, order, machine)), (_, image)) in (1..).zip(ALL).zip(&images) {
        let root = Root::small();
        let program = launcher(order, machine);
        site.file("launcher", &program);
        for file in ["usr/lib/systemd/systemd", "usr/bin/runc"] {
            std::fs::write(root.join(file), &program).unwrap();
        }
        let compose = site.command(["-m", "containers.toml", "--locked", "--sysroot"]).arg(root.path());
        compose.arg("--add-launcher").arg(site.path("launcher")).run().expect_ok();
        let record = root.record("it");
        assert_eq!(
            (&record["image"]["manifest"], &record["image"]["index"]),
            (&json!(manifest_digest(image)), &json!(top))
        );
        assert!(root.bundle("it").join(format!("rootfs/file-{n}")).exists(), "{architecture}");
        // Nobody's by accident: another machine's launcher is refused.
        let (other, ..) = ALL[n % ALL.len()];
        let wrong = site.command(["-m", "containers.toml", "--locked", "--arch", other, "--sysroot"]);
        let told = wrong.arg(root.path()).run().expect_code(1).stderr();
        assert!(
            told.contains(&format!("/usr/lib/systemd/systemd of the target is for {architecture}")),
            "{told}"
        );
    }
}
