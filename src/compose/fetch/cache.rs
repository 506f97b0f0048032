//! The cache: blobs by digest in an OCI layout that all images share.
//!
//! Nothing gets its place in `blobs/` before its digest was right; whatever is under way lies in `tmp/`. Users hold a shared
//! lock, whoever removes things an exclusive one. A child that outlives a killed fetch holds the lock too.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FlockOperation, flock};
use sysctr_core::digest::{Digest, Hasher};
use sysctr_core::image::stored::blob_name;

use sysctr_core::interrupt::Interrupt;

/// The variable that names the cache.
pub const VARIABLE: &str = "SYSCTR_CACHE";
/// For root, whose home is no place that build machines agree about.
const OF_ROOT: &str = "/var/cache/sysctr-compose";
const BUFFER: usize = 256 << 10;
/// How long somebody who wants the cache alone waits for others.
const PATIENCE: Duration = Duration::from_secs(30);

/// An opened cache. While it is open nobody removes anything from it.
#[derive(Debug)]
pub struct Cache {
    dir: Utf8PathBuf,
    /// `None`: a cache that can't be written, so that nobody removes anything.
    lock: Option<File>,
    /// Blobs whose digest was seen to be right.
    whole: Mutex<BTreeSet<Digest>>,
    /// Whether blobs are new since the last flush.
    unflushed: AtomicBool,
}

/// How a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its bytes have its digest.
    Whole,
    /// It is not there.
    Missing,
    /// Its bytes have another digest.
    Corrupt,
}

/// Where the cache is: `$SYSCTR_CACHE`, `$XDG_CACHE_HOME/sysctr-compose`, for root `/var/cache/sysctr-compose`, else
/// `~/.cache/sysctr-compose`.
///
/// # Errors
/// When nothing of that tells, or the path is not UTF-8.
pub fn place() -> Result<Utf8PathBuf> {
    let path = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty()).map(Utf8PathBuf::from);
    let place = if let Some(cache) = path(VARIABLE) {
        cache
    } else if let Some(caches) = path("XDG_CACHE_HOME") {
        caches.join("sysctr-compose")
    } else if rustix::process::geteuid().is_root() {
        Utf8PathBuf::from(OF_ROOT)
    } else {
        let home =
            path("HOME").with_context(|| format!("finding the cache: there is no HOME; set {VARIABLE}"))?;
        home.join(".cache/sysctr-compose")
    };
    absolute(&place)
}

/// `path` from the root, for programs that run elsewhere.
pub(super) fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf> {
    let found = std::path::absolute(path).with_context(|| format!("finding {path}"))?;
    Utf8PathBuf::try_from(found).with_context(|| format!("finding {path}"))
}

impl Cache {
    /// Opens the cache at `dir` to be filled; makes it when it is absent.
    ///
    /// # Errors
    /// When it can't be made, or somebody cleans it for too long.
    pub fn open(dir: &Utf8Path, interrupt: &Interrupt) -> Result<Self> {
        let doing = || format!("opening the cache {dir}; {VARIABLE} names another");
        for sub in ["blobs/sha256", "tmp", "roots"] {
            fs::create_dir_all(dir.join(sub)).with_context(doing)?;
        }
        let marker = dir.join("oci-layout");
        if !marker.exists() {
            put(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#).with_context(doing)?;
        }
        let lock = File::options().create(true).append(true).open(dir.join("lock")).with_context(doing)?;
        // Children inherit it: what one still writes is not swept away.
        rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).with_context(doing)?;
        let cache = Self {
            dir: dir.to_owned(),
            lock: Some(lock),
            whole: Mutex::default(),
            unflushed: AtomicBool::default(),
        };
        cache.wait_for(FlockOperation::NonBlockingLockShared, interrupt)?;
        Ok(cache)
    }

    /// Opens the cache at `dir` to be read only.
    ///
    /// # Errors
    /// When there is none.
    pub fn open_filled(dir: &Utf8Path, interrupt: &Interrupt) -> Result<Self> {
        if !dir.join("blobs").is_dir() {
            bail!(
                "opening the cache {dir}: there is none; run sysctr-compose fetch, or name it with {VARIABLE}"
            );
        }
        let lock = File::open(dir.join("lock")).ok();
        let cache =
            Self { dir: dir.to_owned(), lock, whole: Mutex::default(), unflushed: AtomicBool::default() };
        cache.wait_for(FlockOperation::NonBlockingLockShared, interrupt)?;
        Ok(cache)
    }

