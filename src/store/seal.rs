//! How versions are sealed, and what was sealed anew.

use uuid::Uuid;

use crate::crypto::Seal;

/// How a version is sealed, as far as the row tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedAs {
    pub credential: Uuid,
    pub version: u32,
    pub org: String,
    pub provider: String,
    pub seal: Seal,
    /// The blob's first bytes.
    pub head: Vec<u8>,
}

/// A version's blob, sealed anew under the same data key.
#[derive(Clone, PartialEq, Eq)]
pub struct Resealed {
    pub credential: Uuid,
    pub version: u32,
    pub seal: Seal,
    pub blob: Vec<u8>,
}

impl std::fmt::Debug for Resealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resealed({} version {}, {} bytes)", self.credential, self.version, self.blob.len())
    }
}
