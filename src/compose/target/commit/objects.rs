//! What libostree reads besides the commit: files of a repository, and what a policy says of a path.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;

use anyhow::{Context, Result, bail};
use ostree::gio::{self, Cancellable};
use ostree::glib::Variant;
use ostree::prelude::*;
use sysctr_core::digest::Digest;
use sysctr_core::tree::{Stat, Xattrs};

use crate::target::snapshot::FileObject;

/// A handle that reads files in another thread.
pub(in super::super) struct Reader(pub(super) ostree::Repo);

impl Reader {
    /// Gives the content of a regular file to `each`, piece by piece.
    pub(in super::super) fn content(
        &self,
        checksum: &Digest,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (_, content) = load(&self.0, checksum)?;
        let Some(content) = content else { return Ok(()) };
        let mut content = content.into_read();
        let mut buffer = vec![0; 128 << 10];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => each(&buffer[..read])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("reading object {}", checksum.hex()));
                }
            }
        }
    }
}

/// What libostree tells of a file, and its content if it is a regular one.
pub(super) fn load(repo: &ostree::Repo, checksum: &Digest) -> Result<(FileObject, Option<gio::InputStream>)> {
    let hex = checksum.hex();
    let loaded = repo.load_file(&hex, Cancellable::NONE).with_context(|| format!("reading object {hex}"))?;
    let (content, info, attributes) = loaded;
    let mut xattrs = Xattrs::new();
    for pair in attributes.iter() {
        let (name, value) = (pair.child_value(0), pair.child_value(1));
        let bytes = |field: &Variant| field.fixed_array::<u8>().map(<[u8]>::to_vec);
        let name = bytes(&name).with_context(|| format!("reading object {hex}"))?;
        let value = bytes(&value).with_context(|| format!("reading object {hex}"))?;
        xattrs.insert(name.strip_suffix(b"\0").unwrap_or(&name).into(), value.into());
    }
    let stat = Stat {
        uid: info.attribute_uint32("unix::uid"),
        gid: info.attribute_uint32("unix::gid"),
        mode: (info.attribute_uint32("unix::mode") & 0o7777) as u16,
        mtime: None,
        xattrs: (!xattrs.is_empty()).then(|| Box::new(xattrs)),
    };
    let object = match info.symlink_target() {
        Some(target) if info.file_type() == gio::FileType::SymbolicLink => {
            let target =
                target.to_str().with_context(|| format!("object {hex} links to what is no UTF-8"))?;
            FileObject::Symlink { stat, target: target.to_owned() }
        }
        _ => FileObject::Regular { stat, size: u64::try_from(info.size())? },
    };
    Ok((object, content))
}

/// The labels that an SELinux policy gives, as libostree and everything that labels commits with it reads them.
pub(in super::super) struct FileLabels(ostree::SePolicy);

impl FileLabels {
    /// Of the policy in `etc/selinux` of a directory, which may be removed after that.
    pub(in super::super) fn beneath(root: std::os::fd::BorrowedFd<'_>) -> Result<Self> {
        let policy = ostree::SePolicy::new_at(root.as_raw_fd(), Cancellable::NONE)?;
        if policy.name().is_none() {
            bail!("libostree finds none that is on; it may be built without SELinux, which this base needs");
        }
        Ok(Self(policy))
    }

    /// The label of what has this mode, type bits included, at an absolute path; `None` if the policy has none for it.
    pub(in super::super) fn at(&self, path: &str, mode: u32) -> Result<Option<String>> {
        Ok(self.0.label(path, mode, Cancellable::NONE)?.map(String::from))
    }
}
