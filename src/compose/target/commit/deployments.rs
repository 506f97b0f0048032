//! The deployments of a physical sysroot that is not booted: the one that a compose builds on, and a new one of a new commit.

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use ostree::gio::{self, Cancellable};
use ostree::glib;

use crate::target::guard;
use crate::target::sysroot::Access;

/// A physical sysroot and one deployment in it. Locked against `ostree admin` if it was opened for writing.
#[derive(Debug)]
pub struct Deployments {
    sysroot: ostree::Sysroot,
    path: Utf8PathBuf,
    /// The one whose commit, `/etc` and kernel arguments a new one starts from.
    merge: ostree::Deployment,
}

impl Deployments {
    /// Opens the sysroot at `path` and its newest deployment of `stateroot`; without a name, that of what boots by default.
    ///
    /// # Errors
    /// When it is no physical sysroot, it is booted, it has no such deployment, or another program changes it.
    pub fn open(path: &Utf8Path, stateroot: Option<&str>, access: Access) -> Result<Self> {
        Self::open_here(path, stateroot, access)
            .with_context(|| format!("opening the deployments of sysroot {path}"))
    }

    fn open_here(path: &Utf8Path, stateroot: Option<&str>, access: Access) -> Result<Self> {
        for part in ["ostree/repo", "ostree/deploy"] {
            if !path.join(part).is_dir() {
                bail!("it has no directory {part}; `ostree admin init-fs` and `os-init` make a sysroot");
            }
        }
        guard::is_not_booted(path)?;
        let sysroot = ostree::Sysroot::new(Some(&gio::File::for_path(path.as_std_path())));
        if access == Access::Write {
            sysroot.initialize().context("reading it")?;
            if !sysroot.try_lock().context("locking it")? {
                bail!("another program changes its deployments; try again when it is done");
            }
        }
        sysroot.load(Cancellable::NONE).context("reading it")?;
        let all = sysroot.deployments();
        let Some(first) = all.first() else {
            bail!("nothing is deployed there; `ostree admin deploy` makes a first deployment");
        };
        let stateroot = stateroot.map_or_else(|| first.osname().to_string(), str::to_owned);
        let Some(merge) = sysroot.merge_deployment(Some(&stateroot)) else {
            let mut names: Vec<_> = all.iter().map(|one| one.osname().to_string()).collect();
            names.sort();
            names.dedup();
            bail!("stateroot {stateroot} has no deployment; there are deployments of {}", names.join(", "));
        };
        Ok(Self { sysroot, path: path.to_owned(), merge })
    }

    /// Its repository.
    pub(in super::super) fn repo(&self) -> Utf8PathBuf {
        self.path.join("ostree/repo")
    }

    /// The stateroot.
    pub fn stateroot(&self) -> String {
        self.merge.osname().to_string()
    }

    /// The commit that is deployed.
    pub(in super::super) fn checksum(&self) -> String {
        self.merge.csum().to_string()
    }

    /// What an upgrade of the deployment takes its next commit from, unless that is a ref of this very repository.
    pub(in super::super) fn foreign_origin(&self) -> Option<String> {
        let origin = self.merge.origin()?;
        let value = |key: &str| origin.string("origin", key).ok().map(String::from);
        let refspec = value("refspec").filter(|refspec| refspec.contains(':'));
        refspec.or_else(|| value("baserefspec")).or_else(|| value("container-image-reference"))
    }

    /// Deploys a commit as what boots next, with the `/etc`, the kernel arguments and the stateroot of the deployment, which
    /// stays as the one before. Its origin is `reference`. Tells its directory, relative to the sysroot.
    ///
    /// # Errors
    /// When it can't be; the deployments are as they were.
    pub(in super::super) fn deploy(&self, checksum: &str, reference: &str) -> Result<Utf8PathBuf> {
        // It tells standard output how much a prune freed; that is where our result goes.
        glib::set_print_handler(|_| {});
        let deployed = self.deploy_here(checksum, reference);
        if deployed.is_err() {
            // Half a checkout may stand; if it can't be cleared now, the next `ostree admin` clears it.
            self.sysroot.cleanup(Cancellable::NONE).unwrap_or_default();
        }
        glib::unset_print_handler();
        deployed.with_context(|| {
            format!(
                "deploying commit {checksum} in sysroot {}, whose deployments are as they were",
                self.path
            )
        })
    }

    fn deploy_here(&self, checksum: &str, reference: &str) -> Result<Utf8PathBuf> {
        let (sysroot, merge) = (&self.sysroot, &self.merge);
        let stateroot = merge.osname();
        let origin = sysroot.origin_new_from_refspec(reference);
        // An empty list would mean none, not those of the deployment before.
        let options = merge.bootconfig().and_then(|config| config.get("options")).unwrap_or_default();
        let arguments: Vec<_> = options.split(' ').filter(|argument| !argument.is_empty()).collect();
        let new = sysroot.deploy_tree(
            Some(&stateroot),
            checksum,
            Some(&origin),
            Some(merge),
            &arguments,
            Cancellable::NONE,
        )?;
        let flags = ostree::SysrootSimpleWriteDeploymentFlags::NONE;
        sysroot.simple_write_deployment(Some(&stateroot), &new, Some(merge), flags, Cancellable::NONE)?;
        Ok(sysroot.deployment_dirpath(&new).as_str().into())
    }

    /// Moves the ref back to what it named before it named `ours`, unless somebody else moved it since.
    ///
    /// # Errors
    /// When it can't be.
    pub(in super::super) fn put_back(&self, reference: &str, ours: &str, before: Option<&str>) -> Result<()> {
        let repo = self.sysroot.repo();
        if repo.resolve_rev(reference, true)?.as_deref() == Some(ours) && before != Some(ours) {
            repo.set_ref_immediate(None, reference, before, Cancellable::NONE)?;
        }
        Ok(())
    }
}
