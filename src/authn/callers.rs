//! `callers.toml`: who may come in besides those who have an API token.
//!
//! Every proof but an API token says something about somebody (a JWT's claims, a certificate's names, a process's user)
//! and nothing about strongroom. A `[[caller]]` says what it means here: whoever comes `from` that proof and bears all the
//! attributes of `when` is this caller, with this role in this org.
//!
//! ```toml
//! [[caller]]
//! name = "acme-deploy"
//! from = "github"                      # an [[issuer]]'s name, or mtls, or unix
//! when = { repository_id = "4711", ref = ["refs/heads/main", "refs/tags/*"] }
//! role = "pipeline"
//! org = "acme"
//! providers = ["aws_keys"]
//! ```
//!
//! An attribute's value must be one of those listed, to the letter; a `*` at the end, behind `/` or `:`, stands for any
//! rest. Exactly one caller must fit: when two do, nobody comes in, as it is not for us to choose what somebody may do.

mod rules;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use toml::Spanned;
use uuid::Uuid;

use super::jwt::{self, Issuer};
use crate::vault::meant;
use crate::vault::{Principal, Proof};

/// A longer list would hide what is wrong.
const MOST_MISFITS: usize = 5;

/// What a proof says about somebody.
pub type Attributes = BTreeMap<String, String>;

/// The whole file, checked.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    issuers: Vec<Issuer>,
    callers: Vec<Binding>,
    /// Of the file as it was read, in hexadecimal.
    pub digest: String,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    issuer: Vec<Spanned<jwt::Written>>,
    #[serde(default)]
    caller: Vec<Spanned<Binding>>,
}

/// A `[[caller]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// For people and for the log.
    pub name: String,
    /// An issuer's name, `mtls` or `unix`.
    pub from: String,
    /// All of these, each by one of its values.
    pub when: BTreeMap<String, Values>,
    pub role: String,
    /// A tenant, or `*`.
    pub org: String,
    #[serde(default)]
    pub projects: Vec<String>,
    #[serde(default)]
    pub providers: Vec<String>,
    /// Only these actions; empty means all that the role may.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Where it stands in the file.
    #[serde(skip)]
    line: usize,
}

/// One value, or any of several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Values {
    One(String),
    Any(Vec<String>),
}

/// Why nobody is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    None,
    /// More than one fits; their names.
    Ambiguous(Vec<String>),
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {why}", line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct LoadError {
    pub file: String,
    pub line: Option<usize>,
    pub why: String,
}

