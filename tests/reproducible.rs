//! The same input makes the same root, byte for byte and nanosecond for nanosecond, whatever surrounds the composer.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sysctr_tests::{Command, Compose, Image, Listing, Mtimes, Program, Root, scratch};

/// The containers of the test, by name.
const NAMES: [&str; 4] = ["hello", "nginx", "odd", "whiteouts"];

fn image(name: &str) -> Image {
    match name {
        "hello" => Image::hello(),
        "nginx" => Image::nginx(),
        "odd" => Image::odd(),
        "whiteouts" => Image::whiteouts(),
        other => panic!("no image {other}"),
    }
}

fn manifest(names: &[&str]) -> String {
    names.iter().fold("group = 'test'\n".to_owned(), |text, name| {
        let bare = matches!(*name, "odd" | "whiteouts").then_some("run = { entrypoint = ['/bin/true'] }");
        let (image, bare) = (image(name).in_manifest(), bare.unwrap_or_default());
        format!("{text}[[container]]\nname = '{name}'\nimage = '{image}'\n{bare}\n")
    })
}

fn root() -> Root {
    let root = Root::small_in_memory();
    root.age();
    root
}

/// A compose of these containers into a root.
fn compose(root: &Path, names: &[&str]) -> Compose {
    let compose = Compose::into_dir(root).manifest(manifest(names)).add_launcher();
    // The tests themselves may run with one.
    let compose = compose.under(["env", "-u", "SOURCE_DATE_EPOCH"]);
    names.iter().fold(compose, |compose, name| compose.with(&image(name)))
}

/// A root with all containers, composed under no particular circumstances. Only told: what a static holds is never dropped.
struct Plain {
    listing: Listing,
    made: Instant,
}

fn plain() -> &'static Plain {
    static PLAIN: OnceLock<Plain> = OnceLock::new();
    PLAIN.get_or_init(|| {
        let root = root();
        compose(&root.path(), &NAMES).run().expect_ok();
        let listing = Listing::of(&root.path());
        println!("{} entries, digest {}", listing.len(), listing.digest());
        Plain { listing, made: Instant::now() }
    })
}

/// The composed root must be the plain one.
#[track_caller]
fn expect_plain(root: &Path) {
    let listing = Listing::of(root);
    listing.expect_same(&plain().listing, Mtimes::All);
    assert_eq!(listing.digest(), plain().listing.digest());
}

/// Composes under these circumstances; the root must be the plain one.
#[track_caller]
fn same_when(circumstances: impl FnOnce(Compose) -> Compose) {
    let root = root();
    circumstances(compose(&root.path(), &NAMES)).run().expect_ok();
    expect_plain(&root.path());
}

#[test]
fn a_second_run_later_makes_the_same() {
    let made = plain().made;
    // Every clock that stats can show has ticked meanwhile.
    std::thread::sleep(Duration::from_millis(2100).saturating_sub(made.elapsed()));
    same_when(|compose| compose);
}

#[test]
fn time_zone_and_language_do_not_matter() {
    same_when(|compose| {
        compose.env("TZ", "Pacific/Chatham").env("LC_ALL", "tr_TR.UTF-8").env("LANG", "tr_TR.UTF-8")
    });
}

#[test]
fn the_umask_does_not_matter() {
    same_when(|compose| compose.under(["sh", "-c", "umask 0777; exec \"$@\"", "sh"]));
}

#[test]
fn the_clock_does_not_matter() {
    let faketime = ["faketime", "2040-02-29 12:00:00"];
    // The clock is another one, time stamps of files are what they are.
    same_when(|compose| compose.env("NO_FAKE_STAT", "1").under(faketime));
    let date = Command::new("date").arg("+%Y").under(faketime).run();
    assert_eq!(date.stdout(), "2040\n", "faketime does fake");
}

#[test]
fn the_number_of_threads_does_not_matter() {
    for jobs in ["1", "8"] {
        same_when(|compose| compose.arg("--jobs").arg(jobs));
    }
}

#[test]
fn the_environment_and_the_order_of_directories_do_not_matter() {
    // On a disk, in a longer path, by a path that is not the shortest, with all that a login has.
    let disk = scratch();
    let top = disk.path().join("a directory with blanks/and\u{e9}/deep");
    std::fs::create_dir_all(&top).expect("a new directory");
    let (aged, root) = (root(), top.join("root"));
    Command::new("cp").args(["-a", "--no-target-directory"]).arg(aged.path()).arg(&root).run().expect_ok();
    let way = root.join("../root/./usr/..");
    let login = [
        ("HOME", "/nowhere"),
        ("USER", "somebody"),
        ("TMPDIR", "/nowhere"),
        ("COLUMNS", "20"),
        ("RUST_LOG", "trace"),
    ];
    let compose = login.iter().fold(compose(&way, &NAMES), |compose, (name, value)| compose.env(name, value));
    compose.run().expect_ok();
    expect_plain(&root);
}

#[test]
fn the_directory_of_the_manifest_does_not_matter() {
    let (root, beside) = (root(), compose(Path::new("/nowhere"), &NAMES));
    // From elsewhere; the images' paths are relative to the manifest.
    let run = |manifest: PathBuf| {
        let command =
            Command::new(Program::Composer.path()).in_dir(Path::new("/")).arg("--manifest").arg(manifest);
        let command =
            command.arg("--sysroot").arg(root.path()).arg("--add-launcher").arg(Program::Launcher.path());
        command.under(["env", "-u", "SOURCE_DATE_EPOCH"]).run().expect_ok()
    };
    run(beside.work_dir().join("containers.toml"));
    expect_plain(&root.path());
    let again = run(compose(Path::new("/nowhere"), &NAMES).work_dir().join("containers.toml"));
    assert!(again.stdout().ends_with("nothing to change\n"), "{}", again.story());
}

