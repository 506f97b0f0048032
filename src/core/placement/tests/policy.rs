//! The rule about containers in a target's SELinux policy.

use super::*;

/// A policy that knows containers, with rules of the host's own.
fn with_policy(map: Map) -> Map {
    let mut map = map;
    for dir in
        ["etc", "etc/selinux", "etc/selinux/p", "etc/selinux/p/contexts", "etc/selinux/p/contexts/files"]
    {
        map.1.insert(dir.into());
    }
    let policy = [&19_u32.to_le_bytes()[..], &[1; 12], b"container_ro_file_t"].concat();
    let file = |bytes: &[u8]| {
        PlacedLeaf::File(PlacedFile {
            bytes: bytes.to_vec(),
            mode: 0o644,
            mtime: Some(Mtime { seconds: 7, nanoseconds: 0 }),
        })
    };
    map.with("etc/selinux/config", file(b"SELINUX=enforcing\nSELINUXTYPE=p\n"))
        .with("etc/selinux/p/policy/policy.33", file(&policy))
        .with(
            "etc/selinux/p/contexts/files/file_contexts",
            file(b"/.*\tu:r:default_t:s0\n/usr\t-d\tu:r:usr_t:s0\n"),
        )
        .with("etc/selinux/p/contexts/files/file_contexts.local", file(b"/x\tu:r:x_t:s0\n"))
        .with("etc/selinux/p/contexts/files/file_contexts.local.bin", file(b"compiled"))
}

#[test]
fn the_rule_about_containers_comes_with_the_first_and_goes_with_the_last() {
    const LOCAL: &str = "etc/selinux/p/contexts/files/file_contexts.local";
    let before = with_policy(Map::host());
    let mut map = before.clone();
    let changes = embed(&mut map, vec![draft("web", "g", "[Unit]", Clash::Refuse)], &[]).unwrap();
    for expected in
        [format!("*put {LOCAL}"), format!("put {LOCAL}.bin.sysctr-aside"), format!("*remove {LOCAL}.bin")]
    {
        assert!(changes.contains(&expected), "{changes:?}");
    }
    let rules = map.read(LOCAL.into(), 0).unwrap().unwrap();
    let expected =
        "/x\tu:r:x_t:s0\n/usr/lib/containers/atomic/[^/]+/rootfs(/.*)?\tu:r:container_ro_file_t:s0\n";
    assert_eq!(String::from_utf8(rules).unwrap(), expected);
    let present = Present::read(&map).unwrap();
    let rule = present.embedded.label_rule.unwrap();
    assert_eq!(label_rule::lacking(&map, &rule).unwrap(), Vec::<Utf8PathBuf>::new());
    // A second container finds it there.
    let second = embed(&mut map, vec![draft("db", "g", "[Unit]", Clash::Refuse)], &[]).unwrap();
    assert!(!second.iter().any(|change| change.contains("selinux")), "{second:?}");
    embed(&mut map, vec![], &["web", "db"]).unwrap();
    assert_eq!(map.0, before.0);
}

#[test]
fn a_policy_without_containers_is_told_and_one_that_can_not_hold_the_rule_is_refused() {
    let policy = "etc/selinux/p/policy/policy.33";
    let map = with_policy(Map::host()).with(policy, PlacedLeaf::of(b"container_ro_file_t".to_vec()));
    let present = Present::read(&map).unwrap();
    let mut planner = Planner::new(&map, &present);
    planner.embed(draft("web", "g", "[Unit]", Clash::Refuse)).unwrap();
    let placement = planner.finish().unwrap().placement;
    assert_eq!(
        placement.warnings,
        [
            "the target's SELinux policy /etc/selinux/p has no type container_ro_file_t: roots of containers get \
          u:r:usr_t:s0, the label of /usr; install a policy that knows containers to have them confined"
        ]
    );
    let subs = "etc/selinux/p/contexts/files/file_contexts.subs";
    let map = with_policy(Map::host())
        .with(subs, PlacedLeaf::of(b"/usr/lib/containers /var/lib/containers\n".to_vec()));
    let present = Present::read(&map).unwrap();
    let mut planner = Planner::new(&map, &present);
    planner.embed(draft("web", "g", "[Unit]", Clash::Refuse)).unwrap();
    assert_eq!(
        format!("{:#}", planner.finish().unwrap_err()),
        "reading the target's SELinux policy: /etc/selinux/p/contexts/files/file_contexts.subs gives /usr/lib/containers \
         the labels of another directory, so that no rule about containers holds; remove that line"
    );
}
