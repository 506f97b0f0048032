//! What two containers have at one path.

use super::*;

fn file_of_the_host() -> PlacedFile {
    PlacedFile { bytes: b"host".to_vec(), mode: 0o600, mtime: Some(Mtime { seconds: 7, nanoseconds: 8 }) }
}

#[test]
fn an_equal_file_is_shared_where_it_is_allowed_and_goes_with_the_last() {
    let theirs = file_of_the_host();
    let path = Utf8Path::new("usr/bin/app");
    let with = |name: &str, text: &str, allowed: bool| {
        let mut draft = draft(name, "g", "[Unit]", Clash::Refuse);
        draft.placed.push((path.into(), PlacedLeaf::of(text.into())));
        draft.allowed.extend(allowed.then(|| path.to_owned()));
        draft
    };
    let before = Map::host().with(path.as_str(), PlacedLeaf::File(theirs));
    // In one compose or one after another, removed in either order.
    for order in [["one", "two"], ["two", "one"]] {
        for together in [true, false] {
            let mut map = before.clone();
            let drafts = || vec![with("one", "x", true), with("two", "x", true)];
            if together {
                embed(&mut map, drafts(), &[]).unwrap();
            } else {
                for draft in drafts() {
                    embed(&mut map, vec![draft], &[]).unwrap();
                }
            }
            assert_eq!(map.0[path], PlacedLeaf::of(b"x".to_vec()));
            embed(&mut map, vec![], &order[..1]).unwrap();
            assert_eq!(map.0[path], PlacedLeaf::of(b"x".to_vec()));
            embed(&mut map, vec![], &order[1..]).unwrap();
            assert_eq!(map, before, "{order:?} {together}");
        }
    }
    let mut map = before.clone();
    let error = |map: &mut Map, draft| embed(map, vec![draft], &[]).unwrap_err().to_string();
    embed(&mut map, vec![with("one", "x", true)], &[]).unwrap();
    assert_eq!(
        error(&mut map, with("two", "y", true)),
        "placing container two: /usr/bin/app belongs to container one already, and differs"
    );
    assert_eq!(
        error(&mut map, with("two", "x", false)),
        "placing container two: /usr/bin/app belongs to container one already"
    );
}

#[test]
fn a_directory_of_host_files_is_shared_when_it_is_the_same_and_goes_with_the_last() {
    let with = |name: &str, mode: u16| {
        let file = Brought { stat: Stat::implied(0o640), body: Body::Bytes(name.as_bytes().to_vec()) };
        let mut draft = draft(name, "g", "[Unit]", Clash::Refuse);
        draft.directories.push(("etc/app".into(), Stat { uid: 7, ..Stat::implied(mode) }));
        draft.placed.push((format!("etc/app/{name}").into(), PlacedLeaf::Brought(Box::new(file))));
        draft
    };
    let before = Map::host();
    let present = Present::read(&before).unwrap();
    let mut planner = Planner::new(&before, &present);
    planner.embed(with("one", 0o750)).unwrap();
    let error = planner.embed(with("two", 0o755)).unwrap_err().to_string();
    assert_eq!(error, "placing container two: /etc/app belongs to container one already, and differs");

    let mut planner = Planner::new(&before, &present);
    planner.embed(with("one", 0o750)).unwrap();
    planner.embed(with("two", 0o750)).unwrap();
    let planned = planner.finish().unwrap();
    let made: Vec<_> = planned.placement.changes.iter().filter(|(path, _)| path == "etc/app").collect();
    assert!(matches!(&made[..], [(_, Change::MakeDirectory(stat))] if stat.uid == 7 && stat.mode == 0o750));
    let mut after = Map::host();
    after.apply(&planned.placement);

    let present = Present::read(&after).unwrap();
    let removed = |names: &[&str]| {
        let mut planner = Planner::new(&after, &present);
        names.iter().for_each(|name| planner.remove(&name.parse().unwrap()).unwrap());
        let changes = planner.finish().unwrap().placement.changes;
        changes.iter().any(|(path, change)| path == "etc/app" && matches!(change, Change::RemoveDirectory))
    };
    assert!(!removed(&["one"]) && removed(&["one", "two"]));
}

/// What a line makes, maybe for a host file.
fn made(line: &str, content: &str, host_file: Option<&str>) -> Made {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Made {
        line: line.into(),
        mode: text("0755"),
        user: text("0"),
        group: text("0"),
        age: None,
        content: text(content),
        host_file: host_file.map(str::to_owned),
    }
}

