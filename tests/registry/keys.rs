//! OpenPGP keys of a test's own, in a home of their own.

use std::path::{Path, PathBuf};

use sysctr_tests::{Command, scratch};
use tempfile::TempDir;

/// A keyring; its agent ends when dropped.
pub struct Keys {
    home: TempDir,
}

impl Keys {
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let home = scratch();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { home }
    }

    fn gpg(&self) -> Command {
        Command::new("gpg").env("GNUPGHOME", self.home.path()).args(["--batch", "--quiet"])
    }

    /// Makes a key, writes its public half to `file`, and gives its fingerprint.
    pub fn make(&self, name: &str, file: &Path) -> String {
        let make =
            self.gpg().args(["--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never"]);
        make.run().expect_ok();
        let exported = self.gpg().args(["--armor", "--export", name]).run().expect_ok();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, exported.bytes()).unwrap();
        let listed = self.gpg().args(["--with-colons", "--list-keys", name]).run().expect_ok().stdout();
        let line = listed.lines().find(|line| line.starts_with("fpr")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    /// The directory for `GNUPGHOME`.
    pub fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let end = Command::new("gpgconf").env("GNUPGHOME", self.home.path()).args(["--kill", "gpg-agent"]);
        end.run();
    }
}
