//! What two containers, or a container and its host, want at one path below `/var`: host files, programs that are bound there,
//! and lines of tmpfiles.d. In root directories and in commits, in one manifest and in the manifests of two groups.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::os::unix::fs::symlink;

use sysctr_tests::crafted::{self, Crafted};
use sysctr_tests::{Boot, Command, Compose, Layer, Listing, Mtimes, Output, Root, scratch};
use tempfile::TempDir;

const CONFIG: &str = r#"{"ociVersion": "1.0.2", "process": {"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
  "root": {"path": "rootfs", "readonly": true}, "linux": {"namespaces": [{"type": "mount"}]}}"#;

/// A program below /usr/local, state below /var.
const TOOL: (&str, &str) = ("/usr/local/bin/tool", "/var/usrlocal/bin/tool");
const STATE: (&str, &str) = ("/var/lib/app/state", "/var/lib/app/state");

/// An image with one host file, or lines of its own.
fn image(path: &str, text: &str) -> Crafted {
    let layer = Layer::new().dir("bin").program("bin/true", "x").dir("exports");
    let layer = layer.file("exports/config.json.template", CONFIG);
    let at = format!("exports/{path}");
    let layer = if path.contains("/bin/") { layer.program(&at, text) } else { layer.file(&at, text) };
    Crafted::one(&layer)
}

fn host_file(path: &str, text: &str) -> Crafted {
    image(&format!("hostfs{path}"), text)
}

/// A host whose /usr/local is the machine's: as a root directory, or as a commit of a repository.
struct Host {
    root: Root,
    repo: Option<TempDir>,
}

impl Host {
    fn root() -> Self {
        let root = Root::small();
        fs::rename(root.join("etc"), root.join("usr/etc")).unwrap();
        symlink("../var/usrlocal", root.join("usr/local")).unwrap();
        Self { root, repo: None }
    }

    /// Its launcher comes with the base, so that composes of two groups are alike.
    fn both() -> [Self; 2] {
        let [root, commit] = [Self::root(), Self::root()];
        for host in [&root, &commit] {
            fs::copy(sysctr_tests::Program::Launcher.path(), host.root.join("usr/bin/sysctr")).unwrap();
        }
        let repo = scratch();
        let ostree = |args: &[&str]| {
            let repo = format!("--repo={}", repo.path().display());
            Command::new("ostree").arg(repo).args(args).run().expect_ok();
        };
        ostree(&["init", "--mode=archive"]);
        let tree = format!("--tree=dir={}", commit.root.path().display());
        ostree(&["commit", "--branch=base", "--timestamp=@1600000000", &tree]);
        ostree(&["refs", "--create=host", "base"]);
        [root, Self { repo: Some(repo), ..commit }]
    }

    fn verb(&self, verb: &'static str) -> Compose {
        self.on("host").verb(verb)
    }

    fn on(&self, base: &str) -> Compose {
        match &self.repo {
            Some(repo) => Compose::into_commit(repo.path(), base, "host"),
            None => Compose::into(&self.root),
        }
    }

    /// What is there, by all that counts.
    fn state(&self) -> String {
        match &self.repo {
            Some(repo) => {
                let show = Command::new("ostree").arg(format!("--repo={}", repo.path().display()));
                show.args(["show", "host"]).run().expect_ok().stdout()
            }
            None => format!("{:?}", Listing::of(&self.root.path())),
        }
    }

    /// Composes containers of a group on what is there: name, image, settings.
    fn compose(&self, group: &str, containers: &[(&str, &Crafted, &str)]) -> Output {
        let one = |(name, _, settings): &(&str, &Crafted, &str)| {
            format!("[[container]]\nname = '{name}'\nimage = 'oci:{name}'\n{settings}\n")
        };
        let compose = self.on("host");
        for (name, image, _) in containers {
            crafted::write(&image.layout(), &compose.work_dir().join(name));
        }
        let containers: String = containers.iter().map(one).collect();
        compose.manifest(format!("group = '{group}'\n{containers}")).run()
    }
}

/// Both in one manifest, and the second when the first stands already.
fn composed(host: &Host, together: bool, one: (&Crafted, &str), two: (&Crafted, &str)) -> Output {
    if together {
        return host.compose("g", &[("one", one.0, one.1), ("two", two.0, two.1)]);
    }
    host.compose("first", &[("one", one.0, one.1)]).expect_ok();
    host.compose("second", &[("two", two.0, two.1)])
}

fn says(output: &Output, why: &str) {
    let told = output.stderr();
    assert!(told.trim_end().ends_with(why), "{why}\n{}", output.story());
}

