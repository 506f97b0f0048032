//! tmpfiles.d(5) lines: those that an image brings, checked, and those that we write for it (A§1.1, A§8 rows 4, 28).

mod line;

use super::faults::{BadLine, Faults};
use super::template::Expanded;
use line::Line;
pub(super) use line::{MAKING, word};

/// What messages call the file.
pub const FILE: &str = "exports/tmpfiles.template";

/// A fragment that can be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Its text; `None` when it says nothing, which still means that the image wants nothing made for it.
    pub text: Option<Vec<u8>>,
    /// Paths that its lines make.
    pub makes: Vec<String>,
    /// Users and groups by name: who owns what it makes must be known to the host.
    pub users: Vec<String>,
    /// Groups by name.
    pub groups: Vec<String>,
}

/// Checks a rendered fragment.
///
/// # Errors
/// All lines that systemd-tmpfiles would refuse, by their number in the template.
pub fn check(rendered: &Expanded) -> Result<Fragment, Faults> {
    let (mut fragment, bad) = read(rendered);
    if !bad.is_empty() {
        return Err(Faults::of_lines(FILE, bad));
    }
    if let Some(text) = fragment.text.as_mut().filter(|text| !text.ends_with(b"\n")) {
        text.push(b'\n');
    }
    for names in [&mut fragment.users, &mut fragment.groups] {
        names.sort();
        names.dedup();
    }
    Ok(fragment)
}

/// What is wrong with the lines of a fragment that could be expanded only in part.
pub fn wrong_lines(expanded: &Expanded) -> Vec<BadLine> {
    let (_, bad) = read(expanded);
    bad.into_iter().filter(|bad| expanded.is_whole(bad.line)).collect()
}

fn read(rendered: &Expanded) -> (Fragment, Vec<BadLine>) {
    let mut fragment = Fragment::default();
    let mut bad = Vec::new();
    for (number, line) in (1..).zip(rendered.text.split(|byte| *byte == b'\n')) {
        let parsed = std::str::from_utf8(line).map_err(|_| "it is no UTF-8".to_owned()).and_then(Line::parse);
        let line = match parsed {
            Ok(None) => continue,
            Ok(Some(line)) => line,
            Err(what) => {
                bad.push(BadLine { line: rendered.lines.of(number), what });
                continue;
            }
        };
        if line.makes() {
            fragment.makes.push(line.path);
        }
        fragment.users.extend(line.user);
        fragment.groups.extend(line.group);
        fragment.text.get_or_insert_with(|| rendered.text.clone());
    }
    (fragment, bad)
}

/// What a line makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its path.
    pub path: String,
    /// Whether that is a directory.
    pub directory: bool,
}

/// What lines make, whoever wrote them: those that we don't understand make nothing that we know of.
pub fn made(text: &[u8]) -> Vec<Made> {
    let text = String::from_utf8_lossy(text);
    let parsed = text.lines().filter_map(|line| Line::parse(line).ok().flatten()).filter(Line::makes);
    parsed.map(|line| Made { directory: line.makes_directory(), path: line.path }).collect()
}

/// `text` without the lines that would make a directory of what lines of the target (`theirs`) make something else of, or the
/// other way round, and the paths of these. systemd-tmpfiles takes the first line of a path, in the order of the files' names, so
/// `d /var/run` would put a directory in the place of the link that every host has.
pub fn without_clashes(text: &[u8], theirs: &[Made]) -> (Vec<u8>, Vec<String>) {
    let mut paths = Vec::new();
    let mut kept = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let own = made(line);
        let clash = |own: &&Made| {
            let same = theirs.iter().filter(|their| their.path == own.path);
            same.clone().count() > 0 && same.clone().all(|their| their.directory != own.directory)
        };
        match own.iter().find(clash) {
            Some(own) => paths.push(own.path.clone()),
            None => kept.extend_from_slice(line),
        }
    }
    (kept, paths)
}

/// A path as a field of a line: `%` doubled, quoted where a word would end.
pub fn field(path: &str) -> String {
    let path = path.replace('%', "%%");
    if path.chars().any(|c| c.is_whitespace() || "\"'\\#".contains(c)) {
        return format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""));
    }
    path
}

/// What a bind source that the target lacks is probably: told from what the image has at the other end, else from its
/// name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// A directory, which a line makes.
    Directory,
    /// A file or a socket, which only its owner can make.
    FileOrSocket,
    /// Something of the kernel's or of the host image's own, which no line can make.
    Hosts,
}

/// Guesses; `in_image` is what the image has at the mount's destination, if it has anything: whether that is a directory.
pub fn guess(source: &str, in_image: Option<bool>) -> Guess {
    let below = |top: &str| source.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'));
    if !["/etc", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/var"].into_iter().any(below) {
        return Guess::Hosts;
    }
    match in_image {
        Some(true) => return Guess::Directory,
        Some(false) => return Guess::FileOrSocket,
        None => {}
    }
    let name = source.rsplit('/').next().unwrap_or_default();
    const FILES: [&str; 9] =
        ["passwd", "group", "shadow", "gshadow", "hosts", "hostname", "localtime", "machine-id", "adjtime"];
    let ends = [".conf", ".sock", ".socket", ".pid", ".json", ".yaml", ".cfg"];
    if FILES.contains(&name) || ends.into_iter().any(|end| name.ends_with(end)) || name.ends_with("-release")
    {
        return Guess::FileOrSocket;
    }
    Guess::Directory
}

/// Lines for directories that the target lacks and an image without lines of its own binds: root's, 0700.
pub fn directories(paths: &[&str]) -> String {
    // systemd-tmpfiles complains about the old name of /run.
    let path = |path: &&str| {
        field(&path.strip_prefix("/var/run/").map_or((*path).to_owned(), |rest| format!("/run/{rest}")))
    };
    paths.iter().map(|written| format!("d {} 0700 0 0 - -\n", path(written))).collect()
}

#[cfg(test)]
mod tests;
