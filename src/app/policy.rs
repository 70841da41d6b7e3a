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

use super::rules::vocabulary;
use super::{Error, read};
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
            Some(file) => {
                let name = file.display().to_string();
                let callers = Callers::parse(&name, &read(file)?)?;
                callers.check_providers(&name, &registry.all().map(|provider| provider.id.as_str()).collect())?;
                callers
            }
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
        asked.check_words(&self.known)?;
        explain(&self.policies().map_err(|error| Unasked(error.to_string()))?, asked, Timestamp::now())
    }
}

/// Why a question cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unasked(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a callers.toml at hand, a policy may name what the presets say.
    #[test]
    fn the_schema_knows_what_the_presets_tell() {
        let mut text = String::new();
        for (preset, issuer) in [
            ("github", ""),
            ("gitlab", ""),
            ("kubernetes", "https://cluster.test"),
            ("google", ""),
            ("azure", "https://login.microsoftonline.com/7c9e6679-7425-40de-944b-e07fc1f90ae7/v2.0"),
            ("terraform", ""),
        ] {
            text += &format!("[[issuer]]\nname = \"{preset}\"\npreset = \"{preset}\"\naudience = \"strongroom\"\n");
            if !issuer.is_empty() {
                text += &format!("issuer = \"{issuer}\"\n");
            }
        }
        let callers = Callers::parse("callers.toml", &text).unwrap();
        let names: Vec<&str> =
            callers.attributes().into_iter().filter(|name| !["run", "phase"].contains(name)).collect();
        assert!(names.len() > 40, "{names:?}");
        for name in names.into_iter().chain(["spiffe", "dns", "email", "uid", "gid"]) {
            let text = format!("permit (principal, action, resource) when {{ context.claims has \"{name}\" }};");
            let faults = policy::read(&[("x.cedar".to_owned(), text)], &Vocabulary::default()).faults;
            assert_eq!(faults, [], "{name}");
        }
    }

    /// What is shipped as an example comes to what it says.
    #[test]
    fn the_example_is_what_its_table_says() {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let example = include_str!("../../config/policy/examples/step-up.cedar");
        let sources = [file("default.cedar", policy::DEFAULT), file("step-up.cedar", example)];
        let policies = Policies::from_sources(&sources, &Vocabulary::default()).unwrap();
        let table = include_str!("../../config/policy/examples/step-up.expect.toml");
        let table = Table::parse("step-up.expect.toml", table).unwrap();
        assert_eq!(table.test(&policies, Timestamp::now()), []);
        assert!(table.len() > 15);
    }
}
