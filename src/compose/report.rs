//! Results for people and for programs. Every JSON form carries `format`, is described in docs/format.md
//! ("Output"), and only ever gains keys.

mod commit;
mod findings;
mod images;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use sysctr_core::digest::Digest;
use sysctr_core::name::{ContainerName, GroupName};
use sysctr_core::placement::{Change, Placement, Present};
use sysctr_core::record::{LeftOutRecord, Record};
use sysctr_core::settings::AbsolutePath;
use sysctr_core::tree::Stat;

use crate::cli::Format;
pub use commit::CommitReport;
pub use findings::{Finding, FindingsReport, Severity};
pub use sysctr_core::inspection::printable;

/// Version of the JSON forms.
pub const FORMAT: u32 = 1;

/// A result that can be shown.
pub trait Report: Serialize {
    /// The lines for people, each with its newline.
    fn text(&self) -> String;

    /// The result in the wanted form, with a final newline.
    fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => {
                let json = serde_json::to_string_pretty(self).expect("reports have string keys only");
                json + "\n"
            }
        }
    }
}

/// What becomes of a container or a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It was not there.
    Add,
    /// It was there and differs.
    Change,
    /// It goes away.
    Remove,
    /// It stays as it is.
    Keep,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Change => "change",
            Self::Remove => "remove",
            Self::Keep => "keep",
        }
    }
}

/// The result of compose, plan and remove.
#[derive(Debug, Serialize)]
pub struct ComposeReport {
    /// [`FORMAT`].
    pub format: u32,
    /// Whether the target was, or would be, changed.
    pub changed: bool,
    /// Whether that was only planned.
    pub planned: bool,
    /// By name.
    pub containers: Vec<ContainerReport>,
    /// Every path outside and every directory of a bundle, in path order.
    pub paths: Vec<PathReport>,
    /// The new commit, for a target that is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitReport>,
    /// What the user should know about the target.
    pub warnings: Vec<String>,
}

/// One container in a [`ComposeReport`].
#[derive(Debug, Serialize)]
pub struct ContainerReport {
    /// Its name.
    pub name: ContainerName,
    /// Its group.
    pub group: GroupName,
    /// What becomes of it.
    pub action: Action,
    /// The image as the user wrote it.
    pub image: String,
    /// Digest of the image's configuration.
    pub config: Digest,
    /// Which image that is, and was.
    #[serde(flatten)]
    pub identity: images::Identity,
    /// Entries of the root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Bytes in its regular files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The directory of the host that is its root, if none is embedded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<AbsolutePath>,
    /// Paths made because something is mounted there.
    pub mount_targets: Vec<String>,
    /// What the image has and no host image can carry.
    pub left_out: Vec<LeftOutRecord>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// One path in a [`ComposeReport`].
#[derive(Debug, Serialize)]
pub struct PathReport {
    /// Relative to the target's root, with `/` in front.
    pub path: Utf8PathBuf,
    /// What becomes of it.
    pub action: Action,
    /// Bytes of the file or of all files in the directory.
    pub bytes: u64,
}

impl ComposeReport {
    /// What `placement` does to a target that embeds `present` and will embed `records`. Containers are told that
    /// change, and those that `asked` names.
    pub fn new(
        present: &Present,
        records: &BTreeMap<ContainerName, Record>,
        placement: &Placement,
        warnings: &BTreeMap<ContainerName, Vec<String>>,
        asked: impl Fn(&ContainerName) -> bool,
    ) -> Self {
        let names: BTreeSet<_> = present.records.keys().chain(records.keys()).collect();
        let containers = names.into_iter().filter_map(|name| {
            let (action, record) = match (present.records.get(name), records.get(name)) {
                (None, Some(new)) => (Action::Add, new),
                (Some(old), Some(new)) if old == new => (Action::Keep, new),
                (Some(_), Some(new)) => (Action::Change, new),
                (Some(old), None) => (Action::Remove, old),
                (None, None) => return None,
            };
            let warnings = warnings.get(name).cloned().unwrap_or_default();
            (action != Action::Keep || asked(name)).then(|| ContainerReport::new(record, action, warnings))
        });
        let changed = !placement.changes.is_empty();
        // Whoever writes makes the way to the containers, which no change does.
        let homes = present.missing_homes.iter().rev().filter(|_| changed);
        let homes =
            homes.map(|path| path_report(placement, path, &Change::MakeDirectory(Stat::implied(0o755))));
        let changes = placement.changes.iter().map(|(path, change)| path_report(placement, path, change));
        Self {
            format: FORMAT,
            changed,
            planned: false,
            containers: containers.collect(),
            paths: homes.chain(changes).collect(),
            commit: None,
            warnings: placement.warnings.clone(),
        }
    }
}

fn path_report(placement: &Placement, path: &Utf8Path, change: &Change) -> PathReport {
    let put = || if placement.over.contains(path) { Action::Change } else { Action::Add };
    let (action, bytes) = match change {
        Change::MakeDirectory(_) => (Action::Add, 0),
        Change::Put(leaf) => (put(), leaf.bytes()),
        Change::PutBundle(bundle) => (put(), bundle.bytes()),
        Change::AdoptBundle(adopted) => (put(), adopted.bytes()),
        Change::Remove | Change::RemoveDirectory => (Action::Remove, 0),
    };
    PathReport { path: Utf8Path::new("/").join(path), action, bytes }
}

impl Report for ComposeReport {
    fn text(&self) -> String {
        let mut text = String::new();
        for container in &self.containers {
            container.write(&mut text, self.planned);
        }
        for warning in &self.warnings {
            writeln!(text, "warning: {}", printable(warning)).unwrap_or_default();
        }
        if self.planned {
            for path in &self.paths {
                writeln!(text, "{:7} {} ({})", path.action.word(), path.path, size(path.bytes))
                    .unwrap_or_default();
            }
        }
        if let Some(commit) = &self.commit {
            commit.write(&mut text);
        }
        text += match (self.changed, self.planned) {
            (false, _) => "nothing to change\n",
            (true, true) => "planned only: nothing was written\n",
            (true, false) => "done\n",
        };
        text
    }
}

impl ContainerReport {
    fn new(record: &Record, action: Action, warnings: Vec<String>) -> Self {
        let removed = action == Action::Remove;
        Self {
            name: record.name.clone(),
            group: record.group.clone(),
            action,
            image: record.image.source.clone(),
            config: record.image.config,
            identity: images::Identity::default(),
            entries: (!removed).then_some(record.tree.entries),
            bytes: (!removed).then_some(record.tree.bytes),
            rootfs: record.rootfs.clone().filter(|_| !removed),
            mount_targets: if removed { Vec::new() } else { record.tree.mount_targets.clone() },
            left_out: if removed { Vec::new() } else { record.tree.left_out.clone() },
            warnings,
        }
    }

