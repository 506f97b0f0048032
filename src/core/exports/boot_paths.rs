//! What lines of tmpfiles.d(5) make, in the form in which two containers' lines can be compared ([`Made`]).

use std::collections::BTreeMap;

use super::tmpfiles::{MAKING, word};
use crate::place;
use crate::record::Made;

/// By path, what `text` makes outside sysctr's own state. Of several lines for a path the first counts, as for
/// systemd-tmpfiles; what is no line makes nothing.
pub fn of(text: &[u8]) -> BTreeMap<String, Made> {
    let text = String::from_utf8_lossy(text);
    let mut all = BTreeMap::new();
    for (path, made) in text.lines().filter_map(|line| of_line(line.trim())) {
        if path != place::STATE_DIR && !path.starts_with(&format!("{}/", place::STATE_DIR)) {
            all.entry(path).or_insert(made);
        }
    }
    all
}

fn of_line(line: &str) -> Option<(String, Made)> {
    let mut rest = line;
    let mut next = || word(&mut rest).ok().flatten();
    let (kind, path) = (next()?, next()?);
    let letter = kind.chars().next().filter(|letter| MAKING.contains(*letter))?;
    let fields: Vec<_> = (0..4).map(|_| next().filter(|field| field != "-" && !field.is_empty())).collect();
    let [mode, user, group, age] = fields.try_into().ok()?;
    let default = match letter {
        'd' | 'D' | 'v' | 'q' | 'Q' => Some("0755"),
        'f' | 'F' | 'p' | 'c' | 'b' => Some("0644"),
        // A link has none, a copy its source's.
        _ => None,
    };
    let owner = |field: Option<String>| {
        let name = field.map(|field| field.trim_start_matches(':').to_owned());
        let name = name.or_else(|| default.map(|_| "0".to_owned()))?;
        Some(if name == "root" { "0".to_owned() } else { name })
    };
    let argument = rest.trim();
    let made = Made {
        line: if kind.contains('+') { format!("{letter}+") } else { letter.to_string() },
        mode: mode.map(|mode| octal(&mode)).or_else(|| default.map(str::to_owned)),
        user: owner(user),
        group: owner(group),
        age,
        content: Some(argument).filter(|text| !matches!(*text, "" | "-")).map(str::to_owned),
        host_file: None,
    };
    Some((plain(&path), made))
}

/// `:` and `~` tell when bits count, not which.
fn octal(mode: &str) -> String {
    let digits = mode.trim_start_matches(['~', ':']);
    u32::from_str_radix(digits, 8).map_or_else(|_| digits.to_owned(), |bits| format!("{bits:04o}"))
}

/// One spelling of a path: systemd-tmpfiles knows the old name of `/run`.
fn plain(path: &str) -> String {
    let path = path.trim_end_matches('/').replace("%%", "%");
    match path.strip_prefix("/var/run/") {
        Some(rest) => format!("/run/{rest}"),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_make_the_same_agree_however_they_are_spelled() {
        let one = |line: &str| of(line.as_bytes()).into_values().next();
        for (line, other, same) in [
            ("d /run/x 0755 root root -", "d /var/run/x/ - - -", true),
            ("d /run/x :0700 :0 :0 - -", "d! /run/x 700 0 0", true),
            ("d /run/x 0700", "d /run/x 0755", false),
            ("d /run/x - 7", "d /run/x - 8", false),
            ("d /run/x", "D /run/x", false),
            ("d /run/x - - - 10d", "d /run/x", false),
            ("L /run/x - - - - ../a b", "L /run/x - - - - ../a  b", false),
            ("L /run/x - - - - a", "L+ /run/x - - - - a", false),
            ("f /run/x - - - - text", "f \"/run/x\" 0644 0 0 - text", true),
        ] {
            let (left, right) = (one(line).unwrap(), one(other).unwrap());
            assert_eq!(left.agrees(&right), same, "{line:?} {other:?}");
            assert_eq!(of(line.as_bytes()).into_keys().next(), Some("/run/x".to_owned()));
        }
    }

    #[test]
    fn the_first_line_counts_and_what_makes_nothing_does_not() {
        let text =
            "# none\nd /a 0700\nd /a 0755\nZ /b\nr /c\nd \"/d\nd /var/lib/sysctr/x 0700\nd /var/lib/100%%\n";
        let told: Vec<_> = of(text.as_bytes()).iter().map(|(path, made)| format!("{path} {made}")).collect();
        assert_eq!(told, ["/a d 0700 0:0", "/var/lib/100% d 0755 0:0"]);
    }
}
