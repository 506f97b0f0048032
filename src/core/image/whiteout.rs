//! Whiteouts: entries that say by their name what the layers below lose.

use anyhow::{Result, bail, ensure};

use crate::tree::{FileName, TreePath};

/// What a name says about the layers below (OCI image specification, "Whiteouts").
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whiteout {
    No,
    /// This path goes.
    Path(TreePath),
    /// What this directory had goes.
    Opaque(TreePath),
    /// aufs's own notes, which were never meant to be in a layer.
    Aufs,
}

impl Whiteout {
    /// What the path of an entry says.
    pub(crate) fn of(path: &TreePath) -> Result<Self> {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(Self::No) };
        if !path.parts().any(|part| part.starts_with(b".wh.")) {
            return Ok(Self::No);
        }
        if name.as_bytes() == b".wh..wh..opq" && !parent.parts().any(|part| part.starts_with(b".wh.")) {
            return Ok(Self::Opaque(parent));
        }
        if path.parts().any(|part| part.starts_with(b".wh..wh.")) {
            return Ok(Self::Aufs);
        }
        ensure!(
            !parent.parts().any(|part| part.starts_with(b".wh.")),
            "entry {path} lies beneath a whiteout, which has nothing beneath it"
        );
        let removed = name.as_bytes().strip_prefix(b".wh.").and_then(FileName::new);
        match removed {
            Some(removed) => Ok(Self::Path(parent.join(&removed))),
            None => bail!("entry {path} is a whiteout of nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_whiteouts() {
        let path = |name: &str| TreePath::parse(name.as_bytes()).unwrap();
        for (name, whiteout) in [
            ("a/b", Whiteout::No),
            ("a/.whx", Whiteout::No),
            ("", Whiteout::No),
            (".wh.x", Whiteout::Path(path("x"))),
            ("a/.wh..x", Whiteout::Path(path("a/.x"))),
            ("a/.wh..wh..opq", Whiteout::Opaque(path("a"))),
            (".wh..wh..opq", Whiteout::Opaque(path(""))),
            (".wh..wh.aufs", Whiteout::Aufs),
            (".wh..wh.plnk/12.34", Whiteout::Aufs),
            (".wh..wh.plnk/.wh..wh..opq", Whiteout::Aufs),
        ] {
            assert_eq!(Whiteout::of(&path(name)).unwrap(), whiteout, "{name}");
        }
        for (name, message) in [
            ("a/.wh.", "entry \"/a/.wh.\" is a whiteout of nothing"),
            (".wh..", "entry \"/.wh..\" is a whiteout of nothing"),
            (".wh...", "entry \"/.wh...\" is a whiteout of nothing"),
            (".wh.x/y", "entry \"/.wh.x/y\" lies beneath a whiteout, which has nothing beneath it"),
        ] {
            assert_eq!(Whiteout::of(&path(name)).unwrap_err().to_string(), message);
        }
    }
}
