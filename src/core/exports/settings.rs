//! The image settings, `/exports/manifest.json` (A§1.2).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::json;
use super::template;

/// What messages call the file.
pub const FILE: &str = "exports/manifest.json";

/// What an image says about its own installation. An image without the file says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageSettings {
    /// Variable → its value when nobody sets one, as text.
    pub default_values: BTreeMap<String, String>,
    /// Host path → where it goes instead; the new path is a template. Keys are normalized.
    pub rename_files: BTreeMap<String, String>,
    /// Host files that are templates, by their path before or after renaming. Normalized.
    pub installed_files_template: Vec<String>,
    /// Whether there is a container at all.
    pub container_service: ContainerService,
}

/// `noContainerService`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContainerService {
    /// The image is a container.
    #[default]
    Wanted,
    /// The image brings host files and nothing that runs.
    HostFilesOnly,
}

impl ImageSettings {
    /// Parses the file. `warnings` get what has no effect or means something else than it seems to.
    ///
    /// # Errors
    /// When it is no JSON object, a key has a value of another type, or a path or variable can't be one.
    pub fn parse(bytes: &[u8], warnings: &mut Vec<String>) -> Result<Self> {
        let doing = || format!("reading {FILE}");
        let parsed = json::parse(bytes).with_context(doing)?;
        for key in &parsed.repeated {
            warnings.push(format!("{FILE}: {key} stands there twice; the last one counts"));
        }
        let Value::Object(written) = parsed.value else { bail!("reading {FILE}: it is no JSON object") };
        Self::settle(written, warnings).with_context(doing)
    }

    fn settle(mut written: Map<String, Value>, warnings: &mut Vec<String>) -> Result<Self> {
        let mut take = |key: &str| written.remove(key).filter(|value| !value.is_null());
        let mut settings = Self::default();
        match take("version") {
            None => {}
            Some(Value::String(version)) if version == "1.0" || version == "1" => {}
            Some(version) => {
                warnings.push(format!("{FILE}: version {version} is not 1.0; it is read as 1.0"))
            }
        }
        for (key, value) in object("defaultValues", take("defaultValues"))? {
            if !is_variable(&key) {
                bail!("defaultValues: {key:?} is no variable's name, so no template can use it");
            }
            settings.default_values.insert(key.clone(), text_of(&key, &value, warnings)?);
        }
        for (from, to) in object("renameFiles", take("renameFiles"))? {
            let Value::String(to) = to else { bail!("renameFiles: the value of {from:?} is no text") };
            let key = host_path("renameFiles", &from)?;
            if settings.rename_files.insert(key.clone(), to).is_some() {
                bail!("renameFiles: {key} stands there twice in different spellings");
            }
        }
        match take("installedFilesTemplate") {
            None => {}
            Some(Value::Array(list)) => {
                for entry in list {
                    let Value::String(path) = entry else {
                        bail!("installedFilesTemplate: {entry} is no path")
                    };
                    settings.installed_files_template.push(host_path("installedFilesTemplate", &path)?);
                }
            }
            Some(other) => bail!("installedFilesTemplate: {other} is no list"),
        }
        if flag("noContainerService", take("noContainerService"))? == Some(true) {
            settings.container_service = ContainerService::HostFilesOnly;
        }
        if flag("useLinks", take("useLinks"))?.is_some() {
            warnings.push(format!(
                "{FILE}: useLinks has no effect: equal files of an OSTree commit are one object, and a plain root gets copies"
            ));
        }
        for key in written.keys() {
            warnings.push(format!("{FILE}: {key} is not known and has no effect"));
        }
        Ok(settings)
    }
}

/// Whether templates can name it.
fn is_variable(name: &str) -> bool {
    template::variables(format!("${{{name}}}").as_bytes()).contains(name)
}

fn object(key: &str, value: Option<Value>) -> Result<Map<String, Value>> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(other) => bail!("{key}: {other} is no object"),
    }
}

fn flag(key: &str, value: Option<Value>) -> Result<Option<bool>> {
    match value {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(value)),
        Some(other) => bail!("{key}: {other} is neither true nor false"),
    }
}

/// A scalar as the ancestor pasted it, which was Python's `str()`.
fn text_of(key: &str, value: &Value, warnings: &mut Vec<String>) -> Result<String> {
    let text = match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            None => return Ok(number.to_string()),
            Some(float) => python_float(float),
        },
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => "None".to_owned(),
        Value::Array(_) | Value::Object(_) => {
            bail!("defaultValues: {key} is a list or an object, which no template can take; make it a text")
        }
    };
    warnings.push(format!(
        "{FILE}: defaultValues.{key} is no text; templates get {text}, as with Project Atomic"
    ));
    Ok(text)
}

