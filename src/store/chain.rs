//! Where a chain ends, and how a record gets its place in it. The chain itself is [`crate::crypto::ledger::chain`].

use serde::Serialize;

use super::row::{Draft, Record};
use crate::crypto::ledger::Hash;
use crate::crypto::ledger::chain::Place;
pub use crate::crypto::ledger::chain::link;

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub instance: String,
    pub sequence: u64,
    pub hash: Hash,
}

#[derive(Serialize)]
struct Out<'a> {
    instance: &'a str,
    sequence: u64,
    #[serde(flatten)]
    draft: &'a Draft,
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

/// Reads a stored record. The text stays as it is: it is what the hash covers.
pub fn read(canonical: String, hash: Hash) -> Result<Record, serde_json::Error> {
    // Twice over the text is half the work of a flattened struct, which keeps every field aside before it is taken.
    let Place { instance, sequence } = serde_json::from_str(&canonical)?;
    let draft = serde_json::from_str(&canonical)?;
    Ok(Record { instance, sequence, draft, canonical, hash })
}
