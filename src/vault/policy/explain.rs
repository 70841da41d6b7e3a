//! Why a request is allowed or refused, and what would change that. Decides nothing: it asks the same policies again, one
//! at a time and a condition at a time.

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Context, Effect, Policy, PolicySet, Request};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::context::{self, Granted};
use super::entities::{self, Resource, Scene};
use super::tree::{self, Reads};
use super::{Policies, Verdict, words};
use crate::vault::{Action, Caller, Principal, StepUp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: Verdict,
    /// The policies that said so.
    pub decisive: Vec<Cited>,
    /// Permits for this caller, action and resource whose conditions do not hold.
    pub almost: Vec<Cited>,
    /// What would have it allowed; each is enough.
    pub remedies: Vec<String>,
}

/// A policy with what matters of it here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cited {
    pub id: String,
    pub effect: &'static str,
    pub file: String,
    pub line: usize,
    pub text: String,
    /// The conditions that do not hold, as Cedar writes them.
    pub unmet: Vec<String>,
}

impl Explanation {
    /// For whoever may know what decides, and not all that it says.
    #[must_use]
    pub fn without_text(mut self) -> Self {
        for cited in self.decisive.iter_mut().chain(&mut self.almost) {
            cited.file.clear();
            cited.text.clear();
            cited.unmet.clear();
        }
        self.remedies.retain(|remedy| PLAIN.contains(&remedy.as_str()));
        self
    }
}

/// The remedies that name nothing that a policy names.
const PLAIN: [&str; 4] = [FACTOR, APPROVAL, BOTH, SCOPE];
const SCOPE: &str = "a proof that is not limited to other actions";
const FACTOR: &str = "a fresh second factor";
const APPROVAL: &str = "an approval by somebody else";
const BOTH: &str = "a fresh second factor and an approval by somebody else";

/// What may be tried at most: each costs a decision.
const MOST_REMEDIES: usize = 200;

impl Policies {
    pub fn explain(&self, caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> Explanation {
        let decision = self.evaluate(caller, action, resource, now).0;
        let mut told =
            Explanation { verdict: decision.verdict, decisive: Vec::new(), almost: Vec::new(), remedies: Vec::new() };
        let own = &caller.principal.actions;
        if !own.is_empty() && !own.iter().any(|one| one == action.as_str()) {
            // No policy allows what a proof is not for.
            return Explanation { verdict: Verdict::Refused, remedies: vec![SCOPE.to_owned()], ..told };
        }
        told.decisive = decision.policies.iter().filter_map(|id| self.cite(id)).collect();
        if decision.verdict == Verdict::Allowed {
            return told;
        }
        let asked = entities::scene(caller, action, resource, now);
        let context = context::context(caller, now, Granted::default(), Reads::ALL);
        if let (Ok(scene), Ok(context)) = (asked, context) {
            let slice = self.slices.matching(&scene);
            for policy in slice.policies.policies() {
                let Some(unmet) = unmet(policy, &scene, &context) else { continue };
                let Some(cited) = self.cite(policy.id().as_ref()) else { continue };
                match policy.effect() {
                    Effect::Permit if !unmet.is_empty() => told.almost.push(Cited { unmet, ..cited }),
                    // Cannot be evaluated, and stops what it might have been meant to stop.
                    Effect::Forbid if unmet.iter().any(|it| it.starts_with(BROKEN)) => {
                        told.decisive.push(Cited { unmet, ..cited });
                    }
                    _ => {}
                }
            }
            told.almost.sort_by(|a, b| a.id.cmp(&b.id));
            told.remedies = self.remedies(caller, action, resource, now, slice.policies.policies());
        }
        told
    }

    fn cite(&self, id: &str) -> Option<Cited> {
        let placed = self.placed(id)?;
        let effect = if placed.policy.effect() == Effect::Permit { "permit" } else { "forbid" };
        let (id, file, line, text) = (placed.id.clone(), placed.file.clone(), placed.line, placed.text());
        Some(Cited { id, effect, file, line, text, unmet: Vec::new() })
    }

    /// Tries what the caller could have been or brought instead, one thing at a time, with the values that the policies
    /// themselves name.
    fn remedies<'a>(
        &self,
        caller: &Caller,
        action: Action,
        resource: Resource<'_>,
        now: Timestamp,
        policies: impl Iterator<Item = &'a Policy>,
    ) -> Vec<String> {
        let mut tries: Vec<(String, Caller)> = Vec::new();
        let with = |change: &dyn Fn(&mut Principal)| {
            let mut principal = Principal::clone(&caller.principal);
            change(&mut principal);
            Caller { principal: principal.into(), ..caller.clone() }
        };
        let mut fresh = caller.clone();
        fresh.circumstances.step_up = Some(StepUp { at: now, method: "totp".to_owned() });
        let mut approved = caller.clone();
        approved.circumstances.approval = Some(uuid::Uuid::nil());
        let mut both = fresh.clone();
        both.circumstances.approval = approved.circumstances.approval;
        tries.push((FACTOR.to_owned(), fresh));
        tries.push((APPROVAL.to_owned(), approved));
        tries.push((BOTH.to_owned(), both));
        let named: BTreeSet<tree::Named> = policies.filter_map(|policy| tree::named(policy).ok()).flatten().collect();
        for tree::Named { what, text } in &named {
            let tried = match what.as_str() {
                "context.phase" => with(&|who| who.phase.clone_from(text)),
                "context.run" => with(&|who| who.run.clone_from(text)),
                what => match what.strip_prefix("context.claims.") {
                    Some(claim) => with(&|who| drop(who.claims.insert(claim.to_owned(), text.clone()))),
                    None => continue,
                },
            };
            let what = what.trim_start_matches("context.").trim_start_matches("principal.");
            tries.push((format!("{} `{text}`", what.replace("claims.", "the claim ")), tried));
        }
        for proof in words::PROOFS {
            if let Some(proof) = crate::vault::Proof::read(proof) {
                tries.push((format!("a proof by {}", proof.as_str()), with(&|who| who.proof = proof)));
            }
        }
        let path = match resource {
            Resource::Org(_) => None,
            Resource::Absent(path) => Some(path),
            Resource::Credential(it) => Some(&it.path),
        };
        if let Some(path) = path {
            let provider = format!("the provider `{}` among the caller's own", path.provider);
            tries.push((provider, with(&|who| who.providers.push(path.provider.clone()))));
            let project = format!("the project `{}` among the caller's own", path.project);
            tries.push((project, with(&|who| who.projects.push(path.project.clone()))));
        }
        let org = match resource {
            Resource::Org(org) => org,
            Resource::Absent(path) => &path.org,
            Resource::Credential(it) => &it.path.org,
        };
        tries.push((format!("the org `{org}`"), with(&|who| org.clone_into(&mut who.org))));
        // Nobody is given the role of a grant.
        for role in words::ROLES.into_iter().filter(|role| *role != "grant") {
            tries.push((format!("the role `{role}`"), with(&|who| role.clone_into(&mut who.role))));
        }
        let helps = |tried: &Caller| self.evaluate(tried, action, resource, now).0.verdict == Verdict::Allowed;
        let mut helped: Vec<String> = Vec::new();
        for (what, tried) in tries.into_iter().take(MOST_REMEDIES) {
            let is_news = tried.principal != caller.principal || tried.circumstances != caller.circumstances;
            // Both together only where neither alone is enough.
            let is_spare = what == BOTH && !helped.is_empty();
            if is_news && !is_spare && !helped.contains(&what) && helps(&tried) {
                helped.push(what);
            }
        }
        helped
    }
}

