//! `local://NAME`: a key in a file, for one machine. Nothing to prepare, and as safe as the file is.
//!
//! A wrapped data key, whose key version is the decimal version of the key in the file:
//!
//! ```text
//!   byte 0     1                                      81
//!        ┌─────┬──────────────────────────────────────┐     crypto::wrap under that version of the key,
//!        │ 01  │ salt (32) ‖ ciphertext (32) ‖ tag (16)│     bound to Context::canonical()
//!        └─────┴──────────────────────────────────────┘
//! ```
//!
//! The key file is drawn in `keyfile.rs`. Its file operations block: they are for when the daemon starts, or reads it again.

mod disk;
mod keyfile;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Context, Kms, Wrapped};
use crate::crypto::{self, Dek, Secret};
use keyfile::KeyFile;

const FORMAT: u8 = 0x01;

/// A key file's key, wiped when it is let go.
type Key = Zeroizing<[u8; 32]>;

/// An opened key file.
pub struct Local {
    uri: String,
    file: PathBuf,
    keys: ArcSwap<BTreeMap<u32, Key>>,
}

impl Local {
    /// The names of the key files in a directory.
    pub fn names(dir: &Path) -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if let (Some(name), true) = (path.file_stem(), path.extension().is_some_and(|end| end == "key")) {
                names.extend(name.to_str().map(ToOwned::to_owned));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens `dir/NAME.key`.
    pub fn open(dir: &Path, name: &str, passphrase: Option<&Secret>) -> Result<Self, Error> {
        let file = path(dir, name)?;
        let keys = disk::read(&file)
            .and_then(|text| KeyFile::parse(&text))
            .and_then(|keyfile| keyfile.keys(keyfile.unlock(passphrase)?.as_ref()));
        match keys {
            Ok(keys) => Ok(Self { uri: format!("local://{name}"), file, keys: ArcSwap::from_pointee(keys) }),
            Err(fault) => Err(fault.of(&file)),
        }
    }

    /// Makes `dir/NAME.key` with one new key in it. Never overwrites one.
    pub fn create(dir: &Path, name: &str, passphrase: Option<&Secret>) -> Result<Self, Error> {
        let file = path(dir, name)?;
        KeyFile::generate(passphrase)
            .and_then(|keyfile| disk::create(&file, &keyfile.render()))
            .map_err(|fault| fault.of(&file))?;
        // Read back: the first use of a key should not be the first to find that its file is of no use.
        Self::open(dir, name, passphrase)
    }

    pub fn open_or_create(dir: &Path, name: &str, passphrase: Option<&Secret>) -> Result<Self, Error> {
        let missing = |error: &Error| matches!(error.fault, Fault::Missing);
        let exists = |error: &Error| matches!(error.fault, Fault::Exists);
        match Self::open(dir, name, passphrase) {
            Err(error) if missing(&error) => match Self::create(dir, name, passphrase) {
                // Somebody else was faster.
                Err(error) if exists(&error) => Self::open(dir, name, passphrase),
                created => created,
            },
            opened => opened,
        }
    }

    /// Opens it, or makes one that is written nowhere: to see that it could be made.
    pub fn open_or_rehearse(dir: &Path, name: &str, passphrase: Option<&Secret>) -> Result<Self, Error> {
        match Self::open(dir, name, passphrase) {
            Err(error) if matches!(error.fault, Fault::Missing) => {
                let file = path(dir, name)?;
                let keys = KeyFile::generate(passphrase)
                    .and_then(|keyfile| keyfile.keys(keyfile.unlock(passphrase)?.as_ref()))
                    .map_err(|fault| fault.of(&file))?;
                Ok(Self { uri: format!("local://{name}"), file, keys: ArcSwap::from_pointee(keys) })
            }
            opened => opened,
        }
    }

    pub fn is_on_disk(&self) -> bool {
        self.file.exists()
    }

    /// Adds a version, which wraps from now on; the older ones still open. A daemon that runs has to read the file again.
    pub fn rotate(dir: &Path, name: &str, passphrase: Option<&Secret>) -> Result<Self, Error> {
        let file = path(dir, name)?;
        let rotated = || -> Result<(), Fault> {
            // Two at once would each write a file without the other's version, and what that has wrapped were lost.
            let _alone = disk::lock(dir)?;
            let mut keyfile = KeyFile::parse(&disk::read(&file)?)?;
            let under = keyfile.unlock(passphrase)?;
            keyfile.keys(under.as_ref())?;
            keyfile.add(under.as_ref())?;
            disk::replace(&file, &keyfile.render())
        };
        rotated().map_err(|fault| fault.of(&file))?;
        Self::open(dir, name, passphrase)
    }

    /// The newest version's number.
    pub fn newest(&self) -> u32 {
        self.keys.load().last_key_value().map_or(0, |(version, _)| *version)
    }

    /// Whether all that this one opens would still open.
    pub fn is_followed_by(&self, newer: &Self) -> Result<(), Error> {
        let newer = newer.keys.load();
        let same = |version, key: &Key| newer.get(version).is_some_and(|now| bool::from(now.ct_eq(&**key)));
        match self.keys.load().iter().find(|(version, key)| !same(*version, key)) {
            Some((version, _)) => Err(Fault::Lost(*version).of(&self.file)),
            None => Ok(()),
        }
    }

    /// Takes the keys of another reading of the same file.
    pub fn follow(&self, newer: &Self) {
        self.keys.store(newer.keys.load_full());
    }

    fn mismatch(&self) -> super::Error {
        super::Error::Mismatch { key: self.uri.clone() }
    }

    fn unavailable(&self, cause: impl ToString) -> super::Error {
        super::Error::Unavailable { key: self.uri.clone(), cause: cause.to_string() }
    }
}

#[async_trait]
impl Kms for Local {
    fn uri(&self) -> &str {
        &self.uri
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, super::Error> {
        let keys = self.keys.load();
        let (version, key) = keys.last_key_value().ok_or_else(|| self.unavailable("the key file is empty"))?;
        let salt = crypto::random().map_err(|error| self.unavailable(error))?;
        let sealed = crypto::wrap(key, salt, &context.canonical(), dek.expose()).map_err(|e| self.unavailable(e))?;
        let bytes = [&[FORMAT], sealed.as_slice()].concat();
        Ok(Wrapped { key: self.uri.clone(), key_version: version.to_string(), bytes })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, super::Error> {
        if wrapped.key != self.uri {
            return Err(self.mismatch());
        }
        let keys = self.keys.load();
        let Some((_, key)) = keys.iter().find(|(version, _)| version.to_string() == wrapped.key_version) else {
            let cause = format!("the key file has no version {}; restore it from a backup", wrapped.key_version);
            return Err(super::Error::Refused { key: self.uri.clone(), cause });
        };
        let Some((&FORMAT, sealed)) = wrapped.bytes.split_first() else { return Err(self.mismatch()) };
        let dek = crypto::unwrap(key, &context.canonical(), sealed).map_err(|_| self.mismatch())?;
        dek.as_ref().try_into().map(Dek::new).map_err(|_| self.mismatch())
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Local({}, {} versions)", self.uri, self.keys.load().len())
    }
}

/// Why there is no key. Names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", file.display())]
pub struct Error {
    pub file: PathBuf,
    pub fault: Fault,
}

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("a key's name has a to z, 0 to 9, - and _, and at most 64 of them")]
    Name,
    #[error("there is no such key file")]
    Missing,
    #[error("there is a key file already; it is not overwritten")]
    Exists,
    #[error("others may read it (mode {mode:04o}); run: chmod 600 '{}'", file.display())]
    Exposed { mode: u32, file: PathBuf },
    #[error("not a regular file; a link is not followed")]
    NotAFile,
    #[error("damaged: {0}; restore it from a backup")]
    Damaged(String),
    #[error("written by a newer strongroom: format {0}")]
    Newer(u32),
    #[error("version {0} is another one or gone, and what it has wrapped would not open; restore it from a backup")]
    Lost(u32),
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    #[error("it is under a passphrase, and none is configured")]
    PassphraseMissing,
    #[error("it is not under a passphrase, though one is configured; is this the right file?")]
    PassphraseUnused,
    #[error("an empty passphrase protects nothing")]
    PassphraseEmpty,
    #[error("the passphrase cannot be hashed: {0}")]
    Hash(argon2::Error),
    #[error("no randomness from the system: {0}")]
    Random(#[from] getrandom::Error),
    #[error("cannot {doing}: {cause}")]
    Io { doing: &'static str, cause: std::io::Error },
}

impl Fault {
    fn of(self, file: &Path) -> Error {
        Error { file: file.to_owned(), fault: self }
    }
}

/// Names become file names: nothing that leads out of the directory.
fn path(dir: &Path, name: &str) -> Result<PathBuf, Error> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err(Fault::Name.of(Path::new(name)));
    }
    Ok(dir.join(format!("{name}.key")))
}

#[cfg(test)]
mod tests;
