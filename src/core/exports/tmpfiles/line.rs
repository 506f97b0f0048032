//! One line of tmpfiles.d(5), taken and refused as systemd 252 does (`tests/exports/tmpfiles.rs` asks it).

use crate::exports::timespan::is_time_span;

const TYPES: &str = "fFwdDevqQpLcbCxXrRzZmtThHaA";
const MODIFIERS: &str = "+!-=~^";
/// Types that make what their path names.
pub(in crate::exports) const MAKING: &str = "fFdDvqQpLcbC";
/// Types whose argument is needed.
const ARGUED: &str = "wcbtThHaA";
/// Types whose argument is no base64 text.
const PLAIN: &str = "LCcbtThHaA";
/// Types whose argument has C's escapes.
const ESCAPED: &str = "fFwLC";
/// Types whose argument has specifiers.
const SPECIFIED: &str = "fFwLCtT";
/// Specifiers of systemd 252, `%%` aside. Those of the second list become an absolute path.
const SPECIFIERS: &str = "abBgGhHlmoStTuUvVwWCL";
const DIRECTORIES: &str = "CLSTVht";
/// chattr(1), as far as systemd goes.
const ATTRIBUTES: &str = "aAcCdDeijPsStTu";
/// `dev_t` of the kernel: 12 bits and 20 bits.
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    letter: char,
    /// In one spelling; specifiers stay.
    pub path: String,
    /// By name, if that is not root.
    pub user: Option<String>,
    /// Likewise.
    pub group: Option<String>,
}

impl Line {
    /// The line, if it is neither empty nor a comment.
    ///
    /// # Errors
    /// Why systemd-tmpfiles would refuse it.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let mut rest = line;
        let mut next = || word(&mut rest);
        let kind = next()?.unwrap_or_default();
        let Some(path) = next()? else { return Err(format!("{line:?} has no path")) };
        let (mode, user, group, age) = (next()?, next()?, next()?, next()?);
        let argument = Some(rest.trim()).filter(|argument| !matches!(*argument, "" | "-"));
        let (letter, modifiers) = kind_of(&kind)?;
        let path = path_of(letter, &path)?;
        let given = |field: Option<String>| field.filter(|field| field != "-" && !field.is_empty());
        if let Some(mode) = given(mode) {
            let digits = mode.trim_start_matches(['~', ':']);
            let octal = digits.bytes().all(|digit| digit.is_ascii_digit());
            if !octal || !u32::from_str_radix(digits, 8).is_ok_and(|mode| mode <= 0o7777) {
                return Err(format!("{mode:?} is no octal mode"));
            }
        }
        if let Some(age) = given(age).filter(|age| !is_age(age)) {
            return Err(format!("{age:?} is no age such as 10d or 1h30min"));
        }
        check_argument(letter, modifiers, argument)?;
        let name = |field| given(field).map_or(Ok(None), |field| name_of(&field));
        Ok(Some(Self { letter, path, user: name(user)?, group: name(group)? }))
    }

    /// Whether it makes what its path names.
    pub(super) fn makes(&self) -> bool {
        MAKING.contains(self.letter)
    }

    /// Whether that is a directory.
    pub(super) fn makes_directory(&self) -> bool {
        "dDvqQ".contains(self.letter)
    }
}

/// Letter and modifiers, each of which may stand there once.
fn kind_of(kind: &str) -> Result<(char, &str), String> {
    let no_type = || format!("{kind:?} is no type of tmpfiles.d(5)");
    let letter = kind.chars().next().filter(|letter| TYPES.contains(*letter)).ok_or_else(no_type)?;
    let modifiers = &kind[letter.len_utf8()..];
    let once =
        |(at, modifier): (usize, char)| MODIFIERS.contains(modifier) && !modifiers[..at].contains(modifier);
    if modifiers.char_indices().all(once) { Ok((letter, modifiers)) } else { Err(no_type()) }
}

fn path_of(letter: char, path: &str) -> Result<String, String> {
    if !is_absolute(path) {
        return Err(format!("path {path:?} is not absolute"));
    }
    check_specifiers("path", path)?;
    let mut names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    if MAKING.contains(letter) && names.clone().any(|name| name == "..") {
        return Err(format!("path {path:?} has a `..`"));
    }
    let first = if path.starts_with('/') { "" } else { names.next().unwrap_or_default() };
    Ok(names.fold(first.to_owned(), |path, name| format!("{path}/{name}")))
}

/// By itself, or by the directory that its first specifier becomes.
fn is_absolute(path: &str) -> bool {
    let becomes = path.strip_prefix('%').is_some_and(|rest| rest.starts_with(|c| DIRECTORIES.contains(c)));
    path.starts_with('/') || becomes
}

/// A `%` before anything but a letter or digit is itself.
fn check_specifiers(what: &str, text: &str) -> Result<(), String> {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let next = (letter == '%').then(|| letters.next()).flatten();
        if next.is_some_and(|next| next.is_ascii_alphanumeric() && !SPECIFIERS.contains(next)) {
            return Err(format!("{what} {text:?} has a `%` that begins no specifier; write `%%` for a `%`"));
        }
    }
    Ok(())
}

