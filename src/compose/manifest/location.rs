//! Where in the manifest's text an error is.

use camino::Utf8Path;
use serde::Deserialize;
use serde_json::value::RawValue;
use toml::de::DeTable;

use super::{ManifestFile, NotUnderstood};

/// The manifest's notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Toml,
    Json,
}

impl Syntax {
    /// By the file's name: `.json` is JSON, everything else TOML.
    pub(super) fn of(path: &Utf8Path) -> Self {
        if path.extension() == Some("json") { Self::Json } else { Self::Toml }
    }
}

/// A manifest's text with its name.
pub(super) struct Source<'a> {
    pub(super) path: &'a Utf8Path,
    pub(super) text: &'a str,
    pub(super) syntax: Syntax,
}

impl Source<'_> {
    /// Reads the text as a manifest; what is wrong in it is told with line and column.
    pub(super) fn parse(&self) -> Result<ManifestFile, NotUnderstood> {
        match self.syntax {
            Syntax::Toml => toml::from_str(self.text).map_err(|error| {
                let offset = error.span().map_or(0, |span| span.start);
                self.at(offset, error.message())
            }),
            Syntax::Json => serde_json::from_str(self.text).map_err(|error| {
                let message = error.to_string();
                // serde_json repeats the position at the end of its message.
                let message = message.split(" at line ").next().unwrap_or(&message);
                self.message(error.line(), error.column(), message)
            }),
        }
    }

    /// An error about the container number `index` (from 0).
    pub(super) fn refuse(&self, index: usize, why: &str) -> NotUnderstood {
        self.at(self.container(index).unwrap_or(0), why)
    }

    fn at(&self, offset: usize, why: &str) -> NotUnderstood {
        let before = &self.text[..offset.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.message(line, column, why)
    }

    fn message(&self, line: usize, column: usize, why: &str) -> NotUnderstood {
        let why: Vec<_> = why.lines().map(str::trim).collect();
        NotUnderstood::new(format!("{}:{line}:{column}: {}", self.path, why.join(" ")))
    }

    /// Offset of a container: of its name if it has one, else of its beginning.
    fn container(&self, index: usize) -> Option<usize> {
        match self.syntax {
            Syntax::Toml => {
                let table = DeTable::parse(self.text).ok()?;
                let container = table.get_ref().get("container")?.get_ref().as_array()?.get(index)?;
                let name = container.get_ref().as_table()?.get("name");
                Some(name.map_or(container.span(), toml::Spanned::span).start)
            }
            Syntax::Json => {
                let outer: Containers<'_> = serde_json::from_str(self.text).ok()?;
                let container = outer.container.get(index)?.get();
                (container.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)
            }
        }
    }
}

/// The containers of a JSON manifest as slices of its text.
#[derive(Deserialize)]
struct Containers<'a> {
    #[serde(borrow)]
    container: Vec<&'a RawValue>,
}
