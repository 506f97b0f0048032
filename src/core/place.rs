//! Where each thing lies on the host. The only file with host paths; docs/format.md describes what is in them.
//!
//! Paths in the target are written relative to its root (`usr/lib/…`), for use beneath a directory handle;
//! paths that programs on the running host see begin with `/`.

use camino::{Utf8Path, Utf8PathBuf};

use crate::digest::Digest;
use crate::name::ContainerName;

/// Directory of all embedded containers, relative to the target's root; mode 0755.
pub const EMBEDDED_DIR: &str = "usr/lib/containers/atomic";
/// The list of what is embedded, relative to the target's root; mode 0644. Written last.
pub const EMBEDDED_JSON: &str = "usr/lib/containers/atomic/embedded.json";
/// Where a compose stages and journals, relative to the target's root; gone when none is under way.
pub const STAGING_DIR: &str = "usr/lib/containers/atomic/.staging";
/// Units of the distribution, relative to the target's root.
pub const UNIT_DIR: &str = "usr/lib/systemd/system";
/// Presets of the distribution, relative to the target's root.
pub const PRESET_DIR: &str = "usr/lib/systemd/system-preset";
/// tmpfiles.d of the distribution, relative to the target's root.
pub const TMPFILES_DIR: &str = "usr/lib/tmpfiles.d";
/// Where systemd keeps what lines of tmpfiles.d(5) copy, by the path that it gets; relative to the target's root.
pub const FACTORY_DIR: &str = "usr/share/factory";
/// The launcher, relative to the target's root.
pub const LAUNCHER: &str = "usr/bin/sysctr";
/// The launcher's name as a systemd generator, relative to the target's root.
pub const GENERATOR: &str = "usr/lib/systemd/system-generators/sysctr-generator";
/// Text of the generator link.
pub const GENERATOR_TARGET: &str = "../../../bin/sysctr";
/// systemd itself, whose machine type tells the target's architecture; relative to the target's root.
pub const SYSTEMD: &str = "usr/lib/systemd/systemd";

/// In a bundle directory: the runtime configuration.
pub const CONFIG_JSON: &str = "config.json";
/// In a bundle directory: the flattened root file system.
pub const ROOTFS: &str = "rootfs";
/// In a bundle directory: [`crate::record::Record`].
pub const RECORD_JSON: &str = "record.json";
/// In a bundle directory: every file of `rootfs` with its digest, compressed ([`crate::tree::dump`]).
pub const TREE_DUMP: &str = "tree.dump.zst";
/// In a bundle directory: what each layer of the image does ([`crate::store::listing`]), so that updates need not fetch it.
pub const LAYERS: &str = "layers.zst";
/// In a bundle directory: the image's configuration, byte for byte.
pub const IMAGE_CONFIG: &str = "image-config.json";
/// In a bundle directory: the image manifest, byte for byte (not for docker-archive, which has none).
pub const IMAGE_MANIFEST: &str = "image-manifest.json";
/// In a bundle directory: the validated settings that bundle and unit were made from.
pub const SETTINGS_JSON: &str = "settings.json";
/// In a bundle directory: a host unit that `replace` put aside.
pub const REPLACED_UNIT: &str = "replaced.service";

/// In a bundle directory: [`crate::record::Signers`], if updates must be signed.
pub const SIGNERS_JSON: &str = "signers.json";

/// In a bundle directory: the public key of the signer with that place in [`SIGNERS_JSON`], from 0.
pub fn signer_key(place: usize) -> String {
    format!("signer-{place}.key")
}

/// In a bundle directory: what the container took the place of at `path`.
pub fn put_aside(name: &ContainerName, path: &Utf8Path) -> String {
    if *path == unit(name) {
        return REPLACED_UNIT.to_owned();
    }
    // `/etc` may become `/usr/etc` after a compose.
    let path = path.as_str();
    let path = path.strip_prefix("usr/").filter(|rest| rest.starts_with("etc/")).unwrap_or(path);
    let digest = Digest::of(path.as_bytes()).to_string();
    let hex = digest.split_once(':').map_or(digest.as_str(), |(_, hex)| hex);
    format!("replaced-{}", &hex[..16])
}

/// The attribute of a bundle directory by which rpm-ostree and chunkah give all that is in it one layer of its own.
pub const COMPONENT: &str = "user.component";

