//! The planner against a target that is a map.

mod foreseen;
mod own;
mod policy;
mod shared;

use std::collections::BTreeMap;

use super::*;
use crate::record::{
    Embedded, ImageRecord, Launch, LaunchMode, Made, Record, TreeRecord, VERSION, from_json,
};
use crate::settings::{AbsolutePath, Duration, Fallback, Phase, Signal};

/// A target in memory. Directories end in `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Map(BTreeMap<Utf8PathBuf, PlacedLeaf>, BTreeSet<Utf8PathBuf>);

impl Map {
    fn host() -> Self {
        let directories = ["usr", "usr/lib", "usr/lib/systemd", "usr/lib/systemd/system", "usr/bin"];
        Self(BTreeMap::new(), directories.map(Utf8PathBuf::from).into())
    }

    fn with(mut self, path: &str, leaf: PlacedLeaf) -> Self {
        self.0.insert(path.into(), leaf);
        self
    }

    /// Makes the changes as a target would, and insists on what a target insists on.
    fn apply(&mut self, placement: &Placement) {
        for path in ["usr/lib/containers", "usr/lib/containers/atomic"] {
            self.1.insert(path.into());
        }
        for (path, change) in &placement.changes {
            match change {
                Change::MakeDirectory(_) => assert!(self.1.insert(path.clone()), "{path} stood there"),
                Change::Put(leaf) => {
                    assert!(self.1.contains(path.parent().unwrap()), "{path} has no parent");
                    self.0.insert(path.clone(), leaf.clone());
                }
                Change::PutBundle(bundle) => {
                    self.0.retain(|other, _| !other.starts_with(path));
                    self.1.insert(path.clone());
                    for (file, leaf) in &bundle.files {
                        self.0.insert(path.join(file), leaf.clone());
                    }
                }
                Change::AdoptBundle(_) => panic!("the planner adopts nothing"),
                Change::Remove => {
                    self.0.retain(|other, _| !other.starts_with(path));
                    self.1.remove(path);
                }
                Change::RemoveDirectory => {
                    if !self.0.keys().any(|other| other.starts_with(path)) {
                        self.1.remove(path);
                    }
                }
            }
        }
    }
}

impl Ground for Map {
    fn probe(&self, path: &Utf8Path) -> Result<Found> {
        if self.1.contains(path) {
            return Ok(Found::Directory);
        }
        Ok(match self.0.get(path) {
            None => Found::Nothing,
            Some(PlacedLeaf::Link(text)) => Found::Link(text.clone()),
            Some(PlacedLeaf::Brought(_)) => unreachable!("this host has files of its own only"),
            Some(PlacedLeaf::File(file)) => Found::File {
                mode: file.mode,
                size: file.bytes.len() as u64,
                mtime: file.mtime.unwrap_or(Mtime { seconds: 1, nanoseconds: 0 }),
            },
        })
    }

    fn read(&self, path: &Utf8Path, _: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).and_then(|leaf| match leaf {
            PlacedLeaf::File(file) => Some(file.bytes.clone()),
            PlacedLeaf::Link(_) | PlacedLeaf::Brought(_) => None,
        }))
    }
}

fn launch() -> Launch {
    Launch {
        mode: LaunchMode::Detached,
        phase: Phase::MultiUser,
        stop_signal: Signal::term(),
        stop_timeout: Duration::from_millis(10_000),
        health: None,
        pids: None,
        volumes: Vec::new(),
        empty_if_missing: Vec::new(),
        environment_files: Vec::new(),
        credentials: false,
    }
}

fn draft(name: &str, group: &str, unit: &str, clash: Clash) -> Draft {
    let name: ContainerName = name.parse().unwrap();
    let image = ImageRecord {
        source: format!("oci:{name}"),
        index: None,
        manifest: None,
        config: Digest::of(unit.as_bytes()),
        diff_ids: Vec::new(),
        architecture: "amd64".into(),
        signed_by: Vec::new(),
    };
    let tree = TreeRecord {
        digest: Digest::of(b""),
        entries: 0,
        bytes: 0,
        epoch: 1,
        reading: 1,
        mount_targets: Vec::new(),
        left_out: Vec::new(),
    };
    let record = Record {
        version: VERSION,
        name: name.clone(),
        group: group.parse().unwrap(),
        image,
        origin: Digest::of(b"origin"),
        update: None,
        runtime: AbsolutePath::try_from("/usr/bin/runc".to_owned()).unwrap(),
        fallback: Fallback::None,
        launch: launch(),
        rootfs: None,
        tree,
        files: BTreeMap::new(),
        placed: BTreeMap::new(),
        made: BTreeMap::new(),
    };
    let link = format!("usr/lib/systemd/system/multi-user.target.wants/{name}.service");
    Draft {
        record,
        inputs: Digest::of(unit.as_bytes()),
        tree: ImageTree::new(),
        root: Root::Made,
        files: BTreeMap::from([("config.json".into(), b"{}".to_vec())]),
        placed: vec![
            (crate::place::unit(&name), PlacedLeaf::of(unit.as_bytes().to_vec())),
            (link.into(), PlacedLeaf::Link(format!("../{name}.service"))),
        ],
        stats: BTreeMap::new(),
        directories: Vec::new(),
        allowed: BTreeSet::new(),
        clash,
    }
}

