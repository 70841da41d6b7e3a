//! What is wrong with policies, and what is surely not meant: above all a permit that lets one tenant reach another. The
//! set that the program brings along forbids that; a directory replaces it, and its forbids are easily left behind.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::ask::{Imagined, credential};
use crate::store::{CredentialState, Health, Path};
use crate::vault::policy::{self, Fault, Placed, ROLES, Resource, Vocabulary};
use crate::vault::{Action, Caller, Policies};

#[derive(Debug, Default, Serialize)]
pub struct Checked {
    pub policies: usize,
    pub errors: Vec<Found>,
    pub warnings: Vec<Found>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Found {
    pub file: String,
    pub line: Option<usize>,
    pub why: String,
}

impl From<Fault> for Found {
    fn from(Fault { file, line, rule }: Fault) -> Self {
        Self { file, line, why: rule }
    }
}

/// Two tenants, beside those that the policies name.
const OURS: &str = "tenant-a";
const THEIRS: &str = "tenant-b";

/// Of each kind of value that policies name, this many are tried.
const MOST: usize = 4;

pub fn check(sources: &[(String, String)], known: &Vocabulary) -> Checked {
    let reading = policy::read(sources, known);
    let mut checked = Checked { policies: reading.policies.len(), ..Checked::default() };
    checked.errors = reading.faults.iter().cloned().map(Found::from).collect();
    checked.warnings = reading.warnings.iter().cloned().map(Found::from).collect();
    for placed in reading.policies.iter().filter(|placed| placed.policy.annotation("id").is_none()) {
        let why = "has no @id: records and explanations name it by its place, which changes".to_owned();
        checked.warnings.push(found(placed, why));
    }
    if checked.errors.is_empty() {
        match Policies::from_sources(sources, known) {
            Ok(policies) => checked.warnings.extend(crossings(&policies, &reading.policies)),
            Err(error) => checked.errors.push(Found { file: String::new(), line: None, why: error.to_string() }),
        }
    }
    checked.warnings.sort();
    checked
}

fn found(placed: &Placed, why: String) -> Found {
    Found { file: placed.file.clone(), line: Some(placed.line), why }
}

/// The permits that let a caller of one tenant do something in another: each once, with the first thing found.
fn crossings(policies: &Policies, all: &[Placed]) -> Vec<Found> {
    let named = Named::of(all);
    let now = Timestamp::now();
    let mut crossing: BTreeMap<String, String> = BTreeMap::new();
    for caller in named.callers(now) {
        let who = &caller.principal;
        for org in named.orgs.iter().filter(|org| **org != who.org) {
            for action in Action::ALL.iter().copied().filter(|action| action.is_asked()) {
                for provider in &named.providers {
                    let path = Path {
                        org: org.clone(),
                        project: "default".into(),
                        provider: provider.clone(),
                        name: "default".into(),
                    };
                    let there =
                        credential(path.clone(), CredentialState::Active, Health::Ok, named.labels.clone(), now);
                    let of_org = [Resource::Org(org)];
                    let of_one = [Resource::Credential(&there), Resource::Absent(&path)];
                    let resources = if action.is_about_an_org() { &of_org[..] } else { &of_one[..] };
                    for resource in resources {
                        let decision = policies.decide(&caller, action, *resource, now);
                        if decision.verdict != policy::Verdict::Allowed {
                            continue;
                        }
                        for id in decision.policies.iter() {
                            crossing.entry(id.clone()).or_insert_with(|| {
                                format!(
                                    "lets a {} of the org `{}` {} in the org `{org}`: no forbid keeps tenants apart here",
                                    if who.role.is_empty() { "caller without a role" } else { &who.role },
                                    who.org,
                                    action.as_str(),
                                )
                            });
                        }
                    }
                    if action.is_about_an_org() {
                        break;
                    }
                }
            }
        }
    }
    let place = |id: &str| all.iter().find(|placed| placed.id == id);
    crossing.into_iter().filter_map(|(id, why)| Some(found(place(&id)?, format!("`{id}` {why}")))).collect()
}

/// What the policies themselves name, to be tried: a permit for somebody in particular is met by nobody else.
struct Named {
    orgs: BTreeSet<String>,
    providers: BTreeSet<String>,
    labels: BTreeMap<String, String>,
    claims: BTreeMap<String, String>,
    ids: BTreeSet<String>,
    names: BTreeSet<String>,
    phases: BTreeSet<String>,
    runs: BTreeSet<String>,
    proofs: BTreeSet<String>,
}

impl Named {
    fn of(all: &[Placed]) -> Self {
        let mut named = Self {
            orgs: [OURS.to_owned(), THEIRS.to_owned()].into(),
            providers: ["a_provider".to_owned()].into(),
            labels: BTreeMap::new(),
            claims: BTreeMap::new(),
            ids: ["somebody".to_owned()].into(),
            names: ["somebody".to_owned()].into(),
            phases: [String::new()].into(),
            runs: [String::new()].into(),
            proofs: ["token".to_owned()].into(),
        };
        let add = |set: &mut BTreeSet<String>, value: &str| {
            if set.len() < MOST && value != "*" {
                set.insert(value.to_owned());
            }
        };
        for placed in all {
            for uid in placed.policy.entity_literals() {
                let id = uid.id().unescaped();
                match uid.type_name().basename() {
                    "Org" => add(&mut named.orgs, id),
                    "Project" => add(&mut named.orgs, id.split('/').next().unwrap_or_default()),
                    "Provider" => add(&mut named.providers, id),
                    "Caller" => add(&mut named.ids, id),
                    _ => {}
                }
            }
            for policy::Named { what, text } in policy::named(&placed.policy).unwrap_or_default() {
                match what.as_str() {
                    "principal.org" | "resource.org" => add(&mut named.orgs, &text),
                    "resource.provider" | "principal.providers" => add(&mut named.providers, &text),
                    "principal.name" => add(&mut named.names, &text),
                    "context.phase" => add(&mut named.phases, &text),
                    "context.run" => add(&mut named.runs, &text),
                    "context.proof" => add(&mut named.proofs, &text),
                    what => {
                        if let Some(claim) = what.strip_prefix("context.claims.") {
                            named.claims.insert(claim.to_owned(), text);
                        } else if let Some(label) = what.strip_prefix("resource.labels.") {
                            named.labels.insert(label.to_owned(), text);
                        }
                    }
                }
            }
        }
        named
    }

