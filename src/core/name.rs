//! Names that are fit for a path component and for a systemd unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Empty, too long, or with a character that paths or unit names can't have.
    #[error(
        "name {0:?} is not valid: it must match [a-zA-Z0-9][a-zA-Z0-9_.-]* and have at most 128 characters"
    )]
    Spelling(String),
    /// `NAME.3` is how generations are named on the host.
    #[error("name {0:?} ends in .DIGITS, which is how a container's generations are named; choose another")]
    Generation(String),
    /// `embedded.json` lies beside the containers.
    #[error("name {0:?} is taken by a file of sysctr itself; choose another")]
    Reserved(String),
}

fn spelled_well(text: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    text.len() <= 128
        && text.bytes().all(word)
        && text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
}

macro_rules! name_type {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(ContainerName, "A container's name: also its directory and, with `.service`, its unit.");
name_type!(GroupName, "The name of a group: the containers that one manifest owns.");

impl FromStr for ContainerName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if !spelled_well(text) {
            return Err(InvalidName::Spelling(text.to_owned()));
        }
        if text == "embedded.json" {
            return Err(InvalidName::Reserved(text.to_owned()));
        }
        match text.rsplit_once('.') {
            Some((_, end)) if !end.is_empty() && end.bytes().all(|c| c.is_ascii_digit()) => {
                Err(InvalidName::Generation(text.to_owned()))
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl FromStr for GroupName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if spelled_well(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Spelling(text.to_owned()))
        }
    }
}

impl ContainerName {
    /// The name of the container's systemd unit.
    pub fn unit(&self) -> String {
        format!("{self}.service")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_names() {
        for good in ["etcd", "a", "Etcd-3.5-alpine", "0", "a_b", "x.y", "v1.2a", "a."] {
            assert_eq!(good.parse::<ContainerName>().unwrap().as_str(), good);
        }
        let spelling = |text: &str| InvalidName::Spelling(text.to_owned());
        for bad in ["", ".a", "-a", "a/b", "a b", "ä", "a@b", "..", &"x".repeat(129)] {
            assert_eq!(bad.parse::<ContainerName>(), Err(spelling(bad)), "{bad}");
        }
        assert_eq!("etcd.3".parse::<ContainerName>(), Err(InvalidName::Generation("etcd.3".into())));
        assert_eq!(
            "embedded.json".parse::<ContainerName>(),
            Err(InvalidName::Reserved("embedded.json".into()))
        );
        assert_eq!("team.3".parse::<GroupName>().unwrap().as_str(), "team.3");
    }
}
