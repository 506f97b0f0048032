//! A runtime configuration that an image brings, after rendering: strict JSON, brought up to the OCI runtime
//! specification 1.0.2, held to what sysctr needs, everything else passed through untouched (A§1.3, A§5, A§8 rows 1, 2,
//! 29, 92, 93).

mod asks;
mod devices;
mod schema;
mod shape;
mod upgrade;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::json;
use crate::bundle::overlay::Overlay;
pub use asks::{Asks, Bind, MountPoint, MountPointKind};
pub use devices::DevicePolicy;
pub use shape::check;

/// Below the cgroup that the runtime is started in, hence below the unit's.
const CGROUPS_PATH: &str = "payload";

/// A configuration that a runtime can take.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// `config.json`.
    pub value: Value,
    /// What it asks of root and host.
    pub asks: Asks,
    /// What was changed and what the user should know, each naming its field.
    pub warnings: Vec<String>,
}

/// Settles the configuration `bytes`, which messages call `file`. `root` is where its root lies: `rootfs`, or an absolute
/// path on the host. Composer and launcher share this function.
///
/// # Errors
/// When it is no JSON, a key stands twice, a field has a value of another type or is of a schema that can't be brought up
/// to date, its root is another, or it names no program.
pub fn settle(bytes: &[u8], file: &str, root: &str) -> Result<Settled> {
    let doing = || format!("reading {file}");
    let parsed = json::parse(bytes).map_err(|error| {
        let line = bytes.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let line: String = line.trim().chars().take(80).collect();
        anyhow::anyhow!("reading {file}, its variables replaced: {error}: {line:?}")
    })?;
    if !parsed.repeated.is_empty() {
        bail!(
            "reading {file}: {} stands there twice, and runtimes disagree which one counts; take one out",
            parsed.repeated.join(", ")
        );
    }
    let mut settled = parsed.value;
    if !settled.is_object() {
        bail!("reading {file}: it is no JSON object");
    }
    let mut warnings = Vec::new();
    upgrade::upgrade(&mut settled, &mut warnings).with_context(doing)?;
    force(&mut settled, root, &mut warnings).with_context(doing)?;
    shape::check(&settled).with_context(doing)?;
    let mut asks = asks::collect(&mut settled, &mut warnings).with_context(doing)?;
    give_devices_a_place(&mut settled, &mut asks, &mut warnings);
    for warning in &mut warnings {
        *warning = format!("{file}: {warning}");
    }
    Ok(Settled { value: settled, asks, warnings })
}

impl Settled {
    /// The same with what the manifest says over it.
    ///
    /// # Errors
    /// When together they are no configuration.
    pub fn over(self, overlay: &Overlay, file: &str) -> Result<Self> {
        if overlay.is_empty() {
            return Ok(self);
        }
        let doing = || format!("putting [container.run] over {file}");
        let Self { mut value, mut warnings, asks } = self;
        overlay.apply(&mut value).with_context(doing)?;
        shape::check(&value).with_context(doing)?;
        let mut told = Vec::new();
        let own = asks.devices;
        // Device rules stay the image's: what the manifest adds is the unit's to allow.
        let asks = Asks { devices: own, ..asks::collect(&mut value, &mut told).with_context(doing)? };
        let told = told.into_iter().map(|told| format!("{file}: {told}"));
        let new: Vec<_> = told.filter(|told| !warnings.contains(told)).collect();
        warnings.extend(new);
        Ok(Self { value, asks, warnings })
    }
}

/// What sysctr decides (A§1.3; design of the start).
fn force(config: &mut Value, root: &str, warnings: &mut Vec<String>) -> Result<()> {
    match config.pointer("/root/path") {
        Some(path) if path == "rootfs" => {}
        Some(path) => bail!("root.path is {path}, not \"rootfs\"; the image's root lies there"),
        None => bail!("it has no root.path; it must be \"rootfs\""),
    }
    set(config, "root", "readonly", json!(true), warnings)?;
    object(config, "root")?.insert("path".into(), json!(root));
    set(config, "process", "terminal", json!(false), warnings)?;
    let linux = object(config, "linux")?;
    if let Some(path) = linux.get("cgroupsPath").filter(|path| *path != CGROUPS_PATH && *path != "") {
        warnings
            .push(format!("linux.cgroupsPath {path} is replaced: the container stays in its unit's cgroup"));
    }
    linux.insert("cgroupsPath".into(), json!(CGROUPS_PATH));
    Ok(())
}

/// Runtimes make device nodes in `/dev`, and can't in a root that nobody can write: without a mount there it gets a tmpfs, in front
/// of what is mounted below it.
fn give_devices_a_place(config: &mut Value, asks: &mut Asks, warnings: &mut Vec<String>) {
    let path = |point: &MountPoint| format!("{}/", point.destination.trim_end_matches('/'));
    if asks.mount_points.iter().any(|point| path(point) == "/dev/") {
        return;
    }
    let below = asks.mount_points.iter().position(|point| path(point).starts_with("/dev/"));
    let at = below.unwrap_or(asks.mount_points.len());
    let Some(config) = config.as_object_mut() else { return };
    let Some(mounts) = config.entry("mounts").or_insert_with(|| json!([])).as_array_mut() else { return };
    let options = json!(["nosuid", "strictatime", "mode=755", "size=65536k"]);
    mounts
        .insert(at, json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": options }));
    asks.mount_points
        .insert(at, MountPoint { destination: "/dev".to_owned(), kind: MountPointKind::Directory });
    warnings.push("nothing is mounted on /dev: a tmpfs is, since device nodes are made there".to_owned());
}

/// Sets a field; tells it if the image said something else.
fn set(
    config: &mut Value,
    object: &str,
    field: &str,
    value: Value,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let map = self::object(config, object)?;
    if let Some(was) = map.get(field).filter(|was| **was != value) {
        warnings.push(format!("{object}.{field} is {was}; {value} is used"));
    }
    map.insert(field.to_owned(), value);
    Ok(())
}

/// The object at `key`, made if it is missing.
fn object<'a>(config: &'a mut Value, key: &str) -> Result<&'a mut Map<String, Value>> {
    let slot = config.as_object_mut().map(|config| config.entry(key).or_insert_with(|| json!({})));
    slot.and_then(Value::as_object_mut).with_context(|| format!("{key} is not an object"))
}

#[cfg(test)]
mod tests;