    /// Its directory, an OCI layout.
    pub fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// File of a blob.
    pub fn path(&self, digest: &Digest) -> Utf8PathBuf {
        self.dir.join(blob_name(digest))
    }

    /// Reads a blob and tells how it is; each is read once.
    ///
    /// # Errors
    /// When it can't be read, or the user interrupts.
    pub fn state(&self, digest: &Digest, interrupt: &Interrupt) -> Result<State> {
        if self.known_whole().contains(digest) {
            return Ok(State::Whole);
        }
        match digest_of(&self.path(digest), interrupt)? {
            None => Ok(State::Missing),
            Some(found) if found != *digest => Ok(State::Corrupt),
            Some(_) => {
                self.note_whole(*digest);
                Ok(State::Whole)
            }
        }
    }

    /// Whether a blob is known to be there and whole, without a look.
    pub(super) fn is_known_whole(&self, digest: &Digest) -> bool {
        self.known_whole().contains(digest)
    }

    /// Writes all blobs to disk, once for all: a blob that a power cut took is found by its digest, so none has to be on disk
    /// before it gets its place.
    ///
    /// # Errors
    /// When the disk takes them not.
    pub(super) fn flush(&self) -> Result<()> {
        if !self.unflushed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let flush = || std::io::Result::Ok(rustix::fs::syncfs(File::open(self.dir.join("blobs/sha256"))?)?);
        flush().with_context(|| format!("writing the cache {} to disk", self.dir))
    }

    /// Notes a whole blob that is new.
    pub(super) fn note_new(&self, digest: Digest) {
        self.unflushed.store(true, Ordering::Relaxed);
        self.note_whole(digest);
    }

    /// Notes that a blob's digest was right.
    fn note_whole(&self, digest: Digest) {
        self.known_whole().insert(digest);
    }

    fn known_whole(&self) -> std::sync::MutexGuard<'_, BTreeSet<Digest>> {
        self.whole.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A document's bytes, checked; `None` when it is not there or not right.
    pub(super) fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(digest)).ok()?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }

    /// Marks a blob as used now, for whoever looks for those that nobody uses.
    pub(super) fn touch(&self, digest: &Digest) {
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        let path = self.path(digest);
        // A cache that can't be written is not cleaned either.
        rustix::fs::utimensat(rustix::fs::CWD, path.as_std_path(), &times, rustix::fs::AtFlags::empty()).ok();
    }

    /// Does `act` if nobody else uses the cache now.
    ///
    /// # Errors
    /// When `act` fails, or the user interrupts.
    pub(super) fn if_alone(&self, interrupt: &Interrupt, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let done = match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => act(),
            Err(_) => Ok(()),
        };
        self.wait_for(FlockOperation::NonBlockingLockShared, interrupt)?;
        done
    }

    /// Does `act` while nobody else uses the cache.
    ///
    /// # Errors
    /// When others don't end in time, or `act` fails.
    pub(super) fn alone<T>(&self, interrupt: &Interrupt, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.wait_for(FlockOperation::NonBlockingLockExclusive, interrupt)?;
        let done = act();
        self.wait_for(FlockOperation::NonBlockingLockShared, interrupt)?;
        done
    }

    fn wait_for(&self, operation: FlockOperation, interrupt: &Interrupt) -> Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let begun = Instant::now();
        while let Err(error) = flock(lock, operation) {
            interrupt.check()?;
            if error != rustix::io::Errno::WOULDBLOCK || begun.elapsed() > PATIENCE {
                return Err(error).with_context(|| {
                    format!("waiting for another sysctr-compose to leave the cache {}", self.dir)
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// Names of what lies in a directory.
pub(super) fn names(dir: &Utf8Path) -> Result<Vec<String>> {
    let doing = || format!("reading {dir}");
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(doing)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.with_context(doing)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Writes a file beside, then renames it.
pub(super) fn put(path: &Utf8Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = Utf8PathBuf::from(format!("{path}.{}.new", std::process::id()));
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// The digest of a file's bytes; `None`: there is no such file.
pub(super) fn digest_of(path: &Utf8Path, interrupt: &Interrupt) -> Result<Option<Digest>> {
    let doing = || format!("reading {path}");
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(doing)?,
    };
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        interrupt.check()?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(hasher.finish())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(doing),
        }
    }
}
