//! What a user may say about one container, validated by its types.
//!
//! The manifest deserializes straight into these, so a wrong value is told with its line; the bundle keeps them
//! (`settings.json`), so that an update on the host renders again what the composer rendered.

pub mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use values::{
    AbsolutePath, ByteSize, Capability, CpuQuota, Duration, EnvName, Hostname, Rlimit, RlimitName, Signal,
    UnitName,
};

/// `[container.run]`: how the process runs. Everything absent comes from the image, then from sysctr's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Replaces the image's Entrypoint; the image's Cmd is dropped unless `args` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's Cmd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Merged over the image's Env; an empty value unsets.
    pub env: BTreeMap<EnvName, String>,
    /// `user[:group]`, names or numbers, resolved in the image's passwd and group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Working directory; default the image's, then `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<AbsolutePath>,
    /// Host name in the container's own UTS namespace; default the container's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// The signal that asks the container to stop; default the image's StopSignal, then SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<Signal>,
    /// How long a stop waits before it kills; default 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<Duration>,
    /// Network namespace; default the image's own configuration's, else the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Capabilities beyond the default set.
    pub cap_add: Vec<Capability>,
    /// Capabilities taken from the default set.
    pub cap_drop: Vec<Capability>,
    /// System call filter; default the image's own configuration's, else `"default"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// Whether setuid programs and file capabilities are without effect; default the image's own configuration's, else
    /// true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_new_privileges: Option<bool>,
    /// Whether the root file system is read-only; default true. The embedded root can't be written either way.
    pub read_only: Switch,
    /// Host paths bound into the container.
    pub mounts: Vec<Mount>,
    /// Further empty writable directories, beyond /run, /tmp, /var/tmp and /dev/shm.
    pub tmpfs: Vec<AbsolutePath>,
    /// Device nodes of the host, by path.
    pub devices: Vec<AbsolutePath>,
    /// Resource limits of the process (`setrlimit(2)`), by name such as `NOFILE`.
    pub rlimits: BTreeMap<RlimitName, Rlimit>,
    /// Path in the container → where its state lives. An image's volume without an entry lives in
    /// `/var/lib/sysctr/NAME/…`.
    pub volumes: BTreeMap<AbsolutePath, Volume>,
}

/// A yes or no that is yes when not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Switch(pub bool);

impl Default for Switch {
    fn default() -> Self {
        Self(true)
    }
}

/// `network`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The host's own network; `/etc/resolv.conf` and `/etc/hosts` are bound read-only.
    #[default]
    Host,
    /// A private network namespace with nothing but a loopback that is down.
    None,
}

/// `seccomp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
pub enum Seccomp {
    /// The container engines' common default profile.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile (the `linux.seccomp` object of the runtime specification, or the engines' profile format) in a
    /// file beside the manifest.
    File(String),
}

impl From<String> for Seccomp {
    fn from(text: String) -> Self {
        match text.as_str() {
            "default" => Self::Default,
            "unconfined" => Self::Unconfined,
            _ => Self::File(text),
        }
    }
}

impl From<Seccomp> for String {
    fn from(seccomp: Seccomp) -> Self {
        match seccomp {
            Seccomp::Default => "default".into(),
            Seccomp::Unconfined => "unconfined".into(),
            Seccomp::File(path) => path,
        }
    }
}

/// One entry of `mounts`: a recursive bind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Path on the host.
    pub source: AbsolutePath,
    /// Path in the container.
    pub target: AbsolutePath,
    /// Read-only (only the mount itself, not what is mounted below it); default false.
    #[serde(default)]
    pub ro: bool,
    /// The source is a file or a socket, no directory. Tells what to make where the image has nothing at the target;
    /// default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub file: bool,
    /// How later mounts spread; default private.
    #[serde(default)]
    pub propagation: Propagation,
}

/// `propagation` of a mount (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Nothing spreads either way.
    #[default]
    Private,
    /// Later mounts of the host appear in the container.
    Slave,
    /// Later mounts appear on both sides.
    Shared,
}

/// Where a volume lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
pub enum Volume {
    /// In memory, filled from the image at each start.
    Tmpfs,
    /// A directory of the host, filled from the image when it does not exist.
    Host(AbsolutePath),
}

impl TryFrom<String> for Volume {
    type Error = values::InvalidValue;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "tmpfs" { Ok(Self::Tmpfs) } else { AbsolutePath::try_from(text).map(Self::Host) }
    }
}

impl From<Volume> for String {
    fn from(volume: Volume) -> Self {
        match volume {
            Volume::Tmpfs => "tmpfs".into(),
            Volume::Host(path) => path.into(),
        }
    }
}

