//! Writable directories in memory: whose they are, and what is in them at the start.

use super::{MountTargetKind, Source};
use crate::settings::Phase;
use crate::tree::lookup::Found;

/// What a tmpfs holds at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// What the image has there, copied by the runtime.
    OfImage,
}

/// A tmpfs that takes the place of a directory of the image.
pub struct Tmpfs<'a> {
    /// Where.
    pub target: &'a str,
    /// See [`Content`].
    pub content: Content,
    /// What is made where the image has no directory; its mode is the tmpfs's then.
    pub target_kind: MountTargetKind,
}

impl Tmpfs<'_> {
    /// Mount options. Owner and mode are those of the image's directory, so that a user other than root can write where
    /// the image lets it; and runc 1.1 takes the mode from there in any case.
    pub fn options(&self, source: &Source<'_>, warnings: &mut Vec<String>) -> Vec<String> {
        let found = source.tree.resolve(self.target.as_bytes()).map(|resolved| resolved.found);
        let dir = match found {
            Ok(Found::Dir(dir)) => Some(dir),
            // A file in its way is told when the mount targets are decided.
            _ => None,
        };
        let stat = dir.map(|dir| &dir.stat);
        let fallback = if self.target_kind == MountTargetKind::StickyDirectory { 0o1777 } else { 0o755 };
        let mode = stat.map_or(fallback, |stat| stat.mode);
        let mut options = super::options(&["nosuid", "nodev"]);
        options.push(format!("mode={mode:04o}"));
        if let Some(stat) = stat {
            let owner = [("uid", stat.uid), ("gid", stat.gid)];
            options.extend(owner.iter().filter(|(_, id)| *id != 0).map(|(key, id)| format!("{key}={id}")));
        }
        if self.content == Content::OfImage && dir.is_some_and(|dir| !dir.children.is_empty()) {
            if source.settings.unit.phase == Phase::Early {
                // The runtime copies by way of the host's /tmp, which early units can't count on.
                warnings.push(format!(
                    "unit.phase: early containers see {} empty, though the image has something there; use sysinit",
                    self.target
                ));
            } else {
                options.push("tmpcopyup".to_owned());
            }
        }
        options
    }
}
