//! The commands of docs/ci.md, as they stand there.

use sysctr_tests::{Root, source_dir};

use super::*;

#[test]
fn the_commands_of_the_document_do_what_it_says() {
    let document = std::fs::read_to_string(source_dir().join("docs/ci.md")).unwrap();
    let block = |kind: &str| -> Vec<String> {
        let fence = format!("```{kind}\n");
        let parts = document.split(&fence).skip(1);
        parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
    };
    let (manifests, commands) = (block("toml"), block("sh"));
    assert_eq!(commands.len(), 6, "a command was added to docs/ci.md: run it here");
    let server = Server::plain();
    server.push(&image(&[1, 2], 1000), "web:1");
    let root = Root::small();
    let site = Site::new(&manifests[0]);
    // The document's registry is this one.
    let mirror = |port: u16| {
        site.file("registries.conf", format!("[[registry]]\nlocation = 'registry.example'\n[[registry.mirror]]\nlocation = '127.0.0.1:{}'\ninsecure = true\n", port))
    };
    mirror(server.port);
    std::os::unix::fs::symlink(root.path(), site.path("root")).unwrap();
    std::fs::copy(Program::Launcher.path(), site.path("sysctr")).unwrap();
    std::fs::create_dir(site.path("bin")).unwrap();
    std::os::unix::fs::symlink(Program::Composer.path(), site.path("bin/sysctr-compose")).unwrap();
    let path = format!("{}:{}", site.path("bin").display(), std::env::var("PATH").unwrap());
    let run = |script: &str, wrapper: &[&str]| {
        let bash = Command::new("bash").args(["-euo", "pipefail", "-c", script]).in_dir(site.work.path());
        let bash =
            bash.env("PATH", &path).env("SYSCTR_CACHE", site.path("first")).env("HOME", site.path("home"));
        bash.under(wrapper).run().expect_ok().stdout()
    };
    assert!(run(&commands[0], &[]).starts_with("added   web (amd64) docker://registry.example/web:1\n"));
    let key = run(&commands[1], &[]);
    assert_eq!(key, run(&commands[1], &[]));
    assert!(run(&commands[2], &[]).ends_with("sysctr.lock unchanged\n"));
    site.sound();
    drop(server);
    let composed = run(&commands[3], &["unshare", "-n"]);
    assert!(
        composed.contains("planned only: nothing was written\n") && composed.contains("added   web (web)")
    );
    let server = Server::plain();
    let moved = image(&[1, 3], 1000);
    server.push(&moved, "web:1");
    mirror(server.port);
    let before = site.lock();
    let told = run(&commands[4], &[]);
    assert!(
        told.starts_with("changed web (amd64)") && told.contains(&format!("→ {}", manifest_digest(&moved))),
        "{told}"
    );
    let (before, after) = (before, site.lock());
    let gone: Vec<_> = before.lines().filter(|line| !after.contains(*line)).collect();
    // from, manifest, config, one layer, seal.
    assert_eq!(gone.len(), 5, "{gone:?}");
    assert_ne!(run(&commands[1], &[]), key);
    site.file("auth.json", r#"{"auths": {}}"#);
    let inspected = run(&commands[5], &[]);
    let about = format!(
        "docker://registry.example/web:1 for amd64, configuration {}\n",
        digest(&moved.config_bytes())
    );
    assert_eq!(inspected.matches(&about).count(), 2, "{inspected}");
}