fn embed(map: &mut Map, drafts: Vec<Draft>, removed: &[&str]) -> Result<Vec<String>> {
    let present = Present::read(map)?;
    let mut planner = Planner::new(map, &present);
    for draft in drafts {
        planner.embed(draft)?;
    }
    for name in removed {
        planner.remove(&name.parse().unwrap())?;
    }
    let placement = planner.finish()?.placement;
    map.apply(&placement);
    let word = |change: &Change| match change {
        Change::MakeDirectory(_) => "mkdir",
        Change::Put(_) => "put",
        Change::PutBundle(_) => "bundle",
        Change::AdoptBundle(_) => "adopt",
        Change::Remove => "remove",
        Change::RemoveDirectory => "rmdir",
    };
    let tell = |(path, change): &(Utf8PathBuf, Change)| {
        format!("{}{} {path}", if placement.over.contains(path) { "*" } else { "" }, word(change))
    };
    Ok(placement.changes.iter().map(tell).collect())
}

#[test]
fn the_first_container_makes_what_it_needs_and_the_index_is_last() {
    let mut map = Map::host();
    let changes = embed(&mut map, vec![draft("web", "g", "[Unit]", Clash::Refuse)], &[]).unwrap();
    assert_eq!(
        changes,
        [
            "mkdir usr/lib/systemd/system/multi-user.target.wants",
            "bundle usr/lib/containers/atomic/web",
            "put usr/lib/systemd/system/web.service",
            "put usr/lib/systemd/system/multi-user.target.wants/web.service",
            "put usr/lib/containers/atomic/embedded.json",
        ]
    );
    let index = map.read("usr/lib/containers/atomic/embedded.json".into(), 0).unwrap().unwrap();
    let index: Embedded = from_json(&index, "x").unwrap();
    assert_eq!(
        index.directories,
        ["usr/lib/containers", "usr/lib/containers/atomic", "usr/lib/systemd/system/multi-user.target.wants"]
            .map(Utf8PathBuf::from)
    );
}

#[test]
fn removing_what_was_added_leaves_the_target_as_it_was() {
    let before = Map::host();
    let mut map = before.clone();
    let containers = ["web", "db"].map(|name| draft(name, "g", "[Unit]", Clash::Refuse));
    embed(&mut map, containers.into(), &[]).unwrap();
    let one = embed(&mut map, vec![], &["web"]).unwrap();
    assert_eq!(one.last().unwrap(), "*put usr/lib/containers/atomic/embedded.json");
    assert!(!one.iter().any(|change| change.contains("rmdir")), "{one:?}");
    embed(&mut map, vec![], &["db"]).unwrap();
    assert_eq!(map, before);
}

#[test]
fn the_same_again_touches_only_the_bundle_and_the_index() {
    let mut map = Map::host();
    embed(&mut map, vec![draft("web", "g", "[Unit]", Clash::Refuse)], &[]).unwrap();
    let mut again = draft("web", "g", "[Unit]", Clash::Refuse);
    again.inputs = Digest::of(b"others");
    assert_eq!(
        embed(&mut map, vec![again], &[]).unwrap(),
        ["*bundle usr/lib/containers/atomic/web", "*put usr/lib/containers/atomic/embedded.json"]
    );
    assert_eq!(embed(&mut map, vec![], &[]).unwrap(), Vec::<String>::new());
}

