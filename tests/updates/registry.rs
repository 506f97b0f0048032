//! Updates from a registry on the loopback, and from archives: what comes, what need not come, and what is wrong with it.

use std::path::PathBuf;

use sysctr_tests::registry::Server;
use sysctr_tests::{Command, Compose, Crafted, Output, Program, Root, crafted, scratch};
use tempfile::TempDir;

use crate::bench::version;
use crate::proxy::{Fault, Proxy, Times};

/// This machine in a mount namespace of its own, with another /usr/lib, /run, /etc/containers and /var/lib/containers: its
/// skopeo is the real one.
pub struct Machine {
    pub root: Root,
    work: TempDir,
    pub server: Server,
    pub proxy: Proxy,
}

impl Machine {
    /// It embeds version 0 as `web`, whose updates come from the registry.
    pub fn new() -> Self {
        let machine = Self::empty();
        let image = machine.path("embedded");
        crafted::write(&version("0").crafted().layout(), &image);
        let manifest = format!(
            "group = 'web'\n[[container]]\nname = 'web'\nimage = 'oci:{}'\nupdate = '{}'\n",
            image.display(),
            machine.tag()
        );
        Compose::into(&machine.root).manifest(manifest).add_launcher().run().expect_ok();
        machine
    }

    /// It embeds nothing yet.
    pub fn empty() -> Self {
        let server = Server::plain();
        let proxy = Proxy::of(server.port);
        let machine = Self { root: Root::small(), work: scratch(), server, proxy };
        for dir in ["etc/registries.conf.d", "var"] {
            std::fs::create_dir_all(machine.path(dir)).expect("a new directory");
        }
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        std::fs::write(machine.path("etc/policy.json"), policy).expect("a file in a scratch directory");
        let registry =
            format!("[[registry]]\nlocation = '127.0.0.1:{}'\ninsecure = true\n", machine.proxy.port);
        std::fs::write(machine.path("etc/registries.conf.d/it.conf"), registry)
            .expect("a file in a scratch directory");
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    pub fn tag(&self) -> String {
        format!("docker://127.0.0.1:{}/web:stable", self.proxy.port)
    }

    /// The tag names this version from now on.
    pub fn publish(&self, image: &Crafted) {
        self.server.push(image, "web:stable");
        self.proxy.mend();
    }

    pub fn sysctr(&self, arguments: &str) -> Output {
        self.sysctr_after("true", arguments)
    }

    /// After these words of a shell.
    pub fn sysctr_after(&self, before: &str, arguments: &str) -> Output {
        let script = r#"
            mount -t overlay -o "lowerdir=$1:/usr/lib" overlay /usr/lib; mount -t tmpfs -o mode=755 tmpfs /run
            mount --bind "$2" /etc/containers; mount --bind "$3" /var/lib/containers; eval "$4"; shift 4
            exec "$@""#;
        let unshare = ["--mount", "--propagation", "private", "bash", "-euc", script, "machine"];
        let command = Command::new("unshare").args(unshare).arg(self.root.join("usr/lib"));
        let command =
            command.arg(self.path("etc")).arg(self.path("var")).arg(before).arg(Program::Launcher.path());
        command.args(arguments.split(' ')).in_dir(self.work.path()).run()
    }

    pub fn updated(&self, arguments: &str) -> serde_json::Value {
        let output =
            self.sysctr(&format!("update web --format json {arguments}").trim_end().replace("  ", " "));
        output.expect_ok().json()["containers"][0].clone()
    }

    /// What the page of the active generation says.
    pub fn page(&self) -> String {
        let status = self.sysctr("status --format json web").expect_ok().json()["containers"][0].clone();
        let active = status["active"].as_str().expect("a word").to_owned();
        let bundle = match active.as_str() {
            "embedded" => self.root.bundle("web"),
            active => self.path("var/atomic").join(active),
        };
        std::fs::read_to_string(bundle.join("rootfs/www/index.html")).expect("the page").trim_end().to_owned()
    }
}

pub fn assert_clean(machine: &Machine) {
    let repo = machine.path("var/atomic/.repo");
    Command::new("ostree").args(["fsck", "-q"]).arg(format!("--repo={}", repo.display())).run().expect_ok();
}

pub fn layers(image: &Crafted) -> Vec<String> {
    image.layers.iter().map(|layer| crafted::digest(layer)).collect()
}

/// The design's bound: 1.02 × the bytes of the missing layer, the documents aside.
fn assert_only(updated: &serde_json::Value, image: &Crafted, layer: usize) {
    let documents = (image.config_bytes().len() + image.manifest_bytes().len()) as u64;
    let fetched = updated["fetched_bytes"].as_u64().expect("a number");
    assert!(fetched <= image.layers[layer].len() as u64 * 102 / 100 + documents, "{updated}");
}

#[test]
fn only_what_the_store_lacks_is_fetched() {
    let machine = Machine::new();
    let (one, two) = (version("1").crafted(), version("2").crafted());
    machine.publish(&one);
    let updated = machine.updated("");
    assert_eq!((&updated["generation"], machine.page().as_str()), (&1.into(), "version 1"));
    assert_only(&updated, &one, 1);
    // The base comes from what the host embeds.
    let (asked, both) = (machine.proxy.blobs(), layers(&one));
    assert_eq!((asked.get(&both[0]), asked.get(&both[1])), (None, Some(&1)), "{asked:?}");
    assert_clean(&machine);
    // The same again: no blob at all is asked for.
    machine.proxy.mend();
    let again = machine.updated("");
    assert_eq!((again["generation"].is_null(), again["fetched_bytes"].as_u64()), (true, Some(0)), "{again}");
    assert_eq!(machine.proxy.blobs().len(), 0, "{:?}", machine.proxy.blobs());
    // Another top layer: the base is there already.
    machine.publish(&two);
    let updated = machine.updated("");
    assert_eq!(machine.page(), "version 2");
    let asked = machine.proxy.blobs();
    let (base, top) = (&layers(&two)[0], &layers(&two)[1]);
    assert_eq!((asked.get(base), asked.get(top)), (None, Some(&1)), "{asked:?}");
    assert_only(&updated, &two, 1);
    machine.sysctr("rollback web").expect_ok();
    assert_eq!(machine.page(), "version 1");
}

#[test]
fn damage_in_what_is_embedded_comes_from_the_registry() {
    let machine = Machine::new();
    let one = version("1").crafted();
    let bundle = machine.root.bundle("web");
    machine.publish(&one);
    let (base, top) = (&layers(&one)[0], &layers(&one)[1]);
    let listing = bundle.join("layers.zst");
    let busybox = bundle.join("rootfs/bin/busybox");
    let whole = (std::fs::read(&listing).expect("a listing"), std::fs::read(&busybox).expect("a program"));
    let mut other = whole.1.clone();
    other[5000] ^= 1;
    let damages: [(&str, &dyn Fn()); 4] = [
        ("a changed file", &|| std::fs::write(&busybox, &other).expect("a file")),
        ("a missing file", &|| std::fs::remove_file(&busybox).expect("a file")),
        ("a damaged listing", &|| std::fs::write(&listing, &whole.0[1..]).expect("a listing")),
        ("no listing", &|| std::fs::remove_file(&listing).expect("a listing")),
    ];
    for (story, damage) in damages {
        damage();
        let updated = machine.updated("");
        let asked = machine.proxy.blobs();
        assert_eq!((asked.get(base), asked.get(top)), (Some(&1), Some(&1)), "{story}: {asked:?}");
        let (fetched, sizes) = (updated["fetched_bytes"].as_u64().expect("a number"), &one.layers);
        let documents = (one.config_bytes().len() + one.manifest_bytes().len()) as u64;
        assert_eq!(fetched, (sizes[0].len() + sizes[1].len()) as u64 + documents, "{story}");
        assert_eq!(machine.page(), "version 1", "{story}");
        let run = machine.path("var/atomic/web.1/rootfs/bin/busybox");
        assert_eq!(std::fs::read(run).expect("a program"), whole.1, "{story}");
        assert_clean(&machine);
        std::fs::write(&listing, &whole.0).expect("a listing");
        std::fs::write(&busybox, &whole.1).expect("a file");
        for state in ["etc/atomic", "var/atomic"] {
            std::fs::remove_dir_all(machine.path(state)).expect("the state");
        }
        machine.proxy.mend();
    }
}

#[test]
fn what_the_store_can_not_read_of_its_layers_comes_from_the_registry() {
    let machine = Machine::new();
    std::fs::remove_file(machine.root.bundle("web").join("layers.zst")).expect("a listing");
    machine.publish(&version("1").crafted());
    machine.updated("");
    let entries =
        std::fs::read_dir(machine.path("var/atomic/.repo/extensions/sysctr/layers")).expect("layers");
    let entries: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        std::fs::write(entry, "damaged").expect("an entry");
    }
    let two = version("2").crafted();
    machine.publish(&two);
    machine.updated("");
    assert_eq!(machine.page(), "version 2");
    let asked = machine.proxy.blobs();
    assert!(layers(&two).iter().all(|layer| asked.get(layer) == Some(&1)), "{asked:?}");
    assert_clean(&machine);
}

