//! What a credential of each provider looks like, and how it is tested.
//!
//! ```text
//!   config/providers.yml ──► entry ──► registry ──► Provider
//!                                                     │ parse            upload ─► document, format, checks
//!                                                     │ check_metadata   schema
//!                                                     └ tested by        probe
//! ```
//!
//! Nothing here quotes what a customer sent: an [`Invalid`] names the field and the rule.

mod checks;
mod describe;
mod document;
mod entry;
mod field;
mod format;
mod layout;
mod nearest;
mod pattern;
pub mod probe;
mod registry;
mod schema;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
pub use nearest::{meant, nearest};
pub use probe::{Learned, Limits, Outcome, Probe, Verdict};
pub use registry::{LoadError, Registry};
use serde::Deserialize;

use crate::crypto::{Seal, Secret};

/// An entry of the registry.
#[derive(Debug)]
pub struct Provider {
    pub id: String,
    pub title: String,
    pub category: Category,
    pub class: Class,
    /// In the order in which people should be asked for them.
    pub fields: Vec<Field>,
    pub fingerprint: FingerprintMode,
    pub seal: Seal,
    /// Where its documentation is; empty where there is none.
    pub docs: String,
    /// What programs read it from: the name of each variable, with a template of its value.
    pub environment: BTreeMap<String, String>,
    /// How often it may be asked.
    pub limits: Limits,
    /// How old a secret may become before its owner is told to replace it.
    pub rotation_days: Option<u32>,
    /// The rule for fields that the entry does not name, where it allows them.
    other_fields: Option<format::Rules>,
    refused_fields: BTreeMap<String, String>,
    /// Lists of fields, one of which must be there whole, and nothing of the others.
    pub either: Vec<Vec<String>>,
    document: entry::Document,
    public_identity: Vec<String>,
    checks: Vec<checks::Check>,
    metadata: schema::Schema,
    test: Option<probe::plan::Test>,
    /// Whether the metadata may bring a test of its own.
    owner_test: bool,
    lore: Arc<format::Lore>,
}

/// One field of an upload.
#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub secret: bool,
    pub required: bool,
    /// What it looks like, with invented values.
    pub example: String,
    /// Completes the sentence "must be …".
    pub must_be: Option<String>,
    aliases: Vec<String>,
    only_with: Option<String>,
    /// Follows "is missing: ".
    if_missing: Option<String>,
    rules: format::Rules,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    Cloud,
    GenAi,
    Saas,
}

/// What stands behind a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A secret that is stored.
    LongLived,
    /// A trust; no secret is stored.
    Federated,
    /// Whatever the owner enters.
    Manual,
}

/// How a secret's fingerprint is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FingerprintMode {
    /// SHA-256: for secrets nobody can guess.
    #[default]
    Plain,
    /// HMAC under a key of the org: for what people choose themselves.
    Keyed,
}

/// What a customer handed in.
#[derive(Clone, Debug)]
pub enum Upload {
    /// Single fields by name.
    Fields(BTreeMap<String, Secret>),
    /// The file that the provider hands out.
    Document(Secret),
    /// The file, and fields that its tool keeps elsewhere, such as a key in a file of its own.
    Together(Secret, BTreeMap<String, Secret>),
}

/// An upload that passed every check which needs no network.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The key itself where the provider has one field, canonical JSON where it has several.
    pub secret: Secret,
    /// What the upload says about itself and is no secret.
    pub public_identity: BTreeMap<String, String>,
    /// When the upload itself says that it ends.
    pub expires_at: Option<Timestamp>,
    /// What its owner should know, in a sentence each.
    pub warnings: Vec<String>,
}

/// Why an upload or metadata was refused: the field and the rule, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    pub field: String,
    pub why: String,
}

impl Invalid {
    fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

impl Upload {
    /// How many bytes of it there are to read.
    pub fn size(&self) -> usize {
        let of = |fields: &BTreeMap<String, Secret>| fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        match self {
            Self::Fields(fields) => of(fields),
            Self::Document(document) => document.len(),
            Self::Together(document, fields) => document.len() + of(fields),
        }
    }
}

impl Provider {
    /// Whether an upload may hold a private key, which is work to check.
    pub fn may_hold_a_key(&self) -> bool {
        self.checks.iter().any(|check| check.reads().contains(&"private_key"))
    }

    /// Whether an upload may hold a key that is locked with a passphrase.
    pub fn may_be_locked(&self) -> bool {
        self.fields.iter().any(|field| field.name == checks::PASSPHRASE)
    }

    /// Whether there is a connection test for a credential with this metadata.
    pub fn is_tested(&self, metadata: &probe::Metadata) -> bool {
        self.test.is_some() || (self.owner_test && metadata.contains_key(probe::plan::owner::OWNER_TEST))
    }
}

impl Category {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::GenAi => "genai",
            Self::Saas => "saas",
        }
    }
}

impl Class {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LongLived => "long-lived",
            Self::Federated => "federated",
            Self::Manual => "manual",
        }
    }
}

impl FingerprintMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Keyed => "keyed",
        }
    }
}
