//! A new generation, made beside everything that runs: objects into the store, a bundle beside the others, its description into
//! `/etc`. Nothing of it is active before it is switched to.

mod brought;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sysctr_core::container::{self, Subject};
use sysctr_core::digest::Digest;
use sysctr_core::generation::{Generation, GenerationName, HostFiles, Origin, Trial, Tried};
use sysctr_core::image::flatten::{Limits, Progress, flatten};
use sysctr_core::name::ContainerName;
use sysctr_core::place;
use sysctr_core::placement::{Draft, PlacedLeaf, Root};
use sysctr_core::prepare::Without;
use sysctr_core::record::{Placed, Record, VERSION, to_json};
use sysctr_core::settings::Phase;
use sysctr_core::store::contents::{Copying, ObjectContents, ObjectStore};
use sysctr_core::store::kept::{Kept, KeptFiles};
use sysctr_core::store::own_repo::OwnRepo;
use sysctr_core::store::shipped::Shipped;
use sysctr_core::store::tree;

use crate::active::decision::Link;
use crate::active::host::{self, Host};
use crate::durable::{clear, make_parent, open_dir, sync_dir, write_new, write_synced};
use crate::kept;
use brought::HostThings;

/// In the directory of generations: what is being made; nobody looks at it.
pub const STAGING: &str = ".staging";

/// What a generation is made from, besides its subject.
pub struct Making<'a> {
    /// The host.
    pub host: &'a Host,
    /// Its store.
    pub store: &'a OwnRepo,
    /// The SELinux label of everything in it, if the host has a policy.
    pub label: Option<&'a [u8]>,
    /// Roots that contents are copied from.
    pub shipped: Arc<Shipped>,
    /// What the host embeds under the name.
    pub embedded: Option<&'a Record>,
    /// What it will be called.
    pub name: &'a GenerationName,
    /// Values that were given on this host.
    pub set: &'a BTreeMap<String, String>,
    /// Bounds.
    pub limits: Limits,
}

/// What a generation has besides its root: the files of its bundle, and what it has in `/etc`, by paths in its directory there.
struct Described {
    record: Record,
    files: BTreeMap<String, Vec<u8>>,
    outside: Outside,
    host_files: HostFiles,
}

impl Described {
    /// All of it, for the store.
    fn kept(&self, generation: &Generation) -> KeptFiles {
        let bundle = self.files.iter().map(|(file, bytes)| (kept::inside(kept::BUNDLE, file), bytes.clone()));
        let texts =
            self.outside.texts.iter().map(|(path, bytes)| (kept::inside(kept::ETC, path), bytes.clone()));
        let description = (kept::inside(kept::ETC, place::GENERATION_JSON), to_json(generation));
        let host_files = Some(&self.host_files).filter(|host_files| !host_files.files.is_empty());
        let host_files =
            host_files.map(|files| (kept::inside(kept::ETC, place::HOST_FILES_JSON), to_json(files)));
        let files = bundle
            .chain(texts)
            .chain([description])
            .chain(host_files)
            .map(|(path, bytes)| (path, Kept::File(bytes)));
        let links = self.outside.links.iter();
        let links = links.map(|(path, text)| (kept::inside(kept::ETC, path), Kept::Link(text.clone())));
        files.chain(links).collect()
    }
}

/// Units, tmpfiles.d lines and links.
#[derive(Default)]
struct Outside {
    texts: Vec<(Utf8PathBuf, Vec<u8>)>,
    links: Vec<(Utf8PathBuf, String)>,
}

/// A generation that is made and not active.
#[derive(Debug)]
pub struct Made {
    /// Its name.
    pub name: GenerationName,
    /// What its user should know, one sentence each.
    pub warnings: Vec<String>,
    /// Bytes that the store did not have before.
    pub stored: u64,
    /// The image configuration's digest.
    pub config: Digest,
}