#[test]
fn a_layer_of_which_less_is_known_than_an_image_shows_is_fetched_again() {
    let machine = Machine::new();
    // Of the base's page no object is kept: this one hides it.
    let hidden = version("1").over_the_base().crafted();
    machine.publish(&hidden);
    machine.updated("");
    assert_eq!(machine.page(), "version 1");
    let mut shown = hidden.clone();
    shown.layers.pop();
    shown.media_types.pop();
    shown.config["rootfs"]["diff_ids"].as_array_mut().expect("two").pop();
    machine.publish(&shown);
    assert_eq!(machine.updated("")["generation"], 2);
    assert_eq!(machine.page(), "the base");
}

#[test]
fn what_a_registry_does_wrong_changes_nothing() {
    let machine = Machine::new();
    let image = version("1").crafted();
    machine.publish(&image);
    for fault in [Fault::Wrong, Fault::Short, Fault::Status(404), Fault::Loop] {
        machine.proxy.spoil("/blobs/", fault, Times::Always);
        let failed = machine.sysctr("update web");
        assert_eq!(failed.code(), 1, "{fault:?}: {}", failed.story());
        let start = "sysctr: updating container web: fetching image docker://127.0.0.1:";
        assert!(
            failed.stderr().starts_with(start) && failed.stderr().lines().count() == 1,
            "{}",
            failed.story()
        );
        assert_eq!(machine.page(), "version 0", "{fault:?}");
        machine.proxy.mend();
    }
    machine.updated("");
    assert_eq!(machine.page(), "version 1");
    let names = std::fs::read_dir(machine.path("var/atomic")).expect("the generations");
    let left = names.filter(|name| name.as_ref().is_ok_and(|name| name.file_name() == ".fetched")).count();
    assert_eq!(left, 0);
}