#[test]
fn what_two_containers_make_at_boot_at_one_path_is_judged() {
    let with = |name: &str, path: &str, made: Made, allowed: bool| {
        let mut draft = draft(name, "g", "[Unit]", Clash::Refuse);
        draft.allowed.extend(allowed.then(|| Utf8PathBuf::from(path.trim_start_matches('/'))));
        draft.record.made.insert(path.to_owned(), made);
        draft
    };
    let tool = |content: &str| made(Made::BIND, content, Some("/opt/tool"));
    let line = |mode: &str| Made { mode: Some(mode.into()), ..made("d", "", None) };
    let shared = "placing container two: its host file /opt/tool is at /var/x on the host, which container one brings too; \
                  put /opt/tool into allow_conflicts of both to share it, or leave one of them out";
    let differs = "placing container two: its host file /opt/tool is at /var/x on the host, where container one has another \
                   (host file /opt/tool of it); leave one of them out";
    let lines = "placing container two: at boot it makes /var/x by `d 0700 0:0`, container one by `d 0755 0:0`, and the host \
                 would take that of one; put /var/x into allow_conflicts if that is well";
    let mixed = "placing container two: its line of tmpfiles.d `d 0700 0:0` is at /var/x on the host, where container one has \
                 another (host file /opt/tool of it); leave one of them out";
    let told = "containers two and one make /var/x differently at boot; the host takes that of one";
    for (theirs, own, allowed, expected) in [
        (tool("a"), tool("a"), false, Err(shared)),
        (tool("a"), tool("a"), true, Ok(&[][..])),
        (tool("a"), tool("b"), false, Err(differs)),
        (tool("a"), tool("b"), true, Err(differs)),
        (line("0755"), line("0755"), false, Ok(&[])),
        (line("0755"), line("0700"), false, Err(lines)),
        (line("0755"), line("0700"), true, Ok(&[told])),
        (tool("a"), line("0700"), false, Err(mixed)),
        (made("d", "", Some("/var/x")), line("0755"), false, Ok(&[])),
    ] {
        // In one compose, or the first one stands already.
        for together in [true, false] {
            let mut map = Map::host();
            let first = || with("one", "/var/x", theirs.clone(), false);
            if !together {
                embed(&mut map, vec![first()], &[]).unwrap();
            }
            let present = Present::read(&map).unwrap();
            let mut planner = Planner::new(&map, &present);
            if together {
                planner.embed(first()).unwrap();
            }
            let second = planner.embed(with("two", "/var/x", own.clone(), allowed));
            let planned = second.and_then(|()| planner.finish()).map(|planned| planned.placement.warnings);
            let expected = expected.map(|told| told.iter().map(|text| (*text).to_owned()).collect());
            assert_eq!(planned.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
        }
    }
}

#[test]
fn a_container_that_goes_hands_its_things_over() {
    let theirs = file_of_the_host();
    let path = Utf8Path::new("usr/bin/app");
    let with = |name: &str, text: &str, allowed: bool| {
        let mut draft = draft(name, "g", "[Unit]", Clash::Refuse);
        draft.record.made.insert("/var/x".into(), made("C", text, Some("/var/x")));
        draft.placed.push((path.into(), PlacedLeaf::of(text.into())));
        draft.allowed.extend(allowed.then(|| path.to_owned()));
        draft
    };
    let before = Map::host().with(path.as_str(), PlacedLeaf::File(theirs));
    for text in ["same", "other"] {
        let mut map = before.clone();
        embed(&mut map, vec![with("one", "same", true)], &[]).unwrap();
        let present = Present::read(&map).unwrap();
        let mut planner = Planner::new(&map, &present);
        let one = "one".parse().unwrap();
        planner.leaves(&one);
        planner.embed(with("two", text, false)).unwrap();
        planner.remove(&one).unwrap();
        let placement = planner.finish().unwrap().placement;
        let paths: Vec<_> = placement.changes.iter().map(|(path, _)| path).collect();
        assert_eq!(paths.iter().filter(|other| **other == path).count(), 1, "{text}");
        map.apply(&placement);
        assert_eq!(map.0[path], PlacedLeaf::of(text.as_bytes().to_vec()));
        // What it took the place of is handed over, too.
        embed(&mut map, vec![], &["two"]).unwrap();
        assert_eq!(map, before, "{text}");
    }
}