#[test]
fn a_root_that_stands_is_changed_where_it_differs() {
    let mut map = Map::host();
    let mut first = draft("web", "g", "[Unit]", Clash::Refuse);
    first.files.insert("gone.json".into(), b"{}".to_vec());
    first.files.insert("same.json".into(), b"{}".to_vec());
    embed(&mut map, vec![first], &[]).unwrap();
    let other = |unit: &str, root| {
        let mut other = draft("web", "g", unit, Clash::Refuse);
        other.files = BTreeMap::from(["config.json", "same.json"].map(|file| (file.into(), b"{}".to_vec())));
        other.root = root;
        other
    };
    let directory = || Change::MakeDirectory(Stat::implied(0o755));
    let root = Root::Stands(vec![("old".into(), Change::RemoveDirectory), ("new".into(), directory())]);
    // Whatever the record says of a file.
    let tampered = PlacedLeaf::of(b"{ }".to_vec());
    map.0.insert("usr/lib/containers/atomic/web/config.json".into(), tampered);
    map.1.insert("usr/lib/containers/atomic/web/rootfs/old".into());
    let amended = embed(&mut map, vec![other("[Unit] # 2", root)], &[]).unwrap();
    assert_eq!(
        amended,
        [
            "*rmdir usr/lib/containers/atomic/web/rootfs/old",
            "mkdir usr/lib/containers/atomic/web/rootfs/new",
            "*remove usr/lib/containers/atomic/web/gone.json",
            "*put usr/lib/containers/atomic/web/config.json",
            "*put usr/lib/containers/atomic/web/record.json",
            "*put usr/lib/systemd/system/web.service",
            "*put usr/lib/containers/atomic/embedded.json",
        ]
    );
    let mut made = Map::host();
    embed(&mut made, vec![other("[Unit] # 2", Root::Made)], &[]).unwrap();
    map.1.remove(Utf8Path::new("usr/lib/containers/atomic/web/rootfs/new"));
    assert_eq!(map, made);
    let error = embed(&mut Map::host(), vec![other("[Unit]", Root::Stands(Vec::new()))], &[]).unwrap_err();
    assert_eq!(error.to_string(), "placing container web: it is not embedded, so that no root of it stands");
}

#[test]
fn what_stands_in_the_way_is_an_error() {
    let host_unit = PlacedLeaf::of(b"[Unit]\nDescription=theirs\n".to_vec());
    let mut map = Map::host().with("usr/lib/systemd/system/web.service", host_unit);
    let error = embed(&mut map, vec![draft("web", "g", "[Unit]", Clash::Refuse)], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "placing container web: /usr/lib/systemd/system/web.service exists in the target; choose another name, \
         or set `unit.replace = true` to put it aside"
    );
    let mut map = Map::host();
    embed(&mut map, vec![draft("web", "g", "[Unit]", Clash::Refuse)], &[]).unwrap();
    let error = embed(&mut map, vec![draft("web", "other", "[Unit]", Clash::Refuse)], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "placing container web of group other: the name belongs to group g; choose another name, or remove that \
         container first"
    );
    let error = embed(&mut map, vec![], &["nginx"]).unwrap_err();
    assert_eq!(error.to_string(), "removing container nginx: it is not embedded; embedded is web");
}

#[test]
fn a_replaced_unit_and_its_link_survive_changes_and_come_back() {
    let theirs = PlacedFile {
        bytes: b"theirs".to_vec(),
        mode: 0o600,
        mtime: Some(Mtime { seconds: 7, nanoseconds: 8 }),
    };
    let wants = "usr/lib/systemd/system/multi-user.target.wants";
    let mut before = Map::host().with("usr/lib/systemd/system/web.service", PlacedLeaf::File(theirs)).with(
        &format!("{wants}/web.service"),
        PlacedLeaf::Link("/usr/lib/systemd/system/web.service".into()),
    );
    before.1.insert(wants.into());
    let mut map = before.clone();
    embed(&mut map, vec![draft("web", "g", "[Unit]", Clash::PutAside)], &[]).unwrap();
    assert_eq!(
        map.0[Utf8Path::new("usr/lib/systemd/system/web.service")],
        PlacedLeaf::of(b"[Unit]".to_vec())
    );
    embed(&mut map, vec![draft("web", "g", "[Unit]\n# other", Clash::PutAside)], &[]).unwrap();
    embed(&mut map, vec![], &["web"]).unwrap();
    assert_eq!(map, before);
}

#[test]
fn a_launcher_stays_until_it_is_removed_alone() {
    let before = Map::host();
    let mut map = before.clone();
    let launch = |map: &mut Map, act: &dyn Fn(&mut Planner<'_, Map>) -> Result<()>| -> Result<()> {
        let present = Present::read(map)?;
        let ground = map.clone();
        let mut planner = Planner::new(&ground, &present);
        act(&mut planner)?;
        map.apply(&planner.finish()?.placement);
        Ok(())
    };
    launch(&mut map, &|planner| planner.put_launcher(b"ELF".to_vec())).unwrap();
    assert!(map.0.contains_key(Utf8Path::new("usr/lib/systemd/system-generators/sysctr-generator")));
    embed(&mut map, vec![draft("web", "g", "[Unit]", Clash::Refuse)], &[]).unwrap();
    let error = launch(&mut map, &|planner| planner.remove_launcher()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "removing the launcher: web can't start without it; remove containers first"
    );
    embed(&mut map, vec![], &["web"]).unwrap();
    launch(&mut map, &|planner| planner.remove_launcher()).unwrap();
    assert_eq!(map, before);

    let mut foreign = Map::host().with("usr/bin/sysctr", PlacedLeaf::of(b"theirs".to_vec()));
    let error = launch(&mut foreign, &|planner| planner.put_launcher(b"ELF".to_vec())).unwrap_err();
    assert!(error.to_string().starts_with("adding the launcher: /usr/bin/sysctr exists"), "{error}");
}
