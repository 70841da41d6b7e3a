//! Which names the templates of a test may use, and where.

use std::collections::{BTreeMap, BTreeSet};

use crate::providers::Field;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Shown,
    /// Belongs into headers and bodies: addresses are logged by every server and proxy on the way.
    Secret,
}

/// The names that are known at one point of a test.
pub struct Scope<'a> {
    known: BTreeMap<String, Kind>,
    kept: BTreeSet<String>,
    metadata: &'a [String],
    /// Whether fields may have names that the entry does not know.
    free: bool,
}

impl<'a> Scope<'a> {
    pub fn new(fields: &[Field], free: bool, metadata: &'a [String]) -> Self {
        let kind = |field: &Field| if field.secret { Kind::Secret } else { Kind::Shown };
        let known = fields.iter().map(|field| (field.name.clone(), kind(field))).collect();
        Self { known, kept: BTreeSet::new(), metadata, free }
    }

    pub fn kind(&self, name: &str) -> Result<Kind, String> {
        if let Some(key) = name.strip_prefix("metadata.") {
            let known = self.metadata.iter().any(|known| known == key);
            return if known { Ok(Kind::Shown) } else { Err(format!("there is no metadata key {key}")) };
        }
        match self.known.get(name) {
            Some(kind) => Ok(*kind),
            None if self.free => Ok(Kind::Secret),
            None => Err(format!("nothing here is called {name}")),
        }
    }

    pub fn has_field(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    pub fn add(&mut self, name: &str, kind: Kind) -> Result<(), String> {
        let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !fits {
            return Err("a name is lower-case letters, digits and _, beginning with a letter".into());
        }
        match self.known.insert(name.to_owned(), kind) {
            Some(_) => Err(format!("the name {name} is there already")),
            None => Ok(()),
        }
    }

    /// What an answer told. Steps that stand for each other keep it under one name.
    pub fn keep(&mut self, name: &str) -> Result<(), String> {
        if !self.kept.contains(name) {
            self.add(name, Kind::Secret)?;
            self.kept.insert(name.to_owned());
        }
        Ok(())
    }

    /// An assertion is known to its own step alone.
    pub fn forget(&mut self, name: &str) {
        self.known.remove(name);
    }
}
