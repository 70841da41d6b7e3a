//! The words that policies use. Cedar takes a misspelt id or text for one like any other, and a question for an attribute
//! that there cannot be is answered with no: such a policy never matches, and a `forbid` is none. Here they are faults.

use cedar_policy::Policy;

use super::schema::Known;
use super::source::Vocabulary;
use super::tree;
use crate::providers::nearest;
use crate::store::{CredentialState, Health, Word};

pub const ROLES: [&str; 5] = ["pipeline", "service", "operator", "admin", "grant"];
pub const PROOFS: [&str; 5] = ["token", "jwt", "mtls", "unix", "grant"];

/// Every word that there is.
pub struct Words<'a> {
    schema: &'a Known,
    /// None are known where only the rest is to be checked.
    providers: Option<Vec<&'a str>>,
    states: Vec<&'static str>,
    healths: Vec<&'static str>,
}

impl<'a> Words<'a> {
    pub fn new(known: &'a Vocabulary, schema: &'a Known) -> Self {
        let providers: Vec<&str> = known.providers.iter().map(String::as_str).collect();
        let mut states = all::<CredentialState>();
        states.push("absent");
        Self { schema, providers: (!providers.is_empty()).then_some(providers), states, healths: all::<Health>() }
    }

    /// The words of a policy that nothing bears: each as it stands in the text, and what is wrong with it.
    pub fn unknown(&self, policy: &Policy) -> Result<Vec<(String, String)>, String> {
        let mut faults = Vec::new();
        for uid in policy.entity_literals() {
            let id = uid.id().unescaped();
            let rule = match uid.type_name().basename() {
                "Role" => unknown("role", id, &ROLES),
                "Provider" => self.unknown_provider(id),
                "Project" if !id.contains('/') => {
                    Some(format!("the project `{id}` is never met: write Project::\"ORG/PROJECT\""))
                }
                _ => None,
            };
            faults.extend(rule.map(|rule| (format!("\"{id}\""), rule)));
        }
        for tree::Named { what, text } in tree::named(policy)? {
            let rule = match what.as_str() {
                "principal.role" if !text.is_empty() => unknown("role", &text, &ROLES),
                "context.proof" => unknown("proof", &text, &PROOFS),
                "resource.state" => unknown("state", &text, &self.states),
                "resource.health" => unknown("health", &text, &self.healths),
                "resource.provider" => self.unknown_provider(&text),
                "principal.providers" if text != "*" => self.unknown_provider(&text),
                _ => None,
            };
            faults.extend(rule.map(|rule| (format!("\"{text}\""), rule)));
        }
        for (of, attribute) in tree::asked(policy)? {
            let known = self.schema.attributes(&of);
            let known: Option<Vec<&str>> = known.map(|known| known.iter().map(String::as_str).collect());
            let rule = known.and_then(|known| unknown(&format!("attribute of {of},"), &attribute, &known));
            faults.extend(rule.map(|rule| (attribute, rule)));
        }
        Ok(faults)
    }

    fn unknown_provider(&self, id: &str) -> Option<String> {
        unknown("provider", id, self.providers.as_deref()?)
    }
}

fn all<W: Word>() -> Vec<&'static str> {
    W::ALL.iter().map(|one| one.word()).collect()
}

fn unknown(what: &str, word: &str, known: &[&str]) -> Option<String> {
    if known.contains(&word) {
        return None;
    }
    let hint = match nearest(word, known.iter().copied()).as_slice() {
        [] if known.len() <= 8 => format!("; there are {}", known.join(", ")),
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(", ")),
    };
    Some(format!("there is no {what} `{word}`{hint}"))
}
