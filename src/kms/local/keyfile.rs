//! The key file's text.
//!
//! ```toml
//! format = 1
//!
//! [passphrase]              # only in a file that is under one
//! salt = "…"                # 32 bytes; all bytes are hex
//! memory_kib = 65536        # Argon2id (RFC 9106), version 0x13, 32 bytes of output: the passphrase key
//! passes = 3
//! lanes = 1
//! check = "…"               # check(passphrase key, "passphrase")
//!
//! [[keys]]                  # in ascending order; the newest, which is the last, wraps
//! version = 1
//! key = "…"                 # 32 bytes; under a passphrase: crypto::wrap(passphrase key, text("key") ‖ text("1"))
//! check = "…"               # check(key, "1")
//! ```
//!
//! `check(key, what)` is 16 bytes of `HKDF(ikm = key, salt = "", info = "strongroom/v1/local/check" ‖ text(what))`; the
//! version stands in decimal. It tells a wrong passphrase from a damaged file, and a damaged key before anything is
//! wrapped under it and lost. `text`, `HKDF` and `wrap` are those of [`crate::crypto`]'s picture.

use std::collections::BTreeMap;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Fault, Key};
use crate::crypto::{self, Secret, kdf, put_text};

const FORMAT: u32 = 1;
const CHECK: &[u8] = b"strongroom/v1/local/check";
const PASSPHRASE: &str = "passphrase";

/// RFC 9106's second choice, on one lane. About a fifth of a second, once, at start.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// What a file may ask for. A changed one must not take all memory, or hours, before it is found out.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 16;

const HEADING: &str = "\
# A strongroom key. Who reads this file can open every credential that was sealed under it;
# without it they are lost. Keep a copy, away from the database.
";

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    format: u32,
    passphrase: Option<Passphrase>,
    keys: Vec<Entry>,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Passphrase {
    salt: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    check: String,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: u32,
    key: String,
    check: String,
}

impl KeyFile {
    /// With a first key.
    pub fn generate(passphrase: Option<&Secret>) -> Result<Self, Fault> {
        let mut under = None;
        let mut file = Self { format: FORMAT, passphrase: None, keys: Vec::new() };
        if let Some(passphrase) = passphrase {
            let salt = HEXLOWER.encode(&crypto::random::<32>()?);
            let (memory_kib, passes, lanes) = (MEMORY_KIB, PASSES, LANES);
            let mut asked = Passphrase { salt, memory_kib, passes, lanes, check: String::new() };
            let key = asked.hash(passphrase)?;
            asked.check = check(&key, PASSPHRASE)?;
            file.passphrase = Some(asked);
            under = Some(key);
        }
        file.add(under.as_ref())?;
        Ok(file)
    }

