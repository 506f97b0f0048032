//! `[container.run]` over a configuration that an image brings: each setting has one exact meaning there, or is refused
//! by name.
//!
//! It is decided at compose, against the image's root, and applied to what is rendered then and at every start: so it
//! holds nothing that has to be looked up.

mod apply;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::mounts::{self, Mounts};
use super::{Source, capabilities, process, seccomp, spec, user};
use crate::settings::{Capability, EnvName, Network, Run};
use crate::tree::{ImageTree, TreePath};

/// What the manifest says over an image's own configuration, resolved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overlay {
    /// `process.args` from their beginning; what the image has there goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    /// What follows the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<String>>,
    /// Over `process.env`; an empty value unsets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<EnvName, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cap_add: Vec<Capability>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cap_drop: Vec<Capability>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp: Option<Filter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_new_privileges: Option<bool>,
    /// `root.readonly` is false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    writable_root: bool,
    /// Of the runtime specification, by `type`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rlimits: Vec<Value>,
    /// In path order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Laid>,
    /// What later mounts of a host need of the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    spreading: Option<Spreading>,
    /// Bound device nodes: the unit decides about them, so the runtime's own filter must not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    devices: bool,
}

/// A user as numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Numbers {
    uid: u32,
    gid: u32,
    additional_gids: Vec<u32>,
}

/// A system call filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Filter {
    None,
    These(Value),
}

/// A mount of the user's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Laid {
    /// Of the runtime specification.
    mount: Value,
    /// All spellings of its place that the image's configuration may have: its mounts there go.
    places: Vec<String>,
    /// Spellings of the image's mounts below it that do not begin with its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    below: Vec<String>,
    /// It hides everything below: the image's mounts there go too, or the runtime would make their places in the
    /// host's directory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hides: bool,
}

/// The least that `linux.rootfsPropagation` must be (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Spreading {
    Slave,
    Shared,
}

/// An overlay, and what follows from its mounts.
#[derive(Debug)]
pub struct Decided {
    /// See [`Overlay`].
    pub overlay: Overlay,
    /// Its mounts: volumes and paths on the host.
    pub mounts: Mounts,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Decides what `[container.run]` means over `config`, which the image brings.
///
/// # Errors
/// When a setting can't mean anything there, or could not anywhere; the message begins with it.
pub fn decide(source: &Source<'_>, config: &Value) -> Result<Decided> {
    let run = &source.settings.run;
    let mut warnings = Vec::new();
    let mounts = mounts::by_user(source, &mut warnings)?;
    let mut overlay = Overlay {
        entrypoint: run.entrypoint.clone(),
        args: run.args.clone(),
        env: run.env.clone(),
        cwd: run.cwd.as_ref().map(|path| path.as_str().to_owned()),
        user: numbers(source)?,
        hostname: run.hostname.as_ref().map(|name| name.as_str().to_owned()),
        network: run.network,
        cap_add: run.cap_add.clone(),
        cap_drop: run.cap_drop.clone(),
        seccomp: None,
        no_new_privileges: run.no_new_privileges,
        writable_root: !run.read_only.0,
        rlimits: spec::rlimits(run),
        mounts: laid(source.tree, config, &mounts)?,
        spreading: spreading(&mounts),
        devices: !run.devices.is_empty(),
    };
    // Refuses contradictions; the sets themselves are the image's to begin with.
    capabilities::decide(run)?;
    own_host_name(run, config)?;
    let mut over = config.clone();
    overlay.apply(&mut over)?;
    process::check_args(&apply::texts(&over["process"]["args"]))?;
    process::check_env(run.env.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    if run.seccomp.is_some() {
        let bounding = apply::texts(&over["process"]["capabilities"]["bounding"]);
        let bounding: Vec<&str> = bounding.iter().map(String::as_str).collect();
        overlay.seccomp = Some(seccomp::decide(source, &bounding)?.map_or(Filter::None, Filter::These));
    }
    let uid = over["process"]["user"]["uid"].as_u64().unwrap_or(0);
    let gains = over["process"]["noNewPrivileges"] != true;
    warnings.extend(spec::doubts(run, uid, gains));
    Ok(Decided { overlay, mounts, warnings })
}

fn numbers(source: &Source<'_>) -> Result<Option<Numbers>> {
    let Some(text) = &source.settings.run.user else { return Ok(None) };
    let user = user::resolve(text, source.passwd, source.group).context("run.user")?;
    Ok(Some(Numbers { uid: user.uid, gid: user.gid, additional_gids: user.additional_gids }))
}

/// A host name needs a UTS namespace of the container's own.
fn own_host_name(run: &Run, config: &Value) -> Result<()> {
    let own = |space: &Value| space["type"] == "uts" && space["path"].as_str().is_none_or(str::is_empty);
    let spaces = config["linux"]["namespaces"].as_array();
    if run.hostname.is_some() && !spaces.is_some_and(|list| list.iter().any(own)) {
        bail!(
            "run.hostname: the image's own configuration has no UTS namespace, so the host itself would get the name; \
             take it out"
        );
    }
    Ok(())
}

fn laid(tree: &ImageTree, config: &Value, mounts: &Mounts) -> Result<Vec<Laid>> {
    let theirs: Vec<&str> = config["mounts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|mount| mount["destination"].as_str())
        .collect();
    let lay = |(place, mount): (&TreePath, &mounts::Mount)| {
        let destination = mounts::destination(place);
        let (mut places, mut below) = (vec![destination.clone()], Vec::new());
        for spelled in &theirs {
            let plain = apply::plain(spelled);
            let path = tree.resolve(spelled.as_bytes())?.path;
            if path == *place && plain != destination {
                places.push(plain);
            } else if path != *place && path.starts_with(place) && !apply::lies_below(&plain, &destination) {
                below.push(plain);
            }
        }
        Ok(Laid {
            mount: json!({
                "destination": destination,
                "type": mount.kind,
                "source": mount.source,
                "options": mount.options,
            }),
            places,
            below,
            hides: mount.hides(),
        })
    };
    mounts.list.iter().map(lay).collect()
}

fn spreading(mounts: &Mounts) -> Option<Spreading> {
    match mounts.root_propagation {
        "shared" => Some(Spreading::Shared),
        "slave" => Some(Spreading::Slave),
        _ => None,
    }
}

impl Overlay {
    /// Whether it changes anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests;
