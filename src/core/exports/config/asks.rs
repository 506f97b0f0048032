//! What a configuration asks of the host and of its root: bind sources, mount targets, devices, users.

use anyhow::{Result, bail};
use serde_json::Value;

use super::devices::{self, DevicePolicy};
use crate::settings::AbsolutePath;

/// Everything that must be there for the container to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asks {
    /// Paths of the host that are bound, in the configuration's order.
    pub binds: Vec<Bind>,
    /// Places in the root that something is mounted on, in the configuration's order. They may repeat.
    pub mount_points: Vec<MountPoint>,
    /// What of the host's devices it may open.
    pub devices: DevicePolicy,
    /// The payload's working directory.
    pub cwd: String,
    /// The payload's user and groups, as numbers: uid, gid, further gids.
    pub user: (u32, u32, Vec<u32>),
}

/// A path of the host seen in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: AbsolutePath,
    /// In the container.
    pub destination: String,
}

/// A place in the root that something is mounted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// In the container, absolute.
    pub destination: String,
    /// What must be there.
    pub kind: MountPointKind,
}

/// What must be at a mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountPointKind {
    /// A directory: a file system is mounted.
    Directory,
    /// What the source is, a directory or a file.
    Like(AbsolutePath),
    /// What the source is, beside the configuration in the bundle.
    LikeInBundle(String),
}

/// Collects everything; brings bind sources into one spelling.
///
/// # Errors
/// When a bind has no source, or one that no host path can be.
pub fn collect(config: &mut Value, warnings: &mut Vec<String>) -> Result<Asks> {
    let mut asks = Asks { cwd: text(&config["process"]["cwd"]), ..Asks::default() };
    if !asks.cwd.starts_with('/') {
        bail!("process.cwd is {:?}, not an absolute path", asks.cwd);
    }
    let user = &config["process"]["user"];
    let id = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    let groups = user["additionalGids"].as_array().map(|list| list.iter().map(id).collect());
    asks.user = (id(&user["uid"]), id(&user["gid"]), groups.unwrap_or_default());
    for (index, mount) in
        config.get_mut("mounts").and_then(Value::as_array_mut).into_iter().flatten().enumerate()
    {
        collect_mount(index, mount, &mut asks, warnings)?;
    }
    asks.devices = devices::policy(config, warnings);
    for (stage, hooks) in config["hooks"].as_object().into_iter().flatten() {
        if hooks.as_array().is_some_and(|list| !list.is_empty()) {
            warnings.push(format!("hooks.{stage} runs programs of the host as root at every start"));
        }
    }
    Ok(asks)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn collect_mount(index: usize, mount: &mut Value, asks: &mut Asks, warnings: &mut Vec<String>) -> Result<()> {
    let options: Vec<&str> =
        mount["options"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let has = |option: &str| options.contains(&option);
    if has("ro") && has("rw") {
        let last = options.iter().rev().find(|option| matches!(**option, "ro" | "rw"));
        warnings.push(format!(
            "mounts[{index}].options has both ro and rw; the last one, {}, counts",
            last.copied().unwrap_or_default()
        ));
    }
    let destination = text(&mount["destination"]);
    if destination.split('/').any(|name| name == "..") || destination.chars().any(char::is_control) {
        bail!("mounts[{index}].destination {destination:?} has a `..` or a control character");
    }
    let binds = mount["type"] == "bind" || has("bind") || has("rbind");
    let source = text(&mount["source"]);
    let kind = match (binds, source.starts_with('/')) {
        (false, _) => MountPointKind::Directory,
        (true, true) => {
            let Ok(path) = AbsolutePath::try_from(source.clone()) else {
                bail!("mounts[{index}].source {source:?} is not an absolute path free of `..`");
            };
            let units = "/etc/systemd";
            let below =
                path.as_str().strip_prefix(units).is_some_and(|it| it.is_empty() || it.starts_with('/'));
            if below && options.iter().rfind(|option| matches!(**option, "ro" | "rw")) != Some(&"ro") {
                warnings.push(format!(
                    "mounts[{index}] lets the container write {path}: it can change the host's units"
                ));
            }
            asks.binds.push(Bind { source: path.clone(), destination: destination.clone() });
            MountPointKind::Like(path)
        }
        (true, false) if source.is_empty() => bail!("mounts[{index}] is a bind without a source"),
        (true, false) => {
            let inside = !source.split('/').any(|name| name == "..");
            if !inside {
                bail!("mounts[{index}].source {source:?} leads out of the bundle");
            }
            MountPointKind::LikeInBundle(source)
        }
    };
    asks.mount_points.push(MountPoint { destination, kind });
    Ok(())
}
