//! What the design asks for ("Numbers to reach"), beside what was found.

use std::fmt;

/// Whether what was measured is what the design asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// All of it.
    Met,
    /// Not all of it.
    Missed,
}

impl Verdict {
    /// Met if `holds`.
    pub fn of(holds: bool) -> Self {
        if holds { Self::Met } else { Self::Missed }
    }

    /// Met if both are.
    pub fn and(self, other: Self) -> Self {
        Self::of(self == Self::Met && other == Self::Met)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
        })
    }
}

/// A row, or a part of one.
#[derive(Debug)]
pub struct Row {
    /// What was done.
    pub work: String,
    /// What came of it.
    pub found: String,
    /// The bound.
    pub asked: String,
    /// Whether it holds.
    pub verdict: Verdict,
}

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
#[must_use]
pub struct Rows(Vec<Row>);

impl Rows {
    /// None: of what was measured nothing is asked.
    pub fn none() -> Self {
        Self::default()
    }

    /// One more at the end.
    pub fn with(mut self, row: Row) -> Self {
        self.0.push(row);
        self
    }

    /// These and others after them.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether all are met.
    pub fn verdict(&self) -> Verdict {
        self.0.iter().fold(Verdict::Met, |all, row| all.and(row.verdict))
    }
}

impl From<Row> for Rows {
    fn from(row: Row) -> Self {
        Self(vec![row])
    }
}

impl fmt::Display for Rows {
    /// A line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { work, found, asked, verdict } in &self.0 {
            writeln!(f, "{verdict:6}  {work}: {found}; asked {asked}")?;
        }
        Ok(())
    }
}
