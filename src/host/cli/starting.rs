//! The verbs that units call, at every start and stop of a container.
//!
//! They have a command line of their own: to make the definitions of all other verbs costs a start a third of a millisecond.

use std::ffi::{OsStr, OsString};

use anyhow::Result;
use clap::{Parser, Subcommand};
use sysctr_core::name::ContainerName;

use crate::run::{self, Waiting};
use crate::{health, stop};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Starting {
    /// Start a container: become its runtime
    Run {
        /// Return when it runs; its process is in /run/sysctr/NAME/pid
        #[arg(long)]
        detach: bool,
        /// Container
        name: ContainerName,
    },
    /// Ask a container to end, and wait until it has
    Stop {
        /// Kill it and clear everything that a start left
        #[arg(long)]
        force: bool,
        /// Container
        name: ContainerName,
    },
    /// Wait until a container's health command passes
    Health {
        /// Container
        name: ContainerName,
    },
}

/// `sysctr` with these verbs only.
#[derive(Debug, Parser)]
#[command(name = "sysctr", max_term_width = 100, help_expected = true, disable_help_subcommand = true)]
struct Units {
    /// What to do.
    #[command(subcommand)]
    verb: Starting,
}

impl Starting {
    /// Parses the arguments of a process if they are about one of these verbs, exactly as the whole definition would.
    ///
    /// # Errors
    /// What the user is to be told, help included.
    pub fn of(arguments: &[OsString]) -> Option<Result<Self, clap::Error>> {
        let verb = arguments.get(1).map(OsString::as_os_str).and_then(OsStr::to_str);
        matches!(verb, Some("run" | "stop" | "health"))
            .then(|| Units::try_parse_from(arguments).map(|units| units.verb))
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn act(self) -> Result<()> {
        match self {
            Self::Run { detach: true, name } => run::run(&name, Waiting::Detached),
            Self::Run { detach: false, name } => run::run(&name, Waiting::Foreground),
            Self::Stop { force: true, name } => stop::force(&name),
            Self::Stop { force: false, name } => stop::stop(&name),
            Self::Health { name } => health::health(&name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Verb};
    use super::*;

    #[test]
    fn the_short_way_says_what_the_whole_definition_says() {
        let arguments = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for line in [
            "sysctr run web",
            "sysctr run --detach web",
            "sysctr run web --detach",
            "sysctr stop --force web",
            "sysctr health web",
            "sysctr run",
            "sysctr run ../web",
            "sysctr run web more",
            "sysctr stop --forse web",
            "sysctr health --help",
            "sysctr run -h",
            "sysctr run --version",
        ] {
            let short = Starting::of(&arguments(line)).expect("a verb of units");
            let whole = Cli::try_parse_from(arguments(line)).map(|cli| match cli.verb {
                Verb::Starting(verb) => verb,
                other => panic!("{line}: {other:?}"),
            });
            let told = |parsed: Result<Starting, clap::Error>| match parsed {
                Ok(verb) => format!("{verb:?}"),
                Err(error) => format!("{:?} {}", error.exit_code(), error.render()),
            };
            assert_eq!(told(short), told(whole), "{line}");
        }
    }

    #[test]
    fn other_verbs_are_not_for_units() {
        for line in ["sysctr", "sysctr list", "sysctr --help run", "sysctr runs"] {
            let arguments: Vec<_> = line.split(' ').map(OsString::from).collect();
            assert!(Starting::of(&arguments).is_none(), "{line}");
        }
    }
}
