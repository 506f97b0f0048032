//! What systemd needs: the unit's text, the links of its `[Install]` section, its preset, and the tmpfiles lines of its
//! state. Computes only.
//!
//! `service` renders the unit from a template, `install` reads `[Install]` back from what was rendered, so that links
//! and text agree whichever template it was; `wishes` says the same over a unit that an image brings; `escape` is the only way for a setting's text into a unit.

mod escape;
mod install;
mod service;
mod tmpfiles;
mod wishes;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::image::ImageConfig;
use crate::name::ContainerName;
use crate::record::VolumeSeed;
use crate::settings::{AbsolutePath, Settings, Signal};
pub use service::{STOP_TIMEOUT, forced_restart, kill_signal, stop_timeout, success_exit_status};
pub use tmpfiles::lines as tmpfiles;
pub use wishes::{Over, Wish, wishes};

/// What units are made from.
pub struct Source<'a> {
    /// The container.
    pub name: &'a ContainerName,
    /// Where its bundle will lie on the host: an absolute path.
    pub bundle: &'a Utf8Path,
    /// What the user wants.
    pub settings: &'a Settings,
    /// The image's own configuration, for its labels.
    pub image: &'a ImageConfig,
    /// What asks the payload to stop.
    pub stop_signal: &'a Signal,
    /// Its volumes on the host.
    pub volumes: &'a [VolumeSeed],
    /// Paths on the host whose file systems must be mounted at the start.
    pub host_paths: &'a [AbsolutePath],
}

/// What systemd needs for one container.
#[derive(Debug)]
pub struct Units {
    /// The unit's text.
    pub unit: String,
    /// systemd.preset(5) text.
    pub preset: String,
    /// tmpfiles.d(5) text, if it is needed.
    pub tmpfiles: Option<String>,
    /// Path relative to the unit directory → link text; empty when not enabled.
    pub links: Vec<(Utf8PathBuf, String)>,
}

/// Renders the unit and what belongs to it. Equal sources give equal texts.
///
/// # Errors
/// When a setting's text can't stand in a unit, or a template of the user's fails; the message has the line.
pub fn generate(source: &Source<'_>) -> Result<Units> {
    let unit = service::render(source)?;
    let links = install::links(source.name, &unit)?;
    let verb = if source.settings.enable { "enable" } else { "disable" };
    Ok(Units {
        unit,
        preset: format!("{verb} {}\n", source.name.unit()),
        tmpfiles: tmpfiles::lines(source.name, source.volumes),
        links: if source.settings.enable { links } else { Vec::new() },
    })
}
