//! The `[Install]` section as links below the unit directory (systemd.unit(5)), and as preset lines.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use camino::Utf8PathBuf;

use super::{Assignment, UnitFile};
use crate::settings::UnitName;

/// What enabling a unit does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Install {
    /// Path relative to the unit directory → the link's text. Sorted, each once.
    pub links: Vec<(Utf8PathBuf, String)>,
    /// `Also=`: further units that are enabled with it, by their own `[Install]`.
    pub also: BTreeSet<String>,
    /// What its `[Install]` asks for and enabling does not do, one sentence each.
    pub ignored: Vec<String>,
}

/// Whose unit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The container's: what has no meaning is refused.
    Own,
    /// Another one, that `Also=` names: what systemd passes over is passed over.
    Other,
}

const KEYS: [&str; 5] = ["WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also"];

/// Reads `[Install]` of the unit called `name`, which may be a template or an instance of one.
///
/// # Errors
/// When it says what no link can express; the message has the line.
pub fn install(name: &str, unit: &UnitFile, whose: Whose) -> Result<Install> {
    let names = Names::of(name, unit);
    let mut install = Install::default();
    for key in KEYS {
        for value in unit.all("Install", key) {
            for word in value.split_whitespace() {
                let other = names.expand(word).with_context(|| format!("reading [Install]: {key}={word}"))?;
                install.enter(&names, key, &other)?;
            }
        }
    }
    let ignored = |key: &str| {
        key.starts_with("X-") || KEYS.contains(&key) || names.template && key == "DefaultInstance"
    };
    for Assignment { key, line, .. } in unit.assignments().filter(|a| a.section == "Install") {
        if whose == Whose::Own && !ignored(key) {
            bail!("reading [Install]: line {line}: {key}= has no meaning for a container's unit");
        }
    }
    install.links.sort();
    install.links.dedup();
    Ok(install)
}

/// The names of a unit (systemd.unit(5), "Specifiers").
struct Names<'a> {
    /// `x@a.service`: of a template without an instance, that of `DefaultInstance=`, if there is one.
    full: String,
    /// `x@.service`: the file that has its text.
    file: String,
    /// `x`
    prefix: &'a str,
    /// `a`
    instance: String,
    /// Whether the text is a template's.
    template: bool,
}

impl<'a> Names<'a> {
    fn of(name: &'a str, unit: &UnitFile) -> Self {
        let (stem, suffix) = name.rsplit_once('.').unwrap_or((name, ""));
        let Some((prefix, instance)) = stem.split_once('@') else {
            return Self {
                full: name.to_owned(),
                file: name.to_owned(),
                prefix: stem,
                instance: String::new(),
                template: false,
            };
        };
        let default = unit.last("Install", "DefaultInstance").filter(|_| instance.is_empty());
        let instance = default.unwrap_or(instance).to_owned();
        Self {
            full: format!("{prefix}@{instance}.{suffix}"),
            file: format!("{prefix}@.{suffix}"),
            prefix,
            instance,
            template: true,
        }
    }

    /// A unit's name with the specifiers that need no host.
    fn expand(&self, word: &str) -> Result<String> {
        let stem = self.full.rsplit_once('.').map_or(self.full.as_str(), |(stem, _)| stem);
        let mut expanded = String::new();
        let mut letters = word.chars();
        while let Some(letter) = letters.next() {
            match (letter, letter == '%') {
                (_, false) => expanded.push(letter),
                _ => match letters.next() {
                    Some('n') => expanded.push_str(&self.full),
                    Some('N') => expanded.push_str(stem),
                    Some('p') => expanded.push_str(self.prefix),
                    Some('j') => expanded.push_str(self.prefix.rsplit('-').next().unwrap_or_default()),
                    Some('i') if self.template => expanded.push_str(&self.instance),
                    Some('%') => expanded.push('%'),
                    other => bail!("the specifier %{} is not known here", other.unwrap_or(' ')),
                },
            }
        }
        Ok(UnitName::try_from(expanded)?.into())
    }
}

