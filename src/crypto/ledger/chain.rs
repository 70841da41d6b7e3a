//! The audit log's chain: each record's hash covers the hash before it.
//!
//! ```text
//!   hash(0) = 32 zero bytes
//!   hash(n) = SHA-256( "strongroom audit v1\n" ‖ hash(n-1) ‖ canonical(n) )
//! ```
//!
//! `canonical(n)` is the record's JSON exactly as it is stored: it begins with the instance and the sequence number, so
//! a record can be neither edited nor moved. Whoever can write the database can compute all hashes anew, and a tail that
//! was cut off is not noticed here: against both there are [`super::note`]'s checkpoints.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Hash;

const LABEL: &[u8] = b"strongroom audit v1\n";

/// The hash of a record that follows the one with `before`.
pub fn link(before: &Hash, canonical: &str) -> Hash {
    Sha256::new().chain_update(LABEL).chain_update(before).chain_update(canonical).finalize().into()
}

/// Where a record says that it stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Place {
    pub instance: String,
    pub sequence: u64,
}

impl Place {
    /// None where the text is not a record's.
    pub fn of(canonical: &str) -> Option<Self> {
        serde_json::from_str(canonical).ok()
    }
}
