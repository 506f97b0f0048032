//! Man pages, completions, and the files that `make install` puts beside the programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command as Definition;
use sysctr_tests::{Command, Output, Program, Root, manual, scratch, source_dir};

fn files_below(dir: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path))
        } else {
            files.extend([path])
        };
    }
    files
}

#[test]
fn what_lies_in_docs_is_what_the_definitions_make() {
    let docs = source_dir().join("docs");
    let made = manual::documents();
    for (path, text) in &made {
        let there = fs::read(docs.join(path)).unwrap_or_default();
        assert!(there == *text, "docs/{} is stale: make manual", path.display());
    }
    let there: BTreeSet<_> =
        ["man", "completions"].iter().flat_map(|dir| files_below(&docs.join(dir))).collect();
    assert_eq!(there, made.keys().map(|path| docs.join(path)).collect());
}

/// Of each verb, the program's own included: the words that lead to it, and its options.
fn verbs(program: &Definition) -> Vec<(Vec<String>, Vec<String>)> {
    let mut all = Vec::new();
    let mut left = vec![(vec![program.get_name().to_owned()], program)];
    while let Some((words, definition)) = left.pop() {
        let options = definition.get_arguments().filter(|argument| !argument.is_hide_set());
        let options = options.filter_map(|argument| argument.get_long().map(|long| format!("--{long}")));
        all.push((words.clone(), options.collect()));
        for verb in definition.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let words = words.iter().cloned().chain([verb.get_name().to_owned()]).collect();
            left.push((words, verb));
        }
    }
    all
}

#[test]
fn every_verb_and_option_is_in_page_and_completions() {
    let docs = source_dir().join("docs");
    let read = |path: PathBuf| {
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for program in manual::programs() {
        let name = program.get_name().to_owned();
        let all = verbs(&program);
        assert!(all.len() > 5 && all.iter().map(|(_, options)| options.len()).sum::<usize>() > 20, "{all:?}");
        let completions = manual::shells(&name).map(|(_, path)| read(docs.join("completions").join(path)));
        for (words, options) in &all {
            let page = read(docs.join("man").join(format!("{}.1", words.join("-"))));
            for option in options {
                let escaped = option.replace('-', "\\-");
                assert!(page.contains(&escaped), "{option} is not in {}.1", words.join("-"));
                // fish has options by their long name.
                for (text, spelled) in
                    completions.iter().zip([&**option, &**option, option.trim_start_matches('-')])
                {
                    assert!(text.contains(spelled), "{option} of {words:?} is not in the completions");
                }
            }
            for word in &words[1..] {
                assert!(
                    completions.iter().all(|text| text.contains(word)),
                    "{word} is not in the completions"
                );
            }
        }
    }
}

/// What bash offers for a line, its last word being completed.
fn offered(line: &str) -> BTreeSet<String> {
    let script = r#"
        words=($1); [ "${1% }" = "$1" ] || words+=("")
        source "$2/docs/completions/bash/${words[0]}"
        COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1)) COMPREPLY=()
        function=$(complete -p "${words[0]}" | sed 's/.* -F \([^ ]*\) .*/\1/')
        "$function" "${words[0]}" "${words[-1]}" "${words[-2]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let bash = Command::new("bash").args(["-euc", script, "complete", line]).arg(source_dir());
    bash.run().expect_ok().stdout().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_options_and_values() {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(offered("sysctr verify --re"), set(&["--repair"]));
    assert_eq!(offered("sysctr status --format "), set(&["text", "json"]));
    assert_eq!(offered("sysctr unh"), set(&["unhold"]));
    assert_eq!(offered("sysctr-compose li"), set(&["lint", "list"]));
    assert!(offered("sysctr-compose plan --sys").contains("--sysroot"));
}

/// A root with the files and the programs under test, as `make install` leaves them.
fn installed() -> Root {
    let root = Root::debian();
    let install = Command::new("make").args(["-C".as_ref(), source_dir().as_os_str()]);
    install.arg("install-files").arg(format!("DESTDIR={}", root.path().display())).run().expect_ok();
    fs::copy(Program::Launcher.path(), root.join("usr/bin/sysctr")).expect("the program was built");
    root
}

fn in_root(root: &Root, program: &str, arguments: &[&str]) -> Output {
    Command::new(program).arg(format!("--root={}", root.path().display())).args(arguments).run()
}

#[test]
fn units_and_lines_are_right_and_updates_are_off() {
    let root = installed();
    for path in [
        "usr/share/man/man1/sysctr.1",
        "usr/share/man/man1/sysctr-verify.1",
        "usr/share/man/man1/sysctr-compose-plan.1",
        "usr/share/bash-completion/completions/sysctr",
        "usr/share/zsh/site-functions/_sysctr-compose",
        "usr/share/fish/vendor_completions.d/sysctr.fish",
        "usr/share/doc/sysctr/updates.md",
    ] {
        assert!(root.join(path).is_file(), "{path}");
    }
    let verify =
        ["verify", "--man=no", "--recursive-errors=no", "sysctr-update.service", "sysctr-update.timer"];
    let verdict = in_root(&root, "systemd-analyze", &verify).expect_ok();
    assert_eq!((verdict.stdout(), verdict.stderr()), (String::new(), String::new()));
    in_root(&root, "systemctl", &["preset", "sysctr-update.timer"]).expect_ok();
    let enabled = in_root(&root, "systemctl", &["is-enabled", "sysctr-update.timer"]);
    assert_eq!((enabled.code(), enabled.stdout().trim()), (1, "disabled"), "{}", enabled.story());
    in_root(&root, "systemctl", &["enable", "sysctr-update.timer"]).expect_ok();
    assert!(root.join("etc/systemd/system/timers.target.wants/sysctr-update.timer").is_symlink());
    let made = in_root(&root, "systemd-tmpfiles", &["--create", "sysctr.conf"]).expect_ok();
    assert_eq!(made.stderr(), "", "{}", made.story());
    // Whose label no policy knows: the first start makes it.
    assert!(!root.join("run/sysctr").exists());
    for (path, mode) in [("var/lib/sysctr", 0o755), ("var/lib/containers/atomic", 0o755)] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777, mode, "{path}");
    }
}

#[test]
fn pages_are_read_by_groff_without_a_complaint() {
    let work = scratch();
    for page in files_below(&source_dir().join("docs/man")) {
        let groff = Command::new("groff")
            .args(["-K", "utf8", "-man", "-Tutf8", "-ww", "-z"])
            .arg(&page)
            .in_dir(work.path());
        let output = groff.run().expect_ok();
        assert_eq!(output.stderr(), "", "{}", page.display());
    }
}
