//! One program at a time changes containers.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

use anyhow::{Context as _, Result, bail};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::active::host::Host;

/// In the directory of generations.
const LOCK: &str = ".lock";

/// Held, no other program changes containers of this host. It is free again when its holder ends, however it does.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it for what `doing` says.
    ///
    /// # Errors
    /// When another program has it (the message names that), or it can't be written.
    pub fn take(host: &Host, doing: &str) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("{doing}: only root may change containers");
        }
        let dir = host.generations_dir();
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&dir);
        made.with_context(|| format!("{doing}: making directory {dir}"))?;
        let path = dir.join(LOCK);
        let open =
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.with_context(|| format!("{doing}: opening {path}"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).unwrap_or_default();
                let holder = if holder.is_empty() { "another program" } else { holder.trim_end() };
                bail!("{doing}: {holder} is changing containers; try again when it has ended");
            }
            Err(error) => return Err(error).with_context(|| format!("{doing}: locking {path}")),
        }
        let tell = file.set_len(0).and_then(|()| file.rewind());
        tell.and_then(|()| writeln!(file, "process {} ({doing})", std::process::id()))
            .with_context(|| format!("{doing}: writing {path}"))?;
        Ok(Self { _file: file })
    }
}

/// What the unit that settles host files at boot finds.
#[derive(Debug)]
pub enum Turn {
    /// Nobody changes containers; as long as this is held. None: the lock lies on what is not there yet, where nobody can have it.
    Ours(Option<File>),
    /// Another program does, which settles them itself.
    Anothers,
}

impl Turn {
    /// Looks, and writes nothing.
    pub fn find(host: &Host) -> Self {
        let Ok(file) = File::open(host.generations_dir().join(LOCK)) else { return Self::Ours(None) };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Self::Anothers,
            _ => Self::Ours(Some(file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8Path;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        if !rustix::process::geteuid().is_root() {
            let error = Lock::take(&Host::at(Utf8Path::new("/nowhere")), "updating web").unwrap_err();
            assert_eq!(error.to_string(), "updating web: only root may change containers");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(Utf8Path::from_path(dir.path()).unwrap());
        let first = Lock::take(&host, "updating web").unwrap();
        let error = Lock::take(&host, "collecting").unwrap_err().to_string();
        let own = std::process::id();
        assert_eq!(
            error,
            format!(
                "collecting: process {own} (updating web) is changing containers; try again when it has ended"
            )
        );
        assert!(matches!(Turn::find(&host), Turn::Anothers));
        drop(first);
        Lock::take(&host, "collecting").unwrap();
        let turn = Turn::find(&host);
        assert!(matches!(turn, Turn::Ours(Some(_))));
        Lock::take(&host, "collecting").unwrap_err();
    }
}
