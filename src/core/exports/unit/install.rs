//! The `[Install]` section as links below the unit directory (systemd.unit(5)), and as preset lines.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use camino::Utf8PathBuf;

use super::UnitFile;
use crate::settings::UnitName;

/// What enabling a unit does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Install {
    /// Path relative to the unit directory → the link's text. Sorted, each once.
    pub links: Vec<(Utf8PathBuf, String)>,
    /// `Also=`: further units that are enabled with it, by their own `[Install]`.
    pub also: BTreeSet<String>,
}

/// Reads `[Install]` of the unit called `name`.
///
/// # Errors
/// When it says what no link can express; the message has the line.
pub fn install(name: &str, unit: &UnitFile) -> Result<Install> {
    let mut install = Install::default();
    for key in ["WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also"] {
        for value in unit.all("Install", key) {
            for word in value.split_whitespace() {
                let other = expand(name, word).with_context(|| format!("reading [Install]: {key}={word}"))?;
                install.enter(name, key, &other)?;
            }
        }
    }
    for assignment in unit.assignments().filter(|a| a.section == "Install") {
        if !matches!(assignment.key, "WantedBy" | "RequiredBy" | "UpheldBy" | "Alias" | "Also") {
            bail!(
                "reading [Install]: line {}: {}= has no meaning for a container's unit",
                assignment.line,
                assignment.key
            );
        }
    }
    install.links.sort();
    install.links.dedup();
    Ok(install)
}

impl Install {
    fn enter(&mut self, name: &str, key: &str, other: &str) -> Result<()> {
        let directory = match key {
            "WantedBy" => "wants",
            "RequiredBy" => "requires",
            "UpheldBy" => "upholds",
            "Also" => {
                if other != name {
                    self.also.insert(other.to_owned());
                }
                return Ok(());
            }
            _ => {
                let suffix = |unit: &str| unit.rsplit_once('.').map(|(_, suffix)| suffix.to_owned());
                if suffix(other) != suffix(name) {
                    bail!("reading [Install]: Alias={other} has another suffix than {name}");
                }
                if other != name {
                    self.links.push((other.into(), name.to_owned()));
                }
                return Ok(());
            }
        };
        self.links.push((format!("{other}.{directory}/{name}").into(), format!("../{name}")));
        Ok(())
    }

    /// systemd.preset(5) text that agrees with the links: the unit and those of `Also=`.
    pub fn preset(&self, name: &str, verb: &str) -> String {
        let also: String = self.also.iter().map(|other| format!("{verb} {other}\n")).collect();
        format!("{verb} {name}\n{also}")
    }
}

/// A unit's name with the specifiers that need no host: `%n`, `%N`, `%p`, `%%`.
fn expand(name: &str, word: &str) -> Result<String> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut expanded = String::new();
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '%') {
            (_, false) => expanded.push(letter),
            _ => match letters.next() {
                Some('n') => expanded.push_str(name),
                Some('N' | 'p') => expanded.push_str(stem),
                Some('%') => expanded.push('%'),
                other => bail!("the specifier %{} is not known here", other.unwrap_or(' ')),
            },
        }
    }
    Ok(UnitName::try_from(expanded)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Install> {
        install("web.service", &UnitFile::parse(&format!("[Install]\n{text}")).unwrap())
    }

    #[test]
    fn links_as_enabling_makes_them() {
        let install = read(
            "WantedBy=no.target\nWantedBy=\nWantedBy=a.target \\\n b.target\nRequiredBy=docker.service a.target\n\
             UpheldBy=c.target\nAlias=www.service web.service\nAlso=%N.socket web.service\nWantedBy=a.target\n",
        )
        .unwrap();
        let links: Vec<_> = install.links.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        assert_eq!(
            links,
            [
                ("a.target.requires/web.service", "../web.service"),
                ("a.target.wants/web.service", "../web.service"),
                ("b.target.wants/web.service", "../web.service"),
                ("c.target.upholds/web.service", "../web.service"),
                ("docker.service.requires/web.service", "../web.service"),
                ("www.service", "web.service"),
            ]
        );
        assert_eq!(install.preset("web.service", "enable"), "enable web.service\nenable web.socket\n");
        assert_eq!(read("").unwrap(), Install::default());
    }

    #[test]
    fn what_no_link_can_say_is_refused() {
        for (text, message) in [
            (
                "WantedBy=../x",
                "reading [Install]: WantedBy=../x: \"../x\" is not a unit's name with its suffix, such as network.target",
            ),
            ("Alias=x.socket", "reading [Install]: Alias=x.socket has another suffix than web.service"),
            (
                "WantedBy=%i.target",
                "reading [Install]: WantedBy=%i.target: the specifier %i is not known here",
            ),
            (
                "DefaultInstance=x",
                "reading [Install]: line 2: DefaultInstance= has no meaning for a container's unit",
            ),
        ] {
            assert_eq!(format!("{:#}", read(text).unwrap_err()), message);
        }
    }
}
