//! The test that a credential's owner writes into its metadata: one request to a constant address. Whether that address
//! may be asked is the configuration's to say, when the test is made.
//!
//! An owner is not trusted as the registry is. No error quotes what they wrote, for people paste secrets anywhere.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_saphyr::{Location, Spanned};

use super::Step;
use super::compile::{Compiler, Fault};
use super::entry;
use super::scope::Scope;
use crate::providers::{Invalid, Provider};

/// The key of the metadata.
pub const OWNER_TEST: &str = "test";

/// Each pattern and all of them are small: they are compiled again for every test, and any org may write them.
const PATTERN_BYTES: usize = 16 * 1024;
const LONGEST_PATTERN: usize = 200;
const MOST_PATTERNS: usize = 16;
const MOST_ENTRIES: usize = 16;
const LONGEST_NAME: usize = 64;

impl Provider {
    /// The owner's test, ready to run. The error's field is the path into the metadata.
    pub fn owner_test(&self, written: &Value) -> Result<Step, Invalid> {
        if let Some(kind) = self.secret_in(written) {
            return Err(invalid("", format!("holds what looks like {kind}; write {{name}} where a field belongs")));
        }
        let step = step(written)?;
        measure(&step)?;
        let scope = Scope::new(&self.fields, self.other_fields.is_some(), self.metadata.keys());
        let mut compiler = Compiler { scope, pattern_bytes: PATTERN_BYTES };
        let place = Spanned::new((), Location::UNKNOWN, Location::UNKNOWN);
        let step = compiler.step(&step, &place).map_err(|Fault { path, rule, .. }| invalid(&path, rule))?;
        if step.address.constant_host().is_none() {
            return Err(invalid("get", "must name its host without a template"));
        }
        Ok(step)
    }

    /// Word by word, for a secret seldom stands alone in a header.
    fn secret_in(&self, written: &Value) -> Option<&str> {
        match written {
            Value::String(text) => text.split_whitespace().find_map(|word| self.lore.secret_kind(word)),
            Value::Array(list) => list.iter().find_map(|inner| self.secret_in(inner)),
            Value::Object(map) => {
                map.iter().find_map(|(name, inner)| self.lore.secret_kind(name).or_else(|| self.secret_in(inner)))
            }
            _ => None,
        }
    }
}

fn step(written: &Value) -> Result<entry::Step, Invalid> {
    let Value::Object(members) = written else { return Err(invalid("", "must be an object: one step of a test")) };
    if !members.keys().all(|name| PARTS.contains(&name.as_str())) {
        return Err(invalid(
            "",
            format!("has a part that an owner's test has not; its parts are {}", PARTS.join(", ")),
        ));
    }
    let answers = match members.get("answers") {
        None => Vec::new(),
        Some(Value::Array(list)) => {
            let numbered = list.iter().enumerate();
            numbered.map(|(number, answer)| read(answer, &format!("answers.{number}"))).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(invalid("answers", "must be a list")),
    };
    Ok(entry::Step {
        get: part(members, "get")?,
        post: part(members, "post")?,
        headers: part(members, "headers")?.unwrap_or_default(),
        json: part(members, "json")?,
        identity: part(members, "identity")?.unwrap_or_default(),
        answers,
        ..entry::Step::default()
    })
}

const PARTS: [&str; 6] = ["get", "post", "headers", "json", "answers", "identity"];

fn part<T: DeserializeOwned>(members: &Map<String, Value>, name: &str) -> Result<Option<T>, Invalid> {
    members.get(name).map(|written| read(written, name)).transpose()
}

/// The library's own words would quote what is there.
fn read<T: DeserializeOwned>(written: &Value, path: &str) -> Result<T, Invalid> {
    T::deserialize(written).map_err(|_| invalid(path, "is not written as the tests of config/providers.yml are"))
}

fn measure(step: &entry::Step) -> Result<(), Invalid> {
    for (path, entries) in
        [("headers", step.headers.len()), ("answers", step.answers.len()), ("identity", step.identity.len())]
    {
        if entries > MOST_ENTRIES {
            return Err(invalid(path, format!("must have at most {MOST_ENTRIES} entries")));
        }
    }
    let names = step.identity.keys();
    if names.into_iter().any(|name| name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control))
    {
        return Err(invalid("identity", format!("must have names of 1 to {LONGEST_NAME} bytes")));
    }
    let mut patterns = 0;
    for (number, answer) in step.answers.iter().enumerate() {
        let path = format!("answers.{number}");
        for (_, pattern) in answer.at.iter().chain(&answer.headers) {
            patterns += 1;
            if pattern.value.len() > LONGEST_PATTERN {
                return Err(invalid(&path, format!("must have patterns of at most {LONGEST_PATTERN} bytes")));
            }
        }
        if answer.lacks.len() > MOST_ENTRIES || answer.status.len() > MOST_ENTRIES {
            return Err(invalid(&path, format!("must have lists of at most {MOST_ENTRIES} entries")));
        }
    }
    if patterns > MOST_PATTERNS {
        return Err(invalid("answers", format!("must have at most {MOST_PATTERNS} patterns together")));
    }
    Ok(())
}

fn invalid(path: &str, why: impl Into<String>) -> Invalid {
    let dot = if path.is_empty() { "" } else { "." };
    Invalid::new(format!("metadata.{OWNER_TEST}{dot}{path}"), why)
}

#[cfg(test)]
mod tests;
