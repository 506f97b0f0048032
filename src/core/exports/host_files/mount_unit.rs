//! A mount unit that binds one file of a bundle over a path of the machine (systemd.mount(5)).

use camino::Utf8Path;

/// A unit beside the container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountUnit {
    /// Its file name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Binds `source` over `path` before `unit` starts. What is mounted on must exist, so it waits for systemd-tmpfiles.
pub fn bind(source: &Utf8Path, path: &Utf8Path, unit: &str) -> MountUnit {
    let plain = |path: &Utf8Path| path.as_str().replace('%', "%%");
    let text = format!(
        "# Made by sysctr: a program of {unit} that lies in the host image\n\
         [Unit]\n\
         DefaultDependencies=no\n\
         After=systemd-tmpfiles-setup.service\n\
         Before={unit} umount.target\n\
         Conflicts=umount.target\n\
         \n\
         [Mount]\n\
         What={}\n\
         Where={}\n\
         Type=none\n\
         Options=bind,ro\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target {unit}\n",
        plain(source),
        plain(path),
    );
    MountUnit { name: format!("{}.mount", escaped(path)), text }
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
