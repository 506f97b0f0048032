//! Where the fields of a JSON text stand. The text may be a template, which is no JSON yet: what is neither structure nor
//! text is passed over.

use std::str::Chars;

/// One field or element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// `mounts[2].source`
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its value, if that is a text.
    pub text: Option<Text>,
}

/// A text, its escapes resolved (RFC 8259, section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its characters.
    pub value: String,
    /// Line and column of each character, and of the quote after them.
    places: Vec<(usize, usize)>,
}

impl Text {
    /// Line and column, from 1, of a character, counted from 0; of the last quote for what lies behind it.
    pub fn place(&self, character: usize) -> (usize, usize) {
        self.places.get(character).or(self.places.last()).copied().unwrap_or_default()
    }
}

enum Level {
    Object(Option<String>),
    Array(usize),
}

/// All fields in the order of the text.
pub fn all(text: &[u8]) -> Vec<Field> {
    let text = String::from_utf8_lossy(text);
    let mut scan = Scan { letters: text.chars(), line: 1, column: 0, levels: Vec::new(), found: Vec::new() };
    while let Some(letter) = scan.next() {
        match letter {
            '"' => {
                let line = scan.line;
                let text = scan.text();
                scan.string(text, line);
            }
            '{' | '[' => {
                scan.element(None, scan.line);
                scan.levels.push(if letter == '{' { Level::Object(None) } else { Level::Array(0) });
            }
            '}' | ']' => drop(scan.levels.pop()),
            ',' => match scan.levels.last_mut() {
                Some(Level::Object(key)) => *key = None,
                Some(Level::Array(index)) => *index += 1,
                None => {}
            },
            _ => {}
        }
    }
    scan.found
}

struct Scan<'a> {
    letters: Chars<'a>,
    /// Of the last character.
    line: usize,
    column: usize,
    levels: Vec<Level>,
    found: Vec<Field>,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.next()?;
        if letter == '\n' {
            (self.line, self.column) = (self.line + 1, 0);
        } else {
            self.column += 1;
        }
        Some(letter)
    }

    /// The rest of a text whose first quote was read.
    fn text(&mut self) -> Text {
        let mut text = Text { value: String::new(), places: Vec::new() };
        while let Some(letter) = self.next() {
            let place = (self.line, self.column);
            text.places.push(place);
            match letter {
                '"' => break,
                '\\' => text.value.push(self.escaped()),
                _ => text.value.push(letter),
            }
        }
        text
    }

    /// What an escape whose backslash was read stands for.
    fn escaped(&mut self) -> char {
        match self.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => match self.unit() {
                high @ 0xd800..0xdc00 if self.letters.as_str().starts_with("\\u") => {
                    self.next();
                    self.next();
                    let low = self.unit().wrapping_sub(0xdc00) & 0x3ff;
                    char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low).unwrap_or('\u{fffd}')
                }
                unit => char::from_u32(unit).unwrap_or('\u{fffd}'),
            },
            other => other.unwrap_or('\\'),
        }
    }

    fn unit(&mut self) -> u32 {
        (0..4).fold(0, |unit, _| unit * 16 + self.next().and_then(|digit| digit.to_digit(16)).unwrap_or(0))
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for level in &self.levels {
            match level {
                Level::Object(Some(key)) if path.is_empty() => path.push_str(key),
                Level::Object(Some(key)) => path.extend([".", key]),
                Level::Object(None) => {}
                Level::Array(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    /// A key, or a value.
    fn string(&mut self, text: Text, line: usize) {
        match self.levels.last_mut() {
            Some(Level::Object(key @ None)) => {
                *key = Some(text.value);
                let path = self.path();
                self.found.push(Field { path, line, text: None });
            }
            Some(Level::Object(Some(_))) => {
                let path = self.path();
                if let Some(field) = self.found.iter_mut().rev().find(|field| field.path == path) {
                    field.text = Some(text);
                }
            }
            Some(Level::Array(_)) => self.element(Some(text), line),
            None => {}
        }
    }

    /// Something begins in an array.
    fn element(&mut self, text: Option<Text>, line: usize) {
        if matches!(self.levels.last(), Some(Level::Array(_))) {
            let path = self.path();
            self.found.push(Field { path, line, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_has_its_place() {
        let text =
            b"{\"a\": {\n  \"/x\\u002fy\" : \"\\ud83d\\ude00\\\\\\\"$A\",\n \"l\": [\"\xc3\xa9\", \"z\"]}}";
        let all = all(text);
        let paths: Vec<_> = all.iter().map(|field| (field.path.as_str(), field.line)).collect();
        assert_eq!(paths, [("a", 1), ("a./x/y", 2), ("a.l", 3), ("a.l[0]", 3), ("a.l[1]", 3)]);
        let text = all[1].text.as_ref().unwrap();
        assert_eq!(text.value, "\u{1f600}\\\"$A");
        let places: Vec<_> = (0..6).map(|at| text.place(at)).collect();
        assert_eq!(places, [(2, 18), (2, 30), (2, 32), (2, 34), (2, 35), (2, 36)]);
        assert_eq!(all[4].text.as_ref().unwrap().place(0), (3, 14));
    }
}
