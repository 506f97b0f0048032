use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use sysctr_core::digest::Digest;
use sysctr_core::generation::{Generation, Origin};
use sysctr_core::record::Metadata;
use sysctr_core::tree::Stat;

use super::*;

/// A host with generations of `web`, installed there.
struct Bench {
    _dir: tempfile::TempDir,
    host: Host,
}

fn name() -> ContainerName {
    "web".parse().unwrap()
}

impl Bench {
    fn new(dirs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(Utf8Path::from_path(dir.path()).unwrap());
        let bench = Self { _dir: dir, host };
        for dir in dirs.iter().chain(&["etc/containers/atomic", "proc/sys/kernel/random", "usr"]) {
            fs::create_dir_all(bench.path(dir)).unwrap();
        }
        fs::write(bench.path("proc/sys/kernel/random/boot_id"), "1\n").unwrap();
        bench
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        self.host.path(path)
    }

    /// A generation with these files, each mode 0640.
    fn generation(&self, number: u64, files: &[(&str, &str)], allowed: &[&str]) {
        self.generation_of("web", number, files, allowed);
    }

    fn generation_of(&self, name: &str, number: u64, files: &[(&str, &str)], allowed: &[&str]) {
        let dir = self.path(&format!("etc/containers/atomic/{name}.{number}"));
        let bundle = self.path(&format!("var/lib/containers/atomic/{name}.{number}"));
        fs::create_dir_all(&dir).unwrap();
        let generation = Generation {
            version: VERSION,
            bundle: format!("/var/lib/containers/atomic/{name}.{number}").into(),
            origin: Origin::None,
            record: Digest::of(b""),
            image: "i".into(),
            config: Digest::of(b""),
            set: BTreeMap::new(),
        };
        fs::write(dir.join(place::GENERATION_JSON), to_json(&generation)).unwrap();
        let mut wanted = HostFiles {
            version: VERSION,
            files: BTreeMap::new(),
            allowed: allowed.iter().map(|path| Utf8PathBuf::from(*path)).collect(),
        };
        for (path, text) in files {
            let metadata = |mode| Metadata::from(&Stat { uid: uid(), gid: gid(), ..Stat::implied(mode) });
            if let Some(path) = path.strip_suffix('/') {
                wanted.files.insert(path.into(), Placed::Directory { metadata: metadata(0o750) });
                continue;
            }
            let content = bundle.join(place::HOST_FILES).join(path);
            fs::create_dir_all(content.parent().unwrap()).unwrap();
            fs::write(&content, text).unwrap();
            fs::set_permissions(&content, fs::Permissions::from_mode(0o640)).unwrap();
            let file = Placed::File { digest: Digest::of(text.as_bytes()), metadata: Some(metadata(0o640)) };
            wanted.files.insert((*path).into(), file);
        }
        if !files.is_empty() {
            fs::write(dir.join(place::HOST_FILES_JSON), to_json(&wanted)).unwrap();
        }
    }

    /// Switches and settles; what was left.
    fn switch(&self, number: Option<u64>) -> Vec<String> {
        self.switch_of("web", number)
    }

