//! Lengths of time and numbers of bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{InvalidValue, invalid};

/// A length of time in whole milliseconds; written `10s`, `500ms`, `1min 30s` (systemd.time(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
pub struct Duration {
    millis: u64,
}

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// The length in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }
}

impl TryFrom<String> for Duration {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        const EXPECTED: &str = "a length of time with its unit, such as 500ms, 10s or 1min 30s";
        let mut millis: u64 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return invalid(&text, EXPECTED);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let factor = match unit {
                "ms" => 1,
                "s" | "sec" => 1_000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                _ => return invalid(&text, EXPECTED),
            };
            let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
            match part.and_then(|part| millis.checked_add(part)) {
                Some(sum) => millis = sum,
                None => return invalid(&text, EXPECTED),
            }
            rest = tail.trim_start();
        }
        Ok(Self { millis })
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis.is_multiple_of(1_000) {
            write!(f, "{}s", self.millis / 1_000)
        } else {
            write!(f, "{}ms", self.millis)
        }
    }
}

/// A number of bytes; written `512M` with the suffixes K, M, G, T of base 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
pub struct ByteSize(u64);

impl ByteSize {
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl std::str::FromStr for ByteSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        const EXPECTED: &str = "a size above zero, such as 512M";
        let (number, shift) = match text.char_indices().last() {
            Some((end, 'K')) => (&text[..end], 10),
            Some((end, 'M')) => (&text[..end], 20),
            Some((end, 'G')) => (&text[..end], 30),
            Some((end, 'T')) => (&text[..end], 40),
            _ => (text, 0),
        };
        match number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)) {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            _ => invalid(text, EXPECTED),
        }
    }
}

impl TryFrom<String> for ByteSize {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, suffix) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{suffix}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}
