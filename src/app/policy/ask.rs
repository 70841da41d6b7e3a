//! A question to policies as people write it: on the command line, and in tables of expectations.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::Unasked;
use crate::api;
use crate::pb::v1::ExplainPolicyResponse;

use crate::store::{Credential, CredentialState, Health, Path, Word};
use crate::vault::policy::{ROLES, Resource, Vocabulary};
use crate::vault::{Action, Caller, Policies, Principal, Proof, With, meant};

/// Who would do what on what.
#[derive(Clone, Debug)]
pub struct Asked {
    pub caller: Imagined,
    pub action: String,
    /// ORG, ORG/PROVIDER, ORG/PROJECT/PROVIDER or ORG/PROJECT/PROVIDER/NAME.
    pub on: String,
    pub labels: BTreeMap<String, String>,
    /// `active` unless it says otherwise.
    pub state: Option<String>,
    /// `ok` unless it says otherwise.
    pub health: Option<String>,
    pub at: Option<Timestamp>,
}

/// A caller who need not be, and what comes with their request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Imagined {
    pub id: String,
    pub name: String,
    pub role: String,
    pub org: String,
    pub projects: Vec<String>,
    pub providers: Vec<String>,
    pub actions: Vec<String>,
    pub proof: Option<String>,
    pub claims: BTreeMap<String, String>,
    pub run: String,
    pub phase: String,
    pub source: Option<std::net::IpAddr>,
    pub certificate: Option<String>,
    /// In seconds.
    pub step_up_age: Option<u64>,
    pub approved: bool,
}

/// What a question is about.
pub enum Thing {
    Org(String),
    Absent(Path),
    Credential(Box<Credential>),
}

impl Thing {
    pub const fn resource(&self) -> Resource<'_> {
        match self {
            Self::Org(org) => Resource::Org(org.as_str()),
            Self::Absent(path) => Resource::Absent(path),
            Self::Credential(it) => Resource::Credential(it),
        }
    }
}

pub fn explain(policies: &Policies, asked: &Asked, now: Timestamp) -> Result<ExplainPolicyResponse, Unasked> {
    let now = asked.at.unwrap_or(now);
    let caller = asked.caller.caller(now)?;
    let thing = asked.thing(now)?;
    let action = action(&asked.action)?;
    if matches!(thing, Thing::Org(_)) != action.is_about_an_org() {
        let on = if action.is_about_an_org() { "an ORG alone" } else { "a credential: ORG/PROVIDER" };
        return Err(Unasked(format!("{} is asked on {on}, not on {}", asked.action, asked.on)));
    }
    Ok(api::explained(policies.explain(&caller, action, thing.resource(), now)))
}

fn action(word: &str) -> Result<Action, Unasked> {
    let asked = || Action::ALL.iter().filter(|action| action.is_asked());
    asked().copied().find(|action| action.as_str() == word).ok_or_else(|| {
        let known: Vec<_> = asked().map(|action| action.as_str()).collect();
        Unasked(format!("there is no action `{word}`; there are {}", known.join(", ")))
    })
}

impl Imagined {
    pub fn caller(&self, now: Timestamp) -> Result<Caller, Unasked> {
        let proof = self.proof.as_deref().map_or(Some(Proof::Token), Proof::read);
        let proof = proof.ok_or_else(|| Unasked("proof: must be token, jwt, mtls, unix or grant".to_owned()))?;
        if !self.role.is_empty() && !ROLES.contains(&self.role.as_str()) {
            return Err(Unasked(format!("role: must be one of {}{}", ROLES.join(", "), meant(&self.role, ROLES))));
        }
        if let Some(unknown) = self.actions.iter().find(|word| Action::named(word).is_none()) {
            let meant = meant(unknown, Action::asked().map(Action::as_str));
            return Err(Unasked(format!("actions: there is no action `{unknown}`{meant}")));
        }
        let principal = Principal {
            id: if self.id.is_empty() { "imagined".to_owned() } else { self.id.clone() },
            name: self.name.clone(),
            role: self.role.clone(),
            org: self.org.clone(),
            projects: self.projects.clone(),
            providers: self.providers.clone(),
            actions: self.actions.clone(),
            proof,
            claims: self.claims.clone(),
            run: self.run.clone(),
            phase: self.phase.clone(),
            ..Principal::default()
        };
        let with = With {
            address: self.source,
            certificate: self.certificate.clone(),
            step_up: self.step_up_age.map(Duration::from_secs),
            approved: self.approved,
        };
        let mut caller = Caller::new(principal.into(), String::new());
        caller.circumstances = with.circumstances(now);
        Ok(caller)
    }
}

