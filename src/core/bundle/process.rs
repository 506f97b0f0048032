//! What runs: program and arguments, environment, working directory, user, stop signal; the image's word unless the
//! user has another.

use anyhow::{Context, Result, bail};

use super::Source;
use super::mounts::Mounts;
use super::user::{self, User};
use crate::settings::{AbsolutePath, Signal};
use crate::tree::lookup::Found;
use crate::tree::{ImageTree, TreePath};

/// What container engines set where an image sets nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The payload.
#[derive(Debug)]
pub struct Process {
    /// Program and arguments; not empty.
    pub args: Vec<String>,
    /// Name and value, each name once.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: Cwd,
    /// As whom.
    pub user: User,
}

/// A working directory.
#[derive(Debug)]
pub struct Cwd {
    /// As asked for.
    pub text: String,
    /// Without symbolic links.
    pub path: TreePath,
    /// Who asks for it.
    pub label: &'static str,
}

/// Decides what runs.
///
/// # Errors
/// When there is no program, no such user, or a text that no process can have.
pub fn decide(source: &Source<'_>, mounts: &Mounts, warnings: &mut Vec<String>) -> Result<Process> {
    let user = match &source.settings.run.user {
        Some(text) => (text.as_str(), "run.user"),
        None => (source.image.user.as_str(), "the image's User"),
    };
    let user = user::resolve(user.0, source.passwd, source.group).context(user.1)?;
    let args = args(source)?;
    let env = env(source, &user, warnings)?;
    let cwd = cwd(source)?;
    warn_of_missing_program(source.tree, mounts, &args[0], &env, &cwd, warnings);
    Ok(Process { args, env, cwd, user })
}

/// What asks the payload to stop.
pub fn stop_signal(source: &Source<'_>, warnings: &mut Vec<String>) -> Signal {
    if let Some(signal) = &source.settings.run.stop_signal {
        return signal.clone();
    }
    match source.image.stop_signal.as_deref() {
        None | Some("") => Signal::term(),
        Some(text) => Signal::try_from(text.to_owned()).unwrap_or_else(|error| {
            warnings
                .push(format!("the image's StopSignal {error}; SIGTERM is used, or give run.stop_signal"));
            Signal::term()
        }),
    }
}

/// The image's Entrypoint and Cmd (OCI image specification, "Image Configuration"), where a new entrypoint drops the
/// image's Cmd.
fn args(source: &Source<'_>) -> Result<Vec<String>> {
    let run = &source.settings.run;
    let entrypoint = run.entrypoint.as_ref().unwrap_or(&source.image.entrypoint);
    let cmd: &[String] = match (&run.args, &run.entrypoint) {
        (Some(args), _) => args,
        (None, Some(_)) => &[],
        (None, None) => &source.image.cmd,
    };
    let args = [entrypoint, cmd].concat();
    if args.first().is_none_or(String::is_empty) {
        bail!("there is nothing to run: the image has neither Entrypoint nor Cmd; give run.entrypoint");
    }
    check_args(&args)?;
    Ok(args)
}

/// Refuses what no process can be given.
///
/// # Errors
/// When an argument has a NUL byte.
pub fn check_args(args: &[String]) -> Result<()> {
    match args.iter().find(|argument| argument.contains('\0')) {
        Some(argument) => bail!("argument {argument:?} has a NUL byte, which no process can be given"),
        None => Ok(()),
    }
}

/// Refuses what no process can be given.
///
/// # Errors
/// When a name or value has a NUL byte.
pub fn check_env<'a>(mut env: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    match env.find(|(name, value)| name.contains('\0') || value.contains('\0')) {
        Some((name, _)) => {
            bail!("environment variable {name:?} has a NUL byte, which no process can be given")
        }
        None => Ok(()),
    }
}

fn env(source: &Source<'_>, user: &User, warnings: &mut Vec<String>) -> Result<Vec<(String, String)>> {
    let mut env: Vec<(String, String)> = Vec::new();
    for entry in &source.image.env {
        match entry.split_once('=') {
            Some((name, value)) if !name.is_empty() => set(&mut env, name, value),
            _ => warnings.push(format!("the image's Env {entry:?} is ignored: it is not NAME=VALUE")),
        }
    }
    set_default(&mut env, "PATH", PATH);
    set_default(&mut env, "HOME", user.home.as_deref().unwrap_or("/"));
    for (name, value) in &source.settings.run.env {
        if value.is_empty() {
            env.retain(|(known, _)| known != name.as_str());
        } else {
            set(&mut env, name.as_str(), value);
        }
    }
    check_env(env.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    Ok(env)
}

/// The last value counts, the first place stays.
fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some(entry) => value.clone_into(&mut entry.1),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

fn set_default(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    if !env.iter().any(|(known, value)| known == name && !value.is_empty()) {
        set(env, name, value);
    }
}

fn cwd(source: &Source<'_>) -> Result<Cwd> {
    let image = source.image.working_dir.as_str();
    let (path, label) = match &source.settings.run.cwd {
        Some(path) => (path.clone(), "run.cwd"),
        None => {
            let text = if image.is_empty() { "/" } else { image };
            let path = AbsolutePath::try_from(text.to_owned());
            (path.context("the image's WorkingDir; give run.cwd")?, "the image's WorkingDir")
        }
    };
    let resolved = source.tree.resolve(path.as_str().as_bytes()).context(label)?;
    Ok(Cwd { text: path.into(), path: resolved.path, label })
}

/// A program may come by a mount, which we can't look into; what is wrong for sure is worth a word.
fn warn_of_missing_program(
    tree: &ImageTree,
    mounts: &Mounts,
    program: &str,
    env: &[(String, String)],
    cwd: &Cwd,
    warnings: &mut Vec<String>,
) {
    let path = env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
    let places: Vec<String> = match program {
        _ if program.starts_with('/') => vec![program.to_owned()],
        _ if program.contains('/') => vec![format!("{}/{program}", cwd.text)],
        _ => path.split(':').map(|dir| format!("{dir}/{program}")).collect(),
    };
    let maybe = |place: &String| match tree.resolve(place.as_bytes()) {
        Ok(resolved) => matches!(resolved.found, Found::File(_)) || mounts.cover(&resolved.path),
        Err(_) => false,
    };
    if !places.iter().any(maybe) {
        warnings.push(format!("the program {program:?} is not in the image, and no mount can bring it"));
    }
}
