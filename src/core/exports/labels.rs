//! An image's labels (A§1.4): what they decide, and what they demand of the host and of other containers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};

use super::unit::Runs;

/// What an image's labels say, as far as a system container has to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// `atomic.run`.
    pub runs: Runs,
    /// `Name` or `org.opencontainers.image.title`.
    pub name: Option<String>,
    /// `Version`, `atomic.version` or `org.opencontainers.image.version`.
    pub version: Option<String>,
    /// `atomic.summary`, `Summary` or `org.opencontainers.image.description`.
    pub summary: Option<String>,
    /// `atomic.requires`.
    pub requires: Vec<Relation>,
    /// `atomic.conflicts`.
    pub conflicts: Vec<Relation>,
    /// `atomic.provides`.
    pub provides: Vec<Relation>,
}

/// A name, maybe with a bound on its version: `etcd >= 3.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Of a package or container.
    pub name: String,
    /// The bound.
    pub bound: Option<(Bound, String)>,
}

/// How a version relates to the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `=`
    Exactly,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
}

/// Something that is there: a container or a package, with its version where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Who it is, for messages: `container etcd`.
    pub who: String,
    /// The names it goes by.
    pub names: Vec<(String, Option<String>)>,
}

/// Reads labels; the case of their names does not count.
///
/// # Errors
/// When a label that decides something has a value without meaning.
pub fn read(labels: &BTreeMap<String, String>, warnings: &mut Vec<String>) -> Result<Labels> {
    let lower: BTreeMap<String, &String> =
        labels.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let first = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| lower.get(*name))
            .map(|value| value.trim())
            .find(|value| !value.is_empty())
    };
    match first(&["atomic.type"]) {
        Some("system") => {}
        Some(other) => warnings.push(format!("label atomic.type is {other:?}, not \"system\"")),
        None => warnings.push("label atomic.type=system is missing, though the image has /exports".into()),
    }
    let runs = match first(&["atomic.run"]) {
        None => Runs::Always,
        Some("once") => Runs::Once,
        Some(other) => bail!("label atomic.run is {other:?}; the only value with a meaning is \"once\""),
    };
    let relations = |name: &str| {
        let list = first(&[name]).unwrap_or_default();
        relations(list).with_context(|| format!("label {name}"))
    };
    for ignored in ["install", "uninstall", "run", "stop", "atomic.has_install_files"] {
        if lower.contains_key(ignored) {
            warnings.push(format!("label {ignored} is for containers of an engine and has no effect"));
        }
    }
    let text = |names: &[&str]| first(names).map(str::to_owned);
    Ok(Labels {
        runs,
        name: text(&["name", "org.opencontainers.image.title"]),
        version: text(&["atomic.version", "version", "org.opencontainers.image.version"]),
        summary: text(&["atomic.summary", "summary", "org.opencontainers.image.description"]),
        requires: relations("atomic.requires")?,
        conflicts: relations("atomic.conflicts")?,
        provides: relations("atomic.provides")?,
    })
}

fn relations(list: &str) -> Result<Vec<Relation>> {
    list.split(',').map(str::trim).filter(|text| !text.is_empty()).map(relation).collect()
}

fn relation(text: &str) -> Result<Relation> {
    let word = |c: char| c.is_ascii_alphanumeric() || "_-.+".contains(c);
    let end = text.find(|c| !word(c)).unwrap_or(text.len());
    let (name, rest) = (text[..end].to_owned(), text[end..].trim());
    if name.is_empty() {
        bail!("{text:?} is not NAME or NAME OPERATOR VERSION");
    }
    if rest.is_empty() {
        return Ok(Relation { name, bound: None });
    }
    for (sign, bound) in [
        ("<=", Bound::AtMost),
        (">=", Bound::AtLeast),
        ("==", Bound::Exactly),
        ("=", Bound::Exactly),
        ("<", Bound::Below),
        (">", Bound::Above),
    ] {
        if let Some(version) = rest.strip_prefix(sign).map(str::trim).filter(|version| !version.is_empty()) {
            return Ok(Relation { name, bound: Some((bound, version.to_owned())) });
        }
    }
    bail!("{text:?} is not NAME or NAME OPERATOR VERSION")
}

impl Labels {
    /// What is wrong with `others` beside this container: what it requires and nobody is, and whom it conflicts with.
    /// A requirement of an unknown name is a package's as often as a container's, so it is told apart.
    pub fn check(&self, others: &[Present]) -> Demands {
        let mut demands = Demands::default();
        let named = |name: &str| {
            let own = move |present: &Present| present.names.iter().any(|(known, _)| known == name);
            others.iter().any(own)
        };
        for wanted in &self.requires {
            if others.iter().any(|other| other.satisfies(wanted)) {
                continue;
            }
            if named(&wanted.name) { &mut demands.unmet } else { &mut demands.unknown }
                .push(wanted.to_string());
        }
        for refused in &self.conflicts {
            let found = others.iter().filter(|other| other.satisfies(refused));
            demands.conflicts.extend(found.map(|other| format!("{refused} ({})", other.who)));
        }
        demands
    }

    /// What the container is for others: its own name and what it provides.
    pub fn present(&self, container: &str) -> Present {
        let names = [container.to_owned(), format!("atomic-container-{container}")]
            .into_iter()
            .chain(self.name.clone());
        let mut names: Vec<_> = names.map(|name| (name, self.version.clone())).collect();
        names.extend(self.provides.iter().map(|provided| {
            let version = provided.bound.as_ref().map(|(_, version)| version.clone());
            (provided.name.clone(), version)
        }));
        names.dedup();
        Present { who: format!("container {container}"), names }
    }
}

