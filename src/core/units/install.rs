//! The `[Install]` section of a unit as links, as `systemctl enable` would make them, but relative and in the directory of
//! the unit (systemd.unit(5), "[Install] Section Options").

use anyhow::{Result, bail};
use camino::Utf8PathBuf;

use crate::name::ContainerName;
use crate::settings::UnitName;

/// One `KEY=VALUE` of a unit file, continuation lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// `Install`
    pub section: String,
    /// `WantedBy`
    pub key: String,
    /// What follows `=`, without the spaces around it.
    pub value: String,
    /// The line it begins on, from 1.
    pub line: usize,
}

/// All assignments of a unit file in order (systemd.syntax(7)).
///
/// # Errors
/// When a line is neither section, comment nor assignment, or stands before the first section.
pub fn assignments(text: &str) -> Result<Vec<Assignment>> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (line, text) in logical_lines(text) {
        if let Some(name) = text.strip_prefix('[') {
            let Some(name) = name.strip_suffix(']') else { bail!("line {line}: the section has no `]`") };
            name.clone_into(&mut section);
            continue;
        }
        // For other programs, which may write there what they like (systemd.unit(5)).
        if section.starts_with("X-") {
            continue;
        }
        let Some((key, value)) = text.split_once('=') else {
            bail!("line {line}: {text:?} is not KEY=VALUE");
        };
        if section.is_empty() {
            bail!("line {line}: {text:?} stands before the first [Section]");
        }
        let (key, value) = (key.trim_end().to_owned(), value.trim_start().to_owned());
        found.push(Assignment { section: section.clone(), key, value, line });
    }
    Ok(found)
}

/// Lines without comments and empty ones, each with the number of its first; a backslash at the end goes on in the next.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with(['#', ';']) || line.is_empty() && !goes_on {
            continue;
        }
        let backslashes = line.bytes().rev().take_while(|&byte| byte == b'\\').count();
        let more = backslashes % 2 == 1;
        let body = if more { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some((_, last)) if goes_on => {
                last.push(' ');
                last.push_str(body);
            }
            _ => lines.push((index + 1, body.to_owned())),
        }
        goes_on = more;
    }
    lines
}

/// The links that enable the unit: path relative to its directory, and the link's text. Sorted, each once.
///
/// # Errors
/// When the text is no unit of a service, or its `[Install]` section says what no link can express.
pub fn links(name: &ContainerName, unit: &str) -> Result<Vec<(Utf8PathBuf, String)>> {
    let assignments = assignments(unit)?;
    if !assignments.iter().any(|a| a.section == "Service" && a.key == "ExecStart") {
        bail!("the unit has no ExecStart= in a section [Service]; mend the template");
    }
    let mut links = Vec::new();
    for Assignment { key, value, line, .. } in assignments.iter().filter(|a| a.section == "Install") {
        let suffix = match key.as_str() {
            "WantedBy" => Some("wants"),
            "RequiredBy" => Some("requires"),
            "UpheldBy" => Some("upholds"),
            "Alias" => None,
            key if key.starts_with("X-") => continue,
            _ => bail!("line {line}: {key}= in [Install] is not supported; take it out of the template"),
        };
        for word in value.split_whitespace() {
            let Ok(other) = UnitName::try_from(word.to_owned()) else {
                bail!("line {line}: {key}={word} is not a unit's name");
            };
            links.push(match suffix {
                Some(suffix) => {
                    (format!("{other}.{suffix}/{}", name.unit()).into(), format!("../{}", name.unit()))
                }
                None => (other.as_str().into(), name.unit()),
            });
        }
    }
    links.sort();
    links.dedup();
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links_of(install: &str) -> Result<Vec<(String, String)>> {
        let unit = format!("[Service]\nExecStart=/bin/x\n{install}");
        let links = links(&"web".parse().unwrap(), &unit)?;
        Ok(links.into_iter().map(|(path, text)| (path.into_string(), text)).collect())
    }

    #[test]
    fn sections_become_links() {
        let install = "[Install]\n# WantedBy=no.target\nWantedBy = a.target \\\n; between\n  b.target\nRequiredBy=a.target\n\
            Alias=www.service\nWantedBy=a.target\nX-Mark=y\n[Unit]\nWantedBy=not.target\n[X-Fleet]\nno assignment\n";
        let expected = [
            ("a.target.requires/web.service", "../web.service"),
            ("a.target.wants/web.service", "../web.service"),
            ("b.target.wants/web.service", "../web.service"),
            ("www.service", "web.service"),
        ];
        assert_eq!(
            links_of(install).unwrap(),
            expected.map(|(path, text)| (path.to_owned(), text.to_owned()))
        );
        assert_eq!(links_of("").unwrap(), []);
    }

    #[test]
    fn what_no_link_can_say_is_refused() {
        for (install, message) in [
            (
                "[Install]\nAlso=x.socket\n",
                "line 4: Also= in [Install] is not supported; take it out of the template",
            ),
            ("[Install]\nWantedBy=../x\n", "line 4: WantedBy=../x is not a unit's name"),
            ("[Install]\nWantedBy\n", "line 4: \"WantedBy\" is not KEY=VALUE"),
            ("[Install\n", "line 3: the section has no `]`"),
        ] {
            assert_eq!(links_of(install).unwrap_err().to_string(), message);
        }
        let error = links(&"web".parse().unwrap(), "[Unit]\nDescription=x\n").unwrap_err();
        assert_eq!(error.to_string(), "the unit has no ExecStart= in a section [Service]; mend the template");
    }
}
