//! The ancestor's `$VAR`, exactly as Python's `string.Template.substitute`: one pass, values pasted raw, no defaults.
//!
//! `$NAME` and `${NAME}` are a variable (the longest run of `[A-Za-z_][A-Za-z0-9_]*`, ASCII only), `$$` is one `$`, and
//! every other `$` is an error. Templates are bytes; what is no variable passes through unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A place in a template that can't be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Byte offset of the `$`.
    pub offset: usize,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The variable has no value.
    Undefined(String),
    /// The variable gets its value when the container starts, and this file is rendered before.
    TooEarly(String),
    /// A `$` that begins neither a variable nor `$$`.
    Malformed,
}

enum Token<'a> {
    Text(&'a [u8]),
    Dollar,
    Variable { name: &'a str, offset: usize },
    Malformed { offset: usize },
}

struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let rest = &self.text[self.at..];
        let offset = self.at;
        if rest.first()? != &b'$' {
            let end = rest.iter().position(|&byte| byte == b'$').unwrap_or(rest.len());
            self.at += end;
            return Some(Token::Text(&rest[..end]));
        }
        let (length, token) = match rest.get(1) {
            Some(b'$') => (2, Token::Dollar),
            Some(b'{') => match identifier(&rest[2..]) {
                Some(name) if rest.get(2 + name.len()) == Some(&b'}') => {
                    (3 + name.len(), Token::Variable { name, offset })
                }
                _ => (1, Token::Malformed { offset }),
            },
            _ => match identifier(&rest[1..]) {
                Some(name) => (1 + name.len(), Token::Variable { name, offset }),
                None => (1, Token::Malformed { offset }),
            },
        };
        self.at += length;
        Some(token)
    }
}

/// The identifier that `text` begins with.
fn identifier(text: &[u8]) -> Option<&str> {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let end = text.iter().position(|byte| !word(byte)).unwrap_or(text.len());
    let name = std::str::from_utf8(&text[..end]).ok()?;
    name.bytes().next().filter(|first| !first.is_ascii_digit()).map(|_| name)
}

fn tokens(text: &[u8]) -> Tokens<'_> {
    Tokens { text, at: 0 }
}

/// Whether `text` names `variable`, in either form.
pub fn names(text: &[u8], variable: &str) -> bool {
    tokens(text).any(|token| matches!(token, Token::Variable { name, .. } if name == variable))
}

/// The variables that `text` names.
pub fn variables(text: &[u8]) -> BTreeSet<String> {
    let name = |token| match token {
        Token::Variable { name, .. } => Some(name.to_owned()),
        _ => None,
    };
    tokens(text).filter_map(name).collect()
}

/// Which line of a template the lines of its expansion come from: a value may have several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(Vec<usize>);

impl Lines {
    /// The line of the template, from 1; a line of which nothing is known is its own.
    pub fn of(&self, expanded: usize) -> usize {
        let index = expanded.checked_sub(1);
        index.and_then(|index| self.0.get(index)).copied().unwrap_or(expanded)
    }
}

impl FromIterator<usize> for Lines {
    fn from_iter<I: IntoIterator<Item = usize>>(lines: I) -> Self {
        Self(lines.into_iter().collect())
    }
}

/// A template as far as it could be expanded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text; nothing stands where something is wrong.
    pub text: Vec<u8>,
    /// Where its lines come from.
    pub lines: Lines,
    /// All variables without a value and all malformed places, in the order of the text.
    pub faults: Vec<Fault>,
}

impl Expanded {
    /// A text without variables.
    pub fn literal(text: &[u8]) -> Self {
        Self { text: text.to_vec(), ..Self::default() }
    }

    /// Whether a line of the template (from 1) could be expanded.
    pub fn is_whole(&self, line: usize) -> bool {
        self.faults.iter().all(|fault| fault.line != line)
    }
}

