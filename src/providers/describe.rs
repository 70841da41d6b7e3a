//! What an entry says about itself to those who fill in a form or read a page.

use serde_json::{Map, Value};

use super::{Field, Provider};

impl Provider {
    /// Whether fields that it does not name are taken.
    pub const fn takes_other_fields(&self) -> bool {
        self.other_fields.is_some()
    }

    /// How a document may be written.
    pub fn document_shapes(&self) -> Vec<&'static str> {
        std::iter::once("json").chain(self.document.shapes.iter().map(|shape| shape.as_str())).collect()
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
    pub fn test_summary(&self) -> Vec<String> {
        let steps = self.test.iter().flat_map(|test| &test.steps);
        let mut requests: Vec<String> = steps.map(|step| format!("{} {}", step.method, step.address)).collect();
        requests.dedup();
        if self.owner_test {
            requests.push("what metadata.test says".into());
        }
        requests
    }

    /// The JSON Schema of each key of the metadata, as it is applied.
    pub fn metadata_schema(&self) -> Map<String, Value> {
        self.metadata.properties().cloned().unwrap_or_default()
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
