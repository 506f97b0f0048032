//! Texts as unit files spell them (systemd.syntax(7), systemd.unit(5) "Specifiers"): a value stays one value on one line.

use anyhow::{Result, bail};

/// A value that takes the rest of its line, such as `Description=`.
///
/// # Errors
/// When no line can hold it: it is empty, has a control character, begins or ends with a space, or ends in a backslash,
/// which would swallow the next line. `label` names it.
pub fn line(label: &str, text: &str) -> Result<String> {
    one_line(label, text)?;
    if text.is_empty() || text.trim() != text || text.ends_with('\\') {
        bail!(
            "{label}: {text:?} is empty, or ends in what a unit file drops (a space or a backslash); change it"
        );
    }
    Ok(specifiers(text))
}

/// One word of a list that systemd splits and unquotes, such as `RequiresMountsFor=`.
///
/// # Errors
/// When it has a control character. `label` names it.
pub fn word(label: &str, text: &str) -> Result<String> {
    one_line(label, text)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.:@+=,~%".contains(c);
    let text = specifiers(text);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text);
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A text that must stay on one line; it is the template that says where.
///
/// # Errors
/// When it has a control character. `label` names it.
pub fn one_line(label: &str, text: &str) -> Result<()> {
    if text.chars().any(char::is_control) {
        bail!("{label}: {text:?} has a line break or another control character, which a unit can't hold");
    }
    Ok(())
}

/// `%` begins a specifier unless it is doubled.
pub fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}
