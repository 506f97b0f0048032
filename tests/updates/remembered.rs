//! What an update remembers of those before it: where updates come from, values that were given here; and what an admin has under a
//! container's name.

use std::os::unix::fs::symlink;

use sysctr_tests::{Compose, crafted};

use crate::bench::{Version, version};
use crate::desk::Desk;
use crate::registry::{Machine, layers};

#[test]
fn another_place_that_has_the_same_image_is_remembered() {
    let machine = Machine::new();
    let one = version("1").crafted();
    machine.publish(&one);
    machine.updated("");
    machine.server.push(&one, "moved:stable");
    machine.proxy.mend();
    let moved = format!("--image docker://127.0.0.1:{}/moved:stable", machine.proxy.port);
    assert_eq!(machine.updated(&moved)["generation"], 2);
    let asked = machine.proxy.blobs();
    assert!(layers(&one).iter().all(|layer| !asked.contains_key(layer)), "{asked:?}");
    assert_eq!(machine.updated(&moved)["generation"], serde_json::Value::Null);
    machine.server.push(&version("2").crafted(), "moved:stable");
    assert_eq!(machine.updated("")["generation"], 3);
    assert_eq!(machine.page(), "version 2");
}

/// It says its answer's value in its configuration.
fn templated(answer: &str) -> Version {
    let template = r#"{"ociVersion": "1.0.2", "process": {"args": ["/bin/sh", "-c", "echo $ANSWER"], "cwd": "/", "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0}}, "root": {"path": "rootfs", "readonly": true}, "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}"#;
    let manifest = r#"{"version": "1.0", "defaultValues": {"ANSWER": "default"}}"#;
    version(answer).export("config.json.template", template).export("manifest.json", manifest)
}

#[test]
fn values_outlive_a_generation_that_can_not_be_used() {
    let machine = Machine::empty();
    let image = |name: &str| {
        let path = machine.path(name);
        crafted::write(&templated(name).crafted().layout(), &path);
        format!("oci:{}", path.display())
    };
    let (first, second) = (image("1"), image("2"));
    let manifest =
        format!("group = 'web'\n[[container]]\nname = 'web'\nimage = '{first}'\nfallback = 'embedded'\n");
    Compose::into(&machine.root).manifest(manifest).add_launcher().run().expect_ok();
    let says = |generation: u64, value: &str| {
        let config = machine.path(&format!("var/atomic/web.{generation}/config.json"));
        let config = std::fs::read_to_string(config).expect("a configuration");
        assert!(config.contains(&format!("echo {value}")), "{config}");
    };
    machine.updated(&format!("--image {second} --set ANSWER=mine"));
    says(1, "mine");
    std::fs::remove_file(machine.path("var/atomic/web.1/record.json")).expect("a record");
    // What stands in for it is that image already, and yet not what was asked for.
    assert_eq!(machine.updated(&format!("--image {first}"))["generation"], 2);
    says(2, "mine");
    // Where the description is lost, too, that is told.
    std::fs::write(machine.path("etc/atomic/web.2/generation.json"), "{").expect("a description");
    let update = machine.sysctr(&format!("update web --image {first}")).expect_ok();
    assert_eq!(
        update.stderr(),
        "sysctr: which values were given to container web on this host can't be read, so those of the host image count; --set \
         gives them again\n"
    );
    says(3, "default");
}

#[test]
fn what_an_admin_has_under_the_name_of_a_container_keeps_no_update_away() {
    let desk = Desk::new(&[version("1"), version("2"), version("3")], 1);
    let units = desk.root().join("etc/systemd/system");
    std::fs::create_dir_all(&units).expect("a directory");
    let unit = units.join("agent.service");
    std::fs::write(&unit, "[Service]\nExecStart=/bin/true\n").expect("a unit");
    let refused = desk.sysctr(&[], "install oci:/images/1 --name agent").expect_code(1);
    let end = "this host has a unit /etc/systemd/system/agent.service already; choose another name\n";
    assert!(refused.stderr().ends_with(end), "{}", refused.story());
    std::fs::remove_file(&unit).expect("a unit");
    // Masked before it is there, and edited afterwards.
    symlink("/dev/null", &unit).expect("a link");
    desk.sysctr(&[], "install oci:/images/1 --name agent").expect_ok();
    desk.sysctr(&[], "update agent --image oci:/images/2").expect_ok();
    std::fs::remove_file(&unit).expect("a link");
    std::fs::write(&unit, "[Service]\nExecStart=/bin/true\n").expect("a unit");
    desk.sysctr(&[], "update agent --image oci:/images/3").expect_ok();
}

#[test]
fn what_is_held_is_neither_rolled_back_nor_reset() {
    let desk = Desk::new(&[version("1"), version("2")], 1);
    for image in ["1", "2"] {
        desk.sysctr(&[], &format!("update web --image oci:/images/{image}")).expect_ok();
    }
    desk.sysctr(&[], "hold web").expect_ok();
    for (verb, doing) in [
        ("rollback web", "rolling back"),
        ("rollback web --to 1", "rolling back"),
        ("reset web", "resetting"),
    ] {
        let refused = desk.sysctr(&[], verb).expect_code(1);
        let told =
            format!("sysctr: {doing} container web: it is held at web.2; `sysctr unhold web` lets it go\n");
        assert_eq!(refused.stderr(), told);
    }
    assert_eq!(desk.active(), "oci:/images/2");
    desk.sysctr(&[], "unhold web").expect_ok();
    desk.sysctr(&[], "reset web").expect_ok();
    assert_eq!(desk.active(), "embedded");
}
