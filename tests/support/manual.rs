//! Man pages and shell completions, made from the definitions of both command lines. They lie in docs/, so that `make install` needs no
//! further program; a test tells when they are stale.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

/// Both programs.
pub fn programs() -> [Command; 2] {
    [sysctr_host::cli::Cli::command(), sysctr_compose::cli::Cli::command()]
}

/// The shells, and where each finds the completions of a program, relative to `completions/`.
pub fn shells(program: &str) -> [(Shell, PathBuf); 3] {
    [
        (Shell::Bash, format!("bash/{program}").into()),
        (Shell::Zsh, format!("zsh/_{program}").into()),
        (Shell::Fish, format!("fish/{program}.fish").into()),
    ]
}

/// All of them, by their path below docs/.
///
/// # Panics
/// When one can't be made.
pub fn documents() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut documents = BTreeMap::new();
    for program in programs() {
        let pages = tempfile::tempdir().expect("a temporary directory");
        clap_mangen::generate_to(program.clone(), pages.path()).expect("pages can be written");
        for page in std::fs::read_dir(pages.path()).expect("pages") {
            let page = page.expect("a page");
            let text = std::fs::read(page.path()).expect("a page");
            documents.insert(PathBuf::from("man").join(page.file_name()), text);
        }
        let name = program.get_name().to_owned();
        for (shell, path) in shells(&name) {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut program.clone(), &name, &mut text);
            if shell == Shell::Bash {
                text = hyphens_agree(&name, text);
            }
            documents.insert(PathBuf::from("completions").join(path), text);
        }
    }
    documents
}

/// What a line led to and what is offered there are spelled in two ways for a program with a hyphen in its name (clap #6421), so that nothing is
/// offered after a verb.
fn hyphens_agree(program: &str, script: Vec<u8>) -> Vec<u8> {
    let script = String::from_utf8(script).expect("a script is UTF-8");
    script.replace(&program.replace('-', "__subcmd__"), &program.replace('-', "__")).into_bytes()
}
