//! Running `sysctr-compose` as a user would: from a directory with a manifest `containers.toml` and images below `images/`.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command::{Command, Output};
use crate::fixture::{Image, Root};
use crate::{dist_dir, scratch};

/// A program under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `sysctr-compose`.
    Composer,
    /// `sysctr`.
    Launcher,
}

impl Program {
    /// Where it lies.
    ///
    /// # Panics
    /// When it was not built.
    pub fn path(self) -> PathBuf {
        let path = dist_dir().join(match self {
            Self::Composer => "sysctr-compose",
            Self::Launcher => "sysctr",
        });
        assert!(path.is_file(), "there is no {}; `make build` makes it", path.display());
        path
    }
}

/// A `sysctr-compose` command line in the making. It can be run any number of times.
#[derive(Debug)]
pub struct Compose {
    work: TempDir,
    /// The root directory, or the repository.
    root: PathBuf,
    /// For a repository: base and ref.
    commit: Option<[String; 2]>,
    verb: Option<&'static str>,
    manifest: bool,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    wrapper: Vec<OsString>,
}

impl Compose {
    /// Into this root.
    pub fn into(root: &Root) -> Self {
        Self::into_dir(&root.path())
    }

    /// Into this directory.
    pub fn into_dir(root: &Path) -> Self {
        Self {
            work: scratch(),
            root: root.to_owned(),
            commit: None,
            verb: None,
            manifest: false,
            args: Vec::new(),
            env: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// Into a commit made from `base`, which `reference` will name; `list`, `verify` and `remove` know no base.
    pub fn into_commit(repo: &Path, base: &str, reference: &str) -> Self {
        Self { commit: Some([base, reference].map(str::to_owned)), ..Self::into_dir(repo) }
    }

    /// A verb: `plan`, `list`, `verify`, `remove`.
    #[must_use]
    pub fn verb(mut self, verb: &'static str) -> Self {
        self.verb = Some(verb);
        self
    }

    /// With this text as its manifest, in place of an earlier one.
    #[must_use]
    pub fn manifest(mut self, text: impl AsRef<str>) -> Self {
        self.manifest = true;
        self.file("containers.toml", text.as_ref())
    }

    /// With a manifest of the source tree's `manifests/`, and what lies beside it.
    #[must_use]
    pub fn example(mut self, name: &str) -> Self {
        let examples = crate::source_dir().join("manifests");
        for entry in std::fs::read_dir(&examples).expect("manifests/ is there") {
            let path = entry.expect("an entry of manifests/").path();
            if path.is_file() {
                let copy = self.work.path().join(path.file_name().expect("a file has a name"));
                std::fs::copy(&path, copy).expect("an example can be copied");
            }
        }
        let text = std::fs::read_to_string(examples.join(name)).expect("an example of manifests/");
        self.manifest = true;
        self.file("containers.toml", &text)
    }

    /// With a file beside the manifest.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.work.path().join(name), text).expect("a file in a scratch directory");
        self
    }

    /// With an image below `images/`, under the name of its fixture ([`Image::in_manifest`]).
    #[must_use]
    pub fn with(self, image: &Image) -> Self {
        let images = self.work.path().join("images");
        std::fs::create_dir_all(&images).expect("a directory in a scratch directory");
        let link = images.join(image.fixture());
        if !link.exists() {
            symlink(image.directory(), link).expect("a link in a scratch directory");
        }
        self
    }

    /// With `--add-launcher` and the launcher that was built.
    #[must_use]
    pub fn add_launcher(self) -> Self {
        self.arg("--add-launcher").arg(Program::Launcher.path())
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// With a variable set.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Run by a wrapper such as `["faketime", "2001-01-01"]`.
    #[must_use]
    pub fn under<T: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = T>) -> Self {
        self.wrapper.extend(wrapper.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// The directory that it runs in: manifest, `images/`.
    pub fn work_dir(&self) -> &Path {
        self.work.path()
    }

    /// The command line; in its texts the root is called `ROOT` and the working directory `WORK`.
    pub fn command(&self) -> Command {
        self.command_as(self.verb)
    }

    /// The same with another verb, `None` for a compose.
    pub fn command_as(&self, verb: Option<&str>) -> Command {
        let mut command = Command::new(Program::Composer.path()).args(verb);
        command = match &self.commit {
            _ if verb == Some("lint") => command,
            None => command.arg("--sysroot").arg(&self.root),
            Some([base, reference]) => {
                let based = matches!(verb, None | Some("plan"));
                let command = if based { command.args(["--base", base]) } else { command };
                command.arg("--repo").arg(&self.root).args(["--ref", reference])
            }
        };
        if self.manifest && matches!(verb, None | Some("plan" | "lint")) {
            command = command.args(["--manifest", "containers.toml"]);
        }
        command = command.args(&self.args).in_dir(self.work.path());
        command = command.call(&self.root, "ROOT").call(self.work.path(), "WORK");
        for (name, value) in &self.env {
            command = command.env(name, value);
        }
        command.under(&self.wrapper)
    }

    /// Runs it to its end.
    pub fn run(&self) -> Output {
        self.command().run()
    }
}
