//! What is foreseen before images are read is what a planner comes to, and nothing else.

use super::super::Foreseen;
use super::*;

/// The index after these changes.
fn index(map: &Map) -> Embedded {
    let bytes = map.read("usr/lib/containers/atomic/embedded.json".into(), 0).unwrap();
    bytes.map_or_else(Embedded::nothing, |bytes| from_json(&bytes, "x").unwrap())
}

/// A host with `db` of one group and `old` and `web` of another.
fn base() -> Map {
    let mut map = Map::host();
    let drafts = [("db", "h"), ("old", "g"), ("web", "g")];
    let drafts = drafts.map(|(name, group)| draft(name, group, "[Unit]", Clash::Refuse));
    embed(&mut map, drafts.into(), &[]).unwrap();
    map
}

/// Whether `made` is what embedding a new `web` and `api` and removing `old` comes to.
fn foreseen(base: &Map, launcher: Option<&[u8]>, made: &Embedded) -> bool {
    let present = Present::read(base).unwrap();
    let mut planner = Planner::new(base, &present);
    if let Some(launcher) = launcher {
        planner.put_launcher(launcher.to_vec()).unwrap();
    }
    planner.leaves(&"old".parse().unwrap());
    let (names, group) = (["api", "web"].map(|name| name.parse().unwrap()), "g".parse().unwrap());
    let inputs = Digest::of(b"[Service]");
    planner.comes_to(made, names.iter().map(|name| Foreseen { name, group: &group, inputs }))
}

fn made(base: &Map, group: &str, unit: &str, removed: &[&str]) -> Embedded {
    let mut map = base.clone();
    let drafts = ["api", "web"].map(|name| {
        // A name keeps its group.
        draft(name, if name == "web" { "g" } else { group }, unit, Clash::Refuse)
    });
    embed(&mut map, drafts.into(), removed).unwrap();
    index(&map)
}

#[test]
fn the_index_that_is_come_to_is_known_before_and_no_other_is_taken_for_it() {
    let base = base();
    let right = made(&base, "g", "[Service]", &["old"]);
    assert!(foreseen(&base, None, &right));
    assert!(!foreseen(&base, Some(b"launcher"), &right));
    let wrong = [
        index(&base),
        Embedded::nothing(),
        made(&base, "g", "[Service]", &[]),
        made(&base, "g", "[Service]", &["old", "db"]),
        made(&base, "g", "[Other]", &["old"]),
        made(&base, "x", "[Service]", &["old"]),
    ];
    for wrong in wrong {
        assert!(!foreseen(&base, None, &wrong), "{wrong:?}");
    }
    type Harm = fn(&mut Embedded);
    let harms: [Harm; 7] = [
        |made| made.version += 1,
        |made| made.tool = "sysctr 0.0.0".to_owned(),
        |made| made.launcher = Some(Digest::of(b"launcher")),
        |made| drop(made.containers.pop_first()),
        |made| drop(made.containers.pop_last()),
        |made| {
            let other = made.containers.values().next().unwrap().clone();
            made.containers.insert("more".parse().unwrap(), other);
        },
        |made| {
            let db = made.containers.get_mut(&"db".parse().unwrap()).unwrap();
            db.record = Digest::of(b"another");
        },
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let mut wrong = right.clone();
        harm(&mut wrong);
        assert!(!foreseen(&base, None, &wrong), "harm {number}");
    }
}