/// Python's `repr` of a float: the shortest digits that mean it, an exponent below 10⁻⁴ and from 10¹⁶.
fn python_float(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if float != 0.0 && !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{float:?}"),
    }
}

/// An absolute path in one spelling: no `.`, no empty component.
fn host_path(key: &str, text: &str) -> Result<String> {
    normalized(text).with_context(|| format!("{key}: {text:?} is not an absolute path free of `..`"))
}

/// `text` without `.` and empty components; `None` if it is relative, the root, or leads upwards.
pub fn normalized(text: &str) -> Option<String> {
    let components: Vec<&str> = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let bad = |name: &&str| *name == ".." || name.len() > 255 || name.chars().any(char::is_control);
    if !text.starts_with('/') || components.is_empty() || components.iter().any(bad) {
        return None;
    }
    Some(format!("/{}", components.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(ImageSettings, Vec<String>), String> {
        let mut warnings = Vec::new();
        let settings = ImageSettings::parse(text.as_bytes(), &mut warnings);
        settings.map(|settings| (settings, warnings)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn all_keys() {
        let (settings, warnings) = parse(
            r#"{"version": "1.0", "defaultValues": {"PORT": 80, "HOST": "a\"b"},
                "renameFiles": {"/usr/local/bin/./ctl": "/usr/local/bin/${NAME}ctl"},
                "installedFilesTemplate": ["//etc/x.conf"], "noContainerService": true}"#,
        )
        .unwrap();
        let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let mut defaults = map("PORT", "80");
        defaults.extend(map("HOST", "a\"b"));
        assert_eq!(
            settings,
            ImageSettings {
                default_values: defaults,
                rename_files: map("/usr/local/bin/ctl", "/usr/local/bin/${NAME}ctl"),
                installed_files_template: vec!["/etc/x.conf".into()],
                container_service: ContainerService::HostFilesOnly,
            }
        );
        assert_eq!(warnings, [""; 0]);
        assert_eq!(parse(r#"{"version": "1.0"}"#).unwrap(), (ImageSettings::default(), vec![]));
    }

    #[test]
    fn scalars_become_what_python_makes_of_them() {
        for (json, text) in [
            ("\"x\"", "x"),
            ("-3", "-3"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.0", "1.0"),
            ("2.50", "2.5"),
            ("1e3", "1000.0"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.5e16", "1.5e+16"),
            ("123456789012345.5", "123456789012345.5"),
            ("-0.0", "-0.0"),
            ("true", "True"),
            ("false", "False"),
            ("null", "None"),
        ] {
            let (settings, _) = parse(&format!(r#"{{"defaultValues": {{"A": {json}}}}}"#)).unwrap();
            assert_eq!(settings.default_values["A"], text, "{json}");
        }
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let (_, warnings) = parse(
            r#"{"useLinks": false, "colour": "red", "version": 2, "defaultValues": {"A": 1, "A": true}}"#,
        )
        .unwrap();
        assert_eq!(
            warnings,
            [
                "exports/manifest.json: defaultValues.A stands there twice; the last one counts",
                "exports/manifest.json: version 2 is not 1.0; it is read as 1.0",
                "exports/manifest.json: defaultValues.A is no text; templates get True, as with Project Atomic",
                "exports/manifest.json: useLinks has no effect: equal files of an OSTree commit are one object, \
                 and a plain root gets copies",
                "exports/manifest.json: colour is not known and has no effect",
            ]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, message) in [
            ("[]", "it is no JSON object"),
            ("{\n\"a\": 1,}", "trailing comma at line 2 column 8"),
            (r#"{"defaultValues": []}"#, "defaultValues: [] is no object"),
            (
                r#"{"defaultValues": {"A-B": 1}}"#,
                "defaultValues: \"A-B\" is no variable's name, so no template can use it",
            ),
            (
                r#"{"defaultValues": {"A": {}}}"#,
                "defaultValues: A is a list or an object, which no template can take; make it a text",
            ),
            (r#"{"renameFiles": {"/a": 1}}"#, "renameFiles: the value of \"/a\" is no text"),
            (
                r#"{"renameFiles": {"/../a": "/b"}}"#,
                "renameFiles: \"/../a\" is not an absolute path free of `..`",
            ),
            (
                r#"{"renameFiles": {"/a": "/b", "//a": "/c"}}"#,
                "renameFiles: /a stands there twice in different spellings",
            ),
            (r#"{"installedFilesTemplate": "/a"}"#, "installedFilesTemplate: \"/a\" is no list"),
            (r#"{"installedFilesTemplate": [1]}"#, "installedFilesTemplate: 1 is no path"),
            (r#"{"noContainerService": "yes"}"#, "noContainerService: \"yes\" is neither true nor false"),
        ] {
            assert_eq!(parse(text).unwrap_err(), format!("reading exports/manifest.json: {message}"));
        }
    }
}
