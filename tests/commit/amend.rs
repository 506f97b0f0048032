//! Other settings for containers that the base embeds: no layer is read, and the new tree is the one made from nothing.

use std::fs;

use anyhow::Result;
use camino::Utf8Path;
use sysctr_compose::embed::Chosen;
use sysctr_compose::interrupt::Interrupt;
use sysctr_compose::manifest::Manifest;
use sysctr_compose::shelf::Shelf;
use sysctr_compose::target::commit::{Commit, Composing};
use sysctr_core::arch::Architecture;
use sysctr_core::epoch::Epoch;
use sysctr_core::exports::host_files::Lies;
use sysctr_core::image::flatten::{Limits, Progress};
use sysctr_core::image::{Wanted, resolve};
use sysctr_core::name::ContainerName;
use sysctr_core::placement::{Found, Ground as _, Planner, Present};
use sysctr_core::prepare::{Kind, Target};
use sysctr_core::record::Record;
use sysctr_core::settings::AbsolutePath;
use sysctr_core::store::contents::ObjectContents;
use sysctr_core::tree::ContentId;
use sysctr_tests::{Crafted, Image, Layer};

use crate::{MODES, assert_clean, done, make_repo, make_root, ostree, printed, scratch, steps, utf8};

/// Contents go to the new commit.
struct Staged<'a>(&'a Composing<'a>);

impl Shelf for Staged<'_> {
    type Store = ObjectContents;

    fn store(&self, name: &ContainerName) -> Result<ObjectContents> {
        Ok(self.0.contents(name))
    }

    fn content(&self, name: &ContainerName, _: &ObjectContents, id: ContentId, max: u64) -> Result<Vec<u8>> {
        self.0.content(name, id, max)
    }

    fn again(&self, _: &ObjectContents, _: &[ContentId]) -> Option<ObjectContents> {
        None
    }
}

/// The base without what a container has put there.
struct Beneath<'a> {
    base: &'a Commit,
    own: Option<&'a Record>,
}

impl Target for Beneath<'_> {
    fn lies(&self, path: &Utf8Path) -> Result<Lies> {
        // A commit has /etc in /usr only, and leads there by either path.
        if path == "etc" || self.own.is_some_and(|own| own.placed.contains_key(path)) {
            return Ok(Lies::Nothing);
        }
        Ok(match self.base.probe(path)? {
            Found::Nothing => Lies::Nothing,
            Found::Directory => Lies::Directory,
            Found::File { .. } => Lies::File,
            Found::Link(text) => Lies::Link(text),
            Found::Special => Lies::Other,
        })
    }

    fn kind(&self, _: &str) -> Result<Kind> {
        Ok(Kind::Unknown)
    }

    fn read(&self, path: &Utf8Path, max: u64) -> Result<Option<Vec<u8>>> {
        self.base.read(path, max)
    }

    fn names(&self, path: &Utf8Path) -> Result<Vec<String>> {
        self.base.names(path)
    }
}

/// Whether layers may be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layers {
    Read,
    Left,
}

impl Progress for Layers {
    fn layer(&self, _: usize, _: usize, _: u64) {
        assert!(*self == Self::Read, "a layer is read");
    }

    fn advance(&self, _: usize, _: u64) -> Result<()> {
        Ok(())
    }

    fn done(&self, _: usize) {}
}

/// Composes on `base`; how many changes that took.
fn compose(
    repo: &Utf8Path,
    base: &str,
    reference: &str,
    manifest: &Utf8Path,
    layers: Layers,
) -> Result<usize> {
    let manifest = Manifest::read(manifest)?;
    let base = Commit::open(repo, base)?;
    let present = Present::read(&base)?;
    let composing = base.begin(steps::revision(reference, 2))?;
    let mut planner = Planner::new(&base, &present);
    for container in &manifest.containers {
        let architecture = Architecture::of_elf(&fs::read("/bin/true")?).expect("a known machine");
        let wanted = Wanted {
            reference: &container.image,
            base: &manifest.base,
            architecture: Some(architecture),
            pin: container.pin,
        };
        let chosen = Chosen {
            container,
            group: &manifest.group,
            image: resolve(&wanted)?,
            runtime: AbsolutePath::try_from("/usr/bin/runc".to_owned())?,
            architecture,
            epoch: Epoch::default(),
        };
        let own = present.records.get(&container.name);
        let limits = Limits { jobs: 2, max_entries: 1 << 20, max_bytes: 1 << 30, max_window: 8 << 20 };
        let target = Beneath { base: &base, own };
        let embedded = chosen.embed(limits, &target, own, &Staged(&composing), &layers)?;
        planner.embed(embedded.draft)?;
    }
    let placement = planner.finish()?.placement;
    composing.commit(&placement, &Interrupt::default())?;
    Ok(placement.changes.len())
}

#[test]
fn an_amended_tree_is_the_tree_made_from_nothing() {
    let scratch = scratch();
    let layer = Layer::new().dir("etc").file("etc/passwd", "app:x:7:8::/:/bin/sh\n").file("true", "text");
    sysctr_tests::crafted::write(&Crafted::one(&layer).layout(), &scratch.path().join("it"));
    let write = |name: &str, it: &str, serve: &str| {
        let serve_image = Image::exports("serve").reference();
        let text = format!(
            "group = 'g'\n[[container]]\nname = 'it'\nimage = 'oci:it'\nrun = {{ user = 'app', {it} }}\n\
             [[container]]\nname = 'serve'\nimage = '{serve_image}'\n{serve}\n"
        );
        let path = scratch.path().join(name);
        fs::write(&path, text).expect("a step of the test");
        utf8(&path).to_owned()
    };
    let first = write("first.toml", "tmpfs = ['/first/inner', '/both/a']", "");
    let second = write(
        "second.toml",
        "tmpfs = ['/both/b', '/new/a/b'], env = { A = '1' }, mounts = [{ source = '/x', target = '/etc/x', file = true }]",
        "set = { PORT = '81' }",
    );
    let root = make_root(scratch.path());
    let embedded = root.join("usr/lib/containers/atomic");
    fs::create_dir(&embedded).expect("a step of the test");
    done(std::process::Command::new("chmod").arg("0755").arg(&embedded));
    for mode in MODES {
        let repo = make_repo(scratch.path(), mode, &root);
        let content = |reference: &str| {
            let shown = printed(&mut ostree(repo.as_std_path(), &["show", reference]));
            let line = shown.lines().find_map(|line| line.strip_prefix("ContentChecksum:"));
            line.unwrap_or_else(|| panic!("{shown}")).trim().to_owned()
        };
        for (base, reference, manifest, layers) in [
            ("base", "first", &first, Layers::Read),
            ("base", "second", &second, Layers::Read),
            ("first", "changed", &second, Layers::Left),
            ("changed", "back", &first, Layers::Left),
        ] {
            let changes = compose(&repo, base, reference, manifest, layers).expect("a step of the test");
            assert!(changes > 0);
        }
        assert_eq!(content("changed"), content("second"), "{mode}");
        assert_eq!(content("back"), content("first"), "{mode}");
        assert_ne!(content("first"), content("second"), "{mode}");
        assert_clean(&repo);
    }
}
