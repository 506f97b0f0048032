//! A unit file as lines that print as they were read (systemd.syntax(7)): what nobody changes stays byte for byte.

use std::fmt;

use anyhow::{Result, bail};

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
    /// A comment or an empty line.
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
    /// The line it begins on, from 1; 0 if it was added.
    pub line: usize,
}

impl UnitFile {
    /// Parses a unit file.
    ///
    /// # Errors
    /// When a line is neither section, comment nor assignment, or stands before the first section.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = Vec::new();
        let mut section = String::new();
        let mut physical = text.split_inclusive('\n').enumerate();
        while let Some((index, first)) = physical.next() {
            let number = index + 1;
            let mut raw = first.to_owned();
            let trimmed = first.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                lines.push(Line { raw, number, kind: Kind::Other });
                continue;
            }
            let mut logical = trimmed.to_owned();
            while let Some(body) = logical.strip_suffix('\\') {
                let mut joined = body.trim_end().to_owned();
                let Some((_, next)) = physical.next() else {
                    logical = joined;
                    break;
                };
                raw.push_str(next);
                let next = next.trim();
                // A comment between continuation lines is skipped and the line goes on.
                if next.starts_with(['#', ';']) {
                    joined.push('\\');
                } else {
                    joined.push(' ');
                    joined.push_str(next);
                }
                logical = joined;
            }
            let kind = kind(logical.trim(), number, &mut section)?;
            lines.push(Line { raw, number, kind });
        }
        Ok(Self { lines })
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

fn kind(logical: &str, number: usize, section: &mut String) -> Result<Kind> {
    if let Some(name) = logical.strip_prefix('[') {
        let Some(name) = name.strip_suffix(']').filter(|name| !name.is_empty()) else {
            bail!("line {number}: {logical:?} is no [Section]");
        };
        name.clone_into(section);
        return Ok(Kind::Section(name.to_owned()));
    }
    let Some((key, value)) = logical.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
        bail!("line {number}: {logical:?} is not KEY=VALUE");
    };
    if section.is_empty() {
        bail!("line {number}: {logical:?} stands before the first [Section]");
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
