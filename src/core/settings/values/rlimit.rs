//! Resource limits in the spellings that people know from container engines: `1024`, `"1024:4096"`, `"unlimited"`.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A resource limit: one value for soft and hard, or both. `u64::MAX` is no limit (`RLIM_INFINITY`, getrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
#[cfg_attr(feature = "schema", schemars(with = "Written"))]
pub enum Rlimit {
    /// Soft and hard alike.
    Both(u64),
    /// Soft and hard apart, the soft one not above the hard one.
    Each {
        /// What the process begins with.
        soft: u64,
        /// What it may raise it to.
        hard: u64,
    },
}

const EXPECTED: &str =
    "a resource limit: a number or \"unlimited\", or both limits as \"SOFT:HARD\" or { soft = …, hard = … }";

impl Rlimit {
    /// Soft and hard limit.
    pub fn pair(self) -> (u64, u64) {
        match self {
            Self::Both(limit) => (limit, limit),
            Self::Each { soft, hard } => (soft, hard),
        }
    }

    /// # Errors
    /// When the kernel would refuse it.
    fn each(soft: u64, hard: u64) -> Result<Self, String> {
        match soft.cmp(&hard) {
            std::cmp::Ordering::Less => Ok(Self::Each { soft, hard }),
            std::cmp::Ordering::Equal => Ok(Self::Both(soft)),
            std::cmp::Ordering::Greater => {
                let word =
                    |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
                Err(format!(
                    "the soft limit {} is above the hard limit {}; give soft ≤ hard",
                    word(soft),
                    word(hard)
                ))
            }
        }
    }
}

/// One limit.
#[derive(Debug, Clone, Copy)]
struct Limit(u64);

impl Limit {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "unlimited" | "-1" => Some(Self(u64::MAX)),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Self),
            _ => None,
        }
    }

    fn of(number: i64) -> Option<Self> {
        if number == -1 { Some(Self(u64::MAX)) } else { u64::try_from(number).ok().map(Self) }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or \"unlimited\"")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Limit, E> {
                Ok(Limit(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Limit, E> {
                Limit::of(number).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                Limit::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for Rlimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Rlimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Rlimit, E> {
                Ok(Rlimit::Both(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Rlimit, E> {
                let limit = Limit::of(number);
                let limit = limit.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))?;
                Ok(Rlimit::Both(limit.0))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rlimit, E> {
                let (soft, hard) = text.split_once(':').unwrap_or((text, text));
                match (Limit::parse(soft), Limit::parse(hard)) {
                    (Some(soft), Some(hard)) => Rlimit::each(soft.0, hard.0).map_err(E::custom),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rlimit, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Apart {
                    soft: Limit,
                    hard: Limit,
                }
                let Apart { soft, hard } = Apart::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Rlimit::each(soft.0, hard.0).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What the manifest's schema says of it.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its shape counts")]
enum Written {
    /// Soft and hard alike; -1 is no limit.
    Number(i64),
    /// `unlimited`, or `SOFT:HARD`.
    Text(String),
    /// Soft and hard apart.
    Each(WrittenPair),
}

#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape counts")]
struct WrittenPair {
    /// What the process begins with.
    soft: WrittenLimit,
    /// What it may raise it to.
    hard: WrittenLimit,
}

#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its shape counts")]
enum WrittenLimit {
    /// -1 is no limit.
    Number(i64),
    /// A number, or `unlimited`.
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        for (json, pair) in [
            ("100", (100, 100)),
            ("-1", (u64::MAX, u64::MAX)),
            ("18446744073709551615", (u64::MAX, u64::MAX)),
            (r#""100""#, (100, 100)),
            (r#""100:200""#, (100, 200)),
            (r#""100:unlimited""#, (100, u64::MAX)),
            (r#""-1:-1""#, (u64::MAX, u64::MAX)),
            (r#""unlimited""#, (u64::MAX, u64::MAX)),
            (r#"{"soft": 1, "hard": 2}"#, (1, 2)),
            (r#"{"soft": 1, "hard": "unlimited"}"#, (1, u64::MAX)),
        ] {
            let limit: Rlimit = serde_json::from_str(json).unwrap();
            assert_eq!(limit.pair(), pair, "{json}");
            // As a bundle keeps it.
            assert_eq!(
                serde_json::from_str::<Rlimit>(&serde_json::to_string(&limit).unwrap()).unwrap(),
                limit
            );
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_is_meant() {
        let expected = "expected a resource limit: a number or \"unlimited\", or both limits as \"SOFT:HARD\" or { soft = …, \
                        hard = … }";
        for (json, message) in [
            (r#""100:""#, format!("invalid value: string \"100:\", {expected}")),
            (r#""1:2:3""#, format!("invalid value: string \"1:2:3\", {expected}")),
            (r#""lots""#, format!("invalid value: string \"lots\", {expected}")),
            ("-2", format!("invalid value: integer `-2`, {expected}")),
            ("true", format!("invalid type: boolean `true`, {expected}")),
            (r#""200:100""#, "the soft limit 200 is above the hard limit 100".to_owned()),
            (r#""unlimited:100""#, "the soft limit unlimited is above the hard limit 100".to_owned()),
            (r#"{"soft": 2, "hard": 1}"#, "the soft limit 2 is above the hard limit 1".to_owned()),
            (r#"{"soft": 2}"#, "missing field `hard`".to_owned()),
        ] {
            let error = serde_json::from_str::<Rlimit>(json).unwrap_err().to_string();
            assert!(error.starts_with(&message), "{json}: {error}");
        }
    }
}