    fn write(&self, text: &mut String, planned: bool) {
        let word = match (self.action, planned) {
            (Action::Keep, _) => "kept",
            (action, true) => action.word(),
            (Action::Add, false) => "added",
            (Action::Change, false) => "changed",
            (Action::Remove, false) => "removed",
        };
        write!(text, "{word:7} {} ({}) {}", self.name, self.group, self.image).unwrap_or_default();
        if let Some(rootfs) = &self.rootfs {
            write!(text, ": its root is {rootfs} of the host").unwrap_or_default();
        } else if let (Some(entries), Some(bytes)) = (self.entries, self.bytes) {
            write!(text, ": {entries} entries, {}", size(bytes)).unwrap_or_default();
        }
        text.push('\n');
        if planned {
            self.identity.write(text);
        }
        // Of one that is kept it was said when it came.
        for left_out in self.left_out.iter().filter(|_| self.action != Action::Keep) {
            let kind = serde_json::to_string(&left_out.kind).unwrap_or_default();
            writeln!(
                text,
                "        left out {} ({})",
                printable(&left_out.path),
                kind.trim_matches('"').replace('-', " ")
            )
            .unwrap_or_default();
        }
        for warning in &self.warnings {
            writeln!(text, "        warning: {}", printable(warning)).unwrap_or_default();
        }
    }
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

/// The result of `list`.
#[derive(Debug, Serialize)]
pub struct ListReport {
    /// [`FORMAT`].
    pub format: u32,
    /// The composer that wrote the target last, if any did.
    pub tool: Option<String>,
    /// Digest of the launcher that we added.
    pub launcher: Option<Digest>,
    /// By name.
    pub containers: Vec<ListedContainer>,
}

/// One container in a [`ListReport`].
#[derive(Debug, Serialize)]
pub struct ListedContainer {
    /// Its name.
    pub name: ContainerName,
    /// Its group.
    pub group: GroupName,
    /// The image as the user wrote it.
    pub image: String,
    /// Digest of the image manifest.
    pub manifest: Option<Digest>,
    /// Digest of the image's configuration.
    pub config: Digest,
    /// GOARCH name.
    pub architecture: String,
    /// Entries of the root file system.
    pub entries: u64,
    /// Bytes in its regular files.
    pub bytes: u64,
    /// The directory of the host that is its root, if none is embedded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<AbsolutePath>,
    /// The unit that runs it.
    pub unit: String,
}

impl Report for ListReport {
    fn text(&self) -> String {
        if self.containers.is_empty() {
            return "no containers are embedded\n".to_owned();
        }
        let mut text = format!("{:24} {:12} {:>9} {:>10}  IMAGE\n", "NAME", "GROUP", "ENTRIES", "SIZE");
        for container in &self.containers {
            let ListedContainer { name, group, image, entries, bytes, .. } = container;
            let root = container.rootfs.as_ref().map(|path| format!(" (root {path})")).unwrap_or_default();
            writeln!(text, "{name:24} {group:12} {entries:>9} {:>10}  {image}{root}", size(*bytes))
                .unwrap_or_default();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(printable("/é \u{1b}[2J\n\u{9b}x\\"), "/é \\u{1b}[2J\\n\\u{9b}x\\");
    }

    #[test]
    fn sizes_are_rounded_down_to_tenths() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_992_294, "1.8 MiB"), (3 << 30, "3.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
