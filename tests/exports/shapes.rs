//! The image shapes of `fixtures/exports`, loaded as trees and rendered the way a compose does it for an OSTree host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sysctr_core::digest::Digest;
use sysctr_core::exports::brought::Brought;
use sysctr_core::exports::host_files::owners::{Names, Sides};
use sysctr_core::exports::host_files::{self, Decided, Ground, Lies, Seeding};
use sysctr_core::exports::labels::{self, Labels};
use sysctr_core::exports::template::Expanded;
use sysctr_core::exports::unit::Runs;
use sysctr_core::exports::values::BuiltIns;
use sysctr_core::exports::{Form, Rendered, Source, render, sources};
use sysctr_core::name::ContainerName;
use sysctr_core::settings::values::CAPABILITIES;
use sysctr_core::settings::{AbsolutePath, Duration, Signal};
use sysctr_core::tree::lookup::Found;
use sysctr_core::tree::{ContentId, Dir, FileName, ImageTree, Leaf, Node, Stat, TreePath};

/// One directory of `fixtures/exports`.
pub struct Shape {
    /// Its name, also the container's.
    pub name: ContainerName,
    tree: ImageTree,
    contents: Vec<Vec<u8>>,
    labels: BTreeMap<String, String>,
    set: BTreeMap<String, String>,
}

/// What a shape becomes.
pub struct Outcome {
    /// Rendered files.
    pub rendered: Rendered,
    /// Host files on an OSTree host.
    pub host: Decided,
    /// Labels.
    pub labels: Labels,
    /// tmpfiles lines of all sorts.
    pub tmpfiles: String,
    /// All sentences for the user.
    pub warnings: Vec<String>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("fixtures/exports"))
        .find(|dir| dir.is_dir())
        .expect("fixtures/exports above the package")
}

/// All shapes, by name.
pub fn all() -> Vec<Shape> {
    let mut names: Vec<_> = fs::read_dir(fixtures())
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    names.sort();
    names.iter().map(|path| Shape::load(path)).collect()
}

impl Shape {
    fn load(path: &Path) -> Self {
        let text = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        let map = |file: &str| match text(file).as_str() {
            "" => BTreeMap::new(),
            text => serde_json::from_str(text).expect(file),
        };
        let name =
            path.file_name().expect("a name").to_str().expect("UTF-8").parse().expect("a container's name");
        let mut shape = Self {
            name,
            tree: ImageTree::new(),
            contents: Vec::new(),
            labels: map("labels.json"),
            set: map("set.json"),
        };
        shape.enter(&path.join("exports"), &tree_path("exports"));
        for line in text("tree.txt").lines().filter(|line| !line.is_empty()) {
            shape.line(line);
        }
        shape
    }

    fn enter(&mut self, from: &Path, to: &TreePath) {
        let mut entries: Vec<_> =
            fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
        entries.sort();
        self.put(to, None, Stat::implied(0o755));
        for entry in entries {
            let to = to
                .join(&FileName::new(entry.file_name().expect("a name").as_encoded_bytes()).expect("a name"));
            if entry.is_dir() {
                self.enter(&entry, &to);
            } else {
                // Version control keeps no mode but the executable bit.
                let executable = fs::metadata(&entry).expect("a file").permissions().mode() & 0o100 != 0;
                let mode = if executable { 0o755 } else { 0o644 };
                let leaf = self.file(fs::read(&entry).expect("a file"), Stat::implied(mode));
                self.put(&to, Some(leaf), Stat::implied(mode));
            }
        }
    }

    /// `d PATH MODE UID GID`, `f PATH CONTENT`, `l PATH TARGET`, or `o PATH MODE UID GID` for another owner.
    fn line(&mut self, line: &str) {
        let mut fields = line.splitn(3, ' ');
        let (kind, path, rest) = (
            fields.next().expect("a kind"),
            tree_path(fields.next().expect("a path")),
            fields.next().unwrap_or(""),
        );
        let numbers: Vec<u32> = rest
            .split(' ')
            .enumerate()
            .filter_map(|(index, number)| u32::from_str_radix(number, if index == 0 { 8 } else { 10 }).ok())
            .collect();
        let stat = || Stat {
            uid: numbers[1],
            gid: numbers[2],
            ..Stat::implied(u16::try_from(numbers[0]).expect("a mode"))
        };
        let leaf = match kind {
            "d" => return self.put(&path, None, stat()),
            "f" => self.file(rest.replace("\\n", "\n").into_bytes(), Stat::implied(0o644)),
            "l" => Leaf::Symlink { stat: Stat::implied(0o777), target: rest.as_bytes().into() },
            "o" => match self.tree.node(&path) {
                Some(Node::Leaf(id)) => match self.tree.leaf(*id).clone() {
                    Leaf::File { size, digest, content, .. } => {
                        Leaf::File { stat: stat(), size, digest, content }
                    }
                    Leaf::Symlink { .. } => panic!("{path} is a link"),
                },
                _ => panic!("{path} is not there"),
            },
            _ => panic!("{line:?} is no line of tree.txt"),
        };
        self.put(&path, Some(leaf), Stat::implied(0o755));
    }