const BROKEN: &str = "cannot be evaluated: ";

/// The conditions of a policy that do not hold; none when its scope does not match at all.
fn unmet(policy: &Policy, scene: &Scene, context: &Context) -> Option<Vec<String>> {
    let mut whole = policy.to_json().ok()?;
    let conditions = whole.get_mut("conditions").map(Value::take).unwrap_or_default();
    whole["effect"] = json!("permit");
    whole["conditions"] = json!([]);
    if holds(&whole, scene, context) != Some(true) {
        return None;
    }
    let mut unmet = Vec::new();
    for condition in conditions.as_array().into_iter().flatten() {
        let is_unless = condition.get("kind").is_some_and(|kind| kind == "unless");
        let body = condition.get("body").cloned().unwrap_or_default();
        let parts = if is_unless { vec![body] } else { conjuncts(body) };
        let before = unmet.len();
        for part in parts {
            let alone = json!({
                "effect": "permit", "principal": { "op": "All" }, "action": { "op": "All" }, "resource": { "op": "All" },
                "conditions": [{ "kind": "when", "body": part }],
            });
            let shown = shown(&alone);
            match holds(&alone, scene, context) {
                Some(true) if is_unless => unmet.push(format!("not ({shown})")),
                Some(false) if !is_unless => unmet.push(shown),
                // What cannot be asked since the part before it does not hold says nothing new.
                None if unmet.len() == before => unmet.push(format!("{BROKEN}{shown}")),
                _ => {}
            }
        }
    }
    Some(unmet)
}

/// `a && b && c`, apart.
fn conjuncts(body: Value) -> Vec<Value> {
    match body.get("&&").and_then(|and| Some((and.get("left")?.clone(), and.get("right")?.clone()))) {
        Some((left, right)) => conjuncts(left).into_iter().chain(conjuncts(right)).collect(),
        None => vec![body],
    }
}

