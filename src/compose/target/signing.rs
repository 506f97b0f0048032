//! Who signs a new commit and who must have signed its base. ed25519 keys are files as `ostree sign` has them: one key a line
//! in base64, a secret key as 64 bytes (seed and public key), a public key as 32.

use std::fmt;

use anyhow::{Context, Result, bail};
use base64ct::{Base64, Encoding as _};
use camino::{Utf8Path, Utf8PathBuf};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

/// No signature.
pub static UNSIGNED: Signers = Signers { gpg: Vec::new(), gpg_home: None, ed25519: None };

/// Larger than any file of keys.
const MAX_KEYS_BYTES: u64 = 1 << 20;

/// Who signs a new commit: all of them.
#[derive(Debug, Default)]
pub struct Signers {
    /// GnuPG keys, by what names them there.
    pub gpg: Vec<String>,
    /// GnuPG's directory with their secret halves; `None`: its default.
    pub gpg_home: Option<Utf8PathBuf>,
    /// ed25519 keys.
    pub ed25519: Option<SecretKeys>,
}

impl Signers {
    /// Whether nobody signs.
    pub fn is_nobody(&self) -> bool {
        self.gpg.is_empty() && self.ed25519.is_none()
    }
}

/// Whose signatures a base must have: one of each that is asked for.
#[derive(Debug, Default)]
pub struct Trust {
    /// A file of GnuPG public keys.
    pub gpg_keyring: Option<Utf8PathBuf>,
    /// A remote of the repository, for its GnuPG public keys.
    pub gpg_remote: Option<String>,
    /// ed25519 keys.
    pub ed25519: Option<PublicKeys>,
}

/// Secret ed25519 keys. Cleared from memory when dropped.
pub struct SecretKeys(Vec<SigningKey>);

/// Public ed25519 keys.
#[derive(Debug)]
pub struct PublicKeys {
    keys: Vec<VerifyingKey>,
    file: Utf8PathBuf,
}

impl SecretKeys {
    /// Reads a file of secret keys.
    ///
    /// # Errors
    /// When it can't be read, has no key, or a line is none; no error shows a key.
    pub fn read(path: &Utf8Path) -> Result<Self> {
        let key = |bytes: &[u8; 64]| SigningKey::from_keypair_bytes(bytes).ok();
        keys(path, key).map(Self).with_context(|| format!("reading secret keys from {path}"))
    }

    /// One signature of `message` by each key. The same message has the same signatures.
    pub fn sign(&self, message: &[u8]) -> Vec<Vec<u8>> {
        self.0.iter().map(|key| key.sign(message).to_bytes().to_vec()).collect()
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKeys({})", self.0.len())
    }
}

impl PublicKeys {
    /// Reads a file of public keys.
    ///
    /// # Errors
    /// When it can't be read, has no key, or a line is none.
    pub fn read(path: &Utf8Path) -> Result<Self> {
        let key = |bytes: &[u8; 32]| VerifyingKey::from_bytes(bytes).ok();
        let keys = keys(path, key).with_context(|| format!("reading public keys from {path}"))?;
        Ok(Self { keys, file: path.to_owned() })
    }

    /// Where they were read from.
    pub fn file(&self) -> &Utf8Path {
        &self.file
    }

    /// Whether one of the signatures is of `message` and by one of the keys.
    pub fn made_one_of(&self, signatures: &[Vec<u8>], message: &[u8]) -> bool {
        let signatures = signatures.iter().filter_map(|bytes| Signature::from_slice(bytes).ok());
        signatures
            .into_iter()
            .any(|signature| self.keys.iter().any(|key| key.verify_strict(message, &signature).is_ok()))
    }
}

fn keys<const N: usize, K>(path: &Utf8Path, key: impl Fn(&[u8; N]) -> Option<K>) -> Result<Vec<K>> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_KEYS_BYTES {
        bail!("it has {size} bytes, more than any file of keys");
    }
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    let mut keys = Vec::new();
    for (index, line) in lines {
        let number = index + 1;
        let Ok(bytes) = Base64::decode_vec(line) else { bail!("line {number} is not base64") };
        let Ok(bytes) = <&[u8; N]>::try_from(&*bytes) else {
            bail!("line {number} has {} bytes, a key here has {N}", bytes.len());
        };
        let Some(key) = key(bytes) else { bail!("line {number} is no ed25519 key") };
        keys.push(key);
    }
    if keys.is_empty() {
        bail!("there is no key in it");
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn path(file: &tempfile::NamedTempFile) -> &Utf8Path {
        Utf8Path::from_path(file.path()).unwrap()
    }

    /// RFC 8032, 7.1, test 3.
    const SECRET: &str =
        "xaqN9D+fg3vetOt0MvdMWQABWKjVLIz4nS/HUw4kPvf8UUSzIaOqbxz+jCnDD8rGrb8i9Vc8P3KVqe6GyMe2Jw==";

    #[test]
    fn the_signature_of_rfc_8032() {
        let secret = [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        ];
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let pair = [hex(secret[0]), hex(secret[1])].concat();
        let (secret, public) =
            (file(&Base64::encode_string(&pair)), file(&Base64::encode_string(&pair[32..])));
        let signatures = SecretKeys::read(path(&secret)).unwrap().sign(&[0xaf, 0x82]);
        let expected = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                        18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
        assert_eq!(signatures, [hex(expected)]);
        let public = PublicKeys::read(path(&public)).unwrap();
        assert!(public.made_one_of(&signatures, &[0xaf, 0x82]));
        assert!(!public.made_one_of(&signatures, &[0xaf, 0x83]));
        assert!(!public.made_one_of(&[vec![0; 64], vec![1; 3]], &[0xaf, 0x82]));
    }

    #[test]
    fn what_is_no_file_of_keys() {
        let short = Base64::encode_string(&[7; 32]);
        for (text, message) in [
            ("", "there is no key in it"),
            ("\n  \n", "there is no key in it"),
            ("\nnot base64!\n", "line 2 is not base64"),
            (short.as_str(), "line 1 has 32 bytes, a key here has 64"),
            // Its second half is not the first half's public key.
            (SECRET, "line 1 is no ed25519 key"),
        ] {
            let file = file(text);
            let error = format!("{:#}", SecretKeys::read(path(&file)).unwrap_err());
            assert_eq!(error, format!("reading secret keys from {}: {message}", file.path().display()));
        }
    }
}