/// `[container.limits]`: properties of the unit (systemd.resource-control(5)), but for `pids`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// `MemoryMax=`, for example `"512M"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// How many processes and threads the container may have; the unit's `TasksMax=` is 128 more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<std::num::NonZeroU64>,
    /// `CPUQuota=`, for example `"150%"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuQuota>,
}

/// `[container.unit]`: how systemd runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Unit {
    /// A Tera template beside the manifest, instead of sysctr's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// May take the place of a unit that the target has already.
    pub replace: bool,
    /// When in the boot it starts.
    pub phase: Phase,
    /// `Description=`; default names the container and its image's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `After=`, beyond the phase's own.
    pub after: Vec<UnitName>,
    /// `Before=`, beyond the phase's own.
    pub before: Vec<UnitName>,
    /// `Requires=`; each also gets `After=`.
    pub requires: Vec<UnitName>,
    /// Replaces the phase's `WantedBy=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_by: Option<Vec<UnitName>>,
    /// `Restart=`; default the image's own unit's, else on-failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// The payload tells readiness by sd_notify(3); the runtime stays in the foreground.
    pub notify: bool,
    /// `boot-complete.target` waits for it.
    pub essential: bool,
    /// When it counts as up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// `LoadCredential=` names, seen by the payload below `/run/credentials`.
    pub credentials: Vec<String>,
    /// `EnvironmentFile=` of the launcher, merged into the payload's environment at start.
    pub environment_files: Vec<AbsolutePath>,
}

/// `phase` of the boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// As early as a unit can run: after the root is remounted, before sysinit.target; /var may be absent.
    Early,
    /// Before sysinit.target, once its state is mounted.
    Sysinit,
    /// After sysinit.target, before basic.target.
    Basic,
    /// An ordinary service.
    #[default]
    MultiUser,
}

/// `restart` (systemd.service(5), `Restart=`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// After a clean exit only.
    OnSuccess,
    /// After an unclean exit, signal or time-out.
    #[default]
    OnFailure,
    /// After a signal, time-out or watchdog.
    OnAbnormal,
    /// After a signal.
    OnAbort,
    /// After a missed watchdog.
    OnWatchdog,
    /// Whatever happened.
    Always,
}

impl Restart {
    /// As `Restart=` spells it.
    pub fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnSuccess => "on-success",
            Self::OnFailure => "on-failure",
            Self::OnAbnormal => "on-abnormal",
            Self::OnAbort => "on-abort",
            Self::OnWatchdog => "on-watchdog",
            Self::Always => "always",
        }
    }
}

/// `health`: a command that must succeed before the unit counts as active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Program and arguments, run in the container.
    pub exec: Vec<String>,
    /// Pause between two tries; default 1 s.
    #[serde(default = "Health::default_interval")]
    pub interval: Duration,
    /// When to give up; default 30 s.
    #[serde(default = "Health::default_timeout")]
    pub timeout: Duration,
}

impl Health {
    fn default_interval() -> Duration {
        Duration::from_millis(1_000)
    }

    fn default_timeout() -> Duration {
        Duration::from_millis(30_000)
    }
}

/// `fallback`: what runs when the active generation's link, bundle or record can't be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// Nothing: the unit fails.
    #[default]
    None,
    /// The embedded container.
    Embedded,
}

/// Everything about one container that is not its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where `sysctr update` looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
    /// Whether links and preset enable it.
    pub enable: bool,
    /// The OCI runtime: a program name, or a path in the target.
    pub runtime: String,
    /// See [`Fallback`].
    pub fallback: Fallback,
    /// A directory of the host that is the root instead of the image's, which is not embedded then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<AbsolutePath>,
    /// Host files that may take the place of the target's and that other containers may bring, too, if they are equal; paths
    /// that lines of tmpfiles.d may make otherwise than another container's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_conflicts: Vec<AbsolutePath>,
    /// Values for templates.
    pub set: BTreeMap<String, String>,
    /// `[container.run]`.
    pub run: Run,
    /// `[container.limits]`.
    pub limits: Limits,
    /// `[container.unit]`.
    pub unit: Unit,
    /// Content of the seccomp profile that `run.seccomp` names, if it names a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<serde_json::Value>,
    /// Text of the template that `unit.template` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_template: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            update: None,
            enable: true,
            runtime: "runc".into(),
            fallback: Fallback::default(),
            rootfs: None,
            allow_conflicts: Vec::new(),
            set: BTreeMap::new(),
            run: Run::default(),
            limits: Limits::default(),
            unit: Unit::default(),
            seccomp_profile: None,
            unit_template: None,
        }
    }
}