impl Callers {
    pub fn parse(file: &str, text: &str) -> Result<Self, LoadError> {
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let wrong = |at: Option<usize>, why| LoadError { file: file.to_owned(), line: at.map(line), why };
        let written: File = toml::from_str(text).map_err(|error| {
            wrong(error.span().map(|span| span.start), error.message().trim_end().replace('\n', "; "))
        })?;
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(text));
        let mut all = Self { digest, ..Self::default() };
        for issuer in written.issuer {
            let at = issuer.span().start;
            all.add_issuer(issuer.into_inner()).map_err(|why| wrong(Some(at), why))?;
        }
        for caller in written.caller {
            let at = caller.span().start;
            let caller = Binding { line: line(at), ..caller.into_inner() };
            all.add_caller(caller).map_err(|why| wrong(Some(at), why))?;
        }
        Ok(all)
    }

    /// The files that it names. Apart from [`Callers::parse`], which reads nothing.
    pub fn check_files(&self, file: &str) -> Result<(), LoadError> {
        let wrong = |why| LoadError { file: file.to_owned(), line: None, why };
        self.issuers.iter().try_for_each(|issuer| issuer.check_file().map_err(wrong))
    }

    /// The providers that it names. Apart from [`Callers::parse`], which knows no registry.
    pub fn check_providers(&self, file: &str, known: &BTreeSet<&str>) -> Result<(), LoadError> {
        for caller in &self.callers {
            let mut named = caller.providers.iter().map(String::as_str).filter(|provider| *provider != "*");
            if let Some(unknown) = named.find(|provider| !known.contains(provider)) {
                let meant = meant(unknown, known.iter().copied());
                let why = format!("providers: there is no provider `{unknown}`{meant}");
                return Err(LoadError { file: file.to_owned(), line: Some(caller.line), why });
            }
        }
        Ok(())
    }

    /// Callers who can never come, as the configuration opens no door to them: their name, and where they come from.
    pub fn shut_out(&self, mtls: bool, unix: bool) -> impl Iterator<Item = (&str, &str)> {
        let shut = move |from: &str| (from == super::mtls::FROM && !mtls) || (from == super::unix::FROM && !unix);
        let callers = self.callers.iter().filter(move |caller| shut(&caller.from));
        callers.map(|caller| (caller.name.as_str(), caller.from.as_str()))
    }

    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// Every name that an issuer's claims may have here.
    pub fn attributes(&self) -> BTreeSet<&str> {
        self.issuers.iter().flat_map(Issuer::attributes).collect()
    }

    /// The one caller that comes from there and bears these attributes.
    pub fn find(&self, from: &str, attributes: &Attributes) -> Result<&Binding, Unknown> {
        let fits = |binding: &&Binding| binding.from == from && binding.fits(attributes);
        let found: Vec<&Binding> = self.callers.iter().filter(fits).collect();
        match found.as_slice() {
            [only] => Ok(only),
            [] => Err(Unknown::None),
            several => Err(Unknown::Ambiguous(several.iter().map(|binding| binding.name.clone()).collect())),
        }
    }

    /// For the operator: who comes from there, and by which attribute these do not fit. Names only.
    pub fn misfits(&self, from: &str, attributes: &Attributes) -> Vec<String> {
        let from_there = self.callers.iter().filter(|binding| binding.from == from).take(MOST_MISFITS);
        from_there.map(|binding| format!("{} by {}", binding.name, binding.misfit(attributes))).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }
}

impl Unknown {
    /// In the operator's words.
    pub fn of(&self, who: &str) -> String {
        match self {
            Self::None => format!("no caller of callers.toml is {who}"),
            Self::Ambiguous(names) => format!("more than one caller of callers.toml is {who}: {}", names.join(", ")),
        }
    }
}

impl Binding {
    /// Whoever bears these claims, as this caller.
    pub fn principal(&self, id: String, proof: Proof, claims: Attributes) -> Principal {
        let principal = Principal {
            id,
            name: self.name.clone(),
            role: self.role.clone(),
            org: self.org.clone(),
            projects: self.projects.clone(),
            providers: self.providers.clone(),
            actions: self.actions.clone(),
            proof,
            claims,
            ..Principal::default()
        };
        Principal { known_as: Some(one_value(&principal)), ..principal }
    }

    fn fits(&self, attributes: &Attributes) -> bool {
        self.when.iter().all(|(name, values)| attributes.get(name).is_some_and(|value| values.hold(value)))
    }

    fn misfit(&self, attributes: &Attributes) -> &str {
        let misfit = |(name, values): &(&String, &Values)| !attributes.get(*name).is_some_and(|it| values.hold(it));
        self.when.iter().find(misfit).map_or("", |(name, _)| name)
    }
}

impl Values {
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Any(several) => several,
        };
        all.iter().map(String::as_str)
    }

    fn hold(&self, value: &str) -> bool {
        self.all().any(|one| is_like(one, value))
    }
}

/// The same for the same principal on every connection, and another as soon as anything of it is another.
fn one_value(principal: &Principal) -> Uuid {
    let digest = Sha256::digest(format!("{principal:?}"));
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(first)
}

/// What a pattern's values begin with.
fn pattern(wanted: &str) -> Option<&str> {
    wanted.strip_suffix('*').filter(|start| start.ends_with(['/', ':']))
}

fn is_like(wanted: &str, value: &str) -> bool {
    match pattern(wanted) {
        Some(start) => value.len() > start.len() && value.starts_with(start),
        None => wanted == value,
    }
}

#[cfg(test)]
mod tests;
