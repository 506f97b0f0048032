//! A mount unit that binds one file of a bundle over a path of the machine (systemd.mount(5)).

use camino::{Utf8Path, Utf8PathBuf};

/// A unit beside the container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountUnit {
    /// Its file name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Links that enable it: path relative to the unit directory → the link's text.
    pub links: Vec<(Utf8PathBuf, String)>,
}

/// Binds `source` over `path`, before `unit` starts if there is one. What is mounted on must exist, so it waits for
/// systemd-tmpfiles.
pub fn bind(source: &Utf8Path, path: &Utf8Path, unit: Option<&str>) -> MountUnit {
    let plain = |path: &Utf8Path| path.as_str().replace('%', "%%");
    let before = unit.map(|unit| format!("{unit} ")).unwrap_or_default();
    let text = format!(
        "# Made by sysctr: a program of a container, from the host image\n\
         [Unit]\n\
         DefaultDependencies=no\n\
         After=systemd-tmpfiles-setup.service\n\
         Before={before}umount.target\n\
         Conflicts=umount.target\n\
         \n\
         [Mount]\n\
         What={}\n\
         Where={}\n\
         Type=none\n\
         Options=bind,ro\n\
         \n\
         [Install]\n\
         WantedBy={before}multi-user.target\n",
        plain(source),
        plain(path),
    );
    let name = format!("{}.mount", escaped(path));
    let wanting = unit.into_iter().chain(["multi-user.target"]);
    let links = wanting.map(|other| (format!("{other}.wants/{name}").into(), format!("../{name}"))).collect();
    MountUnit { name, text, links }
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