#[test]
fn no_epoch_is_the_epoch_1_and_another_one_differs() {
    // Later wrappers come after `env -u`.
    same_when(|compose| compose.under(["env", "SOURCE_DATE_EPOCH=1"]));
    let root = root();
    compose(&root.path(), &NAMES).under(["env", "SOURCE_DATE_EPOCH=1700000000"]).run().expect_ok();
    let listing = Listing::of(&root.path());
    assert_eq!(
        listing.differences(&plain().listing, Mtimes::None).iter().filter(|line| is_content(line)).count(),
        0
    );
    assert_ne!(listing.digest(), plain().listing.digest(), "the comparison sees time stamps");
}

/// Whether a line of differences is about anything but what tells the epoch: records, indexes and dumps.
fn is_content(line: &str) -> bool {
    !["/record.json ", "/embedded.json ", "/tree.dump.zst "].iter().any(|name| line.contains(name))
}

#[test]
fn two_steps_make_what_one_makes() {
    let root = root();
    for names in [&["nginx"][..], &["whiteouts", "nginx"], &["odd"], &["hello", "nginx", "odd", "whiteouts"]]
    {
        compose(&root.path(), names).run().expect_ok();
    }
    expect_plain(&root.path());
}

#[test]
fn the_order_in_the_manifest_does_not_matter() {
    let root = root();
    compose(&root.path(), &["whiteouts", "odd", "nginx", "hello"]).run().expect_ok();
    expect_plain(&root.path());
}

#[test]
fn removing_all_leaves_the_untouched_root() {
    let (root, untouched) = (root(), Listing::of(&root().path()));
    compose(&root.path(), &NAMES).run().expect_ok();
    expect_plain(&root.path());
    Compose::into(&root).verb("remove").arg("nginx").arg("whiteouts").run().expect_ok();
    Compose::into(&root).verb("remove").arg("--group").arg("test").arg("--launcher").run().expect_ok();
    Listing::of(&root.path()).expect_same(&untouched, Mtimes::All);
}

/// A repository of `mode` with a root as `base`.
fn repository(dir: &Path, mode: &str, root: &Root) -> PathBuf {
    let repo = dir.join(mode);
    let ostree = |arguments: &[&str]| {
        Command::new("ostree").arg(format!("--repo={}", repo.display())).args(arguments).run().expect_ok()
    };
    ostree(&["init", &format!("--mode={mode}")]);
    let tree = format!("--tree=dir={}", root.path().display());
    ostree(&["commit", "--branch=base", "--timestamp=@1600000000", &tree]);
    repo
}

/// Composes these containers; tells the new commit.
fn commit(repo: &Path, names: &[&str], circumstances: impl FnOnce(Compose) -> Compose) -> String {
    let compose = Compose::into_commit(repo, "base", "host").manifest(manifest(names)).add_launcher();
    let compose = compose.under(["env", "-u", "SOURCE_DATE_EPOCH"]).arg("--format").arg("json");
    let compose = names.iter().fold(compose, |compose, name| compose.with(&image(name)));
    // Images and manifest may be read by anybody.
    Command::new("chmod").args(["-R", "a+rX"]).arg(compose.work_dir()).run().expect_ok();
    let told = circumstances(compose).run().expect_ok().json();
    let checksum = told["commit"]["checksum"].as_str().expect("a checksum").to_owned();
    let named = Command::new("ostree").arg(format!("--repo={}", repo.display())).args(["rev-parse", "host"]);
    assert_eq!(named.run().expect_ok().stdout().trim(), checksum);
    checksum
}

#[test]
fn a_commit_is_the_same_in_any_repository_by_anybody_and_at_any_time() {
    const USER: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let (root, disk) = (root(), scratch());
    let names = ["hello", "nginx", "whiteouts"];
    // Ordinary users come to it, and to a composer of their own.
    Command::new("chmod").arg("0755").arg(disk.path()).run().expect_ok();
    let mut checksums = Vec::new();
    for (number, mode) in ["archive", "bare", "bare-user", "archive", "bare-user"].iter().enumerate() {
        let dir = disk.path().join(number.to_string());
        std::fs::create_dir(&dir).expect("a new directory");
        let repo = repository(&dir, mode, &root);
        checksums.push(commit(&repo, &names, |compose| match number {
            0 => compose,
            1 => compose.env("TZ", "Pacific/Chatham").arg("--jobs").arg("8"),
            2 => compose.under(["sh", "-c", "umask 0777; exec \"$@\"", "sh"]).arg("--jobs").arg("1"),
            3 => compose.env("NO_FAKE_STAT", "1").under(["faketime", "2040-02-29 12:00:00"]),
            _ => {
                Command::new("chown").args(["-R", "65534:65534"]).arg(&repo).run().expect_ok();
                compose.under(["setpriv"].iter().chain(&USER).copied())
            }
        }));
    }
    checksums.sort();
    checksums.dedup();
    assert_eq!(checksums.len(), 1, "{checksums:?}");
    // The date is the commit's own: another one is another commit of the same tree.
    let repo = repository(&disk.path().join("0"), "bare-user", &root);
    let dated = commit(&repo, &names, |compose| compose.under(["env", "SOURCE_DATE_EPOCH=1700000000"]));
    assert_ne!(dated, checksums[0]);
    let show = |repo: &Path, what: &str| {
        let repo = format!("--repo={}", repo.display());
        Command::new("ostree").arg(repo).args(["ls", "-dC", what, "/"]).run().expect_ok().stdout()
    };
    assert_eq!(show(&repo, "host"), show(&disk.path().join("0/archive"), "host"));
}
