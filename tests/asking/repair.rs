//! A generation of thousands of files, changed in every way, told by path and made anew.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sysctr_tests::{Crafted, Layer, Listing, Mtimes, Output, Packing};

use crate::bench::version;
use crate::desk::Desk;

/// Three thousand files, and what files can be: setuid, with an attribute, a link, one of two names.
fn large() -> Crafted {
    let busybox = fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut layer = Layer::new().dir("bin").program("bin/busybox", busybox).symlink("bin/sh", "busybox");
    layer = layer
        .dir("www")
        .file("www/index.html", "large\n")
        .hardlink("www/again", "www/index.html")
        .dir("many");
    for directory in 0..30 {
        layer = layer.dir(&format!("many/{directory}"));
        for file in 0..100 {
            let text = format!("file {file} of directory {directory}\n");
            layer = layer.file(&format!("many/{directory}/{file}"), text);
        }
    }
    layer = layer.pax(&[("SCHILY.xattr.user.colour", "red")]).file("marked", "with an attribute\n");
    let mut image = Crafted::of(&[layer.bytes()], Packing::Gzip);
    image.config["config"] = json!({ "Entrypoint": ["/bin/sh"], "StopSignal": "SIGKILL" });
    image
}

struct Bench {
    desk: Desk,
}

impl Bench {
    fn new() -> Self {
        let desk = Desk::new(&[version("1")], 1);
        desk.image("large", &large());
        desk.sysctr(&[], "update web --image oci:/images/large").expect_ok();
        Self { desk }
    }

    fn bundle(&self, path: &str) -> PathBuf {
        self.desk.state().join("var/atomic/web.1").join(path)
    }

    fn rootfs(&self, path: &str) -> PathBuf {
        self.bundle("rootfs").join(path)
    }

    fn etc(&self, path: &str) -> PathBuf {
        self.desk.etc(0).join("atomic/web.1").join(path)
    }

    fn verify(&self, arguments: &str) -> Output {
        self.desk.sysctr(&[], format!("verify --format json {arguments}").trim_end())
    }

    /// Everything that the generation is.
    fn listings(&self) -> [Listing; 2] {
        [Listing::of(&self.bundle("")), Listing::of(&self.etc(""))]
    }
}

/// As an editor writes: beside, then renamed, so that nobody who shares the file sees it.
fn replace(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    let beside = path.with_extension("beside");
    fs::write(&beside, bytes).expect("a new file");
    fs::set_permissions(&beside, fs::metadata(path).expect("a file").permissions()).expect("its mode");
    fs::rename(&beside, path).expect("a rename");
}

fn relink(path: &Path, text: &str) {
    fs::remove_file(path).expect("a link");
    symlink(text, path).expect("a new link");
}

fn paths(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().map(|finding| finding["path"].as_str().expect("a path").to_owned()).collect()
}

fn states(report: &Value) -> Vec<(Value, Value)> {
    let bundles = report["bundles"].as_array().expect("bundles");
    bundles.iter().map(|bundle| (bundle["generation"].clone(), bundle["state"].clone())).collect()
}

