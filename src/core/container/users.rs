//! An image's own databases of users and groups, and what else of it preparing a container reads.

use crate::exports::brought::contents;
use crate::tree::lookup::Found;
use crate::tree::{ContentId, ImageTree, Leaf};
use anyhow::{Result, ensure};

/// Largest `/etc/passwd` or `/etc/group` of an image that we read.
pub const MAX_USERS_BYTES: u64 = 1 << 20;
pub const PASSWD: &str = "etc/passwd";
pub const GROUP: &str = "etc/group";

/// The contents that preparing a container asks for.
///
/// # Errors
/// When a user database is too large, or links to it lead nowhere.
pub fn needed(tree: &ImageTree) -> Result<Vec<ContentId>> {
    let databases = [users(tree, PASSWD)?, users(tree, GROUP)?];
    Ok(databases.iter().filter_map(Users::content).chain(contents(tree)).collect())
}

/// The image's own user or group database.
pub enum Users {
    /// It has none.
    None,
    /// It has nobody.
    Empty,
    /// It is this file.
    Content(ContentId),
}

impl Users {
    fn content(&self) -> Option<ContentId> {
        match self {
            Self::None | Self::Empty => None,
            Self::Content(id) => Some(*id),
        }
    }
}

/// The database at `path`, links followed.
pub fn users(tree: &ImageTree, path: &str) -> Result<Users> {
    match tree.resolve(path.as_bytes())?.found {
        Found::File(Leaf::File { content: Some(id), size, .. }) => {
            ensure!(
                *size <= MAX_USERS_BYTES,
                "reading /{path} of the image: it has {size} bytes, more than {MAX_USERS_BYTES}"
            );
            Ok(Users::Content(*id))
        }
        Found::File(_) => Ok(Users::Empty),
        Found::Dir(_) | Found::Missing => Ok(Users::None),
    }
}
