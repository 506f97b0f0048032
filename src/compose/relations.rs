//! What the labels of images demand of each other: requires, conflicts, provides (`atomic.requires` and so on).

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::Deserialize;
use sysctr_core::exports::labels::{self, Present};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::Ground;

/// No image configuration is larger.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Labels of every container that the target will embed.
pub type Labels<'a> = BTreeMap<&'a ContainerName, BTreeMap<String, String>>;

/// The labels of a container that is embedded already, from its image's configuration.
///
/// # Errors
/// When that can't be read.
pub fn embedded(ground: &dyn Ground, name: &ContainerName) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize, Default)]
    struct Document {
        #[serde(default)]
        config: Option<Config>,
    }
    #[derive(Deserialize, Default)]
    struct Config {
        #[serde(default, rename = "Labels")]
        labels: Option<BTreeMap<String, String>>,
    }
    let path = place::bundle(name).join(place::IMAGE_CONFIG);
    let bytes = ground.read(&path, MAX_CONFIG_BYTES)?.unwrap_or_default();
    // `verify` tells what is wrong with it; here it only demands nothing.
    let document: Document = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(document.config.and_then(|config| config.labels).unwrap_or_default())
}

/// Holds the demands of `asked` against all others; gives the sentences for its user.
///
/// # Errors
/// When it requires another version of a container than there is, or conflicts with one, or one of them with it.
pub fn check(asked: &ContainerName, all: &Labels<'_>) -> Result<Vec<String>> {
    let present = |name: &ContainerName| match all.get(name).map(read) {
        Some(Ok(labels)) => labels.present(name.as_str()),
        Some(Err(_)) | None => Present { who: format!("container {name}"), names: Vec::new() },
    };
    let mut told = Vec::new();
    for (name, own) in all.iter().filter(|(_, own)| demands(own)) {
        let others: Vec<Present> =
            all.keys().filter(|other| *other != name).map(|other| present(other)).collect();
        let found = match read(own) {
            Ok(labels) => labels.check(&others),
            Err(error) if *name == asked => return Err(error),
            Err(_) => continue,
        };
        let own_conflict = found
            .conflicts
            .iter()
            .find(|conflict| *name == asked || conflict.ends_with(&format!("(container {asked})")));
        if let Some(conflict) = own_conflict {
            bail!("embedding container {asked}: container {name} conflicts with {conflict}, by its label");
        }
        if *name != asked {
            continue;
        }
        if !found.unmet.is_empty() {
            bail!(
                "embedding container {asked}: its label requires {}, which is there in another version",
                found.unmet.join(", ")
            );
        }
        let unknown = found.unknown.iter();
        told.extend(
            unknown.map(|it| format!("label atomic.requires: no container is {it}; it may be a package")),
        );
    }
    Ok(told)
}

fn demands(labels: &BTreeMap<String, String>) -> bool {
    labels.keys().any(|name| matches!(&*name.to_ascii_lowercase(), "atomic.requires" | "atomic.conflicts"))
}

/// What else labels say is told where the image is prepared.
fn read(labels: &BTreeMap<String, String>) -> Result<labels::Labels> {
    labels::read(labels, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(asked: &str, all: &[(&str, &[(&str, &str)])]) -> Result<Vec<String>, String> {
        let names: Vec<ContainerName> = all.iter().map(|(name, _)| name.parse().unwrap()).collect();
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let all: Labels<'_> = names.iter().zip(all).map(|(name, (_, pairs))| (name, labels(pairs))).collect();
        check(&asked.parse().unwrap(), &all).map_err(|error| error.to_string())
    }

    #[test]
    fn demands_are_held_against_the_others() {
        let old: (&str, &[(&str, &str)]) = ("etcd", &[("version", "3.4")]);
        let new: (&str, &[(&str, &str)]) = ("etcd", &[("version", "3.5")]);
        let web: (&str, &[(&str, &str)]) = ("web", &[("atomic.requires", "etcd >= 3.5, libc")]);
        let foe: (&str, &[(&str, &str)]) = ("foe", &[("atomic.conflicts", "etcd")]);
        let package = "label atomic.requires: no container is libc; it may be a package";
        assert_eq!(checked("web", &[new, web]).unwrap(), [package]);
        assert_eq!(checked("etcd", &[new, web]).unwrap(), [""; 0]);
        assert_eq!(
            checked("web", &[old, web]).unwrap_err(),
            "embedding container web: its label requires etcd >= 3.5, which is there in another version"
        );
        for asked in ["foe", "etcd"] {
            assert_eq!(
                checked(asked, &[new, foe]).unwrap_err(),
                format!(
                    "embedding container {asked}: container foe conflicts with etcd (container etcd), by its label"
                )
            );
        }
    }
}
