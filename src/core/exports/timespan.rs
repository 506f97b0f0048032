//! Time spans as systemd reads them (systemd.time(7), "Parsing Time Spans"; `parse_time()` of systemd 252).

/// Whether `text` is a time span; a number without a unit is seconds.
pub fn is_time_span(text: &str) -> bool {
    if let Some(rest) = text.trim_start_matches(WHITESPACE).strip_prefix("infinity") {
        return rest.trim_matches(WHITESPACE).is_empty();
    }
    let mut rest = text.trim_start_matches(WHITESPACE);
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let Some((part, after)) = part(rest) else { return false };
        match total.checked_add(part).filter(|total| *total < u64::MAX) {
            Some(sum) => total = sum,
            None => return false,
        }
        rest = after.trim_start_matches(WHITESPACE);
    }
    !text.trim_matches(WHITESPACE).is_empty()
}

const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

const SECOND: u64 = 1_000_000;

/// Longer spellings before those that they begin with.
const UNITS: [(&str, u64); 30] = [
    ("seconds", SECOND),
    ("second", SECOND),
    ("sec", SECOND),
    ("s", SECOND),
    ("minutes", 60 * SECOND),
    ("minute", 60 * SECOND),
    ("min", 60 * SECOND),
    ("months", 2_629_800 * SECOND),
    ("month", 2_629_800 * SECOND),
    ("M", 2_629_800 * SECOND),
    ("msec", 1_000),
    ("ms", 1_000),
    ("m", 60 * SECOND),
    ("hours", 3_600 * SECOND),
    ("hour", 3_600 * SECOND),
    ("hr", 3_600 * SECOND),
    ("h", 3_600 * SECOND),
    ("days", 86_400 * SECOND),
    ("day", 86_400 * SECOND),
    ("d", 86_400 * SECOND),
    ("weeks", 604_800 * SECOND),
    ("week", 604_800 * SECOND),
    ("w", 604_800 * SECOND),
    ("years", 31_557_600 * SECOND),
    ("year", 31_557_600 * SECOND),
    ("y", 31_557_600 * SECOND),
    ("usec", 1),
    ("us", 1),
    // Both letters that look alike, the micro sign and the Greek one.
    ("\u{b5}s", 1),
    ("\u{3bc}s", 1),
];

/// One number with its unit in microseconds, and what follows it.
fn part(text: &str) -> Option<(u64, &str)> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    let (fraction, rest) = match rest.strip_prefix('.') {
        // `1.` alone is none.
        Some(rest) => Some(rest.split_at(digits(rest))).filter(|(fraction, _)| !fraction.is_empty())?,
        None => ("", rest),
    };
    // strtoll(3): without digits, and hence without the sign, there is nothing.
    if whole.is_empty() && (fraction.is_empty() || unsigned.len() < text.len()) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let spaced = rest.trim_start_matches(WHITESPACE);
    let unit = UNITS.iter().find_map(|(name, unit)| Some((*unit, spaced.strip_prefix(name)?)));
    let (unit, after) = unit.unwrap_or((SECOND, spaced));
    if after.len() == rest.len() && !rest.is_empty() {
        return None;
    }
    let whole = u64::try_from(whole).ok().filter(|whole| *whole < u64::MAX / unit)?;
    let mut micros = whole * unit;
    let mut share = unit / 10;
    for digit in fraction.bytes() {
        micros = micros.checked_add(u64::from(digit - b'0') * share)?;
        share /= 10;
    }
    Some((micros, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What systemd 252 takes and refuses; `tests/exports/tmpfiles.rs` asks systemd itself.
    #[test]
    fn table_of_time_spans() {
        for good in [
            "0",
            "5",
            " 5 ",
            "+5",
            "1M",
            "1.5d",
            ".5d",
            "1h30min",
            "1h 30 min",
            "5 10",
            "1µs",
            "1μs",
            "infinity",
            " infinity ",
            "2 weeks",
            "1y1month1w1d",
            "1.5",
            "99999y",
        ] {
            assert!(is_time_span(good), "{good}");
        }
        for bad in [
            "",
            " ",
            "soon",
            "-1",
            "1.",
            "1.d",
            "10D",
            "10dm",
            "1 x",
            "1.2.3",
            "infinity1",
            "99999999999y",
            "+",
            "+.5",
        ] {
            assert!(!is_time_span(bad), "{bad}");
        }
    }
}
