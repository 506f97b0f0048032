//! What is refused: by which words, with which exit code, and that the target is as it was then.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod blobs;
mod bombs;
mod clashes;
mod corruption;
mod entries;
mod launchers;
mod manifests;
mod output;
mod reading;
mod roots;
mod settings;
mod tampering;

use sysctr_tests::crafted::{self, Crafted, Files, Layer};
use sysctr_tests::{Compose, Listing, Mtimes, Output, Root};

/// The least manifest: the container `it` of the image in `images/`.
const MANIFEST: &str = "group = 'g'\n[[container]]\nname = 'it'\nimage = 'oci:image'\n";

/// A small root, and a working directory in which an image lies in `image/`.
struct Stage {
    root: Root,
    compose: Compose,
    before: Listing,
}

impl Stage {
    /// With this manifest and no image.
    fn of(manifest: &str) -> Self {
        let root = Root::small();
        let compose = Compose::into(&root).manifest(manifest).add_launcher();
        let before = Listing::of(&root.path());
        Self { root, compose, before }
    }

    /// With [`MANIFEST`] and this layout.
    fn with(files: &Files) -> Self {
        Self::of(MANIFEST).put(files)
    }

    /// With [`MANIFEST`] and an image of this one layer.
    fn layer(layer: &Layer) -> Self {
        Self::with(&Crafted::one(layer).layout())
    }

    /// Puts a layout into `image/`, in place of an earlier one.
    fn put(self, files: &Files) -> Self {
        let image = self.compose.work_dir().join("image");
        std::fs::remove_dir_all(&image).unwrap_or_default();
        crafted::write(files, &image);
        self
    }

    fn arg(self, arg: &str) -> Self {
        Self { compose: self.compose.arg(arg), ..self }
    }

    /// Takes the root as it is now for the one that must stay.
    fn settle(self) -> Self {
        Self { before: Listing::of(&self.root.path()), ..self }
    }

    /// Another verb on the same root.
    fn verb(&self, verb: &'static str) -> Compose {
        Compose::into(&self.root).verb(verb)
    }

    /// The root must be as it was.
    #[track_caller]
    fn unchanged(&self) {
        Listing::of(&self.root.path()).expect_same(&self.before, Mtimes::All);
    }

    /// Compose and plan must say exactly this, exit with 1, and leave the root as it was.
    #[track_caller]
    fn refuses(&self, message: &str) {
        self.fails(1, message);
    }

    /// The same with 2.
    #[track_caller]
    fn misunderstands(&self, message: &str) {
        self.fails(2, message);
    }

    #[track_caller]
    fn fails(&self, code: i32, message: &str) {
        for verb in [None, Some("plan")] {
            says(self.run_as(verb), code, message);
            self.unchanged();
        }
    }

    /// The same compose as another verb, `None` for a compose.
    fn run_as(&self, verb: Option<&'static str>) -> Output {
        self.compose.command_as(verb).run()
    }
}

/// One line on stderr, nothing on stdout.
#[track_caller]
fn says(output: Output, code: i32, message: &str) {
    if code == 2 {
        output.expect_misunderstood(message);
    } else {
        output.expect_error(message);
    }
}
