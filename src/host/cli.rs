//! The command line as types, and what each verb calls.

use std::ffi::OsString;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sysctr_core::name::ContainerName;
use sysctr_core::record;

mod changing;

use crate::run::Waiting;
use crate::{exec, health, list, run, status, stop};
pub use changing::Changing;

/// Runs, updates and rolls back the system containers of this host.
///
/// Units call run, stop and health; people use systemctl for these. Exit status: 0 done, 1 not done, 2 not understood;
/// `run` without --detach and `exec` end with the container's own status.
#[derive(Debug, Parser)]
#[command(name = "sysctr", version, long_version = long_version(), max_term_width = 100)]
#[command(help_expected = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

fn long_version() -> String {
    format!("{} (records of version {})", env!("CARGO_PKG_VERSION"), record::VERSION)
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
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
    /// Run a program in a running container
    Exec {
        /// Container
        name: ContainerName,
        /// Program and arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Show the containers of this host
    List(OutputArgs),
    /// Show which containers run
    Status {
        /// Containers [default: all]
        #[arg(value_name = "NAME")]
        names: Vec<ContainerName>,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Verbs that change containers.
    #[command(flatten)]
    Changing(Changing),
}

/// How to talk.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// Form of the result on stdout
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `--format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs; docs/format.md describes it
    Json,
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// When it could not be done; the message is for the user.
    pub fn act(self) -> Result<()> {
        match self.verb {
            Verb::Run { detach: true, name } => run::run(&name, Waiting::Detached),
            Verb::Run { detach: false, name } => run::run(&name, Waiting::Foreground),
            Verb::Stop { force: true, name } => stop::force(&name),
            Verb::Stop { force: false, name } => stop::stop(&name),
            Verb::Health { name } => health::health(&name),
            Verb::Exec { name, command } => exec::exec(&name, &command),
            Verb::List(output) => {
                let all = list::list()?;
                show(output, || list::text(&all), || list::json(&all))
            }
            Verb::Status { names, output } => {
                let all = status::status(&names)?;
                show(output, || status::text(&all), || status::json(&all))
            }
            Verb::Changing(changing) => changing.act(),
        }
    }
}

fn show(output: OutputArgs, text: impl Fn() -> String, json: impl Fn() -> serde_json::Value) -> Result<()> {
    let result = match output.format {
        Format::Text => text().into_bytes(),
        Format::Json => record::to_json(&json()),
    };
    print(&result)
}

fn print(result: &[u8]) -> Result<()> {
    std::io::stdout().write_all(result).context("writing the result")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound_and_all_has_help() {
        super::Cli::command().debug_assert();
    }
}