#[test]
fn every_change_is_told_by_its_path_and_repair_brings_all_of_it_back() {
    let bench = Bench::new();
    let before = bench.listings();
    let intact = bench.verify("").expect_ok().json();
    assert_eq!(
        states(&intact),
        [(json!(null), json!("intact")), (json!(1), json!("intact")), (json!(null), json!("intact"))]
    );
    assert_eq!(intact["findings"], json!([]));

    // A byte, a mode, an owner, an attribute, one file more, one less, a link.
    replace(&bench.rootfs("many/7/7"), |bytes| bytes[3] ^= 1);
    let mode =
        |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    mode(bench.rootfs("many/8/8"), 0o4755);
    chown(bench.rootfs("many/9/9"), Some(1000), None).expect("an owner");
    set_attribute(&bench.rootfs("marked"), b"blue");
    fs::write(bench.rootfs("many/10/stranger"), "").expect("a new file");
    fs::remove_file(bench.rootfs("many/11/11")).expect("a file");
    relink(&bench.rootfs("bin/sh"), "/elsewhere");
    mode(bench.rootfs("many/12"), 0o777);
    replace(&bench.bundle("config.json"), |bytes| bytes.push(b' '));
    fs::write(bench.bundle("stranger"), "").expect("a new file");
    // What systemd reads.
    replace(&bench.etc("units/web.service"), |bytes| bytes.extend_from_slice(b"[Service]\n"));
    fs::write(bench.etc("units/stranger.service"), "[Service]\n").expect("a new file");
    fs::remove_file(bench.etc("units/multi-user.target.wants/web.service")).expect("a link");

    let report = bench.verify("web").expect_code(1).json();
    let bundle = "/var/lib/containers/atomic/web.1";
    let etc = "/etc/containers/atomic/web.1";
    let expected = [
        format!("{bundle}/rootfs/many/7/7"),
        format!("{bundle}/rootfs/many/8/8"),
        format!("{bundle}/rootfs/many/9/9"),
        format!("{bundle}/rootfs/marked"),
        format!("{bundle}/rootfs/many/10/stranger"),
        format!("{bundle}/rootfs/many/11/11"),
        format!("{bundle}/rootfs/many/12"),
        format!("{bundle}/rootfs/bin/sh"),
        format!("{bundle}/config.json"),
        format!("{bundle}/stranger"),
        format!("{etc}/units/web.service"),
        format!("{etc}/units/stranger.service"),
        format!("{etc}/units/multi-user.target.wants/web.service"),
    ];
    assert_eq!(paths(&report), expected.into());
    assert_eq!(states(&report)[1], (json!(1), json!("damaged")));

    let repaired = bench.verify("web --repair").expect_ok().json();
    assert_eq!(states(&repaired)[1], (json!(1), json!("repaired")));
    assert_eq!(paths(&repaired), paths(&report));
    for (after, before) in bench.listings().iter().zip(&before) {
        after.expect_same(before, Mtimes::None);
    }
    // Of a store nothing has a time of its own.
    Listing::of(&bench.rootfs("")).expect_same(&before[0].clone().below("rootfs"), Mtimes::All);
    bench.verify("").expect_ok();
    bench.desk.assert_store_clean("after a repair");
    assert_eq!(bench.desk.active(), "oci:/images/large");
}

fn set_attribute(path: &Path, value: &[u8]) {
    rustix::fs::setxattr(path, "user.colour", value, rustix::fs::XattrFlags::empty()).expect("an attribute");
}

#[test]
fn what_is_gone_altogether_is_made_anew_and_flags_stay() {
    let bench = Bench::new();
    let before = bench.listings();
    bench.desk.sysctr(&[], "hold web").expect_ok();
    fs::remove_dir_all(bench.bundle("")).expect("a bundle");
    fs::remove_dir_all(bench.etc("units")).expect("units");
    fs::remove_file(bench.etc("generation.json")).expect("a description");
    let report = bench.verify("web").expect_code(1).json();
    assert_eq!(paths(&report), ["/etc/containers/atomic/web.1/generation.json".to_owned()].into());
    bench.verify("web --repair").expect_ok();
    Listing::of(&bench.bundle("")).expect_same(&before[0], Mtimes::None);
    fs::remove_file(bench.etc("hold")).expect("the flag is there still");
    Listing::of(&bench.etc("")).expect_same(&before[1], Mtimes::None);
}

#[test]
fn a_damaged_object_is_told_and_never_handed_out() {
    let bench = Bench::new();
    // In place: the store has the same file.
    let flip = |path: &str| {
        let mut bytes = fs::read(bench.rootfs(path)).expect("a file");
        bytes[0] ^= 1;
        fs::write(bench.rootfs(path), bytes).expect("a file");
    };
    flip("bin/busybox");
    // The host image has one that is the same.
    bench.verify("web").expect_code(1);
    bench.verify("web --repair").expect_ok();
    bench.desk.assert_store_clean("after an object was mended");

    flip("many/5/5");
    let before = bench.listings();
    let output = bench.verify("web --repair").expect_code(1);
    let report = output.json();
    let messages: Vec<_> =
        report["findings"].as_array().expect("findings").iter().map(|it| it["message"].to_string()).collect();
    let told =
        messages.iter().find(|message| message.contains("can't be repaired: object ")).expect("a reason");
    assert!(told.contains("/many/5/5 of web.1, has the checksum "), "{told}");
    assert!(told.contains("`sysctr update web` fetches it again"), "{told}");
    for (after, before) in bench.listings().iter().zip(&before) {
        after.expect_same(before, Mtimes::All);
    }
    // The way that it names.
    bench.desk.sysctr(&[], "rollback web").expect_ok();
    bench.desk.sysctr(&[], "update web --image oci:/images/large").expect_ok();
    let report = bench.verify("web").expect_code(1).json();
    assert_eq!(states(&report)[1..], [(json!(1), json!("damaged")), (json!(2), json!("intact"))]);
    // The one that was fetched again is the store's again.
    bench.verify("web --repair").expect_ok();
    bench.desk.assert_store_clean("after an object was fetched again");
}

