//! Reading a generated unit as text, as a test sees it.

use std::path::Path;

/// A unit file.
#[derive(Debug)]
pub struct Unit {
    text: String,
}

impl Unit {
    /// Of the container `name` below `root`.
    ///
    /// # Panics
    /// When there is none.
    pub fn of(root: &Path, name: &str) -> Self {
        let path = root.join("usr/lib/systemd/system").join(format!("{name}.service"));
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { text }
    }

    /// All values of a key, in order.
    pub fn all<'a>(&'a self, key: &str) -> Vec<&'a str> {
        self.text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
    }

    /// The one value of a key.
    ///
    /// # Panics
    /// When there is none or are several.
    #[track_caller]
    pub fn one(&self, key: &str) -> &str {
        let values = self.all(key);
        assert_eq!(values.len(), 1, "{key}= in\n{}", self.text);
        values[0]
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}
