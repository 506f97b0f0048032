//! Values that are known only when the container starts: its `UUID`, and what the host's admin sets in
//! `/etc/sysctr/NAME.toml`. The bundle keeps the template and everything it was rendered with, so that the launcher can
//! render again; without such values it uses the bundle as it is.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::config::{self, Settled};
use super::faults::Faults;
use super::template::Rendering;
use super::values::Values;
use super::{CONFIG_TEMPLATE, template};
use crate::bundle::overlay::Overlay;
use crate::digest::Digest;
use crate::name::ContainerName;
use crate::record;

/// In a bundle directory: the image's template, byte for byte.
pub const TEMPLATE_FILE: &str = "config.json.template";
/// In a bundle directory: [`Kept`].
pub const VALUES_FILE: &str = "values.json";
/// Stands for the `UUID` in what is rendered before a host has one.
pub const NO_UUID: &str = "00000000-0000-4000-8000-000000000000";

/// `values.json`: what a configuration is rendered with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Format version; readers refuse a newer one.
    pub version: u32,
    /// Where the root lies: `rootfs`, or an absolute path on the host.
    pub root: String,
    /// The variables that the template names, with their values.
    pub values: BTreeMap<String, String>,
    /// Those of them that sysctr decides.
    pub fixed: BTreeSet<String>,
    /// Variables that the template names and that have no value before the start.
    pub late: BTreeSet<String>,
    /// Variables that other files of the container were rendered with, and those files. Values that come later do not
    /// reach them.
    pub elsewhere: BTreeMap<String, BTreeSet<String>>,
    /// What the manifest says over what is rendered.
    #[serde(default, skip_serializing_if = "Overlay::is_empty")]
    pub overlay: Overlay,
}

impl Kept {
    /// What is needed to render `template` again. `others` are the container's other templates with their file names.
    pub fn new(template: &[u8], values: &Values, root: &str, others: &[(&str, &[u8])]) -> Self {
        let named = template::variables(template);
        let mut elsewhere: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, text) in others {
            for name in template::variables(text) {
                elsewhere.entry(name).or_default().insert((*file).to_owned());
            }
        }
        let kept = values.texts.iter().filter(|(name, _)| named.contains(*name));
        Self {
            version: record::VERSION,
            root: root.to_owned(),
            values: kept.map(|(name, text)| (name.clone(), text.clone())).collect(),
            fixed: values.fixed.intersection(&named).cloned().collect(),
            late: values.late.intersection(&named).cloned().collect(),
            elsewhere,
            overlay: Overlay::default(),
        }
    }

    /// Whether the bundle's own `config.json` is not what has to run.
    pub fn must_render(&self, admin: &BTreeMap<String, String>) -> bool {
        !self.late.is_empty() || !admin.is_empty()
    }

    /// Whether a value of this name reaches the configuration.
    pub fn takes(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.late.contains(name)
    }

    /// Whether any template of the container names it.
    pub fn knows(&self, name: &str) -> bool {
        self.takes(name) || self.elsewhere.contains_key(name)
    }

    /// The values as of now: those of the compose, over them the admin's, and the `UUID` unless somebody set one.
    ///
    /// # Errors
    /// When the admin sets what sysctr decides.
    pub fn values(
        &self,
        admin: &BTreeMap<String, String>,
        uuid: &str,
        warnings: &mut Vec<String>,
    ) -> Result<BTreeMap<String, String>> {
        let mut values = self.values.clone();
        for name in &self.late {
            values.insert(name.clone(), uuid.to_owned());
        }
        for (name, text) in admin {
            if self.fixed.contains(name) {
                bail!("sysctr decides {name} itself; take it out of `set`");
            }
            if let Some(files) = self.elsewhere.get(name) {
                let files: Vec<&str> = files.iter().map(String::as_str).collect();
                warnings.push(format!(
                    "set.{name} does not reach {}, which was rendered with the host image",
                    files.join(", ")
                ));
            }
            if !self.takes(name) {
                if !self.knows(name) {
                    warnings.push(format!("set.{name} has no effect: no template of the container names it"));
                }
                continue;
            }
            values.insert(name.clone(), text.clone());
        }
        Ok(values)
    }
}