/// A span of time, maybe with the time stamps that count in front (`abcm:10d`), maybe `~`.
fn is_age(text: &str) -> bool {
    let text = text.strip_prefix('~').unwrap_or(text);
    match text.split_once(':') {
        Some((stamps, age)) => {
            !stamps.is_empty() && stamps.chars().all(|c| "aAbBcCmM".contains(c)) && is_time_span(age)
        }
        None => is_time_span(text),
    }
}

/// A user or a group; nothing for a number and for root.
fn name_of(field: &str) -> Result<Option<String>, String> {
    let nobody = || format!("{field:?} is no user or group");
    let name = field.strip_prefix(':').unwrap_or(field);
    let fit = |c: char| c.is_ascii_alphanumeric() || "_-.$".contains(c);
    if name.is_empty() || !name.chars().all(fit) {
        return Err(nobody());
    }
    if !name.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok((name != "root").then(|| name.to_owned()));
    }
    // 65535 and 4294967295 mean nobody at all for the kernel.
    let number = name.parse::<u32>().ok().filter(|number| !matches!(*number, 0xffff | u32::MAX));
    match number {
        Some(number) if number.to_string() == name => Ok(None),
        _ => Err(nobody()),
    }
}

fn check_argument(letter: char, modifiers: &str, argument: Option<&str>) -> Result<(), String> {
    if argument.is_none() && ARGUED.contains(letter) {
        return Err(format!("type {letter} needs an argument"));
    }
    let text = argument.unwrap_or_default();
    if modifiers.contains('~') && PLAIN.contains(letter) {
        return Err(format!("an argument of type {letter} is no base64 text"));
    }
    if ESCAPED.contains(letter) && !is_escaped(text) {
        return Err(format!("{text:?} has a backslash that begins no escape"));
    }
    // What a credential has is not expanded; the name of one is, where a file is made of it.
    if SPECIFIED.contains(letter) && !("tT".contains(letter) && modifiers.contains('^')) {
        check_specifiers("argument", text)?;
    }
    if letter == 'C' && !text.is_empty() && !is_absolute(text) {
        return Err(format!("path {text:?} is not absolute"));
    }
    if "cb".contains(letter) && !is_device(text) {
        return Err(format!("{text:?} is no device number MAJOR:MINOR"));
    }
    if modifiers.contains('^') {
        let why = || format!("{text:?} is no credential's name");
        return if is_credential(text) { Ok(()) } else { Err(why()) };
    }
    if "hH".contains(letter) && !is_attributes(text) {
        return Err(format!("{text:?} are no file attributes such as +i"));
    }
    if modifiers.contains('~') && !is_base64(text) {
        return Err(format!("{text:?} is no base64 text"));
    }
    Ok(())
}

/// A file's name that a file descriptor could have, too (`credential_name_valid()` of systemd).
fn is_credential(name: &str) -> bool {
    let fit = |byte: u8| (b' '..0x7f).contains(&byte) && !matches!(byte, b'/' | b':');
    !matches!(name, "" | "." | "..") && name.len() <= 255 && name.bytes().all(fit)
}

fn is_device(text: &str) -> bool {
    let within = |number: &str, max: u32| {
        number.bytes().all(|digit| digit.is_ascii_digit()) && number.parse::<u32>().is_ok_and(|it| it <= max)
    };
    text.split_once(':')
        .is_some_and(|(major, minor)| within(major, MAX_MAJOR) && within(minor.trim_start(), MAX_MINOR))
}

fn is_attributes(text: &str) -> bool {
    let letters = text.trim_start_matches(['+', '-', '=']);
    let fit = letters.chars().all(|letter| ATTRIBUTES.contains(letter));
    fit && text.len() - letters.len() <= 1 && (!letters.is_empty() || text == "=")
}

/// C's escapes (`cunescape()` of systemd): none of them may be a zero byte.
fn is_escaped(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, escape)) = rest.split_once('\\') {
        let Some(first) = escape.chars().next() else { return false };
        let (start, digits, radix) = match first {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | '"' | '\'' | 's' => {
                rest = &escape[1..];
                continue;
            }
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => return false,
        };
        let number = escape.get(start..start + digits).and_then(|text| u32::from_str_radix(text, radix).ok());
        let max = if radix == 8 { 0o377 } else { u32::from(char::MAX) };
        if !number.is_some_and(|number| (1..=max).contains(&number)) {
            return false;
        }
        rest = &escape[start + digits..];
    }
    true
}

/// Base64 with its padding, no bit lost, white space anywhere (RFC 4648).
fn is_base64(text: &str) -> bool {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text: String = text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    let body = text.trim_end_matches('=');
    let last = body.chars().last().and_then(|letter| ALPHABET.find(letter)).unwrap_or_default();
    let spare = match text.len() - body.len() {
        0 => 0,
        1 => last & 0b11,
        2 => last & 0b1111,
        _ => return false,
    };
    text.len().is_multiple_of(4) && spare == 0 && body.chars().all(|letter| ALPHABET.contains(letter))
}

/// The next word of `rest`, unquoted as systemd does; none at the end.
pub(in crate::exports) fn word(rest: &mut &str) -> Result<Option<String>, String> {
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
                None => return Err("it ends in a backslash".to_owned()),
            },
            _ => found.push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    *rest = "";
    Ok(Some(found))
}
