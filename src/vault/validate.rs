//! Connection tests: of an upload that is not stored, or of what is.

use std::sync::Arc;

use jiff::Timestamp;

use crate::crypto::{Secret, fingerprint};
use crate::providers::FingerprintMode;
use crate::store::{Change, Credential, ProbeRecord, Settlement, Version, VersionState};
use crate::vault::guard::Permit;
use crate::vault::policy::Resource;
use crate::vault::request::{Metadata, Validate, Validated};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Outcome, Provider, Upload, Vault, Verdict};

impl Vault {
    /// Tests an upload without storing it, or the newest version of what is stored.
    pub async fn validate(self: &Arc<Self>, caller: &Caller, request: Validate) -> Result<Validated, Error> {
        let mut trail = Trail::begin(caller, Action::Validate);
        let result = self.validate_permitted(caller, &request, &mut trail).await;
        self.guard.finish(trail, result).await
    }

    async fn validate_permitted(
        &self,
        caller: &Caller,
        request: &Validate,
        trail: &mut Trail,
    ) -> Result<Validated, Error> {
        self.about(&request.path, trail)?;
        let existing = self.store.credential(&request.path).await?;
        match (&request.upload, existing) {
            (Some(upload), existing) => {
                let resource = existing.as_ref().map_or(Resource::Absent(&request.path), Resource::Credential);
                let permit = self.guard.permit(caller, resource, trail)?;
                self.validate_upload(permit, request, upload, trail).await
            }
            (None, Some(existing)) => {
                trail.found(&existing);
                let permit = self.guard.permit(caller, Resource::Credential(&existing), trail)?;
                self.validate_stored(permit, existing, trail).await
            }
            (None, None) => Err(self.guard.absent(caller, &request.path, trail)),
        }
    }

    async fn validate_upload(
        &self,
        permit: Permit,
        request: &Validate,
        upload: &Upload,
        trail: &mut Trail,
    ) -> Result<Validated, Error> {
        let provider = self.provider(&request.path.provider)?;
        let parsed = provider.parse(upload)?;
        let shown = match provider.fingerprint {
            FingerprintMode::Plain => fingerprint::plain(&parsed.secret),
            FingerprintMode::Keyed => {
                fingerprint::keyed(self.keeper.org_key(&request.path.org).await?.expose(), &parsed.secret)
            }
        };
        trail.fingerprint(&shown);
        let probe = self.test(&provider, &parsed.secret, &Metadata::new()).await;
        self.guard.admit(permit, trail).await?;
        let public_identity = parsed.public_identity;
        Ok(Validated { probe, at: Timestamp::now(), fingerprint: shown, public_identity, credential: None })
    }

    async fn validate_stored(
        &self,
        permit: Permit,
        credential: Credential,
        trail: &mut Trail,
    ) -> Result<Validated, Error> {
        let newest = self.store.versions(credential.id).await?.into_iter().next();
        let newest =
            newest.ok_or_else(|| Error::Corrupt { what: format!("credential {} has no version", credential.id) })?;
        trail.version(newest.version, &newest.fingerprint);
        let provider = self.provider(&credential.path.provider)?;
        if !provider.is_tested(&credential.metadata) {
            self.guard.admit(permit, trail).await?;
            return Ok(validated(Outcome::untested(), newest, credential));
        }
        let secret = self.keeper.open(&credential, newest.version).await?;
        let outcome = self.test(&provider, &secret, &credential.metadata).await;
        let credential = self.settle(&permit, &newest, &outcome, trail).await?;
        Ok(validated(outcome, newest, credential))
    }

    /// Asks the provider, within its time.
    pub(super) async fn test(&self, provider: &Provider, secret: &Secret, metadata: &Metadata) -> Outcome {
        if !provider.is_tested(metadata) {
            return Outcome::untested();
        }
        match tokio::time::timeout(self.probe_timeout, self.probe.probe(provider, secret, metadata)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::timed_out(),
        }
    }

    /// Writes down what a test found, and serves or refuses the version accordingly.
    pub(super) async fn settle(
        &self,
        permit: &Permit,
        version: &Version,
        outcome: &Outcome,
        trail: &Trail,
    ) -> Result<Credential, Error> {
        let change = Change::Settle {
            credential: version.credential,
            version: version.version,
            from: version.state,
            settlement: settlement(outcome, version.state),
            probe: record(outcome, Timestamp::now()),
        };
        let receipt = self.guard.commit(permit, change, trail).await?;
        let credential = receipt.credential.ok_or_else(|| Error::bug("a settlement left no credential"))?;
        self.cache.forget(&credential).await;
        Ok(credential)
    }
}

/// What a test decides. A key that is known but not allowed something is a live key; a provider that does not answer
/// has said nothing.
fn settlement(outcome: &Outcome, state: VersionState) -> Settlement {
    match (outcome.verdict, state) {
        // A rolled-back or refused version that works again waits for somebody to activate it.
        (_, VersionState::Superseded | VersionState::Destroyed | VersionState::Invalid) => Settlement::Wait,
        (Verdict::Ok | Verdict::InsufficientPermission, _) => Settlement::Accept,
        (Verdict::InvalidCredential, _) => Settlement::Refuse,
        _ => Settlement::Wait,
    }
}

pub fn record(outcome: &Outcome, at: Timestamp) -> ProbeRecord {
    ProbeRecord {
        outcome: outcome.verdict.as_str().to_owned(),
        reason: outcome.reason.clone().into_owned(),
        hint: outcome.hint.clone(),
        at,
        retry_after_seconds: outcome.retry_after.map(|wait| wait.as_secs()),
    }
}

fn validated(probe: Outcome, version: Version, credential: Credential) -> Validated {
    Validated {
        probe,
        at: Timestamp::now(),
        fingerprint: version.fingerprint,
        public_identity: version.public_identity,
        credential: Some(credential),
    }
}