    fn file(&mut self, bytes: Vec<u8>, stat: Stat) -> Leaf {
        let ordinal = u32::try_from(self.contents.len()).expect("few files");
        let (size, digest) = (bytes.len() as u64, Digest::of(&bytes));
        self.contents.push(bytes);
        Leaf::File { stat, size, digest, content: Some(ContentId { layer: 0, ordinal }) }
    }

    /// Puts a leaf or a directory there; parents are implied.
    fn put(&mut self, path: &TreePath, leaf: Option<Leaf>, stat: Stat) {
        let (parents, name) = path.split_last().expect("not the root");
        let node = match leaf {
            Some(leaf) => Node::Leaf(self.tree.add_leaf(leaf)),
            None => Node::Dir(Box::new(Dir::empty(stat))),
        };
        let mut dir = &mut self.tree.root;
        for parent in parents {
            let empty = || Node::Dir(Box::new(Dir::empty(Stat::implied(0o755))));
            dir = match dir.children.entry(parent).or_insert_with(empty) {
                Node::Dir(inner) => inner,
                Node::Leaf(_) => panic!("{path} lies in a file"),
            };
        }
        dir.children.insert(name, node);
    }

    fn read(&self, leaf: &Leaf) -> Vec<u8> {
        match leaf {
            Leaf::File { content: Some(id), .. } => self.contents[id.ordinal as usize].clone(),
            _ => Vec::new(),
        }
    }

    /// Renders the shape for an OSTree host.
    pub fn render(&self) -> anyhow::Result<Outcome> {
        let read = |leaf: &Leaf| Ok(self.read(leaf));
        let mut warnings = Vec::new();
        let brought = Brought::find(&self.tree, &read)?.expect("every shape has /exports");
        let labels = labels::read(&self.labels, &mut warnings)?;
        let bundle = format!("/usr/lib/containers/atomic/{}", self.name);
        let rendered = render(&Source {
            brought: &brought,
            tree: &self.tree,
            read: &read,
            built_ins: BuiltIns {
                name: &self.name,
                bundle: bundle.as_str().into(),
                runtime: &AbsolutePath::try_from("/usr/bin/runc".to_owned())?,
                image_name: &format!("registry.example/{}:latest", self.name),
                image: &Digest::of(self.name.as_str().as_bytes()),
                capabilities: &CAPABILITIES,
                form: Form::Foreground,
            },
            set: &self.set,
            runs: labels.runs,
            notify: false,
            stop_signal: &Signal::term(),
            stop_timeout: Duration::from_millis(15_000),
            root: "rootfs",
        })?;
        warnings.extend(rendered.warnings.iter().cloned());
        let unit = self.name.unit();
        let seeding = Seeding {
            unit: rendered.unit.as_ref().map(|_| unit.as_str()),
            factory: "/usr/share/factory".into(),
            allow_conflicts: &[],
        };
        let host = host_files::decide(&OstreeHost, &rendered.host_files, &seeding)?;
        warnings.extend(host.warnings.iter().cloned());
        let passwd = self.tree.resolve(b"etc/passwd").map(|resolved| resolved.found);
        let passwd = if let Ok(Found::File(leaf)) = passwd { self.read(leaf) } else { Vec::new() };
        let users = (Names::read(&passwd), Names::read(b"root:x:0:0::/:\npolkitd:x:996:994::/:\n"));
        let sides = Sides { users, groups: (Names::default(), Names::read(b"polkitd:x:994:\n")) };
        let user = rendered.config.as_ref().map(|config| &config.asks.user);
        warnings.extend(sides.strangers(&rendered.host_files, user));
        let demands = labels.check(&[]);
        warnings.extend(demands.unknown.iter().map(|name| format!("requires {name}: no container is it")));
        let tmpfiles = self.tmpfiles(&rendered, &host, &mut warnings)?;
        Ok(Outcome { rendered, host, labels, tmpfiles, warnings })
    }

