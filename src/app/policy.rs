//! Policies on the table: read from files and asked, with no daemon and nothing served. What `strongroom policy` does
//! without a server.

mod ask;
mod check;
mod expect;
pub mod template;

use std::path::Path;

pub use ask::{Asked, Imagined, explain};
pub use check::{Checked, Found};
pub use expect::{Failed, Table};
use jiff::Timestamp;

use super::{Error, read, vocabulary};
use crate::authn::Callers;
use crate::pb::v1::ExplainPolicyResponse;
use crate::providers::Registry;
use crate::vault::Policies;
use crate::vault::policy::{self, Vocabulary};

/// A set of policies as its files are now, and what they may name.
pub struct Workbench {
    sources: Vec<(String, String)>,
    known: Vocabulary,
}

impl Workbench {
    /// The policies of a directory, or those that the program brings along.
    pub fn open(directory: Option<&Path>, callers: Option<&Path>, providers: Option<&Path>) -> Result<Self, Error> {
        let registry = match providers {
            None => Registry::embedded()?,
            Some(file) => Registry::parse(&file.display().to_string(), &read(file)?)?,
        };
        let callers = match callers {
            None => Callers::default(),
            Some(file) => Callers::parse(&file.display().to_string(), &read(file)?)?,
        };
        let sources = directory.map_or_else(|| Ok(Policies::embedded_sources()), policy::files)?;
        Ok(Self { sources, known: vocabulary(&registry, &callers) })
    }

    /// Everything that is wrong with them, and what is surely not meant.
    pub fn check(&self) -> Checked {
        check::check(&self.sources, &self.known)
    }

    pub fn policies(&self) -> Result<Policies, Error> {
        Ok(Policies::from_sources(&self.sources, &self.known)?)
    }

    pub fn explain(&self, asked: &Asked) -> Result<ExplainPolicyResponse, Unasked> {
        explain(&self.policies().map_err(|error| Unasked(error.to_string()))?, asked, Timestamp::now())
    }
}

/// Why a question cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unasked(pub String);