impl Making<'_> {
    /// Makes the next generation of the subject's container.
    ///
    /// # Errors
    /// When a step fails. Whole objects may be left in the store then, which the next collection removes; nothing else.
    pub fn make(&self, subject: &Subject<'_>, progress: &impl Progress) -> Result<Made> {
        let objects = self.store.begin()?;
        let store = Arc::new(ObjectStore::new(objects, self.limits.jobs)?);
        let contents =
            ObjectContents::new(&store, self.label).copying(Arc::clone(&self.shipped), Copying::WhenNeeded);
        let flattened = flatten(subject.image, self.limits, &contents, progress)?;
        let records = self.host.standing()?;
        let target = Without { target: self.host, records: &records };
        let mut prepared = subject.prepare(&flattened.tree, &target, &|id, max| contents.read(id, max))?;
        prepared.warnings.extend(close_root(&mut prepared.config_json)?);
        let left_out = container::left_out(&flattened.left_out);
        let mut draft = subject.draft(flattened.tree, Root::Made, left_out, &prepared)?;
        let things = HostThings::take(&mut draft, self.name, &|id, max| contents.read(id, max))?;
        prepared.warnings.extend(things.check(self.host, &draft, &records)?);
        self.refuse(subject, &draft)?;
        store.settle()?;
        let staged = tree::stage(&draft.tree, &contents, self.label, &|| Ok(()))?;
        let root = staged.root;
        let name = self.name;
        let lock = self.store.no_pruning()?;
        let (commit, published) = self.store.publish(store.objects(), staged, &name.to_string(), &lock)?;
        self.store.set_ref(&name.to_string(), &commit)?;
        store.remember(&commit.hex());
        let placing = Placing { host: self.host, name, phase: subject.settings.unit.phase };
        let described = placing.bundle(self.store, root, draft, things)?;
        let generation = self.generation(subject, &described.record);
        let files = described.kept(&generation);
        kept::keep(self.store, store.objects(), name, &files, self.label, &lock)?;
        placing.describe(&generation, &described)?;
        let config = described.record.image.config;
        Ok(Made { name: name.clone(), warnings: prepared.warnings, stored: published.bytes, config })
    }

    /// What describes it.
    fn generation(&self, subject: &Subject<'_>, record: &Record) -> Generation {
        Generation {
            version: VERSION,
            bundle: self.name.bundle(),
            origin: self.embedded.map_or(Origin::None, |record| Origin::Embedded(record.origin)),
            record: Digest::of(&to_json(record)),
            image: subject.reference.to_string(),
            config: record.image.config,
            set: self.set.clone(),
        }
    }

    /// What no update can change on a running host.
    fn refuse(&self, subject: &Subject<'_>, draft: &Draft) -> Result<()> {
        if subject.settings.unit.phase == Phase::Early && !self.host.is_var_there_early()? {
            bail!(
                "it starts before /var is mounted, which is a file system of its own here and would hold the update; compose a \
                 new host image with it"
            );
        }
        if subject.settings.unit.replace {
            return Ok(());
        }
        // An admin may mask or edit the unit of a container that is there. Of a new one /etc must not have any.
        let is_new = self.host.numbers(subject.name)?.is_empty() && self.embedded.is_none();
        let is_mask =
            |path: &Utf8Path| std::fs::read_link(path).is_ok_and(|to| to == Utf8Path::new("/dev/null"));
        // A unit in a generator's directory hides the distribution's.
        let paths = draft.placed.iter().map(|(path, _)| path);
        for path in paths.filter(|path| path.parent() == Some(Utf8Path::new(place::UNIT_DIR))) {
            let embedded = self.embedded.is_some_and(|record| record.placed.contains_key(path));
            let admins = self.host.path("etc/systemd/system").join(path.file_name().unwrap_or_default());
            let admins = Some(admins).filter(|path| is_new && !is_mask(path));
            let mut foreign = [Some(self.host.path(path)), admins].into_iter().flatten();
            if let Some(there) = foreign.find(|there| !embedded && there.symlink_metadata().is_ok()) {
                bail!("this host has a unit {there} already; choose another name");
            }
        }
        Ok(())
    }
}

/// The next generation's name: one above every number that was ever given away.
///
/// # Errors
/// When what there is can't be read.
pub fn next(host: &Host, container: &ContainerName) -> Result<GenerationName> {
    let mut highest = number_of(host, container.as_str())?;
    let there = [host.active_dir(), host.generations_dir()];
    for generation in there.iter().map(|dir| host::generations_in(dir)).collect::<Result<Vec<_>>>()?.concat()
    {
        if generation.container == *container {
            highest = highest.max(generation.number.get());
        }
    }
    Ok(GenerationName { container: container.clone(), number: NonZeroU64::MIN.saturating_add(highest) })
}

