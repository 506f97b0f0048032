//! The compose manifest: what was written ([`ManifestFile`]) → what is wanted ([`Manifest`]).
//!
//! TOML, or the same in JSON when the file's name ends in `.json`. Every error is told as `FILE:LINE:COLUMN`.

mod location;
mod registry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::ImageRef;
use sysctr_core::name::{ContainerName, GroupName, InvalidName};
use sysctr_core::settings::{AbsolutePath, Fallback, Limits, Run, Seccomp, Settings, Unit};

use location::{Source, Syntax};
pub use registry::{Registry, Tls};

/// A manifest, or a command line, that can't be understood. The program exits with 2 on it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotUnderstood(String);

impl NotUnderstood {
    /// With its whole message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// A manifest as it is written. Unknown keys are errors.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "sysctr compose manifest")]
pub struct ManifestFile {
    /// This manifest owns the containers of this group: composing again converges them and touches no other's.
    #[schemars(with = "String")]
    group: GroupName,
    /// The containers.
    #[serde(default)]
    container: Vec<ContainerFile>,
}

/// `[[container]]` as it is written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ContainerFile {
    /// Also the name of its unit; default from the image's name.
    #[schemars(with = "Option<String>")]
    name: Option<ContainerName>,
    /// `oci:DIR[:TAG|@DIGEST]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`, `dir:DIR`, relative to the
    /// manifest; `docker://REGISTRY/NAME[:TAG|@DIGEST]`, `containers-storage:NAME`.
    #[schemars(with = "String")]
    image: ImageRef,
    /// Pin: of the index or the image manifest; of the config for docker-archive.
    #[schemars(with = "Option<String>")]
    digest: Option<Digest>,
    /// Where `sysctr update` looks; default `image` if it is docker://.
    update: Option<String>,
    /// Credentials for the registry (containers-auth.json(5)), relative to the manifest; default the user's own.
    authfile: Option<String>,
    /// Whether the registry must have a valid certificate; default true.
    tls_verify: Option<bool>,
    /// Key files (OpenPGP or sigstore), relative to the manifest: one of these keys must have signed the image.
    signed_by: Option<Vec<String>>,
    /// Links per [Install] and a preset that agrees; default true.
    enable: Option<bool>,
    /// A name searched in the target's /usr/bin and /usr/sbin, or a path there; default runc.
    runtime: Option<String>,
    /// What runs when the active generation can't be read; default none.
    #[serde(default)]
    fallback: Fallback,
    /// A directory of the host that is the root instead of the image's, which is not embedded then.
    rootfs: Option<AbsolutePath>,
    /// Host files of the image that may take the place of the target's, and that other containers may bring, too, if they
    /// are equal; paths that lines of its tmpfiles.d may make otherwise than another container's.
    #[serde(default)]
    allow_conflicts: Vec<AbsolutePath>,
    /// Values for templates.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// How the process runs.
    #[serde(default)]
    run: Run,
    /// Limits of the unit.
    #[serde(default)]
    limits: Limits,
    /// How systemd runs it.
    #[serde(default)]
    unit: Unit,
}

/// What the user wants embedded.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Who owns it.
    pub group: GroupName,
    /// What becomes of the group's containers that do not stand here.
    pub rest: Rest,
    /// The directory that paths of images are relative to.
    pub base: Utf8PathBuf,
    /// Names are unique.
    pub containers: Vec<Container>,
}

/// What becomes of a group's containers that are embedded and not wanted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// They are removed: a manifest says all that its group is.
    Remove,
    /// They stay: a command line adds one container.
    Keep,
}

/// One wanted container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its name.
    pub name: ContainerName,
    /// Its image; paths are relative to the manifest's directory.
    pub image: ImageRef,
    /// What the image must be.
    pub pin: Option<Digest>,
    /// The way to its registry.
    pub registry: Registry,
    /// Everything else.
    pub settings: Settings,
}

/// The group of containers that come from the command line.
pub fn cli_group() -> GroupName {
    "cli".parse().expect("a valid name")
}

