//! Launchers that do not fit the target, and targets without one or with a foreign one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sysctr_tests::{Compose, Crafted, Layer, Listing, Mtimes, Program, Root, crafted};

use crate::{MANIFEST, says};

struct Target {
    root: Root,
    before: Listing,
}

impl Target {
    /// A small root whose /usr/bin/sysctr is this, if anything.
    fn with(launcher: Option<&[u8]>) -> Self {
        let root = Root::small();
        if let Some(bytes) = launcher {
            fs::write(root.join("usr/bin/sysctr"), bytes).unwrap();
            fs::set_permissions(root.join("usr/bin/sysctr"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let before = Listing::of(&root.path());
        Self { root, before }
    }

    fn compose(&self) -> Compose {
        let compose = Compose::into(&self.root).manifest(MANIFEST);
        let image = Crafted::one(&Layer::new().file("f", "x"));
        crafted::write(&image.layout(), &compose.work_dir().join("image"));
        compose
    }

    /// With `--add-launcher FILE` if `added` are its bytes; exit 1, this message, nothing changed.
    #[track_caller]
    fn refuses(&self, added: Option<&[u8]>, message: &str) {
        let mut compose = self.compose();
        if let Some(bytes) = added {
            fs::write(compose.work_dir().join("launcher"), bytes).unwrap();
            compose = compose.arg("--add-launcher").arg("launcher");
        }
        for verb in [None, Some("plan")] {
            says(compose.command_as(verb).run(), 1, message);
        }
        Listing::of(&self.root.path()).expect_same(&self.before, Mtimes::All);
    }
}

fn launcher() -> Vec<u8> {
    fs::read(Program::Launcher.path()).unwrap()
}

/// The launcher for arm64, as far as its ELF header goes (`e_machine`).
fn for_arm64() -> Vec<u8> {
    let mut bytes = launcher();
    bytes[18..20].copy_from_slice(&183u16.to_le_bytes());
    bytes
}

/// The launcher with another record version in its note (docs/format.md, "The launcher's ELF note").
fn of_version(version: u32) -> Vec<u8> {
    let mut bytes = launcher();
    let note = [&7u32.to_le_bytes()[..], &4u32.to_le_bytes(), &1u32.to_le_bytes(), b"sysctr\0\0"].concat();
    let at = bytes.windows(note.len()).position(|window| window == note).expect("the launcher has its note");
    bytes[at + note.len()..at + note.len() + 4].copy_from_slice(&version.to_le_bytes());
    bytes
}

#[test]
fn a_target_without_a_launcher() {
    Target::with(None).refuses(
        None,
        "looking for the launcher: the target has no /usr/bin/sysctr; give --add-launcher FILE, or install the package \
         that has sysctr",
    );
}

#[test]
fn launchers_that_do_not_fit() {
    let busybox = fs::read("/bin/busybox").unwrap();
    for (bytes, why) in [
        (for_arm64(), "it is for arm64, the target is amd64"),
        (of_version(0), "it reads records up to version 0, this compose writes version 1"),
        (busybox, "it is no sysctr: it has no note with a record version"),
        (b"#!/bin/sh\n".to_vec(), "it is no ELF program of an architecture that we know"),
        (Vec::new(), "it is no ELF program of an architecture that we know"),
        (launcher()[..10_000].to_vec(), "it is cut off; copy it again"),
        (launcher()[..launcher().len() - 1].to_vec(), "it is cut off; copy it again"),
    ] {
        Target::with(None).refuses(Some(&bytes), &format!("adding launcher launcher: {why}"));
        Target::with(Some(&bytes))
            .refuses(None, &format!("looking at the target's launcher /usr/bin/sysctr: {why}"));
    }
    let missing = Target::with(None);
    let compose = missing.compose().arg("--add-launcher").arg("nowhere");
    says(compose.run(), 1, "reading launcher nowhere: No such file or directory (os error 2)");
}

#[test]
fn a_launcher_that_nobody_can_execute() {
    let target = Target::with(Some(&launcher()));
    fs::set_permissions(target.root.join("usr/bin/sysctr"), fs::Permissions::from_mode(0o644)).unwrap();
    let message = "looking at the target's launcher /usr/bin/sysctr: it is not executable; chmod 0755 it";
    for verb in [None, Some("plan")] {
        says(target.compose().command_as(verb).run(), 1, message);
    }
}

#[test]
fn a_newer_launcher_reads_older_records() {
    let target = Target::with(Some(&of_version(2)));
    target.compose().run().expect_ok();
}

#[test]
fn a_foreign_launcher_is_used_and_never_replaced_or_removed() {
    let target = Target::with(Some(&launcher()));
    target.refuses(
        Some(&launcher()),
        "adding the launcher: /usr/bin/sysctr exists in the target and is not ours; leave out --add-launcher to use it, \
         or remove it",
    );
    target.compose().run().expect_ok();
    let composed = Listing::of(&target.root.path());
    let remove = Compose::into(&target.root).verb("remove").arg("it").arg("--launcher");
    says(remove.run(), 1, "removing the launcher: no compose added it");
    Listing::of(&target.root.path()).expect_same(&composed, Mtimes::All);
    Compose::into(&target.root).verb("remove").arg("it").run().expect_ok();
    Listing::of(&target.root.path()).expect_same(&target.before, Mtimes::All);
}

#[test]
fn a_launcher_that_containers_need_stays() {
    let target = Target::with(None);
    target.compose().add_launcher().run().expect_ok();
    let composed = Listing::of(&target.root.path());
    let remove = Compose::into(&target.root).verb("remove").arg("--launcher");
    says(remove.run(), 1, "removing the launcher: it can't start without it; remove containers first");
    let remove = Compose::into(&target.root).verb("remove").arg("nothing");
    says(remove.run(), 1, "removing container nothing: it is not embedded; embedded is it");
    let remove = Compose::into(&target.root).verb("remove").arg("--group").arg("h");
    says(remove.run(), 1, "removing group h: none of its containers is embedded");
    Listing::of(&target.root.path()).expect_same(&composed, Mtimes::All);
}

#[test]
fn a_target_that_does_not_tell_its_architecture() {
    let target = Target::with(None);
    fs::remove_file(target.root.join("usr/lib/systemd/systemd")).unwrap();
    let before = Listing::of(&target.root.path());
    let compose = target.compose().add_launcher();
    for verb in [None, Some("plan")] {
        says(
            compose.command_as(verb).run(),
            2,
            "finding the target's architecture: it has no /usr/lib/systemd/systemd that tells; give --arch",
        );
    }
    Listing::of(&target.root.path()).expect_same(&before, Mtimes::All);
    target.compose().add_launcher().arg("--arch").arg("amd64").run().expect_ok();
}

#[test]
fn an_architecture_that_is_not_the_targets() {
    let target = Target::with(None);
    let compose = target.compose().add_launcher().arg("--arch").arg("arm64");
    for verb in [None, Some("plan")] {
        says(
            compose.command_as(verb).run(),
            1,
            "composing for arm64: /usr/lib/systemd/systemd of the target is for amd64",
        );
    }
    let compose = target.compose().add_launcher().arg("--arch").arg("pdp11");
    says(
        compose.run(),
        2,
        "invalid value 'pdp11' for '--arch <ARCH>': architecture \"pdp11\" is not known; known are amd64, arm64, arm, 386, \
         ppc64le, s390x, riscv64, loong64, mips64le, mipsle; see --help",
    );
    Listing::of(&target.root.path()).expect_same(&target.before, Mtimes::All);
}