#[test]
fn one_host_file_of_two_containers_is_refused_by_both_names_and_its_path() {
    for (path, at) in [TOOL, STATE] {
        let image = host_file(path, "same");
        for together in [true, false] {
            for host in Host::both() {
                let before = host.state();
                let refused = composed(&host, together, (&image, ""), (&image, "")).expect_code(1);
                says(
                    &refused,
                    &format!(
                        "placing container two: its host file {path} is at {at} on the host, which container one brings too; put \
                         {path} into allow_conflicts of both to share it, or leave one of them out"
                    ),
                );
                assert!(!together || host.state() == before);
            }
        }
    }
}

#[test]
fn a_container_that_is_renamed_keeps_its_places() {
    for path in [TOOL.0, STATE.0, "/etc/app.conf"] {
        let image = host_file(path, "same");
        for host in Host::both() {
            let before = host.repo.is_none().then(|| Listing::of(&host.root.path()));
            host.compose("g", &[("one", &image, "")]).expect_ok();
            host.compose("g", &[("two", &image, "")]).expect_ok();
            host.verb("verify").run().expect_ok();
            host.verb("remove").arg("two").run().expect_ok();
            if let Some(before) = before {
                Listing::of(&host.root.path()).expect_same(&before, Mtimes::All);
            }
        }
    }
}

#[test]
fn another_file_at_that_path_is_refused_even_when_it_is_allowed() {
    for (path, at) in [TOOL, STATE] {
        let (one, two) = (host_file(path, "one"), host_file(path, "two"));
        let allowed = format!("allow_conflicts = ['{path}']");
        for host in Host::both() {
            let refused = composed(&host, false, (&one, &allowed), (&two, &allowed)).expect_code(1);
            let why = format!(
                "placing container two: its host file {path} is at {at} on the host, where container one has another (host \
                 file {path} of it); leave one of them out"
            );
            says(&refused, &why);
        }
    }
}

#[test]
fn an_equal_file_is_shared_where_it_is_allowed_and_stays_for_the_last() {
    for (path, at) in [TOOL, STATE] {
        let image = host_file(path, "same");
        let allowed = format!("allow_conflicts = ['{path}']");
        for together in [true, false] {
            for host in Host::both() {
                let before = (host.repo.is_none()).then(|| Listing::of(&host.root.path()));
                composed(&host, together, (&image, &allowed), (&image, &allowed)).expect_ok();
                host.verb("verify").run().expect_ok();
                host.verb("remove").arg("one").run().expect_ok();
                host.verb("verify").run().expect_ok();
                if let Some(before) = before {
                    assert_eq!(fs::read(host.root.join(format!("usr/share/factory{at}"))).unwrap(), b"same");
                    boots(&host.root, at);
                    host.verb("remove").arg("two").run().expect_ok();
                    Listing::of(&host.root.path()).expect_same(&before, Mtimes::All);
                }
            }
        }
    }
}

/// systemd-tmpfiles makes `at`, and systemd takes the mount unit of a program.
fn boots(root: &Root, at: &str) {
    let copy = scratch();
    Command::new("cp").arg("-a").arg(root.path()).arg(copy.path()).run().expect_ok();
    let copied = copy.path().join("root");
    let within = format!("--root={}", copied.display());
    let made = Command::new("systemd-tmpfiles").arg(&within).arg("--create").run().expect_ok();
    assert_eq!(made.stderr(), "");
    assert!(copied.join(at.trim_start_matches('/')).is_file());
    if at == TOOL.1 {
        let verify = Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]);
        let verdict = verify.arg(within).arg("var-usrlocal-bin-tool.mount").run().expect_ok();
        assert_eq!((verdict.stdout(), verdict.stderr()), (String::new(), String::new()));
        let drop_in = copied.join("usr/lib/systemd/system/var-usrlocal-bin-tool.mount.d/50-sysctr-two.conf");
        assert_eq!(fs::read_to_string(drop_in).unwrap(), "[Unit]\nBefore=two.service\n");
    }
}

#[test]
fn a_host_boots_with_a_program_and_a_file_that_two_containers_share() {
    let root = Root::debian();
    fs::remove_dir_all(root.join("usr/local")).unwrap();
    symlink("../var/usrlocal", root.join("usr/local")).unwrap();
    fs::copy(sysctr_tests::Program::Launcher.path(), root.join("usr/bin/sysctr")).unwrap();
    let host = Host { root, repo: None };
    let more = Layer::new().program("exports/hostfs/usr/local/bin/tool", "#!/bin/sh\necho shared\n");
    let more = more.file("exports/hostfs/var/lib/app/state", "once\n");
    let more = more.file("exports/config.json.template", CONFIG).dir("bin").program("bin/true", "x");
    let image = Crafted::one(&more);
    let settings = "enable = false\nallow_conflicts = ['/usr/local/bin/tool', '/var/lib/app/state']";
    host.compose("g", &[("one", &image, settings), ("two", &image, settings)]).expect_ok();
    let script = r#"
        tool
        cat /var/lib/app/state
        systemctl show -P Before var-usrlocal-bin-tool.mount | tr ' ' '\n' | grep service | sort
        "#;
    let report = Boot::of(&host.root).run(script).expect_ok();
    assert_eq!(report.text, "shared\nonce\none.service\ntwo.service\n");
}

