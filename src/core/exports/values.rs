//! Where a variable's value comes from (A§2.1, A§2.2, with A§8 rows 5, 17–25): evaluated for the target, never for the
//! machine that composes.
//!
//! First come the names that are sysctr's own, then the host's admin (`/etc/sysctr/NAME.toml`, at start), the
//! manifest's `set`, the image's `defaultValues`, and sysctr's defaults.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use camino::Utf8Path;

use super::Form;
use super::settings::ImageSettings;
use crate::digest::Digest;
use crate::name::ContainerName;
use crate::place;
use crate::settings::AbsolutePath;

/// Bound when the container starts.
pub const UUID: &str = "UUID";

/// What the built-in variables are made from.
#[derive(Debug, Clone)]
pub struct BuiltIns<'a> {
    /// `NAME`.
    pub name: &'a ContainerName,
    /// `DESTDIR`: the bundle's final path on the host.
    pub bundle: &'a Utf8Path,
    /// `RUNTIME`, as found in the target.
    pub runtime: &'a AbsolutePath,
    /// `IMAGE_NAME`, free of what belongs to the build machine.
    pub image_name: &'a str,
    /// `IMAGE_ID`: the image configuration's digest, printed in hexadecimal.
    pub image: &'a Digest,
    /// `ALL_PROCESS_CAPABILITIES`, in the kernel's order: what the target's kernel is stated to have.
    pub capabilities: &'a [&'a str],
    /// How systemd follows the payload, which decides `EXEC_START`.
    pub form: Form,
}

/// Every variable that has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// Variable → text, but for those of `late`.
    pub texts: BTreeMap<String, String>,
    /// Variables that are sysctr's own: neither manifest nor admin can set them.
    pub fixed: BTreeSet<String>,
    /// Variables that get their value when the container starts, unless somebody sets them.
    pub late: BTreeSet<String>,
}

/// What a variable needs before a template can use it; what `inspect` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Nothing: the image has a default, which `set` replaces.
    Default(String),
    /// A value in `set`.
    MustBeSet,
    /// Nothing: sysctr has a default, which `set` replaces.
    SetByHost,
    /// Nothing: sysctr decides it alone.
    Fixed,
    /// Nothing: it gets its value when the container starts, unless `set` gives one.
    BoundAtStart,
}

const FIXED: [&str; 12] = [
    "DESTDIR",
    "EXEC_START",
    "EXEC_STARTPRE",
    "EXEC_STOP",
    "EXEC_STOPPOST",
    "HOST_GID",
    "HOST_UID",
    "IMAGE_ID",
    "IMAGE_NAME",
    "NAME",
    "PIDFILE",
    "RUNTIME",
];
const DEFAULTED: [&str; 5] =
    ["ALL_PROCESS_CAPABILITIES", "ATOMIC", "CONF_DIRECTORY", "RUN_DIRECTORY", "STATE_DIRECTORY"];

/// The class of a variable in an image.
pub fn class(variable: &str, image: &ImageSettings) -> Class {
    if FIXED.contains(&variable) {
        return Class::Fixed;
    }
    match image.default_values.get(variable) {
        Some(text) => Class::Default(text.clone()),
        None if variable == UUID => Class::BoundAtStart,
        None if DEFAULTED.contains(&variable) => Class::SetByHost,
        None => Class::MustBeSet,
    }
}

/// Decides all values at compose time. `warnings` get the defaults that have no effect.
///
/// # Errors
/// When `set` names variables that are sysctr's own.
pub fn decide(
    built_ins: &BuiltIns<'_>,
    set: &BTreeMap<String, String>,
    image: &ImageSettings,
    warnings: &mut Vec<String>,
) -> Result<Values> {
    let refused: Vec<&str> = set.keys().map(String::as_str).filter(|name| FIXED.contains(name)).collect();
    if !refused.is_empty() {
        let hint = if refused.contains(&"RUNTIME") { "; the runtime is chosen by `runtime`" } else { "" };
        bail!("reading `set`: sysctr decides {} itself; take it out{hint}", refused.join(", "));
    }
    let fixed = built_ins.fixed();
    let mut texts = defaults(built_ins.capabilities);
    for (name, text) in &image.default_values {
        if fixed.contains_key(name) {
            warnings.push(format!(
                "{}: defaultValues.{name} has no effect: sysctr decides it",
                super::settings::FILE
            ));
        }
        texts.insert(name.clone(), text.clone());
    }
    texts.extend(set.clone());
    let late = if texts.contains_key(UUID) { BTreeSet::new() } else { [UUID.to_owned()].into() };
    let names = fixed.keys().cloned().collect();
    texts.extend(fixed);
    Ok(Values { texts, fixed: names, late })
}

impl BuiltIns<'_> {
    fn fixed(&self) -> BTreeMap<String, String> {
        let Self { name, .. } = self;
        let image_id = self.image.to_string();
        let image_id = image_id.split_once(':').map_or(image_id.as_str(), |(_, hex)| hex);
        let pairs = [
            ("DESTDIR", self.bundle.to_string()),
            ("EXEC_START", start_command(name, self.form)),
            ("EXEC_STARTPRE", String::new()),
            ("EXEC_STOP", stop_command(name)),
            ("EXEC_STOPPOST", clean_command(name)),
            ("HOST_GID", "0".to_owned()),
            ("HOST_UID", "0".to_owned()),
            ("IMAGE_ID", image_id.to_owned()),
            ("IMAGE_NAME", self.image_name.to_owned()),
            ("NAME", name.to_string()),
            ("PIDFILE", pid_file(name)),
            ("RUNTIME", self.runtime.to_string()),
        ];
        pairs.map(|(name, text)| (name.to_owned(), text)).into()
    }
}

