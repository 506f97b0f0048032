//! A unit file as lines that print as they were read (systemd.syntax(7)): what nobody changes stays byte for byte.

use std::fmt;

use super::Whose;
use crate::exports::faults::BadLine;
use crate::exports::template::Lines;

/// A unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// All physical lines of it, line breaks included.
    raw: String,
    /// The number of the first, from 1; 0 for one that was added.
    number: usize,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A comment, an empty line, or one of a section that systemd does not look into.
    Other,
    Section(String),
    Assignment {
        section: String,
        key: String,
        value: String,
    },
}

/// One `KEY=VALUE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// Without brackets.
    pub section: &'a str,
    /// What stands before `=`.
    pub key: &'a str,
    /// What follows `=`, continuation lines joined by spaces, without spaces at the ends.
    pub value: &'a str,
    /// The line it begins on, from 1, in the template if there is one; 0 if it was added.
    pub line: usize,
}

impl UnitFile {
    /// Parses a unit file.
    ///
    /// # Errors
    /// When a line is neither section, comment nor assignment, or stands before the first section.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        Self::of_template(text, &Lines::default())
    }

    /// Parses a unit file whose lines come from those of a template, which are told.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of_template(text: &str, template: &Lines) -> Result<Self, BadLine> {
        Self::read(text, template, Whose::Own)
    }

    /// Parses a unit file that is not the container's: lines that are nothing are passed over, as by systemd.
    ///
    /// # Errors
    /// When a section has no end.
    pub fn of_another(text: &str) -> Result<Self, BadLine> {
        Self::read(text, &Lines::default(), Whose::Other)
    }

    fn read(text: &str, template: &Lines, whose: Whose) -> Result<Self, BadLine> {
        let mut lines = Vec::new();
        let mut section = String::new();
        let mut physical = text.split_inclusive('\n').enumerate();
        while let Some((index, first)) = physical.next() {
            let number = template.of(index + 1);
            let mut raw = first.to_owned();
            if first.trim().is_empty() || is_comment(first) {
                lines.push(Line { raw, number, kind: Kind::Other });
                continue;
            }
            let (mut logical, mut goes_on) = piece(first);
            while goes_on && let Some((_, next)) = physical.next() {
                raw.push_str(next);
                // A comment between continuation lines is skipped and the line goes on.
                if !is_comment(next) {
                    let (more, last) = piece(next);
                    logical.extend([" ", &more]);
                    goes_on = last;
                }
            }
            let kind = match kind(logical.trim(), &mut section) {
                Err(_) if whose == Whose::Other && !logical.starts_with('[') => Kind::Other,
                kind => kind.map_err(|what| BadLine { line: number, what })?,
            };
            lines.push(Line { raw, number, kind });
        }
        Ok(Self { lines })
    }

    /// The line of the template that each line of the text comes from; 0 for those that were added.
    pub fn lines(&self) -> Lines {
        let of = |line: &Line| std::iter::repeat_n(line.number, line.raw.split_inclusive('\n').count());
        self.lines.iter().flat_map(of).collect()
    }

    /// All assignments in order.
    pub fn assignments(&self) -> impl Iterator<Item = Assignment<'_>> {
        self.lines.iter().filter_map(|line| match &line.kind {
            Kind::Assignment { section, key, value } => {
                Some(Assignment { section, key, value, line: line.number })
            }
            _ => None,
        })
    }

    /// The values of a key that repeats, in order; an empty one clears those before it.
    pub fn all<'a>(&'a self, section: &str, key: &str) -> Vec<&'a str> {
        let mut values = Vec::new();
        for assignment in self.assignments().filter(|a| a.section == section && a.key == key) {
            if assignment.value.is_empty() {
                values.clear();
            } else {
                values.push(assignment.value);
            }
        }
        values
    }

    /// The value of a key that counts once: the last one, if that is not empty.
    pub fn last<'a>(&'a self, section: &str, key: &str) -> Option<&'a str> {
        self.assignments()
            .filter(|a| a.section == section && a.key == key)
            .last()
            .map(|a| a.value)
            .filter(|value| !value.is_empty())
    }

    /// Sets a key to one value, in the place of its first assignment or at the end of its section, which is made when
    /// it is missing. `value` has no line break.
    pub fn set(&mut self, section: &str, key: &str, value: &str) {
        let position = self.lines.iter().position(|line| line.assigns(section, key));
        let line = Line::assignment(section, key, value);
        match position {
            Some(position) => {
                self.lines[position] = line;
                let mut index = 0;
                self.lines.retain(|line| {
                    index += 1;
                    index <= position + 1 || !line.assigns(section, key)
                });
            }
            None => self.add(section, key, value),
        }
    }

    /// Takes every assignment of a key away.
    pub fn remove(&mut self, section: &str, key: &str) {
        self.lines.retain(|line| !line.assigns(section, key));
    }

    /// Adds an assignment after the last one of its section, which is made when it is missing. `value` has no line break.
    pub fn add(&mut self, section: &str, key: &str, value: &str) {
        let within = |line: &Line| match &line.kind {
            Kind::Section(name) => name == section,
            Kind::Assignment { section: name, .. } => name == section,
            Kind::Other => false,
        };
        if let Some(last) = self.lines.last_mut().filter(|line| !line.raw.ends_with('\n')) {
            last.raw.push('\n');
        }
        match self.lines.iter().rposition(within) {
            Some(last) => self.lines.insert(last + 1, Line::assignment(section, key, value)),
            None => {
                self.lines.push(Line { raw: "\n".to_owned(), number: 0, kind: Kind::Other });
                let kind = Kind::Section(section.to_owned());
                self.lines.push(Line { raw: format!("[{section}]\n"), number: 0, kind });
                self.lines.push(Line::assignment(section, key, value));
            }
        }
    }

    /// Replaces the values of a key that `change` changes; the others stay as they are.
    pub fn change(&mut self, section: &str, key: &str, change: impl Fn(&str) -> Option<String>) {
        for line in &mut self.lines {
            let Kind::Assignment { section: own, key: name, value } = &line.kind else { continue };
            if own != section || name != key {
                continue;
            }
            if let Some(value) = change(value) {
                *line = Line::assignment(section, key, &value);
            }
        }
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// What a physical line adds to its logical one, and whether that goes on: after an odd number of backslashes.
fn piece(line: &str) -> (String, bool) {
    let line = line.trim_end_matches(['\n', '\r']);
    let goes_on = line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1;
    let body = if goes_on { &line[..line.len() - 1] } else { line };
    (body.trim().to_owned(), goes_on)
}

/// What a logical line is; `Err` says why it is nothing.
fn kind(logical: &str, section: &mut String) -> Result<Kind, String> {
    if let Some(name) = logical.strip_prefix('[') {
        let Some(name) = name.strip_suffix(']').filter(|name| !name.is_empty()) else {
            return Err(format!("{logical:?} is no [Section]"));
        };
        name.clone_into(section);
        return Ok(Kind::Section(name.to_owned()));
    }
    // For other programs, which may write there what they like (systemd.unit(5)).
    if section.starts_with("X-") {
        return Ok(Kind::Other);
    }
    let Some((key, value)) = logical.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
        return Err(format!("{logical:?} is not KEY=VALUE"));
    };
    if section.is_empty() {
        return Err(format!("{logical:?} stands before the first [Section]"));
    }
    let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
    Ok(Kind::Assignment { section: section.clone(), key, value })
}

