//! What the next start of a container runs, decided by value.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;

use sysctr_core::digest::Digest;
use sysctr_core::generation::{Origin, Trial};
use sysctr_core::settings::Fallback;

/// What is known of a container on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What was switched to.
    pub link: Link,
    /// What the host embeds under its name.
    pub embedded: Option<Shipped>,
    /// This boot (`boot_id`).
    pub boot: String,
}

/// What the link of a container names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// There is none.
    Absent,
    /// This generation.
    To(NonZeroU64),
    /// Nothing that we know, or it can't be read.
    Unreadable(String),
}

/// An embedded container, as far as it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// Its origin.
    pub origin: Digest,
    /// What runs when a generation can't be read.
    pub fallback: Fallback,
}

/// A generation, as far as it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What was embedded when it was made.
    pub origin: Origin,
    /// Whether a host update leaves it active.
    pub hold: Hold,
    /// Whether it was switched to and never proved healthy.
    pub trial: Option<Trial>,
}

/// Whether the admin holds a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is superseded when the host embeds something else.
    Free,
    /// It stays.
    Held,
}

/// Why a generation can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// Something of it can't be read.
    Broken(String),
    /// It was made by a newer program.
    Newer(String),
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// What the host image has.
    Embedded,
    /// A generation.
    Generation(NonZeroU64),
}

/// What runs, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub choice: Choice,
    /// Why.
    pub why: Why,
}

/// Why it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// There is no generation.
    Shipped,
    /// The generation was made from what is embedded.
    Updated,
    /// It was switched to in this boot, and is not known to be healthy.
    Trial,
    /// The admin holds it.
    Held,
    /// The host embeds the container no longer.
    Orphan,
    /// The host never embedded it.
    Installed,
    /// The host was updated since this generation was made.
    Superseded(NonZeroU64),
    /// An earlier boot ended before this generation proved healthy.
    Unproven(NonZeroU64),
    /// What was switched to can't be used.
    Unusable(Unusable),
}

/// Why nothing can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Nothing of that name is embedded or installed.
    Unknown,
    /// What was switched to can't be used, and nothing may or can stand in.
    Unusable(Unusable),
}

impl Facts {
    /// Decides; `look` reads a generation.
    ///
    /// # Errors
    /// When nothing can run.
    pub fn decide(&self, look: impl Fn(NonZeroU64) -> Result<Known, Unusable>) -> Result<Decision, Refused> {
        let mut unproven = None;
        let mut link = match &self.link {
            Link::Absent => None,
            Link::To(number) => Some(*number),
            Link::Unreadable(why) => return self.without(Unusable::Broken(why.clone())),
        };
        let mut seen = BTreeSet::new();
        loop {
            let Some(number) = link else {
                let why = unproven.map_or(Why::Shipped, Why::Unproven);
                return match self.embedded {
                    Some(_) => Ok(Decision { choice: Choice::Embedded, why }),
                    None => Err(Refused::Unknown),
                };
            };
            let known = match look(number) {
                Ok(known) => known,
                Err(unusable) => return self.without(unusable),
            };
            match &known.trial {
                // Trials never lead in a circle, unless somebody wrote them by hand.
                Some(trial) if trial.boot != self.boot && seen.insert(number) => {
                    unproven = unproven.or(Some(number));
                    link = trial.before;
                }
                _ => return Ok(self.generation(number, &known, unproven)),
            }
        }
    }

    fn generation(&self, number: NonZeroU64, known: &Known, unproven: Option<NonZeroU64>) -> Decision {
        let (choice, why) = match (&self.embedded, known.origin) {
            _ if known.hold == Hold::Held => (Choice::Generation(number), Why::Held),
            (None, Origin::None) => (Choice::Generation(number), Why::Installed),
            (None, Origin::Embedded(_)) => (Choice::Generation(number), Why::Orphan),
            (Some(shipped), Origin::Embedded(origin)) if origin == shipped.origin => {
                (Choice::Generation(number), Why::Updated)
            }
            (Some(_), _) => (Choice::Embedded, Why::Superseded(number)),
        };
        let why = match (unproven, choice) {
            (Some(unproven), _) => Why::Unproven(unproven),
            (None, Choice::Generation(_)) if known.trial.is_some() => Why::Trial,
            (None, _) => why,
        };
        Decision { choice, why }
    }

    /// A newer program's generation never keeps a host from running what it ships.
    fn without(&self, unusable: Unusable) -> Result<Decision, Refused> {
        let newer = matches!(unusable, Unusable::Newer(_));
        match self.embedded {
            Some(shipped) if newer || shipped.fallback == Fallback::Embedded => {
                Ok(Decision { choice: Choice::Embedded, why: Why::Unusable(unusable) })
            }
            _ => Err(Refused::Unusable(unusable)),
        }
    }
}

impl Why {
    /// One word for programs (docs/format.md, "Output of sysctr").
    pub fn word(&self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Updated => "updated",
            Self::Trial => "trial",
            Self::Held => "held",
            Self::Orphan => "orphan",
            Self::Installed => "installed",
            Self::Superseded(_) => "superseded",
            Self::Unproven(_) => "unproven",
            Self::Unusable(_) => "fallback",
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) | Self::Newer(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