/// Expands a template as far as its variables have values.
pub fn expand(text: &[u8], values: &BTreeMap<String, String>) -> Expanded {
    let mut expanded = Expanded { text: Vec::with_capacity(text.len()), ..Expanded::default() };
    let newlines = |text: &[u8]| text.iter().filter(|&&byte| byte == b'\n').count();
    let mut line = 1;
    let mut lines = vec![line];
    for token in tokens(text) {
        match token {
            Token::Text(bytes) => {
                expanded.text.extend_from_slice(bytes);
                let after = line + newlines(bytes);
                lines.extend(line + 1..=after);
                line = after;
            }
            Token::Dollar => expanded.text.push(b'$'),
            Token::Variable { name, offset } => match values.get(name) {
                Some(value) => {
                    expanded.text.extend_from_slice(value.as_bytes());
                    lines.extend(std::iter::repeat_n(line, newlines(value.as_bytes())));
                }
                None => expanded.faults.push(fault(text, offset, Wrong::Undefined(name.to_owned()))),
            },
            Token::Malformed { offset } => expanded.faults.push(fault(text, offset, Wrong::Malformed)),
        }
    }
    expanded.lines = Lines(lines);
    expanded
}

/// Expands a template. The launcher and the composer share this function.
///
/// # Errors
/// All variables without a value and all malformed places, in the order of the text.
pub fn render(text: &[u8], values: &BTreeMap<String, String>) -> Result<Vec<u8>, Vec<Fault>> {
    let Expanded { text, faults, .. } = expand(text, values);
    if faults.is_empty() { Ok(text) } else { Err(faults) }
}

fn fault(text: &[u8], offset: usize, wrong: Wrong) -> Fault {
    let before = &text[..offset];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    // Continuation bytes of UTF-8 are no characters of their own.
    let column = 1 + before[start..].iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
    Fault { offset, line, column, wrong }
}

/// Renders several files and gathers what is wrong with all of them.
pub struct Rendering<'a> {
    values: &'a BTreeMap<String, String>,
    late: &'a BTreeSet<String>,
    places: Vec<(String, Fault)>,
}

impl<'a> Rendering<'a> {
    /// With these values; `late` names the variables that get theirs when the container starts.
    pub fn new(values: &'a BTreeMap<String, String>, late: &'a BTreeSet<String>) -> Self {
        Self { values, late, places: Vec::new() }
    }

    /// Expands `text`, which messages call `file`. What can't be expanded is kept for [`Self::into_places`], too.
    pub fn file(&mut self, file: &str, text: &[u8]) -> Expanded {
        self.file_with(file, text, self.values)
    }

    /// As [`Self::file`], with other values.
    pub fn file_with(&mut self, file: &str, text: &[u8], values: &BTreeMap<String, String>) -> Expanded {
        self.expand(file, text, values, |fault| (fault.line, fault.column))
    }

    /// Expands a text that stands within `file`; `place` tells line and column there.
    pub fn within(&mut self, file: &str, text: &[u8], place: impl Fn(&Fault) -> (usize, usize)) -> Expanded {
        self.expand(file, text, self.values, place)
    }

    /// Whether nothing was wrong so far.
    pub fn is_clean(&self) -> bool {
        self.places.is_empty()
    }

    fn expand(
        &mut self,
        file: &str,
        text: &[u8],
        values: &BTreeMap<String, String>,
        place: impl Fn(&Fault) -> (usize, usize),
    ) -> Expanded {
        let expanded = expand(text, values);
        for mut fault in expanded.faults.clone() {
            (fault.line, fault.column) = place(&fault);
            if let Wrong::Undefined(name) = &fault.wrong
                && self.late.contains(name)
            {
                fault.wrong = Wrong::TooEarly(name.clone());
            }
            self.places.push((file.to_owned(), fault));
        }
        expanded
    }