/// Renders a configuration. Composer (with [`NO_UUID`] and no admin) and launcher call the same function, so what a start
/// renders was checked as far as its values are known.
///
/// # Errors
/// When the admin sets what sysctr decides, a variable has no value, or the result is no configuration.
pub fn render(template: &[u8], kept: &Kept, admin: &BTreeMap<String, String>, uuid: &str) -> Result<Settled> {
    let mut warnings = Vec::new();
    let values = kept.values(admin, uuid, &mut warnings)?;
    let none = BTreeSet::new();
    let mut rendering = Rendering::new(&values, &none);
    let rendered = rendering.file(CONFIG_TEMPLATE, template).text;
    Faults { places: rendering.into_places(), others: Vec::new() }.finish()?;
    let settled = config::settle(&rendered, CONFIG_TEMPLATE, &kept.root)?;
    let mut settled = settled.over(&kept.overlay, CONFIG_TEMPLATE)?;
    warnings.append(&mut settled.warnings);
    Ok(Settled { warnings, ..settled })
}

/// The `UUID` of a container on one host: the same at every start and after every update, another for every host and
/// every container, and telling nobody the host's machine-id (machine-id(5)).
///
/// `machine_id` are the 32 hexadecimal digits.
pub fn uuid(machine_id: &str, name: &ContainerName) -> String {
    let text = format!("sysctr UUID\n{}\n{name}\n", machine_id.trim());
    let digest = Digest::of(text.as_bytes()).to_string();
    let hex = digest.split_once(':').map_or(digest.as_str(), |(_, hex)| hex);
    let mut bytes: Vec<u8> =
        (0..16).map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap_or(0)).collect();
    // Version 4, variant 1 (RFC 4122): what templates of the ancestor got.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut uuid = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            uuid.push('-');
        }
        uuid.push_str(&format!("{byte:02x}"));
    }
    uuid
}

#[cfg(test)]
mod tests {
    use super::super::Form;
    use super::super::settings::ImageSettings;
    use super::super::values::tests::values;
    use super::*;

    const TEMPLATE: &[u8] = br#"{"ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": true},
        "process": {"args": ["/bin/$NAME", "$PORT"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "annotations": {"uuid": "$UUID"}}"#;

    fn kept() -> Kept {
        let values =
            values(Form::Detached, &[("PORT", "80"), ("OTHER", "x")], &ImageSettings::default()).unwrap();
        Kept::new(TEMPLATE, &values, "rootfs", &[("exports/service.template", b"$OTHER $PORT $NAME")])
    }

    fn admin(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn what_is_kept_reads_back_and_renders_the_same() {
        let kept = kept();
        let json = record::to_json(&kept);
        assert_eq!(record::from_json::<Kept>(&json, "values.json").unwrap(), kept);
        assert_eq!(kept.values, admin(&[("NAME", "web"), ("PORT", "80")]));
        let settled = render(TEMPLATE, &kept, &admin(&[]), NO_UUID).unwrap();
        assert_eq!(settled.value["process"]["args"], serde_json::json!(["/bin/web", "80"]));
        assert_eq!(settled.value["annotations"]["uuid"], NO_UUID);
        assert!(kept.must_render(&admin(&[])), "a UUID is never baked");
    }

    #[test]
    fn the_admins_values_come_over_those_of_the_compose() {
        let set = admin(&[("PORT", "81"), ("OTHER", "y"), ("TYPO", "z"), ("UUID", "mine")]);
        let settled = render(TEMPLATE, &kept(), &set, "host").unwrap();
        assert_eq!(settled.value["process"]["args"][1], "81");
        assert_eq!(settled.value["annotations"]["uuid"], "mine");
        assert_eq!(
            settled.warnings[..3],
            [
                "set.OTHER does not reach exports/service.template, which was rendered with the host image",
                "set.PORT does not reach exports/service.template, which was rendered with the host image",
                "set.TYPO has no effect: no template of the container names it",
            ]
        );
        let error = render(TEMPLATE, &kept(), &admin(&[("NAME", "x")]), "host").unwrap_err();
        assert_eq!(error.to_string(), "sysctr decides NAME itself; take it out of `set`");
    }

    #[test]
    fn a_uuid_is_a_hosts_and_a_containers_own() {
        let of = |machine: &str, name: &str| uuid(machine, &name.parse().unwrap());
        let machine = "0123456789abcdef0123456789abcdef";
        let uuid = of(&format!("{machine}\n"), "web");
        assert_eq!(uuid, of(machine, "web"));
        assert_ne!(uuid, of(machine, "etcd"));
        assert_ne!(uuid, of("1123456789abcdef0123456789abcdef", "web"));
        let fields: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!((fields, &uuid[14..15]), (vec![8, 4, 4, 4, 12], "4"));
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }
}
