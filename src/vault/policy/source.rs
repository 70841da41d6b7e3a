//! Policy files, read: every policy with the place where it stands, and everything that is wrong with them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use cedar_policy::{Policy, PolicyId, PolicySet, ValidationMode, Validator};
use sha2::{Digest as _, Sha256};

use super::schema;
use super::words::Words;
use crate::providers::Registry;

/// What there is for policies to name, beside what the schema says.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Names of claims that the configuration made, besides those of the schema.
    pub claims: BTreeSet<String>,
    pub providers: BTreeSet<String>,
}

impl Vocabulary {
    pub fn of(registry: &Registry) -> Self {
        Self { claims: BTreeSet::new(), providers: registry.all().map(|provider| provider.id.clone()).collect() }
    }

    #[must_use]
    pub fn with_claims(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.claims.extend(names);
        self
    }

    /// Every name that a claim can have, the schema's own too.
    pub fn all_claims(&self) -> Result<BTreeSet<String>, String> {
        let known = schema::Known::with_claims(&self.claims)?;
        Ok(known.attributes("context.claims").cloned().unwrap_or_default())
    }
}

/// A policy where it stands.
#[derive(Clone, Debug)]
pub struct Placed {
    pub id: String,
    pub file: String,
    pub line: usize,
    pub policy: Policy,
}

impl Placed {
    /// As it is written.
    pub fn text(&self) -> String {
        self.policy.to_cedar().unwrap_or_default()
    }
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {rule}", .line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct Fault {
    pub file: String,
    pub line: Option<usize>,
    pub rule: String,
}

/// Why policies were not taken. The running set stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{file}: {cause}")]
    Read { file: String, cause: std::io::Error },
    #[error("{first}{}", and_more(*.others))]
    Wrong { first: Fault, others: usize },
    #[error("{0}: no .cedar file in this directory, so nobody could do anything")]
    Empty(String),
}

fn and_more(others: usize) -> String {
    if others == 0 { String::new() } else { format!("; and {others} more: `strongroom policy check` tells all") }
}

/// What was read.
pub struct Reading {
    pub policies: Vec<Placed>,
    /// None of the policies is taken when there is one.
    pub faults: Vec<Fault>,
    /// What is valid and surely not meant.
    pub warnings: Vec<Fault>,
    /// SHA-256 of the sources.
    pub digest: String,
}

impl Reading {
    /// All policies, or why not.
    pub fn sound(self) -> Result<(Vec<Placed>, String), LoadError> {
        let others = self.faults.len().saturating_sub(1);
        match self.faults.into_iter().next() {
            Some(first) => Err(LoadError::Wrong { first, others }),
            None => Ok((self.policies, self.digest)),
        }
    }
}

/// The name and the text of every `*.cedar` file of a directory, in the order of their names.
pub fn files(directory: &Path) -> Result<Vec<(String, String)>, LoadError> {
    let shown = directory.display().to_string();
    let unreadable = |file: &str| {
        let file = file.to_owned();
        move |cause| LoadError::Read { file, cause }
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable(&shown))? {
        let path = entry.map_err(unreadable(&shown))?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(LoadError::Empty(shown));
    }
    files.sort();
    let read = |path: PathBuf| {
        let file = path.display().to_string();
        std::fs::read_to_string(&path).map(|text| (file.clone(), text)).map_err(unreadable(&file))
    };
    files.into_iter().map(read).collect()
}

/// Reads all and stops at nothing.
pub fn read(sources: &[(String, String)], known: &Vocabulary) -> Reading {
    let mut reading = Reading { policies: Vec::new(), faults: Vec::new(), warnings: Vec::new(), digest: String::new() };
    let schema = match schema::Known::with_claims(&known.claims) {
        Ok(schema) => schema,
        Err(rule) => {
            reading.faults.push(Fault { file: "schema.cedarschema".to_owned(), line: None, rule });
            return reading;
        }
    };
    let words = Words::new(known, &schema);
    let validator = Validator::new(schema.schema.clone());
    let mut digest = Sha256::new();
    let mut places: HashMap<String, (String, usize)> = HashMap::new();
    for (file, text) in sources {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
        for placed in read_file(file, text, &validator, &words, &mut reading) {
            let place = (placed.file.clone(), placed.line);
            match places.insert(placed.id.clone(), place) {
                None => reading.policies.push(placed),
                Some((other, line)) => reading.faults.push(Fault {
                    rule: format!("two policies have the id `{}`; the other is at {other}:{line}", placed.id),
                    file: placed.file,
                    line: Some(placed.line),
                }),
            }
        }
    }
    reading.digest = data_encoding::HEXLOWER.encode(&digest.finalize());
    reading
}

fn read_file(file: &str, text: &str, validator: &Validator, words: &Words<'_>, reading: &mut Reading) -> Vec<Placed> {
    let fault = |line, rule| Fault { file: file.to_owned(), line, rule };
    let parsed: PolicySet = match text.parse() {
        Ok(parsed) => parsed,
        Err(errors) => {
            let errors: cedar_policy::ParseErrors = errors;
            reading.faults.extend(errors.iter().map(|error| fault(line_of(error, text), error.to_string())));
            return Vec::new();
        }
    };
    if let Some(template) = parsed.templates().next() {
        let line = text.find(&template.to_cedar()).map(|at| line_at(text, at));
        reading.faults.push(fault(line, "templates are not linked here; write the policy out".to_owned()));
        return Vec::new();
    }
    let validated = validator.validate(&parsed, ValidationMode::Strict);
    let errors = validated.validation_errors().map(|error| fault(line_of(error, text), said(error)));
    reading.faults.extend(errors);
    let warnings = validated.validation_warnings().map(|warning| fault(line_of(warning, text), said(warning)));
    reading.warnings.extend(warnings);

    let mut placed = Vec::new();
    let mut from = 0;
    for (n, policy) in parsed.policies().enumerate() {
        let own = policy.to_cedar().unwrap_or_default();
        let start = text[from..].find(&own).map_or(from, |at| from + at);
        from = start + own.len();
        let place = |word: &str| Some(line_at(text, start + own.find(word).unwrap_or_default()));
        match words.unknown(policy) {
            Ok(unknown) => reading.faults.extend(unknown.into_iter().map(|(word, rule)| fault(place(&word), rule))),
            Err(rule) => reading.faults.push(fault(place(""), rule)),
        }
        let id = policy.annotation("id").map_or_else(|| format!("{file}#{n}"), ToOwned::to_owned);
        let policy = policy.new_id(PolicyId::new(&id));
        placed.push(Placed { id, file: file.to_owned(), line: line_at(text, start), policy });
    }
    placed
}

/// Cedar's own words name a policy by its place in the file, which the line tells better.
fn said(error: &(impl miette::Diagnostic + std::fmt::Display)) -> String {
    let said = error.to_string();
    let said = match said.split_once("`, ") {
        Some((start, rest)) if start.starts_with("for policy `") => rest.to_owned(),
        _ => said,
    };
    match error.help() {
        Some(help) => format!("{said}; {help}"),
        None => said,
    }
}

/// Where an error is, where Cedar knows it.
fn line_of(error: &impl miette::Diagnostic, text: &str) -> Option<usize> {
    error.labels().and_then(|mut labels| labels.next()).map(|label| line_at(text, label.offset()))
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
