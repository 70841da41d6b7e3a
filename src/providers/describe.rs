//! What an entry says about itself to those who fill in a form or read a page.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Field, Provider};

/// How often the provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For each org.
    pub per_minute: u32,
    pub burst: u32,
    /// For all orgs together.
    pub at_once: u32,
}

impl Provider {
    /// How many days old a secret may become before its owner is told.
    pub const fn rotation_days(&self) -> Option<u32> {
        None
    }

    pub const fn limits(&self) -> Option<Limits> {
        None
    }

    /// Variables that programs read, each with a template of its value.
    pub const fn environment(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Groups of fields of which one must be there whole.
    pub const fn either(&self) -> &[Vec<String>] {
        &[]
    }

    /// Whether fields that it does not name are taken.
    pub const fn takes_other_fields(&self) -> bool {
        self.other_fields.is_some()
    }

    /// How a document may be written.
    pub fn document_shapes(&self) -> Vec<&'static str> {
        vec!["json"]
    }

    /// The name under which the whole document may come as if it were a field.
    pub fn document_field(&self) -> Option<&str> {
        self.document.field.as_deref()
    }

    /// The fields that are shown.
    pub fn public_identity(&self) -> &[String] {
        &self.public_identity
    }

    /// The requests of the connection test; empty where there is none.
    pub const fn test_summary(&self) -> Vec<String> {
        Vec::new()
    }

    /// The JSON Schema of each key of the metadata, as it is applied.
    pub const fn metadata_schema(&self) -> &Map<String, Value> {
        &self.metadata.properties
    }
}

impl Field {
    /// Other names for it.
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// token, text or pem.
    pub const fn shape(&self) -> &'static str {
        self.rules.shape.as_str()
    }
}