#[test]
fn a_store_without_the_files_and_another_program_are_told() {
    let bench = Bench::new();
    replace(&bench.bundle("config.json"), |bytes| bytes.clear());
    let reference = bench.desk.state().join("var/atomic/.repo/refs/heads/sysctr/web.1.files");
    fs::remove_file(reference).expect("a ref");
    let output = bench.verify("web --repair").expect_code(1);
    let told = output.json()["findings"].to_string();
    assert!(told.contains("the store /var/lib/containers/atomic/.repo has no sysctr/web.1.files"), "{told}");
    relink(&bench.desk.etc(0).join("atomic/web"), "web.7");
    let told = bench.verify("web").expect_code(1).json()["findings"].to_string();
    assert!(told.contains("leads to web.7, which is not there"), "{told}");
    let error = bench.verify("other").expect_code(1).stderr();
    assert!(error.contains("verifying container other: this host has none of that name"), "{error}");
}

#[test]
fn what_an_image_brings_for_its_host_outlives_a_repair() {
    let desk = Desk::new(&[version("1").host_file("/etc/containers/web.conf", "conf 1")], 1);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    desk.sysctr(&[], "verify web").expect_ok();
    let page = desk.state().join("var/atomic/web.1/rootfs/www/index.html");
    std::fs::remove_file(&page).expect("a file");
    std::fs::write(&page, "changed").expect("a new file");
    assert_eq!(desk.sysctr(&[], "verify web").code(), 1);
    desk.sysctr(&[], "verify web --repair").expect_ok();
    desk.sysctr(&[], "verify web").expect_ok();
    let conf = desk.etc(0).join("web.conf");
    assert_eq!(std::fs::read_to_string(&conf).ok().as_deref(), Some("conf 1"));
    // Its content comes from the bundle again.
    desk.sysctr(&[], "reset web").expect_ok();
    assert!(!conf.exists());
    desk.sysctr(&[], "rollback web --to 1").expect_ok();
    assert_eq!(std::fs::read_to_string(&conf).ok().as_deref(), Some("conf 1"));
    desk.sysctr(&[], "verify web").expect_ok();
}

#[test]
fn a_bundle_that_something_runs_from_stays_whoever_that_is() {
    let bench = Bench::new();
    replace(&bench.bundle("config.json"), |bytes| bytes.clear());
    let run = bench.desk.root().join("run/sysctr");
    let started = |id: &str| {
        fs::create_dir_all(run.join(id)).expect("a run directory");
        symlink("/var/lib/containers/atomic/web.1", run.join(id).join("bundle")).expect("a link");
        run.join("runtime").join(id)
    };
    // Under another name, as a temporary container and one of an alias have it.
    let state = started("web.exec-12");
    fs::create_dir_all(&state).expect("a runtime's state");
    let told = bench.verify("web --repair").expect_code(1).json()["findings"].to_string();
    assert!(told.contains("web.1 runs; `systemctl stop web.exec-12.service` first"), "{told}");
    fs::remove_dir(&state).expect("a runtime's state");
    // Before the runtime has state for it.
    let directory = fs::File::open(run.join("web.exec-12")).expect("a run directory");
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    let told = bench.verify("web --repair").expect_code(1).json()["findings"].to_string();
    assert!(told.contains("web.1 runs in the temporary container web.exec-12"), "{told}");
    drop(directory);
    bench.verify("web --repair").expect_ok();
}

