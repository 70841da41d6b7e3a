//! The stored format. Pure: no clock, no async, no I/O but the system's randomness in [`random`].

pub mod secret;

pub use secret::Secret;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

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
}

/// Who a ciphertext is. A blob opens only under the identity it was sealed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub org: String,
    pub project: String,
    pub provider: String,
    pub name: String,
    pub credential: Uuid,
    pub version: u32,
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
    #[error("the blob is truncated or too long")]
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