/// Whether a policy in JSON matches; none when it cannot be evaluated.
fn holds(policy: &Value, scene: &Scene, context: &Context) -> Option<bool> {
    let policy = Policy::from_json(None, policy.clone()).ok()?;
    let alone = PolicySet::from_policies([policy]).ok()?;
    let (principal, action, resource) = (scene.principal.clone(), scene.action.clone(), scene.resource.clone());
    let request = Request::new(principal, action, resource, context.clone(), None).ok()?;
    let response = Authorizer::new().is_authorized(&request, &alone, &scene.entities);
    let failed = response.diagnostics().errors().next().is_some();
    (!failed).then(|| response.decision() == cedar_policy::Decision::Allow)
}

/// The condition of a policy that has but one.
fn shown(policy: &Value) -> String {
    let text = Policy::from_json(None, policy.clone()).map(|policy| policy.to_string()).unwrap_or_default();
    let inside = text.split_once("when").and_then(|(_, rest)| Some((rest.find('{')? + 1, rest.rfind('}')?, rest)));
    inside.and_then(|(from, to, rest)| rest.get(from..to)).map_or_else(|| text.clone(), |it| it.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vault::policy::tests::{caller, credential, policies};

    const SET: &str = r#"
        @id("plan-only")
        permit (principal in Strongroom::Role::"pipeline", action == Strongroom::Action::"decrypt", resource in Strongroom::Org::"acme")
        when { context has phase && context.phase == "plan" && resource.state == "active" }
        unless { principal.name == "bad" };

        @id("by-hand")
        permit (principal in Strongroom::Role::"admin", action, resource)
        when { context has step_up && context.step_up.age <= 300 };

        @id("delete-agreed")
        forbid (principal, action == Strongroom::Action::"delete", resource) unless { context.approved };
    "#;

    #[test]
    fn a_refusal_names_what_is_not_met_and_what_would_help() {
        let (set, it) = (policies(SET).unwrap(), credential("acme", "openai"));
        let explain = |caller: &Caller, action| {
            set.explain(caller, action, Resource::Credential(&it), "2026-01-01T00:00:00Z".parse().unwrap())
        };
        let pipeline = caller("pipeline", "acme", &[]);
        let told = explain(&pipeline, Action::Decrypt);
        assert_eq!((told.verdict, told.decisive.len()), (Verdict::Refused, 0));
        assert_eq!(told.almost.len(), 1);
        assert_eq!((told.almost[0].id.as_str(), told.almost[0].line), ("plan-only", 2));
        assert_eq!(told.almost[0].unmet, ["context has phase"]);
        assert_eq!(told.remedies, ["phase `plan`"]);

        let mut apply = pipeline.clone();
        Arc::make_mut(&mut apply.principal).phase = "apply".into();
        assert_eq!(explain(&apply, Action::Decrypt).almost[0].unmet, ["context.phase == \"plan\""]);
        Arc::make_mut(&mut apply.principal).phase = "plan".into();
        let told = explain(&apply, Action::Decrypt);
        assert_eq!((told.verdict, told.decisive[0].id.as_str()), (Verdict::Allowed, "plan-only"));
        Arc::make_mut(&mut apply.principal).name = "bad".into();
        let told = explain(&apply, Action::Decrypt);
        assert_eq!(told.almost[0].unmet, ["not (principal.name == \"bad\")"]);
        assert_eq!(told.remedies, [""; 0]);

        Arc::make_mut(&mut apply.principal).actions = vec!["get".into()];
        assert_eq!(explain(&apply, Action::Decrypt).remedies, [SCOPE]);

        let admin = caller("admin", "acme", &[]);
        let told = explain(&admin, Action::Get);
        assert_eq!((told.verdict, told.remedies), (Verdict::NeedsStepUp, vec!["a fresh second factor".to_owned()]));
        let told = explain(&admin, Action::Delete);
        assert_eq!(told.verdict, Verdict::NeedsStepUp);
        assert_eq!(
            told.decisive.iter().map(|it| (it.id.as_str(), it.effect)).collect::<Vec<_>>(),
            [("delete-agreed", "forbid")]
        );
        assert_eq!(told.remedies, ["a fresh second factor and an approval by somebody else"]);
    }

    #[test]
    fn the_embedded_roles_are_explained() {
        let set = Policies::embedded().unwrap();
        let explain = |caller: &Caller, it: &crate::store::Credential| {
            set.explain(caller, Action::Decrypt, Resource::Credential(it), Timestamp::UNIX_EPOCH)
        };
        let pipeline = caller("pipeline", "acme", &["aws_keys"]);
        let told = explain(&pipeline, &credential("acme", "openai"));
        assert_eq!(told.remedies, ["the provider `openai` among the caller's own"]);
        assert_eq!(told.decisive[0].id, "own-providers-only");
        let told = explain(&caller("pipeline", "acme", &["openai"]), &credential("globex", "openai"));
        assert_eq!(
            (told.decisive[0].id.as_str(), told.remedies),
            ("own-tenant-only", vec!["the org `globex`".to_owned()])
        );
        let told = explain(&caller("operator", "acme", &[]), &credential("acme", "openai"));
        assert_eq!(told.remedies, ["the role `admin`"]);
    }
}