impl Line {
    fn assignment(section: &str, key: &str, value: &str) -> Self {
        let kind =
            Kind::Assignment { section: section.to_owned(), key: key.to_owned(), value: value.to_owned() };
        Self { raw: format!("{key}={value}\n"), number: 0, kind }
    }

    fn assigns(&self, section: &str, key: &str) -> bool {
        matches!(&self.kind, Kind::Assignment { section: own, key: name, .. } if own == section && name == key)
    }
}

impl fmt::Display for UnitFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| f.write_str(&line.raw))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIT: &str = "# head\n[Unit]\nAfter=a.service \\\n  b.service\n; note\n\n[Service]\n ExecStart = /bin/x \\\n# inside\n  y \\\n z\n\
        Environment=A=1\nEnvironment=B=2\n\n[Install]\nWantedBy=multi-user.target";

    #[test]
    fn assignments_are_those_of_systemd() {
        let unit = UnitFile::parse(UNIT).unwrap();
        let found: Vec<_> =
            unit.assignments().map(|a| format!("{}:{}.{}={}", a.line, a.section, a.key, a.value)).collect();
        assert_eq!(
            found,
            [
                "3:Unit.After=a.service b.service",
                "8:Service.ExecStart=/bin/x y z",
                "12:Service.Environment=A=1",
                "13:Service.Environment=B=2",
                "16:Install.WantedBy=multi-user.target",
            ]
        );
        assert_eq!(unit.to_string(), UNIT);
    }

    #[test]
    fn a_change_touches_nothing_else() {
        let mut unit = UnitFile::parse(UNIT).unwrap();
        unit.set("Service", "Environment", "C=3");
        unit.set("Service", "Type", "simple");
        unit.set("Install", "Alias", "x.service");
        unit.change("Service", "ExecStart", |value| Some(format!("-{value}")));
        unit.add("Mount", "What", "/x");
        unit.remove("Unit", "After");
        assert_eq!(
            unit.to_string(),
            "# head\n[Unit]\n; note\n\n[Service]\nExecStart=-/bin/x y z\nEnvironment=C=3\nType=simple\n\n[Install]\n\
             WantedBy=multi-user.target\nAlias=x.service\n\n[Mount]\nWhat=/x\n"
        );
    }

    #[test]
    fn what_is_for_other_programs_is_passed_over() {
        let text = "[Service]\nA=1\n[X-Fleet]\nno assignment\nB=2\n[Unit]\nC=3\n";
        let unit = UnitFile::parse(text).unwrap();
        assert_eq!(unit.to_string(), text);
        let keys: Vec<_> = unit.assignments().map(|a| a.key).collect();
        assert_eq!(keys, ["A", "C"]);
    }

    /// Tried with systemd 252.
    #[test]
    fn only_an_odd_number_of_backslashes_at_the_very_end_goes_on() {
        let unit = UnitFile::parse("[Service]\nA=x \\\\\nB=y \\ \nC=z \\\r\n  z\nD=1 \\").unwrap();
        let values: Vec<_> = unit.assignments().map(|a| format!("{}={}", a.key, a.value)).collect();
        assert_eq!(values, ["A=x \\\\", "B=y \\", "C=z z", "D=1"]);
    }

    #[test]
    fn lines_are_those_of_the_template() {
        let template: Lines = [1, 2, 2, 3, 4].into_iter().collect();
        let mut unit = UnitFile::of_template("[Service]\nA=1\nB=2 \\\n  3\nC=4\n", &template).unwrap();
        unit.add("Service", "D", "5");
        unit.set("Service", "A", "6");
        let lines: Vec<_> = unit.assignments().map(|a| (a.key.to_owned(), a.line)).collect();
        let expected = [("A", 0), ("B", 2), ("C", 4), ("D", 0)];
        assert_eq!(lines, expected.map(|(key, line)| (key.to_owned(), line)));
        let all: Vec<_> = (1..=6).map(|line| unit.lines().of(line)).collect();
        assert_eq!(all, [1, 0, 2, 2, 4, 0]);
        let error = UnitFile::of_template("[Service]\nA=1\nB\n", &template).unwrap_err();
        assert_eq!(error.to_string(), "line 2: \"B\" is not KEY=VALUE");
    }

    #[test]
    fn empty_values_clear() {
        let unit =
            UnitFile::parse("[Service]\nExecStop=/a\nExecStop=\nExecStop=/b\nType=notify\nType=\n").unwrap();
        assert_eq!(unit.all("Service", "ExecStop"), ["/b"]);
        assert_eq!(unit.last("Service", "Type"), None);
    }

    #[test]
    fn what_is_no_unit_is_refused_with_its_line() {
        for (text, message) in [
            ("A=1\n", "line 1: \"A=1\" stands before the first [Section]"),
            ("[Unit]\n\nA\n", "line 3: \"A\" is not KEY=VALUE"),
            ("[Unit]\n=1\n", "line 2: \"=1\" is not KEY=VALUE"),
            ("[Unit\n", "line 1: \"[Unit\" is no [Section]"),
        ] {
            assert_eq!(UnitFile::parse(text).unwrap_err().to_string(), message);
        }
        let another = UnitFile::of_another("A=1\n[Install]\nB\n=2\nC=3\n").unwrap();
        assert_eq!(another.assignments().map(|a| a.key.to_owned()).collect::<Vec<_>>(), ["C"]);
        assert!(UnitFile::of_another("[Unit\n").is_err());
    }

    proptest! {
        /// Whatever parses prints as it was.
        #[test]
        fn parsing_loses_nothing(lines in prop::collection::vec(
            prop::sample::select(vec![
                "[Unit]", "[Service]", " [Install] ", "A=1", "A = \t x", "B=", "# c", ";d", "", "\t", "C=x \\", "  y\\", "z \\\\", "\\",
            ]), 0..12), last in any::<bool>())
        {
            let text = lines.join("\n") + if last { "\n" } else { "" };
            if let Ok(unit) = UnitFile::parse(&text) {
                prop_assert_eq!(unit.to_string(), text);
            }
        }
    }
}
