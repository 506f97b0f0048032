//! The command line as types, and what each verb calls.

use std::ffi::OsString;
use std::io::Write as _;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::record;

mod changing;
mod starting;
mod storing;

use crate::active::host::Host;
use crate::lock::{Lock, Turn};
use crate::verify::{Mode, config};
use crate::{blame, exec, host_files, list, logs, status, verify};
pub use changing::Changing;
pub use starting::Starting;

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
    /// Verbs that units call.
    #[command(flatten)]
    Starting(Starting),
    /// Run a program in a container: the running one, or a temporary one of what the next start runs
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
    /// Show what a container said
    Logs {
        /// Container
        name: ContainerName,
        /// Which lines.
        #[command(flatten)]
        lines: LinesArgs,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Hold every file of containers against their records
    Verify {
        /// Containers [default: all, and what the host image has besides them]
        #[arg(value_name = "NAME")]
        names: Vec<ContainerName>,
        /// Make generations that differ anew from the store
        #[arg(long, conflicts_with = "config")]
        repair: bool,
        /// Check the values in /etc/sysctr/NAME.toml instead, as a start would
        #[arg(long)]
        config: bool,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Bring a container's host files to what is active; a unit calls it at boot
    #[command(hide = true)]
    Settle {
        /// Container
        name: ContainerName,
    },
    /// Show when the containers of this boot were started, step by step
    ///
    /// In seconds since the kernel's start: the unit began, the launcher began, it had chosen the bundle, the runtime
    /// began, the payload's first process was made, the unit was ready. Of each container the last start counts.
    Blame(OutputArgs),
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

/// Which lines of the journal; words of journalctl(1).
#[derive(Debug, Clone, Args)]
pub struct LinesArgs {
    /// Show the last lines, and go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// So many of the last lines, or `all`
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<String>,
    /// Only since then (systemd.time(7))
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Only until then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Only of a boot: 0 is this one, -1 the one before
    #[arg(short, long, value_name = "BOOT", allow_hyphen_values = true)]
    pub boot: Option<String>,
}

impl LinesArgs {
    fn journalctl(self, output: OutputArgs) -> Vec<String> {
        let word = |name: &str, value: Option<String>| value.map(|value| format!("--{name}={value}"));
        let format = (output.format == Format::Json).then(|| "--output=json".to_owned());
        let words = [
            self.follow.then(|| "--follow".to_owned()),
            word("lines", self.lines),
            word("since", self.since),
            word("until", self.until),
            word("boot", self.boot),
            format,
        ];
        words.into_iter().flatten().collect()
    }
}

impl Cli {
    /// The arguments of this process; one that can't be understood ends it, with what is to be said.
    pub fn of_process() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        match Starting::of(&arguments) {
            Some(verb) => Self { verb: Verb::Starting(verb.unwrap_or_else(|error| error.exit())) },
            None => Self::parse_from(arguments),
        }
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// When it could not be done; the message is for the user.
    pub fn act(self) -> Result<()> {
        match self.verb {
            Verb::Starting(starting) => starting.act(),
            Verb::Exec { name, command } => exec::exec(&name, &command),
            Verb::List(output) => {
                let all = list::list()?;
                show(output, || list::text(&all), || list::json(&all))
            }
            Verb::Status { names, output } => {
                let all = status::status(&names)?;
                show(output, || status::text(&all), || status::json(&all))?;
                all.end()
            }
            Verb::Logs { name, lines, output } => logs::logs(&name, &lines.journalctl(output)),
            Verb::Verify { names, config: true, output, .. } => verify_config(&names, output),
            Verb::Verify { names, repair, output, .. } => verify(&names, repair, output),
            Verb::Settle { name } => settle(&Host::this(), &name),
            Verb::Blame(output) => {
                let starts = blame::blame()?;
                show(output, || blame::text(&starts), || blame::json(&starts))
            }
            Verb::Changing(changing) => changing.act(),
        }
    }
}

/// At boot nothing else changes containers, and the lock may lie on what is not mounted yet. Later whoever has it settles them.
fn settle(host: &Host, name: &ContainerName) -> Result<()> {
    match Turn::find(host) {
        Turn::Ours(_held) => host_files::settle_and_tell(host, name),
        Turn::Anothers => Ok(()),
    }
}

fn verify(names: &[ContainerName], repair: bool, output: OutputArgs) -> Result<()> {
    let host = Host::this();
    let interrupt = Interrupt::install()?;
    let report = if repair {
        let _lock = Lock::take(&host, "repairing containers")?;
        verify::verify(&host, names, Mode::Repair, &interrupt)?
    } else {
        verify::verify(&host, names, Mode::Look, &interrupt)?
    };
    show(output, || verify::text(&report), || verify::json(&report))?;
    match (report.damaged(), repair) {
        (0, _) => Ok(()),
        (_, true) => bail!("verifying containers: not everything could be repaired; see above"),
        (_, false) => bail!(
            "verifying containers: something is not as recorded, see above; `sysctr verify --repair` makes generations anew, \
             and what is part of the host image comes with that"
        ),
    }
}

fn verify_config(names: &[ContainerName], output: OutputArgs) -> Result<()> {
    let report = config::verify(&Host::this(), names)?;
    show(output, || config::text(&report), || config::json(&report))?;
    match report.failed() {
        false => Ok(()),
        true => bail!("verifying values of /etc/sysctr: see above"),
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
