//! Which variables an image's files name, and what each needs: what `inspect` shows before anybody sets one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::brought::{self, Brought, Config, Read};
use super::settings::{self, ImageSettings};
use super::values::{self, Class};
use super::{CONFIG_TEMPLATE, host_files, template, tmpfiles, unit};
use crate::tree::lookup::Found;
use crate::tree::{ImageTree, TreePath};

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// What it needs.
    pub class: Class,
    /// The files that name it; none for a default that nothing uses.
    pub files: BTreeSet<String>,
}

/// All variables by name: those that files name, and those that the image has defaults for.
///
/// # Errors
/// When a host file that is a template can't be read.
pub fn used(
    brought: &Brought,
    image: &ImageSettings,
    tree: &ImageTree,
    read: Read<'_>,
) -> Result<BTreeMap<String, Variable>> {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in image.default_values.keys() {
        files.entry(name.clone()).or_default();
    }
    let mut enter = |file: &str, text: &[u8]| {
        for name in template::variables(text) {
            files.entry(name).or_default().insert(file.to_owned());
        }
    };
    if let Some(Config::Template(text)) = &brought.config {
        enter(CONFIG_TEMPLATE, text);
    }
    for (file, text) in [(unit::FILE, &brought.service), (tmpfiles::FILE, &brought.tmpfiles)] {
        enter(file, text.as_deref().unwrap_or_default());
    }
    for text in image.rename_files.values() {
        enter(settings::FILE, text.as_bytes());
    }
    for path in &image.installed_files_template {
        let path = format!("{}{path}", host_files::DIRECTORY);
        // One that is named by its new path is found when its name is known, which is when it is rendered.
        if tree.node(&TreePath::parse(path.as_bytes())?).is_some()
            && let Found::File(leaf) = tree.resolve(path.as_bytes())?.found
        {
            enter(&path, &brought::checked(leaf, read)?);
        }
    }
    let variable = |(name, files): (String, BTreeSet<String>)| {
        let class = values::class(&name, image);
        (name, Variable { class, files })
    };
    Ok(files.into_iter().map(variable).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_counts_and_unused_defaults_are_shown() {
        let image = ImageSettings {
            default_values: BTreeMap::from([("A".into(), "1".into()), ("IDLE".into(), "2".into())]),
            rename_files: BTreeMap::from([("/x".into(), "/y-${NAME}".into())]),
            ..ImageSettings::default()
        };
        let brought = Brought {
            config: Some(Config::Template(b"$A $B".to_vec())),
            service: Some(b"$A $UUID $$C".to_vec()),
            ..Brought::default()
        };
        let read = |_: &crate::tree::Leaf| unreachable!("there are no host files");
        let used = used(&brought, &image, &ImageTree::new(), &read).unwrap();
        let shown: Vec<String> = used
            .iter()
            .map(|(name, it)| {
                format!("{name} {:?} {}", it.class, it.files.iter().cloned().collect::<String>())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "A Default(\"1\") exports/config.json.templateexports/service.template",
                "B MustBeSet exports/config.json.template",
                "IDLE Default(\"2\") ",
                "NAME Fixed exports/manifest.json",
                "UUID BoundAtStart exports/service.template",
            ]
        );
    }
}
