//! Names and paths inside an image: bytes, relative to its root, free of `.`, `..` and empty components.

use std::borrow::Borrow;
use std::fmt;

/// Most bytes of a path on Linux (`PATH_MAX`, without the final NUL).
pub(crate) const LONGEST_PATH: usize = 4095;

/// One component of a path: not empty, no `/`, no NUL, neither `.` nor `..`, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Box<[u8]>);

/// A path below the root of an image. The root itself is the empty path.
///
/// Ordered by components, so that a directory's content follows it directly.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TreePath(Box<[u8]>);

/// Why bytes are not a [`TreePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// A `..` component, which could lead out of the root.
    #[error("name {0} has a `..` component, which could lead out of the root")]
    Parent(String),
    /// It begins with `/`.
    #[error("name {0} is absolute; names in a layer are relative to its root")]
    Absolute(String),
    /// A NUL byte.
    #[error("name {0} has a NUL byte")]
    Nul(String),
    /// A component above 255 bytes, which no Linux file system holds.
    #[error("name {0} has a component of more than 255 bytes")]
    TooLong(String),
}

/// Bytes as people read them: UTF-8 as it is, anything else and control characters escaped, in quotes.
pub fn quoted(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("\"{}\"", bytes.escape_ascii()),
    }
}

impl FileName {
    /// A component, if `bytes` can be one.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let fit = !bytes.is_empty()
            && bytes.len() <= 255
            && bytes != b"."
            && bytes != b".."
            && !bytes.iter().any(|byte| matches!(byte, b'/' | 0));
        fit.then(|| Self(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// For look-ups by bytes; the orders agree.
impl Borrow<[u8]> for FileName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.0))
    }
}

impl TreePath {
    /// The root.
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Parses a name as layers spell it: `./` in front, repeated and trailing slashes are dropped.
    ///
    /// # Errors
    /// When the name is absolute, leads upwards, has a NUL byte or a component that no file system holds.
    pub fn parse(name: &[u8]) -> Result<Self, InvalidPath> {
        if name.first() == Some(&b'/') {
            return Err(InvalidPath::Absolute(quoted(name)));
        }
        if name.contains(&0) {
            return Err(InvalidPath::Nul(quoted(name)));
        }
        let mut path = Vec::with_capacity(name.len());
        for component in name.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(InvalidPath::Parent(quoted(name))),
                long if long.len() > 255 => return Err(InvalidPath::TooLong(quoted(name))),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        Ok(Self(path.into()))
    }

    /// The bytes: components joined by `/`, none in front; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components as bytes, from the root downwards.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
    }

    /// The components from the root downwards.
    pub fn components(&self) -> impl Iterator<Item = FileName> + '_ {
        self.parts().map(|part| FileName(part.into()))
    }

    /// The parents' names and the last name; `None` for the root.
    pub fn split_last(&self) -> Option<(Vec<FileName>, FileName)> {
        let mut names: Vec<_> = self.components().collect();
        let last = names.pop()?;
        Some((names, last))
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The last component; `None` for the root.
    pub fn file_name(&self) -> Option<FileName> {
        self.0.rsplit(|&byte| byte == b'/').next().and_then(FileName::new)
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &FileName) -> Self {
        if self.is_root() {
            return Self(name.0.clone());
        }
        Self([self.as_bytes(), b"/", name.as_bytes()].concat().into())
    }

    /// Becomes its own parent; the root stays.
    pub(crate) fn pop(&mut self) {
        if let Some(parent) = self.parent() {
            *self = parent;
        }
    }

    /// Whether this is `other` or lies below it.
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root()
            || self.0.strip_prefix(other.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // `/` sorts before every other byte, so that "a/b" comes right after "a" and before "a.b".
        let key = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TreePath {
    /// Quoted with a leading `/`, so that the root is visible: `"/etc/passwd"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&[b"/", self.as_bytes()].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_layers_are_normalized() {
        for (name, path) in [
            (&b"./etc/passwd"[..], &b"etc/passwd"[..]),
            (b"etc//x/", b"etc/x"),
            (b"./", b""),
            (b"", b""),
            (b"a/./b", b"a/b"),
            (b"\xff\xfe", b"\xff\xfe"),
        ] {
            assert_eq!(TreePath::parse(name).unwrap().as_bytes(), path);
        }
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        assert_eq!(TreePath::parse(b"a/../b"), Err(InvalidPath::Parent("\"a/../b\"".into())));
        assert_eq!(TreePath::parse(b"/a"), Err(InvalidPath::Absolute("\"/a\"".into())));
        assert_eq!(TreePath::parse(b"a\0b"), Err(InvalidPath::Nul("\"a\\0b\"".into())));
        assert!(matches!(TreePath::parse(&[b'x'; 256]), Err(InvalidPath::TooLong(_))));
        assert!(TreePath::parse(&[b'x'; 255]).is_ok());
    }

    #[test]
    fn a_directory_stands_right_before_its_content() {
        let mut paths: Vec<_> =
            ["a.b", "a/c", "a", "a/b/c", "b"].map(|p| TreePath::parse(p.as_bytes()).unwrap()).into();
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(|p| p.to_string()).collect();
        assert_eq!(sorted, ["\"/a\"", "\"/a/b/c\"", "\"/a/c\"", "\"/a.b\"", "\"/b\""]);
    }

    #[test]
    fn parents() {
        let path = TreePath::parse(b"a/b/c").unwrap();
        assert_eq!(path.parent().unwrap().as_bytes(), b"a/b");
        assert_eq!(path.file_name().unwrap().as_bytes(), b"c");
        assert!(path.starts_with(&TreePath::parse(b"a/b").unwrap()));
        assert!(!path.starts_with(&TreePath::parse(b"a/bb").unwrap()));
        assert_eq!(TreePath::root().parent(), None);
    }
}
