use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::image::ResolvedImage;
use crate::image::flatten::flatten;
use crate::image::testing::{Heard, LIMITS, Tar};
use crate::store::contents::ObjectContents;
use crate::store::layers::tests::{Seen, images, import_with, layer, mend, repo, spoil, stacked, store};
use crate::store::listing::Listed;

/// An image's root in a directory of the file system, and its listing.
struct Embedded {
    root: tempfile::TempDir,
    listing: Vec<u8>,
    tree: ImageTree,
}

impl Embedded {
    fn of(image: &ResolvedImage) -> anyhow::Result<Self> {
        let (root, repo) = (repo(), repo());
        let store = store(repo.path());
        let contents = ObjectContents::new(&store, None);
        let listed = Listed::over(&contents);
        let tree = flatten(image, LIMITS, &listed, &Heard::default())?.tree;
        for (path, node) in tree.walk() {
            let path = root.path().join(OsStr::from_bytes(path.as_bytes()));
            match node {
                Node::Dir(_) => fs::create_dir(path).unwrap(),
                Node::Leaf(id) => {
                    if let Leaf::File { size, content: Some(id), .. } = tree.leaf(*id) {
                        fs::write(path, contents.read(*id, *size).unwrap()).unwrap();
                    }
                }
            }
        }
        Ok(Self { root, listing: listed.finish()?, tree })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn import(&self, repo: &Path, image: &ResolvedImage) -> Result<Seen, String> {
        let root = fs::File::open(self.root.path()).unwrap().into();
        let root = ShippedRoot::new(root, Listing::of(&self.listing), &self.tree);
        import_with(repo, image, None, LIMITS, Some(Shipped::new(vec![root], Interrupt::default())))
    }
}

fn plain(image: &ResolvedImage) -> Result<Seen, String> {
    import_with(repo().path(), image, None, LIMITS, None)
}

fn lower() -> Vec<u8> {
    Tar::default().dir("d", 0o700).file("d/f", b"lower").file("hidden", b"it is").file("empty", b"").end()
}

fn upper() -> Vec<u8> {
    Tar::default().file(".wh.hidden", b"").file("d/g", &vec![b'g'; 3 << 20]).other(b'1', "h", "d/f").end()
}

#[test]
fn what_is_embedded_is_not_read_and_is_known_from_then_on() {
    let (lower, upper) = (lower(), upper());
    let (layout, [both]) = images([("both", vec![&lower, &upper])]);
    let (embedded, expected) = (Embedded::of(&both).unwrap(), plain(&both).unwrap());
    spoil(&layout);
    let repo = repo();
    assert_eq!(embedded.import(repo.path(), &both).unwrap(), expected);
    // Without it, too.
    assert_eq!(import_with(repo.path(), &both, None, LIMITS, None).unwrap(), expected);
}

#[test]
fn what_is_hidden_changed_missing_or_too_long_is_not_taken() {
    let (lower, upper) = (lower(), upper());
    let (layout, [both, shows]) = images([("both", vec![&lower, &upper]), ("shows", vec![&lower])]);
    let expected = plain(&both).unwrap();
    type Damage = fn(&Embedded);
    let damages: [Damage; 5] = [
        |it| fs::write(it.path("d/f"), "lowet").unwrap(),
        |it| fs::write(it.path("d/f"), "lower and more").unwrap(),
        |it| fs::write(it.path("d/g"), vec![b'g'; 2 << 20]).unwrap(),
        |it| fs::remove_file(it.path("d/f")).unwrap(),
        |it| {
            fs::remove_file(it.path("d/f")).unwrap();
            fs::create_dir(it.path("d/f")).unwrap();
        },
    ];
    for damage in damages {
        let embedded = Embedded::of(&both).unwrap();
        damage(&embedded);
        spoil(&layout);
        embedded.import(repo().path(), &both).unwrap_err();
        mend(&layout);
        assert_eq!(embedded.import(repo().path(), &both).unwrap(), expected);
    }
    let embedded = Embedded::of(&both).unwrap();
    assert_eq!(embedded.import(repo().path(), &shows).unwrap(), plain(&shows).unwrap());
    for cut in 0..embedded.listing.len() {
        let cut = Listing::of(&embedded.listing[..cut]);
        assert!(both.config.diff_ids.iter().filter(|diff_id| cut.bytes(diff_id).is_some()).count() < 2);
    }
}

#[test]
fn what_is_copied_is_what_is_read() {
    let shared = proptest::collection::vec(layer(), 1..4);
    let tops = proptest::collection::vec(proptest::option::of(layer()), 2..4);
    let fit = AtomicUsize::new(0);
    let check = |(shared, tops): (Vec<Vec<u8>>, Vec<Option<Vec<u8>>>)| {
        let layout = stacked(&shared, &tops);
        let resolved = |number: usize| layout.resolve(&format!("oci:layout:{number}")).unwrap();
        let Ok(embedded) = Embedded::of(&resolved(0)) else { return Ok(()) };
        let itself = plain(&resolved(0));
        for image in (0..tops.len()).map(resolved) {
            prop_assert_eq!(embedded.import(repo().path(), &image), plain(&image));
            fit.fetch_add(1, Ordering::Relaxed);
        }
        spoil(&layout);
        prop_assert_eq!(embedded.import(repo().path(), &resolved(0)), itself);
        Ok(())
    };
    TestRunner::new(Config::with_cases(100)).run(&(shared, tops), check).unwrap();
    assert!(fit.load(Ordering::Relaxed) > 50, "only {fit:?}");
}
