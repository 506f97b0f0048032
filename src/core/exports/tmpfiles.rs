//! tmpfiles.d(5) lines: those that an image brings, checked, and those that we write for it (A§1.1, A§8 rows 4, 28).

use anyhow::{Context, Result, bail};

/// What messages call the file.
pub const FILE: &str = "exports/tmpfiles.template";

const TYPES: &str = "fwdDevqQpLcbCxXrRzZtThHaA";
const MODIFIERS: &str = "+!-=~^";
/// Types that make what their path names.
const MAKING: &str = "fdDvqQpLcbC";
/// Types whose argument is needed.
const ARGUED: &str = "wcbtThHaA";

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

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    letter: char,
    path: String,
    user: Option<String>,
    group: Option<String>,
}

/// Checks a rendered fragment.
///
/// # Errors
/// When systemd-tmpfiles would refuse a line; the message has its number.
pub fn check(rendered: &[u8]) -> Result<Fragment> {
    let text = std::str::from_utf8(rendered).with_context(|| format!("reading {FILE}"))?;
    let mut fragment = Fragment::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = parse(line).with_context(|| format!("reading {FILE}: line {number}"))?;
        if MAKING.contains(line.letter) {
            fragment.makes.push(line.path);
        }
        fragment.users.extend(line.user);
        fragment.groups.extend(line.group);
        fragment.text.get_or_insert_with(|| rendered.to_vec());
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
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parsed = lines.filter_map(|line| parse(line).ok()).filter(|line| MAKING.contains(line.letter));
    parsed.map(|line| Made { directory: "dDvqQ".contains(line.letter), path: line.path }).collect()
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

fn parse(line: &str) -> Result<Line> {
    let mut rest = line;
    let mut next = || word(&mut rest);
    let kind = next()?.unwrap_or_default();
    let Some(path) = next()? else { bail!("{line:?} has no path") };
    let (mode, user, group, age) = (next()?, next()?, next()?, next()?);
    let argument = rest.trim();
    let mut letters = kind.chars();
    let letter = letters.next().filter(|letter| TYPES.contains(*letter));
    let Some(letter) = letter.filter(|_| letters.all(|letter| MODIFIERS.contains(letter))) else {
        bail!("{kind:?} is no type of tmpfiles.d(5)");
    };
    check_path(&path)?;
    let given = |field: Option<String>| field.filter(|field| field != "-" && !field.is_empty());
    if let Some(mode) = given(mode) {
        let digits = mode.trim_start_matches(['~', ':']);
        if !u32::from_str_radix(digits, 8).is_ok_and(|mode| mode <= 0o7777) {
            bail!("{mode:?} is no octal mode");
        }
    }
    if let Some(age) = given(age)
        && !is_age(&age)
    {
        bail!("{age:?} is no age such as 10d or 1h30min");
    }
    if ARGUED.contains(letter) && matches!(argument, "" | "-") {
        bail!("type {letter} needs an argument");
    }
    if "cb".contains(letter) && argument.split_once(':').is_none_or(|(a, b)| !is_number(a) || !is_number(b)) {
        bail!("{argument:?} is no device number MAJOR:MINOR");
    }
    let named = |field: Option<String>| -> Result<Option<String>> {
        let Some(field) = given(field) else { return Ok(None) };
        let name = field.trim_start_matches(':');
        let fit = |c: char| c.is_ascii_alphanumeric() || "_-.%$".contains(c);
        if name.is_empty() || !name.chars().all(fit) {
            bail!("{field:?} is no user or group");
        }
        Ok((!is_number(name) && name != "root" && !name.contains('%')).then(|| name.to_owned()))
    };
    Ok(Line { letter, path, user: named(user)?, group: named(group)? })
}

fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok()
}

fn check_path(path: &str) -> Result<()> {
    if !path.starts_with('/') && !path.starts_with('%') {
        bail!("path {path:?} is not absolute");
    }
    if path.split('/').any(|name| matches!(name, "." | "..")) {
        bail!("path {path:?} has a `.` or `..`");
    }
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        if letter == '%' && !letters.next().is_some_and(|next| "%aAbBCgGhHlLmMoSTtuUvVwW".contains(next)) {
            bail!("path {path:?} has a `%` that begins no specifier; write `%%` for a `%`");
        }
    }
    Ok(())
}

/// A sum of lengths such as `1h30min`, maybe with the time stamps that count in front (`abcm:10d`), maybe `~`.
fn is_age(text: &str) -> bool {
    let text = text.strip_prefix('~').unwrap_or(text);
    let text = match text.split_once(':') {
        Some((stamps, age)) if stamps.chars().all(|c| "aAbBcCmM".contains(c)) => age,
        Some(_) => return false,
        None => text,
    };
    const UNITS: [&str; 28] = [
        "", "s", "sec", "second", "seconds", "m", "min", "minute", "minutes", "h", "hr", "hour", "hours",
        "d", "day", "days", "w", "week", "weeks", "month", "months", "y", "year", "years", "ms", "msec",
        "us", "usec",
    ];
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let tail = rest[digits..].trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        if digits == 0 || !UNITS.contains(&&tail[..letters]) {
            return false;
        }
        rest = tail[letters..].trim_start();
    }
    !text.is_empty()
}