/// What labels demand and do not get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demands {
    /// Required, and there in another version.
    pub unmet: Vec<String>,
    /// Required, and not known at all: no container, but maybe a package.
    pub unknown: Vec<String>,
    /// There, and not to be.
    pub conflicts: Vec<String>,
}

impl Present {
    /// A version that nobody knows satisfies no bound.
    fn satisfies(&self, relation: &Relation) -> bool {
        let fits = |version: &Option<String>| match (&relation.bound, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((bound, wanted)), Some(version)) => bound.holds(compare(version, wanted)),
        };
        self.names.iter().any(|(name, version)| *name == relation.name && fits(version))
    }
}

impl Bound {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Below => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Exactly => order.is_eq(),
            Self::AtLeast => order.is_ge(),
            Self::Above => order.is_gt(),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let Some((bound, version)) = &self.bound else { return Ok(()) };
        let sign = match bound {
            Bound::Below => "<",
            Bound::AtMost => "<=",
            Bound::Exactly => "=",
            Bound::AtLeast => ">=",
            Bound::Above => ">",
        };
        write!(f, " {sign} {version}")
    }
}

/// Two versions in rpm's order: runs of digits by number, runs of letters by byte, digits above letters, `~` below
/// everything.
fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    loop {
        let separator = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'~';
        left = &left[left.iter().position(|byte| !separator(byte)).unwrap_or(left.len())..];
        right = &right[right.iter().position(|byte| !separator(byte)).unwrap_or(right.len())..];
        match (left.first(), right.first()) {
            (Some(b'~'), Some(b'~')) => {
                (left, right) = (&left[1..], &right[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(_), Some(_)) => {}
        }
        let (own, left_rest) = run(left);
        let (other, right_rest) = run(right);
        let order = match (own[0].is_ascii_digit(), other[0].is_ascii_digit()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => own.cmp(other),
            (true, true) => {
                let significant = |digits: &[u8]| digits.iter().skip_while(|digit| **digit == b'0').count();
                let (own_length, other_length) = (significant(own), significant(other));
                own_length
                    .cmp(&other_length)
                    .then_with(|| own[own.len() - own_length..].cmp(&other[other.len() - other_length..]))
            }
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
}

/// The run of digits or letters that `text` begins with, and what follows. `text` begins with one of them.
fn run(text: &[u8]) -> (&[u8], &[u8]) {
    let digit = text[0].is_ascii_digit();
    let same = |byte: &u8| if digit { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
    text.split_at(text.iter().position(|byte| !same(byte)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<(Labels, Vec<String>)> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut warnings = Vec::new();
        read(&pairs, &mut warnings).map(|labels| (labels, warnings))
    }

    #[test]
    fn labels_are_read_in_any_case() {
        let (read, warnings) = labels(&[
            ("atomic.type", "system"),
            ("atomic.run", "once"),
            ("Name", "etcd"),
            ("VERSION", "3.5"),
            ("atomic.summary", "A store"),
            ("atomic.requires", "a, b >= 1.0,c=2"),
            ("atomic.provides", "kv"),
        ])
        .unwrap();
        assert_eq!((read.runs, read.name.as_deref()), (Runs::Once, Some("etcd")));
        assert_eq!((read.version.as_deref(), read.summary.as_deref()), (Some("3.5"), Some("A store")));
        let spelled: Vec<_> = read.requires.iter().map(ToString::to_string).collect();
        assert_eq!(spelled, ["a", "b >= 1.0", "c = 2"]);
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn what_is_missing_or_without_effect_is_told() {
        let (_, warnings) = labels(&[("INSTALL", "docker run")]).unwrap();
        assert_eq!(
            warnings,
            [
                "label atomic.type=system is missing, though the image has /exports",
                "label install is for containers of an engine and has no effect"
            ]
        );
        for (label, message) in [
            (
                ("atomic.run", "twice"),
                "label atomic.run is \"twice\"; the only value with a meaning is \"once\"",
            ),
            (
                ("atomic.requires", ">= 1"),
                "label atomic.requires: \">= 1\" is not NAME or NAME OPERATOR VERSION",
            ),
            (
                ("atomic.conflicts", "a ~ 1"),
                "label atomic.conflicts: \"a ~ 1\" is not NAME or NAME OPERATOR VERSION",
            ),
        ] {
            assert_eq!(format!("{:#}", labels(&[label]).unwrap_err()), message);
        }
    }

    #[test]
    fn demands_on_others() {
        let (etcd, _) =
            labels(&[("atomic.type", "system"), ("version", "3.5.1"), ("atomic.provides", "kv=2")]).unwrap();
        let others = [etcd.present("etcd")];
        let (flannel, _) = labels(&[
            ("atomic.requires", "etcd >= 3.5, kv > 1, kv > 2, iptables, atomic-container-etcd"),
            ("atomic.conflicts", "etcd < 3.6, docker"),
        ])
        .unwrap();
        assert_eq!(
            flannel.check(&others),
            Demands {
                unmet: vec!["kv > 2".into()],
                unknown: vec!["iptables".into()],
                conflicts: vec!["etcd < 3.6 (container etcd)".into()],
            }
        );
    }

    #[test]
    fn versions_in_rpms_order() {
        let ordered = ["1.0~rc1", "1.0", "1.0a", "1.0.1", "1.2", "1.10", "1.10.0", "2", "010.1"];
        for (index, left) in ordered.iter().enumerate() {
            for (other, right) in ordered.iter().enumerate() {
                assert_eq!(compare(left, right), index.cmp(&other), "{left} {right}");
            }
        }
        assert_eq!(compare("1.05", "1_5"), Ordering::Equal);
    }
}
