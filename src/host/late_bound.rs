//! What is known only when the container starts: written into `/run/sysctr/NAME/config.json`, which then takes the
//! place of the bundle's. Without any of it the bundle is used as it is.

mod environment;

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{Launch, LaunchMode};

/// Where the payload finds its credentials.
const CREDENTIALS: &str = "/run/credentials";
/// In the container's run directory: what stands in for a missing bind source.
const EMPTY: &str = "empty";

/// What differs from the bundle's configuration.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// Another `linux.cgroupsPath`.
    pub cgroups_path: Option<String>,
    /// Environment, over the image's.
    environment: Vec<(String, String)>,
    /// Further mounts, after all others.
    mounts: Vec<Value>,
    /// Bind sources that this host lacks.
    missing: Vec<String>,
}

/// What systemd handed to this process.
#[derive(Debug, Default)]
pub struct Handed {
    /// `$NOTIFY_SOCKET`.
    pub notify_socket: Option<String>,
    /// `$WATCHDOG_USEC`.
    pub watchdog_usec: Option<String>,
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials_directory: Option<String>,
}

impl Handed {
    /// From the environment of this process.
    pub fn read() -> Self {
        let get = |name| std::env::var(name).ok();
        Self {
            notify_socket: get("NOTIFY_SOCKET"),
            watchdog_usec: get("WATCHDOG_USEC"),
            credentials_directory: get("CREDENTIALS_DIRECTORY"),
        }
    }
}

/// What this start changes, by the record and what systemd handed over. Reads the host; writes nothing.
///
/// # Errors
/// When an environment file can't be read or understood, credentials are missing, or the notify socket can't be
/// bound into a container.
pub fn changes(launch: &Launch, handed: &Handed) -> Result<Changes> {
    let mut changes = Changes::default();
    for path in &launch.environment_files {
        changes.environment.extend(environment::read(Utf8Path::new(path.as_str()))?);
    }
    for path in &launch.empty_if_missing {
        match std::fs::metadata(path.as_str()) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                changes.missing.push(path.as_str().to_owned());
            }
            _ => {}
        }
    }
    if launch.credentials {
        let Some(source) = &handed.credentials_directory else {
            bail!("reading credentials: $CREDENTIALS_DIRECTORY is not set; start the container by its unit");
        };
        changes.mounts.push(bind(source, CREDENTIALS, &["rbind"]));
        changes.environment.push(("CREDENTIALS_DIRECTORY".into(), CREDENTIALS.into()));
    }
    if launch.mode == LaunchMode::Notify {
        changes.notify(handed)?;
    }
    Ok(changes)
}

impl Changes {
    /// Whether the bundle can be used as it is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The payload talks to systemd itself. The socket's mount is read-only, which does not hinder sending, so that
    /// the payload can't change the host's inode.
    fn notify(&mut self, handed: &Handed) -> Result<()> {
        let Some(socket) = &handed.notify_socket else { return Ok(()) };
        if !socket.starts_with('/') {
            bail!(
                "binding the notify socket {socket}: it has no path (an abstract socket); only a path can be bound"
            );
        }
        self.mounts.push(bind(socket, socket, &["bind"]));
        self.environment.push(("NOTIFY_SOCKET".into(), socket.clone()));
        if let Some(interval) = &handed.watchdog_usec {
            // Without WATCHDOG_PID, which names the launcher: sd_watchdog_enabled(3) takes its absence as "you".
            self.environment.push(("WATCHDOG_USEC".into(), interval.clone()));
        }
        Ok(())
    }

    fn apply(&self, config: &mut Value, bundle: &Utf8Path, run_dir: &Utf8Path) -> Result<()> {
        let root = config.pointer_mut("/root/path").context("it has no root.path")?;
        *root = json!(bundle.join(root.as_str().context("its root.path is not a text")?));
        if let Some(path) = &self.cgroups_path {
            config["linux"]["cgroupsPath"] = json!(path);
        }
        if !self.environment.is_empty() {
            let environment = config["process"]["env"].take();
            let environment = environment.as_array().map(Vec::as_slice).unwrap_or_default();
            config["process"]["env"] = environment::merged(environment, &self.environment);
        }
        if config["mounts"].is_null() {
            config["mounts"] = json!([]);
        }
        let mounts = config["mounts"].as_array_mut().context("its mounts are not a list")?;
        for source in
            mounts.iter_mut().filter(|mount| is_bind(mount)).filter_map(|mount| mount.get_mut("source"))
        {
            let Some(path) = source.as_str() else { continue };
            if self.missing.iter().any(|missing| missing == path) {
                *source = json!(run_dir.join(EMPTY));
            } else if !path.starts_with('/') {
                *source = json!(bundle.join(path));
            }
        }
        let further: Vec<Value> = self.mounts.iter().filter(|mount| !shows(mounts, mount)).cloned().collect();
        mounts.extend(further);
        Ok(())
    }

    /// Writes `config`, changed, into the container's run directory, which is then the bundle to run.
    ///
    /// # Errors
    /// When it can't be changed or written.
    pub fn write(&self, name: &ContainerName, bundle: &Utf8Path, mut config: Value) -> Result<Utf8PathBuf> {
        let run_dir = place::run_dir(name);
        let doing = || format!("changing {}", bundle.join(place::CONFIG_JSON));
        self.apply(&mut config, bundle, &run_dir).with_context(doing)?;
        if !self.missing.is_empty() {
            std::fs::write(run_dir.join(EMPTY), "").with_context(|| format!("writing {run_dir}/{EMPTY}"))?;
        }
        let path = run_dir.join(place::CONFIG_JSON);
        let bytes = serde_json::to_vec(&config).with_context(doing)?;
        std::fs::write(&path, bytes).with_context(|| format!("writing {path}"))?;
        Ok(run_dir)
    }
}

/// A bundle's configuration, whatever it holds.
///
/// # Errors
/// When it can't be read.
pub fn config(bundle: &Utf8Path) -> Result<Value> {
    let path = bundle.join(place::CONFIG_JSON);
    let bytes = std::fs::read(&path).with_context(|| format!("reading {path}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading {path}"))
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    let options: Vec<_> = options.iter().chain(&["ro", "nosuid", "nodev", "noexec"]).collect();
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

/// Whether the host's directory that is mounted at the destination of a bind, or above it, shows the same there already. A mount on
/// top of it would reach the host where the directory is shared with it.
fn shows(mounts: &[Value], bind: &Value) -> bool {
    let path = |mount: &Value, key: &str| mount[key].as_str().map(PathBuf::from);
    let (Some(source), Some(destination)) = (path(bind, "source"), path(bind, "destination")) else {
        return false;
    };
    let above = |mount: &&Value| path(mount, "destination").is_some_and(|top| destination.starts_with(top));
    let Some(mount) = mounts.iter().rfind(above) else { return false };
    let recursive = mount["options"].as_array().is_some_and(|options| options.iter().any(|it| it == "rbind"));
    let rest =
        path(mount, "destination").and_then(|top| Some(destination.strip_prefix(top).ok()?.to_owned()));
    let there = path(mount, "source").zip(rest).map(|(top, rest)| top.join(rest));
    recursive && there.is_some_and(|there| there == source)
}

fn is_bind(mount: &Value) -> bool {
    let options = mount["options"].as_array().map(Vec::as_slice).unwrap_or_default();
    mount["type"] == "bind" || options.iter().any(|option| option == "bind" || option == "rbind")
}

#[cfg(test)]
mod tests;
