//! The same image composed again: nothing changed, the host changed, one layer changed.

use crate::large::Scene;
use crate::rounds::{Bound, Side, compare};
use crate::rows::Rows;

pub fn run(rounds: usize) -> Rows {
    let scene = Scene::new();
    // The next night's host.
    scene.shell("echo next >host/usr/share/next");
    for mode in ["bare", "archive"] {
        let seed = format!("seed-{mode}");
        scene.shell(&format!("ostree --repo={seed} commit -b next --tree=dir=host"));
        scene.renew(&seed, &format!("done-{mode}"));
        scene.commit(&format!("done-{mode}"), "host", "5").run().expect_ok();
    }
    let mut rows = in_a_root(&scene, rounds);
    for mode in ["bare", "archive"] {
        rows = rows.and(in_a_repo(&scene, mode, rounds));
    }
    rows
}

fn in_a_root(scene: &Scene, rounds: usize) -> Rows {
    scene.renew_root();
    let compose = || scene.compose("5", &["--sysroot", "root"]);
    compose().run().expect_ok();
    let side =
        Side::new("sysctr-compose --sysroot", scene.at("."), || {}, compose).bound(Bound::Seconds(0.3));
    compare("nothing changed, in a root", rounds, vec![side])
}

fn in_a_repo(scene: &Scene, mode: &str, rounds: usize) -> Rows {
    let done = format!("done-{mode}");
    let ours = format!("ours-{mode}");
    let same = Side::new("the same again", scene.at("."), || {}, || scene.commit(&done, "host", "5"));
    let nothing =
        compare(&format!("nothing changed, mode {mode}"), rounds, vec![same.bound(Bound::Seconds(0.3))]);
    let next = Side::new(
        "a new host, the same image",
        scene.at("."),
        || scene.renew(&done, &ours),
        || scene.commit(&ours, "next", "5"),
    );
    let host = compare(&format!("a new host, mode {mode}"), rounds, vec![next.bound(Bound::Seconds(1.0))]);
    let (seed, fresh) = (format!("seed-{mode}"), format!("fresh-{mode}"));
    let layer = compare(
        &format!("one small layer of five changed, mode {mode}"),
        rounds,
        vec![
            Side::new(
                "after the same image",
                scene.at("."),
                || scene.renew(&done, &ours),
                || scene.commit(&ours, "host", "5-next"),
            ),
            Side::new(
                "from nothing",
                scene.at("."),
                || scene.renew(&seed, &fresh),
                || scene.commit(&fresh, "host", "5-next"),
            )
            .bound(Bound::Wall(0.1)),
        ],
    );
    nothing.and(host).and(layer)
}