    /// Every place of all files that can't be expanded.
    pub fn into_places(self) -> Vec<(String, Fault)> {
        self.places
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wrong {
            Wrong::Undefined(name) => write!(f, "{name} has no value"),
            Wrong::TooEarly(name) => write!(f, "{name} is known only when the container starts"),
            Wrong::Malformed => f.write_str("`$` begins no variable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::Faults;
    use super::*;

    fn values() -> BTreeMap<String, String> {
        [("NAME", "etcd"), ("RAW", "$NAME ${NAME} $$ \""), ("EMPTY", ""), ("name", "low"), ("_x1", "under")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// Every row of A§2.3: what it gives, or the variable that is missing, or `$` for a malformed place.
    #[test]
    fn the_ancestors_table() {
        for (text, expected) in [
            ("$NAME", Ok("etcd")),
            ("${NAME}", Ok("etcd")),
            ("$NAME_foo", Err("NAME_foo")),
            ("$NAMEs", Err("NAMEs")),
            ("${NAME}_foo", Ok("etcd_foo")),
            ("$NAME-$NAME.$NAME", Ok("etcd-etcd.etcd")),
            ("$$", Ok("$")),
            ("$$NAME", Ok("$NAME")),
            ("$$$NAME", Ok("$etcd")),
            ("$$$$", Ok("$$")),
            ("$$MAINPID and $${HOME}", Ok("$MAINPID and ${HOME}")),
            ("$name", Ok("low")),
            ("$Name", Err("Name")),
            ("$_x1", Ok("under")),
            ("$UNDEFINED", Err("UNDEFINED")),
            ("$1", Err("$")),
            ("$ ", Err("$")),
            ("$(id)", Err("$")),
            ("$-", Err("$")),
            ("${}", Err("$")),
            ("${a-b}", Err("$")),
            ("${NAME", Err("$")),
            ("${ NAME}", Err("$")),
            ("${1}", Err("$")),
            ("a $", Err("$")),
            ("$É", Err("$")),
            ("$NAMEÉ", Ok("etcdÉ")),
            ("$\u{212a}", Err("$")),
            ("$\u{17f}", Err("$")),
            ("[$RAW]", Ok("[$NAME ${NAME} $$ \"]")),
            ("[$EMPTY]", Ok("[]")),
            ("", Ok("")),
            ("no variable\r\n", Ok("no variable\r\n")),
        ] {
            let rendered = render(text.as_bytes(), &values()).map_err(|faults| match &faults[0].wrong {
                Wrong::Undefined(name) => name.clone(),
                Wrong::TooEarly(_) | Wrong::Malformed => "$".to_owned(),
            });
            let expected = expected.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned);
            assert_eq!(rendered, expected, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_pass_through() {
        assert_eq!(render(b"\xff$NAME\xfe", &values()).unwrap(), b"\xffetcd\xfe");
    }

    #[test]
    fn everything_that_is_wrong_in_all_files_is_told_at_once() {
        let (values, late) = (values(), BTreeSet::from(["UUID".to_owned()]));
        let mut rendering = Rendering::new(&values, &late);
        assert_eq!(rendering.file("good", b"$NAME").text, b"etcd");
        rendering.file("exports/config.json.template", "{\n \"é\": $A,\n $(\n".as_bytes());
        rendering.file("exports/service.template", b"$UUID $B");
        let faults = Faults { places: rendering.into_places(), others: Vec::new() };
        assert_eq!(
            faults.to_string(),
            "expanding the image's templates: exports/config.json.template:2:7: A has no value; \
             exports/config.json.template:3:2: `$` begins no variable; \
             exports/service.template:1:1: UUID is known only when the container starts; \
             exports/service.template:1:7: B has no value; \
             give values in the manifest's `set`, write a `$` itself as `$$`"
        );
    }

    #[test]
    fn lines_of_a_value_are_those_of_its_variable() {
        let values =
            BTreeMap::from([("V".to_owned(), "1\n2\n".to_owned()), ("W".to_owned(), "w".to_owned())]);
        let expanded = expand(b"a $W\nb $V c $V\n$W $NO\nd", &values);
        assert_eq!(expanded.text, b"a w\nb 1\n2\n c 1\n2\n\nw \nd");
        let lines: Vec<_> = (1..=9).map(|line| expanded.lines.of(line)).collect();
        assert_eq!(lines, [1, 2, 2, 2, 2, 2, 3, 4, 9]);
        assert!(expanded.is_whole(2) && !expanded.is_whole(3));
        assert_eq!(Expanded::literal(b"x\ny").lines.of(2), 2);
    }

    #[test]
    fn variables_of_a_text() {
        assert_eq!(variables(b"$A ${B} $$C $1 ${D"), ["A", "B"].map(str::to_owned).into());
        assert!(names(b"${PIDFILE}", "PIDFILE") && !names(b"$PIDFILES $$PIDFILE", "PIDFILE"));
    }
}
