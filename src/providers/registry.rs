//! The registry: which providers there are.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::nearest::nearest;
use super::{Provider, entry};

/// The providers of one registry file.
#[derive(Debug)]
pub struct Registry {
    /// In the file's order.
    entries: Vec<Arc<Provider>>,
    /// SHA-256 of the file: which registry is in force.
    pub digest: String,
}

/// Why a registry file is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {rule}", .line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct LoadError {
    pub file: String,
    pub line: Option<u64>,
    pub rule: String,
}

impl Registry {
    /// The registry that strongroom is built with.
    pub fn embedded() -> Result<Self, LoadError> {
        Self::parse("config/providers.yml", include_str!("../../config/providers.yml"))
    }

    /// A registry from a file's text; `file` names it in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, LoadError> {
        let flaw = |flaw: entry::Flaw| LoadError { file: file.to_owned(), line: flaw.line, rule: flaw.rule };
        let providers = entry::read(text).map_err(flaw)?;
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(text));
        Ok(Self { entries: providers.into_iter().map(Arc::new).collect(), digest })
    }

    pub fn get(&self, id: &str) -> Option<&Arc<Provider>> {
        self.entries.iter().find(|provider| provider.id == id)
    }

    /// The ids that somebody who asked for `id` may have meant, nearest first.
    pub fn nearest(&self, id: &str) -> Vec<String> {
        nearest(id, self.entries.iter().map(|provider| provider.id.as_str())).into_iter().map(str::to_owned).collect()
    }

    /// What kind of secret a text is, where that can be seen.
    pub fn secret_kind(&self, text: &str) -> Option<&str> {
        self.entries.first()?.lore.secret_kind(text)
    }

    /// In the file's order.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Provider>> {
        self.entries.iter()
    }
}
