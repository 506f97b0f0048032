//! Units that are enabled with a container's own (`Also=` of systemd.unit(5)).

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use camino::Utf8Path;

use super::{Links, MAX_TEXT_BYTES, Road};
use crate::exports::brought;
use crate::exports::host_files::{Content, HostNode};
use crate::exports::unit::{self, Install, UnitFile, Whose, install};
use crate::place;

impl Road<'_> {
    /// The units that are enabled with this one, by their own `[Install]`, and all links.
    pub(super) fn also(&mut self, own: &Install) -> Result<(BTreeSet<String>, Links)> {
        let mut links = own.links.clone();
        let mut waiting: Vec<String> = own.also.iter().cloned().collect();
        let mut seen = BTreeSet::new();
        while let Some(other) = waiting.pop() {
            if !seen.insert(other.clone()) {
                continue;
            }
            let Some(text) = self.unit(&other)? else {
                self.warnings.push(format!(
                    "{}: Also={other} is neither in the target nor among the host files; it is not enabled",
                    unit::FILE
                ));
                seen.remove(&other);
                continue;
            };
            let doing = || format!("reading unit {other}, which Also= names");
            let text = String::from_utf8(text).with_context(doing)?;
            let file = UnitFile::of_another(&text).with_context(doing)?;
            let theirs = install(&other, &file, Whose::Other).with_context(doing)?;
            let told = theirs.ignored.iter().map(|told| format!("{}: Also={other}: {told}", unit::FILE));
            self.warnings.extend(told);
            links.extend(theirs.links);
            waiting.extend(theirs.also);
        }
        links.sort();
        links.dedup();
        Ok((seen, links))
    }

    /// The text of another unit, or of the template that it is an instance of.
    fn unit(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let template = name.split_once('@').zip(name.rsplit_once('.'));
        let template = template.map(|((prefix, _), (_, suffix))| format!("{prefix}@.{suffix}"));
        for name in [Some(name), template.as_deref()].into_iter().flatten() {
            if let Some(text) = self.file(name)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The text of a unit file: a host file, or the target's.
    fn file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let places =
            [place::UNIT_DIR, "usr/lib/systemd/system", "usr/etc/systemd/system", "etc/systemd/system"];
        let paths = places.map(|directory| Utf8Path::new(directory).join(name));
        for placed in &self.host.placed {
            let HostNode::File { leaf, content, .. } = &placed.file.node else { continue };
            if !paths.contains(&placed.at) {
                continue;
            }
            return match content {
                Content::Template => Ok(self.rendered.contents.get(&placed.file.path).cloned()),
                Content::AsItIs => {
                    brought::checked(self.input.source.tree.leaf(*leaf), self.input.read).map(Some)
                }
            };
        }
        for path in &paths {
            if let Some(text) = self.input.target.read(path, MAX_TEXT_BYTES)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}