    /// Refuses what is not one. Says where, and never what is there.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let format = toml::from_str::<Format>(text).map_err(|error| damaged_at(text, &error))?.format;
        if format > FORMAT {
            return Err(Fault::Newer(format));
        }
        let file: Self = toml::from_str(text).map_err(|error| damaged_at(text, &error))?;
        if file.format != FORMAT {
            return Err(damaged("its format is unknown"));
        }
        let versions = || file.keys.iter().map(|entry| entry.version);
        if versions().next().is_none_or(|first| first == 0) || !versions().is_sorted_by(|a, b| a < b) {
            return Err(damaged("its key versions are not in ascending order from 1"));
        }
        Ok(file)
    }

    /// The key that the passphrase makes, where the file is under one.
    pub fn unlock(&self, passphrase: Option<&Secret>) -> Result<Option<Key>, Fault> {
        match (&self.passphrase, passphrase) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Fault::PassphraseUnused),
            (Some(_), None) => Err(Fault::PassphraseMissing),
            (Some(asked), Some(passphrase)) => {
                let key = asked.hash(passphrase)?;
                if !checks(&key, PASSPHRASE, &asked.check)? {
                    return Err(Fault::WrongPassphrase);
                }
                Ok(Some(key))
            }
        }
    }

    /// All versions.
    pub fn keys(&self, under: Option<&Key>) -> Result<BTreeMap<u32, Key>, Fault> {
        self.keys.iter().map(|entry| Ok((entry.version, entry.open(under)?))).collect()
    }

    /// A new newest version.
    pub fn add(&mut self, under: Option<&Key>) -> Result<(), Fault> {
        let newest = self.keys.last().map_or(0, |entry| entry.version);
        let version = newest.checked_add(1).ok_or_else(|| damaged("there is no version after its newest"))?;
        let key = Key::new(crypto::random()?);
        let stored = match under {
            None => Zeroizing::new(HEXLOWER.encode(key.as_slice())),
            Some(under) => {
                let wrapped = crypto::wrap(under, crypto::random()?, &context(version), key.as_slice());
                Zeroizing::new(HEXLOWER.encode(&wrapped.map_err(damaged)?))
            }
        };
        self.keys.push(Entry { version, key: stored.to_string(), check: check(&key, &version.to_string())? });
        Ok(())
    }

    pub fn render(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{HEADING}format = {}\n", self.format));
        if let Some(Passphrase { salt, memory_kib, passes, lanes, check }) = &self.passphrase {
            text.push_str(&format!(
                "\n[passphrase]\nsalt = \"{salt}\"\nmemory_kib = {memory_kib}\npasses = {passes}\nlanes = {lanes}\n\
                 check = \"{check}\"\n"
            ));
        }
        for Entry { version, key, check } in &self.keys {
            let entry =
                Zeroizing::new(format!("\n[[keys]]\nversion = {version}\nkey = \"{key}\"\ncheck = \"{check}\"\n"));
            text.push_str(&entry);
        }
        text
    }
}

/// Read first and alone: a newer format may have fields that this one does not know.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Passphrase {
    fn hash(&self, passphrase: &Secret) -> Result<Key, Fault> {
        if passphrase.is_empty() {
            return Err(Fault::PassphraseEmpty);
        }
        if self.memory_kib > MEMORY_KIB_MAX || self.passes > PASSES_MAX || self.lanes > LANES_MAX {
            return Err(damaged("its passphrase costs more than is allowed"));
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| damaged("its passphrase's cost makes no sense"))?;
        let salt = bytes(&self.salt)?;
        let mut key = Key::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose(), &salt, key.as_mut_slice())
            .map_err(Fault::Hash)?;
        Ok(key)
    }
}

impl Entry {
    fn open(&self, under: Option<&Key>) -> Result<Key, Fault> {
        let broken = || damaged(format_args!("version {} of the key is broken", self.version));
        let stored = bytes(&self.key).map_err(|_| broken())?;
        let opened = match under {
            None => Zeroizing::new(stored.as_slice().into()),
            Some(under) => crypto::unwrap(under, &context(self.version), &stored).map_err(|_| broken())?,
        };
        let key = Key::new(opened.as_ref().try_into().map_err(|_| broken())?);
        if checks(&key, &self.version.to_string(), &self.check)? { Ok(key) } else { Err(broken()) }
    }
}

fn context(version: u32) -> Vec<u8> {
    let mut context = Vec::new();
    put_text(&mut context, "key");
    put_text(&mut context, &version.to_string());
    context
}

fn check(key: &Key, what: &str) -> Result<String, Fault> {
    let mut info = CHECK.to_vec();
    put_text(&mut info, what);
    let mut check = [0; 16];
    kdf::fill(key.as_slice(), b"", &[&info], &mut check).map_err(damaged)?;
    Ok(HEXLOWER.encode(&check))
}

fn checks(key: &Key, what: &str, stored: &str) -> Result<bool, Fault> {
    Ok(check(key, what)?.as_bytes().ct_eq(stored.as_bytes()).into())
}

fn bytes(hex: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    HEXLOWER.decode(hex.as_bytes()).map(Zeroizing::new).map_err(|_| damaged("not hex"))
}

fn damaged(what: impl ToString) -> Fault {
    Fault::Damaged(what.to_string())
}

/// The parser's own message would quote the line, which may be the key.
fn damaged_at(text: &str, error: &toml::de::Error) -> Fault {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    damaged(format_args!("line {} is not what a key file has there", before.matches('\n').count() + 1))
}
