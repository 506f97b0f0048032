//! Signatures of commits, which lie beside the commit object in its detached metadata: checked on a base, and made for a new
//! commit before a ref names it. GnuPG is libostree's; ed25519, which few builds of it have, is ours in its format.

use anyhow::{Context, Result, anyhow, bail};
use camino::Utf8Path;
use cap_std_ext::{cap_std, cap_tempfile};
use ostree::gio::{self, Cancellable};
use ostree::glib::{Bytes, GString, Variant, VariantDict};
use ostree::prelude::*;
use std::os::fd::AsFd as _;
use sysctr_core::digest::Digest;

use super::Commit;
use crate::target::signing::{PublicKeys, SecretKeys, Signers, Trust};

/// Detached metadata with GnuPG's signatures, type `aay`.
const GPG: &str = "ostree.gpgsigs";
/// Detached metadata with ed25519 signatures, type `aay`.
const ED25519: &str = "ostree.sign.ed25519";
/// The remote that has one keyring and nothing else.
const ASKED: &str = "asked";

impl Commit {
    /// Refuses a commit that lacks one of the signatures that `trust` asks for.
    ///
    /// # Errors
    /// Then: it is not signed, not by a trusted key, or its signature is that of another commit.
    pub(in super::super) fn is_trusted(&self, trust: &Trust) -> Result<()> {
        let bytes = self.object.data_as_bytes();
        let checking =
            || format!("checking signatures of commit {} of repository {}", self.checksum, self.path);
        if Digest::of(&bytes).hex() != self.checksum {
            bail!("{}: its object has other bytes; `ostree fsck` tells what else is broken", checking());
        }
        let check = || {
            if let Some(keys) = &trust.ed25519 {
                self.is_signed_by(keys, &bytes)?;
            }
            if let Some(remote) = &trust.gpg_remote {
                let signatures = self.gpg_signatures()?;
                let keys = format!("keys of remote {remote}");
                judge(&self.repo, remote, &bytes, &signatures, &keys)?;
            }
            if let Some(keyring) = &trust.gpg_keyring {
                self.is_signed_by_keyring(keyring, &bytes)?;
            }
            anyhow::Ok(())
        };
        check().with_context(checking)
    }

    fn is_signed_by(&self, keys: &PublicKeys, bytes: &[u8]) -> Result<()> {
        let signatures = signatures(&self.repo, &self.checksum, ED25519)?;
        if signatures.is_empty() {
            bail!("it has no ed25519 signature; sign it with `ostree sign`, or take a base that is signed");
        }
        if !keys.made_one_of(&signatures, bytes) {
            bail!(
                "no key of {} made an ed25519 signature of this commit; what it has is by another key or of another commit",
                keys.file()
            );
        }
        Ok(())
    }

    fn gpg_signatures(&self) -> Result<Vec<u8>> {
        let signatures = signatures(&self.repo, &self.checksum, GPG)?;
        if signatures.is_empty() {
            bail!("it has no GnuPG signature; sign it with `ostree gpg-sign`, or take a base that is signed");
        }
        Ok(signatures.concat())
    }

    /// The keys of no remote and of no directory of the system count, so the repository that verifies is a new one.
    fn is_signed_by_keyring(&self, keyring: &Utf8Path, bytes: &[u8]) -> Result<()> {
        let signatures = self.gpg_signatures()?;
        let place = keyring.canonicalize_utf8().with_context(|| format!("opening keyring {keyring}"))?;
        let dir = cap_tempfile::TempDir::new(cap_std::ambient_authority());
        let dir = dir.context("making a temporary directory for the keyring")?;
        let repo = || {
            let repo = ostree::Repo::create_at_dir(dir.as_fd(), ".", ostree::RepoMode::Archive, None)?;
            let config = repo.copy_config();
            let group = format!("remote \"{ASKED}\"");
            config.set_string(&group, "url", "file:///");
            config.set_string(&group, "gpgkeypath", place.as_str());
            repo.write_config(&config)?;
            ostree::Repo::open_at_dir(dir.as_fd(), ".")
        };
        let repo = repo().context("preparing the keyring")?;
        judge(&repo, ASKED, bytes, &signatures, &format!("keys of {keyring}"))
    }
}

