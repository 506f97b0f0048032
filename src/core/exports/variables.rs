//! Which variables an image's files name, and what each needs: what `inspect` shows before anybody sets one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::brought::{self, Brought, Config, Read};
use super::host_files::{Content, HostNode};
use super::settings::{self, ImageSettings};
use super::values::{self, Class};
use super::{CONFIG_TEMPLATE, host_files, template, tmpfiles, unit};
use crate::tree::ImageTree;

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
/// When a host file that is a template can't be read, or renaming them comes to nothing.
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
    // Listed by its old path or by its new one, as far as that can be known before variables have values.
    let known = image.rename_files.iter().filter(|(_, to)| !to.contains('$'));
    let known = known.map(|(from, to)| (from.clone(), to.clone())).collect();
    for file in host_files::list(tree, image, &known, &mut Vec::new())? {
        if let HostNode::File { leaf, content: Content::Template, .. } = file.node {
            let shown = String::from_utf8_lossy(file.from.as_bytes()).into_owned();
            enter(&shown, &brought::checked(tree.leaf(leaf), read)?);
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

    #[test]
    fn a_template_that_is_renamed_counts_by_either_path() {
        for listed in ["/etc/old", "/etc/new"] {
            let image = ImageSettings {
                rename_files: BTreeMap::from([("/etc/old".into(), "/etc/new".into())]),
                installed_files_template: vec![listed.into()],
                ..ImageSettings::default()
            };
            let mut tree = host_files::tests::tree(&["etc/", "etc/old"]);
            let path = crate::tree::TreePath::parse(b"exports/hostfs/etc/old").unwrap();
            let Some(crate::tree::Node::Leaf(id)) = tree.node(&path) else { panic!("no file") };
            let id = *id;
            if let crate::tree::Leaf::File { size, .. } = tree.leaf_mut(id) {
                *size = 7;
            }
            let read = |_: &crate::tree::Leaf| Ok(b"$WANTED".to_vec());
            let used = used(&Brought::default(), &image, &tree, &read).unwrap();
            assert_eq!(used["WANTED"].class, Class::MustBeSet, "{listed}");
        }
    }
}
