//! Environment files (docs/format.md, "Environment files"): one `KEY=VALUE` a line, quotes as systemd's.

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;
use serde_json::{Value, json};

/// The pairs of a file, in its order.
///
/// # Errors
/// When it can't be read, or a line is not understood; the message has the line's number, never its text, which may be
/// a secret.
pub fn read(path: &Utf8Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading environment file {path}"))?;
    parse(&text).with_context(|| format!("reading environment file {path}"))
}

fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let pair =
            line.split_once('=').and_then(|(key, text)| Some((name(key.trim_end())?, value(text.trim())?)));
        match pair {
            Some((key, value)) => pairs.push((key.to_owned(), value)),
            None => bail!("line {number} is not KEY=VALUE on one line, its quotes closed"),
        }
    }
    Ok(pairs)
}

fn name(text: &str) -> Option<&str> {
    let fit = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let begins = text.bytes().next().is_some_and(|c| !c.is_ascii_digit());
    (begins && text.bytes().all(fit)).then_some(text)
}

/// A value without its quotes; none when they don't close at its end.
fn value(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix('\'') {
        let inner = rest.strip_suffix('\'')?;
        return (!inner.contains('\'')).then(|| inner.to_owned());
    }
    let Some(rest) = text.strip_prefix('"') else {
        // A backslash at the end would join lines for systemd.
        return (!text.ends_with('\\')).then(|| text.to_owned());
    };
    let mut value = String::new();
    let mut rest = rest.chars();
    loop {
        match rest.next()? {
            '"' => return rest.as_str().is_empty().then_some(value),
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\' | '`' | '$') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
}

/// `process.env` with `pairs` over it: the last of a name wins, a new name goes to the end.
pub fn merged(environment: &[Value], pairs: &[(String, String)]) -> Value {
    let mut merged: Vec<Value> = environment.to_vec();
    for (key, value) in pairs {
        let entry = json!(format!("{key}={value}"));
        let is_key = |old: &&mut Value| {
            old.as_str().and_then(|old| old.split_once('=')).is_some_and(|(old, _)| old == key)
        };
        match merged.iter_mut().find(is_key) {
            Some(old) => *old = entry,
            None => merged.push(entry),
        }
    }
    Value::Array(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_as_systemd_would_or_refused() {
        let text = "# a comment\n; another\n\nA=1\n B = 2 \nC='x \"y\" $z'\nD=\"a \\\"b\\\" \\$c \\n\"\nE=\nF=a=b#c\n";
        let pairs = |text| parse(text).map_err(|error: anyhow::Error| error.to_string());
        let expected =
            [("A", "1"), ("B", "2"), ("C", "x \"y\" $z"), ("D", "a \"b\" $c \\n"), ("E", ""), ("F", "a=b#c")];
        let expected: Vec<_> = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(pairs(text), Ok(expected));
        for bad in ["A", "1A=2", "=x", "A='x", "A=\"x", "A=\"x\" y", "A=x\\", "A='x' 'y'", "export A=1"] {
            assert_eq!(
                pairs(bad),
                Err("line 1 is not KEY=VALUE on one line, its quotes closed".into()),
                "{bad}"
            );
        }
    }

    #[test]
    fn later_pairs_win_and_order_stays() {
        let environment = ["PATH=/bin", "A=1", "AB=2"].map(|entry| json!(entry));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let merged = merged(&environment, &[pair("A", "x"), pair("NEW", "1"), pair("NEW", "2")]);
        assert_eq!(merged, json!(["PATH=/bin", "A=x", "AB=2", "NEW=2"]));
    }
}
