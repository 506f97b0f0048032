//! Running a program and saying what is expected of it.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};

/// A program about to run, with a clean standard input.
#[derive(Debug)]
pub struct Command {
    words: Vec<OsString>,
    directory: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    input: Vec<u8>,
    replacements: Vec<(String, &'static str)>,
}

impl Command {
    /// `program` as found in PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let words = vec![program.as_ref().to_owned()];
        Self { words, directory: None, env: Vec::new(), input: Vec::new(), replacements: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.words.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// In this directory.
    #[must_use]
    pub fn in_dir(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// With a variable set.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// With this standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// In texts that are compared or shown, `path` is written as `name`: `ROOT`, `WORK`.
    #[must_use]
    pub fn call(mut self, path: &Path, name: &'static str) -> Self {
        self.replacements.push((path.to_string_lossy().into_owned(), name));
        self
    }

    /// The same, run by a wrapper such as `["faketime", "2001-01-01"]`.
    #[must_use]
    pub fn under<T: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = T>) -> Self {
        self.words.splice(0..0, wrapper.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it can't be started; the message tells what to install.
    pub fn run(self) -> Output {
        self.start().end()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it can't be started; the message tells what to install.
    pub fn start(self) -> Running {
        let mut command = process::Command::new(&self.words[0]);
        command.args(&self.words[1..]).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("starting {:?}: {error}; `make setup` installs what tests need", self.words[0])
        });
        if let Some(mut input) = child.stdin.take() {
            let bytes = self.input.clone();
            // A program that stops reading early says itself what is wrong.
            std::thread::spawn(move || input.write_all(&bytes).ok());
        }
        let line = self.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        Running { child, line, replacements: self.replacements }
    }
}

/// A program that was started. Its output is read when it is waited for, so it should have little to say.
#[derive(Debug)]
pub struct Running {
    child: process::Child,
    line: String,
    replacements: Vec<(String, &'static str)>,
}

impl Running {
    /// Sends it a signal, unless it has ended.
    ///
    /// # Panics
    /// When that is refused.
    pub fn signal(&mut self, signal: rustix::process::Signal) {
        if !self.has_ended() {
            let pid = rustix::process::Pid::from_child(&self.child);
            rustix::process::kill_process(pid, signal)
                .expect("a child that nobody waited for can be signalled");
        }
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a started program can be waited for").is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When its output can't be read.
    pub fn end(self) -> Output {
        let output = self.child.wait_with_output().expect("a started program can be waited for");
        Output {
            line: self.line,
            status: output.status,
            stdout: output.stdout,
            stderr: output.stderr,
            replacements: self.replacements,
        }
    }
}

/// What a program did.
#[derive(Debug)]
pub struct Output {
    line: String,
    status: process::ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    replacements: Vec<(String, &'static str)>,
}

impl Output {
    /// Its exit code; a signal's is 128 + its number, as in a shell.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Its standard output as bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.stdout
    }

    /// Its standard output.
    pub fn stdout(&self) -> String {
        self.name(&self.stdout)
    }

    /// Its standard error.
    pub fn stderr(&self) -> String {
        self.name(&self.stderr)
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error} in\n{}", self.story()))
    }

    fn name(&self, bytes: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for (path, name) in &self.replacements {
            text = text.replace(path, name);
        }
        text
    }

    /// Everything about it, for a message.
    pub fn story(&self) -> String {
        let mut text = format!("$ {}\nexit code {}\n", self.name(self.line.as_bytes()), self.code());
        for (name, content) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            if !content.is_empty() {
                writeln!(text, "--- {name}\n{}", content.trim_end()).unwrap_or_default();
            }
        }
        text
    }

    /// It must have exited with 0.
    ///
    /// # Panics
    /// With its story when it did not.
    #[track_caller]
    pub fn expect_ok(self) -> Self {
        self.expect_code(0)
    }

    /// It must have exited with `code`.
    ///
    /// # Panics
    /// With its story when it did not.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(self.code() == code, "expected exit code {code}:\n{}", self.story());
        self
    }

    /// It must have exited with 1 and said exactly `message` on standard error, one line, nothing on standard output.
    ///
    /// # Panics
    /// With its story when it did not.
    #[track_caller]
    pub fn expect_error(self, message: &str) -> Self {
        self.expect_failure(1, message)
    }

    /// The same with exit code 2: not understood.
    ///
    /// # Panics
    /// With its story when it did not.
    #[track_caller]
    pub fn expect_misunderstood(self, message: &str) -> Self {
        self.expect_failure(2, message)
    }

    #[track_caller]
    fn expect_failure(self, code: i32, message: &str) -> Self {
        let said = self.stderr();
        let said = said.trim_end();
        let said = said.strip_prefix("sysctr-compose: ").unwrap_or(said);
        let said = said.strip_prefix("error: ").unwrap_or(said);
        let right = self.code() == code && said == message && self.stdout.is_empty();
        assert!(right, "expected exit code {code} and\n{message}\nbut:\n{}", self.story());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_by_its_code_and_words() {
        let output = Command::new("sh").args(["-c", "cat; echo no >&2; exit 3"]).input("in").run();
        let output = output.expect_code(3);
        assert_eq!((output.stdout().as_str(), output.stderr().as_str()), ("in", "no\n"));
        assert_eq!(Command::new("sh").args(["-c", "kill -9 $$"]).run().code(), 137);
    }

    #[test]
    fn a_running_program_takes_signals() {
        let mut running = Command::new("sleep").arg("60").start();
        assert!(!running.has_ended());
        running.signal(rustix::process::Signal::TERM);
        assert_eq!(running.end().code(), 128 + 15);
    }

    #[test]
    #[should_panic(expected = "make setup")]
    fn a_missing_program_names_the_way_out() {
        Command::new("no-such-program-anywhere").run();
    }

    #[test]
    fn paths_of_the_machine_have_names() {
        let output = Command::new("echo").arg("/some/where/x").call(Path::new("/some/where"), "ROOT").run();
        assert_eq!(output.stdout(), "ROOT/x\n");
    }
}
