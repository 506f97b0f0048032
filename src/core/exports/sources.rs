//! Bind sources: whether the host will have them when the container starts (A§1.3, A§8 row 28), judged by the target and
//! never by the machine that composes.

use anyhow::Result;

use super::config::{Asks, Bind};
use super::tmpfiles::{self, Guess};
use crate::tree::ImageTree;
use crate::tree::lookup::Found;

/// What every host has, whatever its image says.
const ALWAYS: [&str; 12] = [
    "/",
    "/dev",
    "/dev/log",
    "/dev/pts",
    "/dev/shm",
    "/proc",
    "/run",
    "/run/systemd",
    "/sys",
    "/tmp",
    "/var",
    "/var/run",
];

/// The binds whose source nothing is known to make. `makes` are the paths that tmpfiles lines make, those of the target
/// and the container's own; `exists` tells whether the target has a path of the host.
///
/// # Errors
/// When the target can't be looked at.
pub fn unknown<'a>(
    asks: &'a Asks,
    makes: &[String],
    exists: &dyn Fn(&str) -> Result<bool>,
) -> Result<Vec<&'a Bind>> {
    let mut unknown: Vec<&Bind> = Vec::new();
    for bind in &asks.binds {
        let source = bind.source.as_str();
        // Parents are made along the way.
        let made = |path: &String| {
            path == source || path.strip_prefix(source).is_some_and(|rest| rest.starts_with('/'))
        };
        let below = |top: &str| source.starts_with(top);
        let known = ALWAYS.contains(&source) || below("/proc/") || below("/sys/") || makes.iter().any(made);
        if !known && !unknown.iter().any(|other| other.source == bind.source) && !exists(source)? {
            unknown.push(bind);
        }
    }
    Ok(unknown)
}

/// What is done about unknown sources when an image brings no tmpfiles of its own: lines for directories, and what the
/// user should know about the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Automatic {
    /// tmpfiles.d(5) text; empty when there is nothing to make.
    pub lines: String,
    /// One sentence for each source.
    pub warnings: Vec<String>,
}

/// Guesses what unknown sources are, by what the image has at their destinations.
pub fn automatic(unknown: &[&Bind], tree: &ImageTree) -> Automatic {
    let mut automatic = Automatic::default();
    for bind in unknown {
        let source = bind.source.as_str();
        let in_image = match tree.resolve(bind.destination.as_bytes()).map(|resolved| resolved.found) {
            Ok(Found::Dir(_)) => Some(true),
            Ok(Found::File(_)) => Some(false),
            Ok(Found::Missing) | Err(_) => None,
        };
        automatic.warnings.push(match tmpfiles::guess(source, in_image) {
            Guess::Directory => {
                automatic.lines.push_str(&tmpfiles::directories(&[source]));
                format!("bind source {source} is not in the target: it is made as a directory at boot")
            }
            Guess::FileOrSocket => format!(
                "bind source {source} is not in the target and seems to be a file or a socket: it must be there when \
                 the container starts"
            ),
            Guess::Hosts => {
                format!("bind source {source} is not in the target: it must be there when the container starts")
            }
        });
    }
    automatic
}

/// What the user should know about unknown sources of an image that brings its own tmpfiles, which then count alone.
pub fn told(unknown: &[&Bind]) -> Vec<String> {
    let sentence = |bind: &&Bind| {
        format!(
            "bind source {} is neither in the target nor made by tmpfiles: it must be there when the container starts",
            bind.source
        )
    };
    unknown.iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::AbsolutePath;
    use crate::tree::TreePath;

    fn asks(binds: &[(&str, &str)]) -> Asks {
        let bind = |(source, destination): &(&str, &str)| Bind {
            source: AbsolutePath::try_from((*source).to_owned()).unwrap(),
            destination: (*destination).to_owned(),
        };
        Asks { binds: binds.iter().map(bind).collect(), ..Asks::default() }
    }

    #[test]
    fn sources_are_looked_for_in_the_target_and_in_tmpfiles() {
        let asks = asks(&[
            ("/", "/host"),
            ("/etc/hosts", "/etc/hosts"),
            ("/var/lib/app", "/data"),
            ("/run/app", "/run/app"),
            ("/run/ap", "/x"),
            ("/dev/log", "/dev/log"),
            ("/run/ap", "/y"),
        ]);
        let makes = ["/run/app/sub".to_owned(), "/var/lib/app".to_owned()];
        let unknown = unknown(&asks, &makes, &|path| Ok(path == "/etc/hosts")).unwrap();
        let sources: Vec<_> = unknown.iter().map(|bind| bind.source.as_str()).collect();
        assert_eq!(sources, ["/run/ap"]);
        assert_eq!(
            told(&unknown),
            [
                "bind source /run/ap is neither in the target nor made by tmpfiles: it must be there when the container starts"
            ]
        );
    }

    #[test]
    fn what_a_missing_source_is_tells_the_image() {
        let mut tree = ImageTree::new();
        for dir in ["etc", "data.d"] {
            tree.insert_directory(&TreePath::parse(dir.as_bytes()).unwrap()).unwrap();
        }
        tree.insert_file(&TreePath::parse(b"etc/app").unwrap()).unwrap();
        let asks = asks(&[
            ("/etc/app", "/etc/app"),
            ("/srv/data.conf", "/data.d/"),
            ("/dev/vport1p1", "/dev/vport1p1"),
        ]);
        let unknown = unknown(&asks, &[], &|_| Ok(false)).unwrap();
        let automatic = automatic(&unknown, &tree);
        assert_eq!(automatic.lines, "d /srv/data.conf 0700 0 0 - -\n");
        assert_eq!(
            automatic.warnings,
            [
                "bind source /etc/app is not in the target and seems to be a file or a socket: it must be there when the \
                 container starts",
                "bind source /srv/data.conf is not in the target: it is made as a directory at boot",
                "bind source /dev/vport1p1 is not in the target: it must be there when the container starts",
            ]
        );
    }
}