#[test]
fn what_lies_in_etc_is_what_the_store_keeps_and_a_newer_sysctrs_is_left_alone() {
    let version = version("1").host_file("/etc/containers/web.conf", "conf 1");
    let desk = Desk::new(&[version], 1);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    let etc = |path: &str| desk.etc(0).join("atomic/web.1").join(path);
    let verify = |arguments: &str| desk.sysctr(&[], &format!("verify --format json {arguments}"));
    let whole = Listing::of(&etc(""));
    let mode = |path: &str, mode| {
        fs::set_permissions(etc(path), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    verify("web").expect_ok();

    // Who may write, and what says which host files there are.
    mode("units", 0o777);
    mode("generation.json", 0o666);
    replace(&etc("host-files.json"), |bytes| bytes.push(b' '));
    fs::write(etc("trial.json"), "{").expect("a flag");
    let report = verify("web").expect_code(1).json();
    let home = "/etc/containers/atomic/web.1";
    let expected = ["units", "generation.json", "host-files.json", "trial.json"];
    assert_eq!(paths(&report), expected.map(|it| format!("{home}/{it}")).into());
    // What this program does not know stays.
    fs::create_dir_all(etc("later/below")).expect("a directory");
    fs::write(etc("later/below/file"), "later").expect("a file");
    verify("web --repair").expect_ok();
    assert_eq!(fs::read_to_string(etc("later/below/file")).ok().as_deref(), Some("later"));
    fs::remove_dir_all(etc("later")).expect("a directory");
    Listing::of(&etc("")).expect_same(&whole, Mtimes::None);

    // What only says that it is newer is damage; a trial of a newer one is not.
    let newer = |bytes: &mut Vec<u8>| *bytes = br#"{"version": 99}"#.to_vec();
    replace(&etc("generation.json"), newer);
    assert_eq!(states(&verify("web").expect_code(1).json())[1], (json!(1), json!("damaged")));
    verify("web --repair").expect_ok();
    fs::write(etc("trial.json"), r#"{"version": 99}"#).expect("a flag");
    let report = verify("web --repair").expect_ok().json();
    assert_eq!(states(&report)[1], (json!(1), json!("intact")));
    let told = &report["findings"][0];
    assert_eq!(
        (&told["severity"], &told["message"]),
        (&json!("warning"), &json!("made by a newer sysctr, not looked at"))
    );
    assert_eq!(fs::read_to_string(etc("trial.json")).ok().as_deref(), Some(r#"{"version": 99}"#));
}

#[test]
fn host_files_of_a_bundle_come_from_their_places_and_differ_there_with_a_warning() {
    let desk = Desk::new(&[version("1").host_file("/etc/containers/web.conf", "conf 1")], 1);
    desk.sysctr(&[], "update web --image oci:/images/1").expect_ok();
    let bundled = desk.state().join("var/atomic/web.1/host-files/etc/containers/web.conf");
    let placed = desk.etc(0).join("web.conf");
    let verify = |arguments: &str| desk.sysctr(&[], &format!("verify --format json {arguments}"));
    replace(&bundled, |bytes| bytes.clear());
    verify("web").expect_code(1);
    verify("web --repair").expect_ok();
    assert_eq!(fs::read_to_string(&bundled).ok().as_deref(), Some("conf 1"));

    replace(&placed, |bytes| bytes.clear());
    let report = verify("web").expect_ok().json();
    assert_eq!(paths(&report), ["/etc/containers/web.conf".to_owned()].into());
    assert_eq!(report["findings"][0]["severity"], "warning");

    // Nobody has it any more.
    replace(&bundled, |bytes| bytes.clear());
    let report = verify("web --repair").expect_code(1).json();
    let told = report["findings"].to_string();
    assert!(
        told.contains(
            "can't be repaired: /var/lib/containers/atomic/web.1/host-files/etc/containers/web.conf"
        ),
        "{told}"
    );
    assert!(told.contains("the store does not have that"), "{told}");
}

#[test]
fn objects_of_a_generations_own_files_are_looked_at() {
    let bench = Bench::new();
    let repo = bench.desk.state().join("var/atomic/.repo");
    let checksum = |path: &str| {
        let listed = sysctr_tests::Command::new("ostree").arg(format!("--repo={}", repo.display()));
        let listed = listed.args(["ls", "-C", "sysctr/web.1.files", path]).run().expect_ok().stdout();
        listed.split_whitespace().find(|word| word.len() == 64).expect("a checksum").to_owned()
    };
    let object = checksum("/bundle/config.json");
    fs::remove_file(repo.join("objects").join(&object[..2]).join(format!("{}.file", &object[2..])))
        .expect("an object");
    let report = bench.desk.sysctr(&[], "images verify --format json").expect_code(1).json();
    assert_eq!(report["faults"][0]["fault"], "missing", "{report}");
    assert_eq!(report["hit"][0]["generations"], json!(["web.1"]), "{report}");
}
