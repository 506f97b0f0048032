//! The one time stamp that a compose may write.

use std::num::ParseIntError;

/// Seconds since 1970 that every entry gets which no image names: what we make ourselves, and directories
/// that a layer leaves implicit (<https://reproducible-builds.org/specs/source-date-epoch/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(i64);

/// `SOURCE_DATE_EPOCH` holds something else than a number of seconds.
#[derive(Debug, thiserror::Error)]
#[error("SOURCE_DATE_EPOCH={text:?} is not a number of seconds since 1970")]
pub struct InvalidEpoch {
    text: String,
    source: ParseIntError,
}

impl Default for Epoch {
    /// One second after the beginning of time: some tools take 0 for "unset".
    fn default() -> Self {
        Self(1)
    }
}

impl Epoch {
    /// Parses the value of `SOURCE_DATE_EPOCH`; `None`, when it is unset, gives the default.
    ///
    /// # Errors
    /// When the value is not a decimal number of seconds.
    pub fn from_variable(value: Option<&str>) -> Result<Self, InvalidEpoch> {
        value.map_or(Ok(Self::default()), |text| {
            text.parse().map(Self).map_err(|source| InvalidEpoch { text: text.to_owned(), source })
        })
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn seconds(self) -> i64 {
        self.0
    }
}