#[test]
fn a_policy_of_the_host_decides_what_comes_in() {
    let machine = Machine::new();
    machine.publish(&version("1").crafted());
    let policy = r#"{"default": [{"type": "reject"}]}"#;
    std::fs::write(machine.path("etc/policy.json"), policy).expect("a file in a scratch directory");
    let refused = machine.sysctr("update web").expect_code(1);
    assert!(refused.stderr().contains("the policy rejects it"), "{}", refused.story());
    assert_eq!(machine.page(), "version 0");
}

#[test]
fn archives_and_digests() {
    let machine = Machine::new();
    let (one, two) = (version("1").crafted(), version("2").crafted());
    std::fs::write(machine.path("one.tar"), crafted::archive(&one.layout())).expect("an archive");
    std::fs::write(machine.path("two.tar"), crafted::archive(&two.docker("localhost/web:2")))
        .expect("an archive");
    let digest = crafted::digest(&one.manifest_bytes());
    let wrong =
        machine.sysctr(&format!("update web --image oci-archive:one.tar --digest sha256:{}", "0".repeat(64)));
    assert!(wrong.expect_code(1).stderr().contains("sha256:0000"), "the digest is told");
    machine.updated(&format!("--image oci-archive:one.tar --digest {digest}"));
    assert_eq!(machine.page(), "version 1");
    machine.updated("--image docker-archive:two.tar");
    assert_eq!(machine.page(), "version 2");
    assert_eq!(machine.proxy.requests(), 0);
    // A rebase onto what the registry has, by its tag and its digest.
    machine.publish(&one);
    machine.updated(&format!("--image {} --digest {digest}", machine.tag()));
    assert_eq!(machine.page(), "version 1");
}
