//! What the next start of a container runs, and what runs now.

pub mod decision;
pub mod host;

use std::cell::RefCell;
use std::num::NonZeroU64;

use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::generation::GenerationName;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{self, Record};

use decision::{Choice, Decision, Refused, Why};
use host::{Host, Opened};

/// In a container's run directory: a link to the bundle that was started.
const STARTED: &str = "bundle";

/// A bundle with its record.
#[derive(Debug)]
pub struct Active {
    /// The bundle directory.
    pub bundle: Utf8PathBuf,
    /// Its record.
    pub record: Record,
    /// The generation that it is; none: it is embedded.
    pub generation: Option<NonZeroU64>,
    /// Why it is this one.
    pub why: Why,
}

/// What the next start of a container runs.
///
/// # Errors
/// When nothing of that name is embedded or installed, or its record can't be read or is newer than this program.
pub fn of(name: &ContainerName) -> Result<Active> {
    on(&Host::this(), name)
}

/// The same on any host.
///
/// # Errors
/// As [`of`].
pub fn on(host: &Host, name: &ContainerName) -> Result<Active> {
    let facts = host.facts(name)?;
    let last: RefCell<Option<Opened>> = RefCell::new(None);
    let look = |number| {
        let opened = host.generation(&GenerationName::new(name, number))?;
        let known = opened.known.clone();
        last.replace(Some(opened));
        Ok(known)
    };
    let Decision { choice, why } = facts.decide(look).map_err(|refused| explained(name, &refused))?;
    match (choice, last.into_inner()) {
        (Choice::Generation(number), Some(Opened { bundle, record, .. })) => {
            Ok(Active { bundle, record, generation: Some(number), why })
        }
        _ => {
            let record = host.embedded(name)?.with_context(|| unknown(name))?;
            Ok(Active { bundle: host.embedded_bundle(name), record, generation: None, why })
        }
    }
}

/// The same as far as `/etc` and `/usr` tell: whether a bundle can be read is not looked at.
///
/// # Errors
/// When what is embedded can't be read.
pub fn chosen(host: &Host, name: &ContainerName) -> Result<Result<Choice, Refused>> {
    let look = |number| host.described(&GenerationName::new(name, number)).map(|(_, known)| known);
    Ok(host.facts(name)?.decide(look).map(|decision| decision.choice))
}

fn unknown(name: &ContainerName) -> String {
    format!("finding container {name}: this host embeds none of that name; `sysctr list` shows what it has")
}

fn explained(name: &ContainerName, refused: &Refused) -> anyhow::Error {
    match refused {
        Refused::Unknown => anyhow::anyhow!(unknown(name)),
        Refused::Unusable(why) => anyhow::anyhow!(
            "finding container {name}: what it was updated to can't be used: {why}; \
             `sysctr rollback {name}` or `sysctr reset {name}` (if it was installed here, `sysctr uninstall {name}`) leads away from it"
        ),
    }
}

/// Remembers what is started.
///
/// # Errors
/// When the run directory can't be written.
pub fn remember(active: &Active, run_dir: &Utf8Path) -> Result<()> {
    let link = run_dir.join(STARTED);
    let made = match std::os::unix::fs::symlink(&active.bundle, &link) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&link).and_then(|()| std::os::unix::fs::symlink(&active.bundle, &link))
        }
        other => other,
    };
    made.with_context(|| format!("making link {link}"))
}

/// The record of what was started, which may be another than the next start runs.
///
/// # Errors
/// When it can't be read, or nothing runs and [`of`] fails.
pub fn started(name: &ContainerName) -> Result<Record> {
    let Some(bundle) = started_bundle(name)? else { return Ok(of(name)?.record) };
    let path = bundle.join(place::RECORD_JSON);
    match host::read(&path)? {
        Some(bytes) => record::from_json(&bytes, path.as_str()),
        None => Ok(of(name)?.record),
    }
}

/// The bundle that was started, if anything was and was not cleared since.
///
/// # Errors
/// When the link can't be read.
pub fn started_bundle(name: &ContainerName) -> Result<Option<Utf8PathBuf>> {
    let link = place::run_dir(name).join(STARTED);
    match std::fs::read_link(&link) {
        Ok(bundle) => match Utf8PathBuf::from_path_buf(bundle) {
            Ok(bundle) => Ok(Some(bundle)),
            Err(bundle) => bail!("reading link {link}: {} is no path of ours", bundle.display()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading link {link}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap().to_owned();
        std::fs::create_dir_all(root.join("usr/lib/containers/atomic/etcd")).unwrap();
        std::fs::create_dir_all(root.join("proc/sys/kernel/random")).unwrap();
        std::fs::write(root.join("proc/sys/kernel/random/boot_id"), "1-2-3\n").unwrap();
        (dir, Host::at(&root))
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_by_its_path() {
        let (dir, host) = bench();
        let path = dir.path().join("usr/lib/containers/atomic/etcd/record.json");
        std::fs::write(&path, r#"{"version": 99, "launch": "unheard of"}"#).unwrap();
        let error = on(&host, &"etcd".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "reading {}: it has format version 99, this program knows up to 1; use a newer sysctr",
                path.display()
            )
        );
    }

    #[test]
    fn an_unknown_name_shows_the_way_out() {
        let (_dir, host) = bench();
        let error = on(&host, &"etcd".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            error,
            "finding container etcd: this host embeds none of that name; `sysctr list` shows what it has"
        );
    }

    #[test]
    fn a_link_to_nothing_shows_the_way_out() {
        let (dir, host) = bench();
        let active = dir.path().join("etc/containers/atomic");
        std::fs::create_dir_all(&active).unwrap();
        std::os::unix::fs::symlink("etcd.1", active.join("etcd")).unwrap();
        let error = on(&host, &"etcd".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "finding container etcd: what it was updated to can't be used: reading {}/etcd.1/generation.json: No such \
                 file or directory (os error 2); `sysctr rollback etcd` or `sysctr reset etcd` (if it was installed here, `sysctr \
                 uninstall etcd`) leads away from it",
                active.display()
            )
        );
        std::fs::remove_file(active.join("etcd")).unwrap();
        std::os::unix::fs::symlink("other.1", active.join("etcd")).unwrap();
        let error = on(&host, &"etcd".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("other.1 is no generation of it; "), "{error}");
    }
}