    /// Callers of every role and org with all that could be wanted of them, one particular thing varied at a time.
    fn callers(&self, now: Timestamp) -> Vec<Caller> {
        let mut imagined = Vec::new();
        for org in &self.orgs {
            for role in ROLES.iter().copied().chain([""]) {
                let usual = Imagined {
                    id: "somebody".to_owned(),
                    name: "somebody".to_owned(),
                    role: role.to_owned(),
                    org: org.clone(),
                    providers: vec!["*".to_owned()],
                    claims: self.claims.clone(),
                    step_up_age: Some(0),
                    approved: true,
                    ..Imagined::default()
                };
                let others = |all: &BTreeSet<String>, but: &str| -> Vec<String> {
                    all.iter().filter(|one| *one != but).cloned().collect()
                };
                let ids = others(&self.ids, &usual.id).into_iter().map(|id| Imagined { id, ..usual.clone() });
                imagined.extend(ids);
                let names = others(&self.names, &usual.name).into_iter().map(|name| Imagined { name, ..usual.clone() });
                imagined.extend(names);
                let phases = others(&self.phases, "").into_iter().map(|phase| Imagined { phase, ..usual.clone() });
                imagined.extend(phases);
                let runs = others(&self.runs, "").into_iter().map(|run| Imagined { run, ..usual.clone() });
                imagined.extend(runs);
                let proofs = others(&self.proofs, "token").into_iter();
                imagined.extend(proofs.map(|proof| Imagined { proof: Some(proof), ..usual.clone() }));
                imagined.push(usual);
            }
        }
        imagined.iter().filter_map(|imagined| imagined.caller(now).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Checked {
        check(&[("my.cedar".to_owned(), text.to_owned())], &Vocabulary::default())
    }

    #[test]
    fn the_embedded_set_keeps_tenants_apart() {
        let checked = check(&Policies::embedded_sources(), &Vocabulary::default());
        assert_eq!((checked.errors, checked.warnings), (vec![], vec![]));
    }

    #[test]
    fn a_permit_that_crosses_tenants_is_found() {
        let head = "@id(\"x\") permit (principal in Strongroom::Role::";
        for crossing in [
            format!("{head}\"pipeline\", action == Strongroom::Action::\"decrypt\", resource);"),
            format!("{head}\"operator\", action == Strongroom::Action::\"list\", resource);"),
            format!("{head}\"service\", action, resource in Strongroom::Org::\"acme\");"),
            format!("{head}\"pipeline\", action, resource is Strongroom::Credential) when {{ resource.provider == \"openai\" }};"),
            format!("{head}\"pipeline\", action, resource in Strongroom::Provider::\"openai\");"),
            format!("{head}\"pipeline\", action, resource) when {{ context has phase && context.phase == \"plan\" }};"),
            format!(
                "{head}\"pipeline\", action, resource) when {{ context.claims has ref && context.claims.ref == \"main\" }};"
            ),
            format!("{head}\"admin\", action, resource) when {{ context.approved && context has step_up }};"),
            "@id(\"x\") permit (principal == Strongroom::Caller::\"0199\", action, resource);".to_owned(),
            "@id(\"x\") permit (principal, action, resource is Strongroom::Credential) when { resource.state == \"absent\" };".to_owned(),
        ] {
            let checked = checked(&crossing);
            // Of one whose provider is not there is nothing to be asked.
            assert_eq!(checked.errors, [], "{crossing}");
            assert!(checked.warnings.iter().any(|it| it.why.contains("in the org")), "{crossing}\n{checked:?}");
        }
        let kept = checked(&format!(
            "{head}\"service\", action, resource) when {{ principal.org == resource.org }};\n\
             @id(\"y\") permit (principal, action, resource) when {{ principal.org == \"*\" }};"
        ));
        assert_eq!((kept.errors, kept.warnings), (vec![], vec![]));
    }

    #[test]
    fn what_can_never_match_is_warned_of() {
        let text = "@id(\"x\") permit (principal, action, resource) when { principal.org == resource.org && 1 == 2 };\n\
                    permit (principal, action, resource) when { principal.org == resource.org };";
        let warnings = checked(text).warnings;
        assert!(warnings.iter().any(|it| it.line == Some(1) && it.why.contains("impossible")), "{warnings:?}");
        assert!(warnings.iter().any(|it| it.line == Some(2) && it.why.contains("@id")), "{warnings:?}");
    }
}