/// In a bundle directory: [`COMPONENT`]'s value.
pub fn component(name: &ContainerName) -> String {
    format!("sysctr-{name}")
}

/// What the launcher writes about containers, on the running host.
pub const RUN_DIR: &str = "/run/sysctr";
/// Runtime state (`--root` of runc and crun), on the running host.
pub const RUNTIME_STATE: &str = "/run/sysctr/runtime";
/// State of containers that survives host updates, on the running host.
pub const STATE_DIR: &str = "/var/lib/sysctr";

/// Bundles of generations and the store, on the running host; relative to its root.
pub const GENERATIONS_DIR: &str = "var/lib/containers/atomic";
/// What is active, and all about generations but their bundles, on the running host; relative to its root.
pub const ACTIVE_DIR: &str = "etc/containers/atomic";
/// In [`GENERATIONS_DIR`]: the store, an OSTree repository of mode `bare`.
pub const STORE: &str = ".repo";
/// In a generation's directory below [`ACTIVE_DIR`]: [`crate::generation::Generation`].
pub const GENERATION_JSON: &str = "generation.json";
/// In a generation's directory: [`crate::generation::Trial`], as long as it is one.
pub const TRIAL_JSON: &str = "trial.json";
/// In a generation's directory: an empty file; a host update does not supersede the generation.
pub const HOLD: &str = "hold";
/// In a generation's directory: units and links as they come below a unit directory.
pub const UNITS: &str = "units";

/// In a generation's directory: what it has on the host beside its units ([`crate::generation::HostFiles`]).
pub const HOST_FILES_JSON: &str = "host-files.json";
/// In a generation's bundle: the contents of those, by their paths.
pub const HOST_FILES: &str = "host-files";
/// In a generation's bundle: what systemd-tmpfiles copies and mount units bind, by the path that it gets.
pub const SEEDS: &str = "seeds";

/// Below [`ACTIVE_DIR`]: what updates of a container wrote over the host's own files ([`crate::generation::Written`]), and copies
/// of what was there.
pub fn written_dir(name: &ContainerName) -> Utf8PathBuf {
    Utf8Path::new(ACTIVE_DIR).join(format!(".{name}{WRITTEN}"))
}

/// The container that a name in [`ACTIVE_DIR`] is such a directory of.
pub fn written_by(file: &str) -> Option<ContainerName> {
    file.strip_prefix('.')?.strip_suffix(WRITTEN)?.parse().ok()
}

const WRITTEN: &str = ".files";
/// In such a directory: the document.
pub const WRITTEN_JSON: &str = "written.json";

/// The container's directory, relative to the target's root.
pub fn bundle(name: &ContainerName) -> Utf8PathBuf {
    Utf8PathBuf::from(EMBEDDED_DIR).join(name.as_str())
}

/// The container's unit, relative to the target's root.
pub fn unit(name: &ContainerName) -> Utf8PathBuf {
    Utf8PathBuf::from(UNIT_DIR).join(name.unit())
}

/// The container's preset, relative to the target's root.
pub fn preset(name: &ContainerName) -> Utf8PathBuf {
    Utf8PathBuf::from(PRESET_DIR).join(format!("50-sysctr-{name}.preset"))
}

/// The container's tmpfiles.d file name. A plain NAME would shadow the distribution's `var.conf` for a container `var`.
pub fn tmpfiles_name(name: &ContainerName) -> String {
    format!("sysctr-{name}.conf")
}

/// Whether a tmpfiles.d file is a container's.
pub fn is_tmpfiles_name(file: &str) -> bool {
    let name = file.strip_prefix("sysctr-").and_then(|rest| rest.strip_suffix(".conf"));
    name.is_some_and(|name| name.parse::<ContainerName>().is_ok())
}

/// The container's tmpfiles.d file, relative to the target's root.
pub fn tmpfiles(name: &ContainerName) -> Utf8PathBuf {
    Utf8PathBuf::from(TMPFILES_DIR).join(tmpfiles_name(name))
}

/// What the launcher writes for one container, on the running host: the PID file `pid`, a late-bound `config.json`.
pub fn run_dir(name: &ContainerName) -> Utf8PathBuf {
    Utf8PathBuf::from(RUN_DIR).join(name.as_str())
}

/// The container's volumes, on the running host.
pub fn state_dir(name: &ContainerName) -> Utf8PathBuf {
    Utf8PathBuf::from(STATE_DIR).join(name.as_str())
}
