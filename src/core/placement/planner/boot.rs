//! What the host makes at boot for two containers at one path. systemd-tmpfiles takes the line of the file whose name comes
//! first and passes over the other, and a path has one mount unit; so nobody would be told on the host.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::{Ground, Planner};
use crate::name::ContainerName;
use crate::place;
use crate::record::{Made, Record};

impl<G: Ground> Planner<'_, G> {
    /// Says that a container will be removed, so that what it has is in nobody's way.
    pub fn leaves(&mut self, name: &ContainerName) {
        self.leaving.insert(name.clone());
    }

    /// See [`boot_clashes`].
    pub(super) fn boot_paths(&mut self, record: &Record, allowed: &BTreeSet<Utf8PathBuf>) -> Result<()> {
        let staying = self.records.iter().filter(|(name, _)| !self.leaving.contains(*name));
        let told = boot_clashes(record, staying, allowed)?;
        self.warnings.extend(told);
        Ok(())
    }
}

/// Refuses a container whose host file another one has too, unless both are the same and it is allowed, and one whose lines
/// contradict another's, unless that is allowed. Tells what the user should know when it is well.
///
/// # Errors
/// When it is refused.
pub fn boot_clashes<'a>(
    record: &Record,
    others: impl Iterator<Item = (&'a ContainerName, &'a Record)>,
    allowed: &BTreeSet<Utf8PathBuf>,
) -> Result<Vec<String>> {
    let mut told = Vec::new();
    for (other, theirs) in others.filter(|(name, _)| **name != record.name) {
        for (path, made) in &record.made {
            let Some(their) = theirs.made.get(path) else { continue };
            let is_allowed = allowed.contains(Utf8Path::new(path.trim_start_matches('/')));
            let both = Both { name: &record.name, other, path, made, their };
            told.extend(both.judge(is_allowed)?);
        }
    }
    Ok(told)
}

/// One path of two containers.
struct Both<'a> {
    name: &'a ContainerName,
    other: &'a ContainerName,
    path: &'a str,
    made: &'a Made,
    their: &'a Made,
}

impl Both<'_> {
    /// What the user should know, when it is well.
    fn judge(&self, is_allowed: bool) -> Result<Option<String>> {
        let Self { name, other, path, made, their } = self;
        let same = made.agrees(their);
        let is_file = made.is_own_file() || their.is_own_file();
        match (is_file, same, is_allowed) {
            (false, true, _) | (true, true, true) => Ok(None),
            (true, true, false) => bail!(
                "placing container {name}: its {} is at {path} on the host, which container {other} brings too; put {} into \
                 allow_conflicts of both to share it, or leave one of them out",
                self.own(),
                made.host_file.as_deref().unwrap_or(path)
            ),
            (true, false, _) => bail!(
                "placing container {name}: its {} is at {path} on the host, where container {other} has another ({} of it); \
                 leave one of them out",
                self.own(),
                what(their)
            ),
            (false, false, false) => bail!(
                "placing container {name}: at boot it makes {path} by `{made}`, container {other} by `{their}`, and the host \
                 would take that of {}; put {path} into allow_conflicts if that is well",
                self.first()
            ),
            (false, false, true) => Ok(Some(format!(
                "containers {name} and {other} make {path} differently at boot; the host takes that of {}",
                self.first()
            ))),
        }
    }

    fn own(&self) -> String {
        match &self.made.host_file {
            Some(path) => format!("host file {path}"),
            None => format!("line of tmpfiles.d `{}`", self.made),
        }
    }

    /// Whose lines systemd-tmpfiles reads first.
    fn first(&self) -> &ContainerName {
        let file = |name: &&ContainerName| place::tmpfiles_name(name);
        [self.name, self.other].into_iter().min_by_key(file).unwrap_or(self.name)
    }
}

fn what(made: &Made) -> String {
    match &made.host_file {
        Some(path) => format!("host file {path}"),
        None => format!("line `{made}`"),
    }
}
