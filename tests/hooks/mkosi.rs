//! mkosi's postinst: mkosi itself runs it.

use std::fs;

use sysctr_tests::{Command, fixture, scratch};

use crate::{expect_composed, expect_runs, path, unpack, workshop};

#[test]
fn a_postinst_script_embeds_and_presets_agree() {
    let work = workshop(&["mkosi/mkosi.conf", "mkosi/mkosi.postinst"]);
    let base = work.path().join("base");
    unpack(&fixture::directory("root").join("root.tar.zst"), &base);
    // mkosi copies what devices contain.
    fs::remove_dir_all(base.join("dev")).expect("a step of the test");
    fs::create_dir(base.join("dev")).expect("a step of the test");
    let mkosi = fixture::directory("mkosi").join("usr");
    // mkosi wants these outside its sources.
    let own = scratch();
    let command = Command::new("/usr/bin/python3").args(["-m", "mkosi", "--extra-search-path", "bin"]);
    let command = ["workspace-directory", "cache-directory", "package-cache-dir"].into_iter().fold(
        command,
        |command, name| {
            let directory = own.path().join(name);
            fs::create_dir(&directory).expect("a step of the test");
            command.arg(format!("--{name}")).arg(directory)
        },
    );
    let command = command.arg("build").in_dir(work.path());
    let command = command.env("PYTHONPATH", mkosi.join("lib/python3/dist-packages"));
    let programs = format!("{}:{}", mkosi.join("bin").display(), path(&work));
    let built = command.env("PATH", programs).under(["timeout", "-k", "5", "120"]).run().expect_ok();
    assert!(built.story().contains("mkosi.postinst"), "{}", built.story());
    let root = work.path().join("host");
    expect_composed(&root);
    expect_runs(&root);
    // mkosi sets all units by their presets; the one that is not enabled must not be.
    let linked = |name: &str| {
        let links =
            ["etc", "usr/lib"].map(|top| root.join(top).join("systemd/system/multi-user.target.wants"));
        links.iter().any(|dir| dir.join(name).is_symlink())
    };
    assert!(linked("hello.service") && !linked("tools.service"));
}
