//! What is known so far about one operation. It ends as the audit record and as the log line: the same facts, once.

use std::time::Instant;

use jiff::Timestamp;

use crate::store::{Credential, Draft, Path};
use crate::vault::{Action, Caller, Error};

#[derive(Clone)]
pub struct Trail {
    pub action: Action,
    started: Instant,
    draft: Draft,
}

impl Trail {
    pub fn begin(caller: &Caller, action: Action) -> Self {
        let draft = Draft {
            at: Timestamp::now(),
            caller: caller.principal.id.clone(),
            caller_name: caller.principal.name.clone(),
            action: action.as_str().to_owned(),
            request_id: caller.request_id.clone(),
            ..Draft::default()
        };
        Self { action, started: Instant::now(), draft }
    }

    pub fn at(&self) -> Timestamp {
        self.draft.at
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
        org.clone_into(&mut self.draft.org);
    }

    pub fn path(&mut self, path: &Path) {
        self.draft.org.clone_from(&path.org);
        self.draft.project.clone_from(&path.project);
        self.draft.provider.clone_from(&path.provider);
        self.draft.name.clone_from(&path.name);
    }

    pub fn found(&mut self, credential: &Credential) {
        self.draft.credential_id = Some(credential.id);
    }

    pub fn created(&mut self, id: uuid::Uuid) {
        self.draft.credential_id = Some(id);
    }

    pub fn version(&mut self, version: u32, fingerprint: &str) {
        self.draft.version = Some(version);
        fingerprint.clone_into(&mut self.draft.fingerprint);
    }

    pub fn fingerprint(&mut self, fingerprint: &str) {
        fingerprint.clone_into(&mut self.draft.fingerprint);
    }

    /// For what is not a credential and has a name.
    pub fn named(&mut self, name: &str) {
        name.clone_into(&mut self.draft.name);
    }

    pub fn policies(&mut self, policies: &[String]) {
        self.draft.policies = policies.to_vec();
    }

    /// The record of this operation with the given outcome.
    pub fn record(&self, outcome: &str) -> Draft {
        Draft { outcome: outcome.to_owned(), ..self.draft.clone() }
    }

    /// The log line: no field of it holds a secret. What is empty is left out; the formatter escapes the rest.
    pub fn log(&self, error: Option<&Error>) {
        fn said(text: &str) -> Option<&str> {
            (!text.is_empty()).then_some(text)
        }
        let it = &self.draft;
        let (action, caller, caller_name) = (it.action.as_str(), it.caller.as_str(), it.caller_name.as_str());
        let (org, project, provider, name) = (said(&it.org), said(&it.project), said(&it.provider), said(&it.name));
        let (version, fingerprint, request_id) = (it.version, said(&it.fingerprint), it.request_id.as_str());
        let outcome = error.map_or("ok", Error::reason);
        let duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        match error.and_then(Error::cause) {
            None => tracing::info!(
                action,
                outcome,
                caller,
                caller_name,
                org,
                project,
                provider,
                name,
                version,
                fingerprint,
                duration_us,
                request_id
            ),
            Some(cause) => tracing::error!(
                action,
                outcome,
                caller,
                caller_name,
                org,
                project,
                provider,
                name,
                version,
                fingerprint,
                duration_us,
                request_id,
                cause
            ),
        }
    }
}
