//! Everything that is wrong with what an image brings, told at once.

use std::fmt;

use super::template::{Fault, Wrong};

/// What is wrong with one line of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Everything that is wrong with an image's files.
#[derive(Debug, Default, thiserror::Error)]
pub struct Faults {
    /// Places of templates that can't be expanded, each with its file.
    pub places: Vec<(String, Fault)>,
    /// What else is wrong, each as `reading FILE: …`.
    pub others: Vec<anyhow::Error>,
}

impl Faults {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.others.is_empty()
    }

    /// The bad lines of a file.
    pub fn of_lines(file: &str, lines: impl IntoIterator<Item = BadLine>) -> Self {
        let reading = |line| anyhow::Error::new(line).context(format!("reading {file}"));
        Self { places: Vec::new(), others: lines.into_iter().map(reading).collect() }
    }

    /// Keeps an error for later. One that is itself many becomes those.
    pub fn push(&mut self, error: anyhow::Error) {
        match error.downcast::<Self>() {
            Ok(Self { places, others }) => {
                self.places.extend(places);
                self.others.extend(others);
            }
            Err(error) => self.others.push(error),
        }
    }

    /// The value, if there is no error; else the error is kept.
    pub fn take<T>(&mut self, result: anyhow::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Both values, or what is wrong with either.
    ///
    /// # Errors
    /// When one is an error; what is alone stays itself.
    pub fn both<A, B>(one: anyhow::Result<A>, other: anyhow::Result<B>) -> anyhow::Result<(A, B)> {
        match (one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            (Err(one), Err(other)) => {
                let mut faults = Self::default();
                faults.push(one);
                faults.push(other);
                Err(faults.into())
            }
        }
    }

    /// Nothing, when nothing is wrong.
    ///
    /// # Errors
    /// Everything that is wrong; what is alone stays itself.
    pub fn finish(mut self) -> anyhow::Result<()> {
        match (self.places.is_empty(), self.others.pop()) {
            (true, None) => Ok(()),
            (true, Some(alone)) if self.others.is_empty() => Err(alone),
            (_, last) => {
                self.others.extend(last);
                Err(self.into())
            }
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.places.is_empty() {
            parts.push(expanding(&self.places));
        }
        parts.extend(self.others.iter().map(|other| format!("{other:#}")));
        f.write_str(&parts.join("; "))
    }
}

fn expanding(places: &[(String, Fault)]) -> String {
    let mut text = "expanding the image's templates: ".to_owned();
    for (file, fault) in places {
        text.push_str(&format!("{file}:{}:{}: {fault}; ", fault.line, fault.column));
    }
    let any = |wanted: fn(&Wrong) -> bool| places.iter().any(|(_, fault)| wanted(&fault.wrong));
    let set = any(|wrong| matches!(wrong, Wrong::Undefined(_) | Wrong::TooEarly(_)));
    let escape = any(|wrong| *wrong == Wrong::Malformed);
    text + match (set, escape) {
        (true, true) => "give values in the manifest's `set`, write a `$` itself as `$$`",
        (true, false) => "give values in the manifest's `set`",
        (false, _) => "write a `$` itself as `$$`",
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn one_stays_itself_and_many_are_one_line() {
        assert!(Faults::default().finish().is_ok());
        let mut one = Faults::default();
        one.push(BadLine { line: 2, what: "no".to_owned() }.into());
        assert!(one.finish().unwrap_err().downcast_ref::<BadLine>().is_some());
        let mut many = Faults::default();
        let bad = |line| BadLine { line, what: "no".to_owned() };
        many.push(Faults::of_lines("x", [bad(1), bad(3)]).into());
        many.push(anyhow!("why").context("what"));
        assert_eq!(many.take(Ok(1)), Some(1));
        assert_eq!(many.take::<()>(Err(anyhow!("last"))), None);
        assert!(
            Faults::both(Ok(1), Err::<(), _>(anyhow!("x"))).unwrap_err().downcast_ref::<Faults>().is_none()
        );
        let both = Faults::both::<(), ()>(Err(anyhow!("x")), Err(anyhow!("y")));
        assert_eq!(both.unwrap_err().to_string(), "x; y");
        let error = many.finish().unwrap_err();
        assert_eq!(error.to_string(), "reading x: line 1: no; reading x: line 3: no; what: why; last");
    }
}
