//! An [`Overlay`] put over a configuration.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::{Filter, Laid, Overlay, Spreading};
use crate::settings::values::CAPABILITIES;
use crate::settings::{Capability, Network};

/// The five sets of the runtime specification.
const SETS: [&str; 5] = ["bounding", "effective", "permitted", "inheritable", "ambient"];

impl Overlay {
    /// Changes `config` in place; composer and launcher share this.
    ///
    /// # Errors
    /// When nothing is left to run, or `process` or `linux` is no object.
    pub fn apply(&self, config: &mut Value) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        if self.writable_root {
            object(config, "root")?.insert("readonly".into(), json!(false));
        }
        if let Some(name) = &self.hostname
            && let Some(config) = config.as_object_mut()
        {
            config.insert("hostname".into(), json!(name));
        }
        self.process(object(config, "process")?)?;
        self.linux(object(config, "linux")?);
        if !self.mounts.is_empty() {
            let mut list = config["mounts"].as_array().cloned().unwrap_or_default();
            self.mounts.iter().for_each(|laid| lay(&mut list, laid));
            config["mounts"] = Value::Array(list);
        }
        Ok(())
    }

    fn process(&self, process: &mut Map<String, Value>) -> Result<()> {
        if self.entrypoint.is_some() || self.args.is_some() {
            let own = texts(process.get("args").unwrap_or(&Value::Null));
            let program = self.entrypoint.clone().unwrap_or_else(|| own.into_iter().take(1).collect());
            let args = [program, self.args.clone().unwrap_or_default()].concat();
            if args.first().is_none_or(String::is_empty) {
                bail!("run.entrypoint and run.args leave nothing to run");
            }
            process.insert("args".into(), json!(args));
        }
        if !self.env.is_empty() {
            let env = texts(process.get("env").unwrap_or(&Value::Null));
            process.insert("env".into(), json!(self.environment(env)));
        }
        if let Some(cwd) = &self.cwd {
            process.insert("cwd".into(), json!(cwd));
        }
        if let Some(user) = &self.user {
            let slot = process.entry("user").or_insert_with(|| json!({}));
            slot["uid"] = json!(user.uid);
            slot["gid"] = json!(user.gid);
            slot["additionalGids"] = json!(user.additional_gids);
        }
        self.capabilities(process);
        if let Some(flag) = self.no_new_privileges {
            process.insert("noNewPrivileges".into(), json!(flag));
        }
        if !self.rlimits.is_empty() {
            let mut limits = process.get("rlimits").and_then(Value::as_array).cloned().unwrap_or_default();
            limits.retain(|limit| !self.rlimits.iter().any(|own| own["type"] == limit["type"]));
            limits.extend(self.rlimits.iter().cloned());
            process.insert("rlimits".into(), Value::Array(limits));
        }
        Ok(())
    }

    /// The last value counts, the first place stays.
    fn environment(&self, mut env: Vec<String>) -> Vec<String> {
        for (name, value) in &self.env {
            let is_it = |entry: &String| entry.split_once('=').is_some_and(|(own, _)| own == name.as_str());
            let first = env.iter().position(is_it);
            env.retain(|entry| !is_it(entry));
            if !value.is_empty() {
                env.insert(first.unwrap_or(env.len()), format!("{name}={value}"));
            }
        }
        env
    }

    /// `cap_drop` takes from every set, `cap_add` gives to the bounding set, and to root's own. A user of the manifest's
    /// other than root has the bounding set only, as in a generated configuration.
    fn capabilities(&self, process: &mut Map<String, Value>) {
        if self.cap_add.is_empty() && self.cap_drop.is_empty() && self.user.is_none() {
            return;
        }
        let root = process.get("user").and_then(|user| user["uid"].as_u64()).unwrap_or(0) == 0;
        let sets = process.entry("capabilities").or_insert_with(|| json!({}));
        let named = |list: &[Capability], name: &str| list.iter().any(|known| known.as_str() == name);
        for set in SETS {
            let own = texts(&sets[set]);
            let gives = set == "bounding" || root && matches!(set, "effective" | "permitted");
            let takes_all =
                named(&self.cap_drop, Capability::ALL) || set != "bounding" && !root && self.user.is_some();
            let stays = |name: &str| own.iter().any(|own| own == name) && !takes_all;
            let comes =
                |name: &str| gives && (named(&self.cap_add, name) || named(&self.cap_add, Capability::ALL));
            let wanted = |name: &&str| !named(&self.cap_drop, name) && (stays(name) || comes(name));
            let list: Vec<&str> = CAPABILITIES.into_iter().filter(wanted).collect();
            sets[set] = json!(list);
        }
    }

    fn linux(&self, linux: &mut Map<String, Value>) {
        if let Some(network) = self.network {
            let mut spaces = linux.get("namespaces").and_then(Value::as_array).cloned().unwrap_or_default();
            spaces.retain(|space| space["type"] != "network");
            if network == Network::None {
                spaces.push(json!({ "type": "network" }));
            }
            linux.insert("namespaces".into(), Value::Array(spaces));
        }
        match &self.seccomp {
            Some(Filter::None) => drop(linux.remove("seccomp")),
            Some(Filter::These(filter)) => drop(linux.insert("seccomp".into(), filter.clone())),
            None => {}
        }
        if let Some(least) = self.spreading {
            let own = linux.get("rootfsPropagation").and_then(Value::as_str).unwrap_or("rslave");
            let (enough, word) = match least {
                Spreading::Slave => (own.ends_with("slave") || own.ends_with("shared"), "slave"),
                Spreading::Shared => (own.ends_with("shared"), "shared"),
            };
            if !enough {
                linux.insert("rootfsPropagation".into(), json!(word));
            }
        }
        if self.devices {
            let resources = linux.entry("resources").or_insert_with(|| json!({}));
            let mut rules = resources["devices"].as_array().cloned().unwrap_or_default();
            rules.push(json!({ "allow": true, "access": "rwm" }));
            resources["devices"] = Value::Array(rules);
        }
    }
}

/// Puts a mount where the image had one at its place; else before what lies below it, so that this is not hidden; else at
/// the end.
fn lay(list: &mut Vec<Value>, laid: &Laid) {
    let place = |mount: &Value| plain(mount["destination"].as_str().unwrap_or_default());
    let same = |mount: &Value| laid.places.contains(&place(mount));
    let below = |mount: &Value| {
        let place = place(mount);
        laid.below.contains(&place) || laid.places.iter().any(|own| lies_below(&place, own))
    };
    let first = list.iter().position(|mount| same(mount) || below(mount));
    let before = first.map_or(list.len(), |first| list[..first].iter().filter(|mount| !same(mount)).count());
    list.retain(|mount| !(same(mount) || laid.hides && below(mount)));
    list.insert(before.min(list.len()), laid.mount.clone());
}

/// Whether a path lies below another by its spelling.
pub(super) fn lies_below(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

/// A destination without doubled or final slashes.
pub(super) fn plain(path: &str) -> String {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.fold(String::new(), |path, name| path + "/" + name)
}

/// The texts of a list.
pub(super) fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn object<'a>(config: &'a mut Value, key: &str) -> Result<&'a mut Map<String, Value>> {
    let slot = config.as_object_mut().map(|config| config.entry(key).or_insert_with(|| json!({})));
    slot.and_then(Value::as_object_mut).with_context(|| format!("{key} is not an object"))
}
