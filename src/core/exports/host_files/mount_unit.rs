//! A mount unit that binds one file of the host image over a path of the machine (systemd.mount(5)).

use camino::{Utf8Path, Utf8PathBuf};

/// A unit beside the container's. Name and text say nothing of the container: a mount unit's name is its path, so two
/// containers that share a program share the unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountUnit {
    /// Its file name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What is the container's own about it, if it has a unit: path relative to the unit directory, and text.
    pub drop_in: Option<(Utf8PathBuf, String)>,
    /// Links that enable it: path relative to the unit directory → the link's text.
    pub links: Vec<(Utf8PathBuf, String)>,
    /// The image's host file that it binds, by its path before links of the target.
    pub host_file: String,
}

/// Binds `source` over `path`, where `host_file` comes to lie, before `unit` starts if there is one. What is mounted on must
/// exist, so it waits for systemd-tmpfiles.
pub fn bind(source: &Utf8Path, path: &Utf8Path, unit: Option<&str>, host_file: &str) -> MountUnit {
    let plain = |path: &Utf8Path| path.as_str().replace('%', "%%");
    let text = format!(
        "# Made by sysctr: a program of a container, from the host image\n\
         [Unit]\n\
         DefaultDependencies=no\n\
         After=systemd-tmpfiles-setup.service\n\
         Before=umount.target\n\
         Conflicts=umount.target\n\
         \n\
         [Mount]\n\
         What={}\n\
         Where={}\n\
         Type=none\n\
         Options=bind,ro\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        plain(source),
        plain(path),
    );
    let name = format!("{}.mount", escaped(path));
    let wanting = unit.into_iter().chain(["multi-user.target"]);
    let links = wanting.map(|other| (format!("{other}.wants/{name}").into(), format!("../{name}"))).collect();
    let drop_in = unit.map(|unit| {
        let stem = unit.strip_suffix(".service").unwrap_or(unit);
        (format!("{name}.d/50-sysctr-{stem}.conf").into(), format!("[Unit]\nBefore={unit}\n"))
    });
    MountUnit { name, text, drop_in, links, host_file: host_file.to_owned() }
}

/// A path as a unit's name (systemd.unit(5), "String Escaping for Inclusion in Unit Names").
fn escaped(path: &Utf8Path) -> String {
    let mut name = String::new();
    for (index, byte) in path.as_str().trim_matches('/').bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b'_' | b':' | b'.' => name.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            _ => name.push_str(&format!("\\x{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `systemd-escape --path` says it.
    #[test]
    fn names_are_systemds() {
        for (path, name) in [
            ("/var/opt/cni/bin/x", "var-opt-cni-bin-x"),
            ("/var/lib/a-b_c.d", "var-lib-a\\x2db_c.d"),
            ("/.x", "\\x2ex"),
            ("/var/é %", "var-\\xc3\\xa9\\x20\\x25"),
        ] {
            assert_eq!(escaped(path.into()), name);
        }
    }
}