impl Manifest {
    /// Reads and validates the manifest at `path`, and the templates and profiles that it names.
    ///
    /// # Errors
    /// [`NotUnderstood`] with `FILE:LINE:COLUMN` when something in it is wrong; another error when it can't be read.
    pub fn read(path: &Utf8Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading manifest {path}"))?;
        let base = path.parent().filter(|parent| !parent.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
        let source = Source { path, text: &text, syntax: Syntax::of(path) };
        let file: ManifestFile = source.parse()?;
        Self::validate(file, base, &source)
    }

    fn validate(file: ManifestFile, base: &Utf8Path, source: &Source<'_>) -> Result<Self> {
        let mut containers: Vec<Container> = Vec::with_capacity(file.container.len());
        for (index, written) in file.container.into_iter().enumerate() {
            let container = Container::validate(written, base)
                .map_err(|error| source.refuse(index, &format!("{error:#}")))?;
            if containers.iter().any(|earlier| earlier.name == container.name) {
                let why = format!(
                    "container {} stands here twice; give one of them another `name`",
                    container.name
                );
                return Err(source.refuse(index, &why).into());
            }
            containers.push(container);
        }
        Ok(Self { group: file.group, rest: Rest::Remove, base: base.to_owned(), containers })
    }

    /// The one container of a command line without a manifest.
    ///
    /// # Errors
    /// [`NotUnderstood`] when no name was given and the image's makes none.
    pub fn single(
        image: ImageRef,
        name: Option<ContainerName>,
        set: BTreeMap<String, String>,
        registry: Registry,
    ) -> Result<Self> {
        let name = match name {
            Some(name) => name,
            None => {
                default_name(&image).map_err(|error| NotUnderstood::new(format!("{error:#}; give --name")))?
            }
        };
        let settings = Settings { update: update_source(None, &image), set, ..Settings::default() };
        let containers = vec![Container { name, image, pin: None, registry, settings }];
        Ok(Self { group: cli_group(), rest: Rest::Keep, base: ".".into(), containers })
    }
}

impl Container {
    fn validate(written: ContainerFile, base: &Utf8Path) -> Result<Self> {
        let name = match written.name {
            Some(name) => name,
            None => default_name(&written.image).context("give the container a `name`")?,
        };
        let (authfile, signed_by) = (written.authfile, written.signed_by);
        let registry = Registry::validate(&written.image, authfile, written.tls_verify, signed_by)?;
        let seccomp_profile = match &written.run.seccomp {
            Some(Seccomp::File(path)) => Some(seccomp_profile(&beside(base, path, "run.seccomp")?)?),
            Some(Seccomp::Default | Seccomp::Unconfined) | None => None,
        };
        let unit_template = match &written.unit.template {
            Some(path) => Some(read_beside(base, path, "unit.template")?),
            None => None,
        };
        if let Some(health) = &written.unit.health
            && health.exec.is_empty()
        {
            return Err(anyhow!("unit.health.exec is empty; name the program that tells health"));
        }
        let settings = Settings {
            update: update_source(written.update, &written.image),
            enable: written.enable.unwrap_or(true),
            runtime: written.runtime.unwrap_or_else(|| "runc".into()),
            fallback: written.fallback,
            rootfs: written.rootfs,
            allow_conflicts: written.allow_conflicts,
            set: written.set,
            run: written.run,
            limits: written.limits,
            unit: written.unit,
            seccomp_profile,
            unit_template,
        };
        Ok(Self { name, image: written.image, pin: written.digest, registry, settings })
    }
}

/// The name that the image suggests. `etcd-3.5` would read as generation 5 of `etcd-3`, so its dots become `-`.
fn default_name(image: &ImageRef) -> Result<ContainerName> {
    let suggested = image.default_name();
    let name = match suggested.parse() {
        Err(InvalidName::Generation(_)) => suggested.replace('.', "-").parse(),
        name => name,
    };
    name.with_context(|| format!("naming the container after {image}"))
}

/// An image of a registry is its own update source.
fn update_source(written: Option<String>, image: &ImageRef) -> Option<String> {
    let from_registry = || Some(image.to_string()).filter(|text| text.starts_with("docker://"));
    written.or_else(from_registry)
}

/// The path of a file that the manifest names, relative to the manifest.
fn beside(base: &Utf8Path, path: &str, key: &str) -> Result<Utf8PathBuf> {
    let path = base.join(path);
    if path.is_file() { Ok(path) } else { Err(anyhow!("{key}: there is no file {path}")) }
}

fn read_beside(base: &Utf8Path, path: &str, key: &str) -> Result<String> {
    let path = beside(base, path, key)?;
    std::fs::read_to_string(&path).with_context(|| format!("{key}: reading {path}"))
}

fn seccomp_profile(path: &Utf8Path) -> Result<serde_json::Value> {
    let text = std::fs::read(path).with_context(|| format!("run.seccomp: reading {path}"))?;
    serde_json::from_slice(&text).with_context(|| format!("run.seccomp: reading {path} as JSON"))
}

/// JSON schema of the manifest, for editors and for manifests in JSON.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(ManifestFile).to_value()
}
