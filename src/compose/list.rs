//! `list`: what a target embeds, from its index and records.

use anyhow::Result;
use sysctr_core::placement::Present;

use crate::report::{FORMAT, ListReport, ListedContainer};
use crate::target::host_tree::HostTree;

/// Tells what is embedded.
///
/// # Errors
/// When index or records can't be read.
pub fn list(target: &dyn HostTree) -> Result<ListReport> {
    let present = Present::read(target)?;
    let containers = present.records.values().map(|record| ListedContainer {
        name: record.name.clone(),
        group: record.group.clone(),
        image: record.image.source.clone(),
        manifest: record.image.manifest,
        config: record.image.config,
        architecture: record.image.architecture.clone(),
        entries: record.tree.entries,
        bytes: record.tree.bytes,
        rootfs: record.rootfs.clone(),
        unit: record.name.unit(),
    });
    let containers: Vec<_> = containers.collect();
    let composed = !containers.is_empty() || present.embedded.launcher.is_some();
    Ok(ListReport {
        format: FORMAT,
        tool: composed.then_some(present.embedded.tool),
        launcher: present.embedded.launcher,
        containers,
    })
}
