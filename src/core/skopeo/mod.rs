//! Running skopeo: bounded in time, stopped with us, its errors in one line.

pub mod signatures;
mod terminal;
mod words;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use camino::Utf8Path;

use terminal::Terminal;

use crate::interrupt::Interrupt;

pub use terminal::Mark;
pub use words::Failure;

/// How often a running skopeo is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Most bytes of what it prints; documents of images are bounded likewise.
const MOST_OUTPUT: u64 = 8 << 20;
/// Pauses between tries double up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long and how often something is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For one try.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: u32,
}

/// One command line.
#[derive(Debug, Default)]
pub struct Call {
    words: Vec<OsString>,
}

impl Call {
    /// More words.
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// A word and its value, if there is one.
    #[must_use]
    pub fn with(self, word: &str, value: Option<impl Into<OsString>>) -> Self {
        match value {
            Some(value) => self.args([OsString::from(word), value.into()]),
            None => self,
        }
    }
}

/// Whose configuration skopeo sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// Nobody's: no policy, key or registry of the user's home has a say.
    Empty,
    /// The user's own, because the images lie there (containers-storage).
    Users,
}

/// Who hears how far a copy is.
#[derive(Clone, Copy)]
pub enum Ear<'a> {
    /// Nobody.
    Nobody,
    /// Called again and again while it runs, with what was told since the last time.
    Marks(&'a dyn Fn(&[Mark])),
}

/// Runs calls.
pub struct Skopeo<'a> {
    /// The directory that relative paths in sources and policies are relative to.
    pub base: &'a Utf8Path,
    /// Bounds.
    pub patience: Patience,
    /// The user's wish to stop.
    pub interrupt: &'a Interrupt,
}

impl Skopeo<'_> {
    /// Runs a call to its end, again after failures that may pass; gives its standard output, which is empty where an ear hears
    /// how far it is. `scratch` is a directory for what it prints; its `home` is skopeo's.
    ///
    /// # Errors
    /// A `Failure` with the reason in one line when skopeo fails; another error when it can't be run or the user
    /// interrupts.
    pub fn run(&self, call: &Call, home: Home, scratch: &Utf8Path, ear: Ear<'_>) -> Result<Vec<u8>> {
        let mut pause = Duration::from_secs(1);
        let mut left = self.patience.retries;
        loop {
            match self.once(call, home, scratch, ear)? {
                Ok(output) => return Ok(output),
                Err(failure) if left == 0 || !failure.may_pass() => return Err(failure.into()),
                Err(_) => self.sleep(pause)?,
            }
            left -= 1;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn once(
        &self,
        call: &Call,
        home: Home,
        scratch: &Utf8Path,
        ear: Ear<'_>,
    ) -> Result<Result<Vec<u8>, Failure>> {
        let (mut stdout, mut stderr) = (output_file(scratch, "stdout")?, output_file(scratch, "stderr")?);
        let mut command = Command::new("skopeo");
        command.args(&call.words).current_dir(self.base).env("TMPDIR", scratch.join("home").as_str());
        if home == Home::Empty {
            command.env("HOME", scratch.join("home").as_str());
            command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_RUNTIME_DIR");
        }
        command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let mut terminal = None;
        if let Ear::Marks(_) = ear {
            let (ours, theirs) = Terminal::open()?;
            command.stdout(theirs);
            terminal = Some(ours);
        }
        let mut listen = || {
            if let (Ear::Marks(hear), Some(terminal)) = (ear, &mut terminal) {
                hear(&terminal.read());
            }
        };
        let mut child = command
            .spawn()
            .context("running skopeo, which reads this kind of image; install the package skopeo")?;
        let Some(status) = self.wait(&mut child, &mut listen)? else {
            return Ok(Err(Failure::slow(self.patience.timeout)));
        };
        if status.success() {
            return Ok(Ok(read(&mut stdout)?));
        }
        Ok(Err(words::told(&String::from_utf8_lossy(&read(&mut stderr)?))))
    }

    /// `None`: it took too long and was ended.
    fn wait(&self, child: &mut Child, listen: &mut dyn FnMut()) -> Result<Option<ExitStatus>> {
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().context("waiting for skopeo")? {
                return Ok(Some(status));
            }
            let late = begun.elapsed() >= self.patience.timeout;
            let stopped = self.interrupt.check();
            if late || stopped.is_err() {
                child.kill().and_then(|()| child.wait()).context("ending skopeo")?;
                stopped?;
                return Ok(None);
            }
            listen();
            std::thread::sleep(LOOK);
        }
    }

    fn sleep(&self, pause: Duration) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < pause {
            self.interrupt.check()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

fn output_file(scratch: &Utf8Path, name: &str) -> Result<File> {
    let path = scratch.join(name);
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
    file.with_context(|| format!("making {path}"))
}

fn read(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).context("reading what skopeo prints")?;
    file.take(MOST_OUTPUT).read_to_end(&mut bytes).context("reading what skopeo prints")?;
    Ok(bytes)
}