/// The next word of `rest`, unquoted as systemd does; none at the end.
fn word(rest: &mut &str) -> Result<Option<String>> {
    let text = rest.trim_start();
    if text.is_empty() {
        *rest = text;
        return Ok(None);
    }
    let (mut found, mut quote) = (String::new(), None);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (letter, quote) {
            (' ' | '\t', None) => {
                *rest = &text[at..];
                return Ok(Some(found));
            }
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if letter == open => quote = None,
            ('\\', _) => match letters.next() {
                Some((_, escaped)) => found.push(escaped),
                None => bail!("it ends in a backslash"),
            },
            _ => found.push(letter),
        }
    }
    if quote.is_some() {
        bail!("a quote is not closed");
    }
    *rest = "";
    Ok(Some(found))
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
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind_pass() {
        let text = "# etcd\nd /var/lib/etcd 0700 0 0 - -\nZ /var/lib/etcd - etcd etcd - -\n\nD! /run/x :0755 root :adm 10d\n\
            r /run/flannel/subnet.env\nL+ /etc/x - - - - ../usr/x y\nf /run/f ~644 - - - a line\nC /etc/c\n\
            c+ /dev/x 0600 - - - 1:3\nd \"/var/lib/a b\" - - - aBm:1h30min\na+ /var/log - - - - g:adm:r\nx /tmp/%m-*\ne$ /x\n";
        let text = text.replace("e$ /x\n", "e /x\n");
        let fragment = check(text.as_bytes()).unwrap();
        assert_eq!(fragment.text.as_deref(), Some(text.as_bytes()));
        assert_eq!(
            fragment.makes,
            ["/var/lib/etcd", "/run/x", "/etc/x", "/run/f", "/etc/c", "/dev/x", "/var/lib/a b"]
        );
        assert_eq!(
            (fragment.users, fragment.groups),
            (vec!["etcd".into()], vec!["adm".into(), "etcd".into()])
        );
    }

    #[test]
    fn an_empty_fragment_means_nothing() {
        for text in ["", "\n", "# only this\n\n"] {
            assert_eq!(check(text.as_bytes()).unwrap(), Fragment::default());
        }
    }

    #[test]
    fn what_systemd_would_refuse_is_refused() {
        for (line, message) in [
            ("d", "\"d\" has no path"),
            ("k /x", "\"k\" is no type of tmpfiles.d(5)"),
            ("d? /x", "\"d?\" is no type of tmpfiles.d(5)"),
            ("d x", "path \"x\" is not absolute"),
            ("d /a/../b", "path \"/a/../b\" has a `.` or `..`"),
            ("d /a%", "path \"/a%\" has a `%` that begins no specifier; write `%%` for a `%`"),
            ("d /x 0999", "\"0999\" is no octal mode"),
            ("d /x 17777", "\"17777\" is no octal mode"),
            ("d /x 0755 a/b", "\"a/b\" is no user or group"),
            ("d /x - - - soon", "\"soon\" is no age such as 10d or 1h30min"),
            ("w /x - - - -", "type w needs an argument"),
            ("c /x - - - - 1", "\"1\" is no device number MAJOR:MINOR"),
            ("d \"/x", "a quote is not closed"),
        ] {
            let error = format!("{:#}", check(format!("\n{line}\n").as_bytes()).unwrap_err());
            assert_eq!(error, format!("reading exports/tmpfiles.template: line 2: {message}"), "{line}");
        }
    }

    #[test]
    fn lines_against_the_targets_go() {
        let theirs = made(b"L /var/run - - - - ../run\nd /var/log 0755 root root -\nf /var/log/wtmp\n");
        let text = b"# a comment\nd /var/run 0755 - - - -\nd /var/log 0700\nd /var/log/x\nZ /var/run\nf /var/log/wtmp";
        let (kept, paths) = without_clashes(text, &theirs);
        assert_eq!(
            String::from_utf8(kept).unwrap(),
            "# a comment\nd /var/log 0700\nd /var/log/x\nZ /var/run\nf /var/log/wtmp"
        );
        assert_eq!(paths, ["/var/run"]);
    }

    #[test]
    fn own_lines_read_back() {
        let text = directories(&["/var/run/a b", "/var/lib/100%", "/srv/\"q\"\\"]);
        assert_eq!(
            text,
            "d \"/run/a b\" 0700 0 0 - -\nd /var/lib/100%% 0700 0 0 - -\nd \"/srv/\\\"q\\\"\\\\\" 0700 0 0 - -\n"
        );
        assert_eq!(check(text.as_bytes()).unwrap().makes, ["/run/a b", "/var/lib/100%%", "/srv/\"q\"\\"]);
    }

    #[test]
    fn guesses() {
        for (source, in_image, expected) in [
            ("/var/lib/x", None, Guess::Directory),
            ("/var/lib/x", Some(false), Guess::FileOrSocket),
            ("/etc/x.conf", Some(true), Guess::Directory),
            ("/etc/x.conf", None, Guess::FileOrSocket),
            ("/etc/redhat-release", None, Guess::FileOrSocket),
            ("/run/docker.sock", None, Guess::FileOrSocket),
            ("/dev/virtio-ports", None, Guess::Hosts),
            ("/usr/share/x", None, Guess::Hosts),
            ("/sysroot", Some(true), Guess::Hosts),
            ("/lib/modules", None, Guess::Hosts),
        ] {
            assert_eq!(guess(source, in_image), expected, "{source}");
        }
    }
}
