//! `sysctr verify`: every file of every container against its record, and damaged generations made anew.

pub mod config;
mod generation;
mod report;

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use camino::Utf8Path;
use sysctr_core::digest::Digest;
use sysctr_core::generation::GenerationName;
use sysctr_core::inspection::{Finding, Inspection};
use sysctr_core::interrupt::Interrupt;
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::record::Embedded;

use crate::active::decision::Link;
use crate::active::host::{self, Host};
use crate::{collect, host_files, list, repair};

use report::{Checked, State, What};
pub use report::{Report, json, text};

/// What happens to a generation that differs from its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is told.
    Look,
    /// It is made anew from the store. The caller holds the lock.
    Repair,
}

/// Checks what the host embeds and has as generations of these containers; of all, and the index and the launcher, without names.
///
/// # Errors
/// When there is no such container, the index can't be read, or the user interrupts. What is wrong is in the report.
pub fn verify(host: &Host, names: &[ContainerName], mode: Mode, interrupt: &Interrupt) -> Result<Report> {
    if !rustix::process::geteuid().is_root() {
        bail!("verifying containers: only root may, since bundles are closed to other users");
    }
    if mode == Mode::Repair {
        collect::leftovers(host)?;
    }
    let index = list::embedded()?;
    let mut known: BTreeSet<_> = index.containers.keys().cloned().collect();
    known.extend(host.generations()?.into_keys());
    known.extend(host.switched()?);
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!(
            "verifying container {unknown}: this host has none of that name; `sysctr list` shows what it has"
        );
    }
    let wanted = |name: &&ContainerName| names.is_empty() || names.contains(name);
    let containers: Vec<_> = known.iter().filter(wanted).collect();
    let verifying = Verifying { host, index: &index, mode, interrupt };
    let mut report = Report { containers: containers.len(), checked: Vec::new() };
    for name in containers {
        verifying.container(name, &mut report)?;
    }
    if names.is_empty() {
        report.checked.push(verifying.look(What::Host, None, |inspection, _| inspection.index(&index))?);
    }
    Ok(report)
}

struct Verifying<'a> {
    host: &'a Host,
    index: &'a Embedded,
    mode: Mode,
    interrupt: &'a Interrupt,
}

impl Verifying<'_> {
    fn container(&self, name: &ContainerName, report: &mut Report) -> Result<()> {
        if let Some(entry) = self.index.containers.get(name) {
            let what = What::Embedded(name.clone());
            let mut checked = self.look(what, Some(name), |inspection, warnings| {
                let path = self.host.embedded_bundle(name).join(place::RECORD_JSON);
                let bytes = host::read(&path)?.filter(|bytes| Digest::of(bytes) == entry.record);
                if bytes.is_some_and(|bytes| host::is_newer(&bytes)) {
                    warnings.push(generation::newer(inspection, path.as_str()));
                    return Ok(());
                }
                inspection.embedded(name, entry)?;
                // What an update wrote over is compared with what the update brought.
                let written = host_files::written(self.host, name)?.map(|it| it.files).unwrap_or_default();
                let over = |path: &str| written.contains_key(Utf8Path::new(path.trim_start_matches('/')));
                inspection.findings.retain(|finding| !over(&finding.path));
                Ok(())
            })?;
            if checked.state == State::Damaged && self.mode == Mode::Repair {
                checked.cant_be_repaired(&format!(
                    "{} belongs to the host image; deploy or compose that again",
                    self.host.embedded_bundle(name)
                ));
            }
            report.checked.push(checked);
        }
        for number in self.host.numbers(name)? {
            let generation = GenerationName::new(name, number);
            if let Some(checked) = self.generation(&generation)? {
                report.checked.push(checked);
            }
        }
        report.checked.extend(self.link(name)?);
        Ok(())
    }

    /// None for one that was forgotten meanwhile.
    fn generation(&self, name: &GenerationName) -> Result<Option<Checked>> {
        let look = || {
            self.look(What::Generation(name.clone()), Some(&name.container), |inspection, warnings| {
                generation::inspect(self.host, name, inspection, warnings)
            })
        };
        let first = look()?;
        if !self.host.generation_dir(name).exists() {
            return Ok(None);
        }
        let mut checked = first;
        // What lies in /etc tells where the bundle is, so that its damage may show only when /etc is right.
        for _ in 0..2 {
            if checked.state != State::Damaged || self.mode == Mode::Look {
                break;
            }
            if let Err(error) = repair::generation(self.host, name, &checked.parts(), self.interrupt) {
                self.interrupt.check()?;
                checked.cant_be_repaired(&format!("{error:#}"));
                break;
            }
            let again = look()?;
            let is_over = again.is_as(&checked);
            checked = again.after(checked);
            if is_over {
                checked.cant_be_repaired("the store keeps it as it is");
                break;
            }
        }
        Ok(Some(checked))
    }

    /// The link that says what is active, if something is wrong with it.
    fn link(&self, name: &ContainerName) -> Result<Option<Checked>> {
        let message = match self.host.link(name) {
            Link::Unreadable(why) => why,
            Link::To(number) if !self.host.generation_dir(&GenerationName::new(name, number)).exists() => {
                format!("leads to {name}.{number}, which is not there")
            }
            Link::To(_) | Link::Absent => return Ok(None),
        };
        let path = format!("/{}/{name}", place::ACTIVE_DIR);
        let what = What::Link(name.clone());
        let mut checked = self.look(what, Some(name), |inspection, _| {
            inspection.find(&path, message);
            Ok(())
        })?;
        if self.mode == Mode::Repair {
            checked.cant_be_repaired(&format!(
                "nobody knows what it led to; `sysctr rollback {name} --to N` or `sysctr reset {name}` (if it was \
                 installed here, `sysctr uninstall {name}`) leads away from it"
            ));
        }
        Ok(Some(checked))
    }

    fn look(
        &self,
        what: What,
        container: Option<&ContainerName>,
        inspect: impl FnOnce(&mut Inspection<'_>, &mut Vec<Finding>) -> Result<()>,
    ) -> Result<Checked> {
        let (mut findings, mut warnings): (Vec<Finding>, Vec<Finding>) = Default::default();
        let mut inspection =
            Inspection { ground: self.host, container, interrupt: self.interrupt, findings: &mut findings };
        let looked = inspect(&mut inspection, &mut warnings);
        self.interrupt.check()?;
        if let Err(error) = looked {
            let path = what.path(self.host);
            inspection.find(Utf8Path::new("/").join(path).as_str(), format!("can't be looked at: {error:#}"));
        }
        Ok(Checked::new(what, self.host, findings, warnings))
    }
}
