//! `user.component`, by which rpm-ostree and chunkah cut a tree into layers: from a directory it holds for all that is in it.

use std::process::Command;

use sysctr_tests::Program;

use crate::bench::Bench;
use crate::{assert_clean, done, ostree, printed};

const TWINS: &str = "group = 'twins'\n\
    [[container]]\nname = 'one'\nimage = 'oci:images/exporter'\n\
    [container.unit]\nreplace = true\n";

#[test]
fn only_the_directory_of_a_bundle_tells_whose_it_is() {
    let bench = Bench::new();
    let repo = bench.repo("archive");
    let twin = "[[container]]\nname = 'twin'\nimage = 'oci:images/one'\n[[container]]\nname = 'other'\nimage = 'oci:images/one'\n";
    bench.manifest("twins", &format!("{TWINS}{twin}"));
    bench.compose(&repo, "base", "twins", &[]).ok();
    let list = |options: &str, path: &str| {
        printed(&mut ostree(
            repo.as_std_path(),
            &["ls", options, "host", &format!("/usr/lib/containers/atomic/{path}")],
        ))
    };
    for name in ["one", "twin", "other"] {
        let value: Vec<_> = format!("sysctr-{name}").bytes().map(|byte| format!("0x{byte:02x}")).collect();
        let expected = format!("[(b'user.component', [byte {}])]", value.join(", "));
        assert!(list("-dX", name).contains(&expected), "{}", list("-dX", name));
        assert_eq!(list("-RX", name).matches("user.component").count(), 1, "{name}");
    }
    // The same image twice is the same objects, the root's own directory among them.
    let objects = |name: &str| -> Vec<String> {
        let listed = list("-RC", &format!("{name}/rootfs"));
        listed.lines().map(|line| line.split(" /usr").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(objects("twin"), objects("other"));
    assert_clean(&repo);
}

#[test]
fn verify_tells_another_containers_value_and_bears_none() {
    let bench = Bench::new();
    let copy = bench.path().join("copy");
    done(Command::new("cp").args(["-a", "--no-target-directory"]).arg(bench.root()).arg(&copy));
    let (copy, launcher) = (copy.to_str().unwrap(), Program::Launcher.path());
    bench.manifest("twins", TWINS);
    let target = ["--sysroot", copy, "-m", "twins.toml", "--add-launcher", launcher.to_str().unwrap()];
    bench.run(&target).ok();
    let bundle = format!("{copy}/usr/lib/containers/atomic/one");
    let value = printed(Command::new("getfattr").args(["--only-values", "-n", "user.component", &bundle]));
    assert_eq!(value, "sysctr-one");
    let verify = || bench.run(&["verify", "--sysroot", copy]);
    done(Command::new("setfattr").args(["-n", "user.component", "-v", "sysctr-two", &bundle]));
    let told = verify();
    let line = "error: one: /usr/lib/containers/atomic/one: user.component is not sysctr-one";
    assert!(told.code == 1 && told.stdout.contains(line), "{}", told.stdout);
    done(Command::new("setfattr").args(["-x", "user.component", &bundle]));
    assert_eq!(verify().ok().stdout, "1 containers checked: nothing found\n");
}
