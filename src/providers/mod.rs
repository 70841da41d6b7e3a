//! What a credential of each provider looks like, and how it is tested.

pub mod probe;

use std::collections::BTreeMap;

pub use probe::{Outcome, Probe, Probes};

use crate::crypto::Secret;

/// What a customer handed in.
#[derive(Clone, Debug)]
pub enum Upload {
    /// Single fields by name.
    Fields(BTreeMap<String, Secret>),
    /// The file that the provider hands out.
    Document(Secret),
}

/// An upload that passed every check which needs no network.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The key itself where the provider has one secret, canonical JSON where it has several fields.
    pub secret: Secret,
    /// What the upload says about itself and is no secret.
    pub public_identity: BTreeMap<String, String>,
}

/// Why an upload or metadata was refused: the field and the rule, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    pub field: String,
    pub why: String,
}