/// Whether one of GnuPG's signatures is good by the keys of a remote.
fn judge(repo: &ostree::Repo, remote: &str, bytes: &[u8], signatures: &[u8], keys: &str) -> Result<()> {
    let (bytes, signatures) = (Bytes::from(bytes), Bytes::from(signatures));
    let result = repo
        .gpg_verify_data(
            Some(remote),
            &bytes,
            &signatures,
            gio::File::NONE,
            gio::File::NONE,
            Cancellable::NONE,
        )
        .with_context(|| format!("asking GnuPG for the {keys}"))?;
    let all: Vec<_> = (0..result.count_all()).map(|index| Told::of(&result.all(index))).collect();
    if all.iter().any(|told| told.valid) {
        return Ok(());
    }
    let names = |which: fn(&Told) -> bool| {
        let names: Vec<_> = all.iter().filter(|told| which(told)).map(|told| told.key.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = names(|told| told.revoked || told.expired) {
        bail!("its GnuPG signature by {names} has expired, or its key has or was revoked");
    }
    match names(|told| !told.missing) {
        Some(names) => bail!("its GnuPG signature by {names} is not of this commit"),
        None => {
            bail!("none of the {keys} signed it; it is signed by {}", names(|_| true).unwrap_or_default())
        }
    }
}

/// What libostree tells of one signature (`ostree_gpg_verify_result_get_all`).
struct Told {
    valid: bool,
    expired: bool,
    revoked: bool,
    missing: bool,
    key: GString,
}

impl Told {
    fn of(all: &Variant) -> Self {
        let is = |index: usize| all.child_value(index).get::<bool>().unwrap_or_default();
        let key = all.child_value(5).get::<String>().unwrap_or_default();
        Self { valid: is(0), expired: is(1) || is(2), revoked: is(3), missing: is(4), key: key.into() }
    }
}

fn signatures(repo: &ostree::Repo, checksum: &str, key: &str) -> Result<Vec<Vec<u8>>> {
    let detached = repo.read_commit_detached_metadata(checksum, Cancellable::NONE);
    let Some(detached) = detached.context("reading its detached metadata")? else { return Ok(Vec::new()) };
    let found = VariantDict::new(Some(&detached)).lookup_value(key, None);
    let found = found.map(|found| found.get::<Vec<Vec<u8>>>().ok_or_else(|| anyhow!("its {key} is no list")));
    Ok(found.transpose()?.unwrap_or_default())
}

/// Signs a commit of the repository with all keys; those that signed it already don't again.
///
/// # Errors
/// When a key can't be found or used: some signatures may be there.
pub(super) fn sign(repo: &ostree::Repo, checksum: &str, signers: &Signers) -> Result<()> {
    if let Some(keys) = &signers.ed25519 {
        add(repo, checksum, keys).context("signing the commit with ed25519")?;
    }
    let home = signers.gpg_home.as_ref().map(|home| home.as_str());
    for key in &signers.gpg {
        match repo.sign_commit(checksum, key, home, Cancellable::NONE) {
            Err(error) if !error.matches(gio::IOErrorEnum::Exists) => {
                return Err(error).with_context(|| format!("signing the commit with GnuPG key {key}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn add(repo: &ostree::Repo, checksum: &str, keys: &SecretKeys) -> Result<()> {
    let bytes = repo.load_variant(ostree::ObjectType::Commit, checksum)?.data_as_bytes();
    let mut all = signatures(repo, checksum, ED25519)?;
    let missing: Vec<_> = keys.sign(&bytes).into_iter().filter(|one| !all.contains(one)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    all.extend(missing);
    let detached = repo.read_commit_detached_metadata(checksum, Cancellable::NONE)?;
    let detached = VariantDict::new(detached.as_ref());
    detached.insert_value(ED25519, &all.to_variant());
    repo.write_commit_detached_metadata(checksum, Some(&detached.end()), Cancellable::NONE)?;
    Ok(())
}
