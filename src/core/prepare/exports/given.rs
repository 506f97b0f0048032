//! Settings that nothing of an image can heed are refused by name: values mean something or are refused.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::exports::Rendered;
use crate::exports::unit::{FILE, Fitted, Starts};
use crate::settings::Settings;

/// Refuses values that no template uses.
///
/// # Errors
/// With all their names.
pub fn unused(settings: &Settings, rendered: &Rendered) -> Result<()> {
    if !rendered.unused.is_empty() && settings.unit_template.is_none() {
        let unused: Vec<&str> = rendered.unused.iter().map(String::as_str).collect();
        bail!("reading `set`: no template of the image uses {}; mend it or take it out", unused.join(", "));
    }
    Ok(())
}

/// Refuses `[container.run]` for what starts no container, and every section for what has no unit.
///
/// # Errors
/// With the first such setting.
pub fn refuse(settings: &Settings, rendered: &Rendered) -> Result<()> {
    let all = |_: &str| true;
    let stays = |key: &str| !matches!(key, "stop_signal" | "stop_timeout");
    match &rendered.unit {
        None => {
            let why = "the image is files for the host only (noContainerService), so nothing is started";
            for section in ["run", "limits", "unit"] {
                none(settings, section, all, why)?;
            }
            Ok(())
        }
        Some(Fitted { starts: Starts::HostProgram, .. }) if settings.unit_template.is_none() => {
            let why = format!("{FILE} of the image does not start the container ($EXEC_START)");
            none(settings, "run", stays, &why)
        }
        Some(_) => Ok(()),
    }
}

fn none(settings: &Settings, section: &str, wanted: impl Fn(&str) -> bool, why: &str) -> Result<()> {
    let value = |settings: &Settings| serde_json::to_value(settings).expect("settings have string keys only");
    let (given, default) = (value(settings), value(&Settings::default()));
    let given = given[section].as_object().into_iter().flatten();
    for (key, value) in given.filter(|(key, _)| wanted(key)) {
        if default[section].get(key).unwrap_or(&Value::Null) != value {
            bail!("{section}.{key} means nothing here: {why}; take it out");
        }
    }
    Ok(())
}
