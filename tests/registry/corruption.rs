//! Random changes of cache and lock, a thousand in the long form: each is found, and nothing of it is composed.

use sysctr_tests::{Root, crafted};

use super::*;

#[test]
fn every_corruption_is_found() {
    let site = Site::new("group = 'g'\n[[container]]\nname = 'it'\nimage = 'oci:layout'\n");
    crafted::write(&image(&[1, 2], 500).layout(), &site.path("layout"));
    site.fetch(&[]).expect_ok();
    let count = if sysctr_tests::soak() { "1000" } else { "250" };
    let root = Root::small_in_memory();
    let seed = sysctr_tests::number("SYSCTR_SEED").unwrap_or_else(|| std::process::id().into()).to_string();
    println!("SYSCTR_SEED={seed}");
    let driver =
        Command::new(env!("CARGO_BIN_EXE_corruption-driver")).arg(root.path()).arg(Program::Launcher.path());
    let driver = driver.args([count, &seed]).in_dir(site.work.path()).env("SYSCTR_CACHE", site.path("cache"));
    let told = driver.run().expect_ok().stdout();
    assert_eq!(told.lines().last(), Some(&*format!("{count} changes, {count} found")), "{told}");
    assert!(!root.join("usr/lib/containers").exists(), "something was composed");
    // Unharmed again, it is composed.
    site.compose(None, &root, &["--locked"]).run().expect_ok();
}