    fn switch_of(&self, name: &str, number: Option<u64>) -> Vec<String> {
        let link = self.path("etc/containers/atomic").join(name);
        durable::remove(&link).unwrap();
        if let Some(number) = number {
            symlink(format!("{name}.{number}"), &link).unwrap();
        }
        let name = name.parse().unwrap();
        let kept = settle(&self.host, &name).unwrap();
        assert_eq!(settle(&self.host, &name).unwrap(), Kept::new(), "again");
        kept.into_iter().map(String::from).collect()
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    fn names(&self) -> Vec<String> {
        host::names(&self.path("etc")).unwrap()
    }
}

fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn gid() -> u32 {
    rustix::process::getgid().as_raw()
}

#[test]
fn files_come_with_a_generation_and_go_without_a_trace() {
    let bench = Bench::new(&[]);
    bench.generation(1, &[("etc/web.d/", ""), ("etc/web.d/a", "a1"), ("etc/web.d/b", "b1")], &[]);
    bench.generation(2, &[("etc/web.d/", ""), ("etc/web.d/a", "a2"), ("etc/c", "c2")], &[]);
    assert!(bench.switch(Some(1)).is_empty());
    assert_eq!((bench.text("etc/web.d/a").unwrap(), bench.mode("etc/web.d/a")), ("a1".into(), 0o640));
    assert_eq!(bench.mode("etc/web.d"), 0o750);
    assert!(bench.switch(Some(2)).is_empty());
    assert_eq!((bench.text("etc/web.d/a").unwrap(), bench.text("etc/web.d/b")), ("a2".into(), None));
    assert!(bench.switch(Some(1)).is_empty());
    assert_eq!((bench.text("etc/web.d/a").unwrap(), bench.text("etc/c")), ("a1".into(), None));
    assert!(bench.switch(None).is_empty());
    assert_eq!(bench.names(), ["containers"]);
    assert_eq!(host::names(&bench.path("etc/containers/atomic")).unwrap(), ["web.1", "web.2"]);
}

#[test]
fn what_an_admin_changed_made_or_removed_stays() {
    let bench = Bench::new(&[]);
    let files = |text| [("etc/web.d/", ""), ("etc/web.d/a", text), ("etc/b", text), ("etc/c", text)];
    bench.generation(1, &files("1"), &[]);
    bench.generation(2, &files("2"), &[]);
    fs::write(bench.path("etc/c"), "mine").unwrap();
    assert_eq!(bench.switch(Some(1)), ["etc/c"]);
    fs::write(bench.path("etc/web.d/a"), "mine").unwrap();
    fs::remove_file(bench.path("etc/b")).unwrap();
    fs::write(bench.path("etc/web.d/more"), "mine").unwrap();
    assert_eq!(bench.switch(Some(2)), ["etc/b", "etc/c", "etc/web.d/a"]);
    assert_eq!(bench.text("etc/b"), None);
    // One that becomes what it was is ours again.
    fs::write(bench.path("etc/web.d/a"), "1").unwrap();
    assert_eq!(bench.switch(Some(1)), ["etc/b", "etc/c"]);
    // What is gone has nowhere to go back to.
    assert_eq!(bench.switch(None), Vec::<String>::new());
    assert_eq!(bench.text("etc/c").unwrap(), "mine");
    assert_eq!(host::names(&bench.path("etc/web.d")).unwrap(), ["more"]);
}

#[test]
fn a_pipe_of_an_admin_and_a_missing_content_stop_nobody_else() {
    let bench = Bench::new(&[]);
    bench.generation(1, &[("etc/a", "1")], &[]);
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path("etc/a").as_std_path(), rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(bench.switch(Some(1)), ["etc/a"]);
    bench.generation(2, &[("etc/b", "2")], &[]);
    fs::remove_dir_all(bench.path("var/lib/containers/atomic/web.2")).unwrap();
    let link = bench.path("etc/containers/atomic/web");
    durable::remove(&link).unwrap();
    symlink("web.2", &link).unwrap();
    let error = format!("{:#}", settle_all(&bench.host).unwrap_err());
    assert!(error.starts_with("placing the host files of container web: writing "), "{error}");
    // It is known that something was begun, and led back.
    assert_eq!(bench.switch(None), Vec::<String>::new());
    assert_eq!(bench.names(), ["a", "containers"]);
}

#[test]
fn usr_etc_says_what_comes_back() {
    let bench = Bench::new(&["usr/etc", "etc/own"]);
    for (path, text) in
        [("usr/etc/a", "image"), ("etc/a", "image"), ("usr/etc/b", "image"), ("etc/b", "mine")]
    {
        fs::write(bench.path(path), text).unwrap();
        fs::set_permissions(bench.path(path), fs::Permissions::from_mode(0o604)).unwrap();
    }
    bench.generation(
        1,
        &[("etc/a", "1"), ("etc/b", "1"), ("etc/new", "1"), ("etc/own/x", "1")],
        &["etc/a", "etc/b"],
    );
    assert_eq!(bench.switch(Some(1)), ["etc/b"]);
    assert_eq!(bench.text("etc/a").unwrap(), "1");
    // The host was updated: another image, the same /etc.
    fs::write(bench.path("usr/etc/a"), "next image").unwrap();
    fs::write(bench.path("usr/etc/new"), "next image").unwrap();
    // What an admin has made of it meanwhile stays.
    fs::remove_dir_all(bench.path("etc/own")).unwrap();
    assert_eq!(bench.switch(None), Vec::<String>::new());
    assert_eq!((bench.text("etc/a").unwrap(), bench.mode("etc/a")), ("next image".into(), 0o604));
    assert_eq!(bench.text("etc/new").unwrap(), "next image");
    assert_eq!(bench.text("etc/b").unwrap(), "mine");
}

#[test]
fn what_was_replaced_comes_back_where_no_image_tells() {
    let bench = Bench::new(&[]);
    fs::write(bench.path("etc/a"), "mine").unwrap();
    fs::set_permissions(bench.path("etc/a"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("a", bench.path("etc/l")).unwrap();
    bench.generation(1, &[("etc/a", "1"), ("etc/l", "1")], &["etc/a", "etc/l"]);
    bench.generation(2, &[], &[]);
    assert!(bench.switch(Some(1)).is_empty());
    assert_eq!(bench.text("etc/l").unwrap(), "1");
    assert!(bench.switch(Some(2)).is_empty());
    assert_eq!((bench.text("etc/a").unwrap(), bench.mode("etc/a")), ("mine".into(), 0o600));
    assert_eq!(fs::read_link(bench.path("etc/l")).unwrap().to_str(), Some("a"));
}

#[test]
fn what_two_containers_share_goes_with_the_last_of_them() {
    let bench = Bench::new(&[]);
    fs::write(bench.path("etc/own"), "mine").unwrap();
    let files = [("etc/d/", ""), ("etc/d/shared", "s"), ("etc/own", "s"), ("etc/other", "web")];
    bench.generation(1, &files, &["etc/own"]);
    let files = [("etc/d/", ""), ("etc/d/shared", "s"), ("etc/own", "s"), ("etc/other", "app")];
    bench.generation_of("app", 1, &files, &["etc/own"]);
    assert!(bench.switch(Some(1)).is_empty());
    // Of what differs the first one's stays.
    assert_eq!(bench.switch_of("app", Some(1)), ["etc/other"]);
    assert_eq!(bench.text("etc/other").unwrap(), "web");
    assert!(bench.switch(None).is_empty());
    assert_eq!(
        (bench.text("etc/d/shared").unwrap(), bench.text("etc/own").unwrap()),
        ("s".into(), "s".into())
    );
    assert_eq!(bench.text("etc/other"), None);
    assert!(bench.switch_of("app", None).is_empty());
    assert_eq!(bench.names(), ["containers", "own"]);
    assert_eq!(bench.text("etc/own").unwrap(), "mine");
}

#[test]
fn cut_off_anywhere_the_next_one_completes_it_in_either_direction() {
    let files = |text| [("etc/d/", ""), ("etc/d/a", text), ("etc/b", text)];
    // What is written down before the first step, with every number of steps done.
    for done in (0..12).step_by(2) {
        for (from, to) in [(None, Some(1)), (Some(1), Some(2)), (Some(2), None)] {
            for end in [from, to] {
                let bench = Bench::new(&[]);
                bench.generation(1, &files("1"), &[]);
                bench.generation(2, &[("etc/d", "2"), ("etc/b", "2")], &[]);
                bench.switch(from);
                cut_off(&bench, to, done);
                let story = format!("{from:?} {to:?} {done} {end:?}");
                assert!(bench.switch(end).is_empty(), "{story}");
                let (b, d) = (bench.text("etc/b"), bench.text("etc/d").or(bench.text("etc/d/a")));
                let expected = end.map(|number| number.to_string());
                assert_eq!((b.as_ref(), d.as_ref()), (expected.as_ref(), expected.as_ref()), "{story}");
                assert_eq!(bench.names().len(), if end.is_some() { 3 } else { 1 }, "{story}");
            }
        }
    }
}

/// Switches, and does no more than so many steps.
fn cut_off(bench: &Bench, to: Option<u64>, steps: usize) {
    let link = bench.path("etc/containers/atomic/web");
    durable::remove(&link).unwrap();
    if let Some(number) = to {
        symlink(format!("web.{number}"), &link).unwrap();
    }
    let (host, name) = (&bench.host, &name());
    let Some(task) = Task::find(host, name).unwrap() else { return };
    let place = Place::of(host, name).unwrap();
    let plan = Plan::make(host, &place, &task.wanted, task.written.clone()).unwrap();
    let dir = host.path(place::written_dir(name));
    fs::create_dir_all(&dir).unwrap();
    write_synced(&dir.join(place::WRITTEN_JSON), &to_json(&plan.during), 0o644).unwrap();
    let contents = task.contents(host, name).unwrap();
    for step in plan.steps().take(steps) {
        step.carry_out(host, &dir, name, contents.as_deref()).unwrap();
    }
}
