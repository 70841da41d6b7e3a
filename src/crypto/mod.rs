//! The stored format. Pure: no clock, no async, no I/O but the system's randomness in [`random`].
//!
//! Whoever can read this page can write a decryptor; `tests/peers/decrypt.py` is one.
//!
//! # A sealed blob, format version 1
//!
//! ```text
//!   byte 0     1      2                 34                66
//!        ┌─────┬──────┬─────────────────┬─────────────────┬──────────────────────────────┐
//!        │ 01  │ seal │ message id      │ commitment      │ body                         │
//!        └─────┴──────┴─────────────────┴─────────────────┴──────────────────────────────┘
//!        version        32 random bytes   32 bytes          seal 01: ciphertext ‖ tag (16)
//!        └───────────────── header, 66 bytes ────────────┘  seal 02: a Fernet token, ASCII
//! ```
//!
//! The identity is not stored in the blob. Who opens it must say whose it is:
//!
//! ```text
//!   text(s)  = u32(length of s in bytes) ‖ s                       s is UTF-8; u32 is big-endian
//!   identity = text(org) ‖ text(project) ‖ text(provider) ‖ text(name)
//!            ‖ credential id (the 16 bytes of its UUID) ‖ u32(version) ‖ byte 0 ‖ byte 1
//! ```
//!
//! Two keys come from the 32-byte data key (DEK), with HKDF-SHA-256 (RFC 5869, extract and expand), 32 bytes each:
//!
//! ```text
//!   commitment  = HKDF(ikm = DEK, salt = message id, info = "strongroom/v1/commitment" ‖ identity)
//!   sealing key = HKDF(ikm = DEK, salt = message id, info = "strongroom/v1/seal" ‖ identity)
//! ```
//!
//! To open: refuse an unknown version, an unknown seal and a body of an impossible length (a plaintext has at most
//! 2^20 bytes, so a body has 16 to 1,048,592 under seal 01 and 100 to 1,398,200 under seal 02); derive the commitment,
//! compare it with the header's in constant time, refuse when it differs; then open the body:
//!
//! ```text
//!   seal 01  AES-256-GCM (SP 800-38D): key = sealing key, nonce = twelve zero bytes,
//!            associated data = header ‖ identity, tag = the last 16 bytes
//!   seal 02  Fernet (github.com/fernet/spec): key = base64url(sealing key). The token is URL-safe base64 with its
//!            padding, in the one canonical spelling: what does not re-encode to the same text is refused.
//!            Its timestamp is written as zero and not looked at: this layer has no clock, and old ciphertext must
//!            open forever.
//! ```
//!
//! # Why this way
//!
//! - **A zero nonce** is safe for a key that seals one message. The salt is a fresh random message id for every seal,
//!   so every seal has its own key, and no pair of key and nonce comes twice. A random 96-bit nonce under a shared key
//!   would be weaker: it collides after 2^48 messages, a message id after 2^128.
//! - **The commitment**: neither GCM nor Fernet commits to its key; one ciphertext can be made to open under two.
//!   Here a blob belongs to one data key and one identity, or to none, and this is known before anything is opened.
//! - **Bound three times**: the identity is in the key, in the commitment and in GCM's associated data, and again in
//!   the context of the KMS wrap (`kms::Context`). A blob moved to another row does not open. Format and seal are part
//!   of the identity, so no blob can be presented as another format's.
//!
//! What this does not hide: the plaintext's length, and all that the row says in its other columns.
//!
//! # Fingerprints
//!
//! ```text
//!   plain  = the first 8 hex digits of SHA-256(secret)
//!   keyed  = "k:" ‖ the first 8 hex digits of HMAC-SHA-256(org key, "strongroom/v1/fingerprint" ‖ 00 ‖ secret)
//!   digest = HMAC-SHA-256(org key, "strongroom/v1/digest" ‖ 00 ‖ secret)
//!   a request's = HMAC-SHA-256(key of `__platform__`, "strongroom/v1/request" ‖ 00 ‖ what it says)
//! ```
//!
//! # Wrapped under a long-term key
//!
//! Where a key that lives long seals many small things ([`wrap()`]; the local KMS and its key file):
//!
//! ```text
//!   salt (32 random bytes) ‖ ciphertext ‖ tag (16)
//!
//!   sealing key = HKDF(ikm = long-term key, salt = salt, info = "strongroom/v1/wrap" ‖ context)
//!   body        = AES-256-GCM: nonce = twelve zero bytes, associated data = salt ‖ context
//! ```

mod aead;
pub mod age;
pub mod backup;
mod envelope;
mod fernet;
pub mod fingerprint;
mod identity;
pub mod kdf;
pub mod ledger;
mod residue;
pub mod secret;
pub mod totp;
mod wrap;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use envelope::{PLAINTEXT_MAX, is_newest, open, seal};
pub use identity::{Identity, put_text};
pub use secret::Secret;
pub use wrap::{unwrap, wrap};

/// How a blob is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seal {
    Aes256Gcm,
    Fernet,
}

impl Seal {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes256gcm",
            Self::Fernet => "fernet",
        }
    }

    /// The stored format's byte 1.
    const fn byte(self) -> u8 {
        match self {
            Self::Aes256Gcm => 0x01,
            Self::Fernet => 0x02,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Aes256Gcm),
            0x02 => Some(Self::Fernet),
            _ => None,
        }
    }
}

/// A data key: fresh for every version, never stored unwrapped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Dek([u8; 32]);

impl Dek {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Dek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dek(32 bytes)")
    }
}

/// Why something did not open. Says which check failed, never with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the blob is not of a known format version")]
    UnknownFormat,
    #[error("the blob's seal is unknown")]
    UnknownSeal,
    #[error("a length is out of bounds: truncated, or too long")]
    Length,
    #[error("the blob is not of this credential, or not under this data key")]
    Commitment,
    #[error("the blob was altered")]
    Altered,
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