impl Install {
    fn enter(&mut self, names: &Names<'_>, key: &str, other: &str) -> Result<()> {
        let Names { full, file, .. } = names;
        let directory = match key {
            "WantedBy" => "wants",
            "RequiredBy" => "requires",
            "UpheldBy" => "upholds",
            "Also" => {
                if other != full {
                    self.also.insert(other.to_owned());
                }
                return Ok(());
            }
            _ => {
                let suffix = |unit: &str| unit.rsplit_once('.').map(|(_, suffix)| suffix.to_owned());
                if suffix(other) != suffix(full) {
                    bail!("reading [Install]: Alias={other} has another suffix than {full}");
                }
                if other.contains('@') != names.template {
                    bail!("reading [Install]: Alias={other}: a template's name is another template's only");
                }
                if other != file {
                    self.links.push((other.into(), file.clone()));
                }
                return Ok(());
            }
        };
        // As systemctl(1) has it: a template without an instance can be wanted by templates only.
        if names.template && names.instance.is_empty() && !other.contains("@.") {
            self.ignored.push(format!("{key}={other} needs an instance of {file}, and nothing names one"));
            return Ok(());
        }
        self.links.push((format!("{other}.{directory}/{full}").into(), format!("../{file}")));
        Ok(())
    }

    /// systemd.preset(5) text that agrees with the links: the unit and those of `Also=`.
    pub fn preset(&self, name: &str, verb: &str) -> String {
        let also: String = self.also.iter().map(|other| format!("{verb} {other}\n")).collect();
        format!("{verb} {name}\n{also}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Install> {
        install("web.service", &UnitFile::parse(&format!("[Install]\n{text}")).unwrap(), Whose::Own)
    }

    #[test]
    fn links_as_enabling_makes_them() {
        let install = read(
            "WantedBy=no.target\nWantedBy=\nWantedBy=a.target \\\n b.target\nRequiredBy=docker.service a.target\n\
             UpheldBy=c.target\nAlias=www.service web.service\nAlso=%N.socket web.service\nWantedBy=a.target\nX-Mark=1\n",
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

    /// What `systemctl --root=DIR enable` of systemd 252 does; tests/exports/units.rs asks it.
    #[test]
    fn templates_have_their_instance_or_a_default() {
        let of = |name: &str, text: &str| {
            let unit = UnitFile::parse(&format!("[Install]\n{text}")).unwrap();
            let install = install(name, &unit, Whose::Other).unwrap();
            let links = install.links.iter().map(|(path, text)| format!("{path} {text}"));
            links.chain(install.ignored).collect::<Vec<_>>()
        };
        let text = "WantedBy=a.target a-%i.target b@.target %p.target %N.target\nAlias=y@.service\nNew=1\n";
        assert_eq!(
            of("x@.service", &format!("{text}DefaultInstance=one\n")),
            [
                "a-one.target.wants/x@one.service ../x@.service",
                "a.target.wants/x@one.service ../x@.service",
                "b@.target.wants/x@one.service ../x@.service",
                "x.target.wants/x@one.service ../x@.service",
                "x@one.target.wants/x@one.service ../x@.service",
                "y@.service x@.service",
            ]
        );
        assert_eq!(
            of("x@two.service", "DefaultInstance=one\nWantedBy=a-%i.target\n"),
            ["a-two.target.wants/x@two.service ../x@.service"]
        );
        assert_eq!(
            of("x@.service", "WantedBy=a.target b@.target\n"),
            [
                "b@.target.wants/x@.service ../x@.service",
                "WantedBy=a.target needs an instance of x@.service, and nothing names one",
            ]
        );
    }

    #[test]
    fn what_no_link_can_say_is_refused() {
        for (text, message) in [
            (
                "WantedBy=../x",
                "reading [Install]: WantedBy=../x: \"../x\" is not a unit's name with its suffix, such as network.target",
            ),
            (
                "Alias=x@.service",
                "reading [Install]: Alias=x@.service: a template's name is another template's only",
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
