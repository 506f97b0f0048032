//! `sysctr`: the program, and the note in its file.

mod note;

fn main() -> std::process::ExitCode {
    sysctr_host::main()
}
