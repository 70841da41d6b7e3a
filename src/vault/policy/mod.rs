//! Who may do what: Cedar policies, decided at a cost that does not grow with their number.
//!
//! Cedar looks at every policy of a set for every request. Here the policies are indexed by their scope when they are
//! loaded, and a request is decided on the slice that can match it. A decision that reads nothing but caller, action and
//! credential is remembered until one of them changes.

mod entities;
mod memo;
mod slices;

use std::path::PathBuf;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, PolicyId, PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
pub use entities::Resource;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use self::memo::Memo;
use self::slices::Slices;
use crate::vault::{Action, Caller};

const SCHEMA: &str = include_str!("../../../config/policy/schema.cedarschema");
const DEFAULT: &str = include_str!("../../../config/policy/default.cedar");

/// A policy set that fits the schema.
pub struct Policies {
    slices: Slices,
    memo: Memo,
    /// SHA-256 of the sources, for the log: which set is in force.
    pub digest: String,
}

/// Yes or no, and the policies that said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Not for want of a permit: a policy forbids it, or could not be evaluated.
    pub forbidden: bool,
    pub policies: Arc<[String]>,
}

/// Why policies were not taken. The running set stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{file}: {cause}")]
    Read { file: String, cause: std::io::Error },
    #[error("{file}: {rule}")]
    Rule { file: String, rule: String },
    #[error("{0}: no .cedar file in this directory, so nobody could do anything")]
    Empty(String),
}

impl Decision {
    /// By no policy.
    pub fn refused() -> Self {
        Self { allowed: false, forbidden: true, policies: Arc::new([]) }
    }
}

impl Policies {
    /// The least-privilege roles that the program brings along.
    pub fn embedded() -> Result<Self, LoadError> {
        Self::from_sources(vec![("default.cedar".to_owned(), DEFAULT.to_owned())])
    }

    /// Every `*.cedar` file of a directory, in the order of their names.
    pub fn load(directory: &std::path::Path) -> Result<Self, LoadError> {
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
        Self::from_sources(files.into_iter().map(read).collect::<Result<_, _>>()?)
    }

    fn from_sources(sources: Vec<(String, String)>) -> Result<Self, LoadError> {
        let rule = |file: &str, rule: String| LoadError::Rule { file: file.to_owned(), rule };
        let (schema, _) =
            Schema::from_cedarschema_str(SCHEMA).map_err(|e| rule("schema.cedarschema", e.to_string()))?;
        let mut all = PolicySet::new();
        let mut digest = Sha256::new();
        for (file, text) in &sources {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
            let parsed: PolicySet = text.parse().map_err(|e| rule(file, located(&e, text)))?;
            if parsed.templates().next().is_some() {
                return Err(rule(file, "templates are not linked here; write the policy out".to_owned()));
            }
            let validation = Validator::new(schema.clone()).validate(&parsed, ValidationMode::Strict);
            if let Some(error) = validation.validation_errors().next() {
                return Err(rule(file, located(error, text)));
            }
            for (n, policy) in parsed.policies().enumerate() {
                let id = policy.annotation("id").map_or_else(|| format!("{file}#{n}"), ToOwned::to_owned);
                let renamed = policy.new_id(PolicyId::new(&id));
                all.add(renamed).map_err(|_| rule(file, format!("two policies have the id `{id}`")))?;
            }
        }
        let digest = data_encoding::HEXLOWER.encode(&digest.finalize());
        Ok(Self { slices: Slices::new(&all).map_err(|e| rule("policies", e))?, memo: Memo::default(), digest })
    }

    /// Decides. Whatever cannot be evaluated is refused.
    pub fn decide(&self, caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> Decision {
        let Some(key) = memo::key(caller, action, resource, now) else {
            return self.evaluate(caller, action, resource, now).0;
        };
        if let Some(known) = self.memo.get(&key) {
            return known;
        }
        let (decision, lasting) = self.evaluate(caller, action, resource, now);
        if lasting {
            self.memo.put(key, decision.clone());
        }
        decision
    }

    /// Also says whether the decision depends on nothing but its arguments without the time.
    fn evaluate(&self, caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> (Decision, bool) {
        let Ok(scene) = entities::scene(caller, action, resource, now) else {
            return (Decision::refused(), false);
        };
        let slice = self.slices.matching(&scene);
        let Ok(context) = Context::from_pairs([("now".to_owned(), RestrictedExpression::new_datetime(rfc3339(now)))])
        else {
            return (Decision::refused(), false);
        };
        let Ok(request) = Request::new(scene.principal, scene.action, scene.resource, context, None) else {
            return (Decision::refused(), false);
        };
        let response = Authorizer::new().is_authorized(&request, &slice.policies, &scene.entities);
        // A forbid that fails to evaluate must not let through what it was meant to stop.
        let failed = response.diagnostics().errors().next().is_some();
        let allowed = response.decision() == cedar_policy::Decision::Allow && !failed;
        let mut policies: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort_unstable();
        // The reasons of a refusal are the forbids that match.
        let forbidden = !allowed && (failed || !policies.is_empty());
        (Decision { allowed, forbidden, policies: policies.into() }, !slice.reads_context)
    }
}

/// Cedar's datetime literal knows milliseconds.
fn rfc3339(now: Timestamp) -> String {
    format!("{now:.3}")
}

/// An error with the line that it is in, where Cedar knows it.
fn located(error: &(impl miette::Diagnostic + std::fmt::Display), text: &str) -> String {
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    match offset {
        Some(offset) => {
            let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
            format!("line {line}: {error}")
        }
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