#[test]
fn lines_that_contradict_another_containers_are_refused_or_told() {
    let lines = |mode: &str| image("tmpfiles.template", &format!("d /var/lib/both {mode} root root -\n"));
    let (one, two, agreeing) = (lines("0755"), lines("0700"), lines(":755"));
    let told = "make /var/lib/both differently at boot; the host takes that of one";
    for together in [true, false] {
        for host in Host::both() {
            composed(&host, together, (&one, ""), (&agreeing, "")).expect_ok();
        }
        for host in Host::both() {
            let refused = composed(&host, together, (&one, ""), (&two, "")).expect_code(1);
            says(
                &refused,
                "placing container two: at boot it makes /var/lib/both by `d 0700 0:0`, container one by `d 0755 0:0`, and the \
                 host would take that of one; put /var/lib/both into allow_conflicts if that is well",
            );
        }
        for host in Host::both() {
            let allowed =
                composed(&host, together, (&one, ""), (&two, "allow_conflicts = ['/var/lib/both']"));
            let allowed = allowed.expect_ok();
            assert!(allowed.stdout().contains(told), "{}", allowed.story());
            host.verb("verify").run().expect_ok();
        }
    }
}

#[test]
fn a_container_is_the_same_whoever_else_is_there() {
    // Without lines of its own, what it binds is made by a line of ours, though another container makes it too.
    let bind = r#""linux": {"namespaces": [{"type": "mount"}]},
        "mounts": [{"destination": "/data", "type": "bind", "source": "/var/lib/both", "options": ["rbind"]}]}"#;
    let config = CONFIG.replace(r#""linux": {"namespaces": [{"type": "mount"}]}}"#, bind);
    let layer = Layer::new().dir("bin").program("bin/true", "x").dir("data");
    let binds = Crafted::one(&layer.file("exports/config.json.template", config));
    let makes = image("tmpfiles.template", "d /var/lib/both 0700 root root -\n");
    let record = |host: &Host| fs::read(host.root.bundle("two").join("record.json")).unwrap();
    let [alone, _] = Host::both();
    alone.compose("second", &[("two", &binds, "")]).expect_ok();
    let [beside, _] = Host::both();
    composed(&beside, false, (&makes, ""), (&binds, "")).expect_ok();
    assert_eq!(record(&alone), record(&beside));
}

#[test]
fn what_the_host_has_there_is_refused_or_stays() {
    let (path, _) = STATE;
    let image = host_file(path, "of the image");
    let [host, _] = Host::both();
    fs::create_dir_all(host.root.join("var/lib/app")).unwrap();
    fs::write(host.root.join("var/lib/app/state"), "of the host").unwrap();
    let refused = host.compose("g", &[("one", &image, "")]).expect_code(1);
    says(
        &refused,
        "placing host file /var/lib/app/state: the target has /var/lib/app/state, and what is there below /var stays; remove it \
         from the target, or put it into allow_conflicts if that is well",
    );
    let settings = format!("allow_conflicts = ['{path}', '/none']");
    let allowed = host.compose("g", &[("one", &image, &settings)]).expect_ok();
    for told in [
        "host file /var/lib/app/state: the target's own /var/lib/app/state stays",
        "allow_conflicts: the image has no host file /none, and no line of tmpfiles.d that makes it",
    ] {
        assert!(allowed.stdout().contains(told), "{}", allowed.story());
    }
    assert_eq!(fs::read(host.root.join("var/lib/app/state")).unwrap(), b"of the host");
    // What a container made in a root that was booted is not the host's.
    let settings = format!("{settings}\nrun = {{ env = {{ A = '1' }} }}");
    host.compose("g", &[("one", &image, &settings)]).expect_ok();
}

#[test]
fn lines_of_the_host_that_make_something_else_are_refused_or_win() {
    let (path, _) = STATE;
    let image = host_file(path, "of the image");
    let [host, _] = Host::both();
    fs::write(host.root.join("usr/lib/tmpfiles.d/host.conf"), "d /var/lib/app/state 0755 root root -\n")
        .unwrap();
    let refused = host.compose("g", &[("one", &image, "")]).expect_code(1);
    says(
        &refused,
        "placing host file /var/lib/app/state: lines of the target's tmpfiles.d make something else of /var/lib/app/state; put \
         it into allow_conflicts to leave it to the target",
    );
    host.compose("g", &[("one", &image, &format!("allow_conflicts = ['{path}']"))]).expect_ok();
    let lines = fs::read_to_string(host.root.join("usr/lib/tmpfiles.d/sysctr-one.conf")).unwrap();
    assert!(!lines.contains("state") && lines.contains("d /var/lib/app "), "{lines}");
}