impl Asked {
    /// What an answer would be about nothing for: providers and claims that there cannot be.
    pub fn check_words(&self, known: &Vocabulary) -> Result<(), Unasked> {
        let on = self.on.split('/').nth(if self.on.matches('/').count() > 1 { 2 } else { 1 });
        let own = self.caller.providers.iter().map(String::as_str).filter(|provider| *provider != "*");
        if let Some(unknown) = own.chain(on).find(|provider| !known.providers.contains(*provider)) {
            let meant = meant(unknown, known.providers.iter().map(String::as_str));
            return Err(Unasked(format!("there is no provider `{unknown}`{meant}")));
        }
        Ok(())
    }

    fn thing(&self, now: Timestamp) -> Result<Thing, Unasked> {
        let path = match self.on.split('/').collect::<Vec<_>>().as_slice() {
            [org] => return Ok(Thing::Org((*org).to_owned())),
            [org, provider] => path(org, "default", provider, "default"),
            [org, project, provider] => path(org, project, provider, "default"),
            [org, project, provider, name] => path(org, project, provider, name),
            _ => return Err(Unasked(format!("{}: must be ORG, ORG/PROVIDER or ORG/PROJECT/PROVIDER[/NAME]", self.on))),
        };
        let state = match self.state.as_deref() {
            Some("absent") => return Ok(Thing::Absent(path)),
            state => state.map_or(Ok(CredentialState::Active), |state| word(state, "state"))?,
        };
        let health = self.health.as_deref().map_or(Ok(Health::Ok), |health| word(health, "health"))?;
        Ok(Thing::Credential(Box::new(credential(path, state, health, self.labels.clone(), now))))
    }
}

fn path(org: &str, project: &str, provider: &str, name: &str) -> Path {
    Path { org: org.into(), project: project.into(), provider: provider.into(), name: name.into() }
}

fn word<W: Word>(text: &str, what: &str) -> Result<W, Unasked> {
    W::read(text).ok_or_else(|| {
        let known: Vec<_> = W::ALL.iter().map(|it| it.word()).collect();
        Unasked(format!("there is no {what} `{text}`; there are {}", known.join(", ")))
    })
}

/// One that need not be, with all that policies ask of it.
pub fn credential(
    path: Path,
    state: CredentialState,
    health: Health,
    labels: BTreeMap<String, String>,
    now: Timestamp,
) -> Credential {
    let day = jiff::SignedDuration::from_hours(24);
    let expires_at = match health {
        Health::Expired => now.checked_sub(day).ok(),
        Health::Expiring => now.checked_add(day).ok(),
        Health::Ok | Health::Disabled | Health::Failing => None,
    };
    Credential {
        state,
        disabled: health == Health::Disabled,
        failing_since: (health == Health::Failing).then_some(now),
        active_version: Some(1),
        labels,
        expires_at,
        told_health: health,
        ..Credential::new(Uuid::nil(), path, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imagined_credential_is_in_the_health_that_it_is_asked_for() {
        let now = Timestamp::now();
        for health in Health::ALL {
            let it = credential(path("a", "b", "c", "d"), CredentialState::Active, *health, BTreeMap::new(), now);
            assert_eq!(it.health(now), *health);
        }
    }
}
