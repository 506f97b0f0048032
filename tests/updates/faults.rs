//! Updates on a file system that fails or is full, killed at any moment with a large image, and several at once: the old container
//! stays, the store is whole, and the next command succeeds.

use std::time::Instant;

use rustix::process::Signal;
use sysctr_tests::random::Random;
use sysctr_tests::{Crafted, Layer, Packing, memory, soak};

use crate::bench::version;
use crate::desk::Desk;
use crate::kills::{SAMPLE, calls, copy};

/// What comes after the switch may fail without undoing it.
const AFTERWARDS: [&str; 2] = ["sysctr: collecting what nothing refers to", "sysctr: writing the result"];

/// Lets each call of `arguments` that changes files fail once.
fn fail_everywhere(desk: &Desk, arguments: &str, error: &str, old: &str, new: &str) {
    let before = memory();
    copy(desk.state(), before.path());
    let calls = calls(desk, arguments);
    let step = if soak() { 1 } else { 2 * SAMPLE };
    let (mut failed, mut tolerated) = (0, 0);
    for (call, number) in calls.iter().step_by(step) {
        copy(before.path(), desk.state());
        let story = format!("{arguments} with {error} at {call} number {number}");
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error={error}:when={number}"));
        let hurt =
            desk.sysctr(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject], arguments);
        let undone = hurt.code() != 0 && !AFTERWARDS.iter().any(|start| hurt.stderr().starts_with(start));
        *(if undone { &mut failed } else { &mut tolerated }) += 1;
        assert_eq!(desk.active(), if undone { old } else { new }, "{story}: {}", hurt.story());
        assert!(hurt.code() == 0 || hurt.stderr().lines().count() == 1, "{story}: {}", hurt.story());
        desk.assert_store_clean(&story);
        let again = desk.sysctr(&[], arguments);
        assert!(again.code() == 0, "{story}: {}", again.story());
        assert_eq!(desk.active(), new, "{story}: {}", again.story());
        assert_eq!(desk.bundles(), desk.described(0), "{story}");
    }
    println!("{arguments} with {error}: {failed} failed, {tolerated} went on");
    assert!(failed > 5, "{failed} failed, {tolerated} went on");
}

#[test]
fn an_update_on_a_disk_that_fails_changes_nothing() {
    let desk = Desk::new(&[version("1"), version("2")], 1);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    let (old, new) = ("oci:/images/1", "oci:/images/2");
    fail_everywhere(&desk, "update web --image oci:/images/2", "EIO", old, new);
    desk.sysctr(&[], "rollback web").expect_ok();
    fail_everywhere(&desk, "update web --image oci:/images/2", "ENOSPC", old, new);
}

/// An image whose layers say nothing of how large they become.
fn zeros(bytes: usize) -> Crafted {
    let mut image = version("2").crafted();
    let large = Crafted::of(&[Layer::new().file("zeros", vec![0; bytes]).bytes()], Packing::Gzip);
    image.layers.extend(large.layers);
    image.media_types.extend(large.media_types);
    let more = large.config["rootfs"]["diff_ids"][0].clone();
    image.config["rootfs"]["diff_ids"].as_array_mut().expect("a list").push(more);
    image
}

#[test]
fn a_full_disk_is_left_as_it_was() {
    let desk = Desk::new(&[version("1"), version("3")], 1);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    desk.add("large", &zeros(40 << 20));
    let script = r#"
        mount -t tmpfs -o size=24m tmpfs "$root/var/lib/containers"; cp -a "$state/var/." "$root/var/lib/containers"
        run() { chroot "$root" /usr/bin/sysctr "$@"; }
        run update web --image oci:/images/large && exit 9
        run status --format json web | sed -n 's/.*"image": "\(.*\)",/\1/p'
        ostree fsck -q --repo="$root/var/lib/containers/atomic/.repo" >&2
        run update web --image oci:/images/3
        exec true"#;
    let full = desk.shell(script).expect_ok();
    assert!(full.stderr().contains("No space left on device"), "{}", full.story());
    assert_eq!(full.stdout(), "oci:/images/1\nweb: web.2 is what the next start runs\n", "{}", full.story());
}

/// Many files, most of them small.
fn large(seed: u64) -> Crafted {
    let mut random = Random(seed);
    let base = version(&seed.to_string()).crafted();
    let mut layer = Layer::new().dir("many");
    for number in 0..1500 {
        let size = random.below(20_000);
        layer = layer.file(&format!("many/{number}"), random.bytes(size));
    }
    let more = Crafted::of(&[layer.bytes()], Packing::Plain);
    let mut image = base;
    image.layers.extend(more.layers);
    image.media_types.extend(more.media_types);
    let diff_id = more.config["rootfs"]["diff_ids"][0].clone();
    image.config["rootfs"]["diff_ids"].as_array_mut().expect("a list").push(diff_id);
    image
}

#[test]
fn large_updates_killed_at_any_moment() {
    let desk = Desk::new(&[], 1);
    desk.add("0", &large(7));
    desk.add("1", &large(8));
    let images = ["oci:/images/0", "oci:/images/1"];
    desk.sysctr(&[], &format!("update web --image {}", images[0])).expect_ok();
    let before = memory();
    copy(desk.state(), before.path());
    let update = format!("update web --image {}", images[1]);
    let begun = Instant::now();
    desk.sysctr(&[], &update).expect_ok();
    let whole = begun.elapsed();
    let (mut random, mut killed) = (Random(4711), 0);
    let rounds = if soak() { 200 } else { 6 };
    for round in 0..rounds {
        copy(before.path(), desk.state());
        let mut running = desk.command(&[], &update).start();
        let part = u32::try_from(random.below(1000)).expect("a small number");
        std::thread::sleep(whole * part / 1000);
        running.signal(Signal::KILL);
        killed += usize::from(running.end().code() != 0);
        let story = format!("round {round}, killed after {part}/1000 of {whole:?}");
        let active = desk.active();
        assert!(images.contains(&active.as_str()), "{story}: active is {active}");
        desk.assert_store_clean(&story);
        let again = desk.sysctr(&[], &update);
        assert_eq!(again.code(), 0, "{story}: {}", again.story());
        assert_eq!(desk.active(), images[1], "{story}");
        desk.sysctr(&[], "gc").expect_ok();
        desk.assert_store_clean(&story);
        assert_eq!(desk.bundles(), desk.described(0), "{story}");
    }
    println!("killed {killed} of {rounds}, one takes {whole:?}");
}