/// Every file of the root is an object of the store, so that no payload may write there, whatever the settings say: an embedded
/// root lies in /usr, which nobody writes either. Tells when they say otherwise.
pub(crate) fn close_root(config: &mut Vec<u8>) -> Result<Option<String>> {
    if config.is_empty() {
        return Ok(None);
    }
    let mut value: serde_json::Value = serde_json::from_slice(config).context("reading the configuration")?;
    if value["root"]["readonly"] == true {
        return Ok(None);
    }
    value["root"]["readonly"] = true.into();
    *config = to_json(&value);
    Ok(Some(
        "run.read_only: the root of an update is read-only whatever it says; give it tmpfs or volumes"
            .to_owned(),
    ))
}

/// In the directory of generations, for each container: the highest number that was ever given away.
fn number_file(host: &Host, name: &str) -> Utf8PathBuf {
    host.generations_dir().join(format!(".{name}.number"))
}

fn number_of(host: &Host, name: &str) -> Result<u64> {
    let path = number_file(host, name);
    let Some(bytes) = host::read(&path)? else { return Ok(0) };
    let text = String::from_utf8_lossy(&bytes);
    text.trim().parse().with_context(|| format!("reading {path}: {text:?} is no number"))
}

/// Remembers for ever what systemd-tmpfiles will have made of the image's host files: it stays when the container goes, and must not
/// stand in the way when it comes back.
fn remember_seeds(host: &Host, record: &Record) -> Result<()> {
    let seeds = record.made.iter().filter(|(_, made)| made.host_file.is_some()).map(|(path, _)| path.clone());
    let mut all = host.seeds(&record.name)?;
    let before = all.len();
    all.extend(seeds);
    if all.len() == before {
        return Ok(());
    }
    let text: String = all.iter().map(|path| format!("{path}\n")).collect();
    write_synced(&host.seeds_file(&record.name), text.as_bytes(), 0o600)
}

/// Where the parts of one generation go.
struct Placing<'a> {
    host: &'a Host,
    name: &'a GenerationName,
    phase: Phase,
}

