use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// An OSTree host that is `booted` as deployment `A.0` of stateroot `os`, and boots `next` next.
struct Scene {
    dir: tempfile::TempDir,
    host: Host,
}

const DEPLOYED: &str = "sysroot/ostree/deploy/os/deploy/A.0";

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap().canonicalize_utf8().unwrap();
        let scene = Self { dir, host: Host::at(&root) };
        scene.write("proc/cmdline", "root=x ostree=/ostree/boot.1/os/a/0 quiet\n");
        scene.write("proc/stat", "cpu 1 2\nbtime 1000000000\n");
        scene.write("proc/sys/kernel/random/boot_id", "1-2-3\n");
        scene
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.dir.path()).unwrap().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `etc` of what is booted; the root's is the same, as OSTree binds it.
    fn booted(&self) {
        fs::create_dir_all(self.path(DEPLOYED).join("etc/containers/atomic")).unwrap();
        symlink(self.path(DEPLOYED).join("etc"), self.path("etc")).unwrap();
        fs::create_dir_all(self.path("sysroot/ostree/boot.1/os/a")).unwrap();
        symlink("../../../deploy/os/deploy/A.0", self.path("sysroot/ostree/boot.1/os/a/0")).unwrap();
    }

    /// The deployment that boots next, with web.1, to which it is switched.
    fn next(&self, deployment: &str) {
        self.generation(deployment, 1);
        symlink("web.1", self.path(deployment).join("etc/containers/atomic/web")).unwrap();
        fs::create_dir_all(self.path("sysroot/ostree/boot.1/os/b")).unwrap();
        symlink(self.path(deployment), self.path("sysroot/ostree/boot.1/os/b/0")).unwrap();
        let entry =
            |version, kernel| format!("version {version}\noptions ostree=/ostree/boot.1/os/{kernel}/0\n");
        self.write("boot/loader/entries/1.conf", &entry(1, "a"));
        self.write("boot/loader/entries/2.conf", &entry(2, "b"));
    }

    fn generation(&self, deployment: &str, number: u64) {
        self.write(&format!("{deployment}/etc/containers/atomic/web.{number}/generation.json"), "{}");
    }

    /// This deployment has web.2 only, and is switched to it.
    fn updated(&self) {
        self.generation(DEPLOYED, 2);
        symlink("web.2", self.host.active_dir().join("web")).unwrap();
    }

    fn linked(&self, deployment: &str) -> String {
        let link = self.path(deployment).join("etc/containers/atomic/web");
        fs::read_link(link).unwrap().into_os_string().into_string().unwrap()
    }

    /// The clock of births is coarse.
    fn born_after(&self, deployment: &str) {
        let (ours, theirs) = (self.path(DEPLOYED).join("etc"), self.path(deployment).join("etc"));
        let born = |path: &Utf8Path| fs::metadata(path).unwrap().created().unwrap();
        loop {
            fs::create_dir_all(&theirs).unwrap();
            if born(&theirs) > born(&ours) {
                return;
            }
            fs::remove_dir(&theirs).unwrap();
        }
    }

    fn carry_over(&self) {
        carry_over(&self.host, Changed::Something).unwrap();
    }
}

const OTHER: &str = "sysroot/ostree/deploy/os/deploy/B.0";

#[test]
fn a_copy_of_ours_gets_what_is_ours() {
    let scene = Scene::new();
    scene.booted();
    scene.born_after(OTHER);
    scene.next(OTHER);
    scene.updated();
    scene.carry_over();
    assert_eq!(scene.linked(OTHER), "web.2");
    assert!(scene.path(OTHER).join("etc/containers/atomic/web.2").is_dir());
    assert!(!scene.path(OTHER).join("etc/containers/atomic/web.1").exists());
}

#[test]
fn links_that_lead_elsewhere_since_a_deployment_was_made_mislead_nobody() {
    let scene = Scene::new();
    scene.booted();
    scene.born_after(OTHER);
    scene.next(OTHER);
    let link = scene.path("sysroot/ostree/boot.1/os/a/0");
    fs::remove_file(&link).unwrap();
    symlink(scene.path(OTHER), &link).unwrap();
    scene.updated();
    scene.carry_over();
    assert_eq!(scene.linked(OTHER), "web.2");
}

/// Nothing of it is touched.
fn assert_kept(scene: &Scene, deployment: &str) {
    scene.updated();
    scene.carry_over();
    assert_eq!(scene.linked(deployment), "web.1");
    assert!(scene.path(deployment).join("etc/containers/atomic/web.1").is_dir());
    assert!(!scene.path(deployment).join("etc/containers/atomic/web.2").exists());
}

#[test]
fn a_rollback_of_the_host_keeps_its_containers() {
    let scene = Scene::new();
    scene.next(OTHER);
    scene.booted();
    assert_kept(&scene, OTHER);
}

#[test]
fn another_system_keeps_its_containers() {
    let other = "sysroot/ostree/deploy/other/deploy/B.0";
    let scene = Scene::new();
    scene.booted();
    scene.born_after(other);
    scene.next(other);
    assert_kept(&scene, other);
}

#[test]
fn what_was_made_before_this_boot_may_have_run_since_and_keeps_its_containers() {
    let scene = Scene::new();
    scene.write("proc/stat", "btime 99000000000\n");
    scene.booted();
    scene.born_after(OTHER);
    scene.next(OTHER);
    assert_kept(&scene, OTHER);
}

#[test]
fn a_copy_that_was_made_during_a_trial_gets_what_became_of_it() {
    let scene = Scene::new();
    scene.booted();
    scene.born_after(OTHER);
    scene.next(OTHER);
    scene.generation(OTHER, 2);
    let copied = scene.path(OTHER).join("etc/containers/atomic/web.2");
    fs::write(copied.join(place::TRIAL_JSON), "{}").unwrap();
    scene.updated();
    fs::write(scene.host.active_dir().join("web.2").join(place::HOLD), "").unwrap();
    scene.carry_over();
    assert_eq!(scene.linked(OTHER), "web.2");
    assert!(!copied.join(place::TRIAL_JSON).exists());
    assert!(copied.join(place::HOLD).exists());
}

#[test]
fn what_changed_is_told_from_what_did_not() {
    let scene = Scene::new();
    scene.booted();
    let before = Said::now(&scene.host).unwrap();
    assert_eq!(before.since(&scene.host).unwrap(), Changed::Nothing);
    scene.updated();
    assert_eq!(before.since(&scene.host).unwrap(), Changed::Something);
    let before = Said::now(&scene.host).unwrap();
    fs::write(scene.host.active_dir().join("web.2").join(place::HOLD), "").unwrap();
    assert_eq!(before.since(&scene.host).unwrap(), Changed::Something);
}

#[test]
fn entries_as_ostree_writes_them() {
    let text = "title Debian GNU/Linux 12 (bookworm) (ostree:0)\nversion 2\noptions root=LABEL=root quiet \
                ostree=/ostree/boot.1/debian/f00/0\nlinux /ostree/debian-f00/vmlinuz-6.1.0\n";
    assert_eq!(entry(text), Some((2, "ostree/boot.1/debian/f00/0".to_owned())));
    assert_eq!(entry("title Windows\nversion 3\nefi /EFI/x.efi\n"), None);
    assert!(Some((2, "a".to_owned())) > entry(""));
}
