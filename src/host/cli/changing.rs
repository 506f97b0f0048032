//! The verbs that change containers, each under the one lock.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use sysctr_core::digest::Digest;
use sysctr_core::image::reference::ImageRef;
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::settings::Settings;

use super::storing::{Images, PullArgs, RoadArgs};
use super::{OutputArgs, show};
use crate::active::host::Host;
use crate::check;
use crate::collect;
use crate::deployments::{self, Said};
use crate::list;
use crate::lock::Lock;
use crate::rollback::{self, Holding, State};
use crate::switch::{self, Failure, Switch, Switched, To};
use crate::update::{self, Extent, Request};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Changing {
    /// Bring containers to what their images are now
    Update {
        /// Containers
        #[arg(value_name = "NAME", required_unless_present = "all")]
        names: Vec<ContainerName>,
        /// All containers that say where their updates come from
        #[arg(long, conflicts_with_all = ["names", "image", "digest"])]
        all: bool,
        /// Only tell what would change
        #[arg(long)]
        check: bool,
        /// Only bring what is needed; a later update fetches no layer that came
        #[arg(long, conflicts_with = "check")]
        download_only: bool,
        /// How.
        #[command(flatten)]
        how: HowArgs,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make a container that the host image does not have
    Install {
        /// Image
        image: ImageRef,
        /// Container's name [default: the image's]
        #[arg(long)]
        name: Option<ContainerName>,
        /// How.
        #[command(flatten)]
        how: InstallArgs,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Bring an image that no container has yet
    Pull(PullArgs),
    /// Show, check and remove what the store holds
    #[command(subcommand)]
    Images(Images),
    /// Take a container away that was installed on this host
    Uninstall {
        /// Container
        name: ContainerName,
        /// Its volumes too
        #[arg(long)]
        purge: bool,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Switch a container back to what it was before
    Rollback {
        /// Container
        name: ContainerName,
        /// To this generation [default: the newest before the active one, or what the host image has]
        #[arg(long, value_name = "N")]
        to: Option<NonZeroU64>,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Switch a container back to what the host image has
    Reset {
        /// Container
        name: ContainerName,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Keep a container as it is over updates of the host
    Hold {
        /// Container
        name: ContainerName,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Let a container follow the host again
    Unhold {
        /// Container
        name: ContainerName,
        /// Output.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Remove what no deployment of this host and no running container needs
    Gc(OutputArgs),
}

/// How an update goes.
#[derive(Debug, Clone, Args)]
pub struct HowArgs {
    /// Another image [default: where the container says that updates come from]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<ImageRef>,
    /// What the image must be
    #[arg(long, value_name = "sha256:…")]
    pub digest: Option<Digest>,
    /// How it is brought and judged.
    #[command(flatten)]
    pub install: InstallArgs,
}

/// How an image is brought and judged.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// A value for the image's templates; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// How its image comes.
    #[command(flatten)]
    pub road: RoadArgs,
    /// Keep it even if it does not become healthy
    #[arg(long)]
    pub no_rollback: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

impl InstallArgs {
    fn request(self, image: Option<ImageRef>, pin: Option<Digest>, interrupt: &Interrupt) -> Request {
        let failure = if self.no_rollback { Failure::IsKept } else { Failure::LeadsBack };
        let set: BTreeMap<_, _> = self.set.into_iter().collect();
        Request { image, pin, set, failure, road: self.road.road(interrupt), extent: Extent::Whole }
    }
}

impl Changing {
    /// Does what was asked.
    ///
    /// # Errors
    /// When it could not be done; the message is for the user.
    pub fn act(self) -> Result<()> {
        let host = Host::this();
        let this = match self {
            Self::Images(images) if images.only_looks() => return images.act(&host, &Interrupt::default()),
            changing => changing,
        };
        let _lock = Lock::take(&host, &this.doing())?;
        let interrupt = Interrupt::install()?;
        if let Self::Update { names, all, check: true, how, output, .. } = this {
            let names = if all { list::updatable()? } else { names };
            return check_each(&host, &names, &how.request(&interrupt), output);
        }
        let said = Said::now(&host)?;
        switch::recover(&host)?;
        let doing = this.doing();
        let done = this.change(&host, &interrupt);
        let carried = said.since(&host).and_then(|changed| deployments::carry_over(&host, changed));
        told([done.err(), carried.err()].into_iter().flatten().collect(), || format!("{doing}: see above"))
    }

    fn change(self, host: &Host, interrupt: &Interrupt) -> Result<()> {
        let switch = |name| Switch { host, name, failure: Failure::LeadsBack, interrupt };
        match self {
            Self::Update { names, all, download_only, how, output, check: _ } => {
                let names = if all { list::updatable()? } else { names };
                let extent = if download_only { Extent::Download } else { Extent::Whole };
                let mut done = update_each(host, &names, &Request { extent, ..how.request(interrupt) });
                done.failed.extend(collect::collect(host).err());
                let result = show(output, || update::text(&done.updated), || update::json(&done.updated));
                result.and(done.end(names.len()))
            }
            Self::Install { image, name, how, output } => {
                let name = name.map_or_else(|| image.default_name().parse(), Ok)?;
                let request = how.request(Some(image), None, interrupt);
                let installed = [update::install(host, &name, Settings::default(), &request)?];
                show(output, || update::text(&installed), || update::json(&installed))
            }
            Self::Pull(pull) => pull.act(host, interrupt),
            Self::Images(images) => images.act(host, interrupt),
            Self::Uninstall { name, purge, output } => {
                let state = if purge { State::Goes } else { State::Stays };
                rollback::uninstall(host, &name, state)?;
                collect::collect(host)?;
                show(output, String::new, || rollback::uninstalled_json(&name, state))
            }
            Self::Rollback { name, to, output } => {
                let (to, switched) = rollback::rollback(&switch(&name), to)?;
                show_switched(output, &name, to, switched)
            }
            Self::Reset { name, output } => {
                let switched = rollback::reset(&switch(&name))?;
                show_switched(output, &name, To::Embedded, switched)
            }
            Self::Hold { name, output } => hold(host, &name, Holding::Begins, output),
            Self::Unhold { name, output } => hold(host, &name, Holding::Ends, output),
            Self::Gc(output) => {
                let collected = collect::gc(host)?;
                show(output, || collect::text(&collected), || collect::json(&collected))
            }
        }
    }

    /// For those who have to wait.
    fn doing(&self) -> String {
        match self {
            Self::Pull(pull) => pull.doing(),
            Self::Images(images) => images.doing(),
            Self::Update { all: true, .. } => "updating all containers".to_owned(),
            Self::Update { names, .. } => {
                let names: Vec<_> = names.iter().map(ContainerName::as_str).collect();
                format!("updating {}", names.join(", "))
            }
            Self::Install { image, .. } => format!("installing {image}"),
            Self::Uninstall { name, .. } => format!("uninstalling {name}"),
            Self::Rollback { name, .. } => format!("rolling back {name}"),
            Self::Reset { name, .. } => format!("resetting {name}"),
            Self::Hold { name, .. } => format!("holding {name}"),
            Self::Unhold { name, .. } => format!("letting {name} go"),
            Self::Gc(_) => "collecting what nothing refers to".to_owned(),
        }
    }
}

fn show_switched(output: OutputArgs, name: &ContainerName, to: To, switched: Switched) -> Result<()> {
    show(output, || rollback::text(name, to, switched), || rollback::json(name, to, switched))
}

fn hold(host: &Host, name: &ContainerName, holding: Holding, output: OutputArgs) -> Result<()> {
    let generation = rollback::hold(host, name, holding)?;
    show(output, || rollback::held_text(&generation, holding), || rollback::held_json(&generation, holding))
}

impl HowArgs {
    fn request(self, interrupt: &Interrupt) -> Request {
        self.install.request(self.image, self.digest, interrupt)
    }
}

/// Goes on after a failure.
fn check_each(host: &Host, names: &[ContainerName], request: &Request, output: OutputArgs) -> Result<()> {
    let (mut checked, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        match check::check(host, name, request) {
            Ok(one) => checked.push(one),
            Err(error) => failed.push(error),
        }
    }
    show(output, || check::text(&checked), || check::json(&checked))?;
    told(failed, || format!("of several of {} containers it is not known what would change", names.len()))
}

/// What became of several updates.
#[derive(Default)]
struct Done {
    updated: Vec<update::Updated>,
    failed: Vec<anyhow::Error>,
}

/// Goes on after a failure.
fn update_each(host: &Host, names: &[ContainerName], request: &Request) -> Done {
    let mut done = Done::default();
    for name in names {
        match update::update(host, name, request) {
            Ok(updated) => done.updated.push(updated),
            Err(error) => done.failed.push(error),
        }
    }
    done
}

impl Done {
    /// All failures are told, a line each.
    fn end(self, asked: usize) -> Result<()> {
        let not = asked - self.updated.len();
        told(self.failed, || format!("{not} of {asked} containers were not updated"))
    }
}

fn told(mut failed: Vec<anyhow::Error>, in_all: impl Fn() -> String) -> Result<()> {
    match failed.pop() {
        None => Ok(()),
        Some(only) if failed.is_empty() => Err(only),
        Some(last) => {
            for failure in failed.iter().chain([&last]) {
                eprintln!("sysctr: {failure:#}");
            }
            bail!("{}", in_all())
        }
    }
}
