//! `/etc` of a root that became `/usr/etc` after a compose (rpm-ostree does that when it commits), or the reverse: what
//! was recorded at one place is looked up at the other.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use super::{Found, Ground};
use crate::record::Record;

const HOST: &str = "etc";
const IMAGE: &str = "usr/etc";

/// Where paths below `/etc` lie that were recorded at either place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Etc {
    /// Where they were recorded: the target has both, or neither.
    AsRecorded,
    /// In `/etc`, the only one.
    Host,
    /// In `/usr/etc`, the only one.
    Image,
}

impl Etc {
    /// Of a target.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn of(ground: &(impl Ground + ?Sized)) -> Result<Self> {
        let is_there = |path: &str| Ok::<_, anyhow::Error>(ground.probe(path.as_ref())? == Found::Directory);
        Ok(match (is_there(HOST)?, is_there(IMAGE)?) {
            (true, false) => Self::Host,
            (false, true) => Self::Image,
            _ => Self::AsRecorded,
        })
    }

    /// Where what was recorded at `path` lies.
    pub fn place(self, path: &Utf8Path) -> Utf8PathBuf {
        let (from, to) = match self {
            Self::AsRecorded => return path.to_owned(),
            Self::Host => (IMAGE, HOST),
            Self::Image => (HOST, IMAGE),
        };
        match path.strip_prefix(from) {
            Ok(rest) if rest.as_str().is_empty() => to.into(),
            Ok(rest) => Utf8Path::new(to).join(rest),
            Err(_) => path.to_owned(),
        }
    }

    /// A record with everything where it lies now. Its digest is that of the record as it was written.
    pub fn relocate(self, mut record: Record) -> Record {
        if self != Self::AsRecorded {
            let placed = std::mem::take(&mut record.placed);
            record.placed = placed.into_iter().map(|(path, placed)| (self.place(&path), placed)).collect();
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_etc_moves() {
        for (etc, path, expected) in [
            (Etc::Image, "etc", "usr/etc"),
            (Etc::Image, "etc/x/y", "usr/etc/x/y"),
            (Etc::Image, "etcetera/x", "etcetera/x"),
            (Etc::Image, "usr/etc/x", "usr/etc/x"),
            (Etc::Image, "usr/share/etc/x", "usr/share/etc/x"),
            (Etc::Host, "usr/etc/x", "etc/x"),
            (Etc::Host, "etc/x", "etc/x"),
            (Etc::AsRecorded, "etc/x", "etc/x"),
        ] {
            assert_eq!(etc.place(path.into()), expected);
        }
    }
}
