//! What is known so far about one operation. It ends as the audit record and as the log line: the same facts, once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::store::{Credential, Draft, Grant, OrgEnd, Path};
use crate::vault::caller::RequestDigest;
use crate::vault::{Action, Caller, Principal};

/// What an operation ends with until it fails.
pub const OK: &str = "ok";

#[derive(Clone)]
pub struct Trail {
    pub action: Action,
    started: Instant,
    /// Shared with the store's writer while a record is on its way.
    draft: Arc<Draft>,
    /// Why nobody was proven, for the log alone.
    why: String,
    /// For whom a second person may be asked, and about what.
    asker: Option<Asker>,
}

#[derive(Clone)]
pub struct Asker {
    pub principal: Arc<Principal>,
    pub request: RequestDigest,
}

impl Trail {
    pub fn begin(caller: &Caller, action: Action) -> Self {
        let draft = Draft {
            at: Timestamp::now(),
            caller: caller.principal.id.clone(),
            caller_name: caller.principal.name.clone(),
            action: action.as_str().to_owned(),
            outcome: OK.to_owned(),
            request_id: caller.request_id.clone(),
            proof: caller.principal.proof.as_str().to_owned(),
            address: caller.circumstances.address.map(|address| address.to_string()).unwrap_or_default(),
            run: caller.principal.run.clone(),
            phase: caller.principal.phase.clone(),
            approval: caller.circumstances.approval,
            ..Draft::default()
        };
        let asker =
            caller.circumstances.request.map(|request| Asker { principal: Arc::clone(&caller.principal), request });
        let mut trail = Self { action, started: Instant::now(), draft: Arc::new(draft), why: String::new(), asker };
        // Nothing else is done by a grant.
        if let (Action::Decrypt, Some(grant)) = (action, &caller.circumstances.grant) {
            trail.grant(grant);
        }
        trail
    }

    fn draft(&mut self) -> &mut Draft {
        Arc::make_mut(&mut self.draft)
    }

    pub fn at(&self) -> Timestamp {
        self.draft.at
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// For names that the daemon itself knows. Those of a request go through `Vault::about`, which checks them.
    pub fn about_org(mut self, org: &str) -> Self {
        self.org(org);
        self
    }

    pub fn about(mut self, path: &Path) -> Self {
        self.path(path);
        self
    }

    pub fn org(&mut self, org: &str) {
        org.clone_into(&mut self.draft().org);
    }

    pub fn path(&mut self, path: &Path) {
        let draft = self.draft();
        draft.org.clone_from(&path.org);
        draft.project.clone_from(&path.project);
        draft.provider.clone_from(&path.provider);
        draft.name.clone_from(&path.name);
    }

    pub fn found(&mut self, credential: &Credential) {
        self.draft().credential_id = Some(credential.id);
    }

    pub fn created(&mut self, id: uuid::Uuid) {
        self.draft().credential_id = Some(id);
    }

    pub fn version(&mut self, version: u32, fingerprint: &str) {
        self.draft().version = Some(version);
        self.fingerprint(fingerprint);
    }

    pub fn fingerprint(&mut self, fingerprint: &str) {
        fingerprint.clone_into(&mut self.draft().fingerprint);
    }

    /// Holds no secret; nobody but the operator reads it.
    pub fn because(mut self, why: &str) -> Self {
        why.clone_into(&mut self.why);
        self
    }

    pub fn approval(&mut self, id: uuid::Uuid) {
        self.draft().approval = Some(id);
    }

    /// All of its permissions are by the same rules: those of the first one stay.
    pub fn allowed_by(&mut self, rules: Option<Arc<str>>) {
        if self.draft.rules.is_none() {
            self.draft().rules = rules;
        }
    }

    pub fn rules(&self) -> Option<&Arc<str>> {
        self.draft.rules.as_ref()
    }

    /// It is permitted once more, from the beginning.
    pub fn decide_again(&mut self) {
        self.draft().rules = None;
    }

    pub const fn asker(&self) -> Option<&Asker> {
        self.asker.as_ref()
    }

    /// The record of the daemon's own doing on behalf of this operation.
    pub fn begin_within(&self, action: Action) -> Self {
        let draft = Draft::clone(&self.draft);
        let draft = Draft { action: action.as_str().to_owned(), policies: Vec::new(), rules: None, ..draft };
        Self { action, started: Instant::now(), draft: Arc::new(draft), why: String::new(), asker: None }
    }

    /// What it is about, as far as it is on record.
    pub fn subject(&self) -> (&str, Path) {
        let Draft { action, org, project, provider, name, .. } = self.draft.as_ref();
        let [org, project, provider, name] = [org, project, provider, name].map(Clone::clone);
        (action, Path { org, project, provider, name })
    }

    /// For what is not a credential and has a name.
    pub fn named(&mut self, name: &str) {
        name.clone_into(&mut self.draft().name);
    }

    /// Its run and phase join the record to the run that it is for.
    pub fn grant(&mut self, grant: &Grant) {
        let draft = self.draft();
        draft.grant = Some(grant.id);
        draft.run.clone_from(&grant.run);
        if !grant.phase.is_empty() {
            draft.phase.clone_from(&grant.phase);
        }
    }

    pub fn org_end(&mut self, end: OrgEnd) {
        self.draft().org_end = Some(Box::new(end));
    }

    /// How many more of the same it was.
    pub fn alike(&mut self, more: u64) {
        self.draft().alike = more;
    }

    pub fn policies(&mut self, policies: &[String]) {
        self.draft().policies = policies.to_vec();
    }

    /// For what has no version: how it was and how it is, as digests.
    pub fn changed(&mut self, before: &str, after: &str) {
        let draft = self.draft();
        before.clone_into(&mut draft.before);
        after.clone_into(&mut draft.after);
    }

    /// The record of this operation, gone well.
    pub fn record(&self) -> Arc<Draft> {
        Arc::clone(&self.draft)
    }

    /// The record of this operation with another outcome.
    pub fn record_of(&self, outcome: &str) -> Arc<Draft> {
        Arc::new(Draft { outcome: outcome.to_owned(), ..Draft::clone(&self.draft) })
    }

    /// The log line: no field of it holds a secret. What is empty is left out; the formatter escapes the rest. A
    /// failure's cause is told where the request ends, once.
    pub fn log(&self, outcome: &str) {
        fn said(text: &str) -> Option<&str> {
            (!text.is_empty()).then_some(text)
        }
        let it = &self.draft;
        if let Some(why) = said(&self.why) {
            tracing::info!(request_id = it.request_id, why, "nobody was proven");
        }
        let duration_us = u64::try_from(self.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            action = it.action,
            outcome,
            caller = it.caller,
            caller_name = it.caller_name,
            org = said(&it.org),
            project = said(&it.project),
            provider = said(&it.provider),
            name = said(&it.name),
            version = it.version,
            fingerprint = said(&it.fingerprint),
            duration_us,
            request_id = it.request_id,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_allowed_the_first_of_several_stays_until_it_is_decided_again() {
        let mut trail = Trail::begin(&Caller::system(), Action::Setup);
        trail.allowed_by(Some("old".into()));
        trail.allowed_by(Some("new".into()));
        assert_eq!(trail.rules().map(|rules| &**rules), Some("old"));
        assert_eq!(trail.begin_within(Action::Probe).record().rules, None, "the daemon's own work has none");
        trail.decide_again();
        trail.allowed_by(Some("new".into()));
        assert_eq!(trail.record().rules.as_deref(), Some("new"), "the store sees them");
    }
}