    /// The image's lines, or ours for what it binds; and those of its host files.
    fn tmpfiles(
        &self,
        rendered: &Rendered,
        host: &Decided,
        warnings: &mut Vec<String>,
    ) -> anyhow::Result<String> {
        let mut text = String::new();
        let mut makes =
            sysctr_core::exports::tmpfiles::check(&Expanded::literal(host.tmpfiles.as_bytes()))?.makes;
        makes.extend(host.placed.iter().map(|placed| placed.file.path.clone()));
        if let Some(fragment) = &rendered.tmpfiles {
            makes.extend(fragment.makes.iter().cloned());
            text.push_str(std::str::from_utf8(fragment.text.as_deref().unwrap_or_default())?);
        }
        if let Some(config) = &rendered.config {
            let exists = |path: &str| Ok(HOST_PATHS.contains(&path));
            let unknown = sources::unknown(&config.asks, &makes, &exists)?;
            if rendered.tmpfiles.is_some() {
                warnings.extend(sources::told(&unknown));
            } else {
                let automatic = sources::automatic(&unknown, &self.tree);
                text.push_str(&automatic.lines);
                warnings.extend(automatic.warnings);
            }
        }
        text.push_str(&host.tmpfiles);
        Ok(text)
    }
}

fn tree_path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).expect("a path")
}

/// What the host image has, beyond what every host has.
const HOST_PATHS: [&str; 12] = [
    "/etc",
    "/etc/hosts",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/localtime",
    "/etc/os-release",
    "/home",
    "/mnt",
    "/opt",
    "/root",
    "/var/lib",
    "/var/log",
];

/// A host whose image is an OSTree commit: `/etc` lies in `/usr/etc`, what is the machine's are links into `/var`.
struct OstreeHost;

impl Ground for OstreeHost {
    fn lies(&self, path: &camino::Utf8Path) -> anyhow::Result<Lies> {
        let directories: BTreeSet<&str> =
            ["usr", "usr/bin", "usr/etc", "usr/lib", "var", "usr/etc/sysconfig"].into();
        Ok(match path.as_str() {
            "opt" => Lies::Link("var/opt".into()),
            "usr/local" => Lies::Link("../var/usrlocal".into()),
            path if directories.contains(path) => Lies::Directory,
            _ => Lies::Nothing,
        })
    }
}

/// Everything about an outcome as text for people.
pub fn spell(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut part = |title: &str, body: &str| {
        if !body.is_empty() {
            writeln!(text, "== {title}\n{}", body.trim_end()).expect("a text takes all");
        }
    };
    let Outcome { rendered, host, labels, tmpfiles, warnings } = outcome;
    let runs = if labels.runs == Runs::Once { ", once" } else { "" };
    part("form", &format!("{:?}{runs}", rendered.form));
    if let Some(config) = &rendered.config {
        part("config.json", &compact(&config.value, ""));
    }
    if let Some(unit) = &rendered.unit {
        part("unit", &unit.text);
        let links: String =
            unit.install.links.iter().map(|(path, target)| format!("{path} -> {target}\n")).collect();
        part("links", &links);
        let also: Vec<_> = unit.install.also.iter().cloned().collect();
        part("also", &also.join(" "));
    }
    part("tmpfiles", tmpfiles);
    let placed = host.placed.iter().map(|placed| {
        let stat = placed.file.stat();
        let content = rendered.contents.get(&placed.file.path).map(|bytes| String::from_utf8_lossy(bytes));
        format!(
            "{} {:04o} {} {}{}\n",
            placed.at,
            stat.mode,
            stat.uid,
            stat.gid,
            content.map(|content| format!(" {content:?}")).unwrap_or_default()
        )
    });
    part("host files", &placed.collect::<String>());
    for mount in &host.mounts {
        part(&mount.name, &mount.text);
    }
    if let Some((_, kept)) = &rendered.kept {
        let late: Vec<_> = kept.late.iter().cloned().collect();
        part("late", &late.join(" "));
    }
    let unused: Vec<_> = rendered.unused.iter().cloned().collect();
    part("unused", &unused.join(" "));
    part("told", &warnings.iter().map(|warning| format!("{warning}\n")).collect::<String>());
    text
}

/// JSON whose short values stand on one line.
fn compact(value: &serde_json::Value, indent: &str) -> String {
    let short = value.to_string();
    if short.len() + indent.len() < 100 && !indent.is_empty() {
        return short;
    }
    let inner = format!("{indent}  ");
    let join = |lines: Vec<String>, open: char, close: char| {
        format!(
            "{open}\n{}\n{indent}{close}",
            lines.iter().map(|line| format!("{inner}{line}")).collect::<Vec<_>>().join(",\n")
        )
    };
    match value {
        serde_json::Value::Object(map) => {
            let line = |(key, value)| format!("{key:?}: {}", compact(value, &inner));
            join(map.iter().map(line).collect(), '{', '}')
        }
        serde_json::Value::Array(list) => {
            join(list.iter().map(|value| compact(value, &inner)).collect(), '[', ']')
        }
        _ => short,
    }
}
