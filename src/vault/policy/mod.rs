//! Who may do what: Cedar policies, decided at a cost that does not grow with their number.
//!
//! Cedar looks at every policy of a set for every request. Here the policies are indexed by their scope when they are
//! loaded, and a request is decided on the slice that can match it. A decision that reads nothing but caller, action and
//! credential is remembered until one of them changes; what a caller's proof says is part of the caller, the moment is not.
//!
//! A refusal that a second factor or an approval would turn is told as that. For a name that nobody bears the same is
//! asked: what a second factor would not open tells nothing of what is there.

mod context;
mod entities;
mod explain;
mod memo;
mod schema;
mod slices;
mod source;
mod tree;
mod words;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cedar_policy::{Authorizer, Request};
pub use entities::Resource;
pub use explain::{Cited, Explanation};
use jiff::Timestamp;
pub use source::{Fault, LoadError, Placed, Reading, Vocabulary, files, read};
pub use tree::{Named, named};
pub use words::ROLES;

use self::context::Granted;
use self::memo::Memo;
use self::slices::{Slice, Slices};
use crate::vault::{Action, Caller};

pub const DEFAULT: &str = include_str!("../../../config/policy/default.cedar");

/// A policy set that fits the schema.
pub struct Policies {
    slices: Slices,
    memo: Memo,
    /// Some policy may read whether a second person has agreed. Says yes too often rather than too seldom.
    pub weighs_approvals: bool,
    placed: BTreeMap<String, Placed>,
    /// SHA-256 of the sources, for the log: which set is in force.
    pub digest: String,
}

/// What becomes of a request, and the policies that said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub policies: Arc<[String]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Allowed,
    /// Refused, and allowed with a fresh second factor, at the latest with an approval too.
    NeedsStepUp,
    /// Refused, and allowed once somebody else approves.
    NeedsApproval,
    Refused,
}

impl Decision {
    pub fn refused(policies: Vec<String>) -> Self {
        Self { verdict: Verdict::Refused, policies: policies.into() }
    }

    pub const fn is_allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Allowed)
    }
}

impl Policies {
    /// The least-privilege roles that the program brings along.
    pub fn embedded() -> Result<Self, LoadError> {
        Self::from_sources(&Self::embedded_sources(), &Vocabulary::default())
    }

    /// Every `*.cedar` file of a directory, in the order of their names.
    pub fn load(directory: &Path, known: &Vocabulary) -> Result<Self, LoadError> {
        Self::from_sources(&source::files(directory)?, known)
    }

    pub fn embedded_sources() -> Vec<(String, String)> {
        vec![("default.cedar".to_owned(), DEFAULT.to_owned())]
    }

    pub fn from_sources(sources: &[(String, String)], known: &Vocabulary) -> Result<Self, LoadError> {
        let (placed, digest) = source::read(sources, known).sound()?;
        let unusable = |rule| {
            let first = Fault { file: "policies".to_owned(), line: None, rule };
            LoadError::Wrong { first, others: 0 }
        };
        let slices = Slices::new(placed.iter().map(|placed| &placed.policy)).map_err(unusable)?;
        let placed = placed.into_iter().map(|placed| (placed.id.clone(), placed)).collect();
        let weighs_approvals = sources.iter().any(|(_, text)| text.contains("approved"));
        Ok(Self { slices, memo: Memo::default(), weighs_approvals, placed, digest })
    }

    /// Where a policy of the set stands.
    pub fn placed(&self, id: &str) -> Option<&Placed> {
        self.placed.get(id)
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

    pub fn allow(&self, caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> bool {
        self.decide(caller, action, resource, now).verdict == Verdict::Allowed
    }

    /// Also says whether the decision depends on nothing of the moment.
    fn evaluate(&self, caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> (Decision, bool) {
        let Ok(scene) = entities::scene(caller, action, resource, now) else {
            return (Decision::refused(Vec::new()), false);
        };
        let slice = self.slices.matching(&scene);
        let Ok((allowed, policies)) = ask(&scene, &slice, caller, now, Granted::default()) else {
            return (Decision::refused(Vec::new()), false);
        };
        let mut decision = Decision::refused(policies);
        if allowed {
            decision.verdict = Verdict::Allowed;
        } else if slice.reads.more {
            let with = |granted| matches!(ask(&scene, &slice, caller, now, granted), Ok((true, _)));
            // The second factor first, where both are needed: nobody asks a second person with a stolen token, and no
            // approval is spent on a request that lacks a code.
            if with(Granted { step_up: true, approval: false }) {
                decision.verdict = Verdict::NeedsStepUp;
            } else if with(Granted { step_up: false, approval: true }) {
                decision.verdict = Verdict::NeedsApproval;
            } else if with(Granted { step_up: true, approval: true }) {
                decision.verdict = Verdict::NeedsStepUp;
            }
        }
        (decision, !slice.reads.moment)
    }
}

/// Asks Cedar: yes or no, and the policies that said so.
fn ask(
    scene: &entities::Scene,
    slice: &Slice,
    caller: &Caller,
    now: Timestamp,
    granted: Granted,
) -> Result<(bool, Vec<String>), Box<dyn std::error::Error>> {
    let context = context::context(caller, now, granted, slice.reads)?;
    let (principal, action, resource) = (scene.principal.clone(), scene.action.clone(), scene.resource.clone());
    let request = Request::new(principal, action, resource, context, None)?;
    let response = Authorizer::new().is_authorized(&request, &slice.policies, &scene.entities);
    // A forbid that fails to evaluate must not let through what it was meant to stop.
    let allowed =
        response.decision() == cedar_policy::Decision::Allow && response.diagnostics().errors().next().is_none();
    let mut policies: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
    policies.sort_unstable();
    Ok((allowed, policies))
}

#[cfg(test)]
mod tests;