impl Placing<'_> {
    /// Makes the bundle in staging and renames it into place; gives its record.
    fn bundle(
        &self,
        store: &OwnRepo,
        root: sysctr_core::store::object::DirRef,
        draft: Draft,
        things: HostThings,
    ) -> Result<Described> {
        let home = self.host.generations_dir();
        let number = number_file(self.host, self.name.container.as_str());
        write_synced(&number, format!("{}\n", self.name.number).as_bytes(), 0o600)?;
        let staging = home.join(STAGING);
        clear(&staging)?;
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&staging)
            .with_context(|| format!("making {staging}"))?;
        let dir = open_dir(&staging)?;
        store.check_out(root, &dir, place::ROOTFS)?;
        let Draft { mut record, mut files, stats, placed, .. } = draft;
        let outside = self.outside(placed, &mut record)?;
        record.placed.extend(things.files.files.clone());
        record.placed.extend(things.bundled.clone());
        record.files = files.iter().map(|(file, bytes)| (file.clone(), Digest::of(bytes))).collect();
        files.insert(place::RECORD_JSON.to_owned(), to_json(&record));
        for (file, bytes) in &files {
            let path = staging.join(file);
            write_new(&path, bytes, 0o644)?;
            if let Some(stat) = stats.get(file) {
                crate::host_files::set(&path, stat).with_context(|| format!("writing {path}"))?;
            }
        }
        things.write(&staging)?;
        remember_seeds(self.host, &record)?;
        rustix::fs::syncfs(&dir).with_context(|| format!("flushing {staging}"))?;
        let bundle = home.join(self.name.to_string());
        std::fs::rename(&staging, &bundle).with_context(|| format!("renaming {staging} to {bundle}"))?;
        sync_dir(&home)?;
        Ok(Described { record, files, outside, host_files: things.files })
    }

    /// What an embedded container has below /usr: texts and links of this generation, by their path in its directory.
    fn outside(&self, placed: Vec<(Utf8PathBuf, PlacedLeaf)>, record: &mut Record) -> Result<Outside> {
        let home = Utf8Path::new(place::ACTIVE_DIR).join(self.name.to_string());
        let mut outside = Outside::default();
        for (path, leaf) in placed {
            let inner = if let Ok(unit) = path.strip_prefix(place::UNIT_DIR) {
                Utf8Path::new(place::UNITS).join(unit)
            } else if path.starts_with(place::TMPFILES_DIR) {
                Utf8PathBuf::from(path.file_name().unwrap_or_default())
            } else {
                // Presets are for units that are enabled by hand; links are all that counts here.
                continue;
            };
            match leaf {
                PlacedLeaf::File(file) => {
                    let digest = Digest::of(&file.bytes);
                    record.placed.insert(home.join(&inner), Placed::File { digest, metadata: None });
                    outside.texts.push((inner, file.bytes));
                }
                PlacedLeaf::Link(target) => {
                    let link = Placed::Link { target: target.clone(), replaced: None, metadata: None };
                    record.placed.insert(home.join(&inner), link);
                    outside.links.push((inner, target));
                }
                PlacedLeaf::Brought(_) => bail!("/{path} is the image's; only a compose can place it"),
            }
        }
        let unit = Utf8Path::new(place::UNITS).join(self.name.container.unit());
        if self.phase != Phase::Early && outside.texts.iter().any(|(path, _)| *path == unit) {
            let drop_in = Utf8PathBuf::from(format!("{unit}.d")).join("10-sysctr-bundle.conf");
            let bundle = self.name.bundle();
            let text = format!("[Unit]\nRequiresMountsFor={bundle}\n").into_bytes();
            record
                .placed
                .insert(home.join(&drop_in), Placed::File { digest: Digest::of(&text), metadata: None });
            outside.texts.push((drop_in, text));
        }
        Ok(outside)
    }

    /// Writes the generation's directory in `/etc` beside and renames it into place.
    fn describe(
        &self,
        generation: &Generation,
        Described { outside: Outside { texts, links }, host_files, .. }: &Described,
    ) -> Result<()> {
        let active = self.host.active_dir();
        let doing = |path: &Utf8Path| format!("making {path}");
        std::fs::create_dir_all(&active).with_context(|| doing(&active))?;
        let beside = active.join(format!(".{}.new", self.name));
        clear(&beside)?;
        std::fs::create_dir(&beside).with_context(|| doing(&beside))?;
        write_new(&beside.join(place::GENERATION_JSON), &to_json(generation), 0o644)?;
        // Born on trial: one that a cut-off program never switched to is told from one that was.
        let trial = trial(self.host, &self.name.container, Tried::New)?;
        write_new(&beside.join(place::TRIAL_JSON), &to_json(&trial), 0o644)?;
        if !host_files.files.is_empty() {
            write_new(&beside.join(place::HOST_FILES_JSON), &to_json(host_files), 0o644)?;
        }
        for (path, bytes) in texts {
            let path = beside.join(path);
            make_parent(&path)?;
            write_new(&path, bytes, 0o644)?;
        }
        for (path, target) in links {
            let path = beside.join(path);
            make_parent(&path)?;
            symlink(target, &path).with_context(|| doing(&path))?;
        }
        rustix::fs::syncfs(open_dir(&beside)?).with_context(|| format!("flushing {beside}"))?;
        let dir = active.join(self.name.to_string());
        std::fs::rename(&beside, &dir).with_context(|| format!("renaming {beside} to {dir}"))?;
        sync_dir(&active)
    }
}

/// A trial that begins now, with what is active.
///
/// # Errors
/// When the kernel does not tell which boot this is.
pub fn trial(host: &Host, name: &ContainerName, of: Tried) -> Result<Trial> {
    let before = match host.link(name) {
        Link::To(number) => Some(number),
        Link::Absent | Link::Unreadable(_) => None,
    };
    Ok(Trial { version: VERSION, boot: host.boot()?, of, before })
}

/// Forgets a generation that nothing is switched to: what `/etc` says of it goes. Its bundle goes with the next collection.
///
/// # Errors
/// When it can't be removed; it is known as before, or no longer.
pub fn forget(host: &Host, name: &GenerationName) -> Result<()> {
    let dir = host.generation_dir(name);
    let beside = host.active_dir().join(format!(".{name}.new"));
    clear(&beside)?;
    // Renamed first: half a description must not be found.
    match std::fs::rename(&dir, &beside) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("renaming {dir}"))?,
    }
    sync_dir(&host.active_dir())?;
    clear(&beside)
}
