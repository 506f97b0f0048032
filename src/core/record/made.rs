//! What the host makes for a container at boot: paths that systemd-tmpfiles or a mount unit puts there. The record keeps
//! them, so that composes see when two containers want one path, of which only the first would get it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One path that is made at boot. Equal values are one thing, whoever asks for it; where the host file comes from does not
/// count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Type of the line (tmpfiles.d(5)) with its `+`; `bind` for a program that a mount unit binds.
    pub line: String,
    /// Permission bits as four octal digits; what the line leaves open, as systemd-tmpfiles has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Owner, a number where the line has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Group, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How long content may stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
    /// The line's argument; of a host file the digest of its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The image's host file that it is, by its path before links of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_file: Option<String>,
}

impl Made {
    /// The type of a program that a mount unit binds.
    pub const BIND: &'static str = "bind";

    /// Whether both make the same.
    pub fn agrees(&self, other: &Self) -> bool {
        let made = |it: &Self| Self { host_file: None, ..it.clone() };
        made(self) == made(other)
    }

    /// Whether it is a directory, which several may have.
    pub fn is_directory(&self) -> bool {
        self.line.starts_with(['d', 'D', 'v', 'q', 'Q'])
    }

    /// A host file that is one of its kind: a file, program or link.
    pub fn is_own_file(&self) -> bool {
        self.host_file.is_some() && !self.is_directory()
    }
}

/// As a line has it, without its path: `d 0755 0:0`.
impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)?;
        if let Some(mode) = &self.mode {
            write!(f, " {mode}")?;
        }
        if let (Some(user), Some(group)) = (&self.user, &self.group) {
            write!(f, " {user}:{group}")?;
        }
        [&self.age, &self.content].into_iter().flatten().try_for_each(|word| write!(f, " {word}"))
    }
}
