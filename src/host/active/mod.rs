//! What the next start of a container runs. So far that is always what the host image embeds.

use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::{self, Record};

/// A bundle with its record.
#[derive(Debug)]
pub struct Active {
    /// The bundle directory.
    pub bundle: Utf8PathBuf,
    /// Its record.
    pub record: Record,
}

/// The active bundle of a container.
///
/// # Errors
/// When nothing of that name is embedded, or its record can't be read or is newer than this program.
pub fn of(name: &ContainerName) -> Result<Active> {
    read(name, &Utf8Path::new("/").join(place::bundle(name)))
}

fn read(name: &ContainerName, bundle: &Utf8Path) -> Result<Active> {
    let path = bundle.join(place::RECORD_JSON);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "finding container {name}: this host embeds none of that name; `sysctr list` shows what it has"
            )
        }
        Err(error) => return Err(error).with_context(|| format!("reading {path}")),
    };
    let record: Record = record::from_json(&bytes, path.as_str())?;
    if record.name != *name {
        bail!("reading {path}: it is the record of {}; compose the host image again", record.name);
    }
    Ok(Active { bundle: bundle.to_owned(), record })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_version_is_refused_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::write(bundle.join("record.json"), r#"{"version": 99, "launch": "unheard of"}"#).unwrap();
        let error = read(&"etcd".parse().unwrap(), bundle).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "reading {bundle}/record.json: it has format version 99, this program knows up to 1; use a newer sysctr"
            )
        );
    }

    #[test]
    fn an_unknown_name_shows_the_way_out() {
        let error = read(&"etcd".parse().unwrap(), Utf8Path::new("/nowhere")).unwrap_err().to_string();
        assert_eq!(
            error,
            "finding container etcd: this host embeds none of that name; `sysctr list` shows what it has"
        );
    }
}
