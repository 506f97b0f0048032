//! What a container has of its own: one thing at each path, and its bundle's files as they are.

use super::*;

#[test]
fn a_container_places_one_thing_at_a_path() {
    let mut map = Map::host();
    let mut twice = draft("web", "g", "[Unit]", Clash::Refuse);
    twice.placed.push((crate::place::unit(&"web".parse().unwrap()), PlacedLeaf::of(b"other".to_vec())));
    assert_eq!(
        embed(&mut map, vec![twice], &[]).unwrap_err().to_string(),
        "placing container web: it has two things for /usr/lib/systemd/system/web.service; rename or leave out one of them"
    );
}

#[test]
fn a_file_of_the_bundle_keeps_owner_and_mode() {
    let map = Map::host();
    let present = Present::read(&map).unwrap();
    let mut planner = Planner::new(&map, &present);
    let stat = Stat { uid: 7, gid: 8, ..Stat::implied(0o4755) };
    let mut web = draft("web", "g", "[Unit]", Clash::Refuse);
    web.files.insert("host-file-x".into(), b"x".to_vec());
    web.stats.insert("host-file-x".into(), stat.clone());
    planner.embed(web).unwrap();
    let placement = planner.finish().unwrap().placement;
    let files = placement.changes.iter().find_map(|(_, change)| match change {
        Change::PutBundle(bundle) => Some(&bundle.files),
        _ => None,
    });
    let expected = PlacedLeaf::Brought(Box::new(Brought { stat, body: Body::Bytes(b"x".to_vec()) }));
    assert_eq!(files.unwrap()["host-file-x"], expected);
}
