//! Host files that would lie at, or before, what the container itself places.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::super::Prepared;
use crate::exports::host_files::{HostFile, HostNode};
use crate::name::ContainerName;
use crate::place;

/// Where systemd looks before `/usr/lib` (systemd.unit(5), tmpfiles.d(5), systemd.preset(5)).
const EARLIER: [&str; 3] = ["etc", "usr/etc", "usr/local/lib"];

/// Refuses host files over the container's own unit, preset, tmpfiles.d file, mount units and links, or where systemd
/// would take them instead.
///
/// # Errors
/// When there is one; the message names both.
pub(super) fn refuse(name: &ContainerName, prepared: &Prepared, files: &[HostFile]) -> Result<()> {
    let own = own(name, prepared);
    let logical = files
        .iter()
        .filter(|file| !matches!(file.node, HostNode::Directory(_)))
        .map(|file| (Utf8Path::new(file.path.trim_start_matches('/')), file));
    let placed = prepared.host.iter().map(|placed| (placed.at.as_path(), &placed.file));
    for (at, file) in logical.chain(placed) {
        let there = own.get(at).map(|what| (what, at.to_owned()));
        let lib = |top: &str| at.strip_prefix(top).ok().map(|rest| Utf8Path::new("usr/lib").join(rest));
        let mut shadowed = EARLIER.iter().filter_map(|top| lib(top));
        if let Some((what, path)) = there.or_else(|| shadowed.find_map(|path| Some((own.get(&path)?, path))))
        {
            bail!(
                "placing host file {}: it would take the place of the container's own {what} /{path}; leave it out, or \
                 give it another name by renameFiles",
                file.path
            );
        }
    }
    Ok(())
}

/// What the container places beside host files, and what each is.
fn own(name: &ContainerName, prepared: &Prepared) -> BTreeMap<Utf8PathBuf, &'static str> {
    let units = Utf8Path::new(place::UNIT_DIR);
    let mut own = BTreeMap::new();
    let links = prepared.mounts.iter().flat_map(|unit| &unit.links).chain(&prepared.links);
    own.extend(links.map(|(path, _)| (units.join(path), "link")));
    let drop_ins = prepared.mounts.iter().filter_map(|unit| unit.drop_in.as_ref());
    own.extend(drop_ins.map(|(path, _)| (units.join(path), "drop-in")));
    own.extend(prepared.mounts.iter().map(|unit| (units.join(&unit.name), "mount unit")));
    if prepared.tmpfiles.is_some() {
        own.insert(place::tmpfiles(name), "tmpfiles.d file");
    }
    if !prepared.unit.is_empty() {
        own.insert(place::unit(name), "unit");
        own.insert(place::preset(name), "preset");
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Stat, TreePath};

    #[test]
    fn host_files_neither_replace_nor_shadow_what_is_the_containers() {
        let name: ContainerName = "web".parse().unwrap();
        let prepared = || Prepared {
            unit: b"[Unit]".to_vec(),
            tmpfiles: Some(Vec::new()),
            links: vec![("multi-user.target.wants/web.service".into(), "../web.service".into())],
            ..Prepared::nothing()
        };
        let file = |path: &str| HostFile {
            from: TreePath::root(),
            path: path.to_owned(),
            node: HostNode::Symlink(Stat::implied(0o777), b"x".to_vec()),
        };
        for (path, what, own) in [
            ("/usr/lib/systemd/system/web.service", "unit", "usr/lib/systemd/system/web.service"),
            ("/etc/systemd/system/web.service", "unit", "usr/lib/systemd/system/web.service"),
            ("/usr/local/lib/systemd/system/web.service", "unit", "usr/lib/systemd/system/web.service"),
            ("/usr/lib/tmpfiles.d/sysctr-web.conf", "tmpfiles.d file", "usr/lib/tmpfiles.d/sysctr-web.conf"),
            (
                "/usr/lib/systemd/system-preset/50-sysctr-web.preset",
                "preset",
                "usr/lib/systemd/system-preset/50-sysctr-web.preset",
            ),
            (
                "/usr/lib/systemd/system/multi-user.target.wants/web.service",
                "link",
                "usr/lib/systemd/system/multi-user.target.wants/web.service",
            ),
        ] {
            assert_eq!(
                refuse(&name, &prepared(), &[file(path)]).unwrap_err().to_string(),
                format!(
                    "placing host file {path}: it would take the place of the container's own {what} /{own}; leave it \
                     out, or give it another name by renameFiles"
                )
            );
            // An image that is files only has none of its own.
            refuse(&name, &Prepared::nothing(), &[file(path)]).unwrap();
        }
        let linked = crate::prepare::HostPlaced {
            at: "usr/lib/systemd/system/web.service".into(),
            file: file("/lib/systemd/system/web.service"),
        };
        let through = Prepared { host: vec![linked], ..prepared() };
        assert!(refuse(&name, &through, &[]).is_err());
        refuse(&name, &prepared(), &[file("/etc/systemd/system/web.service.d/x.conf")]).unwrap();
    }
}
