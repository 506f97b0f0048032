//! The image of 800 MB into commits, into a root, and into a host of 1 GB, beside what users have today.

use sysctr_tests::{Command, fixture};

use crate::large::Scene;
use crate::rounds::{Bound, Bytes, Side, compare};
use crate::rows::{Row, Rows, Verdict};

/// Their side of the host of 1 GB takes minutes.
const MOST_ROUNDS: usize = 2;
/// The most memory of the process, with room for 400 bytes for each entry of the image above 100 000: it has none.
const MEMORY: Bytes = Bytes(128 << 20);

pub fn run(rounds: usize) -> Rows {
    let scene = Scene::new();
    let tars = scene.tars();
    let bytes: u64 = tars.iter().map(|path| std::fs::metadata(path).expect("a layer").len()).sum();
    let entries =
        Command::new("bash").args(["-c", r#"for tar; do tar -tf "$tar"; done | wc -l"#, "count"]).args(&tars);
    let entries = entries.run().expect_ok().stdout().trim().to_owned();
    println!("  {} MB unpacked, {entries} entries", bytes / 1_000_000);
    let bare = into_repo(&scene, "bare", rounds, Bound::WallAndCpu(0.5, 0.9));
    let archive = into_repo(&scene, "archive", rounds, Bound::Wall(0.35));
    bare.and(archive).and(grown(&scene))
}

/// Into a commit, beside `ostree commit --tree=tar` of the same layers.
fn into_repo(scene: &Scene, mode: &str, rounds: usize, bound: Bound) -> Rows {
    let seed = format!("seed-{mode}");
    let trees: String = scene.blobs().iter().map(|blob| format!(" --tree=tar={}", blob.display())).collect();
    let theirs = format!("ostree --repo=theirs-{mode} commit -b image --tar-autocreate-parents{trees}");
    let ours = format!("ours-{mode}");
    let again = || {
        scene.put_away(&format!("theirs-{mode}"));
        scene.shell(&format!("ostree init --repo=theirs-{mode} --mode={mode}"));
    };
    let title = format!("into a repository of mode {mode}");
    let (place, other) = (scene.at(&ours), scene.at(format!("theirs-{mode}")));
    let mut sides = vec![
        Side::new(
            "sysctr-compose --repo",
            place,
            || scene.renew(&seed, &ours),
            || scene.commit(&ours, "host", "5"),
        )
        .bound(Bound::Memory(MEMORY)),
        Side::new("ostree commit --tree=tar", other, again, || scene.script(&theirs)).bound(bound),
    ];
    if mode == "bare" {
        let (renew, commit) = (|| scene.renew(&seed, "zstd"), || scene.commit("zstd", "host", "5-zstd"));
        sides.push(Side::new("the same from zstd layers", scene.at("."), renew, commit));
        let (renew, commit) = (|| scene.renew(&seed, "forty"), || scene.commit("forty", "host", "40"));
        sides.push(Side::new("the same from 40 layers", scene.at("."), renew, commit));
    }
    compare(&title, rounds, sides)
}

/// How much the archive grew, beside what libostree writes for the same layers and beside what is new in it.
fn grown(scene: &Scene) -> Rows {
    let number = |script: &str| -> f64 {
        scene.script(script).run().expect_ok().stdout().trim().parse().expect("a number")
    };
    let objects = |repo: &str, without: &str| -> f64 {
        number(&format!(
            "join -v1 <(cd {repo}/objects && find -type f -printf '%P %s\\n' | sort) \
                      <(cd {without}/objects && find -type f -printf '%P\\n' | sort) \
             | awk '{{sum += $2}} END {{print sum}}'"
        ))
    };
    let all = |repo: &str| {
        number(&format!("find {repo} -type f -printf '%s\\n' | awk '{{sum += $1}} END {{print sum}}'"))
    };
    std::fs::create_dir_all(scene.at("nothing/objects")).expect("a new directory");
    let new = objects("ours-archive", "seed-archive");
    let beside = new / objects("theirs-archive", "nothing");
    // What the image's own files and names are: the rest of the commit is ours.
    let image = number(
        "join -j1 <(cd ours-archive/objects && find -type f -printf '%P %s\\n' | sort) \
                  <(cd theirs-archive/objects && find -type f -printf '%P\\n' | sort) \
         | awk '{sum += $2} END {print sum}'",
    );
    let grown = all("ours-archive") - all("seed-archive");
    println!(
        "  the archive grew by {:.1} MB: {:.1} MB in new objects, {:.1} MB of them the image's",
        grown / 1e6,
        new / 1e6,
        image / 1e6
    );
    let row = |work: &str, ratio: f64, most: f64| Row {
        work: work.to_owned(),
        found: format!("{ratio:.3} ×"),
        asked: format!("{most} ×"),
        verdict: Verdict::of(ratio <= most),
    };
    Rows::from(row("new objects of the archive, beside libostree's", beside, 1.03)).with(row(
        "growth of the archive, beside its new objects",
        grown / new,
        1.01,
    ))
}

/// Into a directory, beside `umoci unpack`, and beside what the machine needs at least.
pub fn into_root(rounds: usize) -> Rows {
    let scene = &Scene::new();
    let words = |paths: Vec<std::path::PathBuf>| -> String {
        paths.iter().map(|path| format!(" {}", path.display())).collect()
    };
    let umoci = format!("umoci unpack --image {}:5 unpacked", scene.layout().display());
    let gunzip = format!("gzip -dc{} >/dev/null", words(scene.blobs()));
    let digest = format!("sha256sum{} >/dev/null", words(scene.tars()));
    // The fastest that Debian has.
    let fastest_gunzip = format!("igzip -dc{} >/dev/null", words(scene.blobs()));
    let fastest_digest = format!("openssl dgst -sha256{} >/dev/null", words(scene.tars()));
    let files = format!("mkdir files; for tar in{}; do tar -xpf $tar -C files; done", words(scene.tars()));
    let fresh = |name: &'static str| move || scene.put_away(name);
    compare(
        "into a root directory, and what the machine alone takes",
        rounds,
        vec![
            Side::new(
                "sysctr-compose --sysroot",
                scene.at("."),
                || scene.renew_root(),
                || scene.compose("5", &["--sysroot", "root"]),
            )
            .bound(Bound::Memory(MEMORY)),
            Side::new("umoci unpack", scene.at("."), fresh("unpacked"), || scene.script(&umoci))
                .bound(Bound::Wall(0.4)),
            Side::new("gzip -d of the layers", scene.at("."), || {}, || scene.script(&gunzip)),
            Side::new("igzip -d of the layers", scene.at("."), || {}, || scene.script(&fastest_gunzip)),
            Side::new("sha256sum of the layers", scene.at("."), || {}, || scene.script(&digest)),
            Side::new("openssl sha256 of the layers", scene.at("."), || {}, || scene.script(&fastest_digest)),
            Side::new("tar -x of the unpacked layers", scene.at("."), fresh("files"), || {
                scene.script(&files)
            }),
        ],
    )
}

/// All of it as users do it today: the image unpacked into the tree of a host of 1 GB, and all committed.
pub fn whole(rounds: usize) -> Rows {
    let scene = &Scene::new();
    let big = fixture::directory("ostree-big");
    let many = fixture::directory("many").join("oci");
    let place = "usr/lib/containers/atomic";
    scene.shell(&format!(
        "ostree --repo={big}/repo checkout -U big big; umoci unpack --image {many}:1 many; \
         mkdir -p big/usr/share; mv many/rootfs big/usr/share/many; rm -rf big/usr/share/many/dev; \
         ostree init --repo=seed-big --mode=archive; ostree --repo=seed-big commit -b host --tree=dir=big; \
         du -sm --apparent-size big >size",
        big = big.display(),
        many = many.display(),
    ));
    let size = std::fs::read_to_string(scene.at("size")).expect("du told it");
    println!("  a host of {} MiB", size.split_whitespace().next().expect("a number"));
    let unpack_and_commit = format!(
        "umoci unpack --image {}:5 bundle; mkdir -p tree/{place}; mv bundle tree/{place}/large; \
         ostree --repo=theirs commit -b out --tree=dir=tree",
        scene.layout().display()
    );
    let again = || {
        scene.put_away("bundle");
        scene.renew("big", "tree");
        scene.renew("seed-big", "theirs");
    };
    compare(
        "image and host of 1 GB into an archive",
        rounds.min(MOST_ROUNDS),
        vec![
            Side::new(
                "sysctr-compose --repo",
                scene.at("."),
                || scene.renew("seed-big", "ours"),
                || scene.commit("ours", "host", "5"),
            ),
            Side::new("umoci unpack; ostree commit", scene.at("."), again, || {
                scene.script(&unpack_and_commit)
            })
            .bound(Bound::Wall(0.18)),
        ],
    )
}
