//! What the integration tests share: real roots and images, the programs under test, independent readers of trees, and
//! machines to boot and run in.
//!
//! ```no_run
//! use sysctr_tests::{Compose, Image, Root};
//!
//! let root = Root::debian();
//! let manifest = "group = 'web'\n[[container]]\nname = 'nginx'\nimage = 'oci:images/nginx/oci:1'\n";
//! Compose::into(&root).manifest(manifest).with(&Image::nginx()).add_launcher().run().expect_ok();
//! ```
//!
//! A tool that is missing fails the test and names `make setup`; nothing is skipped.

pub mod boot;
pub mod command;
pub mod compose;
pub mod crafted;
pub mod fixture;
pub mod layout;
pub mod listing;
pub mod machine;
pub mod manual;
pub mod oracle;
pub mod random;
pub mod registry;
pub mod runtime;
pub mod sysroot;
pub mod unit;

pub use boot::Boot;
pub use command::{Command, Output, Running};
pub use compose::{Compose, Program};
pub use crafted::{Crafted, Layer, Packing};
pub use fixture::{Image, Root};
pub use layout::Layout;
pub use listing::{Listing, Mtimes};
pub use machine::Machine;
pub use random::Random;
pub use sysroot::Sysroot;

use std::path::{Path, PathBuf};

/// The top of the source tree.
pub fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the source tree").to_owned()
}

/// Whether the whole of what can be disturbed shall be (`make soak`), or a sample.
pub fn soak() -> bool {
    std::env::var_os("SYSCTR_SOAK").is_some_and(|value| value == "1")
}

/// The number in an environment variable: `SYSCTR_SEED` repeats what a test chose by chance.
///
/// # Panics
/// When there is something else in it.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var_os(variable)?;
    Some(
        text.to_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{variable}={text:?} is no number")),
    )
}

/// Where `make build` leaves the programs, or `$SYSCTR_DIST`.
pub fn dist_dir() -> PathBuf {
    std::env::var_os("SYSCTR_DIST").map_or_else(|| source_dir().join("target/dist"), PathBuf::from)
}

/// A new temporary directory on a disk (extended attributes work there), gone when dropped.
pub fn scratch() -> tempfile::TempDir {
    let parent = fixture::cache_dir().join("tmp");
    std::fs::create_dir_all(&parent).expect("the test cache can be written; tests need root");
    tempfile::Builder::new().prefix("t-").tempdir_in(parent).expect("a temporary directory")
}

/// A new temporary directory in memory, gone when dropped.
///
/// # Panics
/// When there is no /dev/shm.
pub fn memory() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("sysctr-")
        .tempdir_in("/dev/shm")
        .expect("a temporary directory in /dev/shm")
}

/// Gives this thread and the programs that it starts mounts of their own, which go away with them.
///
/// # Panics
/// When the user may not.
pub fn private_mounts() {
    #[expect(unsafe_code, reason = "a new mount namespace touches no file descriptor")]
    // SAFETY: file descriptor tables are not unshared.
    unsafe {
        rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS).expect("tests need root");
    }
    Command::new("mount").args(["--make-rprivate", "/"]).run().expect_ok();
}
