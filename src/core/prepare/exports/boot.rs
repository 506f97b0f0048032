//! What the host makes at boot: lines of tmpfiles.d(5), the image's, ours for what it binds, and those of host files.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::Utf8Path;

use super::{Asks, Kind, MAX_TEXT_BYTES, Prepared, Road};
use crate::digest::Digest;
use crate::exports::host_files::{Content, HostFile, HostNode};
use crate::exports::{boot_paths, sources, tmpfiles};
use crate::place;
use crate::record::Made;
use crate::tree::Leaf;

impl Road<'_> {
    /// All lines of the container, and what they and the target's make. Lines of other containers count for nothing here, so
    /// that a container is the same whoever else is embedded; the planner holds them against each other.
    pub(super) fn tmpfiles(
        &self,
        asks: Option<&Asks>,
        warnings: &mut Vec<String>,
    ) -> Result<(Option<Vec<u8>>, Vec<tmpfiles::Made>)> {
        let own = self.rendered.tmpfiles.as_ref();
        let own_text = own.and_then(|own| own.text.as_deref()).unwrap_or_default();
        let mut made = self.targets_lines()?;
        let (mut text, clashes) = tmpfiles::without_clashes(own_text, &made);
        let told = |path| {
            format!(
                "{}: {path} is something else by the target's own lines; the line is left out",
                tmpfiles::FILE
            )
        };
        warnings.extend(clashes.iter().map(told));
        text.extend(self.lines_of_host_files(&made, warnings)?);
        made.splice(0..0, tmpfiles::made(&text));
        if let Some(asks) = asks {
            let mut makes: Vec<String> = made.iter().map(|made| made.path.clone()).collect();
            makes.extend(self.rendered.host_files.iter().map(|file| file.path.clone()));
            let exists = |path: &str| Ok(self.input.target.kind(path)? != Kind::Missing);
            let unknown = sources::unknown(asks, &makes, &exists)?;
            if own.is_some() {
                warnings.extend(sources::told(&unknown));
            } else {
                let automatic = sources::automatic(&unknown, self.input.source.tree);
                warnings.extend(automatic.warnings);
                text.extend_from_slice(automatic.lines.as_bytes());
                made.extend(tmpfiles::made(automatic.lines.as_bytes()));
            }
        }
        Ok((Some(text).filter(|text| !text.is_empty()), made))
    }

    /// What the target's own lines make.
    fn targets_lines(&self) -> Result<Vec<tmpfiles::Made>> {
        let directory = Utf8Path::new(place::TMPFILES_DIR);
        let mut made = Vec::new();
        for file in self.input.target.names(directory)? {
            if file.ends_with(".conf") && !place::is_tmpfiles_name(&file) {
                let lines = self.input.target.read(&directory.join(file), MAX_TEXT_BYTES)?;
                made.extend(tmpfiles::made(&lines.unwrap_or_default()));
            }
        }
        Ok(made)
    }

    /// Lines of host files but those of whose path the target makes something else, where the manifest allows that.
    fn lines_of_host_files(&self, targets: &[tmpfiles::Made], warnings: &mut Vec<String>) -> Result<Vec<u8>> {
        let (text, clashes) = tmpfiles::without_clashes(self.host.tmpfiles.as_bytes(), targets);
        for path in clashes {
            let file = self.host.seeds.get(Utf8Path::new(&path));
            let file = file.map_or(path.as_str(), |file| file.path.as_str());
            if !self.allows(file) {
                bail!(
                    "placing host file {file}: lines of the target's tmpfiles.d make something else of {path}; put it into \
                     allow_conflicts to leave it to the target"
                );
            }
            warnings.push(format!("host file {file}: {path} is something else by the target's own lines"));
        }
        Ok(text)
    }

    fn allows(&self, path: &str) -> bool {
        self.input.source.settings.allow_conflicts.iter().any(|allowed| allowed.as_str() == path)
    }

    /// What these lines, and mount units beside them, make: host files with the bytes that they get there.
    pub(super) fn made(&self, lines: &[u8]) -> BTreeMap<String, Made> {
        let mut all = boot_paths::of(lines);
        for (at, file) in &self.host.seeds {
            if let Some(made) = all.get_mut(at.as_str()) {
                made.host_file = Some(file.path.clone());
                self.describe(file, made);
            }
        }
        all
    }

    fn describe(&self, file: &HostFile, made: &mut Made) {
        let HostNode::File { stat, leaf, content } = &file.node else { return };
        let digest = match (content, self.input.source.tree.leaf(*leaf)) {
            (Content::AsItIs, Leaf::File { digest, .. }) => *digest,
            _ => Digest::of(self.rendered.contents.get(&file.path).map_or(&[][..], Vec::as_slice)),
        };
        if file.is_program() {
            Made::BIND.clone_into(&mut made.line);
        }
        made.mode = Some(format!("{:04o}", stat.mode));
        made.user = Some(stat.uid.to_string());
        made.group = Some(stat.gid.to_string());
        made.content = Some(digest.to_string());
    }

    /// Tells paths of `allow_conflicts` at which nothing could conflict.
    pub(super) fn tell_idle_allowances(&mut self, prepared: &Prepared) {
        for allowed in &self.input.source.settings.allow_conflicts {
            let path = allowed.as_str();
            let is_host_file = self.rendered.host_files.iter().any(|file| file.path == path);
            if !is_host_file && !prepared.made.contains_key(path) {
                self.warnings.push(format!(
                    "allow_conflicts: the image has no host file {path}, and no line of tmpfiles.d that makes it"
                ));
            }
        }
    }
}