fn defaults(capabilities: &[&str]) -> BTreeMap<String, String> {
    let quoted: Vec<String> = capabilities.iter().map(|name| format!("\"{name}\"")).collect();
    let pairs = [
        ("ALL_PROCESS_CAPABILITIES", format!("{}\n", quoted.join(",\n"))),
        ("ATOMIC", format!("/{}", place::LAUNCHER)),
        ("CONF_DIRECTORY", "/etc".to_owned()),
        ("RUN_DIRECTORY", "/run".to_owned()),
        ("STATE_DIRECTORY", "/var/lib".to_owned()),
    ];
    pairs.map(|(name, text)| (name.to_owned(), text)).into()
}

/// What starts a container.
pub fn start_command(name: &ContainerName, form: Form) -> String {
    match form {
        Form::Detached => format!("/{} run --detach {name}", place::LAUNCHER),
        Form::Foreground | Form::Notify => format!("/{} run {name}", place::LAUNCHER),
    }
}

/// What stops a container.
pub fn stop_command(name: &ContainerName) -> String {
    format!("/{} stop {name}", place::LAUNCHER)
}

/// What clears away the rest of a container.
pub fn clean_command(name: &ContainerName) -> String {
    format!("/{} stop --force {name}", place::LAUNCHER)
}

/// Where the launcher writes the payload's process number.
pub fn pid_file(name: &ContainerName) -> String {
    place::run_dir(name).join("pid").into_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn values(form: Form, set: &[(&str, &str)], image: &ImageSettings) -> Result<Values> {
        let runtime = AbsolutePath::try_from("/usr/bin/runc".to_owned()).unwrap();
        let built_ins = BuiltIns {
            name: &"web".parse().unwrap(),
            bundle: "/usr/lib/containers/atomic/web".into(),
            runtime: &runtime,
            image_name: "registry.example/web:1",
            image: &Digest::of(b"config"),
            capabilities: &["CAP_CHOWN", "CAP_KILL"],
            form,
        };
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        decide(&built_ins, &set, image, &mut Vec::new())
    }

    fn image(defaults: &[(&str, &str)]) -> ImageSettings {
        let default_values = defaults.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ImageSettings { default_values: default_values.collect(), ..ImageSettings::default() }
    }

    #[test]
    fn built_in_variables_are_those_of_the_target() {
        let values = values(Form::Detached, &[], &ImageSettings::default()).unwrap();
        let texts: Vec<String> = values.texts.iter().map(|(name, text)| format!("{name}={text}")).collect();
        assert_eq!(
            texts,
            [
                "ALL_PROCESS_CAPABILITIES=\"CAP_CHOWN\",\n\"CAP_KILL\"\n",
                "ATOMIC=/usr/bin/sysctr",
                "CONF_DIRECTORY=/etc",
                "DESTDIR=/usr/lib/containers/atomic/web",
                "EXEC_START=/usr/bin/sysctr run --detach web",
                "EXEC_STARTPRE=",
                "EXEC_STOP=/usr/bin/sysctr stop web",
                "EXEC_STOPPOST=/usr/bin/sysctr stop --force web",
                "HOST_GID=0",
                "HOST_UID=0",
                "IMAGE_ID=b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910",
                "IMAGE_NAME=registry.example/web:1",
                "NAME=web",
                "PIDFILE=/run/sysctr/web/pid",
                "RUNTIME=/usr/bin/runc",
                "RUN_DIRECTORY=/run",
                "STATE_DIRECTORY=/var/lib",
            ]
        );
        assert_eq!(values.late, ["UUID".to_owned()].into());
        let foreground = self::values(Form::Foreground, &[], &ImageSettings::default()).unwrap();
        assert_eq!(foreground.texts["EXEC_START"], "/usr/bin/sysctr run web");
    }

    #[test]
    fn the_first_of_own_set_image_default_wins() {
        let image = image(&[("A", "image"), ("B", "image"), ("CONF_DIRECTORY", "/image"), ("NAME", "image")]);
        let set = [("B", "set"), ("RUN_DIRECTORY", "/set"), ("UUID", "x")];
        let values = values(Form::Detached, &set, &image).unwrap();
        for (name, text) in [
            ("A", "image"),
            ("B", "set"),
            ("CONF_DIRECTORY", "/image"),
            ("NAME", "web"),
            ("RUN_DIRECTORY", "/set"),
            ("UUID", "x"),
        ] {
            assert_eq!(values.texts[name], text, "{name}");
        }
        assert_eq!(values.late, BTreeSet::new());
    }

    #[test]
    fn what_sysctr_decides_cannot_be_set() {
        let error =
            values(Form::Detached, &[("NAME", "x"), ("A", ""), ("RUNTIME", "y")], &image(&[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "reading `set`: sysctr decides NAME, RUNTIME itself; take it out; the runtime is chosen by `runtime`"
        );
    }

    #[test]
    fn classes() {
        let image = image(&[("A", "1"), ("CONF_DIRECTORY", "/x"), ("PIDFILE", "/y")]);
        for (variable, expected) in [
            ("A", Class::Default("1".into())),
            ("CONF_DIRECTORY", Class::Default("/x".into())),
            ("STATE_DIRECTORY", Class::SetByHost),
            ("PIDFILE", Class::Fixed),
            ("UUID", Class::BoundAtStart),
            ("B", Class::MustBeSet),
        ] {
            assert_eq!(class(variable, &image), expected, "{variable}");
        }
    }
}
