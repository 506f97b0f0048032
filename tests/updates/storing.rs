//! Updates that are checked or fetched ahead, what the store holds, and what waits for whom.

use sysctr_tests::{Crafted, crafted};

use crate::bench::version;
use crate::proxy::{Fault, Times};
use crate::registry::{Machine, assert_clean, layers};

#[test]
fn a_check_tells_and_writes_nothing_and_what_was_downloaded_is_not_fetched_again() {
    let machine = Machine::new();
    let mut one = version("1").crafted();
    one.config["config"]["User"] = "0:7".into();
    machine.publish(&one);
    let check =
        || machine.sysctr("update web --check --format json").expect_ok().json()["containers"][0].clone();
    let checked = check();
    let top = one.layers[1].len() as u64;
    assert_eq!(
        (&checked["update"], &checked["disk_bytes_known"]),
        (&true.into(), &false.into()),
        "{checked}"
    );
    assert_eq!(
        (checked["layers"].as_u64(), checked["fetch_bytes"].as_u64()),
        (Some(2), Some(top)),
        "{checked}"
    );
    assert_eq!(checked["missing_layers"][0]["blob"], layers(&one)[1], "{checked}");
    assert_eq!(checked["after"]["config"], crafted::digest(&one.config_bytes()), "{checked}");
    let user = serde_json::json!({"what": "User", "before": null, "after": "0:7"});
    assert!(checked["changes"].as_array().expect("a list").contains(&user), "{checked}");
    let gained = serde_json::json!(["user 0:7, by the image"]);
    assert_eq!((&checked["privileges_known"], &checked["privileges_gained"]), (&false.into(), &gained));
    assert!(!machine.proxy.blobs().contains_key(&layers(&one)[1]), "{:?}", machine.proxy.blobs());
    let names = |dir: &str| {
        let entries = std::fs::read_dir(machine.path(dir)).expect("a directory");
        let mut names: Vec<_> = entries.map(|it| it.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("var/atomic"), [".lock"]);
    // All but the switch.
    let downloaded = machine.updated("--download-only");
    assert_eq!(
        (&downloaded["downloaded"], &downloaded["generation"]),
        (&true.into(), &serde_json::Value::Null)
    );
    assert_eq!(machine.page(), "version 0");
    machine.sysctr("gc").expect_ok();
    assert_clean(&machine);
    let again = machine.updated("--download-only");
    assert_eq!((&again["downloaded"], &again["stored_bytes"]), (&true.into(), &0.into()), "{again}");
    let checked = check();
    let (known, gained) = (&checked["privileges_known"], &checked["privileges_gained"]);
    assert_eq!((known, gained), (&true.into(), &serde_json::json!(["user 0:7"])), "{checked}");
    assert_eq!((&checked["disk_bytes"], &checked["fetch_bytes"]), (&0.into(), &0.into()), "{checked}");
    machine.proxy.mend();
    machine.updated("");
    assert_eq!(machine.page(), "version 1");
    let layer_blobs = layers(&one).iter().filter(|layer| machine.proxy.blobs().contains_key(*layer)).count();
    assert_eq!(layer_blobs, 0, "{:?}", machine.proxy.blobs());
    let text = machine.sysctr("update web --check").expect_ok();
    assert_eq!(text.stdout(), "web: nothing to change\n");
}

#[test]
fn images_are_pulled_listed_removed_and_verified() {
    let machine = Machine::new();
    let (one, two) = (version("1").crafted(), version("2").crafted());
    machine.publish(&one);
    machine.updated("");
    machine.publish(&two);
    machine.sysctr(&format!("pull {}", machine.tag())).expect_ok();
    let list = || machine.sysctr("images list --format json").expect_ok().json()["images"].clone();
    let config = |image: &Crafted| crafted::digest(&image.config_bytes());
    let of = |image: &Crafted| {
        let all = list();
        let found = all.as_array().expect("a list").iter().find(|it| it["config"] == config(image)).cloned();
        found.unwrap_or_default()
    };
    assert_eq!((&of(&one)["generations"][0], &of(&one)["pulled"]), (&"web.1".into(), &false.into()));
    assert_eq!(
        (of(&two)["generations"].as_array().map(Vec::len), &of(&two)["pulled"]),
        (Some(0), &true.into())
    );
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let (bytes, unshared) = (number(&of(&two)["bytes"]), number(&of(&two)["unshared_bytes"]));
    assert!(bytes > 500_000 && unshared < 20_000, "busybox is shared: {bytes} {unshared}");
    let refused = machine.sysctr(&format!("images remove {}", config(&one))).expect_code(1);
    assert!(refused.stderr().contains("web.1 is made of it, which a deployment"), "{}", refused.story());
    machine.sysctr(&format!("images info {}", machine.tag())).expect_code(1);
    machine.sysctr(&format!("images remove {}", config(&two))).expect_ok();
    assert_eq!(list().as_array().map(Vec::len), Some(1));
    assert_clean(&machine);
    // Pulled again, and pruned.
    machine.sysctr(&format!("pull {}", machine.tag())).expect_ok();
    let pruned = machine.sysctr("images prune").expect_ok();
    assert_eq!(pruned.stdout(), format!("removed image {}\n", config(&two)));
    assert_clean(&machine);
    let verified = machine.sysctr("images verify --format json").expect_ok().json();
    assert_eq!(verified["faults"].as_array().map(Vec::len), Some(0), "{verified}");
    std::fs::write(machine.path("var/atomic/web.1/rootfs/www/index.html"), "other").expect("a damaged file");
    let verified = machine.sysctr("images verify --format json").expect_code(1);
    assert_eq!(verified.json()["faults"].as_array().map(Vec::len), Some(1), "{}", verified.story());
    assert_eq!(verified.json()["hit"][0]["generations"][0], "web.1", "{}", verified.story());
    // The way out that it tells.
    let object = verified.json()["faults"][0]["object"].as_str().expect("a path").to_owned();
    std::fs::remove_file(machine.path("var/atomic/.repo/objects").join(object)).expect("an object");
    machine.sysctr("reset web").expect_ok();
    machine.publish(&one);
    machine.updated("");
    assert_eq!(machine.page(), "version 1");
    machine.sysctr("images verify").expect_ok();
}

#[test]
fn the_second_of_two_is_told_who_the_first_is() {
    let machine = Machine::new();
    machine.publish(&version("1").crafted());
    machine.proxy.spoil("/blobs/", Fault::Slow, Times::Always);
    // The first waits for the registry.
    let script = r#"
        "$5" update web & first=$!
        until grep -qs 'updating web' /var/lib/containers/atomic/.lock; do sleep 0.02; done
        "$5" update web && exit 9; "$5" gc && exit 9; "$5" images prune && exit 9
        kill -TERM $first; wait $first && exit 9; echo "first: $first"; true"#;
    let told = machine.sysctr_after(script, "status web").expect_ok();
    let stdout = told.stdout();
    let first = stdout.lines().find_map(|line| line.strip_prefix("first: ")).expect("its number");
    for doing in ["updating web", "collecting what nothing refers to", "pruning images"] {
        let expected = format!(
            "sysctr: {doing}: process {first} (updating web) is changing containers; try again when it has ended"
        );
        assert!(told.stderr().lines().any(|line| line == expected), "{expected}: {}", told.story());
    }
    machine.proxy.mend();
    machine.updated("");
    assert_eq!(machine.page(), "version 1");
}

#[test]
fn progress_and_patience() {
    let machine = Machine::new();
    let one = version("1").crafted();
    machine.publish(&one);
    let done = machine.sysctr("update web --progress json --timeout 60 --retries 1").expect_ok();
    let events: Vec<serde_json::Value> =
        done.stderr().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let top = one.layers[1].len() as u64;
    let of = |event: &str| events.iter().filter(|it| it["event"] == event).collect::<Vec<_>>();
    assert_eq!(
        (of("fetch")[0]["total"].as_u64(), of("fetched")[0]["bytes"].as_u64()),
        (Some(top), Some(top))
    );
    let blobs = of("blob");
    let last = blobs.last().expect("a blob");
    assert_eq!((&last["blob"], last["bytes"].as_u64()), (&layers(&one)[1].as_str().into(), Some(top)));
    assert_eq!((of("layer").len(), of("done").len()), (2, 2), "{events:?}");
    // Its words about time name an option that there is.
    machine.publish(&version("2").crafted());
    machine.proxy.spoil("/blobs/", Fault::Slow, Times::Always);
    let late = machine.sysctr("update web --timeout 1 --retries 0").expect_code(1);
    assert!(late.stderr().contains("--timeout"), "{}", late.story());
    assert_eq!(machine.page(), "version 1");
}

#[test]
fn what_has_no_room_is_refused_before_anything_is_written() {
    let machine = Machine::new();
    machine.publish(&version("1").crafted());
    let small = "mount -t tmpfs -o size=8m tmpfs /var/lib/containers";
    let refused = machine.sysctr_after(small, "update web").expect_code(1);
    let expected = "sysctr: updating container web: it needs about ";
    assert!(refused.stderr().starts_with(expected), "{}", refused.story());
    assert!(
        refused.stderr().contains("free; `sysctr gc` and `sysctr images prune` make room"),
        "{}",
        refused.story()
    );
    let blobs = machine.proxy.blobs();
    assert!(layers(&version("1").crafted()).iter().all(|layer| !blobs.contains_key(layer)), "{blobs:?}");
}
