//! The audit log's chain: each record's hash covers the hash before it.
//!
//! ```text
//!   hash(0) = 32 zero bytes
//!   hash(n) = SHA-256( "strongroom audit v1\n" ‖ hash(n-1) ‖ canonical(n) )
//! ```
//!
//! `canonical(n)` is the record's JSON exactly as it is stored: it begins with the instance and the sequence number, so
//! a record can be neither edited nor moved. A tail that was cut off is not noticed here; for that the head's hash must
//! be kept elsewhere.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::row::{Draft, Record};

const LABEL: &[u8] = b"strongroom audit v1\n";

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub instance: String,
    pub sequence: u64,
    pub hash: [u8; 32],
}

#[derive(Serialize)]
struct Out<'a> {
    instance: &'a str,
    sequence: u64,
    #[serde(flatten)]
    draft: &'a Draft,
}

#[derive(Deserialize)]
struct Place {
    instance: String,
    sequence: u64,
}

impl Head {
    /// The end of a chain that has no record yet.
    pub const fn start(instance: String) -> Self {
        Self { instance, sequence: 0, hash: [0; 32] }
    }

    /// Gives a draft its place, moves the end there, and returns the text that stands there now.
    pub fn append(&mut self, draft: &Draft) -> Result<String, serde_json::Error> {
        let sequence = self.sequence + 1;
        let canonical = serde_json::to_string(&Out { instance: &self.instance, sequence, draft })?;
        let hash = link(&self.hash, &canonical);
        (self.sequence, self.hash) = (sequence, hash);
        Ok(canonical)
    }
}

/// The hash of a record that follows the one with `before`.
pub fn link(before: &[u8; 32], canonical: &str) -> [u8; 32] {
    Sha256::new().chain_update(LABEL).chain_update(before).chain_update(canonical).finalize().into()
}

/// Reads a stored record. The text stays as it is: it is what the hash covers.
pub fn read(canonical: String, hash: [u8; 32]) -> Result<Record, serde_json::Error> {
    // Twice over the text is half the work of a flattened struct, which keeps every field aside before it is taken.
    let Place { instance, sequence } = serde_json::from_str(&canonical)?;
    let draft = serde_json::from_str(&canonical)?;
    Ok(Record { instance, sequence, draft, canonical, hash })
}
