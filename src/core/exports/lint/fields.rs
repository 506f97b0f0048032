//! Where the fields of a JSON text stand. The text may be a template, which is no JSON yet: what is neither structure nor
//! text is passed over.

/// One field or element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// `mounts[2].source`
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its value, if that is a text.
    pub text: Option<String>,
}

enum Level {
    Object(Option<String>),
    Array(usize),
}

/// All fields in the order of the text.
pub fn all(text: &[u8]) -> Vec<Field> {
    let text = String::from_utf8_lossy(text);
    let mut scan = Scan { levels: Vec::new(), line: 1, found: Vec::new() };
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                let line = scan.line;
                let text = string(&mut letters, &mut scan.line);
                scan.string(text, line);
            }
            '{' | '[' => {
                scan.element(None);
                scan.levels.push(if letter == '{' { Level::Object(None) } else { Level::Array(0) });
            }
            '}' | ']' => drop(scan.levels.pop()),
            ',' => match scan.levels.last_mut() {
                Some(Level::Object(key)) => *key = None,
                Some(Level::Array(index)) => *index += 1,
                None => {}
            },
            '\n' => scan.line += 1,
            _ => {}
        }
    }
    scan.found
}

/// The rest of a string whose first quote was read; escapes stay as they are written.
fn string(letters: &mut std::str::Chars<'_>, line: &mut usize) -> String {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => text.extend(letters.next()),
            '\n' => *line += 1,
            _ => text.push(letter),
        }
    }
    text
}

struct Scan {
    levels: Vec<Level>,
    line: usize,
    found: Vec<Field>,
}

impl Scan {
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
    fn string(&mut self, text: String, line: usize) {
        match self.levels.last_mut() {
            Some(Level::Object(key @ None)) => {
                *key = Some(text);
                let path = self.path();
                self.found.push(Field { path, line, text: None });
            }
            Some(Level::Object(Some(_))) => {
                let path = self.path();
                if let Some(field) = self.found.iter_mut().rev().find(|field| field.path == path) {
                    field.text = Some(text);
                }
            }
            Some(Level::Array(_)) => {
                self.element(Some(text));
            }
            None => {}
        }
    }

    /// Something begins in an array.
    fn element(&mut self, text: Option<String>) {
        if matches!(self.levels.last(), Some(Level::Array(_))) {
            let path = self.path();
            self.found.push(Field { path, line: self.line, text });
        }
    }
}
