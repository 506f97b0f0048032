//! Owners that the host does not know, or knows as somebody else.

use anyhow::Result;
use camino::Utf8Path;

use super::{MAX_TEXT_BYTES, Road};
use crate::exports::host_files::owners::{Names, Sides};
use crate::exports::tmpfiles;

impl Road<'_> {
    /// Numbers that mean somebody else on the host, and names that the host does not know.
    pub(super) fn strangers(&self) -> Result<Vec<String>> {
        let target = |file: &str| -> Result<Option<Names>> {
            for directory in ["usr/etc", "etc", "usr/lib"] {
                let path = Utf8Path::new(directory).join(file);
                if let Some(bytes) = self.input.target.read(&path, MAX_TEXT_BYTES)? {
                    return Ok(Some(Names::read(&bytes)));
                }
            }
            Ok(None)
        };
        let (Some(users), Some(groups)) = (target("passwd")?, target("group")?) else {
            return Ok(Vec::new());
        };
        let mut told = Vec::new();
        if let Some(fragment) = &self.rendered.tmpfiles {
            let unknown = |names: &[String], known: &Names| -> Vec<String> {
                names.iter().filter(|name| !known.knows(name)).cloned().collect()
            };
            for name in unknown(&fragment.users, &users).iter().chain(&unknown(&fragment.groups, &groups)) {
                told.push(format!("{}: nobody is called {name} in the target", tmpfiles::FILE));
            }
        }
        let own = |bytes: Option<&[u8]>| Names::read(bytes.unwrap_or_default());
        let sides = Sides {
            users: (own(self.input.source.passwd), users),
            groups: (own(self.input.source.group), groups),
        };
        told.extend(sides.strangers(&self.rendered.host_files, self.user.as_ref()));
        Ok(told)
    }
}
